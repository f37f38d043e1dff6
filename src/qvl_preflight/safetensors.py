"""Reads safetensors headers, and nothing else of the files: 8 bytes of length, then that much JSON.

The format caps a header at 100,000,000 bytes (safetensors 0.5, src/tensor.rs, MAX_HEADER_SIZE); a longer one is refused unread.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

from qvl_preflight.exceptions import InputError

MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as its header describes it. ``dtype`` as safetensors spells it: F16, BF16, I32 …"""

    name: str
    dtype: str
    shape: tuple[int, ...]
    total_bytes: int

    @property
    def count(self) -> int:
        """The values that it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The tensors of one file, and how many bytes its body lacks or has too many (0: complete). ``described``: has it any metadata?"""

    tensors: tuple[Tensor, ...]
    lacking_bytes: int
    surplus_bytes: int = 0
    described: bool = True


def read_header(path: str) -> Header:
    """The header of one safetensors file. Raises InputError where it is not one."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > MAX_HEADER_BYTES or length > size - 8:
                raise InputError(
                    f"{path}: not a safetensors file, or cut off: a header of {length} bytes in a file of {size}; download it again"
                )
            raw = json.loads(file.read(length))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the safetensors header is not JSON ({error}); download it again") from error
    tensors, end = _tensors(raw, path)
    beyond = size - (8 + length + end)
    return Header(tensors, max(0, -beyond), max(0, beyond), "__metadata__" in raw)


def ends_in_header(path: str) -> bool:
    """Is a file that begins as a safetensors file shorter than its own header? Raises InputError."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    length = int.from_bytes(head[:8], "little")
    return 0 < size < 8 or (size >= 8 and head[8:] in (b"", b"{") and size - 8 < length <= MAX_HEADER_BYTES)


def _tensors(raw: Any, path: str) -> tuple[tuple[Tensor, ...], int]:
    tensors, end = [], 0
    try:
        for name, entry in raw.items():
            if name == "__metadata__":
                continue
            dtype, (start, stop) = entry["dtype"], entry["data_offsets"]
            if not isinstance(dtype, str) or not 0 <= start <= stop:
                raise ValueError(name)
            tensors.append(Tensor(name, dtype, tuple(map(int, entry["shape"])), stop - start))
            if stop > end:
                end = stop
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: a tensor of the safetensors header lacks dtype, shape or data_offsets; download it again"
        ) from error
    return tuple(tensors), end
