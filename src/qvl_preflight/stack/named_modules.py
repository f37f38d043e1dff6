"""The modules of a class that is not known, code that comes with a checkpoint say, as its tensors' names tell them: embeddings, numbered blocks, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qvl_preflight.safetensors import Tensor
from qvl_preflight.stack.auto_map import Model, Part
from qvl_preflight.stack.module_tree import Counting, bytes_of

_BLOCK = re.compile(r"^(.*?\.\d+)\.")


def by_names(tensors: tuple[Tensor, ...], counting: Counting) -> Model:
    """The model as its tensors' names tell it."""
    parts: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        block = _BLOCK.match(tensor.name)
        parts.setdefault(block.group(1) if block else tensor.name.rpartition(".")[0] or tensor.name, []).append(tensor)
    parts = _without_overlap(parts)
    names = sorted(parts, key=_rank)
    sizes = [(tensor.name, bytes_of(tensor, counting)) for name in names for tensor in parts[name]]
    return Model(tuple(Part(name, kept=name) for name in names), tuple(sizes))


def _without_overlap(parts: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """No part inside of another: a module with tensors of its own stays whole, or, where it holds numbered blocks, they count alone."""
    found: dict[str, list[Tensor]] = {}
    for name, tensors in parts.items():
        holders = [other for other in parts if name.startswith(f"{other}.") and not _holds_blocks(other, parts)]
        if holders:
            found.setdefault(min(holders, key=len), []).extend(tensors)
        elif _holds_blocks(name, parts):
            found |= {tensor.name: [tensor] for tensor in tensors}
        else:
            found.setdefault(name, []).extend(tensors)
    return found


def _holds_blocks(name: str, parts: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") and _BLOCK.match(f"{other}.") and not _BLOCK.match(f"{name}.") for other in parts)


def _rank(name: str) -> tuple[int, str, int]:
    number = re.search(r"^(.*)\.(\d+)$", name)
    if number:
        return 1, number.group(1), int(number.group(2))
    return (0 if re.search(r"emb|wte|wpe", name) else 2), name, 0
