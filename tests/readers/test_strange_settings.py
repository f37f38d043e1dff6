"""Settings that nobody has: refused where none is known, named where some are. What a later release or a subclass adds is never refused."""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.cli import main
from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.adapter import read_peft
from qvl_preflight.readers.names import names
from qvl_preflight.readers.training import read_trainer
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"


@dataclass
class SFTConfig:
    """As trl's: settings of its own, and of releases that nobody has read yet."""

    output_dir: str = "out"
    bf16: bool = True
    packing: bool = True
    a_setting_of_2030: int = 1


@dataclass(slots=True)
class Slim:
    """Holds its settings without a __dict__."""

    fp16: bool = True
    my_own: str = ""


class Nothing:
    """Holds nothing."""


class FakeTrainer:
    """As transformers' Trainer."""

    def __init__(self) -> None:
        self.args, self.model, self.label_names = SFTConfig(), None, ["labels"]


STRANGERS = [
    pytest.param(5, "int", id="a number"), pytest.param(object(), "object", id="an object"), pytest.param(Nothing(), "Nothing", id="an object that holds nothing"),
    pytest.param(SFTConfig, "class SFTConfig", id="the class itself"), pytest.param(len, "builtin", id="a function"), pytest.param(types.SimpleNamespace(hello=1), "SimpleNamespace", id="other attributes"),
    pytest.param([{"bf16": True}], "list", id="a list"), pytest.param({"hello": 1}, "hello", id="other names"), pytest.param(json, "module", id="a module"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "seen"), STRANGERS)
def test_what_holds_no_setting_is_no_trainer(given: Any, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as refused:
        qvl_preflight.check(PLAIN, facts=machine("a100"), trainer=given)
    assert "expected" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("given", "seen"), STRANGERS)
def test_what_holds_no_setting_is_no_adapter(given: Any, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as refused:
        qvl_preflight.check(PLAIN, facts=machine("a100"), peft=given)
    assert "expected" in str(refused.value)


def test_a_trainer_in_place_of_its_arguments() -> None:
    with pytest.raises(InputError, match=r"pass \.args"):
        read_trainer(FakeTrainer())


@pytest.mark.parametrize("given", [SFTConfig(), Slim(), types.SimpleNamespace(fp16=True, hello=1)])
def test_a_subclass_with_settings_of_its_own_is_taken_in_silence(given: Any) -> None:
    """What it adds is its own matter."""
    job = read_trainer(given)
    assert job.trainer is not None
    assert job.trainer.get("bf16") or job.trainer.get("fp16")
    assert job.notes == ()


def test_a_setting_of_a_later_release_in_a_mapping_is_said_and_not_refused() -> None:
    job = read_trainer({"bf16": True, "a_setting_of_2030": 1})
    assert job.trainer == {"bf16": True, "a_setting_of_2030": 1}
    assert job.notes == ("trainer: not read, since TrainingArguments has no such settings: a_setting_of_2030.",)


def test_a_slip_is_named_with_what_was_meant(checkpoints: Path) -> None:
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("a100"), trainer={"gradient_chekpointing": True, "bf16": True}
    )
    assert "gradient_chekpointing (gradient_checkpointing?)" in report.notes[0]


def test_many_strange_names_are_one_short_note() -> None:
    (note,) = read_trainer({"bf16": True, **{f"x{number}" * 30: 1 for number in range(40)}}).notes
    assert note.endswith("and 34 more.")
    assert len(note) < 600


