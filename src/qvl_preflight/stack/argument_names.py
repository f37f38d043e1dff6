"""Which names a model's configuration or class may take in from_pretrained, in any release.

``tables/argument_names.txt`` is written by scripts/argument_names.py out of the sources of 4.28 to 5.23, and gathered generously: what is not in it is
taken by nothing. Run with forty such names on 4.37.2, 4.57.1 and 5.23.0, for Llama, GPT-2, OPT and Mixtral.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "argument_names.txt")


def may_take(model_type: str, name: str) -> bool | None:
    """May some release take the name for this model type? None where that is not known."""
    base, types, anything, names = _table()
    if name in base or model_type in names.get(name, ()):
        return True
    if name.startswith("_") or model_type not in types or model_type in anything or "*" in names.get(name, ()):
        return None
    return False


@lru_cache(maxsize=1)
def _table() -> tuple[frozenset[str], frozenset[str], frozenset[str], Mapping[str, tuple[str, ...]]]:
    """Names that all take; the model types; those with a class that takes any name; the other names with the model types that have them."""
    with open(PATH, encoding="utf-8") as file:
        parts = dict(part.split("\n", 1) for part in file.read().split("@")[1:])
    lines = (line.split() for line in parts["names"].splitlines())
    base, types, anything = (frozenset(parts[part].split()) for part in ("base", "types", "open"))
    return base, types, anything, {name: tuple(of) for name, *of in lines}
