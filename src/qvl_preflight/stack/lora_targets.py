"""Which layers target_modules of a LoraConfig reach, and what get_peft_model raises where they reach none.

Sources: peft 0.4 to 0.21 tuners/tuners_utils.py inject_adapter, check_target_module_exists, tuners/lora/model.py. Run on a CPU over plain layers with 0.6.2, 0.8.2,
0.11.1, 0.13.2, 0.14.0, 0.16.0, 0.18.0 and 0.21.2, over layers of GPTQ and AWQ with 0.18.0 and 0.21.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.adapter_targets import Modules, hits, in_blocks, may_be_head, modules_of, nearest
from qvl_preflight.stack.lora import PACKED, config
from qvl_preflight.stack.lora_defaults import maps
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_NOT_FOUND = ByRelease(
    "peft",
    Row("0.4", "0.20", "ValueError", Evidence.RUN, "peft 0.8.2 tuners/tuners_utils.py:307"),
    Row("0.20", None, "NoMatchingPeftModuleError", Evidence.RUN, "peft 0.21.2 tuners/tuners_utils.py:1069"),
)
_NONE_NAMED = ByRelease(
    "peft",
    Row("0.6", "0.17", "Target modules set() not found in the base model.", Evidence.RUN, "peft 0.6.2, 0.8.2, 0.11.1, 0.13.2, 0.14.0, 0.16.0"),
    Row("0.17", None, "No `target_modules` passed but also no `target_parameters` found.", Evidence.RUN, "peft 0.18.0, 0.21.2; 0.17.1, 0.19.0 tuners/tuners_utils.py:641"),
)  # fmt: skip
_AS_NAMED = "the class names its modules as the checkpoint does"
# Words that people write for "every layer": no class calls a module of its own so.
_EVERY = ("all", "all_linear", "all linear", "alllinear", "all-layers", "all_layers", "every", "auto", "default", "any")


def targets(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: target_modules that the model does not have, or that are no layers."""
    given = config(situation)
    if given is None or given.get("target_parameters") or draft.failed("no-train"):
        return
    wanted = given.get("target_modules", ())
    if wanted is None:
        yield from _default(situation)
    elif wanted in ([], "") and not given.get("trainable_token_indices"):
        yield from _none_named(situation, given)
    elif broken := _broken(given):
        yield from _no_pattern(situation, *broken)
    elif wanted and isinstance(wanted, (str, list)) and (modules := modules_of(situation.checkpoint)) is not None:
        yield from _among(situation, draft, given, wanted, modules)


def _among(
    situation: Situation, draft: Draft, given: Mapping[str, Any], wanted: str | list[Any], modules: Modules
) -> Iterator[WillRaise]:
    if isinstance(wanted, str) and wanted.lower() == "all-linear" and situation.packages.at_least("peft", 0, 7):
        yield from _all_linear(situation, draft, modules)
        return
    found = hits({**modules.layers, **dict.fromkeys(sorted(modules.containers))}, wanted)
    if given.get("layers_to_transform") not in (None, []) and isinstance(wanted, list):
        found = in_blocks(found, given["layers_to_transform"], given.get("layers_pattern"))
    if not found:
        yield from _not_found(situation, given, wanted, modules)
    elif given.get("exclude_modules"):
        yield from _all_excluded(situation, given, wanted, found)
    else:
        yield from _no_layers(modules, found, wanted)


def _none_named(situation: Situation, given: Mapping[str, Any]) -> Iterator[WillRaise]:
    """An empty list, or an empty text, which up to 0.13 is the name of the whole model (run on every release of `_NONE_NAMED`)."""
    row, kind = _NONE_NAMED.row(situation.packages), _NOT_FOUND.value(situation.packages)
    text = "Target module" if given["target_modules"] == "" and row.until else row.value
    text = "" if given.get("modules_to_save") or given.get("exclude_modules") else text
    yield WillRaise("QVL811", Stage.ADAPTERS, kind, text, "lora-targets", "target_modules names no module", evidence=row.evidence)


