"""What the code that comes with a checkpoint says, read as text: it is never imported and never run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qvl_preflight.missing import MISSING, Missing
from qvl_preflight.remote_imports import MOST_FILES, CodeFile, code_file, parsed
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint

_ROOTS = (
    "PreTrainedModel",
    "nn.Module",
    "torch.nn.Module",
    "Module",
    "object",
    "ABC",
)  # none of them names modules to keep together


@dataclass(frozen=True)
class CodeClass:
    """A class of a modeling file."""

    name: str
    bases: tuple[str, ...]
    no_split: tuple[str, ...] | Missing | Unknown | None  # MISSING: its body does not say
    parts: tuple[str, ...]  # the classes that its __init__ makes
    rows: tuple[str, ...]  # those of them that it makes in a loop: the blocks of a tower
    sure_parts: tuple[str, ...]  # those that it makes whatever the configuration says
    adds: bool  # its forward adds tensors, as a residual connection does
    moves: bool  # it moves a tensor to where another one is


@dataclass(frozen=True)
class RemoteCode:
    """The classes of a checkpoint's modeling files, and the one that is loaded."""

    classes: Mapping[str, CodeClass]
    entry: str

    def no_split(self, name: str) -> tuple[str, ...] | Unknown | None:
        """``_no_split_modules`` of a class, inherited as Python inherits it; None where nothing sets it."""
        for ancestor in self._lineage(name):
            found = self.classes.get(ancestor)
            if found is None and not (ancestor in _ROOTS or ancestor.endswith("Mixin")):
                return Unknown(f"{ancestor} is no class of the folder's code")
            if found is not None and not isinstance(found.no_split, Missing):
                return found.no_split
        return None

    def is_model(self, name: str) -> bool:
        """Does a class descend from PreTrainedModel, as far as the folder's code says?"""
        return "PreTrainedModel" in self._lineage(name)

    def _lineage(self, name: str) -> list[str]:
        """A class and what it inherits from, first bases first."""
        found: list[str] = []
        waiting = [name]
        while waiting:
            current = waiting.pop(0)
            if current not in found:
                found.append(current)
                waiting[:0] = self.classes[current].bases if current in self.classes else ()
        return found

    def kept_together(self, *, of_parts: bool) -> frozenset[str]:
        """The classes that no boundary between devices cuts: those that the model names and, with ``of_parts``, its parts."""
        names = [name for name in self._reached(self.entry) if name == self.entry or (of_parts and self.is_model(name))]
        listed = [self.no_split(name) for name in names]
        return frozenset(kept for found in listed if isinstance(found, tuple) for kept in found)

    def cut(self, *, of_parts: bool) -> tuple[str, ...]:
        """The blocks with residual connections that a boundary can cut."""
        kept = self.kept_together(of_parts=of_parts)
        rows = {row for name in self._reached(self.entry, kept) for row in self.classes[name].rows}
        return tuple(sorted(row for row in rows - kept if row in self.classes and self.classes[row].adds))

    @property
    def moves(self) -> bool:
        """Does the loaded class, or one that it is made of, move tensors to where others are?"""
        return any(self.classes[name].moves for name in self._reached(self.entry))

    def _reached(self, start: str, stop: frozenset[str] = frozenset()) -> list[str]:
        """The classes that a model is made of, itself and what it inherits from among them; nothing beyond ``stop``."""
        found: list[str] = []
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name in found or name in stop or name not in self.classes:
                continue
            found.append(name)
            waiting += [*self.classes[name].bases, *self.classes[name].parts]
        return found


def remote_code(checkpoint: Checkpoint, loader: str | None) -> RemoteCode | Unknown:
    """The code that ``auto_map`` names for a loader, from the checkpoint's own folder."""
    named = checkpoint.config.get("auto_map")
    named = named if isinstance(named, Mapping) else {}
    entry = named.get(loader or "AutoModelForCausalLM") or named.get("AutoModelForCausalLM") or named.get("AutoModel")
    entry = entry[0] if isinstance(entry, list) and entry else entry
    if not isinstance(entry, str) or entry.count(".") != 1 or "--" in entry or os.sep in entry:
        return Unknown("auto_map names no modeling file of the folder")
    module, _, name = entry.partition(".")
    classes = _classes(checkpoint.path, module)
    if isinstance(classes, Unknown):
        return classes
    return RemoteCode(classes, name) if name in classes else Unknown(f"{module}.py holds no class {name}")


def _classes(folder: str, module: str) -> Mapping[str, CodeClass] | Unknown:
    """All classes of a module and of the folder's modules that it imports."""
    classes: dict[str, CodeClass] = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting and len(seen) < MOST_FILES:
        current = waiting.pop()
        inside, _, name = current.rpartition(".")
        file = None if current in seen else code_file(os.path.join(folder, *inside.split(".")), name)
        if file is None:
            continue
        seen.add(current)
        found = file if isinstance(file, Unknown) else _classes_of(file)
        if isinstance(found, Unknown):
            return found
        classes = {**found[0], **classes}
        waiting += found[1]
    return classes if module in seen else Unknown(f"{module}.py is not in the folder")


@lru_cache(maxsize=64)
def _classes_of(file: CodeFile) -> tuple[Mapping[str, CodeClass], tuple[str, ...]] | Unknown:
    """The classes of one file, and the modules beside it that it imports anywhere."""
    tree = parsed(file.text)
    if isinstance(tree, str):
        return Unknown(f"{file.module}.py cannot be read ({tree})")
    beside = tuple(node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1)
    return {node.name: _read(node) for node in tree.body if isinstance(node, ast.ClassDef)}, beside


def _read(node: ast.ClassDef) -> CodeClass:
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    init, forward = methods.get("__init__"), methods.get("forward")
    made = list(_made(init)) if init else []
    return CodeClass(
        node.name,
        tuple(ast.unparse(base) for base in node.bases),
        _no_split(node),
        tuple(dict.fromkeys(name for name, _, _ in made)),
        tuple(dict.fromkeys(name for name, looped, _ in made if looped)),
        tuple(dict.fromkeys(name for name, _, sure in made if sure)),
        forward is not None and any(_adds(item) for item in ast.walk(forward)),
        any(_moves(item) for item in ast.walk(node)),
    )


def _no_split(node: ast.ClassDef) -> tuple[str, ...] | Missing | Unknown | None:
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "_no_split_modules" for target in targets):
            try:
                value: Any = ast.literal_eval(item.value)  # type: ignore[attr-defined]
            except (ValueError, TypeError):
                return Unknown(f"{node.name} works out its _no_split_modules")
            return None if value is None else (value,) if isinstance(value, str) else tuple(map(str, value))
    return MISSING


def _made(init: ast.FunctionDef) -> Iterator[tuple[str, bool, bool]]:
    """The classes that an __init__ makes: the name, whether in a loop, whether whatever the configuration says."""
    for statement in init.body:
        sure = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
        looped = {id(inner) for loop in ast.walk(statement) if isinstance(loop, (ast.ListComp, ast.GeneratorExp, ast.For)) for inner in ast.walk(loop)}  # fmt: skip
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                yield call.func.id, id(call) in looped, sure and isinstance(statement, ast.Assign) and call is statement.value


def _adds(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Add) and not isinstance(node.value, ast.Constant)
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and not any(isinstance(side, ast.Constant) for side in (node.left, node.right))
    )


def _moves(node: ast.AST) -> bool:
    """``x.to(y.device)``, with or without the keyword."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "to"):
        return False
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    return any(isinstance(value, ast.Attribute) and value.attr == "device" for value in given)
