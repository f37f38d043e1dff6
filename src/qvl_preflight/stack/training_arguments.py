"""Which arguments TrainingArguments takes, by release: one that came later, or has gone, is a TypeError before anything is trained.

``tables/training_arguments.txt`` is written by scripts/training_arguments.py out of the sources of 4.28 to 5.23. Only what some release takes is
judged: a mapping may hold settings of other programs as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.release_spans import Release, Releases, Spans, read_spans, read_table, shown, takes_in
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import Draft, Situation

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "training_arguments.txt")
# What says the same in the releases that do not take it; None: it was without effect.
INSTEAD: Mapping[str, str | None] = {
    "evaluation_strategy": "eval_strategy", "eval_strategy": "evaluation_strategy", "no_cuda": "use_cpu", "use_cpu": "no_cuda",
    "per_gpu_train_batch_size": "per_device_train_batch_size", "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "group_by_length": 'train_sampling_strategy="group_by_length"', "push_to_hub_token": "hub_token", "push_to_hub_model_id": "hub_model_id",
    "adafactor": 'optim="adafactor"', "dispatch_batches": "accelerator_config", "split_batches": "accelerator_config",
    "fsdp_min_num_params": "fsdp_config", "fsdp_transformer_layer_cls_to_wrap": "fsdp_config", "warmup_ratio": "warmup_steps",
    "include_inputs_for_metrics": "include_for_metrics", "torchdynamo": "torch_compile_backend", "use_mps_device": None, "overwrite_output_dir": None,
    "save_safetensors": None, "fp16_backend": None, "half_precision_backend": None, "use_ipex": None,
}  # fmt: skip


# Settings of the same name that other programs' files have.
_NOT_ALONE = ("project", "use_cache", "use_cpu", "tp_size", "parallelism_config")


def training_arguments(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: arguments that TrainingArguments of the installed release does not take. Python names the first."""
    named = [name for name in situation.request.trainer or () if name in _table()[1] and name not in _NOT_ALONE]
    release = situation.packages.release("transformers") if named else None
    if release is None:
        return
    refused = [name for name in named if takes(name, (release[0], release[1])) is False]
    if refused:
        each = ", ".join(f"{name} ({_span(_table()[1][name])})" for name in refused)
        why = f"TrainingArguments of the installed transformers does not take what other releases do: {each}"
        text = f"{_constructor(situation.facts)} got an unexpected keyword argument '{refused[0]}'"
        yield WillRaise("QVL820", Stage.TRAINER, "TypeError", text, "training-arguments", why, evidence=Evidence.RUN)


def gone() -> tuple[str, ...]:
    """The arguments that the newest release no longer takes."""
    newest = _table()[0][-1]
    return tuple(name for name, spans in _table()[1].items() if all(last < newest for _, last in spans))


def takes(name: str, release: Release) -> bool | None:
    """Does a release take an argument? None where releases on both sides of it differ, or nobody knows the name."""
    releases, names = _table()
    return takes_in(names[name], releases, release) if name in names else None


@lru_cache(maxsize=1)
def _table() -> tuple[Releases, Mapping[str, Spans]]:
    """The releases that were read; and for each argument the spans of those that have it."""
    releases, lines = read_table(PATH)
    return releases, {name: read_spans(ranges, releases[-1]) for name, ranges in map(str.split, lines)}


def _span(spans: Spans) -> str:
    return shown(spans, _table()[0][-1])


def _constructor(facts: Facts) -> str:
    """As Python names it: with its class since 3.10."""
    version = Unknown("") if isinstance(facts.python, Unknown) else facts.python.version
    old = isinstance(version, Unknown) or version.startswith(("3.6", "3.7", "3.8", "3.9"))
    return "__init__()" if old else "TrainingArguments.__init__()"
