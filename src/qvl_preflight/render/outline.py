"""The load plan in a terminal: a table of modules, then the stages with where the call stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.outline import STAGES, Module, Passed, modules, stages
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan, Situation

_HEAD = ("module", "device", "dtype", "kernel", "in the files")


def outline_text(situation: Situation, plan: LoadPlan) -> str:
    """Both parts. Nothing is padded at the end of a line, so what is copied carries no blanks."""
    request = situation.request
    lines = [f"Plan  {request.model} for {request.purpose}", "", *_modules(modules(situation, plan)), ""]
    stopped = False
    for passed in stages(situation, plan):
        lines += _stage(passed, stopped)
        stopped = stopped or passed.stops
    return "\n".join(lines)


def _modules(found: tuple[Module, ...] | Unknown) -> list[str]:
    if isinstance(found, Unknown):
        return [f"modules: unknown, {found.reason}"]
    rows = [(line.name, line.device or "?", line.dtype or "?", line.kernel or "", bytes_text(line.stored_bytes)) for line in found]
    rows.append(("in all", "", "", "", bytes_text(sum(line.stored_bytes for line in found))))
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [_HEAD, *rows]]


def _stage(passed: Passed, stopped: bool) -> list[str]:
    """``stopped``: an earlier stage ends the call; this one is what would come once that is mended."""
    name = f"{STAGES[passed.stage]:<14}"
    if not passed.raises and not passed.open and passed.silent is None:
        return [f"{name}{'would pass' if stopped else 'passes'}"]
    told = []
    for raised in passed.raises:
        verb = "would raise" if stopped else "raises" if raised.certain else "may raise"
        text = " ".join(raised.text.split())
        told.append(
            f"{verb} {raised.type}{f': {text}' if text else ''} ({raised.code}){' ← stops here' if raised.certain and not stopped else ''}"
        )
    told += [f"{'would run' if stopped else 'runs'}, but {passed.silent}"] if passed.silent and not passed.raises else []
    told += [f"not known: {reason}" for reason in passed.open]
    return [f"{name if number == 0 else ' ' * len(name)}{line}" for number, line in enumerate(told)]
