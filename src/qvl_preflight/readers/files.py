"""Configuration files as mappings: JSON, and YAML where PyYAML is installed. Within limits, or refused in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from qvl_preflight import json_files
from qvl_preflight.exceptions import InputError
from qvl_preflight.json_files import Unreadable

YAML_SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 1_000_000  # of a file that a person writes
_FLOAT = re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+")


def read_mapping(path: str, expected: str) -> dict[str, Any]:
    """The mapping that a file holds. ``expected``: what it should be, for the message. Raises InputError."""
    shown = path or '""'
    try:
        found = _yaml(path) if path.lower().endswith(YAML_SUFFIXES) else json_files.read_json(path)
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror}; expected {expected}") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); expected {expected}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds {_kind(found)}; expected {expected}, which is a mapping of names to values")
    return {str(key): value for key, value in found.items()}


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _yaml(path: str) -> Any:
    """What a YAML file holds, by PyYAML's safe loader: accelerate and LLaMA-Factory bring it along."""
    try:
        import yaml
    except ImportError:
        raise Unreadable("YAML is read by PyYAML, which is not installed here; pip install pyyaml, or save it as JSON") from None
    if not os.path.isfile(path):
        raise Unreadable("a folder, no file" if os.path.isdir(path) else "no such file")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable(f"longer than {MAX_BYTES // 10**6} MB")
    if b"&" in data and b"*" in data:  # anchors repeat what they name: a few lines can stand for gigabytes
        for event in _events(yaml, data):
            if isinstance(event, yaml.AliasEvent):
                raise Unreadable(f"line {event.start_mark.line + 1} repeats another part by an alias (*), which is not followed")
    try:
        found = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise Unreadable(_where(error)) from error
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:  # a date that there is not
        raise Unreadable(str(error)) from error
    # PyYAML takes 1e-4 for text; the programs that read these files make it the number that it is meant to be.
    if isinstance(found, dict):
        return {key: float(value) if isinstance(value, str) and _FLOAT.fullmatch(value) else value for key, value in found.items()}
    return found


def _events(yaml: Any, data: bytes) -> list[Any]:
    try:
        return list(yaml.parse(data, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Unreadable(_where(error)) from error


def _where(error: Any) -> str:
    """``line 3: expected <block end>``: PyYAML's own text is of several lines."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def beside(path: str | None, name: str) -> str:
    """A file that another names: as it stands, from the working folder, else next to the one that names it."""
    if path is None or os.path.isabs(name) or os.path.exists(name):
        return name
    near = os.path.join(os.path.dirname(path), name)
    return near if os.path.exists(near) else name


def switched_on(value: Any) -> bool:
    """``true``, ``True``, ``"yes"``, ``"1"``: as accelerate reads a switch (utils/other.py str_to_bool)."""
    return value is True or str(value).strip().lower() in ("1", "true", "yes", "y", "on", "t")


def attributes(given: Any) -> dict[str, Any]:
    """The public attributes of an object of settings; none for a class, a number or anything else that holds none."""
    if isinstance(given, type):
        return {}
    held = vars(given) if hasattr(given, "__dict__") else {}
    slots = {f.name: getattr(given, f.name, None) for f in fields(given)} if is_dataclass(given) else {}
    return {key: value for key, value in {**slots, **held}.items() if not key.startswith("_")}


def part(found: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    """A mapping inside; empty where there is none. Raises InputError for anything else."""
    inner = found.get(name)
    if inner is None:
        return {}
    if not isinstance(inner, Mapping):
        raise InputError(f"{path}: {name} holds {_kind(inner)}; expected a mapping of names to values")
    return {str(key): value for key, value in inner.items()}
