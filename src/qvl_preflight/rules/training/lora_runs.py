"""QVL816 to 819: adapters that attach, and do not do what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qvl_preflight.counted import counted
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.lora import by_tower, unused_targets
from qvl_preflight.symptoms import Symptom


@rule("QVL816", Severity.NOTE, topic="lora-bad-targets", symptoms=(r"keys did not match any targeted module",))
def lora_targets_unused(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    Some of target_modules reach nothing.

    ## What happens
    Names that no module ends with are skipped without a word as long as one other fits; so are keys of rank_pattern and alpha_pattern. That is right for a list
    that is made for many models, and a slip otherwise.

    ## Example
    ```python hardware=a100 purpose=lora peft=q_proj,v_porj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=q_proj,v_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    None: it is an argument of LoraConfig.
    """
    unused = [] if plan.blocked("lora-targets") else unused_targets(situation)
    if unused:
        yield Finding(
            f"{', '.join(unused)} of the LoraConfig name{'s' if len(unused) == 1 else ''} no module of this checkpoint", "train"
        )


@rule("QVL817", Severity.NOTE, topic="lora-bad-targets")
def lora_in_the_vision_tower(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    target_modules also reaches the vision tower.

    ## What happens
    Names go by their end, and some are used in both towers: c_proj in Qwen-VL, gate_proj in Qwen2.5-VL. Adapters then train in the vision tower as well,
    which takes memory and time, and is mostly not meant. A pattern such as `.*layers.*(q_proj|v_proj)` keeps them apart.

    ## Example
    ```python hardware=a100 purpose=lora peft=gate_proj,up_proj
    AutoModelForImageTextToText.from_pretrained("Qwen/Qwen2.5-VL-3B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=q_proj,v_proj
    AutoModelForImageTextToText.from_pretrained("Qwen/Qwen2.5-VL-3B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    None: it may be meant.
    """
    reached = None if plan.blocked("lora-targets") else by_tower(situation)
    if reached and all(reached):
        text, seeing = reached
        yield Finding(
            f"target_modules reaches {counted(len(text), 'layer')} of the language model and {len(seeing)} of the vision tower",
            "train",
        )


# A loop of one's own says so wherever nothing requires a gradient.
_TRAINERS = r"transformers|peft|accelerate|trl|deepspeed|lightning|train|tune|swift"


@rule(
    "QVL818",
    Severity.NOTE,
    topic="lora-grad-checkpoint",
    symptoms=(Symptom(r"element 0 of tensors does not require grad", within=_TRAINERS),),
)
def checkpointing_needs_input_grads(plan: LoadPlan) -> Iterator[Finding]:
    """
    Gradient checkpointing over a frozen base, without an input that requires a gradient.

    ## What happens
    Up to transformers 4.57 gradient checkpointing is of the reentrant kind by default, which passes gradients only where an input requires one. With LoRA the
    embeddings are frozen: the first step raises `RuntimeError: element 0 of tensors does not require grad`, unless `model.enable_input_require_grads()` is
    called before get_peft_model, or prepare_model_for_kbit_training for quantised weights.

    ## Example
    ```python stack=legacy purpose=lora peft=q_proj,v_proj trainer=gradient_checkpointing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, torch_dtype=torch.bfloat16)
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=q_proj,v_proj trainer=gradient_checkpointing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: a line before get_peft_model, or an argument of TrainingArguments from 4.35 on.
    """
    fix = Fix.display(
        "Call model.enable_input_require_grads() before get_peft_model, or give TrainingArguments "
        'gradient_checkpointing_kwargs={"use_reentrant": False}'
    )
    for finding in as_planned(plan, "QVL818", fix):
        yield replace(finding, severity=Severity.NOTE)  # most scripts do call it


@rule(
    "QVL819",
    Severity.ERROR,
    topic="merge-quantized",
    symptoms=(r"Cannot merge LORA layers when the model is (gptq quantized|loaded in 8-bit)",),
)
def merge_into_gptq(plan: LoadPlan) -> Iterator[Finding]:
    """
    The training is to end in a merge, which GPTQ and AWQ weights do not take.

    ## What happens
    Adapters can be merged into float weights and, with a loss, into those of bitsandbytes. On GPTQ layers merge_and_unload raises `ValueError: Cannot merge LORA
    layers when the model is gptq quantized`, on AWQ layers a bare NotImplementedError, after the training.

    ## Example
    ```python hardware=a100 purpose=qlora peft=q_proj trainer=merge_lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```
    Use instead:
    ```python hardware=a100 purpose=qlora peft=q_proj trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```

    ## Fix safety
    Shown, not applied: keep the adapters beside the weights, or train on the checkpoint that is not quantised.
    """
    yield from as_planned(plan, "QVL819", Fix.display("Keep the adapters apart, or train on the checkpoint that is not quantised"))
