"""Where data comes from outside: one function checks it against our dataclasses, one describes them.

Nothing is coerced: what does not fit is said in one line. A library would do this with a schema language of its own; over plain dataclasses
pydantic 1.10 turns ``False`` into ``"False"`` and a list into a record without a word, and 2.0 to 2.5 do not read them at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from qvl_preflight.exceptions import InputError
from qvl_preflight.spelling import nearest
from qvl_preflight.unknown import Unknown


class _Misfit(Exception):
    def __init__(self, path: tuple[str, ...], value: Any, expected: str) -> None:
        super().__init__(expected)
        self.path, self.value, self.expected = path, value, expected


def validate(kind: Any, raw: Any, origin: str, path: tuple[str, ...] = ()) -> Any:
    """``raw`` as an instance of the dataclass ``kind``. Raises InputError with one line for the first field that does not fit."""
    try:
        return _read(kind, raw, path)
    except _Misfit as misfit:
        shown = json.dumps(misfit.value, default=str)[:60]
        raise InputError(f"{origin}: {'.'.join(misfit.path) or 'the whole'} is {shown}: expected {misfit.expected}") from misfit


def _read(kind: Any, value: Any, path: tuple[str, ...]) -> Any:
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return _read_union(inner, value, path)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if outer is Literal and any(value == item and type(value) is type(item) for item in inner):
        return value
    if outer is tuple and isinstance(value, (list, tuple)) and (inner[-1] is ... or len(inner) == len(value)):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        return tuple(_read(each, item, (*path, str(index))) for index, (each, item) in enumerate(zip(kinds, value, strict=True)))
    if outer is Mapping and isinstance(value, Mapping):
        return {str(key): _read(inner[1], item, (*path, str(key))) for key, item in value.items()}
    if type(value) is kind:
        return value
    raise _Misfit(path, value, _name(kind))


def _name(kind: Any) -> str:
    outer, inner = get_origin(kind), get_args(kind)
    if outer is tuple:
        return "a list" if inner[-1] is ... else f"a list of {len(inner)}"
    names = {str: "a text", int: "a whole number", bool: "true or false", type(None): "null"}
    return "an object" if outer is Mapping else json.dumps(inner[0]) if outer is Literal else str(names.get(kind, kind))


def _read_union(kinds: tuple[Any, ...], value: Any, path: tuple[str, ...]) -> Any:
    misfits = []
    for kind in kinds:
        try:
            return _read(kind, value, path)
        except _Misfit as misfit:
            misfits.append(misfit)
    raise max(misfits, key=lambda misfit: len(misfit.path))


def _read_dataclass(kind: Any, value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _Misfit(path, value, "an object")
    hints = _hints(kind)
    for f in fields(kind):
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise _Misfit(path, value, f"{f.name} in it")
    given = {
        f.name: _read(hints[f.name], value[f.name], (*path, f.name))
        for f in fields(kind)
        if f.name in value and f.metadata.get("outside", True)
    }
    for f in fields(kind):
        pattern, text = f.metadata.get("pattern"), given.get(f.name)
        if pattern and isinstance(text, str) and not re.fullmatch(pattern, text):
            raise _Misfit((*path, f.name), text, f"a text such as {f.metadata['such as']}")
    return kind(**given)


def strange_keys(kind: Any, raw: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    """The keys of ``raw`` that no field reads, by dotted path, each with the field that it is near to. ``raw`` fits ``kind``."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(
            (each for each in get_args(kind) if each is not Unknown and (is_dataclass(each) or get_origin(each) is tuple)), None
        )
    if get_origin(kind) is tuple and isinstance(raw, (list, tuple)):
        for index, item in enumerate(raw):
            yield from strange_keys(get_args(kind)[0], item, f"{path}{index}.")
    elif is_dataclass(kind) and isinstance(raw, Mapping):
        yield from _strange_in(kind, raw, path)


def _strange_in(record: Any, raw: Mapping[str, Any], path: str) -> Iterator[tuple[str, str | None]]:
    known = {f.name: _hints(record)[f.name] for f in fields(record) if f.metadata.get("outside", True)}
    for key, value in raw.items():
        if key in known:
            yield from strange_keys(known[key], value, f"{path}{key}.")
        else:
            yield f"{path}{key}", nearest(str(key), known)


@lru_cache(maxsize=32)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Unknown: "null"}


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema (2020-12) of a dataclass. A value that is unknown is null in JSON."""
    records: dict[str, Any] = {}
    top = _described_record(kind, records)
    return {**top, "$defs": records}


def _described(kind: Any, records: dict[str, Any]) -> dict[str, Any]:
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return {"anyOf": _distinct([_described(each, records) for each in inner])}
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    if is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in records:
            records[name] = _described_record(kind, records)
        return {"$ref": f"#/$defs/{name}"}
    if outer is Literal:
        return {"const": inner[0]} if len(inner) == 1 else {"enum": list(inner)}
    if outer is tuple and inner[-1] is ...:
        return {"type": "array", "items": _described(inner[0], records)}
    if outer is tuple:
        return {
            "type": "array",
            "prefixItems": [_described(each, records) for each in inner],
            "minItems": len(inner),
            "maxItems": len(inner),
        }
    return {"type": "object", "additionalProperties": _described(inner[1], records)}


def _described_record(kind: Any, records: dict[str, Any]) -> dict[str, Any]:
    hints = _hints(kind)
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    properties = {f.name: _described(hints[f.name], records) | _pattern(f) for f in fields(kind) if f.metadata.get("outside", True)}
    text = (kind.__doc__ or "").strip().partition("\n")[0]
    return {"type": "object", "description": text, "properties": properties, **({"required": required} if required else {})}


def _pattern(described: Field[Any]) -> dict[str, Any]:
    """For the texts among the alternatives; JSON Schema applies it to nothing else."""
    pattern = described.metadata.get("pattern")
    return {"pattern": f"^{pattern}$"} if pattern else {}


def _distinct(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [option for index, option in enumerate(options) if option not in options[:index]]
