"""Calls that nobody thought of: hypothesis draws the arguments, the same ones for the same seed."""

from __future__ import annotations

import json
from typing import Any

from grid import Case
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

MODELS = ("gptq-int4", "gptq-int8", "gptq-int4-desc", "gptq-int4-g-1", "gptq-int4-g32", "plain-bf16", "plain-fp16")
_NOTHING = "nothing"  # the argument is not given


def _config(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.fixed_dictionaries({"__class__": st.just(name)}, optional=fields)


_DTYPE = st.sampled_from(
    ["auto", "float16", "bfloat16", "float32", {"__dtype__": "float16"}, {"__dtype__": "bfloat16"}, {"__dtype__": "float32"}]
)
_GPTQ = _config(
    "GPTQConfig", use_exllama=st.booleans(), disable_exllama=st.booleans(), exllama_config=st.sampled_from([{"version": 1}, {"version": 2}]),
    backend=st.sampled_from(["auto", "auto_trainable", "torch", "triton"]),
).flatmap(lambda config: st.sampled_from([4, 8]).map(lambda bits: {**config, "bits": bits}))  # fmt: skip
_BNB = _config(
    "BitsAndBytesConfig", load_in_4bit=st.booleans(), load_in_8bit=st.booleans(), llm_int8_enable_fp32_cpu_offload=st.booleans(),
    bnb_4bit_quant_type=st.sampled_from(["nf4", "fp4"]), bnb_4bit_compute_dtype=st.just({"__dtype__": "bfloat16"}),
)  # fmt: skip
_PLACES = st.sampled_from(["cpu", "cuda", "cuda:0", "disk", 0, 1, "meta"])
_MAPS = st.one_of(
    st.sampled_from([None, "auto", "balanced", "sequential", "balanced_low_0", "cpu", "cuda", "cuda:0", 0, {"": 0}, {"": "cpu"}, {"": "disk"}]),
    st.fixed_dictionaries(
        {"model.embed_tokens": _PLACES, "model.layers.0": _PLACES, "model.layers.1": _PLACES, "model.norm": _PLACES, "lm_head": _PLACES}
    ),
)  # fmt: skip
_LIMITS = st.sampled_from([{"cpu": "1GB"}, {0: "1GB", "cpu": "1GB"}, {"cpu": "200KB"}, {"cpu": 10**9}, {"disk": "1GB"}])
_KWARGS = st.fixed_dictionaries(
    {},
    optional={
        "device_map": _MAPS, "torch_dtype": _DTYPE, "dtype": _DTYPE, "quantization_config": st.one_of(_GPTQ, _BNB), "max_memory": _LIMITS,
        "load_in_4bit": st.booleans(), "load_in_8bit": st.booleans(), "low_cpu_mem_usage": st.booleans(),
        "attn_implementation": st.sampled_from(["eager", "sdpa", "flash_attention_2", "flash_attention"]), "use_cache": st.booleans(),
        "offload_folder": st.just("/tmp/qvl-preflight-offload"),
    },
)  # fmt: skip


def draws(number: int, start: int) -> list[Case]:
    """``number`` different cases, the same for the same ``start``."""
    found: dict[str, Case] = {}

    @seed(start)
    @settings(
        max_examples=4 * number, database=None, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(MODELS), _KWARGS, st.sampled_from(["forward", "forward", "lora_step"]))
    def draw(model: str, kwargs: Case, action: str) -> None:
        purpose = (
            "inference" if action == "forward" else "lora" if model.startswith("plain") and not _quantised(kwargs) else "qlora"
        )
        case = {"model": model, "kwargs": kwargs, "purpose": purpose, "action": action}
        name = json.dumps(case)
        if len(found) < number and len(kwargs) <= 5:
            found.setdefault(name, {"id": f"{start}-{len(found):03d}", **case})

    draw()
    return list(found.values())


def _quantised(kwargs: Case) -> bool:
    return bool(kwargs.get("quantization_config") or kwargs.get("load_in_4bit") or kwargs.get("load_in_8bit"))
