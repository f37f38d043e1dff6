"""GPUs and driver through NVML, by ctypes: CUDA is not initialised, nothing is installed, nothing is written.

Names and structures: nvml.h of the NVIDIA driver, stable since release 450; return codes as in its nvmlReturn_t.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from qvl_preflight.facts import Driver, Gpu
from qvl_preflight.unknown import Unknown

_LIBRARIES = ("nvml.dll",) if sys.platform == "win32" else ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
_REASONS = {
    1: "NVML is not initialised",
    3: "not supported by this device",
    4: "no permission to ask the driver",
    9: "the NVIDIA kernel driver is not loaded",
    15: "the GPU has fallen off the bus",
    18: "driver and library versions do not match: restart the machine, or reload the kernel module",
}
_NOT_LOADED = 9


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NvmlError(Exception):
    """NVML refused a question."""

    def __init__(self, code: int) -> None:
        super().__init__(_REASONS.get(code, f"NVML error {code}"))
        self.code = code


def probe() -> dict[str, Any]:
    """``driver`` and ``gpus``; driver None and no GPUs where there is no NVIDIA driver."""
    library = _load()
    if library is None:
        return _without_library()
    try:
        _ask(library, "nvmlInit_v2")
    except NvmlError as error:
        if error.code == _NOT_LOADED:
            return {"driver": None, "gpus": ()}
        return dict.fromkeys(("driver", "gpus"), Unknown(f"NVML: {error}"))
    try:
        count = ctypes.c_uint()
        _ask(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        gpus = tuple(_gpu(library, index) for index in range(count.value))
        return {"driver": Driver(_attempt(_driver_version, library), _attempt(_driver_cuda, library)), "gpus": gpus}
    except NvmlError as error:
        return {"driver": Driver(_attempt(_driver_version, library)), "gpus": Unknown(f"NVML: {error}")}
    finally:
        library.nvmlShutdown()


def _load() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _without_library() -> dict[str, Any]:
    if os.path.exists("/proc/driver/nvidia/version"):
        reason = Unknown(
            "a kernel driver is loaded, but libnvidia-ml.so.1 is not to be found (a container without the driver's libraries?)"
        )
        return {"driver": reason, "gpus": reason}
    return {"driver": None, "gpus": ()}


def _ask(library: Any, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code:
        raise NvmlError(code)


def _attempt(question: Any, *arguments: Any) -> Any:
    try:
        return question(*arguments)
    except (NvmlError, AttributeError) as error:  # AttributeError: a library too old for the question
        return Unknown(f"NVML: {error}")


def _driver_version(library: Any) -> str:
    return _text(library, "nvmlSystemGetDriverVersion", 80)


def _driver_cuda(library: Any) -> str:
    number = ctypes.c_int()
    _ask(library, "nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _text(library: Any, name: str, size: int, *handle: Any) -> str:
    buffer = ctypes.create_string_buffer(size)
    _ask(library, name, *handle, buffer, ctypes.c_uint(size))
    return buffer.value.decode(errors="replace")


def _gpu(library: Any, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    _ask(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    memory = _attempt(_memory, library, handle)
    known = isinstance(memory, _Memory)
    return Gpu(
        index=index,
        uuid=_attempt(_text, library, "nvmlDeviceGetUUID", 96, handle),
        name=_attempt(_text, library, "nvmlDeviceGetName", 96, handle),
        capability=_attempt(_capability, library, handle),
        total_bytes=memory.total if known else memory,
        free_bytes=memory.free if known else memory,
        mig=_attempt(_mig, library, handle),
    )


def _memory(library: Any, handle: Any) -> _Memory:
    memory = _Memory()
    _ask(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    return memory


def _capability(library: Any, handle: Any) -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _ask(library, "nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _mig(library: Any, handle: Any) -> bool:
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    try:
        _ask(library, "nvmlDeviceGetMigMode", handle, ctypes.byref(current), ctypes.byref(pending))
    except NvmlError as error:
        if error.code == 3:  # a device that cannot be partitioned
            return False
        raise
    return bool(current.value)
