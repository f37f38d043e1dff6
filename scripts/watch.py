"""What a release of transformers changes for the plan: python scripts/watch.py VERSION [--base VERSION] [--no-run]

1. The sources of both releases are compared where a load is decided: arguments of from_pretrained, minimum versions, quantisation methods, the deciding functions
   of quantizers and configurations, and the messages that the tables quote.
2. An environment with that release makes every call of the grid for real, and what differs from the plan is listed (not with --no-run).

Prints a patch: lines of the source as ``-`` and ``+``, and for each table what its newest row no longer says. Exit 1 where something differs.
"""

from __future__ import annotations

import argparse
import difflib
import pkgutil
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "reality"), str(ROOT / "tests")]

from releases import Release, fragments  # noqa: E402

import qvl_preflight.stack  # noqa: E402
from qvl_preflight.versions import NEWEST, ByRelease, Row, parse  # noqa: E402


def main() -> int:
    """Compare, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--base", default=NEWEST["transformers"] + ".0", help="the release that the tables were written up to")
    parser.add_argument(
        "--sources", type=Path, help="a folder of unpacked wheels, transformers-VERSION each, in place of downloads"
    )
    parser.add_argument("--no-run", action="store_true", help="compare the sources alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base, new = (
            Release(version, given.sources / f"transformers-{version}" / "transformers")
            if given.sources
            else unpacked(version, Path(folder))
            for version in (given.base, given.version)
        )
        found = [*compared(base, new), *outdated(base, new, tables())]
    print("\n".join(found) or f"The sources of {given.base} and {given.version} decide a load alike.")
    parted = [] if given.no_run else list(ran(given.version))
    print("\n".join(parted))
    return int(bool(found or parted))


def unpacked(version: str, folder: Path) -> Release:
    """A release as its wheel holds it."""
    place = folder / version
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--disable-pip-version-check",
        f"transformers=={version}",
        "-d",
        str(place),
    ]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    return Release(version, place / "transformers")


def compared(base: Release, new: Release) -> Iterator[str]:
    """The differences of the sources, as a patch."""
    yield from _patch("from_pretrained's arguments", base.arguments, new.arguments)
    yield from _patch("minimum versions", base.minima, new.minima)
    yield from _patch("packages that an import asks for", base.requirements, new.requirements)
    for name in sorted({*base.mappings, *new.mappings}):
        yield from _patch(name, base.mappings.get(name, {}), new.mappings.get(name, {}))
    for name in sorted({*base.deciding, *new.deciding}):
        before, after = base.deciding.get(name, ""), new.deciding.get(name, "")
        if before != after:
            yield from difflib.unified_diff(
                before.splitlines(), after.splitlines(), f"{base.version} {name}", f"{new.version} {name}", lineterm="", n=2
            )


def _patch(title: str, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    lines = [
        *(f"-{key} = {before[key]}" for key in before if before[key] != after.get(key)),
        *(f"+{key} = {after[key]}" for key in after if after[key] != before.get(key)),
    ]
    if lines:
        yield from (f"@@ {title} @@", *sorted(lines, key=lambda line: line[1:]))


def tables() -> Iterator[tuple[str, ByRelease[Any]]]:
    """Every table of the plan about transformers, by ``module.name``."""
    for module in pkgutil.iter_modules(qvl_preflight.stack.__path__):
        for name, value in vars(import_module(f"qvl_preflight.stack.{module.name}")).items():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, ByRelease) and one.package == "transformers":
                    yield f"stack/{module.name}.py {name}", one


def outdated(base: Release, new: Release, of: Iterator[tuple[str, ByRelease[Any]]]) -> Iterator[str]:
    """Rows whose words the base has and the new release no longer has. What Python itself says is in neither source."""
    before, after = ("\n".join(release.texts(name) for name in release.files) for release in (base, new))
    for name, table in of:
        row = _row_of(table, base.version)
        gone = (
            [text for text in strings(row.value) for piece in fragments(text) if piece in before and piece not in after]
            if row
            else []
        )
        if row and gone:
            yield f"@@ {name}: the row from {row.since} on @@"
            yield from (f"-{text}" for text in dict.fromkeys(gone))
            yield f"+Row({'.'.join(new.version.split('.')[:2])!r}, None, …, Evidence.SOURCE, 'transformers {new.version} …')"


def _row_of(table: ByRelease[Any], version: str) -> Row[Any] | None:
    release = parse(version) or ()
    return next(
        (
            row
            for row in table.rows
            if (parse(row.since) or ()) <= release and (row.until is None or release < (parse(row.until) or ()))
        ),
        None,
    )


def strings(value: Any) -> Iterator[str]:
    """All texts inside a row's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list, frozenset, set)):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif hasattr(value, "__dataclass_fields__"):
        yield from strings([getattr(value, name) for name in value.__dataclass_fields__])


def ran(version: str) -> Iterator[str]:
    """Where the real release and the plan part, call by call."""
    import stacks
    import test_reality as reality

    from agreement import disagreement

    name = f"watch-{version}"
    stacks.STEPS[name] = [
        [re.sub(r"^transformers==.*", f"transformers=={version}", part) for part in step] for step in stacks.STEPS["modern"]
    ]
    real = reality.outcomes(name, "grid")
    for case in reality.CASES.values():
        parted = disagreement(reality.predicted(name, case), real[case["id"]])
        if parted is not None:
            yield f"@@ call {case['id']} @@\n+{parted}"


if __name__ == "__main__":
    sys.exit(main())
