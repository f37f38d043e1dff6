"""A report as HTML for notebooks: one block that stands alone, in light and dark. No script, no file beside it, nothing of the page's own style."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING

from qvl_preflight.render.html_style import STYLE
from qvl_preflight.render.layout import (
    Row,
    corrected_call,
    finding_rows,
    head_rows,
    printable,
    skipped_rows,
    what_is_left,
    why,
    withheld,
)
from qvl_preflight.render.machine import machine_lines
from qvl_preflight.render.words import headline

if TYPE_CHECKING:
    from qvl_preflight.engine import Fixed
    from qvl_preflight.report import Finding, Report

_OPEN = 3  # findings beyond these begin folded
_CLASS = {"red": "qvlp-del", "green": "qvlp-add"}


def report_html(report: Report) -> str:
    """Verdict, findings, what was not checked; the machine is folded."""
    parts = [_head(report)]
    if not report.off:
        parts += [*_findings(report.findings), *_rest(report), _folded("Machine", _rows(_prose(machine_lines(report.facts))))]
    return _block(parts)


def fixed_html(fixed: Fixed) -> str:
    """The corrected call, why each key changed, and what no argument mends."""
    parts = [_head(fixed.before)]
    if fixed.withheld:
        title, rows = withheld(fixed)
        parts.append(_folded(title, _rows(rows), opened=True))
    elif fixed.changes:
        parts.append(
            _folded(
                "Corrected call",
                f"<pre>{_text(corrected_call(fixed), lines=True)}</pre>{_rows([*why(fixed.changes)])}",
                opened=True,
            )
        )
    else:
        parts.append("<p>No argument was changed.</p>")
    after = fixed.after
    if not fixed.before.off and (fixed.changes or after.findings or after.verdict != "ok"):
        parts += [f"<p><b>{_text(what_is_left(fixed))}</b></p>", *_findings(after.findings)]
    return _block([*parts, *([] if fixed.before.off else _rest(after))])


def block(text: str) -> str:
    """One paragraph in the same frame."""
    return _block([f"<p>{_text(text)}</p>"])


def _block(parts: Iterable[str]) -> str:
    return f'<div class="qvlp">{STYLE}{"".join(parts)}</div>'


def _head(report: Report) -> str:
    word, text = headline(report)
    return f'<p><span class="qvlp-word qvlp-{report.verdict}">{_text(word)}</span>{_text(text)}</p>{_rows(head_rows(report))}'


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    for number, finding in enumerate(findings, 1):
        severity = finding.severity.value if finding.severity else "note"
        title = f'{number}. <span class="qvlp-{severity}">{severity}</span> {_text(finding.name)} <span class="qvlp-code">({_text(finding.code)})</span>'
        rows = [*finding_rows(finding), ("More", f'print(qvl_preflight.explain("{finding.code}"))', "bold")]
        yield _details(title, _rows(rows), opened=number <= _OPEN)


def _rest(report: Report) -> Iterator[str]:
    if rows := skipped_rows(report):
        yield _folded("Not checked", _rows(rows), opened=not report.findings)
    yield from (f"<p>{_text(note)}</p>" for note in report.notes)


def _folded(title: str, body: str, *, opened: bool = False) -> str:
    return _details(_text(title), body, opened=opened)


def _details(title: str, body: str, *, opened: bool) -> str:
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{body}</details>"


def _rows(rows: Iterable[Row]) -> str:
    """Label and text in two columns; code, edits and commands as such."""
    items = []
    for label, text, style in rows:
        said = _text(text) if style is None else f'<code class="{_CLASS.get(style, "")}">{_text(text)}</code>'
        items.append(f"{f'<dt>{_text(label)}</dt>' if label else ''}<dd>{said}</dd>")
    return f'<dl class="qvlp-rows">{"".join(items)}</dl>' if items else ""


def _prose(pairs: Iterable[tuple[str, str]]) -> Iterator[Row]:
    return ((label, text, None) for label, text in pairs)


def _text(text: str, *, lines: bool = False) -> str:
    """Names out of files may hold anything; lines end only where ours do."""
    return "\n".join(escape(printable(part)) for part in text.split("\n")) if lines else escape(printable(text))
