"""A quantisation that is asked for by arguments: load_in_4bit, load_in_8bit, fields of BitsAndBytesConfig, alone or beside a configuration.

Source: transformers 4.32 to 5.23 modeling_utils.py from_pretrained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import ConfigObject
from qvl_preflight.stack.cuda import available
from qvl_preflight.stack.quant_checks import NO_GPU
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


# 4.32 to 4.37 take the flag out before they look for duplicates; 5.x hands it to the model (stack/transformers.py).
_TWICE: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.32", "4.38", None, Evidence.RUN, "transformers 4.36.2, 4.37.2 modeling_utils.py"),
    Row(
        "4.38", "5.0",
        "You can't pass `load_in_4bit`or `load_in_8bit` as a kwarg when passing `quantization_config` argument at the same time.",
        Evidence.RUN, "transformers 4.40.2, 4.45.2, 4.51.3, 4.57.1 modeling_utils.py:4814",
    ),
    Row("5.0", None, None, Evidence.RECORDED, "transformers 5.17.0"),
)  # fmt: skip


_FIELD_TWICE = "You can't pass `load_in_8bit` or any other `BitsAndBytesConfig` argument as a kwarg when passing"


_FIELDS = (
    "llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight", "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
)  # fmt: skip


def bit_flags(situation: Situation) -> list[str]:
    """Which of load_in_4bit and load_in_8bit the call switches on."""
    return [name for name in ("load_in_4bit", "load_in_8bit") if situation.request.kwargs.get(name)]


def twice(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: load_in_4bit or load_in_8bit beside a quantization_config, up to 4.57."""
    kwargs, flags = situation.request.kwargs, bit_flags(situation)
    passed = kwargs.get("quantization_config")
    if passed is None or situation.packages.at_least("transformers", 5):
        return
    row = _TWICE.row(situation.packages)
    if flags and row.value is not None:
        why = f"{flags[0]} and quantization_config say the same thing twice"
        yield WillRaise("QVL331", Stage.CONFIG, "ValueError", row.value, "twice", why, evidence=row.evidence)
    if (
        flags
        and row.value is None
        and isinstance(passed, ConfigObject)
        and passed.class_name != "BitsAndBytesConfig"
        and not available(situation)
    ):
        why = f"{flags[0]} asks for bitsandbytes beside the {passed.class_name}, and bitsandbytes needs CUDA in this release"
        yield WillRaise("QVL332", Stage.CONFIG, "RuntimeError", NO_GPU, "no-cuda", why, evidence=row.evidence)
    fields = [name for name in _FIELDS if name in kwargs]
    if fields and row.value is None and isinstance(passed, ConfigObject) and passed.class_name == "BitsAndBytesConfig":
        why = f"{fields[0]} is a setting of the BitsAndBytesConfig that is passed as well"
        yield WillRaise("QVL331", Stage.CONFIG, "ValueError", _FIELD_TWICE, "twice", why, evidence=row.evidence)


def twice_in_5(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: the same in transformers 5, where the flags are no arguments and reach the model."""
    if situation.request.kwargs.get("quantization_config") is None or not situation.packages.at_least("transformers", 5):
        return
    for name in ("load_in_4bit", "load_in_8bit"):
        if name in situation.request.kwargs:
            model = (situation.checkpoint.config.get("architectures") or ["The model"])[0]
            remote = "the model's own code does not read it" if situation.checkpoint.remote_code else None
            text = f"{model}.__init__() got an unexpected keyword argument '{name}'"
            why = f"{name} stands beside a quantization_config, and transformers 5 reads the configuration alone"
            yield WillRaise("QVL331", Stage.MODEL, "TypeError", text, f"left-over-{name}", why, remote, Evidence.RECORDED)


def takes_flags(situation: Situation) -> bool:
    """load_in_4bit and load_in_8bit are arguments of from_pretrained up to 4.57; transformers 5 hands them to the model."""
    return not situation.packages.at_least("transformers", 5)


def stray(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: settings of BitsAndBytesConfig as arguments, which nothing reads (run: 4.36.2 to 5.23.0).

    Up to 4.57 they are read beside load_in_4bit or load_in_8bit; before 4.38 they are refused beside a BitsAndBytesConfig (`twice`).
    """
    kwargs = situation.request.kwargs
    names = [name for name in _FIELDS if name in kwargs]
    if not names or draft.failed("twice"):
        return
    if takes_flags(situation) and bit_flags(situation) and kwargs.get("quantization_config") is None:
        return
    model = (situation.checkpoint.config.get("architectures") or ["The model"])[0]
    remote = "the model's own code does not read it" if situation.checkpoint.remote_code else None
    text = f"{model}.__init__() got an unexpected keyword argument '{names[0]}'"
    why = f"{names[0]} is a setting of BitsAndBytesConfig and no argument of from_pretrained"
    yield WillRaise("QVL326", Stage.MODEL, "TypeError", text, f"left-over-{names[0]}", why, remote, Evidence.RUN)
