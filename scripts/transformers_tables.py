"""Writes src/qvl_preflight/tables/auto_classes.txt out of unpacked releases of transformers: scripts/transformers_tables.py FOLDER…

Each FOLDER holds one release, as an unpacked wheel does: transformers/__init__.py and its dist-info, or a name that ends in the version.
Nothing of it is imported.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from qvl_preflight.auto_tables import PATH, AutoClasses, ranges
from qvl_preflight.probes.auto_mappings import read_release

_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)


def main(folders: list[str]) -> None:
    """Read every release, compare those of one minor release, and write the table."""
    found: dict[tuple[int, int], tuple[AutoClasses, set[str]]] = {}
    for folder in sorted(map(Path, folders)):
        numbers = re.search(r"(\d+)\.(\d+)(\.\d+)?$", folder.name)
        release = read_release(str(folder / "transformers"))
        if numbers is None or release is None:
            sys.exit(f"{folder}: not an unpacked release of transformers")
        minor = (int(numbers[1]), int(numbers[2]))
        if minor in found and found[minor][0] != release:
            print(f"{folder}: differs from another patch release of {minor}: {_difference(found[minor][0], release)}")
        found[minor] = (release, _defined(folder))
    Path(PATH).write_text(table(found), encoding="utf-8")
    print(f"{PATH}: {len(found)} releases, {Path(PATH).stat().st_size} bytes")


def _difference(one: AutoClasses, other: AutoClasses) -> object:
    return sorted(set(one.types) ^ set(other.types)) or sorted(one.autos ^ other.autos) or [
        name for name in one.types if one.types[name] != other.types[name]
    ]  # fmt: skip


def _defined(folder: Path) -> set[str]:
    """The classes of all modeling files."""
    names: set[str] = set()
    for path in (folder / "transformers" / "models").rglob("modeling_*.py"):
        names |= set(_CLASS.findall(path.read_text(encoding="utf-8")))
    return names


def table(found: dict[tuple[int, int], tuple[AutoClasses, set[str]]]) -> str:
    """The text of the table."""
    releases = sorted(found)
    named = [f"{major}.{minor}" for major, minor in releases]
    autos: dict[str, list[bool]] = defaultdict(lambda: [False] * len(releases))
    types: dict[str, list[bool]] = defaultdict(lambda: [False] * len(releases))
    entries: dict[tuple[str, str, str], list[bool]] = defaultdict(lambda: [False] * len(releases))
    for at, release in enumerate(releases):
        classes, _ = found[release]
        for auto in classes.autos:
            autos[auto][at] = True
        for model_type, taken in classes.types.items():
            types[model_type][at] = True
            for auto, names in taken.items():
                entries[model_type, auto, ",".join(names)][at] = True
    implied: dict[str, list[bool]] = defaultdict(lambda: [False] * len(releases))
    for (_, _, names), there in entries.items():
        for name in names.split(","):
            implied[name] = [one or other for one, other in zip(implied[name], there, strict=True)]
    lines = ["@releases", " ".join(named), "@autos", *(f"{auto} {ranges(autos[auto], named)}" for auto in sorted(autos)), "@types"]
    for model_type in sorted(types):
        own = [
            f"{ranges(at, named)}:{auto.removeprefix('AutoModel')}:{names}"
            for (name, auto, names), at in sorted(entries.items())
            if name == model_type
        ]
        lines.append(" ".join([model_type, ranges(types[model_type], named), *own]))
    lines.append("@classes")
    for name in sorted(implied):  # where a class is in a release that maps nothing to it
        defined = [name in found[release][1] for release in releases]
        if any(defined) and defined != implied[name]:
            lines.append(f"{name} {ranges(defined, named)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
