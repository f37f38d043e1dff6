"""The load plan in a terminal: a table of modules, then the stages with where the call stops."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from qvl_preflight.outline import STAGES, Module, Passed, modules, stages
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.render.words import shown
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan, Situation

_HEAD = ("module", "device", "dtype", "kernel", "in the files")


def outline_text(situation: Situation, plan: LoadPlan) -> str:
    """Both parts. Nothing is padded at the end of a line, so what is copied carries no blanks."""
    request = situation.request
    lines = [f"Plan  {request.model} for {request.purpose}", "", *_modules(modules(situation, plan)), ""]
    if plan.split_is_about:
        lines += ["The devices are about right: transformers may split some blocks away.", ""]
    stopped, said = False, set[str]()
    passing = stages(situation, plan)
    for passed in passing:
        lines += _stage(passed, stopped, said)
        stopped = stopped or passed.stops
    if any(_only_follows(passed) for passed in passing):
        lines += ["", "Where no reason is given, it depends on what else is not known."]
    return "\n".join(lines)


def _modules(found: tuple[Module, ...] | Unknown) -> list[str]:
    if isinstance(found, Unknown):
        return [f"modules: unknown, {found.reason}"]
    rows = [(line.name, line.device or "?", line.dtype or "?", line.kernel or "", bytes_text(line.stored_bytes)) for line in found]
    rows.append(("in all", "", "", "", bytes_text(sum(line.stored_bytes for line in found))))
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [_HEAD, *rows]]


def _stage(passed: Passed, stopped: bool, said: set[str]) -> list[str]:
    """``stopped``: an earlier stage ends the call; this one is what would come once that is mended. ``said``: reasons given before."""
    name = f"{STAGES[passed.stage]:<14}"
    told = []
    for raised in passed.raises:
        verb = "would raise" if stopped else "raises" if raised.certain else "may raise"
        text = shown(raised)
        told.append(
            f"{verb} {raised.type}{f': {text}' if text else ''} ({raised.code}){' ← stops here' if raised.certain and not stopped else ''}"
        )
    told += [f"{'would run' if stopped else 'runs'}, but {passed.silent}"] if passed.silent and not passed.raises else []
    told += ["not known"] if _only_follows(passed) else _unknown(passed, said)
    told = told or ["would pass" if stopped else "passes"]
    return [f"{name if number == 0 else ' ' * len(name)}{line}" for number, line in enumerate(told)]


def _only_follows(passed: Passed) -> bool:
    return passed.follows and not passed.open and not passed.raises


def _unknown(passed: Passed, said: set[str]) -> list[str]:
    """What is not known of a stage. A reason is given once."""
    by_reason: dict[str, list[str]] = {}
    for what, why in passed.open:
        by_reason.setdefault(why, []).append(what)
    told: list[str] = []
    for why, questions in by_reason.items():
        text = f"not known: {', '.join(questions)} ({'for the same reason' if why in said else why})"
        told += textwrap.wrap(text, 66, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        said.add(why)
    return told
