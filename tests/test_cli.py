"""The command line: exit codes, one-line errors, JSON that follows the schema."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from qvl_preflight.cli import main
from qvl_preflight.rule import all_rules
from qvl_preflight.testing import machine

GPTQ = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"


@pytest.fixture
def facts(tmp_path: Path) -> str:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(machine().to_dict()))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        pytest.param((), 0, id="a warning passes"),
        pytest.param(("--fail-on", "warning"), 1, id="unless warnings fail"),
        pytest.param(("--set", "device_map=gpu"), 1, id="an error fails"),
        pytest.param(("--set", "device_map=auto", "--fail-on", "note"), 0, id="a clean call passes anything"),
        pytest.param(("--set", "device_map=gpu", "--ignore", "QVL401,QVL402"), 0, id="what is ignored does not fail"),
    ],
)
def test_exit_codes_of_check(
    capsys: pytest.CaptureFixture[str], checkpoints: Path, facts: str, extra: tuple[str, ...], code: int
) -> None:
    """0 nothing at or above --fail-on, 1 findings."""
    assert run(capsys, "check", str(checkpoints / GPTQ), "--facts", facts, *extra)[0] == code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("check", "/nowhere/model"), "no such folder", id="no such folder"),
        pytest.param(("check", "some/hub-id"), "hf download some/hub-id config.json", id="a hub id that is not cached"),
        pytest.param(("doctor", "--facts", "/nowhere.json"), "doctor --save", id="no such facts"),
        pytest.param(("explain", "QVL999"), "no rule is called", id="no such rule"),
        pytest.param(("check", ".", "--set", "device_map"), "expected NAME=VALUE", id="a malformed --set"),
        pytest.param(("check", ".", "--kwargs", "[1]"), "not readable as JSON", id="kwargs that are no file"),
        pytest.param(("doctor", "--select", "nonsense"), "no rule's code", id="a selector of nothing"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str) -> None:
    """Never a traceback for what a person got wrong."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_json_of_check_and_of_a_fix(capsys: pytest.CaptureFixture[str], checkpoints: Path, facts: str) -> None:
    """report/1, with the corrected kwargs beside it where a fix was asked for."""
    code, out, _ = run(capsys, "check", str(checkpoints / GPTQ), "--facts", facts, "--purpose", "qlora", "--fix", "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["verdict"]) == (0, "qvl-preflight/report/1", "degraded")
    assert data["fixed"]["kwargs"] == {
        "device_map": {"": 0},
        "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "backend": "auto_trainable"},
    }
    assert data["fixed"]["remaining"] == []
    assert data["fixed"]["changes"][0]["before"] == {"__missing__": True}


def test_arguments_from_files(capsys: pytest.CaptureFixture[str], checkpoints: Path, facts: str, tmp_path: Path) -> None:
    """--kwargs, --peft and --trainer read JSON; --set wins over --kwargs."""
    kwargs = tmp_path / "kwargs.json"
    kwargs.write_text('{"device_map": {"": 0}, "dtype": "bf16"}')
    model = str(checkpoints / GPTQ)
    code, out, _ = run(
        capsys,
        "check",
        model,
        "--facts",
        facts,
        "--kwargs",
        str(kwargs),
        "--set",
        "dtype=torch.float16",
        "--peft",
        '{"r": 4}',
        "--trainer",
        "{}",
        "--json",
    )
    data = json.loads(out)
    assert (data["purpose"], data["plan"]["dtype"], data["plan"]["devices"]) == ("lora", "float16", ["cuda:0"])
    assert [finding["code"] for finding in data["findings"]] == ["QVL801"]
    assert code == 1


def test_doctor_saves_facts_that_can_be_replayed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A bug report becomes a test fixture."""
    path = str(tmp_path / "saved.json")
    code, _, _ = run(capsys, "doctor", "--save", path, "--json")
    assert code == 0
    code, out, _ = run(capsys, "doctor", "--facts", path, "--json")
    assert json.loads(out)["facts"]["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert run(capsys, "doctor", "--save", str(tmp_path / "no" / "such"))[0] == 2


def test_doctor_with_a_model_checks_its_plain_call(capsys: pytest.CaptureFixture[str], checkpoints: Path, facts: str) -> None:
    """The shortest way to 'what will happen here?'."""
    code, out, _ = run(capsys, "doctor", "--facts", facts, "--model", str(checkpoints / GPTQ))
    assert code == 0
    assert "quantized-weights-on-the-cpu (QVL402)" in out


def test_explain_rules_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is what the rules and records say."""
    assert "# kernel-refuses-the-cpu (QVL306)" in run(capsys, "explain", "kernel-refuses-the-cpu")[1]
    assert len(run(capsys, "rules")[1].splitlines()) == len(all_rules())
    listed = json.loads(run(capsys, "rules", "--json")[1])
    assert {"code", "name", "topic", "severity", "summary", "fixable"} <= listed[0].keys()
    assert json.loads(run(capsys, "schema", "facts")[1])["title"] == "qvl-preflight/facts/1"
    assert json.loads(run(capsys, "schema", "report")[1])["title"] == "qvl-preflight/report/1"


@pytest.mark.parametrize("arguments", [(), ("check",), ("nonsense",), ("check", "M", "--purpose", "fun"), ("doctor", "--nonsense")])
def test_usage_errors_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """As any other mistake; where to read on stands in the line."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--help'" in err


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch, facts: str) -> None:
    """qvl-preflight doctor | head"""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert main(["doctor", "--facts", facts, "--json"]) == 0


def test_what_was_found_counts_though_the_reader_went_away(monkeypatch: pytest.MonkeyPatch, checkpoints: Path, facts: str) -> None:
    """A script that shows the first line only still learns by the exit code that the call fails."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["check", str(checkpoints / GPTQ), "--facts", facts, "--set", "device_map=gpu"]) == 1


def test_ctrl_c_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is the one that shells know for it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qvl_preflight.environment.examine", interrupted)
    assert run(capsys, "doctor") == (130, "", "")
