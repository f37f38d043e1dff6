"""What the libraries say for a cause, each with the release and line where it was read: the code of a rule or entry, and the symptom."""

from qvl_preflight.diagnosis.words import (
    accelerate,
    auto_gptq,
    autoawq,
    bitsandbytes,
    concepts,
    deepspeed,
    gptqmodel,
    huggingface_hub,
    llamafactory,
    native,
    optimum,
    peft,
    transformers,
)

WORDS = (
    *accelerate.WORDS,
    *auto_gptq.WORDS,
    *autoawq.WORDS,
    *bitsandbytes.WORDS,
    *concepts.WORDS,
    *deepspeed.WORDS,
    *gptqmodel.WORDS,
    *huggingface_hub.WORDS,
    *llamafactory.WORDS,
    *native.WORDS,
    *optimum.WORDS,
    *peft.WORDS,
    *transformers.WORDS,
)
