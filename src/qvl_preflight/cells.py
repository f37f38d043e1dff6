"""What ``%preflight`` and ``%%preflight`` do. A cell is run once, or not at all; a check of ours that breaks is one line, and the cell is run."""

from __future__ import annotations

import argparse
import ast
import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from qvl_preflight import cli_output
from qvl_preflight.cell_calls import Call, calls
from qvl_preflight.exceptions import InputError, OutputError, PreflightError, PreflightStopped
from qvl_preflight.notebook import USAGE, why
from qvl_preflight.progress import progress
from qvl_preflight.report import Report, Severity
from qvl_preflight.request import known_purpose
from qvl_preflight.unknown import Unknown


class CellStopped(PreflightStopped):
    """A cell was not run, since its call would fail. IPython shows the one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"CellStopped: {self}"]


class _Shown:
    """HTML in a notebook, text in a terminal."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def _repr_html_(self) -> str:
        return str(self._thing._repr_html_())

    def __repr__(self) -> str:
        return str(self._thing.text())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see %preflight?")


def _options(line: str, *, cell: bool) -> argparse.Namespace:
    parser = _Parser(prog="%%preflight" if cell else "%preflight", add_help=False)
    parser.add_argument("--purpose")
    if cell:
        parser.add_argument("--warn", action="store_true")
    else:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--gradients", action="store_true")
    try:
        found = parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise InputError(f"{line!r} cannot be read: {error}") from error
    known_purpose(found.purpose)
    return found


def line(text: str, shell: Any) -> None:
    """``%preflight …``"""
    try:
        _line(_options(text, cell=False), shell)
    except PreflightError as error:
        _say(f"qvl-preflight: {error}")


def _line(options: argparse.Namespace, shell: Any) -> None:
    import qvl_preflight

    first, *rest = options.words or ["doctor"]
    if first == "doctor":
        with progress("looking at this machine"):
            report = qvl_preflight.doctor()
        _display(report)
    elif first == "why":
        _say(why())
    elif first == "explain" and rest:
        _say(qvl_preflight.explain(rest[0]))
    elif first in shell.user_ns:
        with progress("making a small step" if options.gradients else f"looking at {first}"):
            report = qvl_preflight.check(shell.user_ns[first], purpose=options.purpose, gradients=options.gradients)
        _display(report)
    else:
        _say(USAGE)


def cell(text: str, body: str, shell: Any) -> Any:
    """``%%preflight …``: check, then run once. Raises CellStopped where an error is certain to be met."""
    from qvl_preflight.settings import is_off

    try:
        options = _options(text, cell=True)
    except InputError as error:
        raise CellStopped(f"{error}; the cell was not run") from None
    source = shell.transform_cell(body)
    stopped = "" if is_off() else _checked(source, options, shell)
    if stopped and not options.warn:
        raise CellStopped(f"{stopped}; the cell was not run (%%preflight --warn runs it all the same)")
    return _run(source, shell)


def _checked(source: str, options: argparse.Namespace, shell: Any) -> str:
    """Shows what is found; why the cell is to be stopped, empty where it is not."""
    stopped = ""
    try:
        found = calls(source, shell.user_ns)
        if not found:
            _say("qvl-preflight: no call of from_pretrained in this cell")
        for call in found:
            with progress(f"checking line {call.line}"):
                stopped = _one(call, options.purpose) or stopped
    except InputError as error:
        _say(f"qvl-preflight: {error}")
    except Exception as error:  # of ours: the cell is the person's
        _say(f"qvl-preflight: the check failed ({type(error).__name__}: {error}); the cell is run without it")
    return stopped


def _one(call: Call, purpose: str | None) -> str:
    import qvl_preflight

    if isinstance(call.kwargs, Unknown):
        _say(f"qvl-preflight: line {call.line}, {call.loader}.from_pretrained: not checked, since {call.kwargs.reason}")
        return ""
    asked: dict[str, Any] = {"purpose": purpose, "loader": call.loader.rpartition(".")[2], **_without_ours(call.kwargs)}
    fixed = qvl_preflight.fix_kwargs(call.model, **asked)
    _display(fixed.report)
    if fixed.changes:
        _display(fixed)
    errors = fixed.report.at_least(Severity.ERROR)
    if errors and call.unsure:
        _say(f"qvl-preflight: line {call.line}: the cell is run, since {call.unsure}")
    return f"line {call.line}, {errors[0].code}: {errors[0].message}" if errors and not call.unsure else ""


def _without_ours(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of from_pretrained that are called like ours of fix_kwargs are none that a release knows."""
    ours = ("purpose", "loader", "peft", "trainer", "facts", "unsafe", "online", "select", "ignore")
    return {key: value for key, value in kwargs.items() if key not in ours}


def _say(text: str) -> None:
    """An output that is closed or full is no reason to keep a cell from running."""
    with suppress(OutputError):
        cli_output.write(text)


def _display(thing: Report | Any) -> None:
    try:
        from IPython.display import display
    except ImportError:  # some other shell that speaks the same magics
        _say(thing.text())
    else:
        display(_Shown(thing))


def _run(source: str, shell: Any) -> Any:
    """The cell, in the person's namespace; what its last expression gives is handed to IPython, which shows it."""
    name = shell.compile.cache(source)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    try:
        body = shell.compile(tree, name, "exec")
        end = None if last is None else shell.compile(ast.Expression(last.value), name, "eval")
    except SyntaxError as error:
        if "outside function" not in str(error):
            raise
        raise CellStopped("a cell that awaits cannot be run under %%preflight; it was checked, and not run") from None
    exec(body, shell.user_ns)
    return None if end is None else eval(end, shell.user_ns)
