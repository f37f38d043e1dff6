"""What ``qvl-preflight run`` adds to a Python that it starts and that never imports transformers: medians of paired runs.

usage: python benchmarks/run.py [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from qvl_preflight.guarding.active import Settings
from qvl_preflight.guarding.launch import environment

COMMAND = [sys.executable, "-c", "import json, argparse, subprocess, logging"]


def seconds(env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(COMMAND, check=True, env=env)
    return time.perf_counter() - start


def milliseconds(runs: int) -> float:
    """The median difference."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    guarded = environment(Settings("check", run="0"), plain)
    seconds(guarded)
    return 1000 * statistics.median(seconds(guarded) - seconds(plain) for _ in range(runs))


if __name__ == "__main__":
    print(f"{milliseconds(int(sys.argv[1]) if len(sys.argv) > 1 else 41):.2f} ms")
