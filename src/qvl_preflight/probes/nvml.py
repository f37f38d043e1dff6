"""Driver and GPUs through NVML, by ctypes: CUDA is not initialised, nothing is installed, nothing is written.

Names and return codes: nvml.h of the NVIDIA driver, stable since release 450. One device is read in `nvml_device`.
"""

from __future__ import annotations

import ctypes
import sys
from _thread import allocate_lock, start_new_thread
from typing import Any, Literal

from qvl_preflight.facts import Driver
from qvl_preflight.probes import nvidia
from qvl_preflight.unknown import Unknown

_LIBRARIES = ("nvml.dll",) if sys.platform == "win32" else ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
_REASONS = {
    1: "NVML is not initialised",
    3: "not supported by this device",
    4: "no permission to ask the driver",
    9: "the NVIDIA kernel driver is not loaded",
    10: "no answer within 20 seconds: the driver hangs",
    12: "a library that NVML needs cannot be loaded",
    15: "the GPU has fallen off the bus",
    16: "the GPU must be reset",
    17: "the operating system or a control group blocks the device",
    999: "unknown error",
    18: "driver and library versions do not match",
}
NOT_SUPPORTED = 3
_PATIENCE = 20  # seconds; an H100 answers in 0.1, a driver without persistence mode wakes eight GPUs in about 10
_NO_PERMISSION, _NOT_LOADED, _TIMEOUT, _LOST = 4, 9, 10, 15


class NvmlError(Exception):
    """NVML refused a question."""

    def __init__(self, code: int) -> None:
        super().__init__(_REASONS.get(code, f"NVML error {code}"))
        self.code = code


def probe() -> dict[str, Any]:
    """``driver``, ``nvidia`` and ``gpus``; driver None and no GPUs where there is no NVIDIA driver."""
    found: list[dict[str, Any]] = []
    broken: list[BaseException] = []
    done = allocate_lock()
    done.acquire()

    def ask_it_all() -> None:
        try:
            found.append(_probe())
        except BaseException as error:  # raised again where somebody can catch it
            broken.append(error)
        finally:
            done.release()

    # A driver that hangs never returns, and cannot be interrupted: it is left behind in a thread of its own.
    start_new_thread(ask_it_all, ())
    if not done.acquire(timeout=_PATIENCE):
        return _surveyed(_TIMEOUT, dict.fromkeys(("driver", "gpus"), Unknown(f"NVML: {_REASONS[_TIMEOUT]}")))
    if broken:
        raise broken[0]
    return found[0]


def _probe() -> dict[str, Any]:
    library = _load()
    if library is None:
        return _surveyed(Unknown("libnvidia-ml.so.1 is not to be found"), _without_library())
    try:
        ask(library, "nvmlInit_v2")
    except NvmlError as error:
        if error.code == _NOT_LOADED:
            return _surveyed(_NOT_LOADED, {"driver": None, "gpus": ()})
        return _surveyed(error.code, dict.fromkeys(("driver", "gpus"), Unknown(f"NVML: {error}")))
    try:
        return _surveyed(False, *_devices(library))
    except NvmlError as error:
        return _surveyed(False, {"driver": Driver(attempt(_driver_version, library)), "gpus": Unknown(f"NVML: {error}")})
    finally:
        library.nvmlShutdown()


def _surveyed(error: int | Literal[False] | Unknown, found: dict[str, Any], lost: tuple[int, ...] | None = None) -> dict[str, Any]:
    return {**found, "nvidia": nvidia.survey(error, Unknown("NVML did not answer") if lost is None else lost)}


def _devices(library: Any) -> tuple[dict[str, Any], tuple[int, ...]]:
    """All that this process may use: NVML counts the others too, and refuses them (nvmlDeviceGetCount_v2 in nvml.h)."""
    from qvl_preflight.probes.nvml_device import read

    count = ctypes.c_uint()
    ask(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
    gpus, lost = [], []
    for index in range(count.value):
        try:
            gpus.append(read(library, index))
        except NvmlError as error:
            if error.code == _LOST:
                lost.append(index)
            elif error.code != _NO_PERMISSION:
                raise
    driver = Driver(attempt(_driver_version, library), attempt(_driver_cuda, library))
    return {"driver": driver, "gpus": Unknown("NVML: the GPU has fallen off the bus") if lost else tuple(gpus)}, tuple(lost)


def _load() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _without_library() -> dict[str, Any]:
    if nvidia.kernel_module() is not False:
        reason = Unknown(
            "a kernel driver is loaded, but libnvidia-ml.so.1 is not to be found (a container without the driver's libraries?)"
        )
        return {"driver": reason, "gpus": reason}
    return {"driver": None, "gpus": ()}


def ask(library: Any, name: str, *arguments: Any) -> None:
    """Put one question. Raises NvmlError."""
    code = getattr(library, name)(*arguments)
    if code:
        raise NvmlError(code)


def attempt(question: Any, *arguments: Any) -> Any:
    """The answer, or Unknown with NVML's reason."""
    try:
        return question(*arguments)
    except (NvmlError, AttributeError) as error:  # AttributeError: a library too old for the question
        return Unknown(f"NVML: {error}")


def _driver_version(library: Any) -> str:
    return text(library, "nvmlSystemGetDriverVersion", 80)


def _driver_cuda(library: Any) -> str:
    number = ctypes.c_int()
    ask(library, "nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def text(library: Any, name: str, size: int, *handle: Any) -> str:
    """An answer that is a text."""
    buffer = ctypes.create_string_buffer(size)
    ask(library, name, *handle, buffer, ctypes.c_uint(size))
    return buffer.value.decode(errors="replace")
