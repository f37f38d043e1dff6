"""QVL5xx: more than the GPU holds. Only what is surely too much is said: weights, and what a step of full fine-tuning holds beside them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule


@rule("QVL501", Severity.ERROR, topic="oom-fit")
def weights_exceed_the_gpu(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The weights are more than the GPU they go to has memory.

    ## What happens
    The bytes are those of the tensors in the checkpoint, in the dtype or the quantisation in which the call loads them, and the memory is all that
    the GPU has: the load, or the Trainer that moves the model, ends in `torch.OutOfMemoryError: CUDA out of memory. Tried to allocate`. What a step
    needs comes on top, and is not counted here.

    ## Example
    ```python hardware=small-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype="float32")
    ```
    Use instead:
    ```python hardware=small-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype="float16")
    ```

    ## Fix safety
    Shown, not applied: a smaller dtype, 4-bit weights, several GPUs or a larger one is your choice.
    """
    half = "" if plan.dtype != "float32" else f"{remedies.dtype_key}=torch.float16, or "
    fix = Fix.display(
        f'Load less: {half}4-bit weights (BitsAndBytesConfig(load_in_4bit=True), a GPTQ or AWQ checkpoint); or spread the model over several GPUs (device_map="auto"), or use a larger one'
    )
    yield from as_planned(plan, "QVL501", fix)


@rule("QVL502", Severity.WARNING, topic="oom-fit")
def full_training_exceeds_the_gpu(plan: LoadPlan) -> Iterator[Finding]:
    """
    Full fine-tuning holds more than the GPU has memory: weights, gradients and the optimizer's states.

    ## What happens
    At the end of the first step all three are there at once; AdamW's two states are as wide as the weights, so that float32 takes 16 bytes for each
    weight and bfloat16 8. ZeRO and FSDP divide them by the number of ranks. The step ends in `torch.OutOfMemoryError: CUDA out of memory. Tried to
    allocate`. Activations come on top, and are not counted here.

    ## Example
    ```python hardware=t4 purpose=full trainer={}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype="float32")
    ```
    Use instead, where every weight must be trained, a GPU that holds them, an 8-bit optimizer, or ZeRO-3 over several; else adapters:
    ```python hardware=t4 purpose=lora trainer={}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype="float32")
    ```

    ## Fix safety
    Shown, not applied: what is trained, and on how many GPUs, is your choice.
    """
    ways = 'Train adapters (LoRA) instead, choose optim="adamw_8bit" or "adafactor", or divide the states over more GPUs (DeepSpeed ZeRO-3, FSDP)'
    yield from as_planned(plan, "QVL502", Fix.display(ways))
