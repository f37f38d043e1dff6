"""A bitsandbytes model that accelerate moves once more: what eight pairs of releases did, and what must stay quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import STACKS, machine

MODEL = "Qwen/Qwen2-7B-Instruct"
FOUR, EIGHT = ({"__class__": "BitsAndBytesConfig", f"load_in_{bits}bit": True} for bits in (4, 8))


def found(
    root: Path, transformers: str, accelerate: str, bitsandbytes: str, hardware: str = "a100", **call: Any
) -> list[tuple[str, Severity]]:
    packages = {
        **STACKS["middle-bnb"]["packages"],
        "transformers": transformers,
        "accelerate": accelerate,
        "bitsandbytes": bitsandbytes,
    }
    report = qvl_preflight.check(str(root / MODEL), facts=machine(hardware, "middle-bnb", packages=packages), **call)
    return [
        (each.raises.text[:40], each.severity)
        for each in report.findings
        if each.code == "QVL336" and each.raises and each.severity
    ]


@pytest.mark.parametrize(
    ("transformers", "accelerate", "four", "eight"),
    [
        ("4.37.2", "1.1.1", False, False), ("4.37.2", "1.2.1", True, False), ("4.40.2", "1.1.1", False, False), ("4.40.2", "1.2.1", True, True),
        ("4.44.2", "1.1.1", False, False), ("4.44.2", "1.2.1", True, True), ("4.45.2", "1.1.1", False, False), ("4.45.2", "1.2.1", False, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device_map", [{"": 0}, None, "auto"], ids=["one GPU", "none", "auto, on one GPU"])
def test_runs(checkpoints: Path, transformers: str, accelerate: str, four: bool, eight: bool, device_map: Any) -> None:
    """With bitsandbytes 0.50.2, which 0.44 stands for here: both move 4-bit weights."""
    for config, refused in ((FOUR, four), (EIGHT, eight)):
        call = {"device_map": device_map, "quantization_config": config}
        expected = [("`.to` is not supported for `4-bit` or `8", Severity.ERROR)] if refused else []
        assert found(checkpoints, transformers, accelerate, "0.44.1", **call) == expected


def test_an_old_bitsandbytes(checkpoints: Path) -> None:
    """Refused in other words from 4.45 on (read, not run: a warning). Before, accelerate spares 4-bit models of one in time."""
    call: dict[str, Any] = {"device_map": {"": 0}, "quantization_config": FOUR}
    assert found(checkpoints, "4.45.2", "1.2.1", "0.43.1", **call) == [
        ("Calling `to()` is not supported for `4-b", Severity.WARNING)
    ]
    assert found(checkpoints, "4.37.2", "1.2.1", "0.43.1", **call) == []
    assert found(checkpoints, "4.57.1", "1.10.1", "0.43.3", **call) == []
    assert found(checkpoints, "5.23.0", "1.15.0", "0.50.2", **call) == []


def test_a_model_over_several_devices_gets_hooks(checkpoints: Path) -> None:
    spread = {"model.embed_tokens": 0, "model.layers": 0, "model.norm": 1, "lm_head": 1}
    assert found(checkpoints, "4.44.2", "1.2.1", "0.44.1", "two-gpus", device_map=spread, quantization_config=FOUR) == []


def test_a_map_that_is_not_known_is_a_condition(tmp_path: Path) -> None:
    """A folder without weights: whether "auto" comes to one GPU depends on their size."""
    folder = tmp_path / MODEL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert [
        severity for _, severity in found(tmp_path, "4.44.2", "1.2.1", "0.44.1", device_map="auto", quantization_config=FOUR)
    ] == [Severity.WARNING]


def test_plain_models_are_moved_by_anybody(checkpoints: Path) -> None:
    assert found(checkpoints, "4.44.2", "1.2.1", "0.44.1", device_map={"": 0}) == []
