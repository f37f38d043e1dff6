"""The driver: is it there, loaded, whole, and new enough?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.cuda.causes import judged, reason
from qvl_preflight.rules.cuda.ways_out import give_gpu, place, restart_or_host
from qvl_preflight.stack.torch_wheels import channel_for, install_command
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.request import Request


@rule("QVL101", Severity.ERROR, topic="no-cuda-visible", symptoms=(r"Found no NVIDIA driver on your system",), environment=True)
def no_gpu(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The call asks for a GPU on a machine that has none.

    ## What happens
    No NVIDIA driver answers, or it knows no GPU. A device_map that names a GPU stops when the first tensor is moved:
    `RuntimeError: Found no NVIDIA driver on your system`. In a container this usually means that it was started without GPUs.

    ## Example
    ```python hardware=no-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead:
    ```python hardware=no-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: only you know whether the CPU will do, or whether this is the wrong machine.
    """
    if plan is not None:
        yield from as_planned(plan, "QVL101", give_gpu(facts))
    elif reason(facts, devices, "no-gpu"):
        bare = place(facts) == "linux" and not isinstance(facts.nvidia, Unknown) and facts.nvidia.cards == 0
        yield Finding(_found_none(facts, bare), "import", fix=None if bare else give_gpu(facts), severity=Severity.NOTE)


def _found_none(facts: Facts, bare: bool) -> str:
    """Known to have no card, or only no driver."""
    where = place(facts)
    if where in ("colab", "kaggle"):
        return "this notebook's machine has no GPU: models run on the CPU"
    if where == "wsl":
        return "no NVIDIA driver answers in this WSL: models run on the CPU"
    return f"this machine has no NVIDIA GPU{'' if bare else ', or no driver for it'}: models run on the CPU"


@rule(
    "QVL103", Severity.WARNING, topic="driver-too-old", symptoms=(r"The NVIDIA driver on your system is too old",), environment=True
)
def driver_too_old(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The driver is older than the CUDA that torch is built for.

    ## What happens
    A driver runs every CUDA release of its own major version and older ones. With a torch built for a newer major,
    `torch.cuda.is_available()` is False; asking for a GPU raises `RuntimeError: The NVIDIA driver on your system is too old`.

    ## Example
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until driver and torch go together:
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a driver or a package must be replaced.
    """
    yield from judged("QVL103", "driver-too-old", facts, devices, plan, lambda _: _newer_driver(facts))


def _newer_driver(facts: Facts) -> Fix:
    commands = (install_command(facts),) if channel_for(facts) else ("nvidia-smi",)
    return Fix.display("Update the driver, or install a torch built for the driver's CUDA", *commands)


@rule("QVL120", Severity.WARNING, topic="driver-too-old")
def old_driver_leaves_the_cpu(facts: Facts, devices: Devices, plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The driver is too old for this torch, and the model stays on the CPU without a word.

    ## What happens
    `torch.cuda.is_available()` is False, so that `device_map="auto"`, or none, means the CPU: the load passes, and the GPU idles. A later
    `model.to("cuda")` raises `RuntimeError: The NVIDIA driver on your system is too old`.

    ## Example
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead, until driver and torch go together:
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a driver or a package must be replaced.
    """
    if request.asks_for_cpu or plan.raised("QVL103") or isinstance(plan.devices, Unknown) or plan.devices != ("cpu",):
        return
    refusal = reason(facts, devices, "driver-too-old")
    if refusal is not None:
        yield Finding(f"{refusal.why}: the model stays on the CPU", "import", fix=_newer_driver(facts))


@rule("QVL105", Severity.ERROR, topic="no-cuda-visible", environment=True)
def driver_not_loaded(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    There is an NVIDIA card, and its kernel driver is not loaded.

    ## What happens
    After a kernel update without a rebuilt module, with Secure Boot and an unsigned module, with nouveau or vfio-pci on the card, or where
    the driver was never installed, CUDA finds nothing: `RuntimeError: Found no NVIDIA driver on your system`, or `No CUDA GPUs are
    available`. A model without a device_map runs on the CPU.

    ## Example
    ```python hardware=driver-not-loaded
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=driver-not-loaded
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: nothing on the machine is changed for you.
    """
    nvidia = facts.nvidia
    steps = ["sudo modprobe nvidia", "sudo dmesg | grep -i -E 'nvidia|nvrm'"]
    title = "Load NVIDIA's driver, or install it for the running kernel"
    if not isinstance(nvidia, Unknown) and nvidia.bound_to == "nouveau":
        title, steps = "Install NVIDIA's driver, which replaces nouveau, and restart", ["lsmod | grep nouveau"]
    elif not isinstance(nvidia, Unknown) and nvidia.bound_to == "vfio-pci":
        title, steps = (
            "The card is set aside for a virtual machine: use it there, or give it back to NVIDIA's driver",
            ["lspci -nnk -d 10de:"],
        )
    elif not isinstance(nvidia, Unknown) and nvidia.secure_boot is True:
        title = "Secure Boot is on: sign the driver's module and enrol its key, or switch Secure Boot off"
        steps += ["mokutil --sb-state"]
    yield from judged("QVL105", "not-loaded", facts, devices, plan, restart_or_host(facts, title, *steps))


@rule(
    "QVL107",
    Severity.ERROR,
    topic="no-cuda-visible",
    symptoms=(r"Driver/library version mismatch", r"Error 80[34]: (system has unsupported display driver|forward compatibility)"),
    environment=True,
)
def driver_library_mismatch(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The loaded kernel driver and its libraries are of different releases.

    ## What happens
    The driver was updated while the old module was loaded, or a container or LD_LIBRARY_PATH brings a libcuda of its own. `nvidia-smi`
    says `Driver/library version mismatch`; torch raises `RuntimeError: Unexpected error from cudaGetDeviceCount() … Error 803: system has
    unsupported display driver / cuda driver combination`.

    ## Example
    ```python hardware=driver-mismatch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=driver-mismatch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: nothing on the machine is changed for you.
    """
    nvidia = facts.nvidia
    library = "" if isinstance(nvidia, Unknown) or not isinstance(nvidia.libcuda, str) else nvidia.libcuda
    if "compat" in library:
        remedy = Fix.display(
            f"Take {library.rpartition('/')[0]} out of LD_LIBRARY_PATH: its libcuda is not the driver's", "unset LD_LIBRARY_PATH"
        )
    else:
        title = "Restart the machine, or reload the module while nothing uses a GPU"
        commands = ("sudo reboot", "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia")
        remedy = restart_or_host(facts, title, *commands)
    yield from judged("QVL107", "mismatch", facts, devices, plan, remedy)
