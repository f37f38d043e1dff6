"""get_peft_model: which layers a LoraConfig reaches, and which of its settings a release of peft refuses.

Sources: peft 0.4 to 0.21 tuners/tuners_utils.py inject_adapter, tuners/lora/model.py, tuners/lora/layer.py, config.py. Run on a CPU with 0.8.2 and 0.21.2
over plain, 4-bit, 8-bit and GPTQ models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.adapter_targets import Modules, hits, in_blocks, in_vision, may_be_head, modules_of, nearest
from qvl_preflight.stack.lora_defaults import maps
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Quantization, Situation

_NOT_FOUND = ByRelease(
    "peft",
    Row("0.4", "0.20", "ValueError", Evidence.RUN, "peft 0.8.2 tuners/tuners_utils.py:307"),
    Row("0.20", None, "NoMatchingPeftModuleError", Evidence.RUN, "peft 0.21.2 tuners/tuners_utils.py:1069"),
)
_ALL_LINEAR = ByRelease(
    "peft",
    Row("0.8", "0.17", "Target modules set() not found in the base model.", Evidence.RUN, "peft 0.8.2 tuners/tuners_utils.py:307"),
    Row("0.17", "0.21", "", Evidence.SOURCE, "peft 0.17.1, 0.19.0 tuners/tuners_utils.py: the words differ"),
    Row("0.21", None, "No `target_modules` passed but also no `target_parameters` found.", Evidence.RUN, "peft 0.21.2 tuners/tuners_utils.py:1061"),
)  # fmt: skip
_TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
_INTEGER_LAYERS = ("gptq", "awq", "bitsandbytes")
_PACKED = ("gptq", "awq")  # their layers are no torch.nn.Linear, and have no `weight`


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
    rank, task = given.get("r"), given.get("task_type")
    if isinstance(rank, int) and not isinstance(rank, bool) and rank <= 0 and situation.packages.at_least("peft", 0, 6):
        text = f"`r` should be a positive integer value but the value passed is {rank}"
        yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-rank", f"r={rank} is no rank", evidence=Evidence.RUN)
    if isinstance(task, str) and task not in _TASKS and situation.packages.at_least("peft", 0, 14):
        why = f'task_type="{task}" is none of {", ".join(_TASKS)}'
        yield WillRaise(
            "QVL814", Stage.ADAPTERS, "ValueError", f"Invalid task type: '{task}'.", "lora-task", why, evidence=Evidence.RUN
        )
    quantization = need(draft.quantization)
    if quantization is not None:
        yield from _on_quantized(situation, given, quantization)


def _on_quantized(situation: Situation, given: Mapping[str, Any], quantization: Quantization) -> Iterator[WillRaise]:
    release = situation.packages.release("peft") or (0,)
    method, start = quantization.method, given.get("init_lora_weights")
    packed = method in _PACKED
    if packed and given.get("use_dora") is True and release >= ((0, 15) if method == "awq" else (0, 10)):
        name = "AwqLoraLinear" if method == "awq" else "GPTQLoraLinear" if release >= (0, 15) else "QuantLinear"
        text, why = f"{name} does not support DoRA yet, please set it to False", f"peft has no DoRA for {method.upper()} layers"
        evidence = Evidence.RUN if release >= ((0, 20) if method == "awq" else (0, 21)) else Evidence.SOURCE
        yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-dora", why, evidence=evidence)
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


def targets(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: target_modules that the model does not have, or that are no layers."""
    given = config(situation)
    if given is None or given.get("target_parameters") or draft.failed("no-train"):
        return
    if "target_modules" in given and given["target_modules"] is None:
        yield from _default(situation)
        return
    wanted = given.get("target_modules")
    if not wanted or not isinstance(wanted, (str, list)):
        return
    modules = modules_of(situation.checkpoint)
    if modules is None:
        return
    if isinstance(wanted, str) and wanted.lower() == "all-linear" and situation.packages.at_least("peft", 0, 7):
        yield from _all_linear(situation, draft, modules)
        return
    found = hits({**modules.layers, **dict.fromkeys(sorted(modules.containers))}, wanted)
    if given.get("layers_to_transform") not in (None, []) and isinstance(wanted, list):
        found = in_blocks(found, given["layers_to_transform"])
    if not found:
        yield from _not_found(situation, given, wanted, modules)
    elif not given.get("exclude_modules"):
        yield from _no_layers(modules, found, wanted)


