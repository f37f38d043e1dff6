"""A training step of one rank of several: its part of weights, gradients and states, and what is put together for a moment. Read from sources: about.

- DDP keeps a copy of all gradients in its buckets (torch 2.14 nn/parallel/distributed.py, gradient_as_bucket_view=False).
- ZeRO fills buckets of ``reduce_bucket_size`` while it goes back, two where it overlaps, and its step takes the gradients of its part in float32
  (deepspeed 0.18.3 runtime/zero/stage_1_and_2.py setup_buckets, step; stage3.py _prepare_fp32_grad_for_sub_group, a ``sub_group_size`` at a time).
- ZeRO-3 lets up to ``stage3_max_live_parameters`` lie gathered (partitioned_param_coordinator.py).
- FSDP gathers what is in no layer of its own once, and two layers at a time; without units, the whole model. Under mixed precision accelerate makes
  what is trained float32 (1.15 accelerator.py, utils/fsdp_utils.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.memory.training import shared, states_of
from qvl_preflight.memory.weights import WIDTHS, Stored
from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.parts import Parts
    from qvl_preflight.memory.ranks import Sharing

_FLOAT, _HALF = 4, 2
_SUB_GROUP = 1_000_000_000  # elements (deepspeed zero/config.py sub_group_size)


@dataclass(frozen=True)
class Rank:
    """What one rank holds. ``gathered``: weights that are put together for their turn, at most; ``buckets``: of gradients on their way;
    ``kept_buckets``: are they there during the optimizer's step too? ``ram``: what is offloaded."""

    weights: int
    parts: Parts
    gathered: int = 0
    buckets: int = 0
    kept_buckets: bool = True
    ram: int = 0


def computed_in(dtype: str, sharing: Sharing, *, amp: bool) -> str:
    """The dtype in which a rank computes: DeepSpeed turns the model into half precision, FSDP gathers its layers in it."""
    half = sharing.half if sharing.stage else amp and sharing.fsdp
    return "bfloat16" if half and dtype == "float32" else dtype


def rank_of(stored: Sequence[Stored], weights: int, held: Parts, asked: Asked, sharing: Sharing, hidden: int) -> Rank:
    """``weights`` and ``held`` are those of a process that holds it all. Raises Undecided."""
    if not sharing.fsdp and not sharing.stage:
        return Rank(weights, held, buckets=held.gradients if sharing.ranks > 1 else 0)
    if any(one.dtype in ("4bit", "int8") for one in stored) and sharing.stage == 3:
        raise Undecided("what ZeRO-3 makes of weights that bitsandbytes quantises")
    if states_of(asked.optimizer) is None:
        raise Undecided(f"how much the optimizer {asked.optimizer} keeps")
    return _fsdp(stored, weights, held, asked, sharing) if sharing.fsdp else _zero(stored, weights, held, asked, sharing, hidden)


def _trained(stored: Sequence[Stored], held: Parts, asked: Asked) -> int:
    """How many values are trained: all, or the adapters', which peft stores in float32."""
    if asked.method == "lora":
        return held.adapters // _FLOAT
    return sum(one.count for one in stored if one.dtype in WIDTHS)


def _states(asked: Asked, count: int, width: int) -> int:
    wide, beside = states_of(asked.optimizer) or (0, 0)
    return int(count * (wide * width + beside))


def _zero(stored: Sequence[Stored], weights: int, held: Parts, asked: Asked, sharing: Sharing, hidden: int) -> Rank:
    width = _HALF if sharing.half else max((WIDTHS[one.dtype] for one in stored if one.dtype in WIDTHS), default=_FLOAT)
    lora, count, ranks = asked.method == "lora", _trained(stored, held, asked), sharing.ranks
    here = shared(count, count * _FLOAT, asked.optimizer, sharing, width)
    base = weights // (ranks if sharing.stage == 3 else 1)
    states = int((count * _FLOAT + _states(asked, count, _FLOAT)) / ranks)
    step = int(min(count / ranks, _SUB_GROUP if sharing.stage == 3 else count) * _FLOAT)
    bucket = sharing.bucket if sharing.bucket is not None else hidden * hidden
    everything = sum(one.count for one in stored) + (count if lora else 0)
    moved = int(here.weights) if lora else 0
    parts = replace(
        held, adapters=moved, prepared=held.prepared // (ranks if sharing.stage == 3 else 1), gradients=int(here.gradients),
        states=0 if sharing.states_away else states, scratch=0 if sharing.states_away else step,
    )  # fmt: skip
    ram = (states + step if sharing.states_away else 0) + (base + moved if sharing.weights_away else 0)
    return Rank(
        0 if sharing.weights_away else base, replace(parts, adapters=0) if sharing.weights_away else parts,
        gathered=min(everything, sharing.live) * width if sharing.stage == 3 else 0, buckets=sharing.buckets * bucket * width,
        kept_buckets=sharing.stage == 3, ram=ram,
    )  # fmt: skip


def _fsdp(stored: Sequence[Stored], weights: int, held: Parts, asked: Asked, sharing: Sharing) -> Rank:
    lora, count, ranks = asked.method == "lora", _trained(stored, held, asked), sharing.ranks
    own = max((WIDTHS[one.dtype] for one in stored if one.dtype in WIDTHS), default=_FLOAT)
    width = _FLOAT if asked.amp or lora else own
    here = shared(count, count * width, asked.optimizer, sharing, width)
    base = weights // ranks if lora else int(here.weights)
    states = int(_states(asked, count, width) / ranks)
    scratch = int(here.weights) if asked.optimizer in ("adamw_torch", "adamw_hf") else held.scratch // ranks
    parts = replace(
        held, adapters=int(here.weights) if lora else 0, prepared=held.prepared // ranks, gradients=int(here.gradients), states=states,
        scratch=scratch,
    )  # fmt: skip
    ram = 0
    if sharing.weights_away:
        ram = base + parts.adapters + parts.prepared + parts.gradients + parts.states
        base, parts = 0, replace(parts, adapters=0, prepared=0, gradients=0, states=0, scratch=0)
    layers, rest = _units(stored)
    gathered = rest + (2 * max(layers, default=0) if sharing.wraps and sharing.reshards else sum(layers))
    return Rank(base, parts, gathered, buckets=0 if lora else max(layers, default=0), kept_buckets=False, ram=ram)


def _units(stored: Sequence[Stored]) -> tuple[list[int], int]:
    """The bytes of each layer, and of what lies outside of layers."""
    layers: dict[str, int] = {}
    rest = 0
    for one in stored:
        names = one.name.split(".")
        place = next((number for number, name in enumerate(names) if name.isdecimal()), None)
        if place is None:
            rest += one.total_bytes
        else:
            key = ".".join(names[: place + 1])
            layers[key] = layers.get(key, 0) + one.total_bytes
    return list(layers.values()), rest
