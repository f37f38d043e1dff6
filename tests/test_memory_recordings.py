"""The measured memory of real loads and steps: what an estimate will be held against must hold together itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qvl_preflight.memory.training import full
from qvl_preflight.memory.weights import Stored

RECORDED = Path(__file__).parent / "recordings" / "memory" / "h100.jsonl"
TRAINED = {"float32": 4, "bfloat16": 2}
LINES: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def test_plain_weights_take_what_their_parameters_take() -> None:
    """Nothing but the weights is left on the GPU after a load; torch rounds each tensor up to 512 bytes."""
    plain = [line for line in LINES if line["quant"] == "none"]
    assert len({line["model"] for line in plain}) >= 6
    for line in plain:
        weights = line["parameters"] * (4 if line.get("dtype") == "float32" else 2)
        assert abs((line["load_allocated"] - line["context_allocated"]) / weights - 1) < 0.01


def test_checkpointing_and_quantisation_save_memory() -> None:
    """The same step without either takes more; a figure that says otherwise was measured wrongly."""
    peaks = {
        (line["model"], line["quant"], line["dq"], line["gc"]): line["second_peak"] - line["context_allocated"]
        for line in LINES
        if (line["action"], line["batch"], line["seq"]) == ("lora", 1, 2048) and not {"attn", "optimizer", "prepare"} & set(line)
    }
    for model, quant, double, _ in [key for key in peaks if not key[3]]:
        if (model, quant, double, True) in peaks:
            assert peaks[model, quant, double, True] < peaks[model, quant, double, False]
    loads = {(line["model"], line["quant"]): line["load_allocated"] - line["context_allocated"] for line in LINES}
    for model in {model for model, quant in loads if quant == "nf4"}:
        assert loads[model, "nf4"] < loads[model, "none"]


def test_full_fine_tuning_never_takes_less_than_is_said() -> None:
    """Weights, gradients and the optimizer's states are a lower bound, whatever the optimizer; without activations worth the name it is a tight one."""
    lines = [line for line in LINES if line["action"] == "full"]
    assert {line.get("optimizer") for line in lines} >= {"adamw_bnb_8bit", "paged_adamw_8bit", "adafactor", "sgd", None}
    for line in lines:
        dtype, count = line.get("dtype", "bfloat16"), line["parameters"]
        stored = Stored("all", count, dtype, count * TRAINED[dtype])
        said = full((stored,), {"optim": line.get("optimizer")}).total_bytes
        took = line["second_peak"] - line["context_allocated"]
        assert said <= took
        if line.get("optimizer") in ("sgd", "adamw_bnb_8bit"):
            assert took < said * 1.05
