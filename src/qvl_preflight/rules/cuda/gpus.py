"""The use of the GPUs: may this process have them, and is there room?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.rules.cuda.causes import judged, used_gpus
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts, Gpu
    from qvl_preflight.plan import LoadPlan


@rule(
    "QVL116",
    Severity.WARNING,
    topic="no-cuda-visible",
    symptoms=(r"CUDA-capable device(\(s\) is/are|s are) busy or unavailable",),
    environment=True,
)
def exclusive_gpu(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The GPU's compute mode keeps this process out.

    ## What happens
    In the mode "exclusive process" one process has a GPU to itself; in "prohibited" none may use it. A second process stops at its first
    CUDA call: `CUDA error: CUDA-capable device(s) is/are busy or unavailable`, although the memory is free.

    ## Example
    ```python hardware=exclusive-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, on a GPU in the mode "default":
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: whoever runs the machine chose the mode.
    """
    for ordinal, gpu in used_gpus(devices, plan):
        mode = ask(gpu.compute_mode, plan) or ""
        remedy = Fix.display(
            "Use another GPU, wait for the other process, or set the mode to default (as root)",
            f"sudo nvidia-smi -i {gpu.index} -c DEFAULT",
        )
        if mode == "prohibited":
            yield Finding(f"cuda:{ordinal} is in the compute mode prohibited: no process may use it", "import", fix=remedy)
        elif mode.startswith("exclusive") and ask(gpu.processes, plan) not in (None, ()):
            yield Finding(f"cuda:{ordinal} is in the compute mode {mode}, and {_whose(gpu)} has it already", "import", fix=remedy)


@rule("QVL117", Severity.WARNING, topic="oom-fit", environment=True)
def gpu_held_by_others(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    Other processes hold the memory that the model needs.

    ## What happens
    The GPU would hold these weights, were it free. What is left is not enough: the load ends in `torch.OutOfMemoryError: CUDA out of memory`.
    Often it is a notebook that was left running, or a process that was stopped and still holds its memory.

    ## Example
    ```python hardware=held-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, once the GPU is free:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: the other process may be somebody's work.
    """
    for ordinal, gpu in used_gpus(devices, plan):
        free, total = ask(gpu.free_bytes, plan), ask(gpu.total_bytes, plan)
        if free is None or total is None:
            continue
        held = f"{_whose(gpu)} {'holds' if _count(gpu) == 1 else 'hold'} {(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB on cuda:{ordinal}"
        remedy = Fix.display("End that process if it is yours, or use another GPU", "nvidia-smi", *_ends(gpu))
        if plan is None:
            if _count(gpu) and free < total // 2:
                yield Finding(held, "import", fix=remedy, severity=Severity.NOTE)
        elif free < _weights(plan, f"cuda:{ordinal}") <= total:
            message = f"{held}: the {_weights(plan, f'cuda:{ordinal}') / 2**30:.1f} GiB of weights do not fit beside that"
            yield Finding(message, fix=remedy)


def _weights(plan: LoadPlan, device: str) -> int:
    """Bytes of weights that the plan puts there; 0 where it is not known, or where they are quantised while they are loaded."""
    if isinstance(plan.memory, Unknown) or isinstance(plan.quantization, Unknown):
        return 0
    return 0 if plan.quantization is not None and not plan.quantization.pre_quantized else plan.memory.get(device, 0)


def _count(gpu: Gpu) -> int:
    return 0 if isinstance(gpu.processes, Unknown) else len(gpu.processes)


def _whose(gpu: Gpu) -> str:
    """The processes on a GPU, the largest first, by name where that can be read."""
    if isinstance(gpu.processes, Unknown) or not gpu.processes:
        return "other processes"
    biggest = sorted(gpu.processes, key=lambda each: -(0 if isinstance(each.used_bytes, Unknown) else each.used_bytes))
    shown = [f"process {each.pid}" + ("" if isinstance(each.name, Unknown) else f" ({each.name})") for each in biggest[:3]]
    return " and ".join(shown) if len(biggest) <= 3 else f"{', '.join(shown)} and {len(biggest) - 3} more"


def _ends(gpu: Gpu) -> tuple[str, ...]:
    """How to look at a process whose number is this system's own."""
    processes = () if isinstance(gpu.processes, Unknown) else gpu.processes
    return tuple(f"ps -o user,lstart,args -p {each.pid}" for each in processes[:1] if not isinstance(each.name, Unknown))


@rule("QVL119", Severity.WARNING, topic="no-cuda-visible", environment=True)
def mig_without_instance(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    MIG is on, and the GPU has no MIG instance.

    ## What happens
    With MIG a GPU is used through its instances only. Where nobody has made one, CUDA shows no device: `RuntimeError: No CUDA GPUs are
    available`, while nvidia-smi lists the GPU as ever.

    ## Example
    ```python hardware=mig-without-instance
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, with an instance:
    ```python hardware=mig
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: whoever runs the machine partitions its GPUs.
    """
    remedy = Fix.display(
        "Make an instance of a profile that it offers, or switch MIG off",
        "sudo nvidia-smi mig -lgip",
        "sudo nvidia-smi mig -cgi PROFILE -C",
        "sudo nvidia-smi -mig 0",
    )
    yield from judged("QVL119", "no-slice", facts, devices, plan, remedy)