def _broken(given: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The setting whose pattern Python cannot read, the pattern and Python's words. ``all-linear`` can be read."""
    for name in ("target_modules", "exclude_modules"):
        if isinstance(pattern := given.get(name), str):
            try:
                re.compile(pattern)
            except re.error as error:
                return name, pattern, str(error)
    return None


def _no_pattern(situation: Situation, name: str, pattern: str, words: str) -> Iterator[WillRaise]:
    if situation.packages.at_least("peft", 0, 14 if name == "exclude_modules" else 6):
        python = situation.facts.python
        version = None if isinstance(python, Unknown) or isinstance(python.version, Unknown) else parse(python.version)
        kind = "PatternError" if version and version >= (3, 13) else "error"  # Python's re renamed it
        why = f'{name}="{pattern}" is a regular expression, as every text is, and one that can not be read'
        yield WillRaise("QVL811", Stage.ADAPTERS, kind, words, "lora-targets", why, evidence=Evidence.RUN)


def _all_excluded(situation: Situation, given: Mapping[str, Any], wanted: str | list[Any], found: list[str]) -> Iterator[WillRaise]:
    """exclude_modules takes back all that target_modules reach; what a class has beside its tensors may be reached still."""
    excluded = given["exclude_modules"]
    if not situation.packages.at_least("peft", 0, 14) or (
        isinstance(wanted, list) and any(may_be_head(str(each)) for each in wanted)
    ):
        return
    if set(found) <= set(hits(found, excluded, surely=True)):
        why = "exclude_modules leaves out every module that target_modules reach"
        condition, kind = _AS_NAMED if isinstance(wanted, str) else None, _NOT_FOUND.value(situation.packages)
        text = "No modules were targeted for adaptation."
        yield WillRaise("QVL811", Stage.ADAPTERS, kind, text, "lora-targets", why, condition, Evidence.RUN)


def _hopeless(wanted: str) -> bool:
    """A text that is the name of no module of any class: a list of names in one text, or a word that means every layer."""
    return bool(re.fullmatch(r"\w+(?:[,; ]+\w+)+", wanted)) or wanted.lower() in _EVERY


def _not_found(situation: Situation, given: Mapping[str, Any], wanted: str | list[Any], modules: Modules) -> Iterator[WillRaise]:
    if isinstance(wanted, list) and any(may_be_head(str(name)) or str(name).count(".") > 1 for name in wanted):
        return  # a head has no tensor of its own; a whole path hangs on how the class names its modules
    condition, shown = None, ", ".join(map(str, wanted)) if isinstance(wanted, list) else wanted
    why = f"no layer of the checkpoint is called {shown}; there are {', '.join(nearest(shown.split(', ')[0], modules))}"
    if isinstance(wanted, list) and hits(modules.linear, wanted):
        pattern = given.get("layers_pattern")
        called = f" that lies under layers_pattern={pattern!r}" if pattern else ""
        why = f"layers_to_transform={given['layers_to_transform']} names no block of this model{called}"
    elif isinstance(wanted, str) and hits(modules.linear, [wanted]):
        why = f'the string "{wanted}" is a pattern for the whole name of a module, and none is called so; a list, ["{wanted}"], goes by the end'
    elif isinstance(wanted, str):
        why, condition = (
            f"the text {wanted} is a pattern for the whole name of a module, and matches none of the checkpoint",
            None if _hopeless(wanted) else _AS_NAMED,
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
            condition = None if isinstance(wanted, list) else _AS_NAMED
            yield WillRaise("QVL812", Stage.ADAPTERS, "ValueError", "Target module ", "lora-targets", why, condition, Evidence.RUN)
            return


def _all_linear(situation: Situation, draft: Draft, modules: Modules) -> Iterator[WillRaise]:
    """It means torch.nn.Linear, which the layers of bitsandbytes are and those of GPTQ and AWQ are not."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method not in PACKED or any(shape for shape in modules.linear.values()):
        return
    row, kind = _NONE_NAMED.row(situation.packages), _NOT_FOUND.value(situation.packages)
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
