"""config.json and calls of any shape: a report or one line, never a crash. A hub holds what people upload, and a call what they try."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qvl_preflight
from qvl_preflight.exceptions import InputError
from qvl_preflight.testing import HARDWARE, STACKS, machine, write_checkpoint

SOME = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = ("", "auto", "cuda", "cuda:1", "cpu", "disk", "meta", "gptq", "awq", "bitsandbytes", "float16", "torch.bfloat16", "4bit", "qwen2", "bert", "llama", "sdpa", "flash_attention_2", "0", "-1", "20GiB", "model", "lm_head", "x.y.Z")  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-2, 128) | st.just(2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(WORDS) | st.text(max_size=4)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3), max_leaves=6)  # fmt: skip
QUANTIZATION = st.fixed_dictionaries({}, optional=dict.fromkeys(("quant_method", "bits", "group_size", "desc_act", "sym", "load_in_4bit", "load_in_8bit", "backend", "modules_to_not_convert", "use_exllama", "disable_exllama", "exllama_config", "version", "checkpoint_format", "meta", "bnb_4bit_compute_dtype", "llm_int8_enable_fp32_cpu_offload"), VALUES))  # fmt: skip
CONFIG = st.fixed_dictionaries({}, optional={
    **dict.fromkeys(("model_type", "architectures", "torch_dtype", "dtype", "auto_map", "num_hidden_layers", "hidden_size", "text_config", "vision_config", "tie_word_embeddings", "transformers_version", "num_attention_heads", "attn_implementation", "is_encoder_decoder"), VALUES),
    "quantization_config": QUANTIZATION,
})  # fmt: skip
OBJECTS = st.builds(lambda name, fields: {"__class__": name, **fields}, st.sampled_from(("GPTQConfig", "BitsAndBytesConfig", "AwqConfig", "TorchAoConfig", "Nonsense")), QUANTIZATION)  # fmt: skip
PLAIN = st.sampled_from(({"__dtype__": "float16"}, {"__dtype__": "nonsense"}, {"__device__": "cuda:0"}, {"__object__": "Thing"}))
KWARGS = st.fixed_dictionaries({}, optional=dict.fromkeys(("device_map", "max_memory", "torch_dtype", "dtype", "quantization_config", "load_in_4bit", "load_in_8bit", "low_cpu_mem_usage", "trust_remote_code", "attn_implementation", "use_flash_attention_2", "revision", "offload_folder", "config", "use_safetensors", "variant", "subfolder", "cache_dir", "token"), VALUES | OBJECTS | PLAIN))  # fmt: skip
SETTINGS = st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(("fp16", "bf16", "deepspeed", "fsdp", "use_cpu", "no_cuda", "gradient_checkpointing", "per_device_train_batch_size", "optim"), VALUES))  # fmt: skip
PEFT = st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(("r", "target_modules", "modules_to_save", "task_type", "lora_alpha"), VALUES))  # fmt: skip
MACHINES = st.builds(machine, st.sampled_from(sorted(HARDWARE)), st.sampled_from(sorted(STACKS)))
PURPOSES = st.sampled_from((None, "inference", "lora", "qlora", "full", "quantize"))
LOADERS = st.sampled_from((None, "AutoModelForCausalLM", "AutoModel", "LlamaForCausalLM", "Nonsense"))
LAYERS = {
    "model.embed_tokens.weight": ("F16", (64, 8)),
    "model.layers.0.mlp.up_proj.weight": ("F16", (8, 8)),
    "lm_head.weight": ("F16", (64, 8)),
}
NAMED = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}


def said_of(folder: str, **call: Any) -> str:
    """What is said of a call: its report, corrected and as JSON, or the one line that refuses it."""
    fixed, refusal = None, ""
    try:
        fixed = qvl_preflight.fix_kwargs(folder, **call)
    except InputError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if fixed is None:
        return refusal
    assert json.dumps(fixed.report.to_dict(), allow_nan=False)
    return fixed.text()


@given(config=CONFIG, facts=MACHINES, purpose=PURPOSES, loader=LOADERS)
@SOME
def test_any_config(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any], facts: Any, purpose: str | None, loader: str | None
) -> None:
    """Any values under the names that are read, on any machine."""
    folder = tmp_path_factory.getbasetemp() / "any-config"
    if not (folder / "model.safetensors").exists():
        write_checkpoint(str(folder), NAMED, [LAYERS])
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert said_of(os.fspath(folder), facts=facts, purpose=purpose, loader=loader, device_map="auto")


@given(kwargs=KWARGS, facts=MACHINES, purpose=PURPOSES, trainer=SETTINGS, peft=PEFT)
@SOME
def test_any_call(checkpoints: Path, kwargs: dict[str, Any], facts: Any, purpose: str | None, trainer: Any, peft: Any) -> None:
    """Any arguments for a plain checkpoint and a quantised one."""
    for model in ("Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"):
        assert said_of(str(checkpoints / model), facts=facts, purpose=purpose, trainer=trainer, peft=peft, **kwargs)


@given(st.binary(max_size=200) | st.builds(lambda header, tail: len(header).to_bytes(8, "little") + header + tail, VALUES.map(json.dumps).map(str.encode), st.binary(max_size=8)))  # fmt: skip
@SOME
def test_any_weights(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A file of weights that is none."""
    folder = tmp_path_factory.getbasetemp() / "any-weights"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(NAMED), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(data)
    assert said_of(os.fspath(folder), facts=machine())
