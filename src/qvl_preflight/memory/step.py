"""What one step holds at its worst moment, beside the weights: activations, what autograd saves, the loss. Of a dense decoder.

Every figure is counted from what the operations of the modeling file keep (transformers 5.17 models/llama/modeling_llama.py; peft 0.21 tuners/lora/layer.py,
bnb.py; bitsandbytes 0.50 autograd/_functions.py), in bytes a token:

- RMSNorm works in float32: it keeps its input so (4), and where its weight is trained, the normalised values as well.
- A linear layer keeps its input only where its weight is trained. LoRA's A keeps a copy of it, in the width of autocast.
- The gated MLP keeps gate, up and the activation; attention keeps queries, keys, values and its result; eager keeps the scores as well.
- The loss is worked out in float32: logits in the model's width, in float32 and their log-softmax going up; three float32 going down.
- prepare_model_for_kbit_training makes embeddings and norms float32, and with them the residual stream and what follows each norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.memory.allocator import whole

if TYPE_CHECKING:
    from qvl_preflight.memory.shape import Shape

_FLOAT = 4


@dataclass(frozen=True)
class Run:
    """One step. ``width``: bytes of a computed value; ``stream``: of a residual; ``linear_bits``: 8 or 4 where layers are quantised, else 16."""

    batch: int
    length: int
    width: int
    stream: int
    eager: bool = False
    linear_bits: int = 16
    new_tokens: int = 0
    checkpointing: bool = False
    reentrant: bool = True
    adapters: bool = False
    amp: bool = False
    cache: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of the whole batch."""
        return self.batch * self.length


def cache_bytes(shape: Shape, run: Run) -> int:
    """Keys and values of every layer, kept for the tokens to come."""
    if not run.cache:
        return 0
    length = run.length + max(0, run.new_tokens - 1)  # the last token is made, not read
    if shape.window is not None:
        length = min(length, shape.window)
    return 2 * shape.layers * whole(run.batch * length * shape.keys * run.width)


def inference(shape: Shape, run: Run) -> int:
    """The worst moment of a forward pass without gradients, or of generate, without the cache."""
    rows = run.batch if run.new_tokens else run.tokens  # generate needs the logits of the last position alone
    logits = whole(rows * shape.vocabulary * run.width) + whole(run.tokens * shape.hidden * run.width)
    return max(logits, whole(_mlp(shape, run)), whole(_scores(shape, run)))


def _mlp(shape: Shape, run: Run) -> int:
    """Within the MLP: embeddings, the layer's input, the residual and the normed values; gate and up, and their product or an integer result."""
    held = 4 * shape.hidden * run.width + 2 * shape.head_size * run.width
    if (
        run.linear_bits == 8
    ):  # the result as int32, float16 and in the model's width, beside the gate's; the input as float16 and int8
        return run.tokens * (held + shape.inner * (_FLOAT + 2 + 2 * run.width) + 3 * shape.hidden)
    return run.tokens * (held + 3 * shape.inner * run.width)


def _scores(shape: Shape, run: Run) -> int:
    """Eager attention: the masked scores, their float32 copy, and the softmax."""
    if not run.eager:
        return 0
    held = 4 * shape.hidden + 3 * shape.queries
    return run.tokens * (shape.heads * run.length * (run.width + 2 * _FLOAT) + held * run.width)


def saved_in_layer(shape: Shape, run: Run) -> int:
    """What autograd keeps of one layer, a token."""
    normed = run.stream if run.linear_bits < 16 else run.width  # bitsandbytes answers in the width in which it is asked
    copied = run.width if run.amp else _FLOAT
    size = _norms(shape, run)
    if run.adapters:
        size += 5 * shape.hidden * copied + shape.inner * copied  # q, k, v, gate, up; down
        if run.linear_bits == 16:  # peft casts to the adapter's float32 and autocast back; bitsandbytes' layers leave it as it is
            size += shape.queries * copied
    else:  # autocast narrows a wide input once for each layer that it goes to
        size += (2 if run.stream == run.width else 5) * shape.hidden * run.width + shape.inner * run.width
    if run.adapters and run.linear_bits == 8:  # bitsandbytes keeps each input as it came
        size += (2 * shape.hidden + shape.inner) * normed
    size += 2 * shape.queries * run.width + 2 * shape.keys * run.width + shape.heads * _FLOAT
    size += 3 * shape.inner * normed
    if run.eager:
        size += shape.heads * run.length * (_FLOAT + run.width) + 2 * (shape.queries - shape.keys) * run.width
    return size


def _norms(shape: Shape, run: Run) -> int:
    values = 2 * shape.hidden + (shape.queries + shape.keys if shape.head_norms else 0)
    return values * _FLOAT + (0 if run.adapters else values * run.stream)


def training(shape: Shape, run: Run) -> Iterator[tuple[int, bool]]:
    """The moments at which a training step can be at its worst, without weights, casts and states; and whether all gradients are there by then."""
    layer = run.tokens * saved_in_layer(shape, run)
    stream = run.tokens * shape.hidden * run.stream
    outside = _kept_outside(shape, run)
    kept = shape.layers * (stream if run.checkpointing else layer) + (outside if run.checkpointing else 0)
    head = run.tokens * shape.hidden * (_FLOAT + (0 if run.adapters else run.stream + run.width))
    logits = run.tokens * shape.vocabulary
    yield kept + head + outside + 2 * whole(logits * _FLOAT) + whole(logits * run.width), False
    yield kept + head + 3 * whole(logits * _FLOAT), False
    flowing = _flowing(shape, run)
    yield kept + (layer if run.checkpointing else 0) + flowing, False
    yield (stream if run.checkpointing else 0) + layer + flowing, True


def _flowing(shape: Shape, run: Run) -> int:
    """Gradients of one layer's values on their way down: gate, up and their product; or those of the scores, in float32 twice, once the MLP is done."""
    if not run.eager:
        return run.tokens * 3 * shape.inner * run.stream
    return run.tokens * (shape.heads * run.length * (2 * _FLOAT + run.width) - 4 * shape.inner * run.stream)


def _kept_outside(shape: Shape, run: Run) -> int:
    """bitsandbytes' 8-bit layers keep their inputs outside of autograd's own saving: those of the last step live as long as its loss does, and
    checkpointing without reentry does not let go of them either."""
    if not run.adapters or run.linear_bits != 8 or (run.checkpointing and run.reentrant):
        return 0
    return run.tokens * shape.layers * ((2 * shape.hidden + shape.inner) * run.stream + shape.queries * run.width)
