"""The modules of a model in the order in which its class makes them, with the bytes of each tensor as the release counts them.

Classes of transformers are in `module_trees.json`, written by `scripts/module_trees.py` from the releases themselves.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.memory.loader import Buffer
from qvl_preflight.safetensors import Tensor
from qvl_preflight.stack.auto_map import Model, Part
from qvl_preflight.versions import parse

Trie = dict[str, Any]  # name → Trie or Tensor
_SMALL = 16  # a length that no configuration sets
AS_STORED = 0  # the width of a dtype that is not known
_PATH = os.path.join(os.path.dirname(__file__), "module_trees.json")


@dataclass(frozen=True)
class Counting:
    """How many bytes an element has, as a release counts it before the weights are read."""

    width: int  # of the model's dtype, or AS_STORED
    small_integers: bool = False  # accelerate up to 0.26: integers count no more than the dtype
    buffers_as_made: bool = False  # transformers 5: buffers have the dtype that they are made with
    linear: float | None = None  # of a weight that bitsandbytes quantises, by what ``quantises`` says (transformers 5)
    quantises: Callable[[Tensor], bool] | None = None
    all_floats: float | None = None  # up to transformers 4.57 it counts every tensor so, but for those that it leaves alone
    left_alone: tuple[str, ...] = ()


class _Unlike(Exception):
    """A checkpoint's tensors are not those of the class."""


@lru_cache(maxsize=8)
def rows_of(class_name: str) -> tuple[tuple[tuple[int, ...], Mapping[str, Any]], ...]:
    """What is known of a class of transformers: the first release that was seen to build it so, and the tree."""
    start = f"  {json.dumps(class_name)}: "
    with open(_PATH, encoding="utf-8") as file:
        for line in file:
            if line.startswith(start):
                found = json.loads(line[len(start) :].rstrip().removesuffix(","))
                return tuple((parse(since) or (), tree) for since, tree in found)
    return ()


def of_class(
    checkpoint: Checkpoint, tensors: tuple[Tensor, ...], class_name: str, release: tuple[int, ...], counting: Counting
) -> Model | None:
    """The model of a class of transformers; None where the class is not known, or the tensors are not its own."""
    building = _built(checkpoint, tensors, class_name, release, counting)
    return None if building is None else building.made


def buffers_of(
    checkpoint: Checkpoint, tensors: tuple[Tensor, ...], class_name: str, release: tuple[int, ...]
) -> tuple[tuple[Buffer, ...], bool] | None:
    """The buffers that the class makes, and whether their sizes are sure; None where the class is not known."""
    building = _built(checkpoint, tensors, class_name, release, Counting(2))
    return None if building is None else (tuple(building.found), not building.as_seen)


def buffer_names(class_name: str) -> frozenset[str]:
    """The buffers that any release of the class makes, ``*`` for the number of a block: where a file holds one, it is not loaded beside it."""
    return frozenset(name for _, tree in rows_of(class_name) for name in _names_below("", tree.get("tree", {})))


def _names_below(name: str, node: Mapping[str, Any]) -> Iterator[str]:
    for buffer in node.get("b", ()):
        yield _join(name, buffer[0])
    for key, child in (*node.get("c", {}).items(), *([("*", node["each"])] if "each" in node else ())):
        yield from _names_below(_join(name, key), child)


def _built(
    checkpoint: Checkpoint, tensors: tuple[Tensor, ...], class_name: str, release: tuple[int, ...], counting: Counting
) -> _Building | None:
    rows = rows_of(class_name)
    around = [row for row in rows if row[0] <= release][-1:] + [row for row in rows if row[0] > release][:1]
    renames = [[], *(tree["renames"] for _, tree in rows if tree.get("renames"))]
    for _, tree in around:
        for patterns in renames if "tree" in tree else ():
            try:
                return _Building(checkpoint.config, tree, _trie(tensors, patterns), counting)
            except _Unlike:
                continue
    return None


_FLOATS = ("F64", "F32", "F16", "BF16")
_OF_BNB = re.compile(r"\.(weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)|SCB|weight_format)$")


def bytes_of(tensor: Tensor, counting: Counting) -> float:
    """What a tensor adds to its module."""
    count = tensor.count
    if _OF_BNB.search(tensor.name):
        return 0
    stored = tensor.total_bytes / count if count else 0
    width = counting.width or stored
    if tensor.dtype not in _FLOATS:
        return count * (min(stored, width) if counting.small_integers else stored)
    if any(name in tensor.name for name in counting.left_alone):
        return count * width
    if counting.all_floats is not None:
        return count * min(counting.all_floats, width)
    quantised = counting.linear is not None and counting.quantises is not None and counting.quantises(tensor)
    return count * (counting.linear if quantised and counting.linear is not None else width)


def _trie(tensors: tuple[Tensor, ...], patterns: list[list[str]]) -> Trie:
    root: Trie = {}
    for tensor in tensors:
        name = tensor.name
        if _OF_BNB.search(name):  # below the name of the weight that it describes
            continue
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        *path, last = name.split(".")
        inside = root
        for step in path:
            inside = inside.setdefault(step, {})
            if isinstance(inside, Tensor):
                raise _Unlike
        inside[last] = tensor
    return root


