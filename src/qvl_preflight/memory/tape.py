"""A step with sizes in place of tensors: what is alive at each moment, as torch's autograd keeps and frees it.

Values live as long as a variable, or a node that saved them, holds them: Python's own reference counts are the bookkeeping. Backward visits the nodes from
the last one made to the first, lets go of what each saved, and adds up gradients (torch 2.11 csrc/autograd/engine.cpp, input_buffer.cpp). Models are
programs on it that follow the operations of transformers' modeling files one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from qvl_preflight.memory.allocator import whole

FLOAT = 4
Back = Callable[["Storage"], Sequence["Storage | None"]]
_NUMBER = count()


class Storage:
    """Bytes that are alive."""

    __slots__ = ("_tape", "size")

    def __init__(self, tape: Tape, size: int) -> None:
        self._tape, self.size = tape, whole(size) if size else 0
        tape.now += self.size
        tape.peak = max(tape.peak, tape.now)

    def __del__(self) -> None:
        self._tape.now -= self.size


class Node:
    """An operation to go back through. ``saved`` is let go of once it was."""

    __slots__ = ("back", "gradient", "inputs", "number", "saved")

    def __init__(self, inputs: Sequence[Node | None], saved: Sequence[object], back: Back) -> None:
        self.inputs, self.saved, self.back = inputs, saved, back
        self.gradient: Storage | None = None
        self.number = next(_NUMBER)


class Value:
    """A tensor: how many values of what width. ``node`` is None where no gradient goes."""

    __slots__ = ("count", "node", "storage", "width")

    def __init__(self, storage: Storage | None, size: int, width: int, node: Node | None = None) -> None:
        self.storage, self.count, self.width, self.node = storage, size, width, node

    @property
    def bytes(self) -> int:
        """Its own, of what it may share."""
        return self.count * self.width


class Weight:
    """A weight that lies in memory already. ``trained``: its gradient stays."""

    __slots__ = ("count", "node", "trained", "width")

    def __init__(self, size: int, width: int, trained: bool) -> None:
        self.count, self.width, self.trained = size, width, trained
        self.node: Node | None = Node((), (), lambda _: ()) if trained else None


class Tape:
    """Counts. ``amp``: bytes of autocast's width, 0 outside of it; ``grad``: are nodes made?"""

    def __init__(self, *, amp: int = 0, grad: bool = False, keeps_shadow: bool = False, keeps: bool = True) -> None:
        self.now = self.peak = self.adapted = 0
        self.keeps_shadow, self.keeps = keeps_shadow, keeps
        self.amp, self.grad = amp, grad
        self._casts: list[Value] = []
        self.again = False  # is a checkpoint run again?
        self.shadow = False  # inside of a checkpoint: what autograd keeps is dropped, what others keep is not
        self.gradients: list[Storage | None] = []  # of trained weights: they stay
        self.given: list[Storage | None] = []  # what the caller holds all along
        self.names: set[str] = set()  # of the linear layers that were met
        self.outside: list[Storage | None] = []  # kept until the loss goes, whatever autograd lets go of

    def new(self, size: int, width: int) -> Value:
        """A tensor of its own."""
        return Value(Storage(self, size * width), size, width)

    def adapter(self, size: int) -> Weight:
        """A weight of an adapter."""
        self.adapted += 0 if self.again else size
        return Weight(size, FLOAT, trained=True)

    @contextmanager
    def scratch(self, *sizes: int) -> Iterator[None]:
        """Bytes that an operation takes while it runs."""
        held = [Storage(self, size) for size in sizes]
        yield
        held.clear()

    def record(self, out: Value, inputs: Sequence[Value | Weight], saved: Sequence[Value | Weight | None], back: Back) -> Value:
        """``out`` as the result of an operation on ``inputs``, which keeps ``saved``."""
        if self.grad and any(one.node is not None for one in inputs):
            kept = tuple(one.storage for one in saved if isinstance(one, Value))
            out.node = Node([one.node for one in inputs], kept, back)
        return out

    def weight(self, one: Weight, width: int) -> Value | Weight:
        """A weight in the width that an operation wants: autocast keeps the copies of those that are trained, until it ends."""
        if one.width == width:
            return one
        made = self.new(one.count, width)
        self.record(made, [one], (), lambda _: (Storage(self, one.count * one.width),))
        if one.trained and (self.grad or self.shadow):
            self._casts.append(made)
        return made

    def leave_autocast(self) -> None:
        """Its copies of weights go, but for those that are saved."""
        self._casts.clear()

    def backward(self, last: Value, gradient: Storage | None = None) -> Storage | None:
        """From the loss, or a block's output, down; the gradient of the node that was marked by ``boundary`` is handed back."""
        assert last.node is not None
        nodes = _reachable(last.node)
        last.node.gradient = gradient or Storage(self, last.bytes)
        del gradient
        root, last.node = last.node, None
        del root
        result = None
        while nodes:
            node = nodes.pop()
            if not node.inputs:  # a weight, whose gradient stays; or where a block begins
                if node.saved:
                    result, node.gradient = node.gradient, None
                elif self.keeps:
                    self.gradients.append(node.gradient)
                else:
                    node.gradient = None
                continue
            flowing, node.gradient = node.gradient, None
            if flowing is not None:
                found = node.back(flowing)
                del flowing
                for other, made in zip(node.inputs, found, strict=True):
                    if other is not None and made is not None:
                        _arrive(self, other, made)
                del found, made, other
            node.saved = ()
            del node
        return result


def _arrive(tape: Tape, node: Node, made: Storage) -> None:
    """One gradient more: the first is taken as it is, the second is added to it."""
    node.gradient = made if node.gradient is None else node.gradient


def _reachable(last: Node) -> list[Node]:
    """All nodes below, the first made first."""
    found = {last.number: last}
    waiting = [last]
    while waiting:
        for other in waiting.pop().inputs:
            if other is not None and other.number not in found:
                found[other.number] = other
                waiting.append(other)
    return [found[number] for number in sorted(found)]
