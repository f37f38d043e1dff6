"""What a quantisation method asks of the machine: a GPU, a new enough one, a map that stays on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qvl_preflight.facts import Facts
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.cuda.ways_out import give_gpu
from qvl_preflight.stack.quant_dtype import takes
from qvl_preflight.stack.quant_training import dequantized
from qvl_preflight.unknown import need


@rule(
    "QVL314",
    Severity.ERROR,
    topic="no-cuda-visible",
    symptoms=(
        r"No GPU( or XPU)? found\. A GPU( or XPU)? is needed for FP8 quantization",
        r"(HIGGS|FPQuant) quantization is only supported on GPU",
        r"Using fbgemm fp8 quantization requires a GPU",
        r"GPU is required to run (SpQR|VTPQ) quantized model",
        r"Quantizing a model using MXFP4 requires a GPU",
    ),
)
def method_needs_a_gpu(plan: LoadPlan, facts: Facts) -> Iterator[Finding]:
    """
    The quantisation method needs a GPU, and this process has none.

    ## What happens
    FP8 (up to transformers 4.57, and wherever the load itself quantises), fbgemm, HIGGS, SpQR, EETQ, VPTQ and FP-Quant ask for CUDA before anything is
    read, and raise a RuntimeError, an ImportError or a NotImplementedError.

    ## Example
    ```python hardware=no-gpu stack=recent-4
    AutoModelForCausalLM.from_pretrained("example/fp8")
    ```
    Use instead, on a machine with a GPU that has FP8:
    ```python hardware=h100 stack=recent-4
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: give the process a GPU, or take a checkpoint that is not quantised so.
    """
    yield from as_planned(plan, "QVL314", give_gpu(facts))


@rule(
    "QVL315",
    Severity.WARNING,
    topic="fp8-capability",
    symptoms=(r"is only supported on (CUDA )?GPUs with compute capability >= ",),
)
def gpu_too_old_for_the_method(plan: LoadPlan) -> Iterator[Finding]:
    """
    The GPU is too old for the quantisation method.

    ## What happens
    FP8 of DeepSeek and Qwen needs compute capability 8.9 (Ada, Hopper); transformers 4.49 and 4.50 asked for 9.0. fbgemm's FP8 needs 9.0, the layers of
    llm-awq 8.0. The load stops with a ValueError. transformers 5 turns FP8 checkpoints into bfloat16 instead.

    ## Example
    ```python hardware=a100 stack=recent-4
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```
    Use instead, on a GPU that has FP8:
    ```python hardware=h100 stack=recent-4
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: another GPU, or another checkpoint of the model.
    """
    fix = Fix.display("Take a checkpoint in bfloat16, or one in 4-bit AWQ or GPTQ, which older GPUs run")
    yield from as_planned(plan, "QVL315", fix)


@rule(
    "QVL328",
    Severity.WARNING,
    topic="version-skew",
    symptoms=(
        r"You cannot use FP8 with (torch_)?dtype=torch\.float16",
        r"(HIGGS|fp_quant) quantization only supports `(torch_)?dtype=",
        r"You cannot use any type other than torch\.float16 for SpQR",
    ),
)
def dtype_that_the_method_refuses(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The quantisation method does not compute in this dtype.

    ## What happens
    fbgemm's FP8 (up to transformers 4.57) refuses float16, FP-Quant all but bfloat16, SpQR all but float16, HIGGS all but these two. The load stops with a
    ValueError before anything is read. AWQ is quieter: bfloat16 becomes float16 where CUDA is there, with a line in the log.

    ## Example
    ```python hardware=h100 stack=recent-4-fbgemm
    AutoModelForCausalLM.from_pretrained("example/fbgemm-fp8", device_map={"": 0}, dtype=torch.float16)
    ```
    Use instead:
    ```python hardware=h100 stack=recent-4-fbgemm
    AutoModelForCausalLM.from_pretrained("example/fbgemm-fp8", device_map={"": 0}, dtype=torch.bfloat16)
    ```

    ## Fix safety
    Required: the layers compute in another dtype.
    """
    quantization = need(plan.quantization)
    wanted = takes(quantization.method) if quantization is not None else None
    fix = None
    if wanted is not None:
        fix = remedies.edit(f"Load in {wanted}", Applicability.REQUIRED, **{remedies.dtype_key: Dtype(wanted)})
    yield from as_planned(plan, "QVL328", fix)


