"""Whole steps on a tape: a forward pass, and training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from qvl_preflight.memory.allocator import whole
from qvl_preflight.memory.decoder import Decoder, Step
from qvl_preflight.memory.layers import Layers
from qvl_preflight.memory.shape import Shape
from qvl_preflight.memory.tape import FLOAT, Storage, Tape, Value, Weight
from qvl_preflight.memory.vision import Vision, join
from qvl_preflight.unknown import Undecided


@dataclass(frozen=True)
class Seen:
    """Bytes beside weights and optimizer states. ``forward``: at the worst moment up to the loss; ``peak``: of all; ``gradients``: that stay."""

    forward: int
    peak: int
    gradients: int = 0
    adapters: int = 0
    activations: int = 0


@lru_cache(maxsize=4096)
def forward(shape: Shape, how: Layers, step: Step) -> Seen:
    """A pass without gradients; the prompt of generate."""
    tape = Tape()
    model = Decoder(tape, shape, how, step)
    hidden = _hidden(model, tape, shape, step, None, _sight(tape, how, step))
    logits = model.logits(hidden, None)
    del hidden, logits
    return Seen(tape.peak, tape.peak)


def _hidden(model: Decoder, tape: Tape, shape: Shape, step: Step, tied: Weight | None, sight: Vision | None) -> Value:
    turns = (
        Storage(tape, step.length * shape.head_size * model.how.width),
        Storage(tape, step.length * shape.head_size * model.how.width),
    )
    start = model.embedded(tied)
    deep: list[Value] = []
    if sight is not None and sight.images:
        seen, deep = sight.run(step.checkpointing)
        start = join(tape, start, seen)
        del seen
    hidden = model.body(start)
    del turns, deep
    return hidden


@lru_cache(maxsize=4096)
def training(shape: Shape, how: Layers, step: Step, amp: int, *, reentrant: bool, keeps: bool = True) -> Seen:
    """The second step: what 8-bit layers kept of the first lives until the new loss takes the place of the old one. ``keeps``: are
    the gradients of weights kept here?"""
    tape = Tape(amp=amp, grad=True, keeps_shadow=not reentrant, keeps=keeps)
    model = Decoder(tape, shape, how, step)
    tied = how.norm_weight(shape.vocabulary * shape.hidden) if shape.tied else None
    hidden = _hidden(model, tape, shape, step, tied, _sight(tape, how, step))
    if strange := sorted(set(how.targets or ()) - tape.names):
        raise Undecided(f"what adapters on {strange[0]} take; known are {', '.join(sorted(tape.names))}")
    logits = model.logits(hidden, tied)
    del hidden
    loss = model.loss(logits)
    del logits
    tape.leave_autocast()
    outside = sum({id(one): one.size for one in tape.outside if one}.values())
    ahead = tape.peak
    tape.amp, adapters = 0, tape.adapted * FLOAT
    tape.backward(loss)
    gradients = sum(one.size for one in tape.gradients if one)
    return Seen(ahead + outside, max(ahead + outside, tape.peak), gradients, adapters, max(ahead + outside, tape.peak - gradients))


def _sight(tape: Tape, how: Layers, step: Step) -> Vision | None:
    return None if step.tower is None else Vision(tape, step.tower, how, step.images, step.image_size, step.eager)


def cache_bytes(shape: Shape, how: Layers, step: Step, new: int) -> int:
    """Keys and values of every layer at the end: the last token is made, not read."""
    if not step.cache:
        return 0
    length = step.length + max(0, new - 1)
    kept = [min(length, shape.window or length) if shape.windowed_layer(index) else length for index in range(shape.layers)]
    return sum(2 * whole(step.batch * one * shape.keys * how.width) for one in kept)
