"""peft's adapters: a LoraConfig, its settings, or an adapter_config.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.files import attributes, read_mapping
from qvl_preflight.readers.names import listed, names, strange_alone, unread

EXPECTED = "an adapter_config.json of peft"


def read_peft(given: Any) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """The settings of the adapters, and notes on names that say nothing. A folder is read by the file in it. Raises InputError."""
    if given is None:
        return None, ()
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        if os.path.isdir(path):
            path = os.path.join(path, "adapter_config.json")
        return _checked(read_mapping(path, EXPECTED), path, EXPECTED)
    if isinstance(given, Mapping):
        return _checked({str(key): value for key, value in given.items()}, "peft", "settings of a LoraConfig (r, target_modules …)")
    found = attributes(given)
    if hasattr(given, "peft_config") or strange_alone(found, "peft"):
        kind = f"the class {given.__name__}" if isinstance(given, type) else f"of the type {type(given).__name__}"
        raise InputError(f"peft is {kind}; expected a LoraConfig, a mapping of its settings, or {EXPECTED}")
    return found, ()


def _checked(found: Mapping[str, Any], where: str, expected: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """``{}`` is a LoraConfig with defaults."""
    if found and strange_alone(found, "peft"):
        raise InputError(f"{where}: none of its names is a setting of peft ({listed(found, names('peft'))}); expected {expected}")
    return found, unread(found, where, "peft")
