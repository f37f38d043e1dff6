"""The estimate of a load and of a step, held against what an H100 showed."""

from __future__ import annotations

from typing import Any

import pytest

from memory_steps import LLAMA, SETTINGS, Case, decoder
from qvl_preflight.memory.asked import Asked, read_asked
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.plan import Quantization
from qvl_preflight.unknown import Unknown


def estimated(
    quantisation: str, asked: Asked | None, attention: str | None = "sdpa", dtype: str = "bfloat16", **changes: Any
) -> MemoryEstimate:
    settings = SETTINGS[quantisation]
    how = None if settings is None else Quantization("bitsandbytes", settings, pre_quantized=False)
    return estimate(decoder(**changes), dtype, how, attention, asked, (9, 0), release5=True)


def step(action: str, batch: int, length: int, **more: Any) -> Asked | None:
    sizes = {"batch_size": batch, "sequence_length": length}
    if action in ("forward", "generate"):
        return read_asked({**sizes, "max_new_tokens": 16 if action == "generate" else 0}, None)
    return read_asked(None, {**sizes, "method": action, "amp": "bf16", **more})


def known(value: int | Unknown) -> int:
    assert not isinstance(value, Unknown), value.reason
    return value


@pytest.mark.parametrize("case", LLAMA, ids=lambda case: "-".join(map(str, case[:6])))
def test_recorded_loads_and_steps(case: Case) -> None:
    """The load to the byte, but for two blocks under double quantisation; the step within 3 %, and within 0.2 % where few blocks are alive."""
    quantisation, action, batch, length, checkpointing, attention, load, peak = case
    found = estimated(quantisation, step(action, batch, length, gradient_checkpointing=checkpointing), attention)
    assert load - found.weights_bytes == (1024 if quantisation == "nf4 double" else 0)
    assert abs(known(found.peak_bytes) / peak - 1) < (0.002 if checkpointing and attention == "sdpa" else 0.03)


def test_the_parts_cover_the_peak() -> None:
    """They do not all meet, but nothing is left out."""
    for case in LLAMA:
        found = estimated(case[0], step(*case[1:4], gradient_checkpointing=case[4]), case[5])
        parts = (found.kv_cache_bytes, found.activation_bytes, found.gradient_bytes, found.optimizer_bytes, found.adapter_bytes)
        together = found.weights_bytes + found.prepared_bytes + found.workspace_bytes + sum(map(known, parts))
        assert known(found.peak_bytes) <= together + 2**28  # copies in the width of autocast


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_saves_memory_saves_it(method: str) -> None:
    """Shorter, fewer, checkpointed: each takes less."""
    plain = known(estimated("none", step(method, 2, 2048)).peak_bytes)
    assert known(estimated("none", step(method, 2, 1024)).peak_bytes) < plain
    assert known(estimated("none", step(method, 1, 2048)).peak_bytes) < plain
    assert known(estimated("none", step(method, 2, 2048, gradient_checkpointing=True)).peak_bytes) < plain


def test_full_fine_tuning_holds_weights_gradients_and_states() -> None:
    """AdamW keeps two values of the weight's width for each; its step takes a third for a moment."""
    found = estimated("none", step("full", 1, 16, gradient_checkpointing=True))
    assert found.gradient_bytes == pytest.approx(found.weights_bytes, rel=1e-5)
    assert found.optimizer_bytes == pytest.approx(2 * found.weights_bytes, rel=1e-5)
    assert known(found.peak_bytes) == pytest.approx(5 * found.weights_bytes, rel=0.05)
    assert estimated("none", step("full", 1, 16, optimizer="sgd")).optimizer_bytes == 0


def test_generating_keeps_keys_and_values() -> None:
    """Of every layer and token but the last one; a forward pass alone is taken without a cache."""
    found = estimated("none", step("generate", 4, 1024))
    assert known(found.kv_cache_bytes) == pytest.approx(2 * 22 * 256 * 2 * 4 * 1039, rel=0.01)
    assert estimated("none", step("forward", 4, 1024)).kv_cache_bytes == 0


def test_without_a_step_it_is_the_load() -> None:
    found = estimated("none", None)
    assert found.peak_bytes == found.weights_bytes
    assert sum(found.modules.values()) == pytest.approx(found.weights_bytes, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "asked", "attention", "quantisation"),
    [
        ({"model_type": "mamba"}, step("forward", 1, 16), "sdpa", "none"),
        ({}, step("full", 1, 16, optimizer="my_own"), "sdpa", "none"),
        ({}, step("full", 1, 16), "sdpa", "nf4"),
        ({}, step("lora", 1, 16, lora_target_modules=["c_attn"]), "sdpa", "none"),
        ({}, step("forward", 1, 16), "flex_attention", "none"),
        ({"intermediate_size": "many"}, step("forward", 1, 16), "sdpa", "none"),
    ],
    ids=["family", "optimizer", "full over 4 bits", "adapters", "attention", "config"],
)
def test_what_is_not_known_is_said(changes: dict[str, Any], asked: Asked, attention: str, quantisation: str) -> None:
    """The weights stay exact, the rest is unknown with its reason."""
    sizes = {key: value for key, value in changes.items() if key != "intermediate_size"}
    settings = SETTINGS[quantisation]
    how = None if settings is None else Quantization("bitsandbytes", settings, pre_quantized=False)
    checkpoint = decoder(**sizes)
    checkpoint.config.update(changes)  # type: ignore[attr-defined]
    found = estimate(checkpoint, "bfloat16", how, attention, asked, None, release5=True)
    assert found.weights_bytes > 0
    assert isinstance(found.peak_bytes, Unknown)
    assert found.peak_bytes.reason in found.to_dict()["notes"]
    assert found.to_dict()["peak_bytes"] is None


def test_older_releases_take_the_tensors_alone() -> None:
    """How 4.x loads was not measured: nothing is added for the allocator."""
    how = Quantization("bitsandbytes", SETTINGS["nf4"] or {}, pre_quantized=False)
    old = estimate(decoder(), "bfloat16", how, None, None, None, release5=False)
    assert 0 < estimated("nf4", None).weights_bytes - old.weights_bytes < 25 * 2**20
