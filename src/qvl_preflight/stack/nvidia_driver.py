"""What stands between a process and the driver: the parts that must be there, fit together and be open before CUDA can start.

Each was seen on an H100 (driver 580.159, torch 2.11) by taking it away in a mount namespace of one process, unless it says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts, Nvidia

MISMATCH = 18  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
_NO_GPUS = "No CUDA GPUs are available"
UNEXPECTED = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already "
    "set an error? Error "
)
_UNKNOWN_ERROR = "CUDA unknown error - this may be due to an incorrectly set up environment"


@dataclass(frozen=True)
class Refusal:
    """Why CUDA cannot be used, and the exception that the first use raises."""

    cause: str  # cpu-build, no-gpu, hidden, repeated, bad-order, no-slice, driver-too-old, and those below
    why: str
    type: str
    text: str
    evidence: Evidence
    condition: str | None = None


def driver_trouble(facts: Facts) -> Refusal | None:
    """The first part of the driver that is not as it must be; None where nothing is amiss, or nothing of it is known."""
    nvidia = facts.nvidia
    if isinstance(nvidia, Unknown) or nvidia.nodes == ("dxg",):  # WSL: the driver is Windows', none of these parts are here
        return None
    answers = not isinstance(facts.gpus, Unknown) and bool(facts.gpus)
    for look in (_stub, _not_loaded, _no_nodes, _no_libcuda, _locked, _mismatch, _no_uvm):
        found = look(nvidia, facts, answers)
        if found is not None:
            return found
    return None


def _stub(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    if isinstance(nvidia.libcuda, str) and "/stubs/" in nvidia.libcuda:
        why = f"a process loads {nvidia.libcuda}, a stub that is there for linking and can do nothing"
        return Refusal("stub", why, "RuntimeError", f"{UNEXPECTED}34: CUDA driver is a stub library", Evidence.RECORDED)
    return None


def _not_loaded(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    cards = nvidia.cards
    if answers or nvidia.kernel_module is not False or isinstance(cards, Unknown) or cards == 0:
        return None
    holder = (
        f": {nvidia.bound_to} holds the card" if isinstance(nvidia.bound_to, str) and nvidia.bound_to not in ("", "nvidia") else ""
    )
    why = f"this machine has {'an NVIDIA card' if cards == 1 else f'{cards} NVIDIA cards'}, and NVIDIA's kernel driver is not loaded{holder}"
    return Refusal("not-loaded", why, "RuntimeError", NO_DRIVER if nvidia.libcuda is False else _NO_GPUS, Evidence.RECORDED)


def _no_nodes(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    """Outside a container the driver makes its nodes itself, and root's processes were seen to do so."""
    if answers or not isinstance(nvidia.kernel_module, str) or nvidia.nodes != () or not _container(facts):
        return None
    why = "the driver is loaded, and this container was given no GPU: there is no /dev/nvidia0 in it"
    return Refusal("no-nodes", why, "RuntimeError", NO_DRIVER if nvidia.libcuda is False else _NO_GPUS, Evidence.RECORDED)


def _no_libcuda(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    if nvidia.libcuda is not False or not isinstance(nvidia.kernel_module, str):
        return None
    why = "the driver is loaded, and libcuda.so.1, its library for CUDA, is not to be found"
    return Refusal("no-libcuda", why, "RuntimeError", NO_DRIVER, Evidence.RECORDED)


def _locked(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    """One GPU that is closed is only left out; all of them, or a node that all need, stop CUDA."""
    if isinstance(nvidia.locked_nodes, Unknown) or isinstance(nvidia.nodes, Unknown):
        return None
    gpus = {name for name in nvidia.nodes if re.fullmatch(r"nvidia\d+", name)}
    locked = set(nvidia.locked_nodes)
    names = sorted({"nvidiactl", "nvidia-uvm"} & locked) + (sorted(gpus) if gpus and gpus <= locked else [])
    if not names:
        return None
    why = f"this user may not open {' and '.join(f'/dev/{name}' for name in names)}"
    return Refusal("locked", why, "RuntimeError", _UNKNOWN_ERROR if names == ["nvidia-uvm"] else _NO_GPUS, Evidence.RECORDED)


def _mismatch(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    text = f"{UNEXPECTED}803: system has unsupported display driver / cuda driver combination"
    library, module = library_release(nvidia), nvidia.kernel_module
    if library and isinstance(module, str) and library != module and not _newer_on_purpose(nvidia, library, module):
        why = f"the loaded kernel driver is {module}, and its library {nvidia.libcuda} is {library}: they must be of one release"
        return Refusal("mismatch", why, "RuntimeError", text, Evidence.RECORDED)
    if nvidia.nvml_error == MISMATCH:
        loaded = f" ({module})" if isinstance(module, str) else ""
        why = f"the loaded kernel driver{loaded} and its libraries are of different releases"
        return Refusal("mismatch", why, "RuntimeError", text, Evidence.SOURCE)
    return None


def library_release(nvidia: Nvidia) -> str | None:
    """The release of the libcuda that a process would load, by its file name."""
    found = re.search(r"\.so\.(\d{3,}(?:\.\d+)+)$", nvidia.libcuda) if isinstance(nvidia.libcuda, str) else None
    return found.group(1) if found else None


def _newer_on_purpose(nvidia: Nvidia, library: str, module: str) -> bool:
    """cuda-compat's libcuda of a newer branch is made to run on an older kernel driver (CUDA compatibility guide, "Forward compatibility")."""
    return "compat" in str(nvidia.libcuda) and int(library.split(".")[0]) > int(module.split(".")[0])


def _no_uvm(nvidia: Nvidia, facts: Facts, answers: bool) -> Refusal | None:
    if not answers or isinstance(nvidia.nodes, Unknown) or "nvidiactl" not in nvidia.nodes or "nvidia-uvm" in nvidia.nodes:
        return None
    if not _container(facts):  # the driver makes it at first use
        return None
    why = "/dev/nvidia-uvm, which CUDA needs beside the GPU itself, is not in this container"
    return Refusal(
        "no-uvm", why, "RuntimeError", _UNKNOWN_ERROR, Evidence.RECORDED, condition="the container may not make it itself"
    )


def _container(facts: Facts) -> bool:
    return not isinstance(facts.host, Unknown) and isinstance(facts.host.container, str)
