"""How long it takes to start, against ``python -c pass``: medians of paired runs.

Both run from compiled files, as pip leaves an installed package.

usage: python benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "import qvl_preflight": ["-c", "import qvl_preflight"],
    "doctor --json": ["-m", "qvl_preflight", "doctor", "--json"],
    "doctor": ["-m", "qvl_preflight", "doctor"],
}


def seconds(arguments: list[str], compiled: str) -> float:
    """One run of this Python, its compiled files under ``compiled``."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = compiled
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=env)
    return time.perf_counter() - start


def ratios(runs: int) -> dict[str, tuple[float, float]]:
    """Command → median ratio to the empty program run beside it, median seconds."""
    out = {}
    with tempfile.TemporaryDirectory() as compiled:
        seconds(["-c", "pass"], compiled)
        for name, arguments in COMMANDS.items():
            seconds(arguments, compiled)  # compiles, and fills the caches of the file system
            pairs = [(seconds(["-c", "pass"], compiled), seconds(arguments, compiled)) for _ in range(runs)]
            out[name] = statistics.median(took / floor for floor, took in pairs), statistics.median(took for _, took in pairs)
    return out


if __name__ == "__main__":
    for name, (ratio, took) in ratios(int(sys.argv[1]) if len(sys.argv) > 1 else 21).items():
        print(f"{name:24} {ratio:5.1f} × python -c pass   {1000 * took:6.1f} ms")
