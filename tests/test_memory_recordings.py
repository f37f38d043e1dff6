"""The measured memory of real loads and steps: what an estimate will be held against must hold together itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recordings" / "memory" / "h100.jsonl"
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
