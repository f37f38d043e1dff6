"""Which guard counts for a call: the innermost ``with guard()`` around it, else the one of the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from qvl_preflight.exceptions import InputError
from qvl_preflight.request import known_purpose

MODES = ("warn", "check", "fix")


@dataclass(frozen=True)
class Settings:
    """What a guard does. ``run``: the token of the ``qvl-preflight run`` that started this process, where there is one."""

    mode: str = "warn"
    purpose: str | None = None
    run: str | None = None
    dry_run: bool = False


def made_of(mode: str, purpose: str | None) -> Settings:
    """Settings as a person gives them. Raises InputError."""
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    known_purpose(purpose)
    return Settings(mode, purpose)


_within: ContextVar[Settings | None] = ContextVar("qvl_preflight_guard", default=None)
_lock = threading.Lock()
_process: list[Settings] = []  # none or one


def current() -> Settings | None:
    """The settings for a call that is made here and now."""
    return _within.get() or (_process[0] if _process else None)


@contextmanager
def within(settings: Settings) -> Iterator[None]:
    token = _within.set(settings)
    try:
        yield
    finally:
        _within.reset(token)


def everywhere(settings: Settings | None) -> Settings | None:
    """Sets the guard of the process, or ends it; hands back the one before."""
    with _lock:
        before = _process[0] if _process else None
        _process[:] = [] if settings is None else [settings]
    return before
