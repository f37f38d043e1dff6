"""The operations that models are made of, each with what it makes, keeps and takes for a moment, forward and back (torch 2.11 derivatives.yaml)."""

from __future__ import annotations

from collections.abc import Sequence

from qvl_preflight.memory.tape import FLOAT, Node, Storage, Tape, Value, Weight


def _gradients(tape: Tape, *inputs: _Like) -> list[Storage | None]:
    return [None if one.node is None else Storage(tape, one.count * one.width) for one in inputs]


def made(
    tape: Tape,
    inputs: Sequence[Value | Weight],
    size: int,
    width: int,
    saved: Sequence[Value | Weight | None] = (),
    *,
    scratch: int = 0,
) -> Value:
    """A result of its own; ``scratch`` bytes while it goes back."""

    def back(_: Storage) -> list[Storage | None]:
        with tape.scratch(*([scratch] if scratch else [])):
            return _gradients(tape, *inputs_)

    inputs_ = [_Like(one) for one in inputs]
    return tape.record(tape.new(size, width), inputs, saved, back)


class _Like:
    """The size of a value, and whether a gradient goes to it, without holding it."""

    __slots__ = ("count", "node", "width")

    def __init__(self, one: Value | Weight) -> None:
        self.count, self.width, self.node = one.count, one.width, one.node is not None or None


def view(tape: Tape, one: Value) -> Value:
    """Other sizes of the same bytes."""
    return tape.record(Value(one.storage, one.count, one.width), [one], (), lambda gradient: (gradient,))


def split(tape: Tape, one: Value, parts: Sequence[int]) -> list[Value]:
    """Views of parts (chunk): their gradients wait for each other and are put together in one."""
    outs = [Value(one.storage, part, one.width) for part in parts]
    if tape.grad and one.node is not None:
        total, waiting = one.bytes, []  # type: int, list[Storage]

        def back(_: Storage) -> list[Storage | None]:
            joined = Storage(tape, total)
            waiting.clear()
            return [joined]

        joint = Node([one.node], (), back)

        def arrive(gradient: Storage) -> list[Storage | None]:
            waiting.append(gradient)
            return [gradient]

        for out in outs:
            out.node = Node([joint], (), arrive)
    return outs


def cast(tape: Tape, one: Value, width: int) -> Value:
    """In another width."""
    return one if one.width == width else made(tape, [one], one.count, width)


def add(tape: Tape, one: Value, other: Value) -> Value:
    """The sum of two of one size: the gradient goes on as it is."""
    width = max(one.width, other.width)
    wide = [two.count * two.width for two in (one, other)]

    def back(gradient: Storage) -> list[Storage | None]:
        return [
            gradient if size == gradient.size or two == width else Storage(tape, size)
            for size, two in zip(wide, widths, strict=True)
        ]

    widths = (one.width, other.width)
    return tape.record(tape.new(one.count, width), [one, other], (), back)


def multiply(tape: Tape, one: Value, other: Value | Weight) -> Value:
    """A product of two: each is kept for the other's gradient."""
    width = max(one.width, other.width)
    scratch = one.count * width if isinstance(other, Weight) and other.trained else 0
    saved = [one if other.node is not None else None, other if one.node is not None else None]
    return made(tape, [one, other], max(one.count, other.count), width, saved, scratch=scratch)


def scale(tape: Tape, one: Value) -> Value:
    """A product with a number."""
    return made(tape, [one], one.count, one.width)


def activation(tape: Tape, one: Value) -> Value:
    """silu or gelu: the input is kept."""
    return made(tape, [one], one.count, one.width, [one])


def mean_square(tape: Tape, one: Value, rows: int) -> Value:
    """pow(2).mean(-1)."""
    squares = made(tape, [one], one.count, one.width, [one], scratch=2 * one.bytes)
    return made(tape, [squares], rows, one.width)


def matmul(tape: Tape, one: Value, weight: Weight, out: int, rows: int, width: int | None = None) -> Value:
    """F.linear: the input is kept where the weight is trained, the weight where the input needs a gradient."""
    width = tape.amp or width or one.width
    one = cast(tape, one, width)
    known = tape.weight(weight, width)
    saved = [one if weight.trained else None, known if one.node is not None else None]
    return made(tape, [one, known], rows * out, width, saved)


def rms_norm(tape: Tape, one: Value, weight: Weight, rows: int, *, one_plus: bool = False) -> Value:
    """transformers' RMSNorm: in float32. ``one_plus``: of the Gemma kind, that multiplies in float32 and narrows after."""
    wide = cast(tape, one, FLOAT)
    root = made(tape, [made(tape, [mean_square(tape, wide, rows)], rows, FLOAT)], rows, FLOAT, [])
    normed = multiply(tape, wide, root)
    del root
    if one_plus:
        del wide
        normed = multiply(tape, normed, weight)
        return cast(tape, normed, one.width)
    del wide
    normed = cast(tape, normed, one.width)
    return multiply(tape, normed, weight)


def attention(tape: Tape, queries: Value, keys: Value, values: Value, rows: int, heads: int, mask: int = 0) -> Value:
    """sdpa without a mask, by a flash kernel: the scores are never whole; all of it is kept, and a float32 for each row and head."""
    if tape.amp:
        queries, keys, values = (cast(tape, one, tape.amp) for one in (queries, keys, values))
    sums = tape.new(rows * heads, FLOAT)
    bias = tape.new(mask, queries.width)  # a mask of truths is made one of numbers
    groups = queries.count // keys.count if keys.count else 1
    # the backward of grouped queries makes gradients of keys and values for each head first
    scratch = 2 * queries.bytes if groups > 1 else 0
    out = made(tape, [queries, keys, values], queries.count, queries.width, [queries, keys, values, sums], scratch=scratch)
    if out.node is not None:
        out.node.saved = (*out.node.saved, out.storage, bias.storage)
    return out


def rotary(tape: Tape, one: Value) -> Value:
    """x * cos + rotate_half(x) * sin."""
    straight = scale(tape, one)
    turned = made(tape, [one], one.count // 2, one.width)
    turned = made(tape, [turned, one], one.count, one.width)
    turned = scale(tape, turned)
    return add(tape, straight, turned)


def kept(tape: Tape, one: Value, *, scratch: int = 0) -> Value:
    """softmax, tanh, sigmoid: the result is kept."""
    out = made(tape, [one], one.count, one.width, scratch=scratch)
    if out.node is not None:
        out.node.saved = (out.storage,)
    return out


def layer_norm(tape: Tape, one: Value, weight: Weight, rows: int) -> Value:
    """The input is kept, and two float32 for each row."""
    sums = tape.new(2 * rows, FLOAT)
    return made(tape, [one, weight], one.count, one.width, [one, sums])


def scores(
    tape: Tape, queries: Value, keys: Value, values: Value, size: int, *, capped: bool = False, masked: bool = False
) -> Value:
    """Eager attention: scores of each head, masked, their softmax in float32."""
    width = queries.width
    found = scale(tape, made(tape, [queries, keys], size, width, [queries, keys]))
    if capped:
        found = scale(tape, kept(tape, scale(tape, found)))
    if masked:
        found = scale(tape, found)
    wide = cast(tape, found, FLOAT)
    soft = kept(tape, wide, scratch=size * FLOAT)  # on the way back: gradient times result
    del wide
    found = cast(tape, soft, width)
    del soft
    out = made(tape, [found, values], queries.count, width, [found, values])
    return made(tape, [out], out.count, width)  # transposed, and made contiguous
