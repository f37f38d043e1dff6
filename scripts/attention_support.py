"""Which attentions the model classes of the installed transformers take, as JSON; and the table of several such files.

    STACK/bin/python scripts/attention_support.py > RELEASE.json    (imports transformers and torch)
    python scripts/attention_support.py RELEASE.json…               (writes src/qvl_preflight/tables/attention.txt)

The table holds for each model type the releases in which none of its classes takes an attention.
"""

from __future__ import annotations

import inspect
import json
import os
import sys

TABLE = os.path.join(os.path.dirname(__file__), "..", "src", "qvl_preflight", "tables", "attention.txt")
KINDS = {"sdpa": ("_supports_sdpa",), "flex": ("_supports_flex_attn",), "flash": ("_supports_flash_attn", "_supports_flash_attn_2")}


def seen() -> dict[str, object]:
    """The marks of the classes behind the Auto classes, by model type."""
    import transformers
    from transformers.models.auto import modeling_auto

    found: dict[str, dict[str, list[bool]]] = {}
    for name, mapping in vars(modeling_auto).items():
        if not name.endswith("_MAPPING_NAMES") or name.startswith(("TF", "FLAX")):
            continue
        for model_type, classes in mapping.items():
            for each in classes if isinstance(classes, (tuple, list)) else (classes,):
                try:
                    model = getattr(transformers, each)
                    is_model = inspect.isclass(model) and issubclass(model, transformers.PreTrainedModel)
                except (AttributeError, ImportError, TypeError):
                    continue  # its package is not installed
                if is_model:
                    marks = [any(bool(getattr(model, mark, False)) for mark in KINDS[kind]) for kind in KINDS]
                    found.setdefault(model_type, {})[each] = marks
    return {"v": transformers.__version__, "res": found}


def table(paths: list[str]) -> str:
    """One line for each model type that some release gives no attention of a kind."""
    releases = []
    types: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
        release = ".".join(read["v"].split(".")[:2])
        releases.append(release)
        for model_type, classes in read["res"].items():
            for at, kind in enumerate(KINDS):
                answer = (
                    "-"
                    if not any(marks[at] for marks in classes.values())
                    else "+"
                    if all(marks[at] for marks in classes.values())
                    else "?"
                )
                types.setdefault(model_type, {}).setdefault(kind, []).append(f"{release}{answer}")
    lines = [" ".join(releases)]
    for model_type, kinds in sorted(types.items()):
        if any(each.endswith("-") for spans in kinds.values() for each in spans):
            lines.append(" ".join([model_type, *(f"{kind}:{','.join(spans)}" for kind, spans in kinds.items())]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:]:
        with open(TABLE, "w", encoding="utf-8") as output:
            output.write(table(sys.argv[1:]))
    else:
        print(json.dumps(seen()))
