"""A LLaMA-Factory job (YAML or JSON) as the call of from_pretrained that it makes.

Source: LLaMA-Factory 0.9.3 and 0.9.5 hparams/, model/loader.py, model/patcher.py patch_config, model/model_utils/quantization.py and
attention.py, cli.py. What it decides by itself (the GPU of each rank, the dtype out of bf16 and fp16, kernels switched off) is decided here
the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.files import switched_on
from qvl_preflight.readers.training import with_files
from qvl_preflight.request import ConfigObject, Dtype
from qvl_preflight.stack.training_arguments import gone

EXPECTED = "a job of LLaMA-Factory (model_name_or_path, stage, finetuning_type …)"
_METHODS = ("bnb", "bitsandbytes", "hqq", "eetq", "gptq", "awq")
_ATTENTION = {"disabled": "eager", "off": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2"}  # "auto" leaves it to transformers
# Its own arguments; all else are those of TrainingArguments.
_OWN = (
    "model_name_or_path", "stage", "do_train", "finetuning_type", "template", "dataset", "dataset_dir", "cutoff_len", "max_samples", "adapter_name_or_path",
    "trust_remote_code", "flash_attn", "quantization_bit", "quantization_method", "quantization_type", "double_quantization", "quantization_device_map",
    "use_unsloth", "upcast_layernorm", "low_cpu_mem_usage", "pure_bf16", "infer_dtype", "infer_backend", "disable_gradient_checkpointing",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of from_pretrained, and the training after it."""

    model: str
    kwargs: Mapping[str, Any]
    purpose: str
    peft: Mapping[str, Any] | None
    trainer: Mapping[str, Any]


def looks_like(found: Mapping[str, Any]) -> bool:
    """Is this mapping LLaMA-Factory's?"""
    return "model_name_or_path" in found and any(
        key in found for key in ("finetuning_type", "stage", "template", "quantization_bit", "lora_target")
    )


def read_job(
    found: Mapping[str, Any], path: str, quantization: Mapping[str, Any] | None, *, ordinal: int, flash_attn: bool
) -> Call:
    """The call of a job. ``quantization``: of the checkpoint's config.json. ``ordinal``: the GPU of this rank. ``flash_attn``: is it
    installed? Raises InputError."""
    model = found.get("model_name_or_path")
    if not isinstance(model, str) or not model:
        raise InputError(f"{path}: model_name_or_path is {model!r}; expected a folder or a hub id")
    trains = switched_on(found.get("do_train")) or ("do_train" not in found and "finetuning_type" in found)
    kind = str(found.get("finetuning_type") or "lora")
    if kind not in ("lora", "oft", "freeze", "full"):
        raise InputError(f"{path}: finetuning_type is {kind!r}; expected lora, oft, freeze or full")
    trainer = _trainer(found, path)
    quantized = quantization is not None or found.get("quantization_bit") is not None
    lora = kind in ("lora", "oft")
    purpose = "inference" if not trains else "full" if not lora else "qlora" if quantized else "lora"
    kwargs = _kwargs(found, path, trainer, quantization, ordinal, flash_attn)
    return Call(model, kwargs, purpose, _peft(found) if trains and lora else None, trainer)


def _trainer(found: Mapping[str, Any], path: str) -> dict[str, Any]:
    """TrainingArguments; gradient checkpointing is on unless told otherwise. What transformers no longer takes, LLaMA-Factory takes itself."""
    settings = {
        key: value
        for key, value in found.items()
        if key not in (*_OWN, *gone()) and not key.startswith(("lora_", "vllm_", "sglang_", "export_"))
    }
    settings.setdefault("gradient_checkpointing", not switched_on(found.get("disable_gradient_checkpointing")))
    return with_files(settings, path)


