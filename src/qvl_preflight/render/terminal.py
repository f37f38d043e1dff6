"""The report in a terminal: verdict, what matters most, the rest, the machine. Reads the same without colour and at 80 columns."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from qvl_preflight.missing import MISSING
from qvl_preflight.render.machine import machine_lines, plan_line
from qvl_preflight.report import Finding, Fix, Report
from qvl_preflight.request import show

if TYPE_CHECKING:
    from qvl_preflight.engine import Fixed
    from qvl_preflight.plan import WillRaise

_VERDICTS = {
    "fails": ("FAILS", "bold red"), "degraded": ("DEGRADED", "bold yellow"), "incomplete": ("INCOMPLETE", "bold yellow"), "ok": ("OK", "bold green"),
}  # fmt: skip
_MEANING = {
    "fails": "this call will not do what was asked",
    "degraded": "it runs, but surely not as wanted",
    "incomplete": "nothing was found, but not everything could be checked",
    "ok": "nothing stands in its way",
}
_STAGE = {
    "import": "Before anything is read it will raise",
    "load": "The load will raise",
    "forward": "The first forward will raise",
    "train": "Training will raise",
}
_STYLE = {"error": "red", "warning": "yellow", "note": "cyan"}


def print_report(report: Report, stream: TextIO, *, color: bool | None = None, quiet: bool = False) -> None:
    """Write the report. ``color`` None: as the stream and NO_COLOR say. ``quiet``: the verdict line alone."""
    console = _console(stream, color)
    _head(console, report)
    if quiet:
        return
    for number, finding in enumerate(report.findings, 1):
        _finding(console, number, finding)
    _skipped(console, report)
    for note in report.notes:
        console.print(f"\n{note}", highlight=False)
    console.print("\nMachine", style="bold")
    _grid(console, machine_lines(report.facts))


def print_fixed(fixed: Fixed, stream: TextIO, *, color: bool | None = None) -> None:
    """Write the corrected call, why each key changed, and what no argument mends."""
    console = _console(stream, color)
    _head(console, fixed.before)
    if not fixed.changes:
        console.print("\nNo argument was changed.", highlight=False)
    else:
        console.print("\nCorrected call", style="bold")
        kwargs = fixed.situation.request.kwargs
        body = "".join(f"\n      {key}={show(value)}," for key, value in kwargs.items())
        console.print(Text(f"  from_pretrained(\n      {show(fixed.situation.request.model)},{body}\n  )"), soft_wrap=True)
        rows = [(f"{change.path}", f"{change.reason} ({change.applicability}, {change.code})") for change in fixed.changes]
        console.print("\nWhy", style="bold")
        _grid(console, rows)
    left = fixed.after.findings
    console.print(
        f"\n{'What is left' if left else 'The corrected call is clean'}: {_MEANING[fixed.after.verdict]}",
        style="bold",
        highlight=False,
    )
    for number, finding in enumerate(left, 1):
        _finding(console, number, finding)


def _console(stream: TextIO, color: bool | None) -> Console:
    width = None if stream.isatty() else _columns()
    return Console(
        file=stream,
        no_color=color is False or None,
        force_terminal=True if color else None,
        width=width,
        highlight=False,
        emoji=False,
        markup=False,
    )


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) >= 40 else 80


def _head(console: Console, report: Report) -> None:
    request = report.request
    subject = f"{request.model} for {request.purpose}" if request else "this environment"
    word, style = _VERDICTS[report.verdict]
    meaning = (
        _MEANING[report.verdict]
        if request
        else "not all of it can be used"
        if report.verdict not in ("ok", "incomplete")
        else "nothing was found, and not everything could be checked"
        if report.skipped
        else "nothing is wrong with it"
    )
    lines = textwrap.wrap(f"{word}  {subject}: {meaning}", console.width, break_long_words=False, break_on_hyphens=False)
    console.print(Text.assemble((word, style), lines[0][len(word) :], *(f"\n{line}" for line in lines[1:])), soft_wrap=True)
    if report.plan is not None and report.plan.stops_at is None:
        _grid(console, [("Plan", plan_line(report.plan))])


def _finding(console: Console, number: int, finding: Finding) -> None:
    severity = finding.severity.value if finding.severity else "note"
    console.print()
    console.print(Text.assemble((f"{number}. {severity}", _STYLE[severity]), f"  {finding.name} ({finding.code})"))
    rows: list[tuple[str, str | Text]] = []
    if finding.raises is not None:
        rows.append(("What", f"{_STAGE[finding.stage]} {finding.raises.type}{_said(finding.raises)}"))
        rows.append(("Why", finding.message))
    else:
        rows.append(("What", finding.message))
    if finding.fix is not None:
        rows += _fix(finding.fix)
    rows.append(("More", f"qvl-preflight explain {finding.code}"))
    _grid(console, rows)


def _said(raises: WillRaise) -> str:
    """The message in one line; where there is none, the statement that raises it."""
    text = " ".join(raises.text.split())
    return f": {text}" if text else f", without a message, from: {raises.at}" if raises.at else ", without a message"


def _fix(fix: Fix) -> Iterable[tuple[str, str | Text]]:
    yield "Fix", f"{fix.title} ({fix.applicability.value})" if fix.edits else fix.title
    for edit in fix.edits:
        before = "(not given)" if edit.before is MISSING else show(edit.before)
        yield "", Text(f"- {edit.key}={before}", style="red")
        if edit.after is not MISSING:
            yield "", Text(f"+ {edit.key}={show(edit.after)}", style="green")
    for command in fix.commands:
        yield "Run", Text(command, style="bold")


def _skipped(console: Console, report: Report) -> None:
    relevant = [item for item in report.skipped if item.matters] if report.request else list(report.skipped)
    if not relevant:
        return
    console.print("\nNot checked", style="bold")
    by_reason: dict[str, list[str]] = {}
    for item in relevant:
        by_reason.setdefault(item.reason, []).append(item.code if item.code.startswith("QVL") else item.name)
    _grid(console, [("?", f"{_few(names)}: {reason}") for reason, names in by_reason.items()])


def _few(names: list[str]) -> str:
    """Questions in words all, codes up to four."""
    codes = [name for name in names if name.startswith("QVL")]
    shown = codes if len(codes) <= 4 else [f"{codes[0]} and {len(codes) - 1} others"]
    return ", ".join([*shown, *(name for name in names if name not in codes)])


def _grid(console: Console, rows: Iterable[tuple[str, str | Text]]) -> None:
    """Label and text in two columns, by hand: nothing is padded, so what is copied from a terminal carries no blanks."""
    rows = list(rows)
    width = max(len(label) for label, _ in rows) + 2
    for label, text in rows:
        style = text.style if isinstance(text, Text) else ""
        first = Text.assemble((f"   {label:<{width}}", "dim"))
        for number, line in enumerate(_wrapped(str(text), console.width - width - 3, fold=not isinstance(text, Text))):
            lead = first if number == 0 else Text(" " * (width + 3))
            console.print(Text.assemble(lead, (line, style)), soft_wrap=True)


def _wrapped(text: str, width: int, fold: bool) -> list[str]:
    """Prose is wrapped; code and commands stay whole, to be copied."""
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""] if fold else [text]


__all__ = ["print_fixed", "print_report"]
