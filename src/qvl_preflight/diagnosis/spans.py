"""Errors that name something which transformers has had in some releases only: a class, a function, a model type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from qvl_preflight.auto_tables import tables
from qvl_preflight.diagnosis.causes import Cause, causes
from qvl_preflight.diagnosis.tracebacks import Raised
from qvl_preflight.remote_imports import exports

_NAME = re.compile(
    r"cannot import name '?(?P<name>\w{2,80})'? from '?(?:partially initialized module '?)?(?P<module>transformers(?:\.\w{1,60}){0,6})'?"
)
_TYPE = re.compile(
    r"model type `?'?(?P<type>[\w-]{2,60})`?'?\W{1,3}but Transformers does not recognize|^'(?P<key>[a-z][a-z0-9]{1,20}(?:[_-][a-z0-9]{1,12}){0,3})'$"
)
_NEWEST = (5, 23)
SPAN = re.compile(r"^transformers (?:.* and )?(?P<since>\d+\.\d+) (?:on|and later|to (?P<last>\d+\.\d+)) has ")  # as `more` says it
# Whose code asked, by the last file of the traceback that is no part of transformers: the topic that this makes.
_ASKS = (
    (re.compile(r"transformers_modules"), "QVL911"),
    (re.compile(r"[/\\]awq[/\\]|autoawq"), "QVL698"),
    (re.compile(r"[/\\](auto_gptq|gptqmodel)[/\\]"), "QVL697"),
    (re.compile(r"[/\\](peft|accelerate|optimum|trl|bitsandbytes|datasets|unsloth\w*|llmcompressor|sentence_transformers|diffusers)[/\\]"), "QVL693"),
)  # fmt: skip


def by_release(one: Raised) -> Iterator[tuple[float, Cause, str]]:
    """Weight, cause, and what the tables say of the name: "transformers has X since 4.50"."""
    if found := _NAME.search(one.message):
        name, module = found["name"], found["module"]
        span = _span(module, name)
        asker = next((code for frame in reversed(one.frames) for pattern, code in _ASKS if pattern.search(frame)), None)
        more = f"transformers {span} has {name} (in {module})" if span else ""
        if asker is not None:
            yield 0.93, _cause(asker), more
        elif span and not span.startswith(("4.28 on", "4.28 and later")):
            yield 0.85, _cause("QVL990" if span.endswith(("on", "later")) else "QVL693"), more
    elif (found := _TYPE.search(one.message)) and tables().is_type(key := found["type"] or found["key"]):
        if found["type"] is None and not any("configuration_auto" in frame for frame in one.frames):
            return  # any dictionary may lack any key
        yield 0.95, _cause("QVL907"), f"transformers {tables().type_span(key)} has {key}"


def _span(module: str, name: str) -> str:
    """The releases that have the name, in words; empty where the tables do not say."""
    known = exports()
    if known.has_module(module, _NEWEST) is not None and known.has_name(module, name, _NEWEST) is not None:
        return known.span(module, name)
    return tables().class_span(name) if tables().is_class(name) or tables().is_auto(name) else ""


@lru_cache(maxsize=64)
def _cause(code: str) -> Cause:
    return next(cause for _, cause in causes() if cause.code == code)
