"""Starts a command with the guard in every Python that it starts: in place of this process where that will do, else as its child."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from qvl_preflight.guarding.active import Settings
from qvl_preflight.guarding.call import STOPPED
from qvl_preflight.guarding.ranks import STOP_FILE, folder_of
from qvl_preflight.guarding.started import VARIABLE, written

BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap")
_PYTHON = re.compile(r"python[\d.]*")
_OWN = {"SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS",
        "SIGWINCH", "SIGPIPE", "SIGXFSZ"}  # fmt: skip


def environment(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that reach every Python below: its sitecustomize is ours, and goes on to theirs."""
    path = os.pathsep.join(filter(None, (BOOTSTRAP, given.get("PYTHONPATH", ""))))
    return {**given, "PYTHONPATH": path, VARIABLE: written(settings)}


def leaves_us_out(command: Sequence[str]) -> str | None:
    """The flag of a Python that reads no sitecustomize, or no environment."""
    if not _PYTHON.fullmatch(os.path.basename(command[0])):
        return None
    for word in command[1:]:
        if not word.startswith("-") or word.startswith(("--", "-m", "-c")):
            return None
        if set(word[1:]) & set("ISE"):
            return word
    return None


def is_one_python(command: Sequence[str]) -> bool:
    """``python script.py …``: its exit code is the script's, with nobody between."""
    return (
        bool(_PYTHON.fullmatch(os.path.basename(command[0])))
        and len(command) > 1
        and (not command[1].startswith("-") or command[1] == "-c")
    )


def hand_over(path: str, command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """The command takes the place of this process: signals, exit code and process id are its own. Python ignores two signals that others do not."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os.execve(path, list(command), dict(env))


def stand_by(path: str, command: Sequence[str], env: Mapping[str, str], settings: Settings) -> int:
    """The command as a child, whose signals are passed on; the exit code says where the guard stopped it, which a launcher would hide."""
    folder = _folder(settings.run or "")
    try:
        process = subprocess.Popen(list(command), executable=path, env=dict(env))
        _pass_on(process)
        code, stopped = process.wait(), _stopped(folder)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if code < 0:
        _end_by(-code)
    if stopped is None:
        return code
    return STOPPED if stopped == "fails" else 0 if settings.dry_run else code


def _folder(token: str) -> str | None:
    try:
        folder = folder_of(token)
        os.mkdir(folder, 0o700)
    except OSError:  # nowhere to write: the exit code is the command's own
        return None
    return folder


def _pass_on(process: subprocess.Popen[Any]) -> None:
    """What a terminal sends, it sends to the child as well."""

    def handler(number: int, frame: object) -> None:
        if number not in (signal.SIGINT, signal.SIGQUIT) or not _in_the_foreground():
            process.send_signal(number)

    for number in signal.Signals:
        if number.name not in _OWN and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _in_the_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _stopped(folder: str | None) -> str | None:
    try:
        with open(os.path.join(folder or "", STOP_FILE), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def _end_by(number: int) -> None:
    """As the child ended; who waits for this process sees the same signal."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
