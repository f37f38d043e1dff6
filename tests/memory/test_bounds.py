"""The range that is said of a step whose operations were not read."""

from __future__ import annotations

from typing import Any

import pytest

from memory_steps import decoder
from qvl_preflight.memory.asked import Asked, read_asked
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.plan import Quantization
from qvl_preflight.unknown import Unknown

STEPS = [
    read_asked({"batch_size": 2, "sequence_length": 512}, None),
    read_asked({"batch_size": 4, "sequence_length": 256, "max_new_tokens": 16}, None),
    read_asked(None, {"method": "lora", "batch_size": 1, "sequence_length": 512, "amp": "bf16"}),
    read_asked(None, {"method": "lora", "batch_size": 1, "sequence_length": 512, "gradient_checkpointing": True}),
    read_asked(None, {"method": "full", "batch_size": 1, "sequence_length": 128, "amp": "bf16"}),
    read_asked(None, {"method": "full", "batch_size": 1, "sequence_length": 1024, "optimizer": "adafactor"}),
]
NF4 = Quantization("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, pre_quantized=False)


def found(asked: Asked | None, how: Quantization | None = None, attention: str | None = "sdpa", **changes: Any) -> MemoryEstimate:
    return estimate(decoder(**changes), "bfloat16", how, attention, asked, (9, 0), release5=True)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("asked", STEPS)
def test_what_is_known_lies_in_the_range(asked: Asked, attention: str, family: str) -> None:
    """The range of a model whose type nobody knows holds the peak of each family that is known."""
    size = {"sliding_window": 256, "head_dim": 64} if family == "gemma2" else {}
    peak = found(asked, attention=attention, model_type=family, **size).peak_bytes
    other = found(asked, attention=attention, model_type="something_new", **size)
    assert isinstance(other.peak_bytes, Unknown)
    assert other.peak_range is not None
    least, most = other.peak_range
    assert not isinstance(peak, Unknown)
    assert most is not None
    assert other.weights_bytes <= least <= peak <= most


def test_quantised_weights_have_a_range_where_the_step_can_run() -> None:
    assert found(STEPS[2], NF4, model_type="something_new").peak_range is not None
    assert found(STEPS[4], NF4, model_type="something_new").peak_range is None


@pytest.mark.parametrize(
    "changes", [{"model_type": "mamba"}, {"model_type": "new", "state_size": 16}, {"model_type": "new", "vocab_size": "many"}]
)
def test_there_is_no_upper_end_where_layers_are_of_another_kind(changes: dict[str, Any]) -> None:
    checkpoint = decoder()
    checkpoint.config.update(changes)  # type: ignore[attr-defined]
    other = estimate(checkpoint, "bfloat16", None, None, STEPS[0], None, release5=True)
    assert other.peak_range == (other.weights_bytes, None)
    assert other.total_range == (other.weights_bytes + other.context_bytes, None)
    assert other.to_dict()["peak_range"] == (other.weights_bytes, None)


def test_what_is_known_needs_no_range() -> None:
    known = found(STEPS[0])
    assert known.peak_range is None
    assert known.total_range == (known.total_bytes, known.total_bytes)
