"""JSON out of other people's files: read whole and within limits, or refused with a reason of a few words. Never a hang, never a huge read."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

MAX_BYTES = 100_000_000  # as the header of a safetensors file; the index of a checkpoint with 300,000 tensors has 30 MB
MAX_DEPTH = 100


class Unreadable(ValueError):
    """Why a file or a text is not taken."""


def read_json(path: str, *, own: bool = True) -> Any:
    """The value that a file holds. Raises OSError where there is no such file, else Unreadable.

    ``own``: a file that the person wrote, in whatever Unicode their editor saves; a name that is said twice is a slip. Else a file of a
    checkpoint, which transformers opens as UTF-8 and reads with ``json.load``: the last of two wins, a byte order mark is an error.
    """
    data = _bytes(path)
    if own:
        return parse_json(data)
    try:
        return _within_depth(json.loads(data.decode("utf-8")))
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:
        raise Unreadable(_short(error)) from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text of the person's own. Raises Unreadable."""
    try:
        return _within_depth(json.loads(text, object_pairs_hook=_once, parse_constant=_no_number))
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:
        raise Unreadable(_short(error)) from error


def _bytes(path: str) -> bytes:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, a device has no end
        raise Unreadable("a folder, no file" if os.path.isdir(path) else "a pipe or a device, no file")
    with open(path, "rb") as file:
        data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)  # that much is set aside before anything is read
    if len(data) > MAX_BYTES:
        raise Unreadable(f"longer than {MAX_BYTES // 10**6} MB")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Unreadable(f"{json.dumps(next(name for name in names if names.count(name) > 1))} is said twice")
    return found


def _no_number(name: str) -> Any:
    raise Unreadable(f"{name} is no number of JSON")


def _within_depth(value: Any) -> Any:
    """What is read is walked by functions that call themselves."""
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            inner
            for each in layer
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not layer:
            return value
    raise Unreadable("nested too deep")


def _short(error: ValueError) -> str:
    """UnicodeDecodeError shows what it could not decode: the whole file."""
    if isinstance(error, UnicodeDecodeError):
        return f"not {error.encoding}: byte {error.start} is 0x{error.object[error.start]:02x}"
    return str(error)
