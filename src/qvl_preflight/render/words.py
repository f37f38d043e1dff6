"""What a verdict means, in words: never more than was looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qvl_preflight.facts import absent
from qvl_preflight.report import Severity
from qvl_preflight.stack.cuda import NVIDIA_ONLY

if TYPE_CHECKING:
    from qvl_preflight.plan import WillRaise
    from qvl_preflight.report import Report

# Followed by "will raise" or "may raise".
STAGE = {"import": "Before anything is read, the call", "load": "The load", "forward": "The first forward", "train": "Training"}


def headline(report: Report) -> tuple[str, str]:
    """The verdict, and one sentence: about what, and what it means."""
    request, word = report.request, report.verdict.upper()
    if report.off:
        return word, report.skipped[0].reason
    if request is None:
        return word, f"this environment: {_environment(report)}"
    return word, f"{request.model} for {request.purpose}: {verdict_of_call(report)}"


def verdict_of_call(report: Report) -> str:
    """What the verdict on a call means."""
    if report.loaded is not None:
        return _verdict_of_loaded(report)
    trains = report.request is not None and report.request.trains
    looked_at = "the load, the first forward or the training step" if trains else "the load or the first forward"
    if report.left_out:
        looked_at = "it by the rules that were asked"
    return {
        "fails": "this call will not do what was asked",
        "degraded": _degraded(report),
        "incomplete": "nothing was found, but not everything could be checked",
        "ok": f"nothing was found against {looked_at}",
    }[report.verdict]


def _verdict_of_loaded(report: Report) -> str:
    return {
        "fails": "the model that is loaded will not do what is asked of it",
        "degraded": "the model that is loaded may not do what is asked of it",
        "incomplete": "nothing was found in the model that is loaded, but not everything could be checked",
        "ok": "nothing was found in the model that is loaded",
    }[report.verdict]


def _degraded(report: Report) -> str:
    """Where an exception is among the warnings, nobody can promise that the call runs."""
    if any(finding.raises is not None for finding in report.at_least(Severity.WARNING)):
        return "this call may fail"
    if any(item.matters for item in report.skipped):
        return "it may not do what was asked, and not everything could be checked"
    return "it runs, but not as wanted"


def shown(raises: WillRaise) -> str:
    """The message in one line, with an ellipsis where only its beginning is known."""
    text = " ".join(raises.text.split())
    if not _stops_short(text):
        return text
    return f"{text}…" if text[-1] in "/.'" else f"{text} …"


# A message does not end with these.
_GOES_ON = re.compile(r"([:,=(/]|\b(a|an|the|of|for|to|in|with|when|passing|either|method|module))$", re.IGNORECASE)

_HEADS = ("Target modules", "Target module")  # what follows, a set in an order that changes, is not said


def _stops_short(text: str) -> bool:
    """Does it end within a sentence, a quotation or a bracket?"""
    quotes = re.sub(r"(?<=\w)'(?=\w)", "", text).count("'")  # less apostrophes
    open_ends = quotes % 2 or text.count("`") % 2 or text.count("(") > text.count(")") or re.search(r"<[a-z][^>]*$", text)
    return bool(text) and bool(open_ends or text in _HEADS or _GOES_ON.search(text))


def _environment(report: Report) -> str:
    if report.verdict in ("fails", "degraded"):
        return "not all of it works as it should"
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
