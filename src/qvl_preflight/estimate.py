"""What a call will need, before anything is loaded: estimate_memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qvl_preflight.api import situation
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts_from import FactsLike
from qvl_preflight.memory.asked import read_asked
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.memory.weights import WIDTHS
from qvl_preflight.plan import Quantization, Situation
from qvl_preflight.planner import make_plan
from qvl_preflight.request import ConfigObject, Dtype
from qvl_preflight.stack.loaders import capability_of, loader_of
from qvl_preflight.unknown import Undecided, Unknown, attempt


def estimate_memory(
    model: str | os.PathLike[str], /, *, dtype: Any = None, attn_implementation: str | None = None, quantization_config: Any = None,
    inference: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None, facts: FactsLike = None,
) -> MemoryEstimate:  # fmt: skip
    """The bytes of ``from_pretrained(model, ...)`` and of one step after it, all of it on one GPU. Nothing is loaded.

    ``inference``: ``{"batch_size": 1, "sequence_length": 2048, "max_new_tokens": 0, "use_cache": False}``; new tokens make it generate, which keeps a
    cache. ``training``: ``{"method": "lora" or "full", "batch_size", "sequence_length", "gradient_checkpointing", "optimizer", "amp": "bf16",
    "lora_rank", "lora_target_modules"}``; lora over quantised weights takes prepare_model_for_kbit_training with it. Neither: the load alone.
    Raises InputError for what cannot be read, and where the weights themselves are not known.
    """
    asked = read_asked(inference, training)
    kwargs = {"dtype": dtype, "attn_implementation": attn_implementation, "quantization_config": quantization_config}
    given = {key: value for key, value in kwargs.items() if value is not None}
    case = situation(model, None, None, None, None, facts, {"device_map": {"": 0}, **given})
    return of_situation(case, attn_implementation, asked)


def of_situation(case: Situation, attention: str | None, asked: Any) -> MemoryEstimate:
    """The same for a call that is already read. Raises InputError."""
    plan = make_plan(case)
    dtype = _named_dtype(case) if isinstance(plan.dtype, Unknown) else plan.dtype
    how = quantization_of(case, plan.quantization)
    old = attempt(lambda: case.packages.at_least("transformers", 5)) is False
    try:
        return estimate(
            case.checkpoint, dtype, how, attention, asked, capability_of(case), release5=not old, loader=loader_of(case, plan)
        )
    except Undecided as undecided:
        raise InputError(f"{case.request.model}: the size of the weights is not known: {undecided.reason}") from undecided


def quantization_of(case: Situation, planned: Quantization | Unknown | None) -> Quantization | Unknown | None:
    """As planned; where packages are not known, as the call or the checkpoint says: they decide the kernel, not the size."""
    if not isinstance(planned, Unknown):
        return planned
    given, stored, method = (
        case.request.kwargs.get("quantization_config"),
        case.checkpoint.quantization,
        case.checkpoint.quant_method,
    )
    if stored is not None and method is not None:
        return Quantization(method, stored, pre_quantized=True)
    if isinstance(given, ConfigObject) and given.class_name == "BitsAndBytesConfig":
        return Quantization("bitsandbytes", given.fields, pre_quantized=False)
    return None if given is None else planned


def _named_dtype(case: Situation) -> str | Unknown:
    """The one that the call names; "auto" is what the checkpoint says."""
    given = case.request.kwargs.get("dtype")
    name = given.name if isinstance(given, Dtype) else case.checkpoint.dtype if given == "auto" else given
    return name if name in WIDTHS else Unknown("in which dtype the installed release loads; name one with dtype=")
