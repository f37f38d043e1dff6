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
from qvl_preflight.readers.files import beside, read_mapping

EXPECTED = "settings of TrainingArguments, a DeepSpeed configuration, or a configuration of accelerate"


@dataclass(frozen=True)
class Job:
    """What is known of a training job: the trainer's settings, and how it is launched where its file says so."""

    trainer: Mapping[str, Any] | None
    launch: Launch | None = None


def read_trainer(given: Any) -> Job:
    """The job that ``trainer=`` describes. Raises InputError."""
    if given is None:
        return Job(None)
    if isinstance(given, (str, os.PathLike)):
        return _from_file(os.fspath(given))
    if isinstance(given, Mapping):
        return Job(with_files({str(key): value for key, value in given.items()}))
    if hasattr(given, "__dict__") and not isinstance(given, type):
        return Job(with_files({key: value for key, value in vars(given).items() if not key.startswith("_")}))
    raise InputError(
        f"trainer is a {type(given).__name__}; expected TrainingArguments, a mapping of its settings, or a file of such"
    )


def _from_file(path: str) -> Job:
    found = read_mapping(path, EXPECTED)
    if accelerate.looks_like(found):
        return Job(accelerate.trainer_of(found, path), accelerate.launch_of(found, path))
    if deepspeed.looks_like(found):
        return Job({"deepspeed": deepspeed.read_config(found, None, path)})
    return Job(with_files(found, path))


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
