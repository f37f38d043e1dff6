"""Real stacks, each in an environment of its own outside the checkout, built once and kept.

    python tests/reality/stacks.py            build all
    python tests/reality/stacks.py legacy     build one

Where: $QVL_PREFLIGHT_STACKS, else $XDG_CACHE_HOME/qvl-preflight/stacks, else ~/.cache/qvl-preflight/stacks.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = "python3.11"  # auto-gptq's wheels end there, transformers 5.23 begins there

# pip's arguments, step by step. torch 2.13.0 may come as a build for the CPU, where the machine offers one: both are worth testing.
STEPS: dict[str, list[list[str]]] = {
    "legacy": [
        ["torch==2.13.0", "transformers==4.37.2", "accelerate==0.26.1", "optimum==1.16.2", "peft==0.8.2", "numpy<2",
         "datasets<2.17", "pyarrow<15", "gekko", "rouge", "sentencepiece", "pydantic==1.10.26"],
        ["--no-deps", "auto-gptq==0.7.1"],
    ],
    "modern": [
        ["torch==2.14.1", "transformers==5.23.0", "accelerate==1.15.0", "peft==0.21.2", "optimum==2.3.0", "bitsandbytes==0.50.2", "setuptools", "wheel"],
        ["--no-build-isolation", "gptqmodel==7.7.0"],
    ],
    "v4": [
        ["torch==2.13.0", "transformers==4.57.1", "accelerate==1.11.0", "peft==0.18.0", "optimum==2.0.0", "bitsandbytes==0.48.1", "setuptools<81", "wheel"],
        ["--no-build-isolation", "gptqmodel==4.2.5"],
    ],
}  # fmt: skip
# What some tests need beside a stack, in a folder of its own: the stack stays as it is.
BESIDE = {
    "trl-legacy": ["--no-deps", "trl==0.7.11", "tyro==0.8.14", "shtab==1.7.1", "docstring-parser==0.16", "rich==13.9.4", "markdown-it-py==3.0.0", "mdurl==0.1.2", "pygments"],
    "kernel": ["ipykernel==7.4.0"],
    "nbclient": ["nbclient==0.11.0"],
    "trl-modern": ["--no-deps", "trl==1.16.0"],
}  # fmt: skip
# The same stacks with distributions hidden: what a person meets who forgot one.
WITHOUT = {
    "legacy-without-optimum": ("legacy", ("optimum",)),
    "legacy-without-auto-gptq": ("legacy", ("auto_gptq", "auto-gptq", "exllama", "autogptq")),
    "legacy-without-accelerate": ("legacy", ("accelerate",)),
    "modern-without-gptqmodel": ("modern", ("gptqmodel",)),
    "modern-without-optimum": ("modern", ("optimum",)),
    "modern-without-accelerate": ("modern", ("accelerate",)),
    "modern-without-bitsandbytes": ("modern", ("bitsandbytes",)),
}


def home() -> Path:
    """The folder that holds the environments."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("QVL_PREFLIGHT_STACKS") or cache / "qvl-preflight" / "stacks")


def build(name: str) -> Path:
    """The environment of a stack; built where it is not there or was made from other requirements."""
    folder, stamp = home() / name, home() / f"{name}.stamp"
    wanted = hashlib.sha256(json.dumps([PYTHON, STEPS[name]]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    home().mkdir(parents=True, exist_ok=True)
    subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True)
    for step in STEPS[name]:
        subprocess.run(
            [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *step], check=True
        )
    stamp.write_text(wanted)
    return folder


def beside(name: str) -> Path:
    """A folder for PYTHONPATH with what stands in BESIDE."""
    folder, stamp = home() / "beside" / name, home() / "beside" / f"{name}.stamp"
    wanted = hashlib.sha256(json.dumps(BESIDE[name]).encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(
            [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder), *BESIDE[name]],
            check=True,
        )
        stamp.write_text(wanted)
    return folder


def command(name: str, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """How to start Python in a stack, and the environment variables that it needs."""
    base, hidden = WITHOUT.get(name, (name, ()))
    folder = build(base)
    source = str(Path(__file__).parents[2] / "src")
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHDYNAMO_DISABLE": "1",  # gptqmodel's kernels compile themselves: ten seconds a case, and the same outcome
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    python = str(folder / "bin" / "python")
    if not hidden:
        return [python], {**env, "PYTHONPATH": source}
    packages = next((folder / "lib").glob("python3*/site-packages"))
    farm = scratch / name
    farm.mkdir(parents=True, exist_ok=True)
    for entry in packages.iterdir():
        if not entry.name.startswith(hidden) and not (farm / entry.name).exists():
            (farm / entry.name).symlink_to(entry)
    return [python, "-S"], {**env, "PYTHONPATH": f"{source}{os.pathsep}{farm}"}


if __name__ == "__main__":
    for each in sys.argv[1:] or STEPS:
        print(build(each))
