"""Which parameters a map reaches, which it leaves out, and which of its mistakes is met first.

Sources: transformers 4.32 to 4.57 modeling_utils.py _load_state_dict_into_meta_model ("doesn't have any device set"), from 4.50 on after
caching_allocator_warmup, which asks every GPU of the map; 5.x core_model_loading.py and accelerate utils/modeling.py check_device_map. Run on 4.37.2,
4.57.1 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.counted import counted
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import accelerate
from qvl_preflight.stack.left_over import class_made
from qvl_preflight.stack.module_names import named_alike, need_alike
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_WARMS_UP = (4, 50)  # transformers asks the GPUs of a map before it reads a tensor
_HEADS = {"ForSequenceClassification": "score", "ForTokenClassification": "score"}
_SCORED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2")  # whose classes of 5.x call it so


def covering(found: Mapping[str, str], name: str) -> str | None:
    """The device that a map gives to a module or tensor: the longest entry that is a prefix of it."""
    while name and name not in found:
        name = name.rpartition(".")[0]
    return found.get(name)


def home_of(found: Mapping[str, str], name: str) -> str:
    """The same; the CPU for what a map leaves out."""
    return covering(found, name) or found.get("", "cpu")


def reached(situation: Situation, found: Mapping[str, str]) -> list[str]:
    """The devices to which a tensor goes: an entry that names no part of the model sends nothing anywhere. All, where that is not known."""
    names, exact = _names(situation)
    if (
        not names
        or not isinstance(situation.request.device_map, Mapping)
        or not (exact or named_alike(situation, list(found), names))
    ):
        return sorted(set(found.values()))
    return _homes(found, names)


def met_before(situation: Situation, found: Mapping[str, str], hole: str) -> list[str]:
    """The devices that are asked before the load comes to a parameter without one (up to 4.57)."""
    names, _ = _names(situation)
    if situation.packages.at_least("transformers", *_WARMS_UP):
        return _homes(found, names)
    return _homes(found, names[: names.index(hole)])


def _homes(found: Mapping[str, str], names: list[str]) -> list[str]:
    return sorted({home for name in names if (home := covering(found, name)) is not None})


def left_out(situation: Situation, found: Mapping[str, str]) -> tuple[str, str]:
    """The first tensor that a map leaves out, and the words for all of them; empty where there is none, or the files are not known."""
    if "" in found or situation.request.device_map in accelerate.STRATEGIES:
        return "", ""  # what a strategy works out leaves nothing out, buffers neither
    names, exact = _names(situation)
    without = [name for name in names if covering(found, name) is None]
    if not without:
        return "", ""
    if situation.packages.at_least("transformers", *_WARMS_UP):
        without.sort()  # before, the order of the files
    if not exact:
        need_alike(situation, list(found), names)
    more = f" and {counted(len(without) - 1, 'more tensor')}" if without[1:] else ""
    return without[0], f"the device_map leaves out {without[0]}{more}"


def dispatched(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: in 5.x accelerate refuses a map with holes after the weights are where they go (5.23.0 modeling_utils.py:4456; run)."""
    if not situation.packages.at_least("transformers", 5) or isinstance(draft.device_map, Unknown):
        return
    found = need(draft.device_map)
    first, why = left_out(situation, found)
    if not first and (head := _head_of_its_own(situation)) and "" not in found and covering(found, head) is None:
        first, why = head, f"the device_map leaves out {head}, the head that this class has and the checkpoint has not"
    if first and dispatches(found) and situation.request.device_map not in accelerate.STRATEGIES:
        text = "The device_map provided does not give any device for the following parameters:"
        yield WillRaise("QVL404", Stage.MATERIALISE, "ValueError", text, "holes", why, evidence=Evidence.RUN)


def dispatches(found: Mapping[str, str]) -> bool:
    """Does accelerate look at the map once more (5.x)?"""
    return len(set(found.values())) > 1 or "disk" in found.values()


def _head_of_its_own(situation: Situation) -> str:
    """The weight of a head that the class makes anew. Empty where there is none, or its name is not known."""
    made, model_type = class_made(situation), situation.checkpoint.config.get("model_type")
    head = next((head for ends, head in _HEADS.items() if made.endswith(ends)), "") if model_type in _SCORED else ""
    names, _ = _names(situation)
    return f"{head}.weight" if head and names and not any(name.startswith(f"{head}.") for name in names) else ""


def _names(situation: Situation) -> tuple[list[str], bool]:
    """The names of the tensors as the class has them: one without a head has its parts one level higher. And whether that is certain."""
    weights, config = situation.checkpoint.weights, situation.checkpoint.config
    if isinstance(weights, Unknown):
        return [], False
    names, made, prefix = [tensor.name for tensor in weights.tensors], class_made(situation), "model."
    if not made.endswith("Model") or made in str(config.get("architectures")):
        return names, False
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    plain = not situation.checkpoint.remote_code and not any(
        isinstance(config.get(part), dict) for part in ("text_config", "vision_config")
    )
    return (inside, plain and all(name.startswith((prefix, "lm_head.")) for name in names)) if inside else (names, False)
