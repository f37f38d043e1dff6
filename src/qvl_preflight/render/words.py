"""What a verdict means, in words: never more than was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.facts import absent
from qvl_preflight.stack.cuda import NVIDIA_ONLY

if TYPE_CHECKING:
    from qvl_preflight.report import Report

# Followed by "will raise" or "may raise".
STAGE = {"import": "Before anything is read it", "load": "The load", "forward": "The first forward", "train": "Training"}


def headline(report: Report) -> tuple[str, str]:
    """The verdict, and one sentence: about what, and what it means."""
    request, word = report.request, report.verdict.upper()
    if request is None:
        return word, f"this environment: {_environment(report)}"
    return word, f"{request.model} for {request.purpose}: {verdict_of_call(report)}"


def verdict_of_call(report: Report) -> str:
    """What the verdict on a call means."""
    trains = report.request is not None and report.request.trains
    looked_at = "the load, the first forward or the training step" if trains else "the load or the first forward"
    if report.left_out:
        looked_at = "it by the rules that were asked"
    return {
        "fails": "this call will not do what was asked",
        "degraded": "it runs, but surely not as wanted",
        "incomplete": "nothing was found, but not everything could be checked",
        "ok": f"nothing was found against {looked_at}",
    }[report.verdict]


def _environment(report: Report) -> str:
    if report.verdict in ("fails", "degraded"):
        return "not all of it can be used"
    if not report.skipped:
        missing = absent(report.facts)
        looked_at = "driver, GPUs and launch" if "torch" in missing else "driver, GPUs, torch and launch"
        where = "by the rules that were asked" if report.left_out else f"in {looked_at}"
        return f"nothing wrong was found {where}" + (
            f"; {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed" if missing else ""
        )
    others = [item for item in report.skipped if item.reason.endswith(NVIDIA_ONLY)]
    if others:
        checks = "1 check was" if len(others) == 1 else f"{len(others)} checks were"
        return f"{checks} left out, since they know NVIDIA GPUs only; the rest found nothing"
    return verdict_of_call(report)
