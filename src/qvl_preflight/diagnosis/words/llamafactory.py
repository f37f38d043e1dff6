"""What LLaMA-Factory says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL701", Symptom(r"Cannot use device map for quantized models in training", source="llamafactory 0.9.5 hparams/parser.py:375")),
    ("QVL930", Symptom(r"This device does not support `pure_bf16`", source="llamafactory 0.9.5 hparams/parser.py:382")),
    ("QVL706", Symptom(r"DeepSpeed ZeRO-3 or FSDP is incompatible with PTQ-quantized models", source="llamafactory 0.9.5 model/model_utils/quantization.py:101")),
    ("QVL706", Symptom(r"quantization is incompatible with DeepSpeed ZeRO-3 or FSDP", source="llamafactory 0.9.5 model/model_utils/quantization.py:200")),
    ("QVL706", Symptom(r"Only 4-bit quantized model can use fsdp\+qlora", source="llamafactory 0.9.5 model/model_utils/quantization.py:188")),
    ("QVL710", Symptom(r"Please (use `FORCE_TORCHRUN=1` to launch DeepSpeed|launch distributed training with)", source="llamafactory 0.9.5 hparams/parser.py:351")),
    ("QVL805", Symptom(r"Quantization is only compatible with the LoRA", source="llamafactory 0.9.5 hparams/parser.py:190")),
    ("QVL805", Symptom(r"Quantized models can only be used for the LoRA", source="llamafactory 0.9.5 model/adapter.py:308")),
    ("QVL814", Symptom(r"DoRA is not compatible with PTQ-quantized models", source="llamafactory 0.9.5 model/adapter.py:220")),
    ("QVL814", Symptom(r"Cannot initialize PiSSA adapter on quantized models", source="llamafactory 0.9.5 model/adapter.py:311")),
    ("QVL819", Symptom(r"Cannot merge adapters to a quantized model", source="llamafactory 0.9.5 train/tuner.py:168")),
    ("QVL712", Symptom(r"number of devices in the Ray cluster .{1,20} should be greater than num_workers", source="llamafactory 0.9.5 train/tuner.py:300")),
    ("QVL990", Symptom(r"model requires transformers>=", source="llamafactory 0.9.5 model/patcher.py:359")),
)  # fmt: skip
