"""qvl-preflight fit: the verdict, what would fit, and what is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_steps import decoder
from qvl_preflight.cli import main
from qvl_preflight.memory.asked import read_asked
from qvl_preflight.memory.fitting import Call, Room, changes, longest, verdict
from qvl_preflight.testing import checkpoints, machine
from qvl_preflight.unknown import Unknown

GIB = 2**30


def call(method: str, batch: int = 4, length: int = 2048) -> Call:
    asked = read_asked(None, {"method": method, "batch_size": batch, "sequence_length": length, "amp": "bf16"})
    assert asked is not None
    return Call(decoder(max_position_embeddings=8192), "bfloat16", None, "sdpa", asked, (9, 0))


def needs(one: Call) -> int:
    total = one.estimate().total_bytes
    assert not isinstance(total, Unknown)
    return total


@pytest.mark.parametrize("free", [3 * GIB, 6 * GIB, 12 * GIB, 16 * GIB])
def test_what_is_offered_fits(free: int) -> None:
    """Each offer, as the call that it stands for, and it says rightly what it needs."""
    for method in ("lora", "full"):
        wanted = call(method)
        assert verdict(wanted.estimate(), Room("gpu", free, measured=True)) == "too large"
        for offer in changes(wanted, free):
            assert offer.needs == needs(offer.call) <= free
            assert offer.saves == needs(wanted) - offer.needs


def test_checkpointing_is_offered_before_shorter_sequences() -> None:
    """What leaves the result as it is comes first; what is in use already is not offered."""
    offers = [offer.text for offer in changes(call("lora"), 8 * GIB)]
    assert offers[0] == "gradient checkpointing"
    wanted = call("lora")
    wanted = replace(wanted, asked=replace(wanted.asked, checkpointing=True))
    assert "gradient checkpointing" not in " ".join(offer.text for offer in changes(wanted, 4 * GIB))


def test_the_longest_sequence_fits_and_the_next_does_not() -> None:
    wanted = call("lora", batch=1)
    most = longest(wanted, 8 * GIB)
    assert most is not None
    assert needs(replace(wanted, asked=replace(wanted.asked, length=most))) <= 8 * GIB
    assert needs(replace(wanted, asked=replace(wanted.asked, length=most + 64))) > 8 * GIB
    assert longest(wanted, 1000 * GIB) == 8192  # the model has no more positions
    assert longest(wanted, GIB) is None


def test_a_step_that_is_not_known_is_not_called_fitting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights alone decide where they are too large; else nobody knows."""
    folder = checkpoints.checkpoint("Qwen/Qwen-VL-Chat-Int4", tmp_path)
    assert main(["fit", folder, "--gpu", "80GiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [gpu["verdict"] for gpu in found["gpus"]] == ["unknown"]
    assert found["estimate"]["peak_bytes"] is None
    assert main(["fit", folder, "--gpu", "1GiB"]) == 1
    assert "does not fit" in capsys.readouterr().out


def test_the_gpus_of_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that the process sees, against what it has free."""
    folder = checkpoints.checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)
    (tmp_path / "facts.json").write_text(json.dumps(machine("two-gpus").to_dict()))
    main(["fit", folder, "--facts", str(tmp_path / "facts.json"), "--json"])
    assert [gpu["name"].split()[0] for gpu in json.loads(capsys.readouterr().out)["gpus"]] == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize("size", ["none", "0GiB", "-3GiB", "1e9GiB", "99999999GiB", ""])
def test_sizes_that_are_none(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoints.checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)
    assert main(["fit", folder, f"--gpu={size}"]) == 2
    assert "expected the memory of a GPU" in capsys.readouterr().err
