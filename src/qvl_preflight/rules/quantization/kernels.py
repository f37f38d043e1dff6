"""The kernel that will hold the weights."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Stage, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.gptqmodel_device import NONE_FITS


@rule(
    "QVL305",
    Severity.ERROR,
    topic="gptq-kernel-missing",
    symptoms=(r"is not a valid BACKEND$", r"Unsupported backend: `BACKEND", r"No valid quant linear"),
)
def unusable_kernel(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The kernel that is asked for does not exist, or does not take this checkpoint.

    ## What happens
    `backend` names one kernel of gptqmodel. A name that it does not know (`exllama_v1` and `ipex` are gone), or a kernel that does not take
    the checkpoint's bits, group size or this GPU, raises a ValueError while the layers are replaced. AWQ checkpoints have kernels of their own, by the packing
    that `version` names; transformers 5 reads `gemm`, `gemv`, `gemv_fast` and `llm-awq`, and 4.x also asks for `exllama` and `ipex` by that name.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="exllama_v1"))
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto"))
    ```

    ## Fix safety
    Required: another kernel computes the same layers, with differences in the last digits.
    """
    named = request.get("quantization_config.backend")
    fix = (
        None
        if named in (MISSING, "auto", "auto_trainable")
        else remedies.other_kernel("Let gptqmodel choose a kernel", train=request.trains)
    )
    yield from as_planned(plan, "QVL305", fix)


@rule(
    "QVL306",
    Severity.ERROR,
    topic="gptq-on-cpu",
    symptoms=(
        r"qweight\.device\.type == .cuda.",
        r"Found modules on cpu/disk\. Using Exllama",
        r"^RuntimeError: no device index",
        r"does not support device: cpu",
        r"Expected a cuda device, but got: cpu",
    ),
)
def kernel_refuses_the_cpu(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The quantised weights end on the CPU, and the kernel that holds them runs on a GPU only.

    ## What happens
    Without a device_map a GPTQ model stays on the CPU, in every release of transformers. The exllama kernels of auto-gptq stop there after
    the last shard: with a bare `AssertionError` (optimum up to 1.13, or exllama v2), with `ValueError: Found modules on cpu/disk` (optimum up
    to 1.22) or `RuntimeError: no device index` (later). gptqmodel refuses a kernel that was named; with `device_map="auto"` and no GPU it
    takes a GPU kernel and fails in the first forward.

    ## Example
    ```python stack=seed purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map=None, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```
    Use instead:
    ```python stack=seed-optimum-1.16 purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map={"": 0}, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```

    ## Fix safety
    Safe where a GPU is visible: the same weights, the same numerics, on a GPU that this process may already use. Without one a kernel for the
    CPU is chosen, which is a *required* edit.
    """

    def remedy(raised: WillRaise) -> Fix | None:
        if remedies.has_gpu:
            return remedies.on_gpu()
        if raised.stage is Stage.FORWARD:
            return remedies.on_cpu()
        if raised.text == NONE_FITS:
            return None
        return remedies.other_kernel("Choose a kernel that runs on the CPU", train=request.trains)

    yield from as_planned(plan, "QVL306", remedy)


@rule(
    "QVL307",
    Severity.ERROR,
    topic="kernel-needs-build",
    symptoms=(
        r"GPTQMODEL_CUTLASS_DIR",
        r"failed to build torch\.ops JIT extension",
        r"torch\.ops kernels are not properly installed",
    ),
)
def kernel_needs_build(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The kernel that will be chosen compiles or downloads at its first use, and cannot do so here.

    ## What happens
    gptqmodel 7 ships its GPU kernels as sources. On a Hopper GPU "auto" picks Machete, which fetches CUTLASS when the weights are loaded already:
    without network the load dies with a `URLError`. Marlin, on other GPUs, needs nvcc, ninja and a C++ compiler.

    ## Example
    ```python hardware=h100-offline
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=h100-offline
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="triton"))
    ```

    ## Fix safety
    Required: the Triton kernel needs neither nvcc nor network, only a C compiler, and is slower; results differ in the last digits. Where Triton or a
    compiler is missing the plain kernel is chosen.
    """
    triton = remedies.has_triton
    name = ("auto_trainable" if request.trains else "triton") if triton else "torch"
    yield from as_planned(
        plan,
        "QVL307",
        remedies.kernel_by_name(
            "Use the Triton kernel, which needs no CUDA compiler" if triton else "Use the plain kernel, which needs no compiler",
            name,
        ),
    )


@rule("QVL310", Severity.ERROR, topic="bnb-offload", symptoms=(r"Some modules are dispatched on the CPU or the disk",))
def quantized_layers_offloaded(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    bitsandbytes layers would be offloaded to the CPU or the disk.

    ## What happens
    A device_map that leaves part of a bitsandbytes model on the CPU, or a string map that does not fit into GPU memory, raises `ValueError: Some
    modules are dispatched on the CPU or the disk` unless `llm_int8_enable_fp32_cpu_offload=True`; those modules then stay unquantised.

    ## Example
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", device_map={"model": 0, "lm_head": "cpu"}, quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Unsafe: the whole model goes to one GPU, which must have room for it; a max_memory that forbids it is dropped.
    """
    fix = remedies.on_gpu()
    if fix is not None:
        drop = (Edit("max_memory", request.get("max_memory"), MISSING),) if request.kwargs.get("max_memory") else ()
        fix = Fix(fix.title, Applicability.UNSAFE, (*fix.edits, *drop))
    yield from as_planned(plan, "QVL310", fix)
