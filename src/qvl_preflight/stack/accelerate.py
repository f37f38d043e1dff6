"""accelerate: sizes as it reads them, the pieces of a model, and what an offloaded module shows.

Source: accelerate 0.20 to 1.15 utils/modeling.py, hooks.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.safetensors import Tensor

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
_UNITS = {"GIB": 2**30, "MIB": 2**20, "KIB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3}
_FLOATS = ("F64", "F32", "F16", "BF16")
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_BLOCK = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True)
class Unit:
    """A piece that is placed as a whole: a numbered block, or a module outside of the blocks."""

    name: str
    total_bytes: int

    @property
    def is_block(self) -> bool:
        """Is it one of a row of numbered blocks?"""
        return _BLOCK.match(f"{self.name}.") is not None


def units(tensors: tuple[Tensor, ...], dtype: str | Unknown, shrink: float | None = None) -> tuple[Unit, ...]:
    """The pieces of a model in loading order: embeddings, blocks by number, the rest. ``shrink``: bytes per weight of a linear layer."""
    sizes: dict[str, int] = {}
    width = None if isinstance(dtype, Unknown) else _BYTES.get(dtype)
    for tensor in tensors:
        block = _BLOCK.match(tensor.name)
        name = block.group(1) if block else tensor.name.rpartition(".")[0] or tensor.name
        sizes[name] = sizes.get(name, 0) + _size(tensor, width, shrink if block else None)
    return tuple(Unit(name, size) for name, size in sorted(sizes.items(), key=lambda item: _rank(item[0])))


def _size(tensor: Tensor, width: int | None, shrink: float | None) -> int:
    if shrink is not None and len(tensor.shape) == 2 and tensor.dtype in _FLOATS:
        return int(tensor.count * shrink)
    return tensor.count * width if width and tensor.dtype in _FLOATS else tensor.total_bytes


def _rank(name: str) -> tuple[int, str, int]:
    number = re.search(r"^(.*)\.(\d+)$", name)
    if number:
        return 1, number.group(1), int(number.group(2))
    return (0 if re.search(r"emb|wte|wpe", name) else 2), name, 0


def size_of(value: Any) -> float:
    """``"20GiB"`` in bytes, as accelerate's convert_file_size_to_int reads it: a small b at the end of a decimal unit counts bits, and
    there are no terabytes. Numbers are taken as they are. Raises ValueError."""
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    unit = next((unit for unit in _UNITS if text.upper().endswith(unit)), None)
    try:
        size = int(float(text[: -len(unit)]) * _UNITS[unit]) if unit else -1
    except ValueError:
        size = -1
    if size < 0:
        raise ValueError(
            f"`size` {value} is not in a valid format. Use an integer for bytes, or a string with an unit (like '5.0GB')."
        )
    return size // 8 if in_bits(value) else size


def in_bits(value: object) -> bool:
    """Is a size taken for bits, not bytes?"""
    return isinstance(value, str) and value.endswith("b") and value.upper().endswith(("GB", "MB", "KB"))


def shown(device_map: Mapping[str, str]) -> tuple[str, ...]:
    """The devices that parameters show after dispatch: with a GPU in the map, offloaded ones are ``meta`` until they are needed."""
    found = set(device_map.values())
    if found == {"disk"}:
        return ("cpu", "meta")  # buffers stay behind (recorded)
    gpu = any(device.startswith("cuda") for device in found)
    return tuple(sorted({"meta" if device == "disk" or (device == "cpu" and gpu) else device for device in found}))
