"""What GPTQConfig refuses where it is made: bits, numbers, dataset, both switches of exllama.

Source: transformers 4.32 to 5.23 utils/quantization_config.py GPTQConfig.post_init.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.gptq_environment import gptq_of
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


_BITS = (2, 3, 4, 8)


_PTB = ("ptb", "ptb-new")


_DATASETS: ByRelease[tuple[str, ...]] = ByRelease(
    "transformers",
    Row("4.32", "4.42", ("wikitext2", "c4", "c4-new", *_PTB), Evidence.RUN, "transformers 4.37.2 utils/quantization_config.py:444"),
    Row("4.42", None, ("wikitext2", "c4", "c4-new"), Evidence.RUN, "transformers 4.45.2, 5.23.0 utils/quantization_config.py"),
)


def made(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """What GPTQConfig refuses where it is made of these."""
    bits = fields.get("bits")
    if isinstance(bits, int) and bits not in _BITS:
        text, why = (
            f"Only support quantization to [2,3,4,8] bits but found {bits}",
            f"transformers takes GPTQ of 2, 3, 4 or 8 bits, this says {bits}",
        )
        yield WillRaise("QVL304", Stage.CONFIG, "ValueError", text, "bits", why, evidence=Evidence.RUN)
        return
    yield from _numbers(situation, fields)
    if _reads_both_flags(situation) and all(fields.get(name) is not None for name in ("disable_exllama", "use_exllama")):
        yield WillRaise(
            "QVL304",
            Stage.CONFIG,
            "ValueError",
            "Cannot specify both `disable_exllama` and `use_exllama`. Please use just `use_exllama`",
            "exllama-flags",
            "both spellings of one switch are given",
            evidence=Evidence.RUN,
        )


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: what GPTQConfig itself refuses, made of the stored settings with the loading attributes of the call."""
    quantization = gptq_of(draft)
    if quantization is not None:
        yield from made(situation, quantization.config)


def _numbers(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """group_size, damp_percent and dataset (GPTQConfig.post_init; run on 4.36.2 to 5.23.0)."""
    size, damp, dataset = (fields.get(name) for name in ("group_size", "damp_percent", "dataset"))
    known = _DATASETS.value(situation.packages)
    text = why = ""
    if isinstance(size, int) and size != -1 and size <= 0:
        text, why = "group_size must be greater than 0 or equal to -1", f"group_size={size} is neither -1 nor a number of weights"
    elif isinstance(damp, (int, float)) and not 0 < damp < 1:
        text, why = "damp_percent must between 0 and 1.", f"damp_percent={damp} is not between 0 and 1"
    elif isinstance(dataset, str) and dataset not in known:
        text = (
            f"{dataset} dataset was deprecated."
            if dataset in _PTB and "ptb" not in known
            else "You have entered a string value for dataset."
        )
        if situation.packages.at_least("transformers", 5):
            text = "You have entered a string value for dataset."
        why = f'dataset="{dataset}" is none of {", ".join(known)}; a list of texts is taken as well'
    elif isinstance(dataset, (int, Mapping)) and not isinstance(dataset, bool):
        text, why = "dataset needs to be either a list of string or a value in", "dataset is neither a list of texts nor a name"
    if text:
        yield WillRaise("QVL304", Stage.CONFIG, "ValueError", text, "gptq-numbers", why, evidence=Evidence.RUN)


def _reads_both_flags(situation: Situation) -> bool:
    return situation.packages.at_least("transformers", 4, 35) and not situation.packages.at_least("transformers", 4, 51)
