"""The plan as people read it: modules, then stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight import api
from qvl_preflight.cli import main
from qvl_preflight.outline import modules, stages, to_dict
from qvl_preflight.plan import Situation
from qvl_preflight.planner import make_plan
from qvl_preflight.render.outline import outline_text
from qvl_preflight.testing import checkpoint, machine
from qvl_preflight.unknown import Unknown

GPTQ = "TheBloke/Llama-2-7B-Chat-GPTQ"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of full depth, so that blocks are joined."""
    return checkpoint(GPTQ, tmp_path_factory.mktemp("outline"), layers=28)


def situation(model: str, hardware: str, stack: str, purpose: str = "inference", **kwargs: Any) -> Situation:
    return api.situation(model, purpose, None, None, None, machine(hardware, stack), kwargs)


def test_blocks_that_are_alike_are_one_line(model: str) -> None:
    """Split where the device changes; the kernel holds blocks alone; bytes are those of the files."""
    case = situation(model, "two-gpus", "legacy", device_map="auto")
    lines = modules(case, make_plan(case))
    assert not isinstance(lines, Unknown)
    blocks = [line for line in lines if line.name.startswith("model.layers.")]
    assert [line.device for line in blocks] == ["cuda:0", "cuda:1"]
    assert blocks[0].name.startswith("model.layers.0-")
    assert blocks[1].name.endswith("-27")
    assert {line.kernel for line in blocks} == {"exllama"}
    assert {line.kernel for line in lines if line not in blocks} == {None}
    weights = case.checkpoint.weights
    assert not isinstance(weights, Unknown)
    assert sum(line.stored_bytes for line in lines) == weights.total_bytes


def test_stages_say_where_the_call_stops(model: str) -> None:
    """What comes after is what would come once that is mended."""
    case = situation(model, "a100", "seed", "qlora", device_map={"": 0})
    text = outline_text(case, make_plan(case)).splitlines()
    assert next(line for line in text if "stops here" in line).startswith("adapters")
    assert "trainer       would pass" in text
    assert "forward       passes" in text


def test_a_step_without_gradients_is_said(model: str) -> None:
    """Nothing is raised there, and nothing is trained."""
    case = situation(model, "a100", "legacy", "qlora", device_map={"": 0})
    assert "step          runs, but the kernel passes no gradient" in outline_text(case, make_plan(case))


def test_inference_has_no_training_stages(model: str) -> None:
    """They are not part of the call."""
    case = situation(model, "a100", "today", device_map={"": 0})
    assert [passed.stage.reported for passed in stages(case, make_plan(case))][-1] == "forward"


def test_what_is_unknown_is_said(tmp_path: Path) -> None:
    """A folder with its config.json alone."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    case = situation(str(tmp_path), "a100", "today", device_map="auto")
    text = outline_text(case, make_plan(case))
    assert "modules: unknown, the folder holds no weights" in text
    assert "not known: " in text
    assert to_dict(case, make_plan(case))["modules"] is None


def test_a_reason_is_given_once(model: str) -> None:
    """Stages that only follow from others say so together, at the end."""
    case = api.situation(model, "qlora", None, None, None, {"packages": {"transformers": None}}, {"device_map": "auto"})
    text = " ".join(outline_text(case, make_plan(case)).split())
    assert text.count("the facts do not say anything about transformers") == 1
    assert "not worked out" not in text
    assert text.endswith("Where no reason is given, it depends on what else is not known.")


def test_command(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 where the call certainly stops; JSON on request."""
    saved = tmp_path / "facts.json"
    saved.write_text(json.dumps(machine("no-gpu", "today").to_dict()))
    assert main(["plan", model, "--set", "device_map=auto", "--facts", str(saved)]) == 1
    assert "stops here" in capsys.readouterr().out
    assert main(["plan", model, "--set", "device_map=cpu", "--facts", str(saved), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == "qvl-preflight/plan/1"
    assert printed["modules"][1]["name"] == "model.layers.0-27"
    assert [stage["stage"] for stage in printed["stages"]][:3] == ["packages", "arguments", "configuration"]
