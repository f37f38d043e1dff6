"""Takes what record.py saw on a GPU machine into tests/recordings/, in the form that tests/test_recordings.py replays.

usage: python scripts/keep_gpu_recordings.py NAME RESULTS.jsonl HOST.json
  NAME     of the stack, h100-seed say
  RESULTS  lines as record.py writes them: case, outcome, stage, facts of the stack
  HOST     what the lines do not hold: driver, gpus, host, build, extensions (sections of facts/1)

What parts from the plan is kept as well, and listed in known.json. Runs that outlasted their limit, and full training steps of quantised weights in a bare loop, are left out: they say nothing about a load.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KEEP = Path(__file__).parents[1] / "tests" / "recordings"
STAGES = {"kwargs": "load", "lora_step": "train", "trainer_step": "train", "full_step": "train"}
# What record.py looked for: a name that is not in its lines was not installed.
LOOKED_FOR = [
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "optimum",
    "auto-gptq",
    "gptqmodel",
    "bitsandbytes",
    "autoawq",
    "flash-attn",
    "deepspeed",
    "torchao",
    "triton",
    "kernels",
]


def outcome(line: dict[str, Any]) -> dict[str, Any]:
    """One line as the tests read it."""
    out = {key: line[key] for key in ("id", "model", "kwargs", "purpose", "action", "outcome") if key in line}
    out["stage"] = STAGES.get(line["stage"], line["stage"])
    out |= {key: line[key] for key in ("env", "trainer", "devices", "grads", "grad_norm", "finite") if line.get(key) is not None}
    # record.py looks at q_proj alone: where the call keeps it out of the quantisation, it says nothing of the layers that are quantised.
    if line.get("linear") and "q_proj" not in (line["kwargs"].get("quantization_config") or {}).get("llm_int8_skip_modules", ()):
        out["linear"] = line["linear"].split(".")[0]
    if "error" in line:
        out["error"] = {"type": line["error"]["type"], "message": line["error"]["message"][:200]}
    return out


def facts(line: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """facts/1 of the stack."""
    seen = line["facts"]
    return {
        "schema": "qvl-preflight/facts/1",
        "python": {"version": seen["python"], "implementation": "CPython", "platform": "linux-x86_64"},
        "packages": {**dict.fromkeys(LOOKED_FOR, False), **seen["packages"]},
        "packages_complete": False,
        "torch": {"cuda_build": seen["torch_cuda_build"], "hip_build": False},
        "env": {"HF_HUB_OFFLINE": "1"},
        "launch": {"launcher": "python", "world_size": 1, "rank": 0, "local_rank": 0, "local_world_size": 1, "notebook": False, "deepspeed_zero": False, "fsdp": False},
        **host,
    }  # fmt: skip


def _bare_quantised_step(line: dict[str, Any]) -> bool:
    """A full step of quantised weights without a Trainer."""
    quantised = not line["model"].startswith("plain") or "quantization_config" in line["kwargs"]
    return line.get("action") == "full_step" and quantised


def main(name: str, results: str, host: str) -> None:
    """Add to NAME.jsonl what is not there yet; NAME.facts.json is written once, with the first results of a stack."""
    lines = [json.loads(line) for line in Path(results).read_text().splitlines()]
    kept = [line for line in lines if line["outcome"] in ("ok", "error") and not _bare_quantised_step(line)]
    first = next(line for line in kept if "facts" in line)
    described, results_file = KEEP / f"{name}.facts.json", KEEP / f"{name}.jsonl"
    if not described.is_file():
        described.write_text(json.dumps(facts(first, json.loads(Path(host).read_text())), indent=1) + "\n")
    before = results_file.read_text() if results_file.is_file() else ""
    known = {json.loads(line)["id"] for line in before.splitlines()}
    kept = [line for line in kept if line["id"] not in known]
    results_file.write_text(before + "".join(json.dumps(outcome(line)) + "\n" for line in kept))
    print(f"{name}: {len(kept)} of {len(lines)} lines kept")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
