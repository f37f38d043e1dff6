"""Arguments of a call as they are typed: ``--set K=V`` and JSON files."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from qvl_preflight import json_files
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
        try:
            out[key] = read_value(value)
        except InputError as error:
            raise InputError(f"--set {key}={error}") from error
    return out


def read_value(text: str) -> Any:
    """JSON if it parses; ``None``, ``True``; ``torch.float16``; ``GPTQConfig(bits=4)``; else the string itself.

    Raises InputError for what begins like an object, a list or a call and is none that can be read: nobody means that as a text.
    """
    try:
        return _int_keys(json_files.parse_json(text))
    except ValueError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_python(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        if re.match(r"[\w.]+\(|[{\[]", text):
            shown = text if len(text) <= 100 else f"{text[:100]}…"
            raise InputError(
                f"{shown}: neither JSON nor Python values like torch.float16 or GPTQConfig(bits=4); put it in double quotes to pass it as a text"
            ) from error
        return text


def _from_python(node: ast.expr) -> Any:
    """The plain form of a Python literal, a torch.dtype, a torch.device or a configuration object. Raises ValueError for anything else."""
    match node:
        case ast.Attribute(ast.Name("torch"), name):
            return {"__dtype__": name}
        case ast.Call(ast.Attribute(ast.Name("torch"), "device"), [ast.Constant(str() as kind), *index], []):
            return {"__device__": ":".join([kind, *(str(int(ast.literal_eval(number))) for number in index)])}
        case ast.Call(ast.Name(name) | ast.Attribute(ast.Name("transformers"), name), [], keywords) if all(k.arg for k in keywords):
            return {"__class__": name, **{keyword.arg: _from_python(keyword.value) for keyword in keywords if keyword.arg}}
        case ast.Dict(keys, values) if all(keys):
            found = {ast.literal_eval(key): _from_python(value) for key, value in zip(keys, values, strict=True) if key}
            if len(found) < len(keys):
                raise ValueError("a key is said twice")
            return found
    return ast.literal_eval(node)


def read_json(path: str, kind: type[T]) -> T:
    """A JSON file that holds an object; inline JSON is taken as well. Raises InputError."""
    try:
        value = json_files.parse_json(path) if path.lstrip().startswith("{") else json_files.read_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path[:200]}: not readable as JSON ({reason}); expected an object, in a file or in place of its name"
        ) from error
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
