"""The map that a strategy works out: accelerate's infer_auto_device_map and get_balanced_memory, step by step, as each release does it.

Sources: accelerate 0.20 to 1.15 utils/modeling.py; transformers 5.0 to 5.23 integrations/accelerate.py, which has its own copy from 5.0 on.
Held against the real functions by `tests/stack/test_auto_map.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Device = int | str  # a GPU's number, "cpu" or "disk"
Budgets = dict[Device, float]


@dataclass(frozen=True)
class Part:
    """A module, or a single tensor, by its full name."""

    name: str
    children: tuple[Part, ...] = ()
    tensors: tuple[Part, ...] = ()  # parameters of its own
    kept: str = ""  # its class, where the class stays together
    module: bool = True

    @property
    def divisible(self) -> bool:
        """Can it be split?"""
        return bool(self.children) and not self.kept

    @property
    def pieces(self) -> tuple[Part, ...]:
        """What a split leaves."""
        return (*self.tensors, *self.children)


@dataclass(frozen=True)
class Model:
    """A model as the functions see it. ``sizes``: bytes of each tensor, parameters before buffers, tied ones once."""

    parts: tuple[Part, ...]
    sizes: tuple[tuple[str, float], ...]
    ties: tuple[tuple[str, ...], ...] = ()
    about: bool = False  # buffers that count were seen in another size of the model alone

    @cached_property
    def bytes_of(self) -> Mapping[str, float]:
        """Bytes of every module and tensor, in the order in which tensors come."""
        return module_sizes(self.sizes)


@dataclass(frozen=True)
class Way:
    """What differs between releases."""

    ties_first: bool = True  # accelerate 1.2: tied tensors are part of the question whether a module fits
    whole_names: bool = True  # accelerate 0.26: "h.1" is not part of "h.10"
    prefix_of_tie: bool = True  # accelerate 1.3: the module of a tied tensor is looked for by its beginning
    splits_when_full: bool = False  # transformers 5.13: a module that fits without its tied tensors is split as well
    tied_once: bool = False  # transformers 5.13: a tied module counts whole, and once
    buffer: Literal["first-block", "largest-block", "largest-leaf"] = "first-block"
    module_leaves: bool = False  # transformers 5.0: every module with tensors of its own is a leaf
    lone_share: float = 0.9  # accelerate 0.22: the share of a lone GPU, where nobody set max_memory


def infer(model: Model, limits: Mapping[Device, float], way: Way) -> dict[str, Device]:
    """Part → device. Raises IndexError where the functions do: a tied module that was placed already."""
    return _clean(_Placing(model, limits, way).run())


def balanced(model: Model, limits: Mapping[Device, float], way: Way, *, low_zero: bool, by_default: bool) -> Budgets:
    """get_balanced_memory. ``by_default``: nobody set max_memory."""
    limits = dict(limits)
    gpus = sorted(device for device, size in limits.items() if isinstance(device, int) and size > 0)
    if not gpus:
        return limits
    if len(gpus) == 1:
        low_zero = False
        if by_default:
            limits[gpus[0]] *= way.lone_share
    sizes = model.bytes_of
    per_gpu = sizes[""] // (len(gpus) - 1 if low_zero else len(gpus)) + int(1.25 * _buffer(model, sizes, way))
    for gpu in gpus[:-1]:
        limits[gpu] = min(limits[0] if low_zero and gpu == 0 else per_gpu, limits[gpu])
    if low_zero:
        limits[0] = min(max(0, sizes[""] - sum(limits[gpu] for gpu in range(1, len(gpus)))), limits[0])
    return limits


def module_sizes(tensors: Iterable[tuple[str, float]]) -> dict[str, float]:
    """compute_module_sizes."""
    sizes: dict[str, float] = defaultdict(int)
    for name, size in tensors:
        parts = name.split(".")
        for depth in range(len(parts) + 1):
            sizes[".".join(parts[:depth])] += size
    return sizes


def _buffer(model: Model, sizes: Mapping[str, float], way: Way) -> float:
    """The room that is left to the largest block, or to a leaf."""
    blocks: dict[str, list[float]] = {}
    order = {name: position for position, name in enumerate(sizes)}
    for part in sorted(_kept(model.parts), key=lambda part: order.get(part.name, len(order))):
        if part.name in sizes or way.buffer != "first-block":
            blocks.setdefault(part.kept, []).append(sizes.get(part.name, 0))
    chosen = [found[0] if way.buffer == "first-block" else max(found) for found in blocks.values()]
    leaves = _leaves(model, sizes, way)
    leaf = max(leaves, default=0) if way.buffer == "largest-leaf" else int(sum(leaves) / max(len(leaves), 1))
    return max([*chosen, leaf])


def _kept(parts: Iterable[Part]) -> list[Part]:
    found: list[Part] = []
    for part in parts:
        found += [part] if part.kept else _kept(part.children)
    return found


def _leaves(model: Model, sizes: Mapping[str, float], way: Way) -> list[float]:
    """The sizes of the modules that hold tensors of their own: the last ones of each branch in accelerate, all of them in transformers 5."""
    own: dict[str, float] = defaultdict(int)
    for name, size in model.sizes:
        if "." in name or not way.module_leaves:
            own[name.rpartition(".")[0]] += size
    if way.module_leaves:
        return list(own.values())
    inner = {name.rpartition(".")[0] for name in own if name}
    for name in list(inner):
        while name:
            name = name.rpartition(".")[0]
            inner.add(name)
    return [sizes[name] for name in own if name not in inner]


class _Placing:
    """infer_auto_device_map, one part after the other."""

    def __init__(self, model: Model, limits: Mapping[Device, float], way: Way) -> None:
        self.way, self.ties, self.limits = way, model.ties, limits
        self.devices: list[Device] = [*limits, *(() if "disk" in limits else ("disk",))]
        gpus = [device for device in self.devices if device not in ("cpu", "disk")]
        self.main = ("mps",) if "mps" in gpus else (gpus[0], "cpu") if gpus else ("cpu",)
        self.sizes = model.bytes_of
        self.waiting = list(model.parts)
        self.used: dict[Device, float] = dict.fromkeys(self.devices, 0)
        self.current = 0
        self.map: dict[str, Device] = {}
        self.largest: float = 0
        self.largest_names: list[str] = []
        self.reserve: float = 0

    def run(self) -> dict[str, Device]:
        """Until nothing waits."""
        self._measure(self.waiting)
        while self.waiting:
            part = self.waiting.pop(0)
            self.largest_names = [name for name in self.largest_names if name != part.name and not name.startswith(f"{part.name}.")]
            if not self.largest_names:
                self._measure(other for other in self.waiting if other.module)
            self._treat(part)
        return self.map

    def _measure(self, parts: Iterable[Part]) -> None:
        """get_max_layer_size: the largest part that is not divisible."""
        self.largest, self.largest_names = 0, []
        todo = list(parts)[::-1]
        while todo:
            part = todo.pop()
            if part.divisible:
                todo.extend(reversed(part.children))
            elif (size := self._size(part.name)) > self.largest:
                self.largest, self.largest_names = size, [part.name]
            elif size == self.largest:
                self.largest_names.append(part.name)

    def _size(self, name: str) -> float:
        return self.sizes.get(name, 0)

    def _treat(self, part: Part) -> None:
        device = self.devices[self.current]
        self.reserve = self.largest if device in self.main else 0
        room = None if device == "disk" else self.limits[device] - self.reserve
        size, tied = self._size(part.name), self._tied(part)
        fits = room is None or self.used[device] + size <= room
        if not self.way.ties_first and not fits:
            self._split_or_move_on(part)
            return
        homes = [self._home_of(name) for name in tied]
        if room is None or self.used[device] + self._with_ties(size, tied, homes) <= room:
            self._place(part, homes, device)
        elif tied and fits and self._split_tied(part, homes):
            pass
        elif not self.way.ties_first or (not self.way.splits_when_full and self.used[device] + size < room):
            self._move_on(part)
        else:
            self._split_or_move_on(part)

    def _tied(self, part: Part) -> list[str]:
        """The tensors elsewhere that are tied to tensors of this part."""
        end = "." if self.way.whole_names else ""
        here = [[f"{part.name}{end}" in f"{name}{end}" for name in group] for group in self.ties]
        groups = [group for group, inside in zip(self.ties, here, strict=True) if any(inside) and not all(inside)]
        return [name for group in groups for name in group if f"{part.name}{end}" not in f"{name}{end}"]

    def _home_of(self, tensor: str) -> Part:
        matches = [
            other
            for other in self.waiting
            if (tensor.startswith(f"{other.name}.") if self.way.prefix_of_tie else other.name in tensor)
        ]
        return matches[0]

    def _with_ties(self, size: float, tied: list[str], homes: list[Part]) -> float:
        if self.way.tied_once:
            return size + sum(self._size(name) for name in dict.fromkeys(home.name for home in homes))
        return size + sum(self._size(home.name) - self._size(name) for name, home in zip(tied, homes, strict=True))

    def _place(self, part: Part, homes: list[Part], device: Device) -> None:
        names = {home.name for home in homes}
        size = self._size(part.name)
        tied = self._tied(part)
        self.used[device] += self._with_ties(size, tied, homes)
        self.map[part.name] = device
        self.waiting = [other for other in self.waiting if other.name not in names]
        self.map |= dict.fromkeys(names, device)

    def _split_tied(self, part: Part, homes: list[Part]) -> bool:
        """Split the first module of the tied tensors that can be, and try again."""
        for home in homes:
            if home.divisible:
                at = self.waiting.index(home)
                self.waiting = [part, *self.waiting[:at], *home.pieces, *self.waiting[at + 1 :]]
                self._measure(other for other in self.waiting if other.module)
                return True
        return False

    def _split_or_move_on(self, part: Part) -> None:
        if not part.divisible:
            self._move_on(part)
            return
        self.waiting = [*part.pieces, *self.waiting]
        self._measure(other for other in self.waiting if other.module)

    def _move_on(self, part: Part) -> None:
        self.used[self.devices[self.current]] += self.reserve
        self.current += 1
        self.waiting.insert(0, part)


def _clean(found: dict[str, Device], module: str = "") -> dict[str, Device]:
    """clean_device_map: what lies on one device is named once."""
    prefix = f"{module}." if module else ""
    inside = [name for name in found if name.startswith(prefix)]
    if len(inside) > 1 and len({found[name] for name in inside}) == 1:
        device = found[inside[0]]
        for name in inside:
            del found[name]
        found[module] = device
    depth = module.count(".") + 2 if module else 1
    below = {".".join(name.split(".")[:depth]) for name in found if name.startswith(prefix) and len(name) > len(module)}
    for child in sorted(below):
        _clean(found, child)
    return found
