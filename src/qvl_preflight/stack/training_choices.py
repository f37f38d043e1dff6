"""Values of TrainingArguments that no release, or not this one, takes: the name of an optimizer or of a schedule, text in place of a number or of a truth,
and optimizers whose package is not installed.

``tables/training_choices.txt`` is written by scripts/training_arguments.py out of the sources of 4.28 to 5.23. Run with 4.37.2, 4.57.1 and 5.23.0.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.release_spans import Releases, Spans, read_spans, read_table, shown, takes_in
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "training_choices.txt")
_KINDS = {"optim": "OptimizerNames", "lr_scheduler_type": "SchedulerType"}  # the strategies' class differs between releases


def training_choices(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a name that TrainingArguments of the installed release does not take."""
    trainer = situation.request.trainer or {}
    releases, known = _table()
    named = [key for key in known if isinstance(trainer.get(key), str)]
    release = situation.packages.release("transformers") if named else None
    for key in named if release else ():
        value, (major, minor, *_) = trainer[key], release or (0, 0)
        spans = known[key].get(value, ())
        if takes_in(spans, releases, (major, minor)) is not False:
            continue
        there = [name for name, its in known[key].items() if takes_in(its, releases, (major, minor))]
        near = difflib.get_close_matches(value.lower(), there, 3) or (there if len(there) < 6 else ())
        hint = f"; transformers {shown(spans, releases[-1])} has it" if spans else f"; there are {', '.join(near)}" if near else ""
        why = f'{key}="{value}" is a name that the installed transformers does not know{hint}'
        text = f"{value} is not a valid {_KINDS.get(key, '')}"
        yield WillRaise("QVL822", Stage.TRAINER, "ValueError", text, f"training-{key}", why, evidence=Evidence.RUN)


# What text in place of a number raises: of the optimizer's own check, of the sampler, of the clipping.
_NUMBERS = (
    ("learning_rate", "TypeError", "'<=' not supported between instances of 'float' and 'str'"),
    ("per_device_train_batch_size", "ValueError", "batch_size should be a positive integer value, but got batch_size="),
    ("max_grad_norm", "TypeError", "'>' not supported between instances of 'str' and 'int'"),
)


def training_numbers(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: text, or nothing, where a step counts. DeepSpeed's own file takes some of them over."""
    trainer = situation.request.trainer or {}
    if trainer.get("deepspeed") or not situation.packages.has("transformers"):
        return
    plain = str(trainer.get("optim") or "adamw_torch") in ("adamw_torch", "adamw_torch_fused", "adamw_hf")
    for name, kind, text in _NUMBERS:
        value = trainer.get(name)
        if isinstance(value, str) and (plain or name != "learning_rate"):
            why = f'{name}="{value}" is text, and no number'
            yield WillRaise("QVL824", Stage.TRAINER, kind, text, "training-number", why, evidence=Evidence.RUN)
    for name, kind, text in (
        ("per_device_train_batch_size", *_NUMBERS[1][1:]),
        ("gradient_accumulation_steps", "ZeroDivisionError", ""),
    ):
        if trainer.get(name) == 0 and trainer.get(name) is not False:
            yield WillRaise(
                "QVL824", Stage.TRAINER, kind, text, "training-number", f"{name}=0 leaves no step", evidence=Evidence.RUN
            )


class _Needs(NamedTuple):
    """What an optimizer is imported from: the distribution, and the words where it is missing."""

    package: str
    rows: ByRelease[tuple[str, str]]


def _same(since: str, text: str, kind: str = "ImportError") -> ByRelease[tuple[str, str]]:
    source = "transformers 5.23.0, 4.57.1 run; every release between read: trainer.py, trainer_optimizer.py"
    return ByRelease("transformers", Row(since, None, (kind, text), Evidence.RUN, source))


_BNB = ByRelease(
    "transformers",
    Row("4.28", "5.0", ("ValueError", "Trainer tried to instantiate bnb optimizer but "), Evidence.RUN, "transformers 4.37.2 run; 4.57.1 trainer.py:1604"),
    Row("5.0", None, ("ImportError", "You need to install `bitsandbytes` in order to use bitsandbytes optimizers"), Evidence.SOURCE, "transformers 5.0.0, 5.23.0 trainer_optimizer.py:248"),
)  # fmt: skip
_NEEDS: Mapping[str, _Needs] = {
    **dict.fromkeys(
        ("adamw_bnb_8bit", "adamw_8bit", "lion_8bit", "lion_32bit", "paged_", "ademamix", "rmsprop_bnb"), _Needs("bitsandbytes", _BNB)
    ),
    "galore_": _Needs("galore-torch", _same("4.39", "You need to install `galore_torch` in order to use GaLore optimizers")),
    "apollo_": _Needs("apollo-torch", _same("4.49", "You need to install `apollo_torch` in order to use APOLLO optimizers")),
    **dict.fromkeys(("lomo", "adalomo"), _Needs("lomo-optim", _same("4.42", "You need to install `lomo_optim` in order to use LOMO optimizers"))),
    "grokadamw": _Needs("grokadamw", _same("4.45", "Please install grokadamw with `pip install grokadamw`", "ValueError")),
    "schedule_free_": _Needs("schedulefree", _same("4.45", "You need to install `schedulefree` in order to use schedulefree optimizers.")),
    "stable_adamw": _Needs("torch-optimi", _same("4.54", "You need to install `torch-optimi` in order to use stable_adamw optimizers.")),
    "adamw_apex_fused": _Needs("apex", _same("4.28", "Trainer tried to instantiate apex FusedAdam but apex is not installed!", "ValueError")),
    "adamw_anyprecision": _Needs("torchdistx", _same("4.28", "Please install https://github.com/pytorch/torchdistx", "ValueError")),
}  # fmt: skip


def optimizer_package(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: an optimizer whose package is not installed. DeepSpeed may make an optimizer of its own."""
    trainer = situation.request.trainer or {}
    optimizer = trainer.get("optim")
    if not isinstance(optimizer, str) or trainer.get("deepspeed") or draft.failed("training-optim"):
        return
    needs = next((found for start, found in _NEEDS.items() if optimizer.startswith(start)), None)
    if needs is None or situation.packages.has(needs.package):
        return
    row = needs.rows.row(situation.packages)
    why = f'optim="{optimizer}" is taken from {needs.package}, which is not installed'
    yield WillRaise("QVL823", Stage.TRAINER, *row.value, "optimizer-package", why, evidence=row.evidence)


@lru_cache(maxsize=1)
def _table() -> tuple[Releases, Mapping[str, Mapping[str, Spans]]]:
    """The releases that were read; and for each argument its names with the spans of the releases that have them."""
    releases, lines = read_table(PATH)
    found: dict[str, dict[str, Spans]] = {}
    for argument, name, ranges in map(str.split, lines):
        found.setdefault(argument, {})[name] = read_spans(ranges, releases[-1])
    return releases, found
