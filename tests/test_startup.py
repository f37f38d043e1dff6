"""Starting costs little, against Python's own start. The medians of paired runs are what ``benchmarks/startup.py`` prints."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

LIMITS = {"import qvl_preflight": 2.0, "doctor --json": 7.0, "doctor": 11.0}


@pytest.mark.slow
def test_start_up_stays_within_its_limits() -> None:
    """A busy machine may spoil one sitting: the best of three counts."""
    path = Path(__file__).parents[1] / "benchmarks" / "startup.py"
    spec = importlib.util.spec_from_file_location("startup", path)
    assert spec is not None
    assert spec.loader is not None
    startup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(startup)
    sittings = []
    for _ in range(3):
        sittings.append({name: ratio for name, (ratio, _) in startup.ratios(9).items()})
        if all(sittings[-1][name] <= limit for name, limit in LIMITS.items()):
            break
    best = {name: min(sitting[name] for sitting in sittings) for name in LIMITS}
    assert all(best[name] <= limit for name, limit in LIMITS.items()), best
