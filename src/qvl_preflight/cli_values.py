"""Arguments of a call as they are typed: ``--set K=V`` and JSON files."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from qvl_preflight.exceptions import InputError
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import parse

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts, Python

T = TypeVar("T")


def read_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """``["device_map=auto", …]`` as kwargs in plain form. Raises InputError."""
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--set {pair}: expected NAME=VALUE, device_map=auto say")
        out[key] = read_value(value)
    return out


def read_value(text: str) -> Any:
    """JSON if it parses; ``None``, ``True``; ``torch.float16``; ``GPTQConfig(bits=4)``; else the string itself."""
    try:
        return _int_keys(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_python(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text


def _from_python(node: ast.expr) -> Any:
    """The plain form of a Python literal, a torch.dtype or a configuration object. Raises ValueError for anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        return {"__dtype__": node.attr}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args and all(k.arg for k in node.keywords):
        return {"__class__": node.func.id, **{keyword.arg: _from_python(keyword.value) for keyword in node.keywords if keyword.arg}}
    if isinstance(node, ast.Dict) and all(node.keys):
        return {ast.literal_eval(key): _from_python(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)


def read_json(path: str, kind: type[T]) -> T:
    """A JSON file that holds an object; inline JSON is taken as well. Raises InputError."""
    try:
        if path.lstrip().startswith("{"):
            value = json.loads(path)
        else:
            with open(path, encoding="utf-8") as file:
                value = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, kind):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return _int_keys(value)  # type: ignore[no-any-return]


def _int_keys(value: Any) -> Any:
    """JSON knows no numbers as keys; device maps do."""
    if isinstance(value, dict):
        return {(int(key) if re.fullmatch(r"-?[0-9]+", key) else key): _int_keys(item) for key, item in value.items()}
    return [_int_keys(item) for item in value] if isinstance(value, list) else value


def read_python(given: str | None, facts: Facts) -> tuple[int, ...] | None:
    """``--python 3.11`` as numbers; else the release of the facts, None where they do not say. Raises InputError."""
    found = given if given is not None else _version(facts.python)
    if found is None:
        return None
    release = parse(found)
    if release is None or len(release) < 2:
        raise InputError(f"--python {found}: expected a release, 3.11 say")
    return release


def _version(python: Python | Unknown) -> str | None:
    """The version of Python, as far as the facts say."""
    return None if isinstance(python, Unknown) or isinstance(python.version, Unknown) else python.version
