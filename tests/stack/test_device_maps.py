"""Odd device_maps, held against what seven releases did with them on a CPU (scripts/record_device_maps.py)."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.safetensors import read_header
from qvl_preflight.testing import STACKS, machine
from qvl_preflight.testing.files import write_torch_file

RECORDINGS = Path(__file__).parents[1] / "recordings"
CASES = [
    pytest.param(versions, case, id=f"{versions['transformers']}-{case[1]}-{case[0]}")
    for path in sorted((RECORDINGS / "device_maps").glob("*.json"))
    for versions in [json.loads(path.read_text())]
    for case in versions["cases"]
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The recorded checkpoint, in safetensors and in .bin."""
    model = RECORDINGS / "models" / "plain-fp16"
    pickle = tmp_path_factory.mktemp("bin")
    shutil.copy(model / "config.json", pickle)
    tensors = {tensor.name: (tensor.dtype, tensor.shape) for tensor in read_header(str(model / "model.safetensors")).tensors}
    write_torch_file(str(pickle / "pytorch_model.bin"), tensors)
    return {"safetensors": str(model), "bin": str(pickle)}


@pytest.mark.parametrize(("versions", "case"), CASES)
def test_the_plan_says_what_happened(versions: dict[str, Any], case: list[Any], folders: dict[str, str]) -> None:
    """The exception by its type and the beginning of its text; no error where the call went well."""
    name, kind, kwargs, outcome, detail = case
    packages = {key: version for key, version in STACKS["legacy"]["packages"].items() if key in ("torch", "triton")}
    facts = machine(
        "no-gpu", "today", packages={**packages, **{key: versions[key] for key in ("transformers", "accelerate", "torch")}}
    )
    report = qvl_preflight.check(folders[kind], facts=facts, **ast.literal_eval(kwargs))
    stops = next((found.raises for found in report.findings if found.raises and found.stage == "load"), None)
    if outcome == "ok":
        assert stops is None, (name, stops)
    else:
        assert stops is not None, (name, outcome, detail)
        assert (stops.type, detail.startswith(stops.text[:100])) == (outcome, True), (name, stops.text, detail)
