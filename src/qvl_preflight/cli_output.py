"""Where the command line writes: standard output that may be closed, full, or read by somebody who goes away; messages in one line."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable
from typing import TextIO

from qvl_preflight.exceptions import OutputError

_PLAIN = {"…": "...", "·": "-", "×": "x", "–": "-", "—": "-", "→": "->"}


def prepare() -> None:
    """Text that the encoding of a stream has no signs for is written in others, never refused."""
    codecs.register_error("qvl_preflight", _in_other_signs)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="qvl_preflight")


def _in_other_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking), error.end


def write(text: str) -> None:
    """Print a text. Raises OutputError."""
    write_by(lambda stream: stream.write(text if text.endswith("\n") else f"{text}\n"))


def write_by(printer: Callable[[TextIO], object]) -> None:
    """Let ``printer`` write to standard output, and see that it arrives. Raises OutputError; a reader that goes away (| head) is none."""
    stream = sys.stdout
    if stream is None:  # Python found it closed
        raise OutputError("standard output is closed; open it, or send it to a file or to /dev/null")
    try:
        printer(stream)
        stream.flush()
    except BrokenPipeError:
        _forget(stream)
    except OSError as error:
        _forget(stream)
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def save(path: str, text: str) -> None:
    """Write a file. A pipe that nobody reads is refused rather than waited for. Raises OSError, ValueError."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0), 0o666)
    with open(number, "w", encoding="utf-8") as file:
        if hasattr(os, "set_blocking"):
            os.set_blocking(number, True)
        file.write(text)


def _forget(stream: TextIO) -> None:
    """What is left in the buffer must not be tried again when Python ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a file behind it
        pass


def complain(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    if sys.stderr is None:
        return
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in message)
    try:
        print(f"qvl-preflight: {line}", file=sys.stderr, flush=True)
    except OSError:  # nobody is there to be told
        _forget(sys.stderr)
