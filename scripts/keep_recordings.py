"""Copies what ``make reality`` saw into tests/recordings/: outcomes, each stack's facts, and the headers of the models.

usage: python scripts/keep_recordings.py [STACK …]      after 'make reality'; default: every stack
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "reality"), str(ROOT / "tests")]

import stacks  # noqa: E402
import test_reality as reality  # noqa: E402

from qvl_preflight.safetensors import read_header  # noqa: E402
from qvl_preflight.testing import write_safetensors  # noqa: E402

KEEP = ROOT / "tests" / "recordings"


def main() -> None:
    """Outcomes without what differs from run to run; models as headers with sparse bodies."""
    for stack in sys.argv[1:] or (*stacks.STEPS, *stacks.WITHOUT):
        saw = reality.scratch() / f"{stack}-{'missing' if stack in stacks.WITHOUT else 'grid'}.jsonl"
        outcomes = [json.loads(line) for line in saw.read_text().splitlines()]
        for outcome in outcomes:
            if "error" in outcome:
                outcome["error"] = {"type": outcome["error"]["type"], "message": outcome["error"]["message"][:200]}
        (KEEP / f"cpu-{stack}.jsonl").write_text("".join(json.dumps(outcome) + "\n" for outcome in outcomes))
        raw = reality.facts(stack).to_dict()
        (KEEP / f"cpu-{stack}.facts.json").write_text(json.dumps(raw, indent=1) + "\n")
    for model in sorted(reality.models().iterdir()):
        folder = KEEP / "models" / model.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text((model / "config.json").read_text())
        tensors = read_header(str(model / "model.safetensors")).tensors
        write_safetensors(str(folder / "model.safetensors"), {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors})


if __name__ == "__main__":
    main()
