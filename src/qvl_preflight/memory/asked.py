"""The step that an estimate is asked for: ``inference`` and ``training`` of estimate_memory, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.exceptions import InputError

_INFERENCE = ("batch_size", "sequence_length", "max_new_tokens", "use_cache", "images", "image_size")
_METHODS = ("full", "lora")
_MOST = 2**31


@dataclass(frozen=True)
class Asked:
    """What is done with the model. ``method`` is None for inference; ``targets`` None for all linear layers."""

    batch: int
    length: int
    new_tokens: int = 0
    method: str | None = None
    checkpointing: bool = False
    reentrant: bool = True  # as prepare_model_for_kbit_training has it
    optimizer: str = "adamw_torch"
    amp: bool = False
    rank: int = 16
    targets: tuple[str, ...] | None = None
    cache: bool = False
    images: int = 0  # in the whole batch
    image_size: tuple[int, int] | None = None  # height and width, in pixels


def read_asked(inference: Mapping[str, Any] | None, training: Mapping[str, Any] | None) -> Asked | None:
    """The step; None where only the load is asked for. Raises InputError."""
    for name, given in (("inference", inference), ("training", training)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"{name} is a {type(given).__name__}; expected a mapping such as {{'batch_size': 1, 'sequence_length': 2048}}"
            )
    if inference is not None and training is not None:
        raise InputError("inference and training are both given; ask for one step at a time")
    if inference is not None:
        if strange := sorted(set(map(str, inference)) - set(_INFERENCE)):
            raise InputError(f"inference: {strange[0]!r} is not known; expected {', '.join(_INFERENCE)}")
        made = _number(inference, "max_new_tokens", 0, least=0)
        keeps = inference.get("use_cache", made > 0) is True
        batch, length = _number(inference, "batch_size", 1), _number(inference, "sequence_length", 2048)
        return Asked(batch, length, made, cache=keeps, images=_number(inference, "images", 0, least=0), image_size=_size(inference))
    return None if training is None else _training(training)


def _training(given: Mapping[str, Any]) -> Asked:
    """Keys that are not known are left alone: TrainingArguments has a hundred that need no memory."""
    method = given.get("method", "full")
    if method not in _METHODS:
        raise InputError(f"training: method {method!r} is not known; expected one of {', '.join(_METHODS)}")
    amp = given.get("amp")
    if amp not in (None, "bf16", "fp16"):
        raise InputError(f"training: amp {amp!r} is not known; expected bf16, fp16 or None")
    targets = given.get("lora_target_modules", "all-linear")
    if isinstance(targets, str):
        names = None if targets == "all-linear" else (targets,)
    elif isinstance(targets, (list, tuple, set)) and all(isinstance(name, str) for name in targets):
        names = tuple(sorted(targets))
    else:
        raise InputError("training: lora_target_modules is neither 'all-linear' nor a list of names")
    optimizer, how = given.get("optimizer", "adamw_torch"), given.get("gradient_checkpointing_kwargs")
    reentrant = not isinstance(how, Mapping) or how.get("use_reentrant") is not False
    return Asked(
        _number(given, "batch_size", 1), _number(given, "sequence_length", 2048), 0, method, given.get("gradient_checkpointing") is True, reentrant,
        str(getattr(optimizer, "value", optimizer)), amp is not None, _number(given, "lora_rank", 16), names,
        images=_number(given, "images", 0, least=0), image_size=_size(given),
    )  # fmt: skip


def _number(given: Mapping[str, Any], key: str, default: int, least: int = 1) -> int:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MOST:
        raise InputError(f"{key} is {value!r}; expected a whole number from {least} on")
    return value


def _size(given: Mapping[str, Any]) -> tuple[int, int] | None:
    value = given.get("image_size")
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(type(side) is int and 0 < side < 2**16 for side in value):
        raise InputError(f"image_size is {value!r}; expected height and width in pixels, such as [448, 448]")
    return value[0], value[1]
