"""How far what was foretold of loads and steps was from what an H100 then showed: a line a group, as in docs/memory.md.

usage: python scripts/memory_errors.py [PREDICTED RECORDED]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "tests" / "recordings" / "memory"
KEYS = ("model", "quant", "action", "batch", "seq", "gc", "attn", "image", "backend", "dtype", "optimizer")
GROUPS = {
    "8 bits": ("int8",),
    "images": ("vl-", "llava"),
    "stored in 4 bits": ("gptq", "awq", "bnb4"),
    "experts": ("moe", "mixtral"),
    "phi3, gemma3": ("phi3", "gemma3"),
    "llama, qwen2": ("",),
}
WORKSPACE = 2**25  # that the case before left behind, for each thread


def case(line: dict[str, Any]) -> str:
    """What was asked of which model."""
    return json.dumps([line.get(key) for key in KEYS])


def off(line: dict[str, Any], said: dict[str, Any]) -> tuple[float, float]:
    """Of weights and peak. What ran before in the process left workspaces, which a line may count or not."""
    before, trains = line["context_allocated"], "second_peak" in line
    peak = max(line["step_peak"], line.get("second_peak", 0)) - before
    shared = min(before, WORKSPACE * (2 if trains else 1)) if before > 2**20 else 0
    return (
        said["weights_bytes"] / (line["load_allocated"] - before) - 1,
        min((said["peak_bytes"] / one - 1 for one in (peak, peak + shared)), key=abs),
    )


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(predicted: Path, recorded: Path) -> None:
    """Prints both figures for each group, and for all."""
    said = {case(line): line for line in read(predicted)}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in read(recorded):
        if line["ok"]:
            name = f"{line['model']} {line['quant']}"
            group = next(group for group, words in GROUPS.items() if any(word in name for word in words))
            error = off(line, said[case(line)])
            for title in (group, "all"):
                found[title].append(error)
    for title in (*GROUPS, "all"):
        weights, peaks = (sorted(abs(pair[which]) for pair in found[title]) for which in (0, 1))
        print(
            f"{title:18} {len(peaks):4}  peak {statistics.median(peaks):6.2%} {peaks[-1]:6.2%}  weights {statistics.median(weights):6.2%} {weights[-1]:6.2%}"
        )


if __name__ == "__main__":
    main(
        *(
            map(Path, sys.argv[1:3])
            if len(sys.argv) > 2
            else (FOLDER / "predicted-2026-11-24.jsonl", FOLDER / "h100-2026-11-24.jsonl")
        )
    )
