"""``qvl-preflight diagnose``: reads a log from a file or standard input, and prints what it betrays."""

from __future__ import annotations

import argparse
import json
import os
import sys

from qvl_preflight import cli_output
from qvl_preflight.diagnosis import diagnose
from qvl_preflight.diagnosis.result import Diagnosis
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts_from import facts_of

_MOST = 64 << 20  # of a larger log the last part is read


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the log; - or nothing: standard input")
    parser.add_argument("--facts", metavar="F", help="facts saved with doctor --save on the machine where it happened")
    parser.add_argument("--here", action="store_true", help="it happened on this machine: combine with what it shows")
    parser.add_argument("--json", action="store_true", help="a list: code, topic, title, message, confidence, fix, evidence")


def run(arguments: argparse.Namespace) -> int:
    """Exit 1 where a cause was found, 0 where none is known."""
    if arguments.here and arguments.facts:
        raise InputError("--here and --facts: this machine or another; pass one of them")
    facts = facts_of(arguments.facts) if arguments.here or arguments.facts else None
    for note in facts.unread if facts is not None else ():
        cli_output.complain(note)
    found = diagnose(_read(arguments.file), facts=facts)
    if arguments.json:
        cli_output.write(json.dumps([each.to_dict() for each in found], indent=1))
    else:
        cli_output.write(text(found))
    return int(bool(found))


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_MOST).decode("utf-8", "replace")
        with open(os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _MOST)) if size > _MOST else None
            return (file.read(_MOST) or b"").decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); pass the file of a log, or - for standard input") from error


def text(found: tuple[Diagnosis, ...]) -> str:
    """The causes in plain text, at most three."""
    if not found:
        return "Not known: nothing in this text is a symptom of a cause that is known here."
    parts = [
        f"{number}. {each.title} ({each.code}, {each.certainty})\n"
        + (f"   Cause  {each.message}\n" if each.message != each.title else "")
        + f"   Line   {_printable(each.evidence)}\n   Fix    {each.fix}\n   More   qvl-preflight explain {each.code}"
        for number, each in enumerate(found[:3], 1)
    ]
    return "\n\n".join(parts)


def _printable(line: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in line)
