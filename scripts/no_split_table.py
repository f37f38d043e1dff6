"""Writes src/qvl_preflight/tables/no_split.txt: the classes of transformers that do not say which of their modules stay together, by release.

scripts/no_split_table.py FOLDER…, each an unpacked release from 4.28 to 4.49: later ones split such a class all the same. Read by ast, nothing is imported; for
4.37.2 it was held against the classes themselves. A class that inherits from another file's is left out.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

from qvl_preflight.auto_tables import ranges
from qvl_preflight.stack.no_split import TABLE


def main(folders: list[str]) -> None:
    """Read every release, and write the table: a line for each span, with its classes."""
    found = sorted((_release(Path(folder)), _silent(Path(folder))) for folder in folders)
    releases = [f"{major}.{minor}" for (major, minor), _ in found]
    spans = defaultdict(list)
    for name in sorted(set().union(*(names for _, names in found))):
        spans[ranges([name in names for _, names in found], releases)].append(name)
    lines = [" ".join(releases), *(f"{span} {' '.join(names)}" for span, names in sorted(spans.items()))]
    Path(TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _release(folder: Path) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", folder.name)[:2]
    return int(major), int(minor)


def _silent(folder: Path) -> set[str]:
    """The classes of models whose ``_no_split_modules`` is the None of PreTrainedModel."""
    names: set[str] = set()
    for file in (folder / "transformers" / "models").glob("*/modeling_*.py"):
        if not re.match(r"modeling_(tf|flax)_", file.name):
            names |= _of_file(ast.parse(file.read_text(encoding="utf-8")))
    return names


def _of_file(tree: ast.Module) -> set[str]:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def says(name: str) -> bool | None:
        """None where that is not decided in this file."""
        if name == "PreTrainedModel":
            return False
        if name not in classes:
            return None
        for node in classes[name].body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and target.id == "_no_split_modules" and isinstance(node, (ast.Assign, ast.AnnAssign)):
                return not (isinstance(node.value, ast.Constant) and node.value.value is None)
        return next((answer for base in classes[name].bases if (answer := says(ast.unparse(base))) is not None), None)

    return {name for name in classes if says(name) is False and not name.endswith("PreTrainedModel")}


if __name__ == "__main__":
    main(sys.argv[1:])
