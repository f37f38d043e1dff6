"""The parts of a training step that are no activations: adapters, what is made wider, gradients, optimizer states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.memory.training import full, states_of
from qvl_preflight.memory.weights import WIDTHS, Stored
from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.memory.asked import Asked

_FLOAT = 4
_HALVES = ("float16", "bfloat16", "F16", "BF16")
SEES = re.compile(r"(^|\.)(visual|vision_tower|vision_model|multi_modal_projector)\.")
# peft stores adapters in float32 over half-precision weights (autocast_adapter_dtype, since 0.12)


@dataclass(frozen=True)
class Parts:
    """``prepared``: what prepare_model_for_kbit_training adds; ``scratch``: of the optimizer's step."""

    adapters: int = 0
    prepared: int = 0
    gradients: int = 0
    states: int = 0
    scratch: int = 0


def parts(stored: Sequence[Stored], asked: Asked, adapters: int, prepares: bool) -> Parts:
    """All of them, for one process. Raises Undecided for an optimizer that is not known."""
    states = states_of(asked.optimizer)
    if states is None:
        raise Undecided(f"how much the optimizer {asked.optimizer} keeps")
    floats = [tensor for tensor in stored if tensor.dtype in WIDTHS]
    if asked.method == "full" and not asked.images:  # what no image goes through gets no gradient
        floats = [tensor for tensor in floats if not SEES.search(tensor.name)]
    if asked.method == "lora":
        count = adapters // _FLOAT
        prepared = sum(2 * tensor.count for tensor in stored if tensor.dtype in _HALVES)
        held = int(adapters * states[0] + count * states[1])
        scratch = _scratch(asked.optimizer, adapters, max((tensor.count for tensor in stored), default=0) // 64)
        return Parts(adapters, prepared if prepares else 0, adapters, held, scratch)
    trained = full(tuple(floats), {"optim": asked.optimizer})  # what QVL502 says
    scratch = _scratch(asked.optimizer, int(trained.gradients), max((tensor.count for tensor in floats), default=0))
    return Parts(gradients=int(trained.gradients), states=int(trained.states), scratch=scratch)


def _scratch(optimizer: str, size: int, largest: int) -> int:
    """Of the step: torch's AdamW takes the root of every second moment at once (_multi_tensor_adamw); Adafactor goes weight by weight, and has it, its
    gradient, the square and the update in float32."""
    if optimizer == "adafactor":
        return 4 * _FLOAT * largest
    return size if optimizer in ("adamw_torch", "adamw_hf") else 0
