"""Releases as numbers, and version knowledge as data: rows of (since, until, value), each with its evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.facts import Packages

T = TypeVar("T")


class Evidence(Enum):
    """How a piece of version knowledge was established. What was only read in source makes a warning at most."""

    RECORDED = "recorded"  # seen on a GPU, kept as a recording
    RUN = "run"  # seen on a real stack without a GPU
    SOURCE = "source"  # read in the package's source


@lru_cache(maxsize=512)
def parse(version: str) -> tuple[int, ...] | None:
    """``"4.37.2"`` → ``(4, 37, 2)``; local and pre-release parts are dropped. None for what is not a version."""
    if plain := re.fullmatch(r"(\d+(?:\.\d+)*)(?:\+[\w.]+)?", version):
        numbers = tuple(map(int, plain.group(1).split(".")))
        return numbers + (0,) * (3 - len(numbers))
    from packaging.version import InvalidVersion, Version  # slow to import, and seldom needed

    try:
        release = Version(version).release
    except InvalidVersion:
        return None
    return release + (0,) * (3 - len(release))


@dataclass(frozen=True)
class Row(Generic[T]):
    """True from release ``since`` up to, not including, ``until`` (None: still true in the newest that was read)."""

    since: str
    until: str | None
    value: T
    evidence: Evidence
    source: str  # package, version, file


class ByRelease(Generic[T]):
    """What a package does, by its release. Rows must not overlap; they need not cover every release."""

    def __init__(self, package: str, *rows: Row[T]) -> None:
        self.package = package
        self.rows = rows

    def row(self, packages: Packages) -> Row[T]:
        """The row for the installed release. Raises Undecided where it is unknown, absent or not covered."""
        release = packages.release(self.package)
        if release is None:
            raise Undecided(f"{self.package} is not installed")
        for row in self.rows:
            since, until = parse(row.since), row.until and parse(row.until)
            if since is not None and since <= release and (not until or release < until):
                return row
        first = min(parse(row.since) or () for row in self.rows)
        shown = ".".join(map(str, release))
        raise Undecided(
            f"{self.package} {shown} is older than what was read"
            if release < first
            else f"{self.package} {shown} is not among what was read"
        )

    def value(self, packages: Packages) -> T:
        """The value for the installed release. Raises Undecided as `row` does."""
        return self.row(packages).value


# The newest release of each package whose source was read. What a newer one does is taken to be what this one does, and said to be so.
NEWEST: dict[str, str] = {
    "transformers": "5.23", "accelerate": "1.15", "optimum": "2.3", "auto-gptq": "0.7", "gptqmodel": "7.7", "bitsandbytes": "0.50", "peft": "0.21",
}  # fmt: skip


def newer_than_read(packages: Packages) -> tuple[str, ...]:
    """The installed packages that are newer than what was read, ``transformers 6.4.0``; unknown ones are left out."""
    found = []
    for name, newest in NEWEST.items():
        try:
            version = packages.version(name)
        except Undecided:
            continue
        release, read = (parse(version) if version else None), parse(newest)
        if release is not None and read is not None and release[:2] > read[:2]:
            found.append(f"{name} {version}")
    return tuple(found)
