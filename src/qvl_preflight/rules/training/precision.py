"""QVL806 to 810: the precision that a training asks for, and what the machine or the weights make of it."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Dtype
from qvl_preflight.rule import as_planned, rule


@rule("QVL806", Severity.ERROR, topic="bf16-unsupported", symptoms=(r"Your setup doesn't support bf16/gpu",))
def bf16_refused(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    TrainingArguments refuses bf16 on this machine.

    ## What happens
    Since transformers 4.52 `bf16=True` raises a ValueError where torch sees no GPU, unless use_cpu is set. On a GPU below compute capability 8.0 (T4,
    V100, P100) it is refused up to transformers 4.34, and later by a torch before 2.3; newer ones emulate bfloat16, slowly.

    ## Example
    ```python hardware=no-gpu purpose=lora trainer=bf16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, to train on the CPU:
    ```python hardware=no-gpu purpose=lora trainer=bf16,use_cpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is an argument of TrainingArguments.
    """
    older = "Pass fp16=True in place of bf16=True: this GPU is too old for it"
    fix = Fix.display(
        older if remedies.has_gpu else "Pass use_cpu=True beside bf16=True to train on the CPU, or give the process a GPU"
    )
    yield from as_planned(plan, "QVL806", fix)


@rule(
    "QVL807",
    Severity.ERROR,
    topic="fp16-cpu",
    symptoms=(r"FP16 Mixed precision training with AMP or APEX.*can only be used on CUDA",),
)
def fp16_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    TrainingArguments refuses fp16 without a GPU.

    ## What happens
    Mixed precision in float16 is made for GPUs. Up to transformers 4.40 `fp16=True` raises a ValueError wherever the training runs on the CPU, in 4.41
    with a torch before 2.3; later releases accept it there, and train without it.

    ## Example
    ```python hardware=no-gpu stack=legacy purpose=lora trainer=fp16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead:
    ```python hardware=no-gpu stack=legacy purpose=lora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is an argument of TrainingArguments.
    """
    yield from as_planned(plan, "QVL807", Fix.display("Leave fp16=True out of TrainingArguments; bf16=True works on the CPU"))


@rule("QVL808", Severity.ERROR, topic="bf16-unsupported", symptoms=(r"--tf32 requires Ampere or a newer GPU arch",))
def tf32_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    TrainingArguments refuses tf32 on this machine.

    ## What happens
    TensorFloat-32 needs a GPU with compute capability 8.0 or later. `tf32=True` raises a ValueError on an older one and without any, even with
    use_cpu=True. tf32=False is taken everywhere.

    ## Example
    ```python hardware=no-gpu purpose=lora trainer=tf32
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead:
    ```python hardware=no-gpu purpose=lora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is an argument of TrainingArguments.
    """
    yield from as_planned(plan, "QVL808", Fix.display("Leave tf32=True out of TrainingArguments"))


@rule("QVL809", Severity.ERROR, topic="bf16-unsupported", symptoms=(r"At most one of fp16 and bf16 can be True",))
def fp16_and_bf16(plan: LoadPlan) -> Iterator[Finding]:
    """
    fp16 and bf16 are both asked for.

    ## What happens
    A training step has one precision: TrainingArguments raises `ValueError: At most one of fp16 and bf16 can be True, but not both`.

    ## Example
    ```python hardware=a100 purpose=lora trainer=fp16,bf16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora trainer=bf16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it is an argument of TrainingArguments.
    """
    yield from as_planned(
        plan, "QVL809", Fix.display("Keep bf16=True on a GPU from compute capability 8.0 on, fp16=True on an older one")
    )


@rule("QVL810", Severity.ERROR, topic="fp16-unscale", symptoms=(r"Attempting to unscale FP16 gradients",))
def float16_weights_with_fp16(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    fp16=True, and the weights that are trained are float16 or bfloat16 themselves.

    ## What happens
    Mixed precision keeps the trained weights in float32, computes in float16 and scales the gradients. Where the weights are float16 too, the first step raises
    `ValueError: Attempting to unscale FP16 gradients`; where they are bfloat16, torch has no kernel for it: `"_amp_foreach_non_finite_check_and_unscale_cuda"
    not implemented for 'BFloat16'`. In full fine-tuning that is a model loaded in half precision, as transformers 5 does where nothing else is asked for; with
    LoRA a peft before 0.12, which makes adapters in the dtype of the model. For a bfloat16 model bf16=True is the other way out.

    ## Example
    ```python hardware=a100 purpose=full trainer=fp16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype=torch.float16)
    ```
    Use instead:
    ```python hardware=a100 purpose=full trainer=fp16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype=torch.float32)
    ```

    ## Fix safety
    Required: the weights are kept in float32, which takes twice the memory and is what mixed precision expects.
    """
    fix = remedies.edit(
        "Load the weights in float32; fp16=True computes in float16",
        Applicability.REQUIRED,
        **{remedies.dtype_key: Dtype("float32")},
    )
    yield from as_planned(plan, "QVL810", fix)
