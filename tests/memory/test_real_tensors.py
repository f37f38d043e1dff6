"""Weights to the byte, as the tensors of a real load have them: transformers 5.23 and bitsandbytes 0.50.2 on a CPU, quantisation states included."""

from __future__ import annotations

import pytest

from memory_steps import SETTINGS, decoder
from qvl_preflight.memory.weights import in_memory
from qvl_preflight.plan import Quantization

SIZES = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 320,
}  # fmt: skip
REAL = {"none": 820480, "nf4": 350336, "fp4": 350336, "nf4 double": 349448, "int8": 502016}


@pytest.mark.parametrize("layout", REAL)
def test_real_loads(layout: str) -> None:
    settings = {"load_in_4bit": True} if layout == "fp4" else SETTINGS[layout]
    how = None if settings is None else Quantization("bitsandbytes", settings, pre_quantized=False)
    assert sum(each.total_bytes for each in in_memory(decoder(**SIZES), "bfloat16", how)) == REAL[layout]
