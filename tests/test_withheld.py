"""A corrected call works, as far as is known, or the call comes back as it was: edits that only move a crash are withheld, and that is said."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import api, cli, engine
from qvl_preflight.render.terminal import print_fixed
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity, fixed_to_dict
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.schemas import report_schema
from qvl_preflight.testing import machine
from test_schemas import misfits

GPTQ, PLAIN, QWEN_VL = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen-VL-Chat-Int4"
SEED_CALL = {
    "device_map": None,
    "trust_remote_code": True,
    "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True},
}


def archetype(checkpoints: Path, stack: str = "seed", **more: Any) -> qvl_preflight.FixedKwargs:
    return qvl_preflight.fix_kwargs(str(checkpoints / QWEN_VL), facts=machine("a100", stack), purpose="qlora", **SEED_CALL, **more)


def test_what_is_withheld_is_said_with_what_has_to_be_done_first(checkpoints: Path) -> None:
    """The edits, what the call meets without and with them, the command."""
    case = api.situation(str(checkpoints / QWEN_VL), "qlora", None, None, None, machine("a100", "seed"), SEED_CALL)
    stream = io.StringIO()
    print_fixed(engine.fix(case, all_rules()), stream)
    said = stream.getvalue().partition("Not applied")
    assert (said[1] + said[2]).startswith(
        textwrap.dedent("""\
        Not applied: device_map={"": 0}
           As it is  the load will raise AssertionError, without a message, from: assert
                     self.qweight.device.type == "cuda" (QVL306)
           With it   training would still raise ValueError: Target module QuantLinear()
                     is not supported. Currently, only the following modules are
                     supported: `torch.nn.Linear`, `torch.nn.Embedding`,
                     `torch.nn.Conv2d`, `transformers.pytorch_utils.Conv1D`. (QVL803)
           First     pip install 'optimum>=1.14,<1.23'
           Then      ask for the corrected call again

        What would be left: this call will not do what was asked
        """)
    )
    assert "Corrected call" not in stream.getvalue()


def test_once_it_is_done_the_edit_is_made(checkpoints: Path) -> None:
    """What the report promises, by the command that it names."""
    done = archetype(checkpoints, "seed-optimum-1.16")
    assert (done["device_map"], done.withheld, done.remaining.verdict) == ({"": 0}, (), "ok")


def test_text_repr_and_json_name_them(checkpoints: Path) -> None:
    """One vocabulary in Python and in JSON; the kwargs are the person's own."""
    done = archetype(checkpoints)
    assert "changed: nothing, withheld: device_map (QVL306), left: QVL803)" in repr(done)
    assert 'Not applied: device_map={"": 0}' in done.text()
    case = api.situation(str(checkpoints / QWEN_VL), "qlora", None, None, None, machine("a100", "seed"), SEED_CALL)
    written = json.loads(json.dumps(fixed_to_dict(engine.fix(case, all_rules()))))
    assert (written["fixed"]["kwargs"], written["fixed"]["changes"]) == (SEED_CALL, [])
    assert [(change["path"], change["after"]) for change in written["fixed"]["withheld"]] == [("device_map", {"": 0})]
    assert misfits(written, report_schema(), report_schema()) == []


def test_the_objects_that_were_passed_come_back(checkpoints: Path) -> None:
    """A call that is handed back unchanged holds the very objects."""
    limits = {0: "70GiB"}
    done = archetype(checkpoints, max_memory=limits)
    assert done.withheld
    assert done["max_memory"] is limits


def test_a_missing_purpose_withholds_and_is_named(checkpoints: Path) -> None:
    """On the GPU the kernel would not train; another one is chosen where the purpose is named. Until then the call stays as it was, where it runs."""
    done = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine(), peft={"r": 8})
    assert (done, [change.path for change in done.withheld]) == ({}, ["device_map"])
    assert 'purpose="lora"' in " ".join(done.text().split())
    assert "training would raise" in " ".join(done.text().split()), "the call as written does not raise"
    named = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine(), peft={"r": 8}, purpose="lora")
    assert ({*named}, named.withheld) == ({"device_map", "quantization_config"}, ())


@pytest.mark.parametrize(
    ("trainer", "withheld"),
    [
        pytest.param({"fp16": True, "bf16": True}, True, id="TrainingArguments that refuse themselves"),
        pytest.param({}, False, id="a Trainer in which nothing is wrong"),
    ],
)
def test_the_step_is_part_of_the_promise_whoever_has_to_mend_it(checkpoints: Path, trainer: Any, withheld: bool) -> None:
    """TrainingArguments, a launch command or an install: the person would meet the crash all the same."""
    done = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine(), purpose="qlora", peft={"r": 8}, trainer=trainer)
    assert bool(done.withheld) is withheld
    assert ({*done} == set()) is withheld


@pytest.mark.parametrize(
    ("severity", "made"),
    [pytest.param(Severity.ERROR, False, id="an error"), pytest.param(Severity.WARNING, True, id="what may happen")],
)
def test_only_what_is_certain_withholds(checkpoints: Path, severity: Severity, made: bool) -> None:
    """A warning that stays is shown beside the corrected call; an error that rules which were left out would find is not known."""

    def movable(request: Any) -> Iterator[Finding]:
        if request.device_map is None:
            yield Finding("not placed", fix=Fix("place it", Applicability.SAFE, (Edit("device_map", None, "cpu"),)))

    def unmended(request: Any) -> Iterator[Finding]:
        yield Finding("it trains nothing", "train", severity=severity)

    rules = []
    for number, judge in enumerate((movable, unmended)):
        judge.__name__ = f"rule_{number}"
        rules.append(Rule(f"QVL99{number}", Severity.WARNING, "test", (), False, judge))
    case = api.situation(str(checkpoints / PLAIN), None, None, None, None, machine(), {})
    both, alone = engine.fix(case, rules), engine.fix(case, rules[:1])
    assert (bool(both.changes), bool(both.withheld)) == (made, not made)
    assert both.situation.request.device_map == ("cpu" if made else None)
    assert alone.changes


def test_the_exit_code_is_that_of_the_call_that_is_printed(checkpoints: Path, tmp_path: Path) -> None:
    """The archetype still fails; a call that runs as it was is no failure, though the edits that it did not get would have made it one."""
    seed, today = tmp_path / "seed.json", tmp_path / "today.json"
    seed.write_text(json.dumps(machine("a100", "seed").to_dict()))
    today.write_text(json.dumps(machine().to_dict()))
    call = [
        part
        for key, value in SEED_CALL.items()
        for part in ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]
    assert cli.main(["check", str(checkpoints / QWEN_VL), "--purpose", "qlora", *call, "--facts", str(seed), "--fix"]) == 1
    plain = ["check", str(checkpoints / GPTQ), "--peft", '{"r": 8}', "--facts", str(today)]
    assert (cli.main(plain), cli.main([*plain, "--fix"])) == (0, 0)
