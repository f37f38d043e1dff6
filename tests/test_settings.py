"""[tool.qvl-preflight] of pyproject.toml, and QVL_PREFLIGHT=off."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import settings
from qvl_preflight.cli import main
from qvl_preflight.exceptions import InputError
from qvl_preflight.rule import all_rules, select_rules, selection
from qvl_preflight.settings import read_settings
from qvl_preflight.testing import machine

GPTQ = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
pytestmark = pytest.mark.skipif(settings._toml() is None, reason="no TOML reader here")


def project(folder: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project with these settings; work goes on in a folder of it."""
    path = folder / "pyproject.toml"
    path.write_text(table, encoding="utf-8")
    inner = folder / "src" / "deep"
    inner.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(inner)
    return str(path)


def on_the_cpu(checkpoints: Path, **more: Any) -> list[str]:
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=machine(), **more)
    return [finding.code for finding in report.findings]


def test_the_nearest_file_with_a_table_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path, '[tool.qvl-preflight]\nselect = ["QVL4"]\nfail-on = "warning"\nquiet = true\n', monkeypatch)
    (tmp_path / "src" / "pyproject.toml").write_text("[tool.other]\nselect = []\n")
    found = read_settings()
    assert (found.path, found.select, found.fail_on, found.quiet, found.ignore) == (path, ("QVL4",), "warning", True, ())


def test_no_file_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, '[project]\nname = "qvl-preflight"\n', monkeypatch)
    assert read_settings() == settings.Settings()


def test_rules_are_left_out_and_it_is_said(tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_the_cpu(checkpoints) == ["QVL402"]
    project(tmp_path, '[tool.qvl-preflight]\nignore = ["QVL402"]\n', monkeypatch)
    assert on_the_cpu(checkpoints) == []
    assert qvl_preflight.check(str(checkpoints / GPTQ), facts=machine()).left_out > 0


def test_code_wins_over_the_file(tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, '[tool.qvl-preflight]\nselect = ["QVL9"]\n', monkeypatch)
    assert on_the_cpu(checkpoints) == []
    assert on_the_cpu(checkpoints, select=["QVL402"]) == ["QVL402"]


def test_the_command_line_wins_over_the_file(
    tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(machine().to_dict()))
    project(tmp_path, '[tool.qvl-preflight]\nfail-on = "warning"\n', monkeypatch)
    command = ["check", str(checkpoints / GPTQ), "--facts", str(facts), "--json"]
    assert main(command) == 1
    assert main([*command, "--fail-on", "error"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[tool.qvl-preflight]\nfail_on = 'error'\n", "has no setting 'fail_on'; did you mean 'fail-on'?"),
        ("[tool.qvl-preflight]\nignroe = []\n", "did you mean 'ignore'?"),
        ("[tool.qvl-preflight]\nselect = 'QVL4'\n", "expected a list of codes"),
        ("[tool.qvl-preflight]\nfail-on = 'never'\n", "expected one of error, warning, note"),
        ("[tool.qvl-preflight]\nquiet = 1\n", "expected true or false"),
        ("[tool]\nqvl-preflight = 3\n", "expected a table"),
        ("[tool.qvl-preflight\n", "not readable as TOML"),
        ("[tool.qvl-preflight]\nignore = ['QVL4O2']\n", "'QVL4O2' is no rule's code"),
    ],
)  # fmt: skip
def test_slips_are_named_with_their_file(
    tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    path = project(tmp_path, table, monkeypatch)
    with pytest.raises(InputError) as caught:
        on_the_cpu(checkpoints)
    assert str(caught.value).startswith(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_python_without_toml_says_so(tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, '[tool.qvl-preflight]\nignore = ["QVL402"]\n', monkeypatch)
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=machine())
    assert [finding.code for finding in report.findings] == ["QVL402"]
    assert any("pip install tomli" in note for note in report.notes)


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no"])
def test_off_ends_everything(monkeypatch: pytest.MonkeyPatch, capsys: Any, value: str) -> None:
    """Even where the input could not be read."""
    monkeypatch.setenv("QVL_PREFLIGHT", value)
    report = qvl_preflight.check("no/such/model", trainer="nowhere.yaml", device_map="auto")
    assert (report.verdict, report.findings, report.ok) == ("incomplete", (), False)
    assert report.notes == (f"QVL_PREFLIGHT={value}: nothing was checked.",)
    assert repr(report) == f"<Report incomplete: QVL_PREFLIGHT={value}: nothing was checked>"
    assert report.text() == f"INCOMPLETE  QVL_PREFLIGHT={value}: nothing was checked\n"
    config = object()
    fixed = qvl_preflight.fix_kwargs("no/such/model", device_map=None, quantization_config=config)
    assert fixed == {"device_map": None, "quantization_config": config}
    assert fixed.changes == ()
    assert fixed.text() == f"{report.text()}\nNo argument was changed.\n"
    assert qvl_preflight.doctor().findings == ()
    capsys.readouterr()
    assert main(["check", "no/such/model"]) == 0
    assert capsys.readouterr().out == f"QVL_PREFLIGHT={value}: nothing was checked.\n"
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], printed["skipped"][0]["name"]) == ("incomplete", "every check")


