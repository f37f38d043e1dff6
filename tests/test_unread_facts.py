"""Keys of a facts file that no field reads: a slip, or what a later version writes. They load, and are named.
So is an environment that nobody looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.cli import main
from qvl_preflight.facts import Facts, field_names
from qvl_preflight.schemas import facts_schema
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"


def written(**changes: Any) -> dict[str, Any]:
    return {**machine("a100").to_dict(), **changes}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"packges": {"torch": "2.1"}}, "packges (packages?)"),
        ({"gpus": [{"index": 0, "free_byte": 1}]}, "gpus.0.free_byte (free_bytes?)"),
        ({"launch": {"WORLD_SIZE": 2}}, "launch.WORLD_SIZE (world_size?)"),
        ({"weather": "fine"}, "weather"),
        ({"unread": ["x"]}, "unread"),
        ({f"x{n}": n for n in range(9)}, "x5 and 3 more"),
    ],
)
def test_they_are_named_with_what_they_are_near_to(changes: dict[str, Any], named: str) -> None:
    facts = Facts.from_dict(written(**changes), "there.json")
    (note,) = facts.unread
    assert note.startswith("there.json: not read, since no such facts are known here: ")
    assert note.endswith(f"{named}.")
    assert "\n" not in note


@pytest.mark.parametrize(
    "changes", [{}, {"world": {"ranks": []}}, {"packages": {"any-thing": "1"}}, {"env": {"ANY": "1"}}, {"unknown": {"gpus": "x"}}]
)
def test_what_the_format_names_is_not(changes: dict[str, Any]) -> None:
    """Names of packages and variables are data; ``world`` is in facts that were gathered over ranks."""
    assert Facts.from_dict(written(**changes)).unread == ()


def test_they_change_nothing_else() -> None:
    """Facts of a later version are those that are known here, and are not written again."""
    facts = Facts.from_dict(written(weather="fine"))
    assert facts == machine("a100")
    assert facts.to_dict() == machine("a100").to_dict()
    assert "unread" not in field_names()
    assert "unread" not in facts_schema()["properties"]


def test_every_report_says_so_once(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """doctor and check in the report, what prints no report on the side."""
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(written(packges={})))
    model, log = str(checkpoints / PLAIN), tmp_path / "log"
    log.write_text("nothing")
    for report in (
        qvl_preflight.doctor(facts=str(path)),
        qvl_preflight.check(model, facts=str(path)),
        qvl_preflight.fix_kwargs(model, facts=str(path)).remaining,
    ):
        assert sum("packges (packages?)" in note for note in report.notes) == 1
    for command in (["doctor", "--json"], ["check", model, "--json"], ["plan", model, "--json"], ["stack"], ["diagnose", str(log)]):
        main([*command, "--facts", str(path)])
        out, err = capsys.readouterr()
        assert (out + err).count("packges (packages?)") == 1, command
        assert "--json" not in command or json.loads(out)


def test_an_environment_that_nobody_looked_at_is_not_an_empty_one(checkpoints: Path) -> None:
    """The plan takes it for empty, as nearly all are, and says so."""
    known, unknown = (qvl_preflight.check(str(checkpoints / PLAIN), facts=machine("a100", env=env)) for env in ({}, None))
    assert [finding.code for finding in unknown.findings] == [finding.code for finding in known.findings]
    assert not any("environment variables" in note for note in known.notes)
    assert sum("environment variables are set is not known" in note for note in unknown.notes) == 1
