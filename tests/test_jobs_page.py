"""docs/jobs.md: the files that it shows are written, and each command finds what its comment says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight import settings
from qvl_preflight.cli import main
from qvl_preflight.testing import machine

PAGE = (Path(__file__).parents[1] / "docs" / "jobs.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```(?:json|yaml) (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    tuple(part.strip() for part in re.split(r"\s+# ", line))
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[expected for _, expected in COMMANDS])
def test_commands_find_what_the_page_says(
    command: str,
    expected: str,
    checkpoints: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("yaml")
    for name, content in FILES:
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "model").symlink_to(checkpoints / "Qwen/Qwen2-7B-Instruct")
    (tmp_path / "facts.json").write_text(json.dumps(machine("two-gpus", "today-bnb-deepspeed").to_dict()))
    monkeypatch.chdir(tmp_path)
    main([*shlex.split(command)[1:], "--facts", "facts.json", "--json"])
    findings: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["code"] for finding in findings][:1] == ([] if expected == "nothing" else [expected])


def test_there_are_commands_and_files() -> None:
    assert len(COMMANDS) >= 5
    assert len(FILES) >= 4


@pytest.mark.skipif(settings._toml() is None, reason="no TOML reader here")
def test_the_settings_are_the_ones_that_are_read(tmp_path: Path) -> None:
    (table,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    found = settings.read_settings(str(tmp_path))
    assert (found.select, found.ignore, found.fail_on) == (("QVL3", "QVL7"), ("QVL308",), "warning")
