"""The main job on an embedded example: QwenLM/Qwen-VL#289, seen before it happens, and corrected.

usage: python examples/demo.py [FOLDER]    FOLDER: a checkpoint of yours in place of the one that is written here
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import qwen_vl_chat_int4

HERE = Path(__file__).parent
CALL = [
    "--purpose",
    "qlora",
    "--set",
    "device_map=null",
    "--set",
    "trust_remote_code=true",
    "--set",
    "quantization_config=GPTQConfig(bits=4, disable_exllama=True)",
]


def show(title: str, *command: str) -> None:
    """Say what is done, do it, show what it says."""
    command = tuple(os.path.relpath(part) if part.startswith(str(HERE)) else part for part in command)
    print(
        f"\n{'─' * 78}\n{title}\n$ qvl-preflight {' '.join(part if ' ' not in part else repr(part) for part in command)}\n",
        flush=True,
    )
    subprocess.run([sys.executable, "-m", "qvl_preflight", *command], check=False)


def main() -> None:
    """Three steps: the call as the script makes it, the corrected one, this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) > 1 else str(Path(scratch) / "Qwen-VL-Chat-Int4")
        if len(sys.argv) <= 1:
            size = qwen_vl_chat_int4.write(folder)
            print(f"A checkpoint as on paper: {size:,} bytes of weights in {qwen_vl_chat_int4.SHARDS} shards (sparse files).")
        seed, mended = str(HERE / "machines" / "a100-seed.json"), str(HERE / "machines" / "a100-seed-optimum-1.16.json")
        show(
            "1. The fine-tuning script's own call, on one A100 with the releases of the time.",
            "check",
            folder,
            *CALL,
            "--facts",
            seed,
        )
        show(
            "2. The same machine once optimum is replaced, as the report says: the corrected call.",
            "check",
            folder,
            *CALL,
            "--facts",
            mended,
            "--fix",
        )
        show("3. This machine.", "doctor")


if __name__ == "__main__":
    main()
