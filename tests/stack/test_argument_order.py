"""Two bad arguments in one call: the first to raise in a release is the first that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"
MAP = "When passing device_map as a string, the value needs to be a device name (e.g. cpu, cuda:0) or 'auto'"
FLAG = "Passing along a `device_map` requires `low_cpu_mem_usage=True`"
CONFIG = "module 'torch' has no attribute 'nope'"
CLASS = "`dtype` provided as a `str` can only be `'auto'`, or a string representation of a valid `torch.dtype`"
OLD = '`torch_dtype` can be either `torch.dtype` or `"auto"`, but received nope'


@pytest.mark.parametrize(
    ("stack", "call", "text"),
    [
        ("legacy", {"device_map": ""}, MAP), ("recent-4", {"device_map": ""}, MAP), ("today", {"device_map": ""}, MAP),
        ("legacy", {"device_map": "", "low_cpu_mem_usage": False}, MAP), ("legacy", {"device_map": "auto", "low_cpu_mem_usage": False, "torch_dtype": "nope"}, FLAG),
        ("legacy", {"device_map": "nope", "torch_dtype": "nope"}, MAP), ("recent-4", {"device_map": "nope", "torch_dtype": "nope"}, MAP),
        ("today", {"device_map": "nope", "torch_dtype": "nope"}, CONFIG), ("today", {"device_map": "nope", "dtype": "nope"}, CONFIG), ("today", {"dtype": "nope"}, CONFIG),
        ("today", {"device_map": "nope", "dtype": "nope", "loader": "Qwen2ForCausalLM"}, MAP), ("today", {"dtype": "nope", "loader": "Qwen2ForCausalLM"}, CLASS),
        ("legacy", {"torch_dtype": "nope", "attn_implementation": "flash_attention_2"}, OLD),
        ("legacy", {"device_map": "nope", "load_in_4bit": True, "load_in_8bit": True}, MAP), ("recent-4", {"device_map": "nope", "load_in_4bit": True}, MAP),
        ("today", {"device_map": "nope", "load_in_4bit": True}, MAP), ("legacy", {"device_map": "nope", "attn_implementation": "nonsense"}, MAP),
    ],
)  # fmt: skip
def test_the_first_to_raise_is_the_first_that_is_said(checkpoints: Path, stack: str, call: dict[str, Any], text: str) -> None:
    """Run: transformers 4.37.2, 4.57.1 and 5.23.0 with these calls."""
    finding = qvl_preflight.check(str(checkpoints / PLAIN), facts=machine("a100", stack), **call).findings[0]
    assert finding.raises is not None
    assert finding.raises.text.startswith(text)
