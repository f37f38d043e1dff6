"""peft's adapters: a LoraConfig, its settings, or an adapter_config.json."""

from __future__ import annotations

import os
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.files import read_mapping

EXPECTED = "an adapter_config.json of peft"


def read_peft(given: Any) -> Any:
    """A path as the settings that the file holds; anything else as it is. A folder is read by the file in it. Raises InputError."""
    if not isinstance(given, (str, os.PathLike)):
        return given
    path = os.fspath(given)
    if os.path.isdir(path):
        path = os.path.join(path, "adapter_config.json")
    found = read_mapping(path, EXPECTED)
    if "peft_type" not in found and "target_modules" not in found and "r" not in found:
        raise InputError(f"{path}: holds none of peft_type, r, target_modules; expected {EXPECTED}")
    return found
