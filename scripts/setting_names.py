"""Writes src/qvl_preflight/tables/setting_names.txt: the names of settings that other programs' files hold, all releases together.

scripts/setting_names.py FOLDER, in which releases lie unpacked as NAME-VERSION. Nothing of them is imported. DeepSpeed's names stand in no class:
they are kept as they are.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from qvl_preflight.readers.names import PATH, names

_CLASSES = ("Config", "Arguments", "Mixin")
_SOURCES = {
    "TrainingArguments": ("transformers-*/**/transformers/training_args*.py",),
    "accelerate": ("accelerate-*/**/commands/config/config_args.py",),
    "peft": ("peft-*/**/peft/tuners/**/*.py", "peft-*/**/peft/config.py", "peft-*/**/peft/utils/config.py"),
    "LLaMA-Factory": ("llamafactory-*/**/hparams/*.py",),
}


def fields(path: Path) -> set[str]:
    """The annotated fields of the classes of settings in a file."""
    return {
        line.target.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith(_CLASSES)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and not line.target.id.startswith("_")
    }


def main(folder: Path) -> None:
    """Collect and write."""
    found = {kind: set[str]() for kind in _SOURCES}
    for kind, patterns in _SOURCES.items():
        for pattern in patterns:
            for path in folder.glob(pattern):
                found[kind] |= fields(path)
    found["DeepSpeed"] = set(names("DeepSpeed"))
    with open(PATH, "w", encoding="utf-8") as file:
        file.writelines(f"{kind}: {' '.join(sorted(each))}\n" for kind, each in found.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
