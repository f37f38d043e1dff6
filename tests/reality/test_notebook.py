"""examples/notebook.ipynb, executed by nbclient in a kernel on real stacks: a cell is checked, run once or not at all, and shows what it should.

nbclient and ipykernel are installed beside the stack for this (stacks.BESIDE), neither is a dependency of anything.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="stack").execute()
nbformat.write(notebook, sys.argv[2])
"""
TWICE = [
    "%load_ext qvl_preflight\nran = []",
    '%%preflight\nran.append(1)\nAutoModelForCausalLM.from_pretrained("nobody/nothing", device_map=unheard) if ran[1:] else "value"',
    "%%preflight --purpose qlora\nran.append(2)\nran",
    "%%preflight --purpose nonsense\nran.append(3)",
    "%%preflight\nran.append(4)\n1 / 0",
    "%%preflight\nimport asyncio\nawait asyncio.sleep(0)",
    "ran",
    "%preflight explain QVL306",
    "%preflight nobody",
    "import qvl_preflight.cell_calls as ours, qvl_preflight.cells as cells\ndef broken(*a): raise ZeroDivisionError('of ours')\ncells.calls = broken",
    "%%preflight\nran.append(5)\nran",
    "%unload_ext qvl_preflight",
]


def execute(cells: dict[str, Any] | Path, stack: str, scratch: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook, executed."""
    (python,), env = stacks.command(stack, scratch)
    kernel = scratch / "kernels" / "stack"
    kernel.mkdir(parents=True)
    inside = {
        "PYTHONPATH": os.pathsep.join([env["PYTHONPATH"], str(stacks.beside("kernel"))]),
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "stack", "language": "python", "env": inside}))
    path = cells if isinstance(cells, Path) else scratch / "in.ipynb"
    if isinstance(cells, dict):
        path.write_text(json.dumps(cells))
    around = {
        **os.environ,
        "JUPYTER_PATH": str(scratch),
        "PYTHONPATH": os.pathsep.join([str(stacks.beside("nbclient")), str(stacks.beside("kernel"))]),
    }
    done = subprocess.run(
        [python, "-c", RUN, str(path), str(scratch / "out.ipynb")], env=around, capture_output=True, text=True, cwd=scratch
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [cell for cell in json.loads((scratch / "out.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]


def said(cell: dict[str, Any], kind: str = "text/plain") -> str:
    """All that a cell shows."""
    text = ""
    for output in cell["outputs"]:
        text += (
            "".join(output.get("text", "")) + "".join(output.get("data", {}).get(kind, "")) + "\n".join(output.get("traceback", ""))
        )
    return text


@pytest.mark.parametrize("stack", ["legacy", "v4", "modern"])
def test_the_example(stack: str, tmp_path: Path) -> None:
    """Machine, a call that works, one that does not, what is loaded, corrected arguments, a crash and its cause."""
    machine, _, works, fails, live, fixed, crash, why = execute(NOTEBOOK, stack, tmp_path)
    assert "this environment" in said(machine)
    assert "OK" in said(works)
    assert said(works).rstrip().endswith("123200")
    assert "FAILS" in said(fails)
    assert "CellStopped: line 1, QVL905" in said(fails)
    assert "gradients reach 21 of 21 trainable tensors" in said(live)
    for cell in (machine, works, fails, live, fixed):
        assert '<div class="qvlp">' in said(cell, "text/html")
    assert "Corrected call" in said(fixed, "text/html")
    assert crash["outputs"][-1]["output_type"] == "error"
    assert said(why).startswith("1. ")


def test_a_cell_is_run_once_or_not_at_all(tmp_path: Path) -> None:
    """Whatever becomes of the check; its value, its exception and its variables are its own."""
    made = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "source": source,
            "metadata": {"tags": ["raises-exception"]},
            "outputs": [],
            "execution_count": None,
        }
        for n, source in enumerate(TWICE)
    ]
    notebook = {
        "cells": made,
        "metadata": {"kernelspec": {"name": "stack", "display_name": "stack", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    _, unknown, none, purpose, crash, awaits, ran, page, nobody, _, broken, gone = execute(notebook, "v4", tmp_path)
    assert "line 2, AutoModelForCausalLM.from_pretrained: not checked, since unheard is not known" in said(unknown)
    assert "'value'" in said(unknown)
    assert "no call of from_pretrained in this cell" in said(none)
    assert said(none).rstrip().endswith("[1, 2]")
    assert "purpose 'nonsense' is not known" in said(purpose)
    assert "ZeroDivisionError" in said(crash)
    assert "a cell that awaits cannot be run under %%preflight" in said(awaits)
    assert said(ran) == "[1, 2, 4]"
    assert "kernel-refuses-the-cpu" in said(page)
    assert "%preflight why" in said(nobody)
    assert "the check failed (ZeroDivisionError: of ours); the cell is run without it" in said(broken)
    assert said(broken).rstrip().endswith("[1, 2, 4, 5]")
    assert gone["outputs"] == []
