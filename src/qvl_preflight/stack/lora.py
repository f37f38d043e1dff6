"""get_peft_model: which settings of a LoraConfig a release of peft refuses on a model, and which modules it saves or leaves out.

Sources: peft 0.4 to 0.21 tuners/tuners_utils.py inject_adapter, tuners/lora/model.py, tuners/lora/layer.py, config.py. Run on a CPU with 0.8.2 and 0.21.2
over plain, 4-bit, 8-bit and GPTQ models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import show
from qvl_preflight.stack.adapter_targets import hits, in_vision, may_be_head, modules_of
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Quantization, Situation

_TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
_INTEGER_LAYERS = ("gptq", "awq", "bitsandbytes")
PACKED = ("gptq", "awq")  # their layers are no torch.nn.Linear, and have no `weight`


def config(situation: Situation) -> Mapping[str, Any] | None:
    """The LoraConfig of this call; None where none is given, or another method's."""
    request = situation.request
    given = request.peft if request.purpose in ("lora", "qlora") else None
    return given if given is not None and str(given.get("peft_type") or "LORA") == "LORA" else None


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: settings that peft refuses whatever the model."""
    given = config(situation)
    if given is None:
        return
    task, quantization = given.get("task_type"), draft.quantization
    if not isinstance(quantization, Unknown) and quantization is not None:
        yield from _dora(situation, given, quantization)  # a layer asks for this before it makes its weights
    if situation.packages.at_least("peft", 0, 6):
        yield from _rank(situation, given)
        yield from _numbers(given)
    if isinstance(task, str) and task not in _TASKS and situation.packages.at_least("peft", 0, 14):
        why = f'task_type="{task}" is none of {", ".join(_TASKS)}'
        yield WillRaise(
            "QVL814", Stage.ADAPTERS, "ValueError", f"Invalid task type: '{task}'.", "lora-task", why, evidence=Evidence.RUN
        )
    if (quantization := need(draft.quantization)) is not None:
        yield from _on_quantized(situation, given, quantization)


def _rank(situation: Situation, given: Mapping[str, Any]) -> Iterator[WillRaise]:
    """A rank below one: of all layers, or in rank_pattern of one that target_modules names in the same words."""
    ranks, wanted, modules = given.get("rank_pattern"), given.get("target_modules"), modules_of(situation.checkpoint)
    found: list[tuple[str, Any]] = [(f"r={given.get('r')}", given.get("r"))]
    if isinstance(ranks, Mapping) and isinstance(wanted, list) and modules is not None:
        there = {name: rank for name, rank in ranks.items() if name in wanted and hits(modules.layers, [name])}
        found += [(f'rank_pattern={{"{name}": {rank}}}', rank) for name, rank in there.items()]
    for words, rank in found:
        if isinstance(rank, int) and not isinstance(rank, bool) and rank <= 0:
            text = f"`r` should be a positive integer value but the value passed is {rank}"
            yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-rank", f"{words} is no rank", evidence=Evidence.RUN)
            return


def _dora(situation: Situation, given: Mapping[str, Any], quantization: Quantization) -> Iterator[WillRaise]:
    """DoRA on packed layers, which the layer's constructor refuses."""
    release, method = situation.packages.release("peft") or (0,), quantization.method
    if method in PACKED and given.get("use_dora") is True and release >= ((0, 15) if method == "awq" else (0, 10)):
        name = "AwqLoraLinear" if method == "awq" else "GPTQLoraLinear" if release >= (0, 15) else "QuantLinear"
        text, why = f"{name} does not support DoRA yet, please set it to False", f"peft has no DoRA for {method.upper()} layers"
        seen = release >= (0, 20) if method == "awq" else release >= (0, 21) or release[:2] == (0, 18)
        evidence = Evidence.RUN if seen else Evidence.SOURCE
        yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-dora", why, evidence=evidence)


# A value of another kind: setting, type, what is wrong with it, what Python or torch says.
_OTHER_KIND = (
    ("r", str, "is text, and no number", "'<=' not supported between instances of 'str' and 'int'"),
    ("r", float, "is no whole number", "empty(): argument 'size'"),
    ("lora_alpha", str, "is text, and no number", "unsupported operand type(s) for /: 'str' and "),
    ("lora_dropout", str, "is text, and no number", "'>' not supported between instances of 'str' and 'float'"),
)


