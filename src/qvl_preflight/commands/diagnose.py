"""``qvl-preflight diagnose``: reads a log from a file or standard input, and prints what it betrays."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import stat
import sys
from collections import deque
from typing import IO

from qvl_preflight import cli_output
from qvl_preflight.diagnosis import diagnose
from qvl_preflight.diagnosis.lines import WHOLE, relevant_bytes
from qvl_preflight.diagnosis.result import Diagnosis
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts_from import facts_of

_MOST = 128 << 20  # of a larger log the beginning and the end are read
_BLOCK = 1 << 16
_AS_LIKELY = 0.2  # causes whose confidence differs by less are told apart by a check


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the log or traceback; - or nothing: standard input")
    parser.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save on the machine where it happened")
    parser.add_argument("--here", action="store_true", help="it happened on this machine: combine with what it shows")
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list: code, topic, title, message, confidence, fix, evidence"
    )


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
            return relevant_bytes(_piped(sys.stdin.buffer))
        with open(os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG((found := os.fstat(file.fileno())).st_mode):
                return relevant_bytes(_piped(file))
            if found.st_size <= WHOLE:
                return relevant_bytes(file.read())
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
                return relevant_bytes(log if len(log) <= _MOST else log[: _MOST // 4] + log[-_MOST // 4 :])
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); pass the file of a log, or - for standard input") from error


def _piped(file: IO[bytes]) -> bytes:
    """The beginning and the end of what comes through a pipe."""
    first = file.read(_MOST // 4) or b""
    last: deque[bytes] = deque(maxlen=_MOST // 4 // _BLOCK)
    while block := file.read(_BLOCK):
        last.append(block)
    return first + b"".join(last)


def text(found: tuple[Diagnosis, ...]) -> str:
    """The causes in plain text, at most three; where they are as likely, what shows which it is."""
    if not found:
        return "Not known: nothing in this text is a symptom of a cause that is known here."
    shown = found[:3]
    unsure = len(shown) > 1 and shown[0].confidence - shown[1].confidence < _AS_LIKELY
    return "\n\n".join(_one(number, each, unsure) for number, each in enumerate(shown, 1))


def _one(number: int, found: Diagnosis, unsure: bool) -> str:
    lines = [f"{number}. {found.title} ({found.code}, {found.certainty})"]
    if found.message != found.title:
        lines.append(f"   Cause  {found.message}")
    lines += [f"   Line   {_printable(found.evidence)}", f"   Fix    {found.fix}"]
    if unsure and found.tell:
        lines.append(f"   Tell   {found.tell}")
    return "\n".join([*lines, f"   More   qvl-preflight explain {found.code}"])


def _printable(line: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in line)