@rule(
    "QVL316",
    Severity.WARNING,
    topic="fp8-capability",
    symptoms=(r"[Ww]e will default to dequantizing the model to bf16",),
)
def checkpoint_is_dequantized(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    The quantised checkpoint is turned into bfloat16 while it loads.

    ## What happens
    Where a GPU is too old for FP8 (below 8.9, transformers 5) or for MXFP4 (below 7.5), or where MXFP4 finds no triton from 3.4 on or no package
    `kernels`, transformers says so in the log and loads a bfloat16 model: twice the memory of FP8, four times that of MXFP4.

    ## Example
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```
    Use instead, on a GPU that has FP8:
    ```python hardware=h100 stack=today-kernels
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: install the kernels, or plan for the memory of a bfloat16 model.
    """
    if plan.blocked("quant-packages", "quant-method"):
        return
    why = dequantized(situation, plan)
    if why is None:
        return
    quantization = need(plan.quantization)
    method = "" if quantization is None else quantization.method
    more = "four times" if method == "mxfp4" else "twice"
    kernels = "triton" in why or "package kernels" in why or "kernels from" in why
    fix = Fix.display("Install the kernels", "pip install -U triton kernels") if kernels else None
    fix = fix or Fix.display(f"Plan for {more} the memory, or take a checkpoint in 4-bit AWQ or GPTQ")
    yield Finding(f"{why}: the model becomes bfloat16, of {more} the size", fix=fix)


@rule(
    "QVL318",
    Severity.ERROR,
    topic="bnb-offload",
    symptoms=(
        r"model with a device_map that contains a (CPU or disk|cpu/disk|disk) device",
        r"without setting device_map\. Please set",
    ),
)
def method_takes_no_offload(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    Layers of this quantisation method may not lie on the CPU or the disk.

    ## What happens
    HQQ, EETQ, HIGGS and, where the load itself quantises, FP8 and fbgemm refuse a device_map that names "cpu" or "disk" with a ValueError. A bare
    `device_map="cpu"` passes, and so do such maps for HQQ in 4.57.

    ## Example
    ```python stack=today-hqq
    AutoModelForCausalLM.from_pretrained("example/hqq", device_map={"model": 0, "lm_head": "cpu"})
    ```
    Use instead:
    ```python stack=today-hqq
    AutoModelForCausalLM.from_pretrained("example/hqq", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: the whole model goes to one GPU, which must have room for it.
    """
    fix = remedies.on_gpu()
    if fix is not None:
        fix = Fix(fix.title, Applicability.UNSAFE, (*fix.edits, *_drop(request, "max_memory")))
    yield from as_planned(plan, "QVL318", fix)


def _drop(request: Request, key: str) -> tuple[Edit, ...]:
    return (Edit(key, request.get(key), MISSING),) if request.kwargs.get(key) else ()


@rule(
    "QVL319",
    Severity.WARNING,
    topic="quantized-no-adapters",
    symptoms=(r"The model you are trying to fine-tune is quantized with \S+ but that quantization method do not support training",),
)
def method_is_not_trainable(plan: LoadPlan) -> Iterator[Finding]:
    """
    A Trainer refuses adapters on this quantisation method.

    ## What happens
    transformers asks the quantizer whether it can be trained: MXFP4, fbgemm, HIGGS, SpQR, VPTQ, Quark, AutoRound and GGUF never can, FP8 from 5.23 on
    only. Trainer raises a ValueError before the first step.

    ## Example
    ```python hardware=h100 stack=recent-4 purpose=lora trainer={}
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map={"": 0})
    ```
    Use instead a checkpoint that is not quantised so:
    ```python hardware=h100 stack=recent-4 purpose=lora trainer={}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: another checkpoint, or bitsandbytes over a plain one.
    """
    fix = Fix.display("Train the unquantised checkpoint, with BitsAndBytesConfig(load_in_4bit=True) where memory is short")
    for finding in as_planned(plan, "QVL319", fix):  # of one release it was recorded
        yield replace(finding, severity=Severity.ERROR) if finding.raises and finding.raises.certain else finding


@rule(
    "QVL321",
    Severity.ERROR,
    topic="quant-config-conflict",
    symptoms=(
        r"The quantization method \S+ does require the model to be pre-quantized",
        r"You cannot quantize with AWQ a non-quantized model",
        r"You cannot pass an `AwqConfig` when loading",
    ),
)
def method_needs_a_quantized_model(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The quantization_config belongs to a method that cannot quantise while loading.

    ## What happens
    AWQ, AQLM, VPTQ, SpQR, BitNet, compressed-tensors, Quark and AutoRound calibrate or convert a model beforehand. Their configuration on a plain
    checkpoint raises `ValueError: The quantization method awq does require the model to be pre-quantized`.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=AwqConfig(bits=4))
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: without the configuration the model loads unquantised, which takes more memory. A checkpoint that is quantised already keeps it small.
    """
    passed = request.get("quantization_config")
    fix = Fix(
        "Drop quantization_config, or take a quantised checkpoint",
        Applicability.UNSAFE,
        (Edit("quantization_config", passed, MISSING),),
    )
    yield from as_planned(plan, "QVL321", fix)
