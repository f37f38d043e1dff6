"""Draws the picture of docs/memory.md: what Qwen2-7B takes in a LoRA step over two cards. ``--check``: only says whether it is as it should be."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import qvl_preflight
from qvl_preflight.testing import checkpoint, machine

PICTURE = Path(__file__).parents[1] / "docs" / "fit.svg"


def drawn() -> str:
    """The picture, from a checkpoint with true headers and empty bodies."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint("Qwen/Qwen2-7B-Instruct", folder, layers=28)
        os.chdir(Path(folder) / "Qwen")
        try:
            found = qvl_preflight.fit(
                "Qwen2-7B-Instruct",
                purpose="lora",
                gpu=("rtx4090", "t4"),
                device_map="auto",
                sequence_length=1024,
                facts=machine("a100"),
            )
            return found.svg()
        finally:
            os.chdir(here)


def main(arguments: list[str]) -> int:
    """Exit 1 where --check finds another picture."""
    picture = drawn()
    if "--check" not in arguments:
        PICTURE.write_text(picture, encoding="utf-8")
        return 0
    if PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture:
        return 0
    print(f"docs/{PICTURE.name} is not what fit draws now: run scripts/fit_picture.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
