"""Which architectures each release of transformers has: model types, the Auto classes that take them, the model classes.

``tables/auto_classes.txt`` holds releases 4.28 to 5.23, written by scripts/transformers_tables.py out of their sources. A release is
named by its first two numbers: patch releases add no architecture. Ranges are ``4.45-`` (still there), ``4.28-4.57`` (the last that has
it), several joined by ``+``. A line of ``@types`` reads: model type, its releases, and for each Auto class ``releases:name:classes``, the name
without "AutoModel". ``@classes`` holds the model classes that some release has without mapping to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from qvl_preflight.spelling import distance
from qvl_preflight.unknown import Undecided

PATH = os.path.join(os.path.dirname(__file__), "tables", "auto_classes.txt")
Release = tuple[int, ...]


@dataclass(frozen=True)
class AutoClasses:
    """One release: model type → Auto class → the model classes behind it; every Auto class; the oldest releases of others that it takes."""

    types: Mapping[str, Mapping[str, tuple[str, ...]]]
    autos: frozenset[str]
    minima: Mapping[str, str] = field(default_factory=dict)  # accelerate → 1.1.0
    changed: tuple[str, ...] = ()  # methods of quantizers that are others than in the newest release that was read


class AutoTables:
    """The table of all releases. Lines are parsed when they are asked for."""

    def __init__(self, text: str) -> None:
        sections = dict(part.split("\n", 1) for part in text.split("@")[1:])
        self.releases = tuple(_release(word) for word in sections["releases"].split())
        self._autos = _lines(sections["autos"])
        self._types = _lines(sections["types"])
        self._apart = _lines(sections["classes"])
        self._text = sections["types"]

    # ── one release ──

    def has_type(self, model_type: str, release: Release) -> bool:
        """Does a release know a model type? Raises Undecided where it is newer than the table and may have gained it."""
        return self._has(self._type_releases(model_type), release, f"the model type {model_type}")

    def takes(self, auto: str, model_type: str, release: Release) -> bool:
        """Does an Auto class take a model type in a release? Raises Undecided as `has_type` does."""
        there = {at for ranges, name, _ in self._entries(model_type) if name == auto for at in self._indices(ranges)}
        return self._has(there, release, f"{model_type} under {auto}")

    def autos_of(self, model_type: str, release: Release) -> dict[str, tuple[str, ...]]:
        """The Auto classes that take a model type in a release, with the model classes behind each."""
        at = min(self._index(release), len(self.releases) - 1)
        return {auto: names for ranges, auto, names in self._entries(model_type) if at in self._indices(ranges)}

    def has_class(self, name: str, release: Release) -> bool:
        """Does a release have an Auto class or a model class? Raises Undecided as `has_type` does."""
        return self._has(self._class_releases(name), release, name)

    # ── any release ──

    def holds(self, release: Release) -> bool:
        """Was this release read?"""
        return release[:2] in self.releases

    @property
    def autos(self) -> Collection[str]:
        """The Auto classes of any release."""
        return self._autos

    def is_auto(self, name: str) -> bool:
        """Is it an Auto class of any release?"""
        return name in self._autos

    def is_class(self, name: str) -> bool:
        """Is it a class of any release?"""
        return bool(self._class_releases(name))

    def meant(self, name: str) -> str | None:
        """The class that a name of none is a slip of: an Auto class at most two letters off, or what follows the "For" of a model's classes."""
        near = [known for known in self._autos if distance(known.lower(), name.lower()) <= 2]
        head, found, task = name.partition("For")
        if not near and found and not any(letter.isdigit() for letter in task):
            there = re.findall(rf"[:, ]({re.escape(head)}For[A-Za-z]+)", self._text) if head.isidentifier() else []
            near = [known for known in there if distance(known, name) <= 2]
        return min(near, key=lambda known: distance(known, name), default=None)

    def types_of(self, name: str) -> tuple[str, ...]:
        """The model types that a model class belongs to, in any release."""
        if not name.isidentifier():
            return ()
        return tuple(re.findall(rf"^(\S+) .*:(?:\w+,)*{name}(?![^ ,\n])", self._text, re.MULTILINE))

    def every_type(self) -> Collection[str]:
        """The model types of all releases."""
        return self._types.keys()

    def is_type(self, model_type: str) -> bool:
        """Does any release know a model type?"""
        return model_type in self._types

    def type_span(self, model_type: str) -> str:
        """The releases that know a model type, for people: "4.45 on", "4.28 to 4.57"."""
        return self._span(self._type_releases(model_type))

    def class_span(self, name: str) -> str:
        """The releases that have a class, for people."""
        return self._span(self._class_releases(name))

    # ── the lines ──

    def _type_releases(self, model_type: str) -> Collection[int]:
        return self._indices(self._types.get(model_type, "").partition(" ")[0])

    def _class_releases(self, name: str) -> Collection[int]:
        if ranges := self._autos.get(name) or self._apart.get(name):
            return self._indices(ranges)
        if not name.isidentifier():
            return ()
        mapped = re.findall(rf" ([-.+\d]+):\w*:(?:\w+,)*{name}(?![^ ,\n])", self._text)
        return {at for ranges in set(mapped) for at in self._indices(ranges)}

    def _entries(self, model_type: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        _, _, rest = self._types.get(model_type, "").partition(" ")
        for entry in rest.split():
            ranges, auto, classes = entry.split(":")
            yield ranges, f"AutoModel{auto}", tuple(classes.split(","))

    def _indices(self, ranges: str) -> Collection[int]:
        found: list[int] = []
        for span in filter(None, ranges.split("+")):
            since, _, last = span.partition("-")
            end = self.releases.index(_release(last)) if last else len(self.releases) - 1
            found += range(self.releases.index(_release(since)), end + 1)
        return found

    def _index(self, release: Release) -> int:
        """Where a release stands; past the end for a newer one. Raises Undecided for an older one."""
        if release[:2] > self.releases[-1]:
            return len(self.releases)
        if release[:2] not in self.releases:
            raise Undecided(f"transformers {'.'.join(map(str, release))} is older than what was read")
        return self.releases.index(release[:2])

    def _has(self, there: Collection[int], release: Release, what: str) -> bool:
        at, newest = self._index(release), len(self.releases) - 1
        if at > newest and newest not in there:
            raise Undecided(f"transformers {'.'.join(map(str, release))} is newer than what was read and may have {what}")
        return min(at, newest) in there

    def _span(self, there: Collection[int]) -> str:
        since, last = (".".join(map(str, self.releases[at])) for at in (min(there), max(there)))
        return f"{since} and later" if max(there) == len(self.releases) - 1 else f"{since} to {last}"


@lru_cache(maxsize=1)
def tables() -> AutoTables:
    """The table of the package, read on first use."""
    with open(PATH, encoding="utf-8") as file:
        return AutoTables(file.read())


def _release(word: str) -> Release:
    major, minor = word.split(".")
    return int(major), int(minor)


def _lines(section: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in section.splitlines() if line)


def ranges(at: list[bool], named: list[str]) -> str:
    """``4.45-`` for what is there from 4.45 to the newest, ``4.28-4.57`` where the last is an older one."""
    spans, start = [], None
    for index, there in enumerate([*at, False]):
        if there and start is None:
            start = index
        if not there and start is not None:
            spans.append(f"{named[start]}-" + ("" if index == len(named) else named[index - 1]))
            start = None
    return "+".join(spans)
