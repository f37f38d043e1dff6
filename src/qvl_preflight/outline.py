"""The load plan as people read it: which module lands where, in which dtype and kernel, and how far each stage comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qvl_preflight.plan import UNPLANNED, Kernel, LoadPlan, Situation, Stage, WillRaise
from qvl_preflight.planner import STEPS
from qvl_preflight.questions import in_words
from qvl_preflight.stack.accelerate import Unit, units
from qvl_preflight.stack.map_holes import covering
from qvl_preflight.unknown import Unknown

SCHEMA = "qvl-preflight/plan/1"
# In words, in the order in which a release runs them.
STAGES = {
    Stage.ARGUMENTS: "arguments", Stage.CONFIG: "configuration", Stage.ENVIRONMENT: "packages", Stage.DTYPE: "dtype", Stage.MODEL: "model", Stage.KERNEL: "kernel",
    Stage.DEVICE_MAP: "device map", Stage.MATERIALISE: "weights", Stage.FORWARD: "forward", Stage.ADAPTERS: "adapters", Stage.TRAINER: "trainer", Stage.STEP: "step",
}  # fmt: skip
_TRAINING = (Stage.ADAPTERS, Stage.TRAINER, Stage.STEP)


@dataclass(frozen=True)
class Module:
    """One line: a module, or consecutive blocks that are alike. ``device`` is None where it is not known."""

    name: str
    device: str | None
    dtype: str | None
    kernel: str | None
    stored_bytes: int  # in the checkpoint's files


@dataclass(frozen=True)
class Passed:
    """How far one stage comes: what it raises, or what about it could not be worked out."""

    stage: Stage
    raises: tuple[WillRaise, ...]
    open: tuple[tuple[str, str], ...]  # what is not known, and why
    follows: bool = False  # something about it hangs on what is not known elsewhere
    silent: str | None = None  # what goes wrong without an exception

    @property
    def stops(self) -> bool:
        """Does the call certainly end here?"""
        return any(raised.certain for raised in self.raises)


def modules(situation: Situation, plan: LoadPlan) -> tuple[Module, ...] | Unknown:
    """The lines, in loading order with the head last; Unknown where the folder holds no weights."""
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        return weights
    pieces = sorted(
        units(weights.tensors, Unknown("as they are stored")), key=lambda piece: not piece.is_block and "head" in piece.name
    )
    return tuple(_joined(_module(piece, plan) for piece in pieces))


def _module(piece: Unit, plan: LoadPlan) -> Module:
    device = None if isinstance(plan.device_map, Unknown) else covering(plan.device_map, piece.name) or plan.device_map.get("")
    dtype = None if isinstance(plan.dtype, Unknown) else plan.dtype
    kernel = plan.kernel.name if isinstance(plan.kernel, Kernel) and piece.is_block else None
    return Module(piece.name, device, dtype, kernel, piece.total_bytes)


def _joined(lines: Iterator[Module]) -> Iterator[Module]:
    """Consecutive blocks that are alike as one line, ``model.layers.0-27``."""
    last: Module | None = None
    for line in lines:
        if last is not None and (joined := _and(last, line)) is not None:
            last = joined
            continue
        if last is not None:
            yield last
        last = line
    if last is not None:
        yield last


def _and(first: Module, second: Module) -> Module | None:
    one, two = re.fullmatch(r"(.*)\.(\d+)(?:-(\d+))?", first.name), re.fullmatch(r"(.*)\.(\d+)", second.name)
    if not one or not two or one[1] != two[1] or int(one[3] or one[2]) + 1 != int(two[2]):
        return None
    if (first.device, first.dtype, first.kernel) != (second.device, second.dtype, second.kernel):
        return None
    return Module(f"{one[1]}.{one[2]}-{two[2]}", first.device, first.dtype, first.kernel, first.stored_bytes + second.stored_bytes)


def stages(situation: Situation, plan: LoadPlan) -> tuple[Passed, ...]:
    """Each stage that this call has, in order."""
    order = list(dict.fromkeys(stage for stage, _ in STEPS))
    wanted = [stage for stage in order if stage not in _TRAINING or situation.request.trains]
    return tuple(
        Passed(
            stage, tuple(raised for raised in plan.raises if raised.stage is stage),
            tuple(dict.fromkeys((in_words(step), why) for where, step, why in plan.undecided if where is stage and why != UNPLANNED.reason)),
            any(where is stage and why == UNPLANNED.reason for where, _, why in plan.undecided),
            "the kernel passes no gradient" if stage is Stage.STEP and plan.trainable is False else None,
        )
        for stage in wanted
    )  # fmt: skip


def to_dict(situation: Situation, plan: LoadPlan) -> dict[str, Any]:
    """The JSON of plan/1."""
    lines = modules(situation, plan)
    return {
        "schema": SCHEMA,
        "model": situation.request.model,
        "purpose": situation.request.purpose,
        "plan": plan.to_dict(),
        "modules": None if isinstance(lines, Unknown) else [vars(line) for line in lines],
        "stages": [
            {
                "stage": STAGES[passed.stage],
                "raises": [{"code": r.code, "type": r.type, "message": r.text, "certain": r.certain} for r in passed.raises],
                "unknown": [f"{what}: {why}" for what, why in passed.open] + ["depends on what else is not known"] * passed.follows,
                "silent": passed.silent,
            }
            for passed in stages(situation, plan)
        ],
    }
