"""What full fine-tuning holds on each GPU at once: weights, their gradients, and the optimizer's states. Lower bounds.

A step ends with all three in memory. Activations, buckets and the CUDA context come on top, and are left out here. Trainer keeps no second copy of
the weights under bf16=True or fp16=True (transformers 4.28 to 5.23 trainer.py: autocast alone); DeepSpeed does (runtime/bf16_optimizer.py,
zero/stage_1_and_2.py of 0.14.5 and 0.18.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory.weights import WIDTHS

if TYPE_CHECKING:
    from qvl_preflight.memory.ranks import Sharing
    from qvl_preflight.memory.weights import Stored

DEFAULT = "adamw_torch"  # TrainingArguments.optim since 4.30; adamw_hf, of the same size, before
# (states that are as wide as the weights, bytes of states beside them) for each weight, by TrainingArguments.optim (trainer.py
# get_optimizer_cls_and_kwargs). Paged states may lie in the machine's RAM; factored ones are small.
_STATES: tuple[tuple[str, tuple[float, float]], ...] = (
    (r"paged_.*|adafactor|sgd|schedule_free_sgd|adamw_anyprecision", (0, 0)),
    (r"adamw_hf|adamw_torch(_fused|_xla|_npu_fused)?|adamw_apex_fused|schedule_free_(adamw|radam)|stable_adamw", (2, 0)),
    (r"adamw_8bit|adamw_bnb_8bit|adamw_torch_8bit", (0, 2)),
    (r"adamw_torch_4bit", (0, 1)),
    (r"ademamix", (0, 12)),
    (r"ademamix_8bit", (0, 3)),
    (r"lion_32bit", (0, 4)),
    (r"lion_8bit|rmsprop_bnb_8bit", (0, 1)),
    (r"rmsprop_bnb(_32bit)?", (0, 4)),
    (r"adagrad|rmsprop", (1, 0)),
)
_FREES_GRADIENTS = re.compile(r"(ada)?lomo|.*_layerwise|galore_.*|apollo_.*|grokadamw")  # or hold them in another form


@dataclass(frozen=True)
class Training:
    """The bytes of one process. ``ranks`` hold the model together; 1 where each holds all of it."""

    weights: float
    gradients: float
    states: float
    optimizer: str
    ranks: int = 1

    @property
    def total_bytes(self) -> int:
        """At the end of a step."""
        return int(self.weights + self.gradients + self.states)


def full(stored: tuple[Stored, ...], trainer: Mapping[str, Any], sharing: Sharing | None = None) -> Training:
    """Full fine-tuning under a Trainer: what one process surely holds."""
    floats = [tensor for tensor in stored if tensor.dtype in WIDTHS]
    count, size = sum(tensor.count for tensor in floats), sum(tensor.total_bytes for tensor in stored)
    name = named(trainer)
    if sharing is not None and (sharing.fsdp or sharing.stage):
        return shared(count, size, name, sharing)
    wide, beside = states_of(name) or (0, 0)
    trained = sum(tensor.weight_bytes for tensor in floats)
    gradients = 0 if _FREES_GRADIENTS.fullmatch(name) else trained
    return Training(size, gradients, trained * wide + count * beside, name)


def named(trainer: Mapping[str, Any]) -> str:
    """The optimizer: DeepSpeed's own where its configuration has one, else TrainingArguments'."""
    config = trainer.get("deepspeed")
    own = config.get("optimizer") if isinstance(config, Mapping) else None
    return str(own.get("type") or "") if isinstance(own, Mapping) else str(trainer.get("optim") or DEFAULT)


def states_of(name: str) -> tuple[float, float] | None:
    """States as wide as the weights, and bytes of states beside them, for each weight; None for an optimizer that is not in the table."""
    return next((found for pattern, found in _STATES if re.fullmatch(pattern, name)), None)


def shared(count: int, size: int, name: str, sharing: Sharing, width: int = 2) -> Training:
    """One of several ranks that hold it together. ZeRO keeps weights and gradients in half precision, and a float32 copy and Adam's two states; FSDP all in one
    ``width``, of which half precision is the least."""
    adam = name.lower() in ("adam", "adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf")
    ranks, stage = sharing.ranks, sharing.stage
    if not stage:
        states = 2 if adam else 0
        whole = count * width
        return Training(whole / ranks, whole / ranks, 0 if sharing.states_away else whole * states / ranks, name, ranks)
    states = 0 if sharing.states_away else count * (4 + (8 if adam else 0))
    gradients = 0 if sharing.states_away else count * width
    weights = min(size, count * width)
    return Training(weights / (ranks if stage == 3 else 1), gradients / (ranks if stage >= 2 else 1), states / ranks, name, ranks)
