"""DeepSpeed's JSON: its path or content in TrainingArguments, and the values that it calls "auto".

Source: transformers 4.32 to 5.23 HfTrainerDeepSpeedConfig.trainer_config_process.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.files import beside, read_mapping
from qvl_preflight.readers.names import listed, names, strange_alone

EXPECTED = "a DeepSpeed configuration"
_KEYS = (
    "zero_optimization",
    "train_micro_batch_size_per_gpu",
    "train_batch_size",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
)
# Where "auto" stands, the setting of TrainingArguments that takes its place, and that setting's default.
_AUTO: tuple[tuple[str, str, Any], ...] = (
    ("train_micro_batch_size_per_gpu", "per_device_train_batch_size", 8), ("gradient_accumulation_steps", "gradient_accumulation_steps", 1),
    ("gradient_clipping", "max_grad_norm", 1.0), ("optimizer.params.lr", "learning_rate", 5e-5), ("optimizer.params.eps", "adam_epsilon", 1e-8),
    ("optimizer.params.weight_decay", "weight_decay", 0.0), ("scheduler.params.warmup_max_lr", "learning_rate", 5e-5),
    ("fp16.enabled", "fp16", False), ("bf16.enabled", "bf16", False),
)  # fmt: skip


def looks_like(found: Mapping[str, Any]) -> bool:
    """Is this mapping DeepSpeed's? Its optimizer, fp16 and bf16 are mappings."""
    return any(key in found for key in _KEYS) or any(isinstance(found.get(key), Mapping) for key in ("optimizer", "fp16", "bf16"))


def read_config(given: Any, trainer: Mapping[str, Any] | None, path: str | None = None) -> dict[str, Any] | None:
    """The configuration that ``deepspeed=`` names or holds, "auto" replaced by what ``trainer`` says, where that is known. Raises InputError."""
    if given is None or given is False or given == "":
        return None
    if isinstance(given, Mapping):
        found = {str(key): value for key, value in given.items()}
    elif isinstance(given, (str, os.PathLike)):
        found = read_mapping(beside(path, os.fspath(given)), EXPECTED)
    else:
        raise InputError(f"deepspeed is a {type(given).__name__}; expected the path of {EXPECTED}, or the configuration itself")
    if found and strange_alone(found, "DeepSpeed"):
        raise InputError(
            f"deepspeed: none of its names is a setting of DeepSpeed ({listed(found, names('DeepSpeed'))}); expected {EXPECTED}"
        )
    _check(found)
    return found if trainer is None else _filled(found, trainer)


def _check(found: Mapping[str, Any]) -> None:
    """What is read further on has the shape that DeepSpeed takes. Raises InputError."""
    zero = found.get("zero_optimization")
    if zero is not None and not isinstance(zero, (Mapping, bool)):
        raise InputError(f"deepspeed: zero_optimization is {zero!r}; expected an object with a stage")
    stage = zero.get("stage") if isinstance(zero, Mapping) else None
    if stage is not None and stage not in (0, 1, 2, 3):
        raise InputError(f"deepspeed: zero_optimization.stage is {stage!r}; expected 0, 1, 2 or 3")


def _filled(found: dict[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    filled = copy.deepcopy(found)
    for path, name, default in _AUTO:
        *inside, last = path.split(".")
        node: Any = filled
        for key in inside:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get(last) == "auto":
            node[last] = trainer.get(name, default)
    return filled
