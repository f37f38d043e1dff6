"""The parts of a training step that are no activations: adapters, what is made wider, gradients, optimizer states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.memory.allocator import whole
from qvl_preflight.memory.training import full, states_of
from qvl_preflight.memory.weights import WIDTHS, Stored
from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.shape import Shape

_FLOAT = 4
# peft stores adapters in float32 over half-precision weights (autocast_adapter_dtype, since 0.12; models are loaded so by transformers' trainers as well)
_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Parts:
    """``casts``: copies in the width of autocast that live as long as the activations; ``scratch``: of the optimizer's step."""

    adapters: int = 0
    prepared: int = 0
    casts: int = 0
    gradients: int = 0
    states: int = 0
    scratch: int = 0


def linear_sizes(shape: Shape) -> dict[str, tuple[int, int]]:
    """The linear layers of one decoder layer: values that go in and come out."""
    hidden, inner = shape.hidden, shape.inner
    sizes = (
        (hidden, shape.queries),
        (hidden, shape.keys),
        (hidden, shape.keys),
        (shape.queries, hidden),
        (hidden, inner),
        (hidden, inner),
        (inner, hidden),
    )
    return dict(zip(_LINEARS, sizes, strict=True))


def parts(shape: Shape, stored: Sequence[Stored], asked: Asked, bits: int, width: int) -> Parts:
    """All of them, for one process. Raises Undecided for an optimizer, or adapters, that are not known."""
    states = states_of(asked.optimizer)
    if states is None:
        raise Undecided(f"how much the optimizer {asked.optimizer} keeps")
    if asked.method == "lora":
        return _lora(shape, stored, asked, bits, width, states)
    if bits < 16:
        raise Undecided("quantised weights cannot be trained in full")
    floats = [tensor for tensor in stored if tensor.dtype in WIDTHS]
    trained = full(tuple(stored), {"optim": asked.optimizer})  # what QVL502 says
    casts = sum(2 * tensor.count for tensor in floats if _is_linear(tensor)) if asked.amp and width == _FLOAT else 0
    scratch = _scratch(asked.optimizer, int(trained.gradients), max((tensor.count for tensor in floats), default=0))
    return Parts(casts=casts, gradients=int(trained.gradients), states=int(trained.states), scratch=scratch)


def _lora(shape: Shape, stored: Sequence[Stored], asked: Asked, bits: int, width: int, states: tuple[float, float]) -> Parts:
    sizes = linear_sizes(shape)
    targets = asked.targets or _LINEARS
    if strange := sorted(set(targets) - set(sizes)):
        raise Undecided(f"what adapters on {strange[0]} take; known are {', '.join(_LINEARS)}")
    count = shape.layers * sum(asked.rank * sum(sizes[name]) for name in targets)
    size = count * _FLOAT
    prepared = casts = 0
    if bits < 16:
        prepared = sum(
            tensor.count * (_FLOAT - WIDTHS[tensor.dtype]) for tensor in stored if WIDTHS.get(tensor.dtype, _FLOAT) < _FLOAT
        )
    if asked.amp:
        casts = 0 if asked.checkpointing else count * 2
        if bits < 16 or width == _FLOAT:
            casts += whole(shape.vocabulary * shape.hidden * 2)
        if bits == 16 and width == _FLOAT and not asked.checkpointing:
            casts += 2 * shape.layers * sum(one * other for one, other in sizes.values())
    scratch = _scratch(asked.optimizer, size, asked.rank * max(max(pair) for pair in sizes.values()))
    return Parts(size, prepared, casts, size, int(size * states[0] + count * states[1]), scratch)


def _scratch(optimizer: str, size: int, largest: int) -> int:
    """Of the step: torch's AdamW takes the root of every second moment at once (_multi_tensor_adamw); Adafactor goes weight by weight, and has it, its
    gradient, the square and the update in float32."""
    if optimizer == "adafactor":
        return 4 * _FLOAT * largest
    return size if optimizer in ("adamw_torch", "adamw_hf") else 0


def _is_linear(tensor: Stored) -> bool:
    return tensor.name.removesuffix(".weight").rpartition(".")[2] in (*_LINEARS, "lm_head")
