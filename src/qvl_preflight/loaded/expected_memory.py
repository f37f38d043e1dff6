"""What a step of a loaded model was to need: the question for estimate_memory, out of what is seen and of TrainingArguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qvl_preflight.loaded.record import Loaded
from qvl_preflight.unknown import Undecided

_FLOATS = ("float32", "float16", "bfloat16")


def question(loaded: Loaded, trainer: Mapping[str, Any], shape: tuple[int, int] | None, config: Any = None) -> dict[str, Any]:
    """The arguments of estimate_memory. Raises Undecided where the step is of another kind than it knows."""
    devices = [device for device in loaded.devices if device != "meta"]
    if len(devices) != 1 or not devices[0].startswith("cuda"):
        raise Undecided("the model is not on one GPU")
    if loaded.sharded or trainer.get("deepspeed") or trainer.get("fsdp"):
        raise Undecided("the weights or the optimizer are spread over ranks")
    if shape is None:
        raise Undecided("the batch was not seen")
    kinds = list(loaded.adapters.values())
    if kinds and (len(kinds) > 1 or not kinds[0].startswith("lora")):
        raise Undecided("the adapters are not one LoRA")
    optimizer = trainer.get("optim") or "adamw_torch"  # TrainingArguments hold a member of an enumeration
    training: dict[str, Any] = {
        "method": "lora" if kinds else "full", "batch_size": shape[0], "sequence_length": shape[1],
        "gradient_checkpointing": trainer.get("gradient_checkpointing") is True, "optimizer": str(getattr(optimizer, "value", optimizer)),
        "amp": "bf16" if trainer.get("bf16") is True else "fp16" if trainer.get("fp16") is True else None,
    }  # fmt: skip
    if kinds:
        training |= _lora(kinds[0])
    asked: dict[str, Any] = {"training": training, "dtype": _dtype(loaded)}
    if loaded.quantized == "bitsandbytes" and config is not None:
        asked["quantization_config"] = config
    return asked


def _dtype(loaded: Loaded) -> dict[str, str]:
    """Of the weights that are not trained, where there are such; most bytes win."""
    sizes: dict[str, int] = {}
    frozen = [part for part in loaded.parts if part.parameter and not part.trainable and part.dtype in _FLOATS]
    for part in frozen or [part for part in loaded.parts if part.parameter and part.dtype in _FLOATS]:
        sizes[part.dtype] = sizes.get(part.dtype, 0) + part.size
    if not sizes:
        raise Undecided("the weights are of no dtype that is known")
    return {"__dtype__": max(sizes, key=lambda name: sizes[name])}


def _lora(described: str) -> dict[str, Any]:
    """Rank and targets out of ``lora, r=8 on q_proj, v_proj``."""
    head, _, targets = described.partition(" on ")
    rank = head.partition("r=")[2]
    names = [name.strip() for name in targets.split(",") if name.strip()]
    return {"lora_rank": int(rank) if rank.isdigit() else 16, "lora_target_modules": names or "all-linear"}
