"""The GPUs themselves: do they answer, are they free, are they sound?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.rules.cuda.causes import judged
from qvl_preflight.rules.cuda.ways_out import WITH_COMPUTE, in_container, restart_or_host
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts, Gpu
    from qvl_preflight.plan import LoadPlan


@rule("QVL111", Severity.WARNING, topic="no-cuda-visible", symptoms=(r"GPU is lost", r"fallen off the bus"), environment=True)
def lost_gpu(facts: Facts) -> Iterator[Finding]:
    """
    A GPU has fallen off the bus.

    ## What happens
    The driver has lost the connection to a GPU: power, heat, a loose card, or a fault (XID 79 in the kernel's log). It does not come back by
    itself, and programs on the other GPUs may hang as well.

    ## Example
    ```python hardware=lost-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, after a restart:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: the machine must be restarted.
    """
    if isinstance(facts.nvidia, Unknown) or isinstance(facts.nvidia.lost, Unknown) or not facts.nvidia.lost:
        return
    which = ", ".join(map(str, facts.nvidia.lost))
    remedy = restart_or_host(
        facts, "Restart the machine; look for XID 79 in the kernel's log", "sudo dmesg | grep -i xid", "sudo reboot"
    )
    yield Finding(f"GPU {which} has fallen off the bus: the driver no longer reaches it", "import", fix=remedy)


@rule(
    "QVL112",
    Severity.WARNING,
    topic="no-cuda-visible",
    symptoms=(r"Failed to initialize NVML: (Unknown Error|GPU access blocked)",),
    environment=True,
)
def silent_driver(facts: Facts) -> Iterator[Finding]:
    """
    The kernel driver is loaded, and NVML does not answer.

    ## What happens
    `nvidia-smi` fails in the same way, and CUDA most likely too. In a container `Unknown Error` after hours of work means that systemd reloaded
    its units and took the devices away; on a host it means that driver and libraries do not go together, or that a GPU is broken.

    ## Example
    ```python hardware=silent-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, once nvidia-smi works:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: a container or the machine must be restarted.
    """
    nvidia = facts.nvidia
    if isinstance(nvidia, Unknown) or not isinstance(nvidia.kernel_module, str) or not isinstance(facts.gpus, Unknown):
        return
    code = nvidia.nvml_error
    if isinstance(code, Unknown) and isinstance(nvidia.libcuda, str):
        message = "libnvidia-ml.so.1 is missing, so which GPUs there are is not known here; CUDA itself does without it"
        yield Finding(message, "import", fix=_whole_driver(facts), severity=Severity.NOTE)
    elif isinstance(code, int) and code not in (0, 4, 9, 18):  # those have rules of their own
        yield Finding(
            f"the kernel driver {nvidia.kernel_module} is loaded, and NVML does not answer: {facts.gpus.reason.removeprefix('NVML: ')}",
            "import",
            fix=_revive(facts),
        )


def _whole_driver(facts: Facts) -> Fix:
    if in_container(facts):
        return Fix.display("Add utility to the driver's capabilities", WITH_COMPUTE)
    return Fix.display("Install the driver's libraries whole", "nvidia-smi")


def _revive(facts: Facts) -> Fix:
    if in_container(facts):
        lasting = 'add "exec-opts": ["native.cgroupdriver=cgroupfs"] to /etc/docker/daemon.json'
        return Fix.display(
            "Restart the container; if it comes back, let Docker use the driver cgroupfs", "docker restart …", lasting
        )
    return Fix.display("Restart the machine, or reinstall the driver", "nvidia-smi", "sudo dmesg | grep -i -E 'nvrm|xid'")


def _used(devices: Devices, plan: LoadPlan | None) -> list[tuple[int, Gpu]]:
    """The visible GPUs that this is about: those on which the plan puts weights, else all."""
    known = ask(devices, plan)
    numbered = list(enumerate(known.visible)) if known else []
    if plan is None:
        return numbered
    return (
        []
        if isinstance(plan.devices, Unknown)
        else [(ordinal, gpu) for ordinal, gpu in numbered if f"cuda:{ordinal}" in plan.devices]
    )


@rule(
    "QVL116",
    Severity.WARNING,
    topic="no-cuda-visible",
    symptoms=(r"CUDA-capable device\(s\) is/are busy or unavailable",),
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
    for ordinal, gpu in _used(devices, plan):
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
    for ordinal, gpu in _used(devices, plan):
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


@rule("QVL118", Severity.WARNING, topic="no-cuda-visible", symptoms=(r"uncorrectable ECC error encountered",), environment=True)
def gpu_memory_errors(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The GPU's memory has uncorrected errors.

    ## What happens
    Since the driver started, this GPU found bits that it could not mend, or it waits for a reset to replace bad rows. Programs on it may end
    with `CUDA error: uncorrectable ECC error encountered`.

    ## Example
    ```python hardware=faulty-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, after the GPU was reset:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: the GPU must be reset, or replaced.
    """
    for ordinal, gpu in _used(devices, plan):
        errors, rows = ask(gpu.ecc_errors, plan), ask(gpu.row_remap, plan) or "none"
        trouble = [f"{errors} uncorrected memory error{'s' * (errors != 1)}"] if errors else []
        trouble += {"pending": ["bad rows that only a reset replaces"], "failed": ["bad rows that cannot be replaced"]}.get(
            rows, []
        )
        if trouble:
            title = "Have the GPU replaced" if rows == "failed" else "Reset the GPU while nothing uses it, or restart the machine"
            commands = ("nvidia-smi -q -d ECC,ROW_REMAPPER", f"sudo nvidia-smi --gpu-reset -i {gpu.index}")
            yield Finding(f"cuda:{ordinal} has {' and '.join(trouble)}", "import", fix=restart_or_host(facts, title, *commands))


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
