"""QVL4xx, continued: devices that this torch does not have, tensor parallelism, and sizes that mean something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.devices import is_rank
from qvl_preflight.facts import Launch
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.accelerate import STRATEGIES, in_bits


@rule(
    "QVL415",
    Severity.ERROR,
    topic="device-map-string",
    symptoms=(
        r"PyTorch is not linked with support for \w+ devices",
        r"Torch not compiled with XPU enabled",
        r"No module named 'torch.hpu'",
    ),
)
def device_of_another_machine(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The call names a device that this torch is not built for.

    ## What happens
    "mps" is there on a Mac, "xpu" with a torch for Intel's GPUs, "npu" and "hpu" once their plugin is installed. Elsewhere the load raises, by
    release, `RuntimeError: PyTorch is not linked with support for mps devices`, `AssertionError: Torch not compiled with XPU enabled` or the like.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="mps")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe: the same weights on the GPU of this process, or on the CPU where there is none.
    """
    yield from as_planned(plan, "QVL415", remedies.on_gpu() if remedies.has_gpu else remedies.on_cpu())


@rule("QVL423", Severity.WARNING, topic="mps-bf16")
def bfloat16_on_an_old_mps(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    bfloat16 weights go to a Mac's GPU, and this torch has none there.

    ## What happens
    torch before 2.3 has no bfloat16 tensors on MPS: `TypeError: BFloat16 is not supported on MPS`. From 2.3 on macOS 14 is needed. 2.2.2 is the last torch for Macs
    with an Intel processor.

    ## Example
    ```python hardware=mac stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map="mps", torch_dtype="auto")
    ```
    Use instead:
    ```python hardware=mac stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map="mps", torch_dtype=torch.float16)
    ```

    ## Fix safety
    Unsafe: float16 has less range, and some models that were trained in bfloat16 overflow in it.
    """
    fix = remedies.edit("Load in float16", Applicability.UNSAFE, **{remedies.dtype_key: Dtype("float16")})
    yield from as_planned(plan, "QVL423", fix)


@rule("QVL416", Severity.ERROR, topic="device-map-ddp", symptoms=(r"`tp_plan` and `device_map` are mutually exclusive",))
def tp_plan_beside_a_device_map(plan: LoadPlan, launch: Launch, remedies: Remedies) -> Iterator[Finding]:
    """
    tp_plan and device_map exclude one another.

    ## What happens
    tp_plan cuts every layer over the ranks of a launch, device_map gives whole layers to devices of one process. transformers 4.49 to 5.5 raises
    `ValueError: tp_plan and device_map are mutually exclusive`.

    ## Example
    ```python stack=recent-4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, tp_plan="auto")
    ```
    Use instead:
    ```python stack=recent-4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe: under a launcher the device_map is dropped, in a single process the tp_plan, which needs ranks.
    """
    yield from as_planned(plan, "QVL416", remedies.without("device_map" if is_rank(launch) else "tp_plan"))


@rule(
    "QVL417", Severity.ERROR, topic="device-map-ddp", symptoms=(r"We tried to initialize torch.distributed for you, but it failed",)
)
def tp_plan_without_ranks(plan: LoadPlan) -> Iterator[Finding]:
    """
    tp_plan is given to a process that no launcher started.

    ## What happens
    Tensor parallelism needs one process for each GPU. transformers 4.50 to 5.5 reads RANK, LOCAL_RANK and WORLD_SIZE and, where they are not set, raises
    `OSError: We tried to initialize torch.distributed for you, but it failed`.

    ## Example
    ```python stack=recent-4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", tp_plan="auto")
    ```
    Use instead:
    ```python stack=recent-4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: start one process for each GPU, or give the model to one of them.
    """
    fix = Fix(
        "Start one process for each GPU, or use a device_map",
        Applicability.DISPLAY,
        commands=("torchrun --nproc_per_node 2 script.py",),
    )
    yield from as_planned(plan, "QVL417", fix)


@rule("QVL419", Severity.WARNING, topic="device-map-string")
def max_memory_in_bits(request: Request, plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    A size in max_memory ends in a small b, and is taken for bits.

    ## What happens
    accelerate reads "20GB" as bytes and "20Gb" or "20gb" as bits, an eighth of it: the limit is 2.5 GB, and layers go to the CPU without a word.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "80gb"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "80GB"})
    ```

    ## Fix safety
    Safe: the limit that is meant, in bytes.
    """
    limits = request.kwargs.get("max_memory")
    if not isinstance(limits, Mapping) or request.device_map not in STRATEGIES or plan.blocked("max-memory"):
        return
    bits = [value for value in limits.values() if in_bits(value)]
    if bits:
        meant = {key: value.upper() if in_bits(value) else value for key, value in limits.items()}
        fix = remedies.edit("Spell it in bytes", Applicability.SAFE, max_memory=meant)
        yield Finding(
            f'max_memory says "{bits[0]}": a small b is read as bits, an eighth of what the same number in bytes is', fix=fix
        )
