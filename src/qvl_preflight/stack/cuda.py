"""What torch.cuda would answer in this process, and the words in which it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.devices import BAD_ORDER, NO_SLICE, REPEATED
from qvl_preflight.stack.nvidia_driver import NO_DRIVER, UNEXPECTED, Refusal, driver_trouble
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts, Gpu
    from qvl_preflight.plan import Situation

# torch.AcceleratorError (a RuntimeError) replaced RuntimeError for CUDA errors: recorded with torch 2.11; older: recorded reports.
DEVICE_ERROR: ByRelease[str] = ByRelease(
    "torch",
    Row("1.0", "2.8", "RuntimeError", Evidence.SOURCE, "torch 2.2.2 c10/cuda/CUDAException.cpp"),
    Row("2.8", None, "AcceleratorError", Evidence.RECORDED, "torch 2.11.0, recorded on an H100"),
)
NVIDIA_ONLY = "the checks know NVIDIA GPUs only"  # ends the reason wherever another vendor's GPU is in use
BAD_ORDINAL = "CUDA error: invalid device ordinal"
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"
# torch.device(0) asks for the current accelerator of the build; a build without one has its own words.
NO_ACCELERATOR = ByRelease(
    "torch",
    Row(
        "1.0",
        "2.6",
        ("AssertionError", "Torch not compiled with CUDA enabled"),
        Evidence.SOURCE,
        "torch 2.2.2 torch/cuda/__init__.py",
    ),
    Row(
        "2.6", None, ("RuntimeError", "Cannot access accelerator device when none is available."), Evidence.RUN, "torch 2.13.0+cpu"
    ),
)


def refusal(situation: Situation) -> Refusal | None:
    """Why this process cannot use CUDA, None where it can. Raises Undecided."""
    return refusal_of(situation.facts, situation.devices)


def refusal_of(facts: Facts, devices: Devices | Unknown) -> Refusal | None:
    """As `refusal`, for an environment without a call."""
    build = _cuda_build(facts)
    if build is False:
        return Refusal(
            "cpu-build",
            "the installed torch is built without CUDA",
            "AssertionError",
            "Torch not compiled with CUDA enabled",
            Evidence.RUN,
        )
    trouble = driver_trouble(facts)
    if trouble is not None:
        return trouble
    devices = need(devices)
    if not devices.physical:
        only_nvidia(facts)
        if "amd" in facts.other_gpus:
            why = "this machine's GPU is AMD's, and torch is built for CUDA, which knows NVIDIA's only"
            return Refusal("other-gpu", why, "RuntimeError", NO_DRIVER, Evidence.RUN)  # as on any machine without an NVIDIA GPU
        return Refusal(
            "no-gpu",
            "this machine has no NVIDIA GPU or driver",
            "RuntimeError",
            NO_DRIVER,
            Evidence.RUN,
        )
    return _setting(facts, devices) or _driver_too_old(facts, build)


def _setting(facts: Facts, devices: Devices) -> Refusal | None:
    """What CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER make of it."""
    if devices.broken == REPEATED:
        why = f'CUDA_VISIBLE_DEVICES="{devices.setting}" names a device twice, which the CUDA runtime refuses'
        return Refusal("repeated", why, "RuntimeError", UNEXPECTED + "101: invalid device ordinal", Evidence.RECORDED)
    if devices.broken == BAD_ORDER:
        order = facts.variables.get("CUDA_DEVICE_ORDER", "")
        why = f'CUDA_DEVICE_ORDER="{order}" is neither PCI_BUS_ID nor FASTEST_FIRST, and CUDA then shows no device'
        return Refusal("bad-order", why, "RuntimeError", UNEXPECTED + "101: invalid device ordinal", Evidence.RECORDED)
    if devices.broken == NO_SLICE:
        why = "MIG is on, and nobody has made a MIG instance: CUDA shows no device"
        return Refusal("no-slice", why, "RuntimeError", "No CUDA GPUs are available", Evidence.SOURCE)
    if devices.hidden and devices.setting == "NoDevFiles":
        why = "Slurm gave this job no GPU (CUDA_VISIBLE_DEVICES=NoDevFiles)"
        return Refusal("slurm-none", why, "RuntimeError", "No CUDA GPUs are available", Evidence.RECORDED)
    if devices.hidden:
        why = f'CUDA_VISIBLE_DEVICES="{devices.setting}" hides every GPU'
        return Refusal("hidden", why, "RuntimeError", "No CUDA GPUs are available", Evidence.RECORDED)
    return None


def available(situation: Situation) -> bool:
    """``torch.cuda.is_available()``. Raises Undecided."""
    found = refusal(situation)
    if found is not None and found.condition is not None:
        raise Undecided(f"{found.why}; CUDA can be used unless {found.condition}")
    return found is None


def _cuda_build(facts: Facts) -> str | bool | Unknown:
    torch = facts.torch
    if not isinstance(facts.packages, Unknown) and isinstance(facts.packages.get("torch-npu"), str):
        raise Undecided(f"torch-npu is installed, for Ascend NPUs: {NVIDIA_ONLY}")
    if isinstance(torch, Unknown):
        return _build_by_version(facts)
    if isinstance(torch.hip_build, str):
        raise Undecided(f"this torch is built for ROCm {torch.hip_build}: {NVIDIA_ONLY}")
    if isinstance(torch.xpu_build, str):
        raise Undecided(f"this torch is built for Intel GPUs (XPU {torch.xpu_build}): {NVIDIA_ONLY}")
    return _build_by_version(facts) if isinstance(torch.cuda_build, Unknown) else torch.cuda_build


def _build_by_version(facts: Facts) -> bool | Unknown:
    """A torch that is called 2.13.0+cpu says so itself; else the build is unknown and taken to be CUDA's, the default on Linux."""
    packages = facts.packages
    version = packages.get("torch") if not isinstance(packages, Unknown) else None
    local = version.partition("+")[2] if isinstance(version, str) else ""
    if local.startswith(("rocm", "xpu")):
        raise Undecided(f"this torch is built for {local}: {NVIDIA_ONLY}")
    platform = facts.python.platform if not isinstance(facts.python, Unknown) else ""
    if isinstance(platform, str) and platform.startswith("win") and not local:
        raise Undecided("on Windows the plain torch may be built with or without CUDA")
    return False if local == "cpu" else Unknown("the CUDA build of torch is not known")


