"""Where data comes from outside: one function checks it against our dataclasses, one describes them. pydantic 1 and 2 alike."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pydantic

from qvl_preflight.exceptions import InputError

PYDANTIC_2 = pydantic.VERSION.startswith("2.")


@lru_cache(maxsize=8)
def _adapter(kind: Any) -> Any:
    return pydantic.TypeAdapter(kind)


def validate(kind: Any, raw: Any, origin: str) -> Any:
    """``raw`` as an instance of the dataclass ``kind``. Raises InputError with one line for the first field that does not fit."""
    try:
        checked = _adapter(kind).validate_python(raw) if PYDANTIC_2 else pydantic.parse_obj_as(kind, raw)
    except pydantic.ValidationError as error:
        raise InputError(f"{origin}: {_first(error, raw)}") from error
    return checked


def _first(error: pydantic.ValidationError, raw: Any) -> str:
    problem = error.errors()[0]
    path = [part for part in problem["loc"] if part != "__root__"]
    seen, trail = raw, []
    for part in path:
        inside = (isinstance(seen, dict) and part in seen) or (
            isinstance(seen, list) and isinstance(part, int) and part < len(seen)
        )
        if not inside:
            continue  # pydantic 2 puts in the names of the alternatives it tried
        seen = seen[part]
        trail.append(str(part))
    shown = json.dumps(seen, default=str)
    return f"{'.'.join(trail) or 'the whole'} is {shown[:60]}: {problem['msg']}"


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a dataclass."""
    made: dict[str, Any] = _adapter(kind).json_schema() if PYDANTIC_2 else pydantic.schema_of(kind)
    return made
