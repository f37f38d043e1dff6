"""qvl-preflight fit, as it is called: the verdict, the exit code, what is not known, and what is no call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.cli import main
from qvl_preflight.schemas import fit_schema
from qvl_preflight.testing import machine
from test_schemas import misfits

MODEL = "Qwen/Qwen2-7B-Instruct"  # two layers: 2.9 GiB in half precision


@pytest.fixture
def folder(checkpoints: Path) -> str:
    return str(checkpoints / MODEL)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["fit", *arguments])
    return code, *capsys.readouterr()


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The answer in JSON, which fits its schema."""
    code, out, _ = run(capsys, *arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    assert misfits(found, fit_schema(), fit_schema()) == []
    assert code == (1 if found["verdict"] in ("too large", "spills") else 0)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--gpu", "24GiB"],
        ["--gpu", "2GiB"],
        ["--gpu", "2x2GiB", "--set", "device_map=auto"],
        ["--gpu", "3GiB", "--set", "device_map=auto", "--set", 'max_memory={"0": "1GiB", "cpu": "100GiB"}'],
        ["--gpu", "4xrtx4090", "--purpose", "full", "--zero-stage", "3"],
        ["--gpu", "rtx4090", "--purpose", "full", "--zero-stage", "2", "--world-size", "16", "--offload", "optimizer"],
        ["--gpu", "2xt4", "--purpose", "lora", "--fsdp", "--ram", "8GiB"],
        ["--gpu", "24GiB", "--images", "2", "--image-size", "448x448"],
        ["--purpose", "qlora", "--gpu", "a100-80gb:2", "--world-size", "2"],
        [],
    ],
    ids=" ".join,
)
def test_answers(capsys: pytest.CaptureFixture[str], folder: str, arguments: list[str]) -> None:
    """As JSON and as text, without a figure that is none."""
    found = asked(capsys, folder, *arguments)
    out = run(capsys, folder, *arguments)[1]
    assert found["call"] in out
    assert "None" not in out
    assert "Unknown" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "24"], "did you mean 24GiB?"),
        (["--gpu", "0GiB"], "no size that memory can have"),
        (["--gpu", "rtx4009"], "did you mean rtx4090?"),
        (["--gpu", "9999x24GiB"], "expected 1 to 1024"),
        (["--seq-len", "-1"], "expected a whole number from 1 on"),
        (["--seq-len", "0"], "sequence_length is 0"),
        (["--seq-len", "2k"], "expected a whole number from 1 on"),
        (["--batch-size", "1.5"], "expected a whole number from 1 on"),
        (["--image-size", "448"], "such as 448x448"),
        (["--images", "-1"], "expected a whole number"),
        (["--ram", "64"], "did you mean 64GiB?"),
        (["--world-size", "0"], "world size 0"),
        (["--zero-stage", "4"], "choose from"),
        (["--zero-stage", "2", "--fsdp", "--gpu", "24GiB"], "in one way"),
        (["--offload", "optimizer"], "--offload goes with"),
        (["--purpose", "quantize"], "choose from"),
        (["--purpose", "full", "--gpu", "2xt4", "--world-size", "2", "--set", "device_map=auto"], "leave it out"),
        (["--trainer", "/nowhere.json"], "nowhere.json"),
        (["--set", "device_map"], "expected NAME=VALUE"),
    ],
)
def test_what_is_no_question(capsys: pytest.CaptureFixture[str], folder: str, arguments: list[str], said: str) -> None:
    code, out, err = run(capsys, folder, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_shared_model_without_gpus_asks_for_the_ranks(capsys: pytest.CaptureFixture[str], folder: str, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(machine("no-gpu").to_dict()))
    facts = ["--facts", str(tmp_path / "facts.json")]
    assert "--world-size" in run(capsys, folder, "--purpose", "full", "--zero-stage", "3", *facts)[2]
    found = asked(capsys, folder, "--purpose", "full", "--zero-stage", "3", "--world-size", "4", *facts)
    assert (found["verdict"], found["ranks"]["count"], found["gpus"]) == ("unknown", 4, [])


def test_a_step_that_is_not_known_is_not_called_fitting(capsys: pytest.CaptureFixture[str], checkpoints: Path) -> None:
    """What it takes at least decides where that is too large, what it takes at most where that has room; in between nobody knows."""
    other = str(checkpoints / "Qwen/Qwen-VL-Chat-Int4")
    found = asked(capsys, other, "--gpu", "80GiB")
    assert [gpu["verdict"] for gpu in found["gpus"]] == ["fits"]
    assert found["estimate"]["peak_bytes"] is None
    least, most = found["estimate"]["peak_range"]
    between = f"{((least + most) / 2 + found['estimate']['context_bytes']) / 2**30:.3f}GiB"
    assert [gpu["verdict"] for gpu in asked(capsys, other, "--gpu", between)["gpus"]] == ["unknown"]
    assert "needs between" in run(capsys, other, "--gpu", "80GiB")[1]
    code, out, _ = run(capsys, other, "--gpu", "1GiB")
    assert (code, "does not fit" in out) == (1, True)


def test_the_gpus_of_a_machine(capsys: pytest.CaptureFixture[str], folder: str, tmp_path: Path) -> None:
    """Each that the process sees, against what it has free, not what it has."""
    (tmp_path / "facts.json").write_text(json.dumps(machine("crowded").to_dict()))
    found = asked(capsys, folder, "--facts", str(tmp_path / "facts.json"))
    assert [(gpu["device"], gpu["free_bytes"], gpu["verdict"]) for gpu in found["gpus"]] == [("cuda:0", 5 * 2**29, "too large")]
    assert found["gpus"][0]["total_bytes"] > found["gpus"][0]["free_bytes"]


def test_more_tokens_than_positions(capsys: pytest.CaptureFixture[str], checkpoints: Path, tmp_path: Path) -> None:
    """The length that fits ends where the model does, and it is said that more was asked for."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (checkpoints / MODEL).iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "config.json").unlink()
    config = json.loads((checkpoints / MODEL / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 128}))
    code, out, _ = run(capsys, str(folder), "--gpu", "80GiB", "--purpose", "lora")
    assert code == 0
    assert "longest sequence that fits: 128 tokens, which is all that the model has positions for" in out
    assert "2,048 tokens are asked for, and the model is made for 128" in out
    assert "note" not in run(capsys, str(folder), "--gpu", "80GiB", "--purpose", "lora", "--seq-len", "128")[1]


def test_a_job_says_how_it_is_shared(capsys: pytest.CaptureFixture[str], folder: str, tmp_path: Path) -> None:
    """DeepSpeed's, accelerate's and TrainingArguments' settings are read as check reads them; what the command line says wins."""
    (tmp_path / "ds.json").write_text(
        json.dumps({"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": 4})
    )
    (tmp_path / "accelerate.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: DEEPSPEED\nnum_processes: 8\nnum_machines: 1\nmixed_precision: bf16\n"
        "deepspeed_config:\n  zero_stage: 2\n  offload_optimizer_device: cpu\n"
    )
    (tmp_path / "arguments.json").write_text(
        json.dumps(
            {
                "output_dir": "x",
                "per_device_train_batch_size": 2,
                "gradient_checkpointing": True,
                "optim": "adafactor",
                "bf16": True,
            }
        )
    )
    found = asked(capsys, folder, "--trainer", str(tmp_path / "ds.json"), "--gpu", "2xh100")
    assert (found["ranks"], found["call"].split(",")[1]) == ({"count": 2, "on_host": 2, "shared_by": "ZeRO-3"}, " 4 × 2")
    found = asked(capsys, folder, "--trainer", str(tmp_path / "accelerate.yaml"), "--gpu", "8xh100")
    assert found["ranks"] == {"count": 8, "on_host": 8, "shared_by": "ZeRO-2"}
    assert "states in RAM" in found["call"]
    assert found["estimate"]["optimizer_bytes"] == 0
    found = asked(capsys, folder, "--trainer", str(tmp_path / "arguments.json"), "--gpu", "h100", "--batch-size", "1")
    assert "full fine-tuning, 1 × 2,048 tokens, bfloat16 weights, gradient checkpointing, adafactor" in found["call"]


def test_python_says_what_the_command_says(capsys: pytest.CaptureFixture[str], folder: str) -> None:
    found = qvl_preflight.fit(folder, purpose="lora", gpu="2x24GiB", device_map="auto")
    said = asked(capsys, folder, "--purpose", "lora", "--gpu", "2x24GiB", "--set", "device_map=auto")
    assert found.to_dict() == said
    assert (found.verdict, found.ok) == ("fits", True)
    assert repr(found).endswith("Qwen2-7B-Instruct', fits)")
    with pytest.raises(qvl_preflight.InputError, match="purpose"):
        qvl_preflight.fit(folder, purpose="quantize")
