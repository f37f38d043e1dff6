"""QVL930 and 931: a dtype that the device has no arithmetic for."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.cuda import describe
from qvl_preflight.stack.precision import emulated_bfloat16


@rule(
    "QVL930",
    Severity.WARNING,
    topic="bf16-unsupported",
    symptoms=(r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",),
)
def bfloat16_is_emulated(situation: Situation, plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    bfloat16 on a GPU that has none: it runs, several times slower.

    ## What happens
    Tensor cores compute in bfloat16 from compute capability 8.0 on. Below (T4, V100, P100) torch converts around each operation: nothing is raised, and
    it is slower than float32. `torch.cuda.is_bf16_supported()` answers True there since torch 2.3, since it counts emulation.

    ## Example
    ```python hardware=t4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=t4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map={"": 0}, dtype=torch.float16)
    ```

    ## Fix safety
    Unsafe: float16 has less range, and some models that were trained in bfloat16 overflow in it.
    """
    found = emulated_bfloat16(situation, plan)
    if found is None:
        return
    setting, gpu = found
    message = f"{describe(gpu)} has no bfloat16: it is emulated, several times slower than float16"
    yield Finding(message, "train" if setting == "bf16" else "forward", fix=_float16(setting, remedies))


def _float16(setting: str, remedies: Remedies) -> Fix:
    if setting == "bf16":
        return Fix.display("Pass fp16=True in place of bf16=True")
    key = remedies.dtype_key if setting == "dtype" else f"quantization_config__{setting}"
    return remedies.edit("Compute in float16", Applicability.UNSAFE, **{key: Dtype("float16")})


@rule(
    "QVL931",
    Severity.ERROR,
    topic="fp16-cpu",
    symptoms=(r"\"(addmm_impl_cpu_|LayerNormKernelImpl|softmax_lastdim_kernel_impl|bmm)\" not implemented for 'Half'",),
)
def float16_on_the_cpu(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    float16 weights on the CPU, where this torch has no kernels for them.

    ## What happens
    The first forward raises `RuntimeError: "addmm_impl_cpu_" not implemented for 'Half'`, or the same of LayerNormKernelImpl. torch multiplies float16
    matrices on the CPU from 2.2 on, and has its LayerNorm from 2.3 on.

    ## Example
    ```python hardware=no-gpu stack=seed
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", torch_dtype=torch.float16)
    ```
    Use instead:
    ```python hardware=no-gpu stack=seed
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", torch_dtype=torch.float32)
    ```

    ## Fix safety
    Required: the same weights in float32, in twice the memory. Where a GPU can be used, the model goes there instead: that is safe.
    """
    yield from as_planned(plan, "QVL931", None if not plan.raised("QVL931") else _elsewhere(request, remedies))


def _elsewhere(request: Request, remedies: Remedies) -> Fix:
    gpu = None if request.asks_for_cpu else remedies.on_gpu()
    if gpu is not None:
        return gpu
    key = remedies.dtype_key
    return Fix("Load in float32 for the CPU", Applicability.REQUIRED, (Edit(key, request.get(key), Dtype("float32")),))
