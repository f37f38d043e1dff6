"""Writes what the doctor says of every machine under tests/machines: NAME.txt beside NAME.json.

usage: python scripts/machine_reports.py [--check]
--check: change nothing, fail if a text differs.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from qvl_preflight.environment import examine
from qvl_preflight.facts import Facts
from qvl_preflight.render.terminal import print_report

MACHINES = Path(__file__).parents[1] / "tests" / "machines"


def report_of(path: Path) -> str:
    """What ``doctor --facts`` prints, at 80 columns and without colour."""
    out = io.StringIO()
    print_report(examine(Facts.load(str(path))), out, color=False)
    return out.getvalue()


def main(check: bool) -> int:
    """Write or compare; the number of texts that differ."""
    differ = 0
    for path in sorted(MACHINES.glob("*.json")):
        text, place = report_of(path), path.with_suffix(".txt")
        if place.is_file() and place.read_text(encoding="utf-8") == text:
            continue
        differ += 1
        print(f"{'differs' if check else 'written'}: {place.name}")
        if not check:
            place.write_text(text, encoding="utf-8")
    return differ if check else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
