"""The command line: finds the command's module, parses, runs it, returns its exit code.

Exit codes: 0 nothing at or above --fail-on; 1 findings; 2 usage, input or internal error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from qvl_preflight import cli_output
from qvl_preflight._version import __version__
from qvl_preflight.exceptions import InputError, PreflightError
from qvl_preflight.settings import is_off, off_note, switch_notes


def main(argv: list[str] | None = None) -> int:
    """Run one command; never a traceback for what a person got wrong."""
    cli_output.prepare()
    given = sys.argv[1:] if argv is None else argv
    try:
        arguments = _parser(given[0] if given else "").parse_args(given)
        if is_off() and given[0] in _JUDGING:
            return _off(given[0], arguments)
        if "select" in arguments:
            from qvl_preflight.commands.options import with_settings

            with_settings(arguments)
        elif given[0] in _JUDGING:  # nothing that it prints has room for a note
            for note in switch_notes():
                cli_output.complain(note)
        return int(_module(given[0]).run(arguments))
    except PreflightError as error:
        cli_output.complain(str(error))
    except KeyboardInterrupt:
        return 130  # as a shell reports it
    except Exception as error:  # a bug of ours: one line, its own exit code, and the place for those who mend it
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
        cli_output.complain(f"internal error at {where}: {type(error).__name__}: {error}; please report it")
    return 2


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see '{self.prog} --help'")

    def _print_message(self, message: str, file: Any = None) -> None:
        cli_output.write(message)


class _Formatter(argparse.HelpFormatter):
    """Takes the width from COLUMNS; asking the terminal would load shutil at every start."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        super().__init__(prog, width=(int(columns) if columns.isdecimal() else 80) - 2)


def _parser(command: str) -> argparse.ArgumentParser:
    """All commands, and the arguments of the one that is run: the others' cost as much as the doctor itself."""
    parser = _Parser(
        prog="qvl-preflight", description="Says what from_pretrained will do before it does it.", formatter_class=_Formatter
    )
    parser.add_argument("--version", action="version", version=f"qvl-preflight {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True, prog="qvl-preflight")
    for name, text in _COMMANDS.items():
        added = commands.add_parser(name, help=text, formatter_class=_Formatter)
        if name == command:
            _module(name).arguments(added)
    return parser


def _module(command: str) -> Any:
    return import_module(f"qvl_preflight.commands.{command}")


# Each has a module of its name in commands/, loaded when it is run: the others' cost as much as the doctor itself.
_COMMANDS = {
    "doctor": "look at this machine",
    "check": "look at one call of from_pretrained",
    "plan": "print where everything will land, and how far each stage comes",
    "fit": "say what a model needs for a step, whether it fits, and what would",
    "stack": "print releases that were seen to work together",
    "run": "run a command with every from_pretrained looked at before it runs",
    "diagnose": "find the cause of a crash in its traceback or log",
    "explain": "print the page of a rule",
    "rules": "list the rules",
    "schema": "print a JSON schema",
}
_JUDGING = ("doctor", "check", "plan", "fit", "diagnose")  # what QVL_PREFLIGHT=off ends


def _off(command: str, arguments: argparse.Namespace) -> int:
    """One line, or an empty report for who reads JSON."""
    if command in ("doctor", "check") and arguments.json:
        from qvl_preflight.api import nothing_checked

        cli_output.write(json.dumps(nothing_checked().to_dict(), indent=1))
    else:
        cli_output.write(off_note())
    return 0
