"""Writes src/qvl_preflight/tables/training_arguments.txt: the arguments of TrainingArguments, and the releases that have them; and
training_choices.txt: the names that ``optim``, ``lr_scheduler_type`` and the strategies take.

scripts/training_arguments.py FOLDER…, each an unpacked release (see transformers_tables.py). Nothing of them is imported. Only names that came or
went are written of the arguments, and all of the choices.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from qvl_preflight.auto_tables import ranges
from qvl_preflight.stack.training_arguments import PATH
from qvl_preflight.stack.training_choices import PATH as CHOICES


def main(folders: list[str]) -> None:
    """Read every release, and write the table."""
    found = sorted((_release(Path(folder)), _arguments(Path(folder))) for folder in folders)
    releases = [f"{major}.{minor}" for (major, minor), _ in found]
    lines = [" ".join(releases)]
    for name in sorted(set().union(*(names for _, names in found))):
        there = [name in names for _, names in found]
        if not all(there):
            lines.append(f"{name} {ranges(there, releases)}")
    Path(PATH).write_text("\n".join(lines) + "\n", encoding="utf-8")
    choices = [_choices(Path(folder)) for folder in sorted(folders, key=lambda folder: _release(Path(folder)))]
    lines = [" ".join(releases)]
    for entry in sorted(set().union(*choices)):
        lines.append(f"{entry} {ranges([entry in found for found in choices], releases)}")
    Path(CHOICES).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _release(folder: Path) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", folder.name)[:2]
    return int(major), int(minor)


def _arguments(folder: Path) -> set[str]:
    """The fields of the dataclass; a field that its constructor does not take is no argument."""
    tree = ast.parse((folder / "transformers" / "training_args.py").read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments")
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {node.target.id for node in fields if isinstance(node.target, ast.Name) and "init=False" not in ast.unparse(node)}


# Each argument, the enumerations that its value is looked up in, the first that there is, and the file that holds them.
_ENUMS = (
    ("optim", ("OptimizerNames",), "training_args.py"), ("lr_scheduler_type", ("SchedulerType",), "trainer_utils.py"),
    ("save_strategy", ("SaveStrategy", "IntervalStrategy"), "trainer_utils.py"), ("logging_strategy", ("IntervalStrategy",), "trainer_utils.py"),
    ("eval_strategy", ("IntervalStrategy",), "trainer_utils.py"), ("evaluation_strategy", ("IntervalStrategy",), "trainer_utils.py"),
)  # fmt: skip


def _choices(folder: Path) -> set[str]:
    """``optim adamw_torch`` for each member of the enumerations."""
    found = set()
    for argument, names, file in _ENUMS:
        tree = ast.parse((folder / "transformers" / file).read_text(encoding="utf-8"))
        bodies = {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in next(bodies[name] for name in names if name in bodies):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                found.add(f"{argument} {node.value.value}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
