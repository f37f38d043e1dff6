"""How long one check takes, warm, on named machines: median and worst, in milliseconds.

usage: python benchmarks/check.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import qvl_preflight
from qvl_preflight.testing import HARDWARE, STACKS, checkpoint, machine


def main(rounds: int) -> None:
    """Every hardware with every stack."""
    took = []
    with tempfile.TemporaryDirectory() as root:
        model = checkpoint("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", root, layers=28)
        for hardware in HARDWARE:
            for stack in STACKS:
                facts = machine(hardware, stack)
                for _ in range(rounds):
                    start = time.perf_counter()
                    qvl_preflight.check(model, facts=facts, purpose="qlora", device_map="auto")
                    took.append(1000 * (time.perf_counter() - start))
    print(f"{len(took)} checks of a checkpoint with 790 tensors: median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
