"""For which GPUs torch is built, out of its library: the text that torch.cuda.get_arch_list() splits, without importing torch.

torch/csrc/cuda/Module.cpp puts CUDA_ARCH_FLAGS into libtorch_python as one constant, "sm_75 sm_80 … compute_120". Seen so in the wheels
of 2.1.2, 2.5.1, 2.6.0, 2.7.1, 2.8.0, 2.9.1, 2.10.0, 2.11.0 and 2.14.1; on an H100 get_arch_list() of 2.11.0 said the same.
"""

from __future__ import annotations

import mmap
import os
import re
from struct import unpack_from
from typing import BinaryIO

from qvl_preflight.unknown import Unknown

_LIBRARIES = ("libtorch_python.so", "torch_python.dll")
_LIST = re.compile(rb"(?:(?:sm|compute)_\d+[af]? ?)+(?=\0)")


def arch_list(torch_folder: str) -> tuple[str, ...] | Unknown:
    """``("sm_75", "sm_80", …)`` for the torch in this folder."""
    for name in _LIBRARIES:
        path = os.path.join(torch_folder, "lib", name)
        try:
            with open(path, "rb") as file:
                return _read(file, name)
        except (OSError, ValueError) as error:
            if not isinstance(error, FileNotFoundError):
                return Unknown(f"{name} cannot be read ({error})")
    return Unknown("torch's Python library is not where its wheels put it")


def _read(file: BinaryIO, name: str) -> tuple[str, ...] | Unknown:
    place = _constants(file)
    if place is not None:
        file.seek(place[0])
        found = _listed(file.read(place[1]))
    else:  # no ELF file: the whole of it
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _listed(data)
    return found if found else Unknown(f"{name} names no architectures")


def _listed(data: bytes | mmap.mmap) -> tuple[str, ...]:
    """The first constant that is a list of architectures; a pattern alone would look at every byte."""
    start = data.find(b"sm_")
    while start >= 0:
        if found := _LIST.match(data, start):
            return tuple(found.group().decode().split())
        start = data.find(b"sm_", start + 1)
    return ()


def _constants(file: BinaryIO) -> tuple[int, int] | None:
    """Offset and size of .rodata in a 64-bit ELF file (elf(5)): a megabyte of thirty."""
    header = file.read(64)
    if len(header) < 64 or header[:5] != b"\x7fELF\x02":
        return None
    (table,) = unpack_from("<Q", header, 0x28)
    size, count, names_at = unpack_from("<HHH", header, 0x3A)
    file.seek(table)
    sections = file.read(size * count)
    if size < 40 or len(sections) < size * count:  # a file that was cut off
        return None
    entries = [unpack_from("<IIQQQQ", sections, index * size) for index in range(count)]
    if names_at >= len(entries):
        return None
    file.seek(entries[names_at][4])
    names = file.read(entries[names_at][5])
    for entry in entries:
        if names[entry[0] : entry[0] + 8] == b".rodata\0":
            return int(entry[4]), int(entry[5])
    return None
