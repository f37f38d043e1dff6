"""Writes src/qvl_preflight/tables/quantizer_methods.txt: the fingerprint of each deciding method of a quantizer, and the releases that have it so.

scripts/quantizer_methods.py FOLDER…, each an unpacked release from 4.38 on (see transformers_tables.py). Nothing of them is imported.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from qvl_preflight.auto_tables import ranges
from qvl_preflight.probes.quantizer_methods import TABLE, read_methods


def main(folders: list[str]) -> None:
    """Read every release, and write the table."""
    found = sorted((_release(folder), set(read_methods(f"{folder}/transformers").items())) for folder in folders)
    releases = [f"{major}.{minor}" for (major, minor), _ in found]
    lines = [" ".join(releases)]
    for name, fingerprint in sorted(set().union(*(each for _, each in found))):
        lines.append(f"{name} {fingerprint} {ranges([(name, fingerprint) in each for _, each in found], releases)}")
    Path(TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _release(folder: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", Path(folder).name)[:2]
    return int(major), int(minor)


if __name__ == "__main__":
    main(sys.argv[1:])
