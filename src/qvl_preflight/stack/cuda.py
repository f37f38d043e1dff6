"""What torch.cuda would answer in this process, and the words in which it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.devices import REPEATED
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import Situation


@dataclass(frozen=True)
class Refusal:
    """Why CUDA cannot be used, and the exception that the first use raises."""

    cause: str  # cpu-build, no-driver, no-gpu, hidden, repeated, driver-too-old
    why: str
    type: str
    text: str


# torch.AcceleratorError (a RuntimeError) replaced RuntimeError for CUDA errors: recorded with torch 2.11; older: recorded reports.
DEVICE_ERROR: ByRelease[str] = ByRelease(
    "torch",
    Row("1.0", "2.8", "RuntimeError", Evidence.SOURCE, "torch 2.2.2 c10/cuda/CUDAException.cpp"),
    Row("2.8", None, "AcceleratorError", Evidence.RECORDED, "torch 2.11.0, recorded on an H100"),
)
BAD_ORDINAL = "CUDA error: invalid device ordinal"
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
    return refusal_of(situation.facts, need(situation.devices))


def refusal_of(facts: Facts, devices: Devices) -> Refusal | None:
    """As `refusal`, for an environment without a call."""
    build = _cuda_build(facts)
    if build is False:
        return Refusal(
            "cpu-build", "the installed torch is built without CUDA", "AssertionError", "Torch not compiled with CUDA enabled"
        )
    if not devices.physical:
        _only_nvidia(facts)
        return Refusal(
            "no-gpu",
            "this machine has no NVIDIA GPU or driver",
            "RuntimeError",
            "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        )
    if devices.broken == REPEATED:
        return Refusal(
            "repeated",
            f'CUDA_VISIBLE_DEVICES="{devices.setting}" names a device twice, which the CUDA runtime refuses',
            "RuntimeError",
            "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have "
            "already set an error? Error 101: invalid device ordinal",
        )
    if devices.hidden:
        return Refusal(
            "hidden", f'CUDA_VISIBLE_DEVICES="{devices.setting}" hides every GPU', "RuntimeError", "No CUDA GPUs are available"
        )
    return _driver_too_old(facts, build)


def available(situation: Situation) -> bool:
    """``torch.cuda.is_available()``. Raises Undecided."""
    return refusal(situation) is None


def _cuda_build(facts: Facts) -> str | bool | Unknown:
    torch = facts.torch
    if isinstance(torch, Unknown):
        return _build_by_version(facts)
    if isinstance(torch.hip_build, str):
        raise Undecided("this torch is built for ROCm: the checks know NVIDIA GPUs only")
    return _build_by_version(facts) if isinstance(torch.cuda_build, Unknown) else torch.cuda_build


def _build_by_version(facts: Facts) -> bool | Unknown:
    """A torch that is called 2.13.0+cpu says so itself; else the build is unknown and taken to be CUDA's, the default on Linux."""
    packages = facts.packages
    version = packages.get("torch") if not isinstance(packages, Unknown) else None
    local = version.partition("+")[2] if isinstance(version, str) else ""
    if local.startswith(("rocm", "xpu")):
        raise Undecided(f"this torch is built for {local}: the checks know NVIDIA GPUs only")
    platform = facts.python.platform if not isinstance(facts.python, Unknown) else ""
    if isinstance(platform, str) and platform.startswith("win") and not local:
        raise Undecided("on Windows the plain torch may be built with or without CUDA")
    return False if local == "cpu" else Unknown("the CUDA build of torch is not known")


def _only_nvidia(facts: Facts) -> None:
    platform = facts.python.platform if not isinstance(facts.python, Unknown) else None
    if isinstance(platform, str) and platform.startswith("macos"):
        raise Undecided("this is a Mac: the checks know NVIDIA GPUs only")


def _driver_too_old(facts: Facts, build: str | bool | Unknown) -> Refusal | None:
    """CUDA is compatible within a major release; a driver of an older major cannot run it (CUDA compatibility guide)."""
    driver = facts.driver
    if not isinstance(build, str) or driver is None or isinstance(driver, Unknown) or isinstance(driver.cuda, Unknown):
        return None
    major, minor = (driver.cuda + ".0").split(".")[:2]
    if int(major) >= int(build.split(".")[0]):
        return None
    number = int(major) * 1000 + int(minor) * 10
    return Refusal(
        "driver-too-old",
        f"the driver runs CUDA up to {driver.cuda}, the installed torch is built for CUDA {build}",
        "RuntimeError",
        f"The NVIDIA driver on your system is too old (found version {number}).",
    )
