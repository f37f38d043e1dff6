"""Experts: those of transformers 5, whose weights lie together and are multiplied in groups (integrations/moe.py grouped_mm_experts_forward)."""

from __future__ import annotations

from qvl_preflight.memory import ops
from qvl_preflight.memory.layers import Layers, linear
from qvl_preflight.memory.shape import Shape
from qvl_preflight.memory.tape import FLOAT, Tape, Value, Weight

_LONG = 8


def experts(tape: Tape, shape: Shape, how: Layers, hidden: Value) -> Value:
    """A sparse block: the router, the experts that it chooses, one that all tokens go to beside them."""
    rows = hidden.count // shape.hidden
    shared = gated(tape, how, hidden, shape.hidden, shape.shared_inner) if shape.shared_inner else None
    weights, chosen = _router(tape, shape, how, hidden, rows)
    out = _grouped(tape, shape, how, hidden, weights, chosen, rows)
    if shared is None:
        return out
    gate = ops.kept(tape, linear(tape, how, hidden, "shared_expert_gate", shape.hidden, 1))
    shared = ops.multiply(tape, shared, gate)
    return ops.add(tape, out, shared)


def gated(tape: Tape, how: Layers, hidden: Value, model: int, inner: int) -> Value:
    """A gated MLP: down(act(gate(x)) * up(x))."""
    gate = ops.activation(tape, linear(tape, how, hidden, "gate_proj", model, inner))
    product = ops.multiply(tape, gate, linear(tape, how, hidden, "up_proj", model, inner))
    return linear(tape, how, product, "down_proj", inner, model)


def _router(tape: Tape, shape: Shape, how: Layers, hidden: Value, rows: int) -> tuple[Value, Value]:
    """Weights and numbers of the experts of each token. Its own weight is wrapped by adapters as the experts' are."""
    weight = _adapted(tape, how, shape, shape.experts * shape.hidden, shape.experts + shape.hidden)
    logits = _router_product(tape, hidden, weight, shape.experts, rows)
    wide = ops.cast(tape, logits, FLOAT)
    soft = ops.kept(tape, wide)
    size = rows * shape.chosen
    numbers = tape.new(size, _LONG)
    top = ops.made(tape, [soft], size, FLOAT, [numbers])
    if not shape.wide_router:
        top = ops.cast(tape, top, logits.width)
    return top, numbers


def _router_product(tape: Tape, hidden: Value, weight: Value | Weight, out: int, rows: int) -> Value:
    width = tape.amp or hidden.width
    narrow = ops.cast(tape, hidden, width)
    trained = weight.node is not None
    return ops.made(
        tape, [narrow, weight], rows * out, width, [narrow if trained else None, weight if narrow.node is not None else None]
    )


def _adapted(tape: Tape, how: Layers, shape: Shape, size: int, factors: int) -> Value | Weight:
    """A weight with what its adapters add, made anew for each step (peft 0.21 ParamWrapper: baddbmm in the weight's width). Those
    that peft knows to be linear layers on disk (utils/transformers_weight_conversion.py), where all layers are adapted."""
    if not how.rank or how.targets is not None or not shape.wrapped:
        return how.norm_weight(size)
    return ops.made(tape, [tape.adapter(factors * how.rank)], size, how.norm)


def _grouped(tape: Tape, shape: Shape, how: Layers, hidden: Value, weights: Value, chosen: Value, rows: int) -> Value:
    size, inner, model = rows * shape.chosen, shape.inner, shape.hidden
    joint = _adapted(tape, how, shape, shape.experts * 2 * inner * model, shape.experts * 2 * (2 * inner + model))
    last = _adapted(tape, how, shape, shape.experts * inner * model, shape.experts * (inner + model))
    order = tape.new(size, _LONG), tape.new(size, _LONG)
    taken = ops.made(tape, [hidden], size * model, hidden.width, [order[1]], scratch=3 * size * _LONG)
    routing = ops.made(tape, [weights], size, weights.width, [order[1]])
    mask = tape.new(size, 1)
    out = _product(tape, taken, joint, size * 2 * inner)
    out = ops.made(tape, [out], out.count, out.width, [mask])
    gate, up = ops.split(tape, out, [size * inner] * 2)
    out = ops.multiply(tape, ops.activation(tape, gate), up)
    del gate, up
    out = _product(tape, out, last, size * model)
    out = ops.made(tape, [out], out.count, out.width, [mask])
    weighted = _weighted(tape, out, routing)
    back = tape.new(size, _LONG)
    weighted = ops.made(tape, [weighted], weighted.count, weighted.width, [back])
    total = ops.made(tape, [weighted], rows * model, weighted.width)
    return ops.cast(tape, total, hidden.width)


def _weighted(tape: Tape, out: Value, routing: Value) -> Value:
    saved = [out if routing.node is not None else None, routing if out.node is not None else None]
    return ops.made(
        tape, [out, routing], out.count, max(out.width, routing.width), saved, scratch=out.count * max(out.width, routing.width)
    )


def _product(tape: Tape, one: Value, weight: Value | Weight, size: int) -> Value:
    """grouped_mm, which autocast leaves alone: in the width of the weights."""
    one = ops.cast(tape, one, weight.width)
    trained = weight.node is not None
    return ops.made(tape, [one, weight], size, weight.width, [one if trained else None, weight if one.node is not None else None])