def on_a_mac(facts: Facts) -> bool:
    """Is it a Mac, where CUDA is never available? What its own GPU does is another question (`only_nvidia`). Unknown counts as no."""
    platform = facts.python.platform if not isinstance(facts.python, Unknown) else None
    return isinstance(platform, str) and platform.startswith("macos")


def only_nvidia(facts: Facts) -> None:
    """Raises Undecided on a machine whose GPU cannot be NVIDIA's."""
    if on_a_mac(facts):
        raise Undecided(f"this is a Mac: {NVIDIA_ONLY}")


def _driver_too_old(facts: Facts, build: str | bool | Unknown) -> Refusal | None:
    """CUDA is compatible within a major release; a driver of an older major cannot run it (CUDA compatibility guide)."""
    driver = facts.driver
    if not isinstance(build, str) or driver is None or isinstance(driver, Unknown):
        return None
    if isinstance(driver.cuda, Unknown):
        return _older_than_needed(driver.version, build)
    major, minor = (driver.cuda + ".0").split(".")[:2]
    if int(major) >= int(build.split(".")[0]):
        return None
    number = int(major) * 1000 + int(minor) * 10
    return Refusal(
        "driver-too-old",
        f"the driver runs CUDA up to {driver.cuda}, the installed torch is built for CUDA {build}",
        "RuntimeError",
        f"The NVIDIA driver on your system is too old (found version {number}).",
        Evidence.SOURCE,
    )


# The oldest driver for each major release of CUDA, on Linux; Windows' numbers are a little higher (CUDA toolkit release notes, "CUDA Toolkit and
# Minimum Required Driver Version for CUDA Minor Version Compatibility").
OLDEST_DRIVER = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}


def _older_than_needed(version: str | Unknown, build: str) -> Refusal | None:
    """By the driver's own number, where it is not known which CUDA it runs."""
    found = None if isinstance(version, Unknown) else parse(version)
    oldest = OLDEST_DRIVER.get(int(build.split(".")[0]))
    if found is None or oldest is None or found >= oldest:
        return None
    shown = ".".join(map(str, oldest[:2]))
    why = f"the driver is {version}, and CUDA {build}, for which torch is built, takes one from {shown} on"
    text = "The NVIDIA driver on your system is too old (found version"
    return Refusal("driver-too-old", why, "RuntimeError", text, Evidence.SOURCE)


def without_kernels(gpu: Gpu, archs: tuple[str, ...]) -> str:
    """The sentence about a GPU for which a torch is not built."""
    name = "the GPU" if isinstance(gpu.name, Unknown) else gpu.name
    return f"{name} has compute capability {'.'.join(map(str, need(gpu.capability)))}, and the installed torch is built for {' '.join(archs)}"


AMPERE = (8, 0)  # bfloat16, TensorFloat-32 and FlashAttention begin here


def first_below(situation: Situation, devices: tuple[str, ...], capability: tuple[int, int]) -> Gpu | None:
    """The first of these devices that is a GPU below a compute capability. Without a GPU among them: one where every GPU here is.

    Raises Undecided where a capability is unknown.
    """
    found = need(situation.devices)
    if not any(name.startswith("cuda") for name in devices):
        below = [gpu for gpu in found.visible if tuple(need(gpu.capability)) < capability]
        return below[0] if below and len(below) == len(found.visible) else None
    for name in devices:
        kind, _, ordinal = name.partition(":")
        if kind == "cuda" and ordinal.isdecimal() and int(ordinal) < len(found.visible):
            gpu = found.visible[int(ordinal)]
            certain = found.order_known or all(tuple(need(other.capability)) < capability for other in found.visible)
            if certain and tuple(need(gpu.capability)) < capability:
                return gpu
    return None


def describe(gpu: Gpu) -> str:
    """``Tesla T4 (compute capability 7.5)``."""
    name = "the GPU" if isinstance(gpu.name, Unknown) else gpu.name
    return f"{name} (compute capability {'.'.join(map(str, need(gpu.capability)))})"
