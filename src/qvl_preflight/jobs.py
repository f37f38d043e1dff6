"""A training job as a situation: the call that its files make, the machine, and the ranks that they start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.devices import is_rank, visible_devices
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts, Launch, Packages
from qvl_preflight.readers import accelerate, deepspeed, llama_factory
from qvl_preflight.readers.files import YAML_SUFFIXES, read_mapping
from qvl_preflight.readers.names import unread
from qvl_preflight.unknown import Unknown, attempt

ALONE = ("python", "notebook")


@dataclass(frozen=True)
class Job:
    """A call read out of a job's file, and the facts of the job's processes."""

    call: llama_factory.Call
    facts: Facts
    notes: tuple[str, ...] = ()


def is_job(model: str) -> bool:
    """Is this the file of a job, rather than a model?"""
    return model.lower().endswith((*YAML_SUFFIXES, ".json")) and not os.path.isdir(model)


def read_job(path: str, facts: Facts, find: Callable[[str], Checkpoint]) -> Job:
    """The call that the file of a job makes. ``find``: where its checkpoint is. Raises InputError."""
    found = read_mapping(path, llama_factory.EXPECTED)
    if not llama_factory.looks_like(found):
        kind = "accelerate" if accelerate.looks_like(found) else "DeepSpeed" if deepspeed.looks_like(found) else None
        raise InputError(
            f"{path}: a configuration of {kind} names no model; give the model, and this file by trainer= (--trainer)"
            if kind
            else f"{path}: neither a model's folder nor {llama_factory.EXPECTED}; give the model, and such settings by trainer= (--trainer)"
        )
    facts = launched(facts, _ranks(facts))
    model = found.get("model_name_or_path")
    stored = find(model).quantization if isinstance(model, str) and model else None
    installed = attempt(lambda: Packages(facts).has("flash-attn"))
    rank = None if isinstance(facts.launch, Unknown) else facts.launch.local_rank
    ordinal = rank if isinstance(rank, int) else 0
    call = llama_factory.read_job(found, path, stored, ordinal=ordinal, flash_attn=installed is True)
    return Job(call, facts, unread(found, path, "LLaMA-Factory", "TrainingArguments"))


def _ranks(facts: Facts) -> Launch | None:
    """llamafactory-cli starts a rank for each GPU where there are several; the first of them is looked at."""
    devices = visible_devices(facts)
    count = 0 if isinstance(devices, Unknown) else len(devices.visible)
    return Launch("torchrun", count, 0, 0, count, False, False, False) if count > 1 else None


def launched(facts: Facts, launch: Launch | None) -> Facts:
    """The facts of a process of the job: it is started as its file says, unless this process is one of its ranks already."""
    if launch is None or is_rank(facts.launch):
        return facts
    return replace(facts, launch=launch)


def elsewhere(facts: Facts, trainer: Mapping[str, Any] | None) -> Facts:
    """The facts as far as they hold for a job that is only asked about: how it will be started is not known from this process."""
    ranks = bool(trainer) and bool((trainer or {}).get("deepspeed") or (trainer or {}).get("fsdp"))
    if not ranks or isinstance(facts.launch, Unknown) or facts.launch.launcher not in ALONE:
        return facts
    return replace(facts, launch=Unknown("how the job will be started is not known"))
