"""One GPU through NVML: what it is, who uses it, and how it fares. Structures as in nvml.h of driver 450 and later."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Literal

from qvl_preflight.facts import Gpu, Process, Slice
from qvl_preflight.probes.nvml import NOT_SUPPORTED, NvmlError, ask, attempt, text
from qvl_preflight.unknown import Unknown

_NOT_FOUND, _INSUFFICIENT_SIZE = 6, 7
_COMPUTE_MODES = {0: "default", 1: "exclusive-thread", 2: "prohibited", 3: "exclusive-process"}
_UNCORRECTED, _SINCE_START = 1, 0
_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE: a process whose memory Windows manages


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint))


class _Pci(ctypes.Structure):
    _fields_ = (("legacy", ctypes.c_char * 16), ("numbers", ctypes.c_uint * 5), ("bus_id", ctypes.c_char * 32))


def read(library: Any, index: int) -> Gpu:
    """The device with this NVML index. Raises NvmlError where there is no handle to be had; a refused question costs its field."""
    handle = ctypes.c_void_p()
    ask(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    memory = attempt(_memory, library, handle)
    known = isinstance(memory, _Memory)
    mig = attempt(_mig, library, handle)
    return Gpu(
        index=index,
        uuid=attempt(text, library, "nvmlDeviceGetUUID", 96, handle),
        name=attempt(text, library, "nvmlDeviceGetName", 96, handle),
        capability=attempt(_capability, library, handle),
        total_bytes=memory.total if known else memory,
        free_bytes=memory.free if known else memory,
        mig=mig,
        slices=attempt(_slices, library, handle) if mig is True else () if mig is False else mig,
        bus_id=attempt(_bus_id, library, handle),
        compute_mode=attempt(_compute_mode, library, handle),
        processes=attempt(_processes, library, handle),
        ecc_errors=attempt(_ecc_errors, library, handle),
        row_remap=attempt(_row_remap, library, handle),
    )


def _memory(library: Any, handle: Any) -> _Memory:
    memory = _Memory()
    ask(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    return memory


def _capability(library: Any, handle: Any) -> tuple[int, int]:
    major, minor = _numbers(library, "nvmlDeviceGetCudaComputeCapability", handle, 2)
    return major, minor


def _numbers(library: Any, name: str, handle: Any, count: int) -> tuple[int, ...]:
    """An answer that is a few whole numbers."""
    found = [ctypes.c_uint() for _ in range(count)]
    ask(library, name, handle, *map(ctypes.byref, found))
    return tuple(number.value for number in found)


def _mig(library: Any, handle: Any) -> bool:
    try:
        current, _ = _numbers(library, "nvmlDeviceGetMigMode", handle, 2)
    except NvmlError as error:
        if error.code == NOT_SUPPORTED:  # a device that cannot be partitioned
            return False
        raise
    return bool(current)


def _slices(library: Any, handle: Any) -> tuple[Slice, ...]:
    (count,) = _numbers(library, "nvmlDeviceGetMaxMigDeviceCount", handle, 1)
    out = []
    for index in range(count):
        device = ctypes.c_void_p()
        try:
            ask(library, "nvmlDeviceGetMigDeviceHandleByIndex", handle, ctypes.c_uint(index), ctypes.byref(device))
        except NvmlError as error:
            if error.code == _NOT_FOUND:  # room for an instance that nobody made
                continue
            raise
        memory = attempt(_memory, library, device)
        known = isinstance(memory, _Memory)
        out.append(
            Slice(
                attempt(text, library, "nvmlDeviceGetUUID", 96, device),
                attempt(text, library, "nvmlDeviceGetName", 96, device),
                memory.total if known else memory,
                memory.free if known else memory,
            )
        )
    return tuple(out)


def _bus_id(library: Any, handle: Any) -> str:
    info = _Pci()
    ask(library, "nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(info))
    return str(info.bus_id.decode(errors="replace"))


def _compute_mode(library: Any, handle: Any) -> str:
    (mode,) = _numbers(library, "nvmlDeviceGetComputeMode", handle, 1)
    return _COMPUTE_MODES.get(mode, str(mode))


def _processes(library: Any, handle: Any) -> tuple[Process, ...]:
    """Those that hold a CUDA context; the list may grow between the two questions."""
    count = ctypes.c_uint(0)
    name = "nvmlDeviceGetComputeRunningProcesses_v3"
    try:
        ask(library, name, handle, ctypes.byref(count), None)
        return ()
    except NvmlError as error:
        if error.code != _INSUFFICIENT_SIZE:
            raise
    count.value += 8
    found = (_Process * count.value)()
    ask(library, name, handle, ctypes.byref(count), found)
    return tuple(
        Process(each.pid, _name(each.pid), Unknown("the driver does not say") if each.used == _NOT_AVAILABLE else each.used)
        for each in found[: count.value]
        if each.pid != os.getpid()
    )


def _name(pid: int) -> str | Unknown:
    """Only where this process shares the host's numbers: in a container another process may bear the same one."""
    from qvl_preflight.probes.host import container

    if container():
        return Unknown("in a container the numbers are the host's")
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return Unknown("the process cannot be looked at")


def _ecc_errors(library: Any, handle: Any) -> int | Literal[False]:
    count = ctypes.c_ulonglong()
    try:
        ask(library, "nvmlDeviceGetTotalEccErrors", handle, _UNCORRECTED, _SINCE_START, ctypes.byref(count))
    except NvmlError as error:
        if error.code == NOT_SUPPORTED:
            return False
        raise
    return count.value


def _row_remap(library: Any, handle: Any) -> str:
    """Rows of memory that wait for a reset to be replaced (Ampere and later), or pages (before)."""
    try:
        _, _, pending, failed = _numbers(library, "nvmlDeviceGetRemappedRows", handle, 4)
        return "failed" if failed else "pending" if pending else "none"
    except NvmlError as error:
        if error.code != NOT_SUPPORTED:
            raise
    try:
        (pending,) = _numbers(library, "nvmlDeviceGetRetiredPagesPendingStatus", handle, 1)
    except NvmlError as error:
        if error.code == NOT_SUPPORTED:
            return "none"
        raise
    return "pending" if pending else "none"
