"""What the rules about the driver share: one cause, found in a plan or on a machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned
from qvl_preflight.stack.cuda import only_nvidia, refusal_of

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.stack.nvidia_driver import Refusal


def reason(facts: Facts, devices: Devices, cause: str) -> Refusal | None:
    """Why CUDA cannot be used, if this is the cause. Raises Undecided."""
    only_nvidia(facts)
    refusal = refusal_of(facts, devices)
    return refusal if refusal is not None and refusal.cause == cause else None


def judged(code: str, cause: str, facts: Facts, devices: Devices, plan: LoadPlan | None, remedy: Fix) -> Iterator[Finding]:
    """The finding of a cause: what the call will raise, or what this machine suffers from."""
    if plan is not None:
        yield from as_planned(plan, code, remedy)
    elif refusal := reason(facts, devices, cause):
        depends = f" (CUDA cannot be used if {refusal.condition})" if refusal.condition else ""
        yield Finding(refusal.why + depends, "import", fix=remedy, severity=Severity.WARNING)
