"""What the rules about driver and GPUs share: one cause, found in a plan or on a machine alone; the GPUs that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, ask
from qvl_preflight.stack.cuda import only_nvidia, refusal_of
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts, Gpu
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.stack.nvidia_driver import Refusal


def reason(facts: Facts, devices: Devices, cause: str) -> Refusal | None:
    """Why CUDA cannot be used, if this is the cause. Raises Undecided."""
    only_nvidia(facts)
    refusal = refusal_of(facts, devices)
    return refusal if refusal is not None and refusal.cause == cause else None


def judged(
    code: str, cause: str, facts: Facts, devices: Devices, plan: LoadPlan | None, remedy: Fix | Callable[[object], Fix]
) -> Iterator[Finding]:
    """The finding of a cause: what the call will raise, or what this machine suffers from. ``remedy``: the fix, or what works it out then."""
    if plan is not None:
        yield from as_planned(plan, code, remedy)
    elif refusal := reason(facts, devices, cause):
        depends = f" (CUDA cannot be used if {refusal.condition})" if refusal.condition else ""
        fix = remedy(refusal) if callable(remedy) else remedy
        yield Finding(refusal.why + depends, "import", fix=fix, severity=Severity.WARNING)


def used_gpus(devices: Devices, plan: LoadPlan | None) -> list[tuple[int, Gpu]]:
    """The visible GPUs that this is about: those on which the plan puts weights, else all."""
    known = ask(devices, plan)
    numbered = list(enumerate(known.visible)) if known else []
    if plan is None:
        return numbered
    return (
        []
        if isinstance(plan.devices, Unknown)
        else [(ordinal, gpu) for ordinal, gpu in numbered if f"cuda:{ordinal}" in plan.devices]
    )
