"""accelerate: how "auto" and its kin spread a model, and what an offloaded module shows.

Source: accelerate 0.20 to 1.15 utils/modeling.py (get_max_memory, get_balanced_memory, infer_auto_device_map), hooks.py. Modules are
known by the names of their tensors alone, so a map over several devices is near the real one, not equal to it: callers that need
more than "fits on one device" or "nothing fits" must treat it so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.stack.cuda import available
from qvl_preflight.unknown import Undecided, Unknown, need

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation
    from qvl_preflight.safetensors import Tensor

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_FLOATS = ("F64", "F32", "F16", "BF16")
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_BLOCK = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True)
class Unit:
    """A piece that is placed as a whole: a numbered block, or a module outside of the blocks."""

    name: str
    total_bytes: int


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
    count = 1
    for dimension in tensor.shape:
        count *= dimension
    if shrink is not None and len(tensor.shape) == 2 and tensor.dtype in _FLOATS:
        return int(count * shrink)
    return count * width if width and tensor.dtype in _FLOATS else tensor.total_bytes


def _rank(name: str) -> tuple[int, str, int]:
    number = re.search(r"^(.*)\.(\d+)$", name)
    if number:
        return 1, number.group(1), int(number.group(2))
    return (0 if re.search(r"emb|wte|wpe", name) else 2), name, 0


def infer(situation: Situation, strategy: str, pieces: tuple[Unit, ...] | Unknown, shorten: float = 1.0) -> dict[str, str]:
    """Module → device for a string device_map. ``shorten``: the share of each GPU that a quantizer leaves to the weights.

    Raises Undecided where sizes or free memory decide and are unknown.
    """
    limits = situation.request.kwargs.get("max_memory")
    limits = limits if isinstance(limits, Mapping) else None
    if not available(situation):
        return {"": "cpu"}
    budgets = _budgets(situation, limits, shorten)
    if not any(device.startswith("cuda") for device in budgets):
        return {"": "cpu"}
    gpus = [device for device in budgets if device.startswith("cuda")]
    if len(gpus) == 1 and limits is None and strategy != "sequential":
        budgets[gpus[0]] = int(budgets[gpus[0]] * 0.9)  # get_balanced_memory: room for the buffer where nobody set max_memory
    if isinstance(pieces, Unknown):
        raise Undecided(f"whether the model fits depends on its size, and {pieces.reason}")
    total = sum(piece.total_bytes for piece in pieces)
    if len(gpus) > 1 and strategy != "sequential":
        budgets = _balanced(budgets, gpus, pieces, total, strategy)
    return _greedy(pieces, budgets)


def _budgets(situation: Situation, limits: Mapping[Any, Any] | None, shorten: float) -> dict[str, int]:
    """Bytes per device, in order. A person's max_memory is taken as it is; what it leaves out gets nothing."""
    if limits is not None:
        sizes = {
            ("cpu" if key == "cpu" else "disk" if key == "disk" else f"cuda:{key}"): size_of(value) for key, value in limits.items()
        }
        return {
            device: int(size * shorten)
            for device, size in sorted(sizes.items(), key=lambda item: (not item[0].startswith("cuda"), item[0]))
        }
    visible = need(situation.devices).visible
    budgets = {f"cuda:{ordinal}": int(need(gpu.free_bytes) * shorten) for ordinal, gpu in enumerate(visible)}
    host = situation.facts.host
    ram = host.ram_available_bytes if not isinstance(host, Unknown) else host
    return budgets | {"cpu": 2**62 if isinstance(ram, Unknown) else ram}


def size_of(value: Any) -> int:
    """``"20GiB"`` in bytes, as accelerate's convert_file_size_to_int reads it. Raises ValueError."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?B)\s*", str(value).upper())
    if match is None:
        raise ValueError(
            f"`size` {value} is not in a valid format. Use an integer for bytes, or a string with an unit (like '5.0GB')."
        )
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def _balanced(budgets: dict[str, int], gpus: list[str], pieces: tuple[Unit, ...], total: int, strategy: str) -> dict[str, int]:
    """get_balanced_memory: all but the last GPU get an equal share and a buffer of 1.25 blocks."""
    share = total // (len(gpus) - (strategy == "balanced_low_0")) + int(1.25 * max(piece.total_bytes for piece in pieces))
    even = {device: min(size, share) if device in gpus[:-1] else size for device, size in budgets.items()}
    if strategy == "balanced_low_0":
        even[gpus[0]] = min(max(0, total - sum(even[device] for device in gpus[1:])), even[gpus[0]])
    return even


def _greedy(pieces: tuple[Unit, ...], budgets: dict[str, int]) -> dict[str, str]:
    """infer_auto_device_map: fill device by device; the first GPU and the CPU keep room for the largest block to be brought in."""
    largest = max((piece.total_bytes for piece in pieces), default=0)
    gpus = [device for device in budgets if device.startswith("cuda")]
    total, placed = sum(piece.total_bytes for piece in pieces), {}
    devices, used, current = list(budgets), 0, 0
    for piece in pieces:
        while current < len(devices):
            device = devices[current]
            reserve = largest if device in ([*gpus[:1], "cpu"] if total > budgets[gpus[0]] else []) else 0
            if used + piece.total_bytes <= budgets[device] - reserve:
                break
            current, used = current + 1, 0
        placed[piece.name] = devices[current] if current < len(devices) else "disk"
        used += piece.total_bytes
    homes = set(placed.values())
    return {"": homes.pop()} if len(homes) == 1 else placed


def shown(device_map: Mapping[str, str]) -> tuple[str, ...]:
    """The devices that parameters show after dispatch: with a GPU in the map, offloaded ones are ``meta`` until they are needed."""
    found = set(device_map.values())
    if found == {"disk"}:
        return ("cpu", "meta")  # buffers stay behind (recorded)
    gpu = any(device.startswith("cuda") for device in found)
    return tuple(sorted({"meta" if device == "disk" or (device == "cpu" and gpu) else device for device in found}))
