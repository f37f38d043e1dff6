"""What the READMEs show is what happens."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.cli import main
from qvl_preflight.render.terminal import print_report
from qvl_preflight.rule import all_rules
from qvl_preflight.testing import machine

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
QWEN_VL = "Qwen/Qwen-VL-Chat-Int4"


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [code for info, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if info == language]


class GPTQConfig:
    """Stands where the example has transformers' own: an object with fields."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class AutoModelForCausalLM:
    """Remembers what it was called with."""

    called: tuple[str, dict[str, Any]]

    @classmethod
    def from_pretrained(cls, model: str, **kwargs: Any) -> None:
        cls.called = model, kwargs


@pytest.mark.parametrize("name", READMES)
def test_the_example_in_python_runs(name: str, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is executed as it stands, on this machine's own facts."""
    monkeypatch.chdir(checkpoints)
    (code,) = blocks(name, "python")
    names: dict[str, Any] = {"GPTQConfig": GPTQConfig, "AutoModelForCausalLM": AutoModelForCausalLM}
    exec(code, names)
    model, kwargs = AutoModelForCausalLM.called
    assert (model, type(kwargs["quantization_config"])) == (QWEN_VL, GPTQConfig)


@pytest.mark.parametrize("name", READMES)
def test_the_commands_run(
    name: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every qvl-preflight line of the READMEs: none fails to parse, none is an input error."""
    (tmp_path / "Qwen-VL-Chat-Int4").symlink_to(checkpoints / QWEN_VL)
    (tmp_path / "model").symlink_to(checkpoints / "Qwen/Qwen2-7B-Instruct")
    (tmp_path / "crash.log").write_text("ValueError: all is not well\n")
    monkeypatch.chdir(tmp_path)
    commands = [
        line.partition("  #")[0] for block in blocks(name, "sh") for line in block.splitlines() if line.startswith("qvl-preflight")
    ]
    assert len(commands) >= 7
    for command in commands:
        assert main(shlex.split(command)[1:]) in (0, 1), command
    capsys.readouterr()


@pytest.mark.parametrize("name", READMES)
def test_the_report_is_the_one_that_is_printed(name: str, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines of the sample, in order, are lines of the real report of the archetype; `…` ends a shortened one."""
    monkeypatch.chdir(checkpoints / "Qwen")
    config = {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True}
    report = qvl_preflight.check(
        "Qwen-VL-Chat-Int4",
        facts=machine("a100", "seed"),
        purpose="qlora",
        device_map=None,
        trust_remote_code=True,
        quantization_config=config,
    )
    stream = io.StringIO()
    print_report(report, stream)
    printed = iter(stream.getvalue().splitlines())
    sample = blocks(name, "")[0].splitlines()
    assert len(sample) > 15
    for line in sample:
        wanted = line.removesuffix("…").rstrip()
        assert any(real == line or (line.endswith("…") and real.startswith(wanted)) for real in printed), line


def test_the_lists_of_rules_are_complete() -> None:
    """Written by scripts/rule_docs.py; here it is only seen that each rule is in them, with its page."""
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        for rule in all_rules():
            assert f"[{rule.code}](docs/rules/{rule.code}.md)" in text
            assert (ROOT / "docs" / "rules" / f"{rule.code}.md").is_file()


def test_links_lead_somewhere() -> None:
    """Relative links in the prose."""
    for page in (*READMES, "docs/architecture.md", "docs/files.md", "docs/jobs.md", "docs/guard.md", "CHANGELOG.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_example_machines_are_the_named_ones() -> None:
    """The demo replays files; they must not drift from qvl_preflight.testing."""
    for stack in ("seed", "seed-optimum-1.16"):
        saved = qvl_preflight.Facts.load(str(ROOT / "examples" / "machines" / f"a100-{stack}.json"))
        assert saved == machine("a100", stack)


def test_the_demos_checkpoint_has_the_size_of_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """9,541,066,752 bytes on paper, in five shards; and next to nothing on disk."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import qwen_vl_chat_int4

    assert qwen_vl_chat_int4.write(str(tmp_path)) == 9_541_066_752
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) < 2_000_000
    assert len(list(tmp_path.glob("*.safetensors"))) == 5