def _numbers(given: Mapping[str, Any]) -> Iterator[WillRaise]:
    """r, lora_alpha and lora_dropout that are no numbers of their kind (run with 0.6.2 to 0.21.2)."""
    for name, kind, is_wrong, text in _OTHER_KIND:
        if isinstance(value := given.get(name), kind):
            why = f"{name}={show(value)} {is_wrong}"
            yield WillRaise("QVL814", Stage.ADAPTERS, "TypeError", text, "lora-rank", why, evidence=Evidence.RUN)


def _on_quantized(situation: Situation, given: Mapping[str, Any], quantization: Quantization) -> Iterator[WillRaise]:
    release = situation.packages.release("peft") or (0,)
    method, start = quantization.method, given.get("init_lora_weights")
    packed = method in PACKED
    if not isinstance(start, str) or release < (0, 10):
        return
    if start.startswith("pissa") and quantization.method == "bitsandbytes":
        text = "Please initialize PiSSA under float32, float16, or bfloat16."
        why = "PiSSA starts from a decomposition of the weights, and these are quantised"
        yield WillRaise("QVL814", Stage.ADAPTERS, "TypeError", text, "lora-init", why, evidence=Evidence.RUN)
    if packed and (start.startswith("pissa") or start == "olora"):
        why = f'init_lora_weights="{start}" starts from a decomposition of the weights, and {method.upper()} layers have none of that name'
        evidence = Evidence.RUN if release >= ((0, 20) if method == "awq" else (0, 21)) else Evidence.SOURCE
        yield WillRaise("QVL814", Stage.ADAPTERS, "AttributeError", "", "lora-init", why, evidence=evidence)


def saved_modules(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: modules_to_save that 4- or 8-bit layers of bitsandbytes hold: their copy cannot require a gradient."""
    quantization = need(draft.quantization)
    found = quantized_copies(situation, quantization)
    if found and quantization is not None and quantization.method == "bitsandbytes":
        text = "only Tensors of floating point dtype can require gradients"
        why = f"modules_to_save copies {found[0]}, whose quantised weights are whole numbers"
        yield WillRaise("QVL815", Stage.ADAPTERS, "RuntimeError", text, "modules-to-save", why, evidence=Evidence.RUN)


def quantized_copies(situation: Situation, quantization: Quantization | Unknown | None) -> list[str]:
    """The quantised layers that modules_to_save would copy whole."""
    given = config(situation)
    names = given.get("modules_to_save") if given else None
    if (
        isinstance(quantization, Unknown)
        or quantization is None
        or quantization.method not in _INTEGER_LAYERS
        or not isinstance(names, list)
    ):
        return []
    modules = modules_of(situation.checkpoint)
    if modules is None:
        return []
    kept = quantization.config.get("llm_int8_skip_modules")
    kept = kept if isinstance(kept, list) else []
    packed = quantization.method in PACKED
    return [
        name
        for name in hits(modules.linear, names)
        if (modules.linear[name] is None if packed else not any(str(skipped) in name for skipped in kept))
    ]


def unused_targets(situation: Situation) -> list[str]:
    """The names of target_modules that reach nothing, beside others that do; and the patterns of rank and alpha that name none of them."""
    given = config(situation)
    wanted = given.get("target_modules") if given else None
    if given is None or not isinstance(wanted, list) or (modules := modules_of(situation.checkpoint)) is None:
        return []
    names = {**modules.layers, **dict.fromkeys(sorted(modules.containers))}
    unused = [str(name) for name in wanted if not may_be_head(str(name)) and not hits(names, [name])]
    patterns = [
        str(key)
        for setting in ("rank_pattern", "alpha_pattern")
        if isinstance(given.get(setting), Mapping)
        for key in given[setting]
    ]
    reached = hits(names, wanted)
    plain = [key for key in patterns if re.fullmatch(r"\w+", key)]
    return unused + [key for key in plain if reached and not hits(reached, [key]) and not may_be_head(key)]


def by_tower(situation: Situation) -> tuple[list[str], list[str]] | None:
    """What a list of names reaches in the language model, and in a vision or audio tower; None where that is not known."""
    given = config(situation)
    wanted = given.get("target_modules") if given else None
    if not isinstance(wanted, list) or (modules := modules_of(situation.checkpoint)) is None:
        return None
    reached = hits(modules.linear, wanted)
    seeing = in_vision(reached)
    return [name for name in reached if name not in seeing], seeing
