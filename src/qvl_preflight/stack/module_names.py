"""Whether the model names its modules as the checkpoint's files name their tensors: device maps name the one, headers the other.

Seen on transformers 4.37.2 and 5.23.0: AutoModel drops the base model's prefix of a file that a class with a head wrote ("transformer.h.0" → "h.0"),
a class with a head adds it to the names of a file without one, and a head that the file lacks is in the map all the same ("classifier").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.stack.auto_classes import autos_of
from qvl_preflight.unknown import Undecided, Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

_HEADS = (("ForCausalLM", ("ForCausalLM", "LMHeadModel")), ("ForImageTextToText", ("ForConditionalGeneration",)), ("ForVision2Seq", ("ForConditionalGeneration",)))  # fmt: skip


def named_alike(situation: Situation, entries: Collection[str], names: Collection[str]) -> bool:
    """Can the ``entries`` of a map be held against the ``names`` of tensors? False: the class, or a prefix, stands between them."""
    strange = [entry for entry in entries if entry and not _covers(entry, names)]
    if not _wrote_it(situation):
        return False
    if strange and any(isinstance(situation.checkpoint.config.get(part), dict) for part in ("text_config", "vision_config")):
        return False  # their modules were renamed in 4.52, the files were not
    dropped = situation.request.loader is None  # AutoModel drops the prefix, and nobody says that it is not called
    return not any(_behind_a_prefix(entry, names, dropped) for entry in strange)


def _covers(entry: str, names: Collection[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for name in names)


def _behind_a_prefix(entry: str, names: Collection[str], dropped: bool) -> bool:
    """Would the entry match, were the base model's prefix put before the names or, where it may be ``dropped``, taken from them?"""
    rest = entry.partition(".")[2]
    if rest and _covers(rest, names):
        return True
    if dropped and _covers(entry, [name.partition(".")[2] for name in names]):
        return True
    return not rest and any(re.match(r"\w+\.\d+\.", name) for name in names)  # blocks without a prefix: the entry may be it


def _wrote_it(situation: Situation) -> bool:
    """Does the call lead to the class that wrote the checkpoint, as its config.json names it?"""
    loader, written = situation.request.loader, situation.checkpoint.config.get("architectures")
    if loader is None or not isinstance(written, list) or loader in written:
        return True
    model_type = situation.checkpoint.config.get("model_type")
    classes = attempt(lambda: autos_of(situation, str(model_type)).get(loader))
    if not isinstance(classes, Unknown) and classes:
        return any(name in written for name in classes)
    wanted = next((ends for head, ends in _HEADS if loader.endswith(head)), (loader.removeprefix("AutoModel") or "Model",))
    return any(str(name).endswith(wanted) and (loader != "AutoModel" or not str(name).endswith("HeadModel")) for name in written)


def need_alike(situation: Situation, entries: Collection[str], names: Collection[str]) -> None:
    """Raises Undecided where a map cannot be held against the names of the files."""
    if not named_alike(situation, entries, names):
        raise Undecided(
            "the device_map names modules of the model, and which those are does not follow from the files of this checkpoint"
        )


def matches_nothing(situation: Situation) -> bool:
    """Does a map of one device name no part of the model? 5.x then never looks at the device, and everything stays on the CPU.

    Source: transformers 5.0.0, 5.2.0, 5.5.0, 5.23.0 integrations/accelerate.py expand_device_map; with two devices or the disk accelerate
    looks at the map again. Run on 5.23.0.
    """
    given, weights = situation.request.device_map, situation.checkpoint.weights
    if (
        not isinstance(given, Mapping)
        or not given
        or isinstance(weights, Unknown)
        or not situation.packages.at_least("transformers", 5)
    ):
        return False
    if (
        not all(isinstance(name, str) and name for name in given)
        or len({repr(value) for value in given.values()}) > 1
        or "disk" in given.values()
    ):
        return False
    names = [tensor.name for tensor in weights.tensors]
    met = any(name.startswith(entry) for entry in given for name in names)
    return bool(names) and not met and named_alike(situation, list(given), names)
