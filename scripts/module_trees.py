"""Writes down how the installed transformers builds its model classes: the order of the modules, and which of them stay together.

Run with the Python of a stack: ``python scripts/module_trees.py record OUT.json``; then, anywhere, ``python scripts/module_trees.py join
OUT.json… src/qvl_preflight/stack/module_trees.json`` puts the releases together. Models are built on the meta device: nothing is loaded.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

# What sets the number of blocks: two are enough to see how they are built.
DEPTHS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth", "encoder_layers", "decoder_layers", "num_decoder_layers", "num_encoder_layers",
)  # fmt: skip
LONGEST = 3200  # characters: above it a class is put together in ways of its own
MAPPINGS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
)  # fmt: skip


def record(path: str) -> None:
    """Every class of the generating tasks."""
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    trees = {name: tree for kind, name in _classes() if (tree := _attempt(kind, name)) is not None}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"transformers": transformers.__version__, "trees": trees}, file)
    print(transformers.__version__, len(trees), "classes")


def _classes() -> Iterator[tuple[str, str]]:
    from transformers.models.auto import modeling_auto

    seen: set[str] = set()
    for mapping in MAPPINGS:
        for kind, names in getattr(modeling_auto, mapping, {}).items():
            for name in [names] if isinstance(names, str) else names:
                if name not in seen:
                    seen.add(name)
                    yield kind, name


def _attempt(kind: str, name: str) -> dict[str, Any] | None:
    for shallow, own in ((True, True), (True, False), (False, True), (False, False)):
        try:
            return _tree(kind, name, shallow, own)
        except Exception as error:  # a class that needs more than its default configuration
            failure = error
    print(name, type(failure).__name__, str(failure)[:80], file=sys.stderr)
    return None


def _tree(kind: str, name: str, shallow: bool, own: bool) -> dict[str, Any]:
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    built = getattr(transformers, name)
    config = built.config_class() if own else CONFIG_MAPPING[kind]()
    tied = bool(getattr(config, "tie_word_embeddings", False))
    for part in _parts(config):
        if hasattr(part, "tie_word_embeddings"):
            part.tie_word_embeddings = True
        for depth in DEPTHS:
            value = part.__dict__.get(depth)
            if isinstance(value, int) and (shallow or value > 60):
                setattr(part, depth, min(value, 2))
    with torch.device("meta"):
        model = built(config)
    found: dict[str, Any] = {"tied": tied, "ties": _ties(model)}
    if not hasattr(model, "_get_no_split_modules") and model._no_split_modules is None and transformers.__version__ < "5":
        return {**found, "refuses": name}
    try:
        kept = set(
            model._get_no_split_modules("auto") if hasattr(model, "_get_no_split_modules") else model._no_split_modules or ()
        )
    except ValueError as error:
        return {**found, "refuses": str(error).split()[0]}
    dims = _dims(config)
    found["renames"] = renames(kind, built)
    return {**found, "tree": _node(model, kept, dims), "buffers": [buffer[0] for buffer in _buffers(model, dims, own=True)]}


def renames(kind: str, built: Any) -> list[list[str]]:
    """What is done to the names of a checkpoint's tensors: pattern and replacement."""
    if "_checkpoint_conversion_mapping" in vars(built):
        return [list(pair) for pair in built._checkpoint_conversion_mapping.items()]
    try:
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    except ImportError:
        return []
    found = get_checkpoint_conversion_mapping(kind) or []
    alone = [
        rule
        for rule in found
        if type(rule).__name__ == "WeightRenaming" and len(rule.source_patterns) == len(rule.target_patterns) == 1
    ]
    return [[rule.source_patterns[0], rule.target_patterns[0]] for rule in alone]


def _parts(config: Any) -> Iterator[Any]:
    yield config
    for value in list(vars(config).values()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _parts(value)


def _ties(model: Any) -> list[list[str]]:
    if hasattr(model, "all_tied_weights_keys"):
        pairs = model.all_tied_weights_keys
        return sorted(sorted([*(key for key, value in pairs.items() if value == target), target]) for target in set(pairs.values()))
    from accelerate.utils.modeling import find_tied_parameters

    model.tie_weights()
    return [sorted(group) for group in find_tied_parameters(model)]


def _dims(config: Any) -> dict[int, str]:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    try:
        heads = getattr(text, "num_attention_heads", None)
        head = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads and hasattr(text, "hidden_size") else None)
    except ValueError:  # differs from layer to layer
        head = None
    named = {getattr(text, "max_position_embeddings", None): "positions"}
    if head:
        named = {head // 4: "head/4", head // 2: "head/2", head: "head", **named}
    return {key: value for key, value in named.items() if isinstance(key, int)}


def _buffers(module: Any, dims: dict[int, str], *, own: bool) -> list[list[Any]]:
    """Buffers that no checkpoint holds: name, shape with the names of sizes, bytes of an element, whether it is a number with a point."""
    found = []
    for path, part in module.named_modules():
        if own and path:
            continue
        for name, buffer in part._buffers.items():
            if buffer is not None and name in part._non_persistent_buffers_set:
                shape = [dims.get(size, size) for size in buffer.shape]
                found.append([f"{path}.{name}".lstrip("."), shape, buffer.element_size(), int(buffer.is_floating_point())])
    return found


def _node(module: Any, kept: set[str], dims: dict[int, str]) -> dict[str, Any]:
    children = list(module.named_children())
    if type(module).__name__ in kept:
        return _short(k=type(module).__name__, b=_buffers(module, dims, own=False))
    if not children:
        return _short(b=_buffers(module, dims, own=True))
    described = [(name, _node(child, kept, dims)) for name, child in children]
    params = [name for name, _ in module.named_parameters(recurse=False)]
    numbered = all(name.isdigit() for name, _ in described)
    if numbered and type(module).__name__ == "ModuleList" and len({json.dumps(node) for _, node in described}) == 1:
        return _short(p=params, each=described[0][1])
    return _short(p=params, b=_buffers(module, dims, own=True), c=dict(described), list=int(type(module).__name__ == "ModuleList"))


def _short(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def join(sources: list[str], path: str) -> None:
    """One row for each class and each tree, with the first release that was seen to have it."""
    releases = sorted((_load(source) for source in sources), key=lambda found: tuple(map(int, found["transformers"].split("."))))
    rows: dict[str, list[list[Any]]] = {}
    for found in releases:
        for name, tree in found["trees"].items():
            if (
                '"list"' not in (text := json.dumps(tree))
                and len(text) < LONGEST
                and (not rows.get(name) or rows[name][-1][1] != tree)
            ):
                rows.setdefault(name, []).append([found["transformers"], tree])
    with open(path, "w", encoding="utf-8") as file:
        lines = [f"  {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in sorted(rows.items())]
        seen = json.dumps([found["transformers"] for found in releases])
        file.write('{"releases": ' + seen + ',\n "classes": {\n' + ",\n".join(lines) + "\n}}\n")


def _load(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    for name, tree in found["trees"].items():
        _sort(tree.get("tree", {}))
        found["trees"][name] = {key: value for key, value in tree.items() if value}
    return found


def _sort(node: dict[str, Any]) -> None:
    """Buffers by name, since a release keeps them in no order."""
    kept = sorted(node.pop("b", []))
    if kept:
        node["b"] = kept
    for child in [*node.get("c", {}).values(), *([node["each"]] if "each" in node else [])]:
        _sort(child)


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(sys.argv[2])
    else:
        join(sys.argv[2:-1], sys.argv[-1])
