"""How long it takes to read the headers of many shards, and what it keeps: seconds and MiB, next to reading the same bytes and parsing the same JSON.

usage: python benchmarks/headers.py [ROUNDS]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qvl_preflight.testing import write_checkpoint
from qvl_preflight.weight_files import Choice, read_files

CHOICE = Choice("model.safetensors.index.json", "safetensors")
SIZES = ((300, 30), (2000, 100))  # shards, tensors in each


def made(folder: Path, shards: int, each: int) -> str:
    """Headers alone: the bodies are holes."""
    parts = [
        {f"model.layers.{shard}.mlp.experts.{number}.up_proj.weight": ("BF16", (1024, 4096)) for number in range(each)}
        for shard in range(shards)
    ]
    write_checkpoint(str(folder), {}, list(parts))
    return str(folder)


def floor(folder: str) -> int:
    """What cannot be saved: each header is read, and parsed as JSON; the index as well."""
    found = 0
    for path in sorted(Path(folder).glob("*.safetensors")):
        with open(path, "rb") as file:
            found += len(json.loads(file.read(int.from_bytes(file.read(8), "little"))))
    json.loads((Path(folder) / CHOICE.name).read_text(encoding="utf-8"))
    return found


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The best of some rounds."""
    took = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


def kept(folder: str) -> int:
    """Bytes at the worst moment of reading all headers."""
    tracemalloc.start()
    read_files(folder, CHOICE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def main(rounds: int) -> None:
    """Each size."""
    for shards, each in SIZES:
        with tempfile.TemporaryDirectory() as root:
            folder = made(Path(root), shards, each)
            took, least = seconds(partial(read_files, folder, CHOICE), rounds), seconds(partial(floor, folder), rounds)
            print(
                f"{shards} shards, {shards * each:,} tensors: {1000 * took:.0f} ms ({took / least:.1f} × reading and parsing alone), {kept(folder) / 2**20:.0f} MiB"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
