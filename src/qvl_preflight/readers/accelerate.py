"""accelerate's YAML (``accelerate launch --config_file``): how many processes it starts, and how they share the model.

Source: accelerate 0.23 to 1.15 commands/launch.py, commands/config/config_args.py, utils/launch.py, utils/dataclasses.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Launch
from qvl_preflight.readers import deepspeed
from qvl_preflight.readers.files import part, switched_on
from qvl_preflight.unknown import Unknown

EXPECTED = "a configuration of accelerate"
_PRECISIONS = ("no", "fp16", "bf16", "fp8")

BESIDE_FILE = "beside_deepspeed_config_file"  # in the trainer's settings
PRECISION = "accelerate_mixed_precision"  # a step computes in it; TrainingArguments' own bf16 and fp16 stay off, and refuse nothing
_REFUSED = (
    "gradient_accumulation_steps", "gradient_clipping", "zero_stage", "offload_optimizer_device", "offload_param_device", "offload_param_nvme_path",
    "offload_optimizer_nvme_path", "zero3_save_16bit_model", "mixed_precision",
)  # fmt: skip


def looks_like(found: Mapping[str, Any]) -> bool:
    """Is this mapping accelerate's?"""
    return "distributed_type" in found or "compute_environment" in found


def trainer_of(found: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What it means in words of TrainingArguments. Raises InputError."""
    trainer: dict[str, Any] = {}
    precision = str(found.get("mixed_precision") or "no").lower()
    if precision not in _PRECISIONS and found.get("mixed_precision") is not False:  # YAML reads a bare no as false
        raise InputError(f"{path}: mixed_precision is {precision}; expected one of {', '.join(_PRECISIONS)}")
    if precision in ("fp16", "bf16"):
        trainer[PRECISION] = precision
    if switched_on(found.get("use_cpu")):
        trainer["use_cpu"] = True
    kind = str(found.get("distributed_type") or "NO").upper()
    if kind == "MULTI_CPU":
        trainer["use_cpu"] = True
    if kind == "DEEPSPEED":
        trainer[BESIDE_FILE] = _beside_file(found, path)
        trainer["deepspeed"] = _deepspeed(part(found, "deepspeed_config", path), path)
    elif kind == "FSDP":
        settings = {key.removeprefix("fsdp_"): value for key, value in part(found, "fsdp_config", path).items()}
        trainer["fsdp"], trainer["fsdp_config"] = (
            True,
            {"version": 1, **settings},
        )  # accelerate launch: --fsdp_version defaults to 1
    return trainer


def _beside_file(found: Mapping[str, Any], path: str) -> list[str]:
    """The settings that accelerate refuses where a DeepSpeed file is named as well: they belong into that file."""
    settings = part(found, "deepspeed_config", path)
    if not settings.get("deepspeed_config_file"):
        return []
    return [name for name in _REFUSED if name in settings or (name == "mixed_precision" and found.get(name) is not None)]


def _deepspeed(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """The plugin's own settings, or the DeepSpeed file that they name."""
    if named := settings.get("deepspeed_config_file"):
        found = deepspeed.read_config(str(named), None, path) or {}
    else:
        zero: dict[str, Any] = {"stage": _number(settings.get("zero_stage", 2), "zero_stage", path)}
        for where in ("param", "optimizer"):
            device = str(settings.get(f"offload_{where}_device") or "none").lower()
            if device != "none":
                zero[f"offload_{where}"] = {"device": device}
        found = {"zero_optimization": zero}
    if "zero3_init_flag" in settings:
        found["zero3_init_flag"] = switched_on(settings["zero3_init_flag"])
    return found


def launch_of(found: Mapping[str, Any], path: str) -> Launch:
    """The ranks that it starts; which of them is asked about stays open."""
    processes = _number(found.get("num_processes", 1), "num_processes", path)
    machines = max(1, _number(found.get("num_machines", 1), "num_machines", path))
    several = processes > 1 or str(found.get("distributed_type") or "NO").upper() in ("DEEPSPEED", "FSDP")
    zero = part(found, "deepspeed_config", path).get("zero_stage") if "deepspeed_config" in found else False
    open_ = Unknown("each of the processes that accelerate starts has its own")
    return Launch(
        launcher="accelerate" if several else "python",
        world_size=processes,
        rank=open_ if processes > 1 else 0,
        local_rank=open_ if processes > 1 else 0,
        local_world_size=processes // machines,
        notebook=False,
        deepspeed_zero=zero if isinstance(zero, int) else Unknown("the DeepSpeed configuration is in a file"),
        fsdp=str(found.get("distributed_type")).upper() == "FSDP",
    )


def _number(value: Any, name: str, path: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputError(f"{path}: {name} is {value!r}; expected a whole number") from None
