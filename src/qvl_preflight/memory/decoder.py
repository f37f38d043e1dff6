"""A decoder's step, operation by operation, as transformers' modeling files have it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qvl_preflight.memory import ops
from qvl_preflight.memory.checkpointing import checkpoint
from qvl_preflight.memory.layers import Layers, linear
from qvl_preflight.memory.moe import experts, gated
from qvl_preflight.memory.shape import Shape
from qvl_preflight.memory.tape import FLOAT, Node, Tape, Value, Weight
from qvl_preflight.memory.vision import Tower


@dataclass(frozen=True)
class Step:
    """What is run. ``last_only``: logits of the last position alone. Of transformers before 5: ``wide_logits``, made float32 at once (up to 4.45); ``shifted``,
    copied once more for the loss (up to 4.48); ``repeats``, keys and values copied for each head (up to 4.53)."""

    batch: int
    length: int
    eager: bool = False
    cache: bool = False
    last_only: bool = False
    checkpointing: bool = False
    wide_logits: bool = False
    shifted: bool = False
    repeats: bool = False
    tower: Tower | None = None
    images: int = 0
    image_size: tuple[int, int] | None = None

    @property
    def tokens(self) -> int:
        """Of the whole batch."""
        return self.batch * self.length


class Decoder:
    """One model on one tape."""

    def __init__(self, tape: Tape, shape: Shape, how: Layers, step: Step) -> None:
        self.tape, self.shape, self.how, self.step = tape, shape, how, step
        self.kept: list[Value] = []  # the cache

    def norm(self, one: Value, size: int | None = None) -> Value:
        """RMSNorm over ``size`` values."""
        size = size or self.shape.hidden
        return ops.rms_norm(self.tape, one, self.how.norm_weight(size), one.count // size, one_plus=self.shape.one_plus)

    def layer(self, hidden: Value, index: int) -> Value:
        """Attention and MLP, each beside its residual."""
        tape, shape = self.tape, self.shape
        residual = hidden
        hidden = self.norm(hidden)
        hidden = self.attention(hidden, index)
        if shape.post_norms:
            hidden = self.norm(hidden)
        hidden = ops.add(tape, residual, hidden)
        residual = hidden
        hidden = self.norm(hidden)
        hidden = experts(tape, shape, self.how, hidden) if shape.experts else self.mlp(hidden, shape.inner)
        if shape.post_norms:
            hidden = self.norm(hidden)
        return ops.add(tape, residual, hidden)

    def attention(self, hidden: Value, index: int) -> Value:
        """Queries, keys and values, turned; then one kernel, or all the scores."""
        tape, shape = self.tape, self.shape
        queries, keys, values = self._projected(hidden)
        if shape.head_norms:
            queries = self.norm(queries, shape.head_size)
            keys = self.norm(keys, shape.head_size)
        turned = ops.rotary(tape, queries), ops.rotary(tape, keys)
        if shape.fused:  # the parts that stay as they are are put beside it again
            turned = ops.made(tape, [turned[0]], turned[0].count, turned[0].width), turned[1]
            turned = turned[0], ops.made(tape, [turned[1]], turned[1].count, turned[1].width)
        queries, keys = turned
        del turned
        if self.step.cache:
            keys, values = self._cached(keys), self._cached(values)
        rows, masked = self.step.tokens, shape.masked(index, self.step.length)
        if self.step.eager:
            out = self.scores(queries, keys, values)
        else:
            if masked or self.step.repeats:
                keys, values = self.repeated(keys), self.repeated(values)
            size = self.step.batch * self.step.length**2 if masked else 0
            out = ops.attention(tape, queries, keys, values, rows, shape.heads, size)
        return linear(tape, self.how, out, "o_proj", shape.queries, shape.hidden)

    def _projected(self, hidden: Value) -> tuple[Value, Value, Value]:
        tape, shape, how = self.tape, self.shape, self.how
        if shape.fused:
            joint = linear(tape, how, hidden, "qkv_proj", shape.hidden, shape.queries + 2 * shape.keys)
            rows = self.step.tokens
            one, two, three = ops.split(tape, joint, [rows * shape.queries, rows * shape.keys, rows * shape.keys])
            return one, two, three
        return (
            linear(tape, how, hidden, "q_proj", shape.hidden, shape.queries),
            linear(tape, how, hidden, "k_proj", shape.hidden, shape.keys),
            linear(tape, how, hidden, "v_proj", shape.hidden, shape.keys),
        )

    def _cached(self, one: Value) -> Value:
        """DynamicCache: the first keys are put behind an empty tensor, which copies them."""
        made = ops.made(self.tape, [one], one.count, one.width)
        self.kept.append(made)
        return made

    def repeated(self, one: Value) -> Value:
        """repeat_kv: a copy for each head."""
        if self.shape.keys == self.shape.queries:
            return one
        return ops.made(self.tape, [one], self.step.tokens * self.shape.queries, one.width, scratch=0)

    def scores(self, queries: Value, keys: Value, values: Value) -> Value:
        """Eager attention: repeated for each head."""
        if self.tape.amp:
            queries, keys, values = (ops.cast(self.tape, one, self.tape.amp) for one in (queries, keys, values))
        keys, values = self.repeated(keys), self.repeated(values)
        size = self.step.batch * self.shape.heads * self.step.length**2
        return ops.scores(self.tape, queries, keys, values, size, capped=self.shape.attention_cap, masked=True)

    def mlp(self, hidden: Value, inner: int) -> Value:
        """Gated: down(act(gate(x)) * up(x))."""
        tape, shape, how = self.tape, self.shape, self.how
        if shape.fused:
            joint = linear(tape, how, hidden, "gate_up_proj", shape.hidden, 2 * inner)
            gate, up = ops.split(tape, joint, [self.step.tokens * inner] * 2)
            up = ops.multiply(tape, up, ops.activation(tape, gate))
            return linear(tape, how, up, "down_proj", inner, shape.hidden)
        return gated(tape, how, hidden, shape.hidden, inner)

    def embedded(self, tied: Weight | None) -> Value:
        """Of the tokens; Gemma's times a number. Gradients go to it where it is trained, or where checkpointing wants them."""
        tape, shape, step, how = self.tape, self.shape, self.step, self.how
        weight = tied or how.norm_weight(shape.vocabulary * shape.hidden)
        size, width = step.tokens * shape.hidden, how.norm
        out = ops.made(tape, [weight], size, width)
        if tape.grad and step.checkpointing and out.node is None:
            out.node = Node((), (True,), lambda _: ())
        return ops.scale(tape, out) if shape.scaled else out

    def body(self, embedded: Value) -> Value:
        """All layers and the last norm."""
        step = self.step
        hidden = embedded
        for index in range(self.shape.layers):
            block = partial(self.layer, index=index)
            hidden = checkpoint(self.tape, hidden, block) if step.checkpointing and self.tape.grad else block(hidden)
        return self.norm(hidden)

    def logits(self, hidden: Value, tied: Weight | None) -> Value:
        """The output layer, which neither adapters nor quantisation touch."""
        step, shape = self.step, self.shape
        rows = step.batch if step.last_only else step.tokens
        taken = ops.view(self.tape, hidden)
        taken.count = rows * shape.hidden
        weight = tied or self.how.norm_weight(shape.vocabulary * shape.hidden)
        out = ops.matmul(self.tape, taken, weight, shape.vocabulary, rows)
        if shape.logit_cap:
            out = ops.scale(self.tape, out)
            out = ops.kept(self.tape, out)
            out = ops.scale(self.tape, out)
        return ops.cast(self.tape, out, FLOAT) if step.wide_logits else out

    def loss(self, logits: Value) -> Value:
        """ForCausalLMLoss: in float32; cross entropy keeps the logarithms."""
        tape = self.tape
        wide = ops.cast(tape, logits, FLOAT)
        logs = ops.kept(tape, ops.scale(tape, wide) if self.step.shifted else wide)
        return ops.made(tape, [logs], 1, FLOAT, [logs])
