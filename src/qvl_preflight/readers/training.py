"""``trainer=``: a TrainingArguments object, its settings, or the file that a job is configured by.

A TrainingArguments object is read by its attributes; nothing is imported for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Launch
from qvl_preflight.readers import accelerate, deepspeed
from qvl_preflight.readers.files import attributes, beside, read_mapping
from qvl_preflight.readers.names import listed, names, strange_alone, unread

EXPECTED = "settings of TrainingArguments (bf16, per_device_train_batch_size …), a DeepSpeed configuration, or a configuration of accelerate"
_KINDS = ("TrainingArguments", "DeepSpeed", "accelerate")


@dataclass(frozen=True)
class Job:
    """What is known of a training job: the trainer's settings, how it is launched where its file says so, and which of its names say nothing."""

    trainer: Mapping[str, Any] | None
    launch: Launch | None = None
    notes: tuple[str, ...] = ()


def read_trainer(given: Any) -> Job:
    """The job that ``trainer=`` describes. Raises InputError."""
    if given is None:
        return Job(None)
    if isinstance(given, (str, os.PathLike)):
        return _from_file(os.fspath(given))
    if isinstance(given, Mapping):
        return _from_mapping({str(key): value for key, value in given.items()}, "trainer")
    found = attributes(given)
    if hasattr(given, "args") and "output_dir" not in found:
        raise InputError(f"trainer is a {type(given).__name__}; expected its TrainingArguments: pass .args of it")
    if strange_alone(found, "TrainingArguments"):  # a subclass has settings of its own beside them
        raise InputError(
            f"trainer is {_a(given)}; expected TrainingArguments, a mapping of its settings, or the file of such, of DeepSpeed or of accelerate"
        )
    return Job(with_files(found))


def _a(given: Any) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"of the type {type(given).__name__}"


def _from_file(path: str) -> Job:
    return _from_mapping(read_mapping(path, EXPECTED), path, path)


def _from_mapping(found: dict[str, Any], where: str, path: str | None = None) -> Job:
    """Whose settings they are shows in their names; ``{}`` is a Trainer with defaults. Settings of nobody are refused."""
    if accelerate.looks_like(found):
        return Job(accelerate.trainer_of(found, where), accelerate.launch_of(found, where), unread(found, where, "accelerate"))
    if deepspeed.looks_like(found):
        return Job({"deepspeed": deepspeed.read_config(found, None, path)}, notes=unread(found, where, "DeepSpeed"))
    if found and strange_alone(found, "TrainingArguments"):
        raise InputError(
            f"{where}: none of its names is a setting that is known ({listed(found, names(*_KINDS))}); expected {EXPECTED}"
        )
    return Job(with_files(found, path), notes=unread(found, where, "TrainingArguments"))


def with_files(settings: dict[str, Any], path: str | None = None) -> dict[str, Any]:
    """The settings with the files that they name read: ``deepspeed``, ``fsdp_config``. A file that is not here stays a name."""
    named = settings.get("deepspeed")
    if isinstance(named, Mapping) or (isinstance(named, (str, os.PathLike)) and os.path.isfile(beside(path, os.fspath(named)))):
        settings["deepspeed"] = deepspeed.read_config(named, settings, path)
    elif isinstance(named, os.PathLike):
        settings["deepspeed"] = os.fspath(named)
    config = settings.get("fsdp_config")
    if isinstance(config, (str, os.PathLike)) and os.path.isfile(beside(path, os.fspath(config))):
        settings["fsdp_config"] = read_mapping(beside(path, os.fspath(config)), "the JSON of fsdp_config")
    return settings
