"""The report on a stream: in colour through rich where the stream is a terminal, else as plain text."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from qvl_preflight.render.layout import Line, fixed_lines, plain, report_lines

if TYPE_CHECKING:
    from qvl_preflight.engine import Fixed
    from qvl_preflight.report import Report


def print_report(report: Report, stream: TextIO, *, color: bool | None = None, quiet: bool = False) -> None:
    """Write the report. ``color`` None: as the stream and NO_COLOR say. ``quiet``: the verdict line alone."""
    _print(report_lines(report, _columns(stream), quiet=quiet), stream, color)


def print_fixed(fixed: Fixed, stream: TextIO, *, color: bool | None = None) -> None:
    """Write the corrected call, why each key changed, and what no argument mends."""
    _print(fixed_lines(fixed, _columns(stream)), stream, color)


def _columns(stream: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and 40 <= int(columns) < 10_000:
        return int(columns)
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 80
    except (OSError, ValueError):  # no such number behind the stream
        return 80
    return found if found >= 40 else 80


def _print(lines: list[Line], stream: TextIO, color: bool | None) -> None:
    if color or (color is None and stream.isatty()):
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError as error:
            if sys.stderr is not None:
                sys.stderr.write(f"qvl-preflight: plain text, since rich cannot be imported ({error})\n")
        else:
            console = Console(file=stream, force_terminal=True if color else None, highlight=False, emoji=False, markup=False)
            for line in lines:
                console.print(Text.assemble(*line), soft_wrap=True)
            return
    stream.write(plain(lines))


__all__ = ["print_fixed", "print_report"]