def _not_found(situation: Situation, given: Mapping[str, Any], wanted: str | list[Any], modules: Modules) -> Iterator[WillRaise]:
    if isinstance(wanted, list) and any(may_be_head(str(name)) or str(name).count(".") > 1 for name in wanted):
        return  # a head has no tensor of its own; a whole path hangs on how the class names its modules
    condition, shown = None, ", ".join(map(str, wanted)) if isinstance(wanted, list) else wanted
    why = f"no layer of the checkpoint is called {shown}; there are {', '.join(nearest(shown.split(', ')[0], modules))}"
    if isinstance(wanted, list) and hits(modules.linear, wanted):
        why = f"layers_to_transform={given['layers_to_transform']} names no block of this model"
    elif isinstance(wanted, str) and hits(modules.linear, [wanted]):
        why = f'the string "{wanted}" is a pattern for the whole name of a module, and none is called so; a list, ["{wanted}"], goes by the end'
    elif isinstance(wanted, str):
        why, condition = (
            f"the pattern {wanted} matches no module of the checkpoint",
            "the class names its modules as the checkpoint does",
        )
    row = _NOT_FOUND.row(situation.packages)
    listed = f"{{'{wanted[0]}'}} not found in the base model." if isinstance(wanted, list) and len(wanted) == 1 else ""
    text = f"Target modules {listed}" if isinstance(wanted, list) else f"Target modules {wanted} not found in the base model."
    yield WillRaise("QVL811", Stage.ADAPTERS, row.value, text, "lora-targets", why, condition, row.evidence)


def _no_layers(modules: Modules, found: list[str], wanted: str | list[Any]) -> Iterator[WillRaise]:
    """Containers, and norms, whose weight is one row."""
    for name in found:
        shape = modules.layers.get(name)
        holder = name in modules.containers and name not in modules.layers
        if holder or (shape is not None and len(shape) == 1 and name not in modules.containers):
            kind = "holds layers and is none itself" if holder else "is a norm and takes no adapter"
            why = f"target_modules reaches {name}, which {kind}"
            condition = None if isinstance(wanted, list) else "the class names its modules as the checkpoint does"
            yield WillRaise("QVL812", Stage.ADAPTERS, "ValueError", "Target module ", "lora-targets", why, condition, Evidence.RUN)
            return


def _all_linear(situation: Situation, draft: Draft, modules: Modules) -> Iterator[WillRaise]:
    """It means torch.nn.Linear, which the layers of bitsandbytes are and those of GPTQ and AWQ are not."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method not in _PACKED or any(shape for shape in modules.linear.values()):
        return
    row, kind = _ALL_LINEAR.row(situation.packages), _NOT_FOUND.value(situation.packages)
    why = f'"all-linear" means torch.nn.Linear, which no layer of {quantization.method.upper()} is: nothing is found'
    yield WillRaise("QVL813", Stage.ADAPTERS, kind, row.value, "lora-targets", why, evidence=row.evidence)


def _default(situation: Situation) -> Iterator[WillRaise]:
    """target_modules=None: peft's own list for the kind of model."""
    model = situation.checkpoint.config.get("model_type")
    release = situation.packages.release("peft")
    if not isinstance(model, str) or release is None or maps(model, release) is not False:
        return
    text = "Please specify `target_modules` in `peft_config`"
    why = f'target_modules is not given, and this peft has no list of its own for models of type "{model}"'
    yield WillRaise("QVL811", Stage.ADAPTERS, "ValueError", text, "lora-targets", why, evidence=Evidence.RUN)


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
    packed = quantization.method in _PACKED
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
