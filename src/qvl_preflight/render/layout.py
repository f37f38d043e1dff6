"""A report as lines of styled text: verdict, what matters most, the rest, the machine. Reads the same without styles and at 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qvl_preflight.missing import MISSING
from qvl_preflight.render.machine import because, machine_lines, plan_line
from qvl_preflight.render.words import STAGE, headline, shown, verdict_of_call
from qvl_preflight.report import Applicability, Severity
from qvl_preflight.request import show

if TYPE_CHECKING:
    from qvl_preflight.engine import Fixed
    from qvl_preflight.plan import WillRaise
    from qvl_preflight.report import Change, Finding, Fix, Report, Skipped

Line = tuple[tuple[str, str], ...]  # text and style, in the order in which they stand
Row = tuple[str, str, str | None]  # label, text, style; without a style it is prose, which is wrapped

_VERDICT_STYLE = {"fails": "bold red", "degraded": "bold yellow", "incomplete": "bold yellow", "ok": "bold green"}
_STYLE = {"error": "red", "warning": "yellow", "note": "cyan"}


def report_lines(report: Report, width: int = 80, *, quiet: bool = False) -> list[Line]:
    """The report; ``quiet``: the verdict alone."""
    lines = list(_head(report, width, quiet))
    if quiet or report.off:
        return lines
    for number, finding in enumerate(report.findings, 1):
        lines += _finding(number, finding, width)
    lines += _skipped(report, width)
    lines += _notes(report.notes, width)
    return [*lines, *_title("Machine"), *_grid([(label, text, None) for label, text in machine_lines(report.facts)], width)]


def fixed_lines(fixed: Fixed, width: int = 80) -> list[Line]:
    """The corrected call, why each key changed, and what no argument mends."""
    lines = list(_head(fixed.before, width))
    if fixed.withheld:
        title, rows = withheld(fixed)
        lines += [*_title(title, width), *_grid(rows, width)]
    elif not fixed.changes:
        lines += [(), _line("No argument was changed.")]
        if fixed.before.off:
            return lines
    else:
        call = [f"  {line}" for line in corrected_call(fixed).splitlines()]
        lines += [*_title("Corrected call"), *map(_line, call), *_title("Why"), *_grid([*why(fixed.changes)], width)]
    left = fixed.after.findings
    if not fixed.changes and not left and fixed.after.verdict == "ok":
        return [*lines, *_notes(fixed.after.notes, width)]
    lines += _title(what_is_left(fixed), width)
    for number, finding in enumerate(left, 1):
        lines += _finding(number, finding, width)
    lines += _skipped(fixed.after, width)
    return lines + list(_notes(fixed.after.notes, width))


def corrected_call(fixed: Fixed) -> str:
    """As a person would write it."""
    request = fixed.situation.request
    body = "".join(f"\n    {key}={show(value)}," for key, value in request.kwargs.items())
    return f"from_pretrained(\n    {show(request.model)},{body}\n)"


def what_is_left(fixed: Fixed) -> str:
    """No more than the verdict allows."""
    after = fixed.after
    clean = "The corrected call is clean" if after.verdict == "ok" else "The corrected call"
    what = "What would be left" if fixed.withheld else "What is left" if after.findings else clean
    return f"{what}: {verdict_of_call(after)}"


def withheld(fixed: Fixed) -> tuple[str, list[Row]]:
    """Which edits were not made, what the call would still meet, and what has to be done first."""
    edits = ", ".join(
        f"{each.path} dropped" if each.after is MISSING else f"{each.path}={show(each.after)}" for each in fixed.withheld
    )
    unmended = fixed.after.at_least(Severity.ERROR)
    first = [step for finding in unmended for step in _first(finding, fixed.after)]
    it = "it" if len(fixed.withheld) == 1 else "them"
    would = "would still" if fixed.before.at_least(Severity.ERROR) else "would"
    rows: list[Row] = []
    if (met := next(iter(fixed.before.at_least(Severity.ERROR)), None)) is not None and met.code != unmended[0].code:
        rows.append(("As it is", f"{_met(met, 'will')} ({met.code})", None))
    rows.append((f"With {it}", f"{_met(unmended[0], would)} ({unmended[0].code})", None))
    rows += [("First" if number == 0 else "", text, style) for number, (text, style) in enumerate(dict.fromkeys(first))]
    rows.append(("Then", "ask for the corrected call again", None) if first else ("", "Nothing is known that mends it.", None))
    return f"Not applied: {edits}", rows


def _met(finding: Finding, would: str) -> str:
    if finding.raises is None:
        return finding.message
    stage = STAGE[finding.stage]
    return f"{stage[0].lower()}{stage[1:]} {would} raise {finding.raises.type}{_said(finding.raises)}"


def _first(finding: Finding, report: Report) -> Iterator[tuple[str, str | None]]:
    """What mends it beside the arguments that may be changed unasked: a command, or leave to change more."""
    fix = finding.fix
    if fix is None:
        return
    if fix.applicability is Applicability.UNSAFE:
        yield f"{fix.title}, which may change the result: --unsafe-fixes, or unsafe=True", None
    elif fix.applicability is Applicability.REQUIRED and report.request is not None:
        yield (
            f'{fix.title}, for a purpose that is named: --purpose {report.request.purpose}, or purpose="{report.request.purpose}"',
            None,
        )
    elif len(fix.commands) == 1:
        yield fix.commands[0], "bold"
    else:
        yield fix.title, None


def why(changes: Iterable[Change]) -> Iterator[Row]:
    """What one remedy changed is one row: a rename takes one key away and sets another."""
    together: dict[str, list[str]] = {}
    for change in changes:
        together.setdefault(f"{change.reason} ({change.applicability}, {change.code})", []).append(change.path)
    for reason, paths in together.items():
        yield ", ".join(paths), reason, None


def plain(lines: Iterable[Line]) -> str:
    """The lines without styles."""
    return "".join("".join(text for text, _ in line) + "\n" for line in lines)


def _line(text: str, style: str = "") -> Line:
    return ((printable(text), style),) if text else ()


def printable(text: str) -> str:
    """Names out of files and facts may hold what moves a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _head(report: Report, width: int, quiet: bool = False) -> Iterator[Line]:
    word, text = headline(report)
    first, *rest = _wrapped(text, width, f"{word}  ")  # a long path stays beside it
    yield ((word, _VERDICT_STYLE[report.verdict]), *_line(first[len(word) :]))
    yield from map(_line, rest)
    if not quiet and (rows := head_rows(report)):
        yield from _grid(rows, width)


