"""Modules that a split must not cut: what a model class says of them, and what a release does with it.

Sources: transformers 4.28 to 5.23 modeling_utils.py `_get_no_split_modules`; integrations/accelerate.py from 5.0 on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from qvl_preflight.auto_tables import tables
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.remote_code import RemoteCode, remote_code
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.auto_classes import autos_of
from qvl_preflight.stack.module_tree import rows_of
from qvl_preflight.stack.release_spans import Releases, Spans, read_spans, read_table, takes_in
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_WORDS = (
    "{} does not support `device_map='{}'`. To implement support, the model {}needs to implement the `_no_split_modules` attribute."
)
# What is said where a class names none; None: nothing, the instance gets an empty list.
_REFUSAL: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.28", "4.30", "{} does not support `device_map='{}'` yet.", Evidence.RUN, "transformers 4.28.1 modeling_utils.py:2703"),
    Row("4.30", "4.35", _WORDS.replace("model {}", "modelclass "), Evidence.RUN, "transformers 4.32.0 modeling_utils.py:2992"),
    Row("4.35", "4.50", _WORDS.replace("{}needs", "class needs"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:1778"),
    Row("4.50", None, None, Evidence.RUN, "transformers 4.50.3 modeling_utils.py:1904"),
)
# Which classes name none, up to 4.49: scripts/no_split_table.py, out of the sources; the classes of 4.37.2 were asked.
TABLE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "no_split.txt")


def looks_into_parts(situation: Situation) -> bool:
    """Are the parts of a model asked as well (since 4.35)?"""
    return situation.packages.at_least("transformers", 4, 35)


def own_code(situation: Situation) -> RemoteCode | Unknown:
    """The code that a checkpoint brings and that this call loads."""
    if not situation.checkpoint.remote_code or situation.request.kwargs.get("trust_remote_code") is not True:
        return Unknown("the call loads no code of the checkpoint's own")
    return remote_code(situation.checkpoint, situation.request.loader)


def unsupported(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: a strategy, for a class that does not say which of its modules stay together."""
    given = situation.request.device_map
    if given not in STRATEGIES:
        return
    row = _REFUSAL.row(situation.packages)
    if row.value is None:
        return
    code = own_code(situation)
    name = _of_transformers(situation) if isinstance(code, Unknown) else _without(code, deep=looks_into_parts(situation))
    if name is None:
        return
    whose = "" if isinstance(code, Unknown) else ", which comes with this checkpoint,"
    why = f'device_map="{given}" needs a class that says which of its modules stay together, and {name}{whose} does not'
    yield WillRaise("QVL412", Stage.DEVICE_MAP, "ValueError", row.value.format(name, given), "no-split", why, evidence=row.evidence)


def _of_transformers(situation: Situation) -> str | None:
    """The class of transformers that names nothing: by the sources of the release, else as it was seen in those before and after the installed one."""
    name = _class_called(situation)
    if name is None:
        return None
    release = situation.packages.release("transformers") or ()
    releases, spans = _table()
    if (answer := takes_in(spans.get(name, ()), releases, (release[0], release[1]))) is not False or name in spans:
        return name if answer else None
    rows = rows_of(name)
    before = [tree.get("refuses") for since, tree in rows if since <= release][-1:]
    after = [tree.get("refuses") for since, tree in rows if release < since < (4, 50)][:1]
    return before[0] if before and all([*before, *after]) else None


def _class_called(situation: Situation) -> str | None:
    """The class of transformers that the call makes; None where that is not known."""
    classes, loader = situation.checkpoint.config.get("architectures"), situation.request.loader
    if loader is not None and not tables().is_auto(loader):
        return loader
    if loader is None:
        return str(classes[0]) if isinstance(classes, list) and classes else None
    kind = situation.checkpoint.config.get("model_type")
    made = autos_of(situation, kind).get(loader, ()) if isinstance(kind, str) else ()
    return made[0] if len(made) == 1 else None


@lru_cache(maxsize=1)
def _table() -> tuple[Releases, Mapping[str, Spans]]:
    releases, lines = read_table(TABLE)
    return releases, {name: read_spans(line.split()[0], releases[-1]) for line in lines for name in line.split()[1:]}


def _without(code: RemoteCode, *, deep: bool) -> str | None:
    """The first class, as the release asks them, that names nothing. What cannot be read counts as naming something."""
    kept: set[str] = set()
    waiting, seen = [code.entry], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name in kept or name not in code.classes:
            continue
        seen.add(name)
        if code.is_model(name):
            listed = code.no_split(name)
            if listed is None:
                return name
            kept |= set() if isinstance(listed, Unknown) else set(listed)
        if deep:
            waiting += code.classes[name].sure_parts
    return None
