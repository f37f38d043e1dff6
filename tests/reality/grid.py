"""The calls that are made on every stack: device maps × quantisation × purpose, and what people misspell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Case = dict[str, Any]
_MAPS: tuple[Any, ...] = (
    None,
    "auto",
    "cpu",
    "cuda",
    {"": 0},
    {"": "cpu"},
    "balanced",
    "sequential",
    "gpu",
    "AUTO",
    -1,
    "cuda:1",
    "meta",
)


def gptq(bits: int = 4, **fields: Any) -> Case:
    """A GPTQConfig in plain form."""
    return {"__class__": "GPTQConfig", "bits": bits, **fields}


_CONFIGS: tuple[Case, ...] = (
    gptq(), gptq(use_exllama=False), gptq(use_exllama=True), gptq(disable_exllama=True), gptq(exllama_config={"version": 2}), gptq(backend="auto"), gptq(backend="auto_trainable"),
    gptq(backend="torch"), gptq(backend="exllama_v2"), gptq(backend="triton"), gptq(backend="marlin"), gptq(backend="machete"), gptq(backend="nonsense"), gptq(backend="exllama_v1"),
)  # fmt: skip
_DTYPES: tuple[Any, ...] = ("bfloat16", "float16", "bf16", "auto", {"__dtype__": "float16"}, {"__dtype__": "bfloat16"})


def cases() -> Iterator[Case]:
    """Every case, with an id that says what it is."""
    for number, (name, case) in enumerate(_cases()):
        yield {"id": f"{number:03d} {name}", "purpose": "inference", "action": "forward", **case}


def _cases() -> Iterator[tuple[str, Case]]:
    for model in ("gptq-int4", "plain-bf16"):
        yield f"{model} {{}}", {"model": model, "kwargs": {}}
        for given in _MAPS:
            yield f"{model} device_map={given!r}", {"model": model, "kwargs": {"device_map": given}}
    for config in _CONFIGS:
        for given in (None, "auto", "cpu"):
            yield (
                f"gptq-int4 {given!r} {_short(config)}",
                {"model": "gptq-int4", "kwargs": {"device_map": given, "quantization_config": config}},
            )
    for config in (
        None,
        gptq(use_exllama=False),
        gptq(disable_exllama=True),
        gptq(backend="auto_trainable"),
        gptq(backend="torch"),
    ):
        for given in (None, "cpu"):
            kwargs = {"device_map": given, **({"quantization_config": config} if config else {})}
            yield (
                f"gptq-int4 qlora {given!r} {_short(config)}",
                {"model": "gptq-int4", "kwargs": kwargs, "purpose": "qlora", "action": "lora_step"},
            )
    for model in ("gptq-int8", "gptq-int4-desc", "gptq-int4-g-1", "gptq-int4-g32"):
        bits = 8 if model == "gptq-int8" else 4
        yield f"{model} {{}}", {"model": model, "kwargs": {}}
        for config in (gptq(bits, use_exllama=False), gptq(bits, backend="auto_trainable")):
            yield (
                f"{model} qlora {_short(config)}",
                {"model": model, "kwargs": {"quantization_config": config}, "purpose": "qlora", "action": "lora_step"},
            )
    for dtype in _DTYPES:
        for key in ("torch_dtype", "dtype"):
            for model in ("plain-bf16", "gptq-int4"):
                config = {"quantization_config": gptq(use_exllama=False)} if model == "gptq-int4" else {}
                yield f"{model} {key}={dtype!r}", {"model": model, "kwargs": {key: dtype, **config}}
    yield "plain-bf16 lora", {"model": "plain-bf16", "kwargs": {}, "purpose": "lora", "action": "lora_step"}
    yield from _mistakes()


def _mistakes() -> Iterator[tuple[str, Case]]:
    bnb = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}
    for name, model, kwargs in (
        ("load_in_4bit", "plain-bf16", {"load_in_4bit": True}),
        ("load_in_8bit=False", "plain-bf16", {"load_in_8bit": False}),
        ("bnb config", "plain-bf16", {"quantization_config": bnb}),
        ("bnb config on gptq", "gptq-int4", {"quantization_config": bnb}),
        ("load_in_4bit on gptq", "gptq-int4", {"load_in_4bit": True}),
        ("dict config on gptq", "gptq-int4", {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
        ("bits=5", "gptq-int4", {"quantization_config": gptq(5)}),
        ("bits=8 on 4", "gptq-int4", {"quantization_config": gptq(8, use_exllama=False)}),
        ("both exllama flags", "gptq-int4", {"quantization_config": gptq(use_exllama=False, disable_exllama=True)}),
        ("flash_attention_2", "plain-bf16", {"attn_implementation": "flash_attention_2"}),
        ("sdpa", "plain-bf16", {"attn_implementation": "sdpa"}),
        ("org/kernel", "plain-bf16", {"attn_implementation": "kernels-community/flash-attn"}),
        ("use_flash_attention_2", "plain-bf16", {"use_flash_attention_2": True}),
        ("low_cpu_mem_usage=False with auto", "plain-bf16", {"low_cpu_mem_usage": False, "device_map": "auto"}),
        ("low_cpu_mem_usage=False alone", "plain-bf16", {"low_cpu_mem_usage": False}),
        ("a map with holes", "plain-bf16", {"device_map": {"model.layers.0": "cpu"}}),
        ("max_memory by name", "plain-bf16", {"device_map": "auto", "max_memory": {"cuda:0": "1GB"}}),
        ("max_memory without unit", "plain-bf16", {"device_map": "auto", "max_memory": {"cpu": "20G"}}),
        ("max_memory for the CPU", "plain-bf16", {"device_map": "auto", "max_memory": {"cpu": "10GB"}}),
    ):
        yield name, {"model": model, "kwargs": kwargs}


def missing() -> Iterator[Case]:
    """Calls for stacks that lack a package."""
    for number, (model, kwargs) in enumerate((
        ("gptq-int4", {}), ("gptq-int4", {"device_map": "cpu"}), ("gptq-int4", {"device_map": "cpu", "quantization_config": gptq(use_exllama=False)}),
        ("plain-bf16", {}), ("plain-bf16", {"device_map": "auto"}),
        ("plain-bf16", {"quantization_config": {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}}),
    )):  # fmt: skip
        yield {
            "id": f"{number:03d} {model} {kwargs!r}",
            "model": model,
            "kwargs": kwargs,
            "purpose": "inference",
            "action": "forward",
        }


def _short(config: Case | None) -> str:
    return (
        "default"
        if config is None
        else ", ".join(f"{key}={value!r}" for key, value in config.items() if key not in ("__class__", "bits")) or "GPTQConfig"
    )
