"""What a project sets for everyone who works on it (``[tool.qvl-preflight]`` of pyproject.toml), and the switch that ends everything.

The command line wins over pyproject.toml; arguments in code win over both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.spelling import distance

SWITCH = "QVL_PREFLIGHT"
_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")
_MAX_BYTES = 1_000_000
_TABLE = re.compile(rb"""tool\s*\.\s*["']?qvl[-_]preflight|^\s*["']?qvl[-_]preflight["']?\s*=""", re.MULTILINE)
_SEVERITIES = ("error", "warning", "note")
_KEYS = ("select", "ignore", "fail-on", "quiet", "no-color")


@dataclass(frozen=True)
class Settings:
    """What pyproject.toml says; None and () where it says nothing."""

    path: str | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str | None = None
    quiet: bool = False
    no_color: bool = False
    notes: tuple[str, ...] = ()


def is_off() -> bool:
    """Does the environment switch everything off? Then nothing is looked at, and nothing changed."""
    return _switch_value() in _OFF


def _switch_value() -> str:
    return os.environ.get(SWITCH, "").strip().lower()


def switch_notes() -> tuple[str, ...]:
    """What is said of a value that switches nothing, a slip most likely."""
    value = _switch_value()
    if value in _OFF or value in _ON:
        return ()
    return (f"{SWITCH}={os.environ[SWITCH][:40]} switches nothing off, so everything was checked; {SWITCH}=off would.",)


def off_note() -> str:
    """The one line that is said instead."""
    return f"{SWITCH}={os.environ.get(SWITCH, '')}: nothing was checked."


def read_settings(start: str | None = None) -> Settings:
    """The settings of the nearest pyproject.toml, from ``start`` upwards, that has such a table. Raises InputError."""
    found = _read(start)
    return replace(found, notes=(*switch_notes(), *found.notes))


def _read(start: str | None) -> Settings:
    try:
        found = _nearest(os.path.abspath(start or os.getcwd()))
    except OSError:  # the working folder was deleted
        return Settings()
    if found is None:
        return Settings()
    path, data = found
    if _toml() is None:
        note = f"{path}: its settings are not read, since this Python has no TOML reader; pip install tomli, or use Python 3.11"
        return Settings(path, notes=(note,))
    return _parsed(path, data)


@lru_cache(maxsize=8)
def _parsed(path: str, data: bytes) -> Settings:
    """The file is read at every call, and parsed where it has changed: that takes longer than most checks."""
    try:
        tools = _toml().loads(data.decode("utf-8")).get("tool", {})
        table, slip = tools.get("qvl-preflight"), "qvl_preflight" in tools
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not readable as TOML ({str(error).partition(chr(10))[0]})") from error
    notes = (f"{path}: [tool.qvl_preflight] is not read; write [tool.qvl-preflight], with a hyphen.",) if slip else ()
    return Settings(path if slip else None, notes=notes) if table is None else replace(_checked(path, table), notes=notes)


def _nearest(folder: str) -> tuple[str, bytes] | None:
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            try:
                with open(path, "rb") as file:
                    data = file.read(_MAX_BYTES)
            except OSError:
                data = b""  # not ours to complain of
            if _TABLE.search(data):
                return path, data
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _toml() -> Any:
    """tomllib of Python 3.11, or tomli; None where there is neither."""
    from importlib import import_module

    for name in ("tomllib", "tomli"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _checked(path: str, table: Any) -> Settings:
    where = f"{path}: [tool.qvl-preflight]"
    if not isinstance(table, Mapping):
        raise InputError(f"{where} is {table!r}; expected a table of {', '.join(_KEYS)}")
    for key in table:
        if key not in _KEYS:
            near = min(_KEYS, key=lambda known: distance(str(key).lower(), known))
            raise InputError(f"{where} has no setting {key!r}; did you mean {near!r}? There are {', '.join(_KEYS)}")
    fail_on = table.get("fail-on")
    if fail_on is not None and fail_on not in _SEVERITIES:
        raise InputError(f"{where} fail-on is {fail_on!r}; expected one of {', '.join(_SEVERITIES)}")
    return Settings(
        path, _names(where, table, "select"), _names(where, table, "ignore"), fail_on, _switch(where, table, "quiet"), _switch(where, table, "no-color")
    )  # fmt: skip


def _names(where: str, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    given = table.get(key, [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise InputError(f'{where} {key} is {given!r}; expected a list of codes, names or topics, ["QVL402"] say')
    return tuple(given)


def _switch(where: str, table: Mapping[str, Any], key: str) -> bool:
    given = table.get(key, False)
    if not isinstance(given, bool):
        raise InputError(f"{where} {key} is {given!r}; expected true or false")
    return given
