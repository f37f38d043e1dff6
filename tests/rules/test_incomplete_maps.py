"""A map that cannot work is replaced where one device is meant; a split that a person made is left to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"


def corrected(checkpoints: Path, hardware: str, device_map: Any, stack: str = "today", **more: Any) -> Any:
    facts = more.pop("facts", None) or machine(hardware, stack)
    return qvl_preflight.fix_kwargs(str(checkpoints / PLAIN), facts=facts, device_map=device_map, **more)["device_map"]


@pytest.mark.parametrize(
    ("hardware", "stack", "given", "expected"),
    [
        pytest.param("a100", "today", {"model.layers.0": 0}, {"": 0}, id="the only GPU"),
        pytest.param("a100", "today", {"model.layers.0": "cuda"}, {"": 0}, id="by its bare name"),
        pytest.param("rank-1-of-2", "today", {"model.layers.0": 1}, {"": 1}, id="the GPU of this rank"),
        pytest.param("two-gpus", "today", {"model.layers.0": 1}, {"model.layers.0": 1}, id="another GPU than this process would take"),
        pytest.param("two-gpus", "today", {"model": 0, "model.norm": 1}, {"model": 0, "model.norm": 1}, id="a split"),
        pytest.param("a100", "legacy", {"model": 0}, {"": 0}, id="4.37, which refuses the hole itself"),
        pytest.param("a100", "legacy", {"model": "cpu"}, {"model": "cpu"}, id="the CPU beside a GPU: the rest may belong there"),
        pytest.param("no-gpu", "legacy", {"model": "cpu"}, "cpu", id="the CPU of a machine without a GPU"),
    ],
)  # fmt: skip
def test_a_map_with_a_hole(checkpoints: Path, hardware: str, stack: str, given: Any, expected: Any) -> None:
    """All goes to the one device that the map names, where that is this process's own; else the map stays."""
    assert corrected(checkpoints, hardware, given, stack) == expected


def test_a_gpu_without_room_gets_no_whole_model(checkpoints: Path) -> None:
    """What the map left out may have been left out for that."""
    gpus = machine("a100").to_dict()["gpus"]
    gpus[0]["free_bytes"] = 1_000_000_000
    assert corrected(checkpoints, "a100", {"model.layers.0": 0}, facts=machine(gpus=gpus)) == {"model.layers.0": 0}


@pytest.mark.parametrize(
    ("hardware", "purpose", "expected"),
    [
        pytest.param("a100", "inference", {"": 0}, id="to be run, on a GPU"),
        pytest.param("no-gpu", "inference", "cpu", id="to be run, without a GPU"),
        pytest.param("a100", None, "meta", id="no purpose is named: an empty model may be wanted"),
    ],
)
def test_a_model_without_values_is_filled_for_a_purpose_that_is_named(
    checkpoints: Path, hardware: str, purpose: str | None, expected: Any
) -> None:
    """An empty model runs nothing."""
    assert corrected(checkpoints, hardware, "meta", purpose=purpose) == expected