class _Building:
    """One class and one checkpoint."""

    def __init__(self, config: Mapping[str, Any], row: Mapping[str, Any], trie: Trie, counting: Counting) -> None:
        self.config, self.row, self.trie, self.counting = config, row, trie, counting
        self.text = next(
            (part for key in ("text_config", "llm_config", "language_config") if isinstance(part := config.get(key), Mapping)),
            config,
        )
        self.sizes: dict[str, float] = {}
        self.buffers: list[tuple[str, float]] = []
        self.found: list[Buffer] = []
        self.as_seen = False  # a buffer's shape was recorded as numbers: another configuration may make another
        self.seen_elsewhere: float = 0  # bytes of those that are large
        self.made = self._model()

    def _model(self) -> Model:
        """Raises _Unlike where a tensor has no place in the tree."""
        root = self._part("", self.row["tree"], self.trie)
        ties = self._tied()
        own = {part.name for part in root.tensors}
        last = tuple(Part(key, module=False) for key, found in self.trie.items() if isinstance(found, Tensor) and key not in own)
        self.buffers += [(part.name, self.sizes.pop(part.name)) for part in last if part.name in self.sizes]
        about = self.seen_elsewhere > sum(self.sizes.values()) / 50
        return Model((*root.pieces, *last), (*self.sizes.items(), *self.buffers), ties, about)

    def _part(self, name: str, node: Mapping[str, Any], trie: Trie) -> Part:
        for buffer in node.get("b", ()):
            size = self._buffer(*buffer[1:])
            self.buffers.append((_join(name, buffer[0]), size))
            self.seen_elsewhere += size * any(isinstance(number, int) and number > _SMALL for number in buffer[1])
            self.as_seen |= any(isinstance(number, int) and number > 1 for number in buffer[1])
            count = math.prod(map(self._dimension, buffer[1]))
            self.found.append(Buffer(_join(name, buffer[0]), count, buffer[2], bool(buffer[3])))
        if "each" in node:
            numbers = sorted(map(int, trie)) if all(key.isdecimal() for key in trie) else []
            if numbers != list(range(len(trie))):
                raise _Unlike
            children = tuple(self._part(_join(name, str(number)), node["each"], trie[str(number)]) for number in numbers)
            return Part(name, children)
        if "c" in node:
            return self._with_children(name, node, trie)
        for tensor_name, tensor in _below(name, trie):
            self.sizes[tensor_name] = bytes_of(tensor, self.counting)
        return Part(name, kept=node.get("k", ""))

    def _with_children(self, name: str, node: Mapping[str, Any], trie: Trie) -> Part:
        if any(key not in node["c"] and not isinstance(below, Tensor) for key, below in trie.items()):
            raise _Unlike
        own = tuple(Part(_join(name, key), module=False) for key in node.get("p", ()))
        for key, tensor in trie.items():
            if isinstance(tensor, Tensor):
                self.sizes[_join(name, key)] = bytes_of(tensor, self.counting)
        below = ((key, child, trie.get(key, {})) for key, child in node["c"].items())
        return Part(
            name, tuple(self._part(_join(name, key), child, found) for key, child, found in below if isinstance(found, dict)), own
        )

    def _buffer(self, shape: list[int | str], width: int, floating: int) -> float:
        counting, count = self.counting, math.prod(map(self._dimension, shape))
        if width == 1 and not floating and not counting.buffers_as_made:
            return count / 8  # accelerate takes a bool for a bit
        shortened = not counting.buffers_as_made and (floating or counting.small_integers)
        return count * (min(counting.all_floats or counting.width or width, width) if shortened else width)

    def _dimension(self, size: int | str) -> int:
        if isinstance(size, int):
            return size
        if size == "positions":
            return _int(self.text.get("max_position_embeddings") or self.text.get("n_positions"), 2048)
        heads = _int(self.text.get("num_attention_heads") or self.text.get("n_head"), 32)
        head = _int(self.text.get("head_dim"), _int(self.text.get("hidden_size") or self.text.get("n_embd"), 4096) // max(heads, 1))
        return head // {"head": 1, "head/2": 2, "head/4": 4}[size]

    def _tied(self) -> tuple[tuple[str, ...], ...]:
        """The groups of tensors that are one, the first of each with its bytes."""
        said = self.text.get("tie_word_embeddings", self.config.get("tie_word_embeddings", self.row.get("tied", False)))
        if not said:
            return ()
        groups = []
        for group in self.row.get("ties", ()):
            present = [name for name in self.sizes if name in group]
            size = max((self.sizes[name] for name in present), default=0)
            first = present[0] if present else None
            self.sizes = {
                name: size if name == first else own for name, own in self.sizes.items() if name == first or name not in present
            }
            groups.append(tuple(group))
        return tuple(groups)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _int(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


def _below(name: str, trie: Trie) -> Iterator[tuple[str, Tensor]]:
    for key, found in sorted(trie.items()):
        if isinstance(found, Tensor):
            yield _join(name, key), found
        else:
            yield from _below(_join(name, key), found)
