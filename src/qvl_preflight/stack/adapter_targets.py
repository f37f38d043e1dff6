"""The modules of a model, by the names of its checkpoint's tensors, and which of them a LoraConfig means.

A layer is the owner of a tensor, a container whatever holds layers. What a release renames or fuses while it loads is not known here: where that may be, the
answer is None. Matching as peft does: 0.4 to 0.21 tuners/tuners_utils.py check_target_module_exists.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint

_PARAMETER = re.compile(r"\.(?:weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)|[^.]+)$")
_BLOCK = re.compile(r"\.\d+\.")
_VISION = re.compile(
    r"(?:^|\.)(?:visual|vision|vision_model|vision_tower|vision_encoder|image_encoder|audio_tower|audio_encoder)(?:\.|$)"
)
_EMBEDDING = re.compile(r"(?:^|\.)(?:wte|wpe|embed\w*|\w*embeddings?|shared)$")
_HEADS = (
    "lm_head",
    "embed_out",
    "output",
    "score",
    "classifier",
    "v_head",
    "qa_outputs",
)  # tied or made anew: no tensor of theirs is stored
# How names in a file may go on in front, where a class wraps what was saved.
_PREFIXES = ("", "model.", "transformer.", "language_model.", "model.language_model.", "base_model.", "model.model.", "bert.")


@dataclass(frozen=True)
class Modules:
    """Layers with the shape of their weight (None where it has none of that name, as quantised ones), and containers."""

    layers: Mapping[str, tuple[int, ...] | None]
    containers: frozenset[str]

    @property
    def linear(self) -> dict[str, tuple[int, ...] | None]:
        """The layers of blocks that hold a matrix, plain or quantised."""
        return {
            name: shape
            for name, shape in self.layers.items()
            if _BLOCK.search(name)
            and name not in self.containers
            and not _EMBEDDING.search(name)
            and (shape is None or len(shape) == 2)
        }

    @property
    def suffixes(self) -> list[str]:
        """The last names of those layers, ``q_proj``, the commonest first."""
        counts: dict[str, int] = {}
        for name in self.linear:
            last = name.rpartition(".")[2]
            counts[last] = counts.get(last, 0) + 1
        return sorted(counts, key=lambda last: (-counts[last], last))


def modules_of(checkpoint: Checkpoint) -> Modules | None:
    """The modules, None where the headers do not say all: other formats, missing shards, experts that a release may fuse."""
    weights = checkpoint.weights
    if isinstance(weights, Unknown) or weights.missing_shards:
        return None
    layers: dict[str, tuple[int, ...] | None] = {}
    for tensor in weights.tensors:
        owner, parameter = _PARAMETER.sub("", tensor.name), tensor.name.rpartition(".")[2]
        if parameter == "weight":
            layers[owner] = tuple(tensor.shape)
        elif parameter != "bias":
            layers.setdefault(owner, None)
    containers = frozenset(
        ".".join(parts[:count]) for parts in (name.split(".") for name in layers) for count in range(1, len(parts))
    )
    found = Modules(layers, containers)
    return found if found.linear and not any(".experts." in name for name in layers) else None


def hits(names: Iterable[str], targets: object, *, surely: bool = False) -> list[str]:
    """The names that peft's target_modules mean: a list by the end of a name, a string as a pattern of all of it.

    ``surely``: whatever the class puts before the names of the file, not one way or the other.
    """
    if isinstance(targets, str):
        try:
            pattern = re.compile(targets)
        except re.error:
            return []
        enough = all if surely else any
        return [name for name in names if enough(pattern.fullmatch(prefix + name) for prefix in _PREFIXES)]
    wanted = [str(target) for target in targets] if isinstance(targets, list) else []
    return [name for name in names if any(name == target or name.endswith(f".{target}") for target in wanted)]


def may_be_head(target: str) -> bool:
    """A layer that a class has, though the checkpoint stores nothing of that name."""
    return target.rpartition(".")[2] in _HEADS


def in_blocks(names: Iterable[str], indices: object, pattern: object = None) -> list[str]:
    """The names that lie in these blocks (``layers_to_transform``: a number or a list of them), under one of the names of ``layers_pattern``."""
    wanted = {indices} if isinstance(indices, int) else set(indices) if isinstance(indices, list) else set()
    under = [pattern] if isinstance(pattern, str) else pattern if isinstance(pattern, list) else []
    plain = [each for each in under if isinstance(each, str) and re.fullmatch(r"\w+", each)]
    if len(plain) < len(under) or not plain:
        plain = [r"(?:[^.]*)"]  # none is given, or one is a pattern of its own: any list of blocks
    block = re.compile(rf"(?:^|\.)(?:{'|'.join(plain)})\.(\d+)\.")
    return [name for name in names if (found := block.search(name)) and int(found.group(1)) in wanted]


def in_vision(names: Iterable[str]) -> list[str]:
    """The names that lie in a vision or audio tower."""
    return [name for name in names if _VISION.search(name)]


def nearest(target: str, modules: Modules) -> list[str]:
    """What may be meant: like names first, else the layers that there are."""
    return difflib.get_close_matches(target, modules.suffixes, 3) or modules.suffixes[:7]