@pytest.mark.parametrize(
    ("value", "said"), [("", False), ("on", False), ("1", False), ("fix", True), ("of", True), ("o" * 9999, True)]
)
def test_other_values_switch_nothing_off(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, checkpoints: Path, value: str, said: bool
) -> None:
    """One that is neither on nor off is a slip: said once, in one line, wherever something is checked."""
    monkeypatch.setenv("QVL_PREFLIGHT", value)
    assert not settings.is_off()
    line = f"QVL_PREFLIGHT={value[:40]} switches nothing off, so everything was checked; QVL_PREFLIGHT=off would."
    model = str(checkpoints / GPTQ)
    reports = [
        qvl_preflight.check(model, facts=machine()),
        qvl_preflight.doctor(facts=machine()),
        qvl_preflight.fix_kwargs(model, facts=machine()).report,
    ]
    assert [report.notes.count(line) for report in reports] == [int(said)] * 3
    capsys.readouterr()
    main(["check", model])
    out, err = capsys.readouterr()
    assert (" ".join(out.split()).count(line), err) == (int(said), "")
    main(["plan", model])
    assert capsys.readouterr().err == (f"qvl-preflight: {line}\n" if said else "")


def test_pages_can_be_read_while_it_is_off(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("QVL_PREFLIGHT", "off")
    assert main(["explain", "QVL402"]) == 0
    assert "quantized-weights-on-the-cpu" in capsys.readouterr().out


def test_a_file_that_changes_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook the same process goes on."""
    project(tmp_path, '[tool.qvl-preflight]\nignore = ["QVL402"]', monkeypatch)
    assert read_settings().ignore == ("QVL402",)
    project(tmp_path, '[tool.qvl-preflight]\nignore = ["QVL404"]', monkeypatch)
    assert read_settings().ignore == ("QVL404",)


def test_codes_are_taken_in_lower_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What explain takes, ignore and select take."""
    every = {entry.code for entry in all_rules()}
    assert {entry.code for entry in select_rules((), ("qvl402", "Invalid-Device-Map"))} == every - {"QVL402", "QVL401"}
    assert {entry.code for entry in select_rules(("qvl40",))} == {code for code in every if code.startswith("QVL40")}
    project(tmp_path, '[tool.qvl-preflight]\nignore = ["qvl402"]\n', monkeypatch)
    assert selection((), (), read_settings()) == ((), ("qvl402",))


def test_a_table_with_an_underscore_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read, and one line says how it is spelt; the right table beside it is read."""
    project(tmp_path, '[tool.qvl_preflight]\nignore = ["QVL402"]\n', monkeypatch)
    found = read_settings()
    assert found.ignore == ()
    assert [note for note in found.notes if "[tool.qvl_preflight] is not read; write [tool.qvl-preflight]" in note]
    project(tmp_path, '[tool.qvl_preflight]\n[tool.qvl-preflight]\nignore = ["QVL404"]\n', monkeypatch)
    assert read_settings().ignore == ("QVL404",)
    assert read_settings().notes
