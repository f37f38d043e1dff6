"""What the quantizers of a transformers do, as a fingerprint of each deciding method: a release whose methods are others than those that were read says so.

``tables/quantizer_methods.txt`` is written by scripts/quantizer_methods.py out of the sources of 4.38 to 5.23: a line for each method and fingerprint, with its releases.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator

from qvl_preflight.probes.files import read_text
from qvl_preflight.stack.release_spans import Release, read_spans, read_table, takes_in

TABLE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "quantizer_methods.txt")
# The methods that the tables of the plan rest on.
DECIDING = ("validate_environment", "update_dtype", "update_torch_dtype", "update_device_map", "adjust_max_memory", "is_trainable")
_NOTHING = ("annotation", "returns", "type_comment", "type_params", "kind", "ctx")  # of a method's tree, what decides nothing


def read_methods(folder: str) -> dict[str, str]:
    """``gptq GptqHfQuantizer.is_trainable`` → its fingerprint, of the release in this folder (the one of transformers/__init__.py)."""
    place = os.path.join(folder, "quantizers")
    names = sorted(os.listdir(place)) if os.path.isdir(place) else []
    return {
        f"{name[len('quantizer_') : -len('.py')]} {owner}.{method.name}": _fingerprint(method)
        for name in names
        if name.startswith("quantizer_") and name.endswith(".py")
        for owner, method in _methods(os.path.join(place, name))
        if method.name in DECIDING
    }


def _methods(path: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    try:
        tree = ast.parse(read_text(path) or "")
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((node.name, inner) for inner in node.body if isinstance(inner, ast.FunctionDef))


def _fingerprint(method: ast.FunctionDef) -> str:
    """Of the tree without docstring and annotations, in a form that is the same on every Python."""
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    return hashlib.sha256(repr([_shape(method.args), [_shape(node) for node in body]]).encode()).hexdigest()[:12]


def _shape(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = [
            (name, _shape(value)) for name, value in ast.iter_fields(node) if name not in _NOTHING and value not in (None, [])
        ]
        return (type(node).__name__, fields)
    return [_shape(item) for item in node] if isinstance(node, list) else node


def changed(found: dict[str, str], since: Release) -> tuple[str, ...]:
    """The methods that are others than in the newest release that was read, or gone; ``since`` is that release. New ones were not read either."""
    releases, lines = read_table(TABLE)
    before = {
        f"{file} {name}": print_
        for file, name, print_, ranges in map(str.split, lines)
        if takes_in(read_spans(ranges, releases[-1]), releases, since)
    }
    return tuple(sorted(name for name in {*before, *found} if before.get(name) != found.get(name)))