def head_rows(report: Report) -> list[Row]:
    """Of a call the plan, unless something stops it; of a loaded model what is there."""
    if report.loaded is not None:
        from qvl_preflight.render.loaded import loaded_rows  # the doctor, which has neither, does without

        return [(label, text, None) for label, text in loaded_rows(report.loaded)]
    if report.plan is None or report.request is None or report.plan.stops_at is not None:
        return []
    from qvl_preflight.stack.transformers import shared_by_zero3

    return [("Plan", plan_line(report.plan, shared=shared_by_zero3(report.facts.launch, report.request.trainer)), None)]


def _title(text: str, width: int = 80) -> list[Line]:
    return [(), *(_line(part, "bold") for part in _wrapped(text, width))]


def _notes(notes: Iterable[str], width: int) -> Iterator[Line]:
    for note in notes:
        yield ()
        yield from map(_line, _wrapped(note, width))


def _finding(number: int, finding: Finding, width: int) -> Iterator[Line]:
    severity = finding.severity.value if finding.severity else "note"
    yield ()
    yield ((f"{number}. {severity}", _STYLE[severity]), *_line(f"  {finding.name} ({finding.code})"))
    yield from _grid([*finding_rows(finding), ("More", f"qvl-preflight explain {finding.code}", None)], width)


def finding_rows(finding: Finding) -> list[Row]:
    """What will happen, why, and what to do."""
    rows: list[Row] = []
    if finding.raises is not None:
        modal = "will" if finding.raises.certain else "may"
        rows.append(("What", f"{STAGE[finding.stage]} {modal} raise {finding.raises.type}{_said(finding.raises)}", None))
        rows.append(("Why", finding.message, None))
        if not finding.raises.certain and finding.raises.condition is None:
            rows.append(("Known", "from the source of these releases; it was not seen to happen", None))
    else:
        rows.append(("What", finding.message, None))
    if finding.fix is not None:
        rows += _fix(finding.fix)
    return rows


def _said(raises: WillRaise) -> str:
    """The message; where there is none, the statement that raises it."""
    text = shown(raises)
    return f": {text}" if text else f", without a message, from: {raises.at}" if raises.at else ", without a message"


def _fix(fix: Fix) -> Iterator[Row]:
    yield "Fix", f"{fix.title} ({fix.applicability.value})" if fix.edits else fix.title, None
    for edit in fix.edits:
        before = "(not given)" if edit.before is MISSING else show(edit.before)
        yield "", f"- {edit.key}={before}", "red"
        if edit.after is not MISSING:
            yield "", f"+ {edit.key}={show(edit.after)}", "green"
    for command in fix.commands:
        yield "Run", command, "bold"


def _skipped(report: Report, width: int) -> Iterator[Line]:
    if rows := skipped_rows(report):
        yield from _title("Not checked")
        yield from _grid(rows, width)


def skipped_rows(report: Report) -> list[Row]:
    """What was not checked and matters, by its reason."""
    relevant = [item for item in report.skipped if item.matters] if report.request else list(report.skipped)
    by_reason: dict[str, list[Skipped]] = {}
    for item in relevant:
        by_reason.setdefault(item.reason, []).append(item)
    return [("?", f"{_few(items)}{because(reason)}", None) for reason, items in by_reason.items()]


def _few(items: list[Skipped]) -> str:
    """Questions in words; rules, whose names are no words, only where there is no question that they follow from."""
    questions = list(dict.fromkeys(item.name for item in items if " " in item.name))
    if questions:
        return ", ".join(questions) if len(questions) <= 4 else f"{', '.join(questions[:3])} and {len(questions) - 3} more"
    return ", ".join(f"{item.name} ({item.code})" for item in items) if len(items) <= 3 else f"{len(items)} checks"


def _grid(rows: list[Row], width: int) -> Iterator[Line]:
    """Label and text in two columns, by hand: nothing is padded, so what is copied from a terminal carries no blanks."""
    column = max(len(label) for label, _, _ in rows) + 2
    for label, text, style in rows:
        lead = f"   {printable(label):<{column}}"
        # Prose is wrapped; code and commands stay whole, to be copied.
        for part in _wrapped(text, width - column - 3) if style is None else [text]:
            yield ((lead, "dim"), *_line(part, style or ""))
            lead = " " * (column + 3)


def _wrapped(text: str, width: int, lead: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, 20), initial_indent=lead, break_long_words=False, break_on_hyphens=False) or [lead]