@pytest.mark.parametrize("given", [{}, {"bf16": True}, {"fp16": False, "output_dir": "x"}, {"merge_lora": True}])
def test_settings_that_are_known_say_nothing(given: dict[str, Any]) -> None:
    assert read_trainer(given).notes == ()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"hello": 1}, "none of its names is a setting that is known (hello)"),
        ({"zero_optimisation": {"stage": 3}}, "zero_optimisation (zero_optimization?)"),
        ({"Gradient-Checkpointing": True}, "Gradient-Checkpointing (gradient_checkpointing?)"),
    ],
)
def test_a_file_of_anything(tmp_path: Path, checkpoints: Path, capsys: pytest.CaptureFixture[str], content: Any, line: str) -> None:
    """The command says in one line what was seen and what a trainer's file is."""
    path = tmp_path / "any.json"
    path.write_text(json.dumps(content))
    assert main(["check", str(checkpoints / PLAIN), "--trainer", str(path)]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert "DeepSpeed" in err
    assert err.count("\n") == 1


def test_deepspeeds_settings_are_known_wherever_they_come_from(tmp_path: Path) -> None:
    """In a file or as a mapping; also where only precisions stand in it."""
    path = tmp_path / "ds.json"
    for content in ({"zero_optimization": {"stage": 2}}, {"fp16": {"enabled": True}, "steps_per_print": 1}):
        path.write_text(json.dumps(content))
        assert read_trainer(str(path)).trainer == read_trainer(content).trainer == {"deepspeed": content}
    assert "zero_optimisation (zero_optimization?)" in read_trainer({"bf16": {"enabled": True}, "zero_optimisation": {}}).notes[0]


def test_accelerates_settings(tmp_path: Path) -> None:
    note = read_trainer({"distributed_type": "NO", "mixed_precison": "bf16"}).notes[0]
    assert note == "trainer: not read, since accelerate has no such settings: mixed_precison (mixed_precision?)."


def test_adapters(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alfa": 16}))
    found, notes = read_peft(str(tmp_path))
    assert found == {"r": 8, "lora_alfa": 16}
    assert "lora_alfa (lora_alpha?)" in notes[0]
    assert read_peft({}) == ({}, ())
    assert read_peft(types.SimpleNamespace(r=8, my_own=1)) == ({"r": 8, "my_own": 1}, ())


def test_a_llama_factory_job(tmp_path: Path, checkpoints: Path) -> None:
    """Its own settings and those of TrainingArguments are known."""
    path = tmp_path / "job.json"
    job = {
        "model_name_or_path": str(checkpoints / PLAIN),
        "stage": "sft",
        "finetuning_type": "lora",
        "lora_target": "all",
        "bf16": True,
        "template": "qwen",
    }
    path.write_text(json.dumps({**job, "use_swanlab": False, "cutof_len": 10}))
    (note,) = (note for note in qvl_preflight.check(str(path), facts=machine("a100")).notes if "not read" in note)
    assert note.endswith("LLaMA-Factory has no such settings: cutof_len (cutoff_len?).")


def test_the_names_of_one_program_are_not_taken_for_anothers() -> None:
    """An object is told by a single name of its settings."""
    assert not names("TrainingArguments") & names("peft")
    assert {"output_dir", "bf16", "no_cuda", "use_cpu", "evaluation_strategy", "eval_strategy"} <= names("TrainingArguments")
    assert {"r", "target_modules", "peft_type"} <= names("peft")


def test_the_plan_says_it_as_well(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the side, so that its JSON stays one."""
    main(["plan", str(checkpoints / PLAIN), "--trainer", '{"bf16": false, "packing": 1}', "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err == "qvl-preflight: trainer: not read, since TrainingArguments has no such settings: packing.\n"


def test_deepspeeds_settings_inside_those_of_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimisation": {"stage": 3}}))
    for given in ({"zero_optimisation": {"stage": 3}}, str(path)):
        with pytest.raises(InputError, match=r"zero_optimisation \(zero_optimization\?\)"):
            read_trainer({"bf16": True, "deepspeed": given})
    assert read_trainer({"deepspeed": {}}).trainer == {"deepspeed": {}}


@pytest.mark.parametrize("option", ["--trainer", "--peft"])
def test_no_name_at_all(checkpoints: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    """An empty variable of a shell."""
    assert main(["check", str(checkpoints / PLAIN), option, ""]) == 2
    assert capsys.readouterr().err.startswith('qvl-preflight: "": No such file or directory; expected ')
