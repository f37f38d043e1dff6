"""What quantisation methods make of a dtype, and which they refuse; read in the sources, since all of them want a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.plan import LoadPlan
from qvl_preflight.testing import machine

PACKAGES = {
    "torch": "2.8.0", "accelerate": "1.15.0", "autoawq": "0.2.9", "gptqmodel": "7.7.0", "fbgemm-gpu": "1.4.0", "flute-kernel": "0.4.2", "spqr-quant": "0.2.0",
    "fast-hadamard-transform": "1.0.4", "qutlass": "0.1", "fp-quant": "0.3.2", "eetq": "1.0.1", "kernels": "0.19.0",
}  # fmt: skip


def planned(folder: Path, release: str, method: str, hardware: str = "h100", **call: Any) -> LoadPlan:
    settings = {"quant_method": method, "bits": 4}
    stored = {"model_type": "llama", "dtype": "bfloat16", "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(stored))
    facts = machine(hardware, "today", packages={**PACKAGES, "transformers": release})
    plan = qvl_preflight.check(str(folder), facts=facts, **call).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("release", "method", "hardware", "call", "dtype"),
    [
        ("4.45.2", "awq", "h100", {}, "float16"),
        ("4.51.3", "awq", "h100", {"torch_dtype": "bfloat16"}, "bfloat16"),
        ("4.55.4", "awq", "h100", {"torch_dtype": "bfloat16"}, "float16"),
        ("5.2.0", "awq", "h100", {"dtype": "bfloat16"}, "bfloat16"),  # what update_dtype answers is thrown away
        ("5.23.0", "awq", "h100", {}, "float16"),  # the checkpoint says bfloat16
        ("5.23.0", "awq", "no-gpu", {}, "bfloat16"),  # run
        ("4.57.1", "fbgemm_fp8", "h100", {}, "bfloat16"),
        ("5.23.0", "fbgemm_fp8", "h100", {"dtype": "float16"}, "bfloat16"),
        ("4.57.1", "eetq", "h100", {}, "float16"),
    ],
)
def test_a_method_changes_the_dtype(
    tmp_path: Path, release: str, method: str, hardware: str, call: dict[str, Any], dtype: str
) -> None:
    """Where nothing is asked, and where its layers compute in one alone."""
    assert planned(tmp_path, release, method, hardware, device_map="cuda" if hardware == "h100" else "cpu", **call).dtype == dtype


@pytest.mark.parametrize(
    ("release", "method", "call", "text"),
    [
        ("4.45.2", "fbgemm_fp8", {"torch_dtype": "float16"}, "You cannot use FP8 with torch_dtype=torch.float16."),
        ("4.57.1", "fbgemm_fp8", {"dtype": "float16"}, "You cannot use FP8 with dtype=torch.float16."),
        ("4.57.1", "fbgemm_fp8", {"dtype": "bfloat16"}, None),
        ("4.57.1", "fp_quant", {"dtype": "float16"}, "Invalid `dtype` torch.float16. fp_quant quantization only supports"),
        ("4.57.1", "higgs", {"dtype": "float32"}, "Invalid `dtype` torch.float32. HIGGS quantization only supports"),
        ("4.57.1", "higgs", {}, None),
        ("4.57.1", "spqr", {}, None),
        ("5.23.0", "spqr", {}, "You cannot use any type other than torch.float16 for SpQR."),  # the checkpoint's bfloat16
        ("4.57.1", "spqr", {"dtype": "auto"}, None),
    ],
)
def test_a_method_refuses_a_dtype(tmp_path: Path, release: str, method: str, call: dict[str, Any], text: str | None) -> None:
    """In the words of the release; where nothing is asked 4.x fills in one that it takes."""
    raised = planned(tmp_path, release, method, device_map={"": 0}, **call).raised("QVL328")
    assert [each.text for each in raised] == ([text] if text else [])