def _kwargs(
    found: Mapping[str, Any],
    path: str,
    trainer: Mapping[str, Any],
    quantization: Mapping[str, Any] | None,
    ordinal: int,
    flash_attn: bool,
) -> dict[str, Any]:
    zero3, fsdp, bits = _zero3(trainer), bool(trainer.get("fsdp")), found.get("quantization_bit")
    low_cpu = found.get("low_cpu_mem_usage", True) is not False and not zero3
    kwargs: dict[str, Any] = {"trust_remote_code": switched_on(found.get("trust_remote_code")), "low_cpu_mem_usage": low_cpu}
    dtype = (
        "bfloat16"
        if switched_on(found.get("bf16")) or switched_on(found.get("pure_bf16"))
        else "float16"
        if switched_on(found.get("fp16"))
        else None
    )
    if dtype and not (zero3 and bits is None):
        kwargs["torch_dtype"] = Dtype(dtype)
    asked = _ATTENTION.get(str(found.get("flash_attn", "auto")).lower().removeprefix("false") or "disabled")
    if asked and (asked != "flash_attention_2" or flash_attn):  # it falls back with a warning where the package is missing
        kwargs["attn_implementation"] = asked
    if quantization is not None:
        if str(quantization.get("quant_method")).lower() == "gptq":
            stored = {key: value for key, value in quantization.items() if key != "disable_exllama"}
            kwargs["config"] = ConfigObject("PretrainedConfig", {"quantization_config": {**stored, "use_exllama": False}})
    elif bits is not None:
        kwargs["quantization_config"] = _quantization(found, path, bits, dtype)
    mapped = quantization is None and bits is not None and not zero3 and not fsdp
    if mapped or (low_cpu and not fsdp and not zero3):
        kwargs["device_map"] = {"": ordinal}
    if found.get("quantization_device_map") == "auto":
        kwargs["device_map"] = "auto"
    return kwargs


def _quantization(found: Mapping[str, Any], path: str, bits: Any, dtype: str | None) -> ConfigObject:
    method = str(found.get("quantization_method") or "bnb").lower()
    if method not in _METHODS:
        raise InputError(f"{path}: quantization_method is {method!r}; expected one of bnb, hqq, eetq")
    if method == "hqq":
        return ConfigObject("HqqConfig", {"nbits": bits, "quant_zero": False, "quant_scale": False, "axis": 0})
    if method == "eetq":
        return ConfigObject("EetqConfig", {})
    if bits not in (4, 8):
        raise InputError(f"{path}: quantization_bit is {bits!r}; bitsandbytes takes 4 or 8")
    if bits == 8:
        return ConfigObject("BitsAndBytesConfig", {"load_in_8bit": True})
    compute = {"bnb_4bit_compute_dtype": Dtype(dtype), "bnb_4bit_quant_storage": Dtype(dtype)} if dtype else {}
    fields = {
        "load_in_4bit": True,
        "bnb_4bit_use_double_quant": found.get("double_quantization", True) is not False,
        "bnb_4bit_quant_type": found.get("quantization_type", "nf4"),
    }
    return ConfigObject("BitsAndBytesConfig", {**fields, **compute})


def _peft(found: Mapping[str, Any]) -> dict[str, Any]:
    """``lora_target: all`` is every linear layer."""
    targets = _names(found.get("lora_target", "all"))
    settings = {
        "r": found.get("lora_rank", 8),
        "target_modules": "all-linear" if targets == ["all"] else targets,
        "task_type": "CAUSAL_LM",
    }
    saved = _names(found.get("additional_target"))
    return {**settings, "modules_to_save": saved} if saved else settings


def _names(given: Any) -> list[str]:
    """``q_proj,v_proj`` as names."""
    items = given if isinstance(given, list) else str(given or "").split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def _zero3(trainer: Mapping[str, Any]) -> bool:
    config = trainer.get("deepspeed")
    zero = config.get("zero_optimization") if isinstance(config, Mapping) else None
    return isinstance(zero, Mapping) and zero.get("stage") == 3
