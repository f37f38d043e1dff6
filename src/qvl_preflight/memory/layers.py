"""Linear layers as a call has them: plain, with adapters, or over quantised weights."""

from __future__ import annotations

from dataclasses import dataclass

from qvl_preflight.memory import ops
from qvl_preflight.memory.tape import FLOAT, Tape, Value, Weight


@dataclass(frozen=True)
class Layers:
    """``width``: bytes of a plain weight; ``kernel``: plain, bnb4, bnb8, dequantised (a copy of the weight for a moment), unpacked (torch's operations make it,
    and autograd keeps it) or fused; ``norm``: bytes of weights that quantisation leaves alone; ``rank`` is 0 without adapters; ``targets``: None for all linear
    layers; ``trained``: all weights are."""

    width: int
    kernel: str = "plain"
    norm: int = 2
    rank: int = 0
    targets: tuple[str, ...] | None = None
    trained: bool = False

    def weight(self, size: int) -> Weight:
        """A weight that is neither quantised nor adapted."""
        return Weight(size, self.width, self.trained)

    def norm_weight(self, size: int) -> Weight:
        """Of a norm, an embedding, or experts: prepare_model_for_kbit_training makes it wider."""
        return Weight(size, self.norm, self.trained)

    def adapts(self, name: str) -> bool:
        """Are there adapters on the layers of this name?"""
        return self.rank > 0 and (self.targets is None or name in self.targets)


def linear(tape: Tape, how: Layers, one: Value, name: str, inner: int, outer: int) -> Value:
    """A layer from ``inner`` to ``outer`` values a token (peft 0.21 tuners/lora/layer.py, bnb.py, gptq.py)."""
    rows = one.count // inner
    tape.names.add(name)
    result = _base(tape, how, one, inner, outer)
    if not how.adapts(name):
        return result
    first, second = tape.adapter(inner * how.rank), tape.adapter(how.rank * outer)
    if not (how.kernel in ("bnb4", "bnb8") and tape.amp):
        one = ops.cast(tape, one, FLOAT)
    small = ops.matmul(tape, one, first, how.rank, rows)
    del one
    added = ops.scale(tape, ops.matmul(tape, small, second, outer, rows))
    return ops.cast(tape, ops.add(tape, result, added), result.width)


def _base(tape: Tape, how: Layers, one: Value, inner: int, outer: int) -> Value:
    rows, size = one.count // inner, inner * outer
    if how.kernel == "plain":
        return ops.matmul(tape, one, how.weight(size), outer, rows)
    if how.kernel == "bnb8":
        return _eight_bits(tape, one, rows, size, outer)
    if how.kernel == "unpacked":
        with tape.scratch(4 * size):  # words, and what they are made of
            weight = tape.new(size, one.width)
        return ops.made(tape, [one, weight], rows * outer, one.width, [weight if one.node is not None else None])
    width = one.width if how.kernel in ("dequantised", "fused") else 2
    narrow = ops.cast(tape, one, width)
    with tape.scratch(0 if how.kernel == "fused" else size * width):
        out = ops.made(tape, [narrow], rows * outer, width, scratch=size * width)
    return ops.cast(tape, out, one.width)


def _eight_bits(tape: Tape, one: Value, rows: int, size: int, outer: int) -> Value:
    """bitsandbytes 0.50 autograd/_functions.py MatMul8bitLt: int8 and float16 copies of the input, an int32 and a float16 result; the input is kept outside of
    autograd's own saving for as long as the result's node lives."""
    with tape.scratch(one.count * 2, one.count, rows * outer * FLOAT, rows * outer * 2):
        out = ops.made(tape, [one], rows * outer, one.width, scratch=size * one.width)
    if tape.shadow or (out.node is not None and not tape.again):
        tape.outside.append(one.storage)
    elif out.node is not None:
        out.node.saved = (one.storage,)
    return out
