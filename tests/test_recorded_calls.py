"""Calls whose class, code or arguments do not fit, as they went on real stacks (tests/reality/calls.py), against what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import calls
import pytest

import qvl_preflight
from qvl_preflight.report import Severity

RECORDINGS = Path(__file__).parent / "recordings" / "calls"
CASES = {case["id"]: case for case in calls.cases()}


def recorded() -> list[Any]:
    out = []
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        head, *rest = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        out += [pytest.param(head["packages"], line, id=f"{path.stem} {line['id']}") for line in rest]
    return out


@pytest.mark.parametrize(("packages", "line"), recorded())
def test_what_is_said_is_what_happened(packages: dict[str, Any], line: dict[str, Any], tmp_path: Path) -> None:
    """An exception is named by its type and the beginning of its text; a call that went through has no error."""
    case = CASES[line["id"]]
    folder = calls.write(case, str(tmp_path))
    facts = {"python": {"version": "3.11.0"}, "packages": packages, "packages_complete": False, "gpus": [], "driver": None}
    report = qvl_preflight.check(folder, facts=facts, loader=case.get("loader", "AutoModelForCausalLM"), **case["kwargs"])
    said = [finding for finding in report.at_least(Severity.WARNING) if finding.raises is not None]
    if line["outcome"] == "ok":
        assert [(finding.code, finding.message) for finding in said] == []
        return
    assert said, line
    raises = said[0].raises
    assert raises is not None
    assert raises.type == line["type"]
    assert line["message"].replace("{folder}", folder).startswith(raises.text[:150])


def test_recordings_are_there() -> None:
    """From the oldest release to the newest."""
    assert {path.stem for path in RECORDINGS.glob("*.jsonl")} >= {
        "4.28.1",
        "4.32.0",
        "4.37.2",
        "4.45.2",
        "4.51.3",
        "4.57.1",
        "5.23.0",
    }
