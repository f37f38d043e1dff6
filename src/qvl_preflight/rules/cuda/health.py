"""The health of the GPUs: do they answer, is their memory sound?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.rules.cuda.causes import used_gpus
from qvl_preflight.rules.cuda.ways_out import WITH_COMPUTE, in_container, restart_or_host
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
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
            f"the kernel driver {nvidia.kernel_module} is loaded, and NVML, which nvidia-smi asks, does not answer: {facts.gpus.reason.removeprefix('NVML: ')}",
            "import",
            fix=_revive(facts),
        )


def _whole_driver(facts: Facts) -> Fix:
    if in_container(facts):
        return Fix.display("Add utility to the driver's capabilities", WITH_COMPUTE)
    return Fix.display("Install the driver's libraries whole", "nvidia-smi")


def _revive(facts: Facts) -> Fix:
    if in_container(facts):
        lasting = '"exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json'
        return Fix.display(f"Restart the container; if it comes back, set {lasting}", "docker restart CONTAINER")
    return Fix.display("Restart the machine, or reinstall the driver", "nvidia-smi", "sudo dmesg | grep -i -E 'nvrm|xid'")


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
    for ordinal, gpu in used_gpus(devices, plan):
        errors, rows = ask(gpu.ecc_errors, plan), ask(gpu.row_remap, plan) or "none"
        trouble = [f"{errors} uncorrected memory error{'s' * (errors != 1)}"] if errors else []
        trouble += {"pending": ["bad rows that only a reset replaces"], "failed": ["bad rows that cannot be replaced"]}.get(
            rows, []
        )
        if trouble:
            title = "Have the GPU replaced" if rows == "failed" else "Reset the GPU while nothing uses it, or restart the machine"
            commands = ("nvidia-smi -q -d ECC,ROW_REMAPPER", f"sudo nvidia-smi --gpu-reset -i {gpu.index}")
            yield Finding(f"cuda:{ordinal} has {' and '.join(trouble)}", "import", fix=restart_or_host(facts, title, *commands))
