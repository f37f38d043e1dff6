"""Where the installed releases are not known: what the call meets on the stacks that it can be meant for, said as warnings.

A kind of failure is said where at least half of the possible releases have it, and says which. One that a single combination has
is not: it would be a warning on calls that work nearly everywhere.

Where nobody looked for GPUs, a stack has an exception if the call ends in one with a GPU, and without one as well, be it another, or is not
known to load there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.judge import judge
from qvl_preflight.plan import Stage
from qvl_preflight.planner import make_plan
from qvl_preflight.report import Applicability, Finding, Severity
from qvl_preflight.stack.eras import Hypothesis, hypotheses, with_and_without_gpu

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan, Situation
    from qvl_preflight.request import Request
    from qvl_preflight.rule import Rule


_Offer = Callable[["Situation", "LoadPlan"], dict[str, Any]]


def on_possible_stacks(situation: Situation, rules: Iterable[Rule], said: set[str], offer: _Offer) -> list[Finding]:
    """A warning for each topic, not ``said`` yet, that at least half of the possible stacks have."""
    stacks = hypotheses(situation)
    machines = with_and_without_gpu(situation)
    if machines is not None and not stacks:
        stacks = (Hypothesis(situation, "", assumes_transformers=False),)
    elif len(stacks) < 2:
        return []
    by_topic: dict[str, dict[Hypothesis, Finding]] = {}
    for stack in stacks:
        for finding in [
            *_grave(stack.situation, make_plan(stack.situation), rules, offer),
            *_either_way(stack.situation, rules, offer),
        ]:
            by_topic.setdefault(finding.topic, {}).setdefault(stack, finding)
    return [
        _said_of(met, stacks)
        for topic, met in sorted(by_topic.items())
        if topic not in said and 2 * len(_names(met)) >= len(_names(stacks))
    ]


def _grave(situation: Situation, plan: LoadPlan, rules: Iterable[Rule], offer: _Offer) -> list[Finding]:
    found, _ = judge(rules, offer(situation, plan))
    return [finding for finding in found if finding.severity is not Severity.NOTE]


def _either_way(situation: Situation, rules: Iterable[Rule], offer: _Offer) -> list[Finding]:
    """What the call raises on a machine with a GPU, where it raises something on one without a GPU, too, or is not known to load there."""
    both_machines = with_and_without_gpu(situation)
    if both_machines is None:
        return []
    machines = both_machines[:1] if _means_a_gpu(situation.request) else both_machines
    plans = [make_plan(machine) for machine in machines]
    there, *rest = (
        [finding for finding in _grave(machine, plan, rules, offer) if finding.raises is not None]
        for machine, plan in zip(machines, plans, strict=True)
    )
    if not rest:
        return there
    gone = rest[0]
    both = {finding.topic for finding in there} & {finding.topic for finding in gone}
    instead = next((finding.message for finding in gone if finding.topic not in both), None)
    if instead is None:
        open_ = (reason for stage, _, reason in plans[1].undecided if stage is Stage.ENVIRONMENT)
        instead = next((f"it is not known {reason.removesuffix(', is not known')}" for reason in open_), None)
    return [
        finding if finding.topic in both else replace(finding, message=f"{finding.message}; and without a GPU, {instead}")
        for finding in there
        if finding.topic in both or instead is not None
    ]


def _means_a_gpu(request: Request) -> bool:
    """Would nobody write this call for a machine without a GPU? Half precision by a GradScaler, TensorFloat-32, and FlashAttention need one."""
    trainer = request.trainer or {}
    flash = (
        str(request.kwargs.get("attn_implementation") or "").startswith("flash")
        or request.kwargs.get("use_flash_attention_2") is True
    )
    return flash or trainer.get("fp16") is True or trainer.get("tf32") is True


def _names(stacks: Iterable[Hypothesis]) -> list[str]:
    """What tells the stacks apart, oldest first. Stacks of one name differ in companions of the same day."""
    return list(dict.fromkeys(stack.name for stack in stacks))


def _listed(names: list[str]) -> str:
    """``transformers 4.34.1, 4.51.3``: the package once where it is the same throughout."""
    package = names[0].partition(" ")[0]
    same = all(name.startswith(f"{package} ") and name.count(" ") == 1 for name in names)
    return f"{package} {', '.join(name.partition(' ')[2] for name in names)}" if same else ", ".join(names)


def _said_of(met: dict[Hypothesis, Finding], stacks: tuple[Hypothesis, ...]) -> Finding:
    """The newest stack's words; its fix only where every stack that needs one has the same."""
    newest = list(met.values())[-1]
    same = all(found.fix is not None and newest.fix is not None and found.fix.edits == newest.fix.edits for found in met.values())
    fix = newest.fix if same else None
    if len(met) == len(stacks):
        where = (
            "whichever release of transformers is installed"
            if stacks[0].assumes_transformers
            else "whichever companions are installed"
        )
    else:
        where = f"with {_listed(_names(met))}; which releases are installed is not known"
        fix = fix if fix is not None and fix.applicability is Applicability.SAFE else None
    return replace(newest, message=f"{newest.message}. So it is {where}", severity=Severity.WARNING, raises=None, fix=fix)
