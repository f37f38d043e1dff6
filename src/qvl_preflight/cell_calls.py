"""The calls of from_pretrained in a notebook's cell, with the values that they will be given: read from the text and the namespace, never run.

A name has the value that the namespace holds, or the one that the cell itself gives it, once and before the call. What is neither is not known, and a call
with such an argument is not checked.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from qvl_preflight.unknown import Undecided, Unknown, attempt

_NOT_MODELS = ("Tokenizer", "TokenizerFast", "Processor", "Config", "FeatureExtractor", "Processing", "Scheduler")
_MAYBE = (
    ast.If, ast.Try, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Match,
    ast.Lambda, ast.IfExp, ast.BoolOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Assert, ast.Raise, ast.Delete,
)  # fmt: skip
_MOST_NODES = 20_000  # of a cell: more is data that was pasted


@dataclass(frozen=True)
class Call:
    """One call: the class as written, the line in the cell, the model and the arguments, or why they are not known.

    ``unsure``: why it may not be made as it stands: under a condition, or behind what changes the machine. Empty where it certainly is.
    """

    loader: str
    line: int
    model: str
    kwargs: Mapping[str, Any] | Unknown
    unsure: str = ""


def calls(source: str, namespace: Mapping[str, Any]) -> list[Call]:
    """In the order in which they stand. A cell that Python cannot read has none: running it says why."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    nodes = list(ast.walk(tree))
    if len(nodes) > _MOST_NODES:
        return []
    scope = _Scope(tree, namespace)
    found = [node for node in nodes if isinstance(node, ast.Call) and _is_load(node, scope)]
    certain = {id(node) for statement in tree.body for node in _certain(statement)}
    changed = min((line for line in map(_changes_machine, nodes) if line), default=sys.maxsize)
    return [
        replace(_read(node, scope), unsure=_doubt(id(node) in certain, changed < node.lineno))
        for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))
    ]


def _doubt(certain: bool, changed: bool) -> str:
    if not certain:
        return "it stands under a condition, in a function or in a with block"
    return "the cell changes the environment before it" if changed else ""


def _certain(node: ast.AST) -> Iterator[ast.AST]:
    """What is run whenever the cell is, as it stands."""
    if isinstance(node, _MAYBE):
        return
    yield node
    for inner in ast.iter_child_nodes(node):
        yield from _certain(inner)


def _changes_machine(node: ast.AST) -> int:
    """The line of ``!pip``, ``%env`` and the like, as IPython writes them out, and of os.environ; 0 for anything else."""
    if isinstance(node, ast.Name):
        return node.lineno if node.id in ("get_ipython", "environ", "putenv", "subprocess") else 0
    return node.lineno if isinstance(node, ast.Attribute) and node.attr in ("environ", "putenv", "system") else 0


def _is_load(node: ast.Call, scope: _Scope) -> bool:
    """``CLASS.from_pretrained(model, …)`` of a class of models. peft's take a model that is loaded, and are left to run."""
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr != "from_pretrained":
        return False
    name = _dotted(function.value).rpartition(".")[2]
    if not name[:1].isupper() or name.endswith(_NOT_MODELS) or "Peft" in name:
        return False
    kind = scope.live(function.value)
    if isinstance(kind, type):  # what it is, not what it is called
        return (
            any(each.__name__ in ("PreTrainedModel", "_BaseAutoModelClass") for each in kind.__mro__)
            or "modelscope" in kind.__module__
        )
    return name.startswith("AutoModel") or "For" in name or name.endswith(("Model", "LMHeadModel"))


def _read(node: ast.Call, scope: _Scope) -> Call:
    assert isinstance(node.func, ast.Attribute)
    loader, kwargs = _dotted(node.func.value), attempt(lambda: _arguments(node, scope))
    given = (
        node.args[0]
        if node.args
        else next((each.value for each in node.keywords if each.arg == "pretrained_model_name_or_path"), None)
    )
    model = Unknown("no model is named") if given is None else attempt(lambda: scope.value(given, node.lineno))
    if isinstance(model, Unknown):
        return Call(loader, node.lineno, ast.unparse(given) if given is not None else "", model)
    if not isinstance(model, str) and not hasattr(model, "__fspath__"):
        return Call(
            loader,
            node.lineno,
            ast.unparse(given) if given is not None else "",
            Unknown("the model is neither a name nor a folder"),
        )
    return Call(loader, node.lineno, str(model), kwargs)


def _arguments(node: ast.Call, scope: _Scope) -> dict[str, Any]:
    if len(node.args) > 1:
        raise Undecided("arguments without a name")
    found: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg == "pretrained_model_name_or_path":
            continue
        value = scope.value(keyword.value, node.lineno)
        if keyword.arg is not None:
            found[keyword.arg] = value
        elif isinstance(value, Mapping):
            found.update(value)
        else:
            raise Undecided(f"**{ast.unparse(keyword.value)} is no mapping")
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


class _Scope:
    """What names stand for where a call stands."""

    def __init__(self, tree: ast.Module, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._assigned: dict[str, list[tuple[int, ast.expr | None]]] = {}
        self._imported: dict[str, tuple[str, str | None]] = {}
        self._handed: dict[str, int] = {}  # names that a call before may change: the first line
        simple = {
            id(target): node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if len(node.targets) == 1
        }
        for node in ast.walk(tree):
            self._note(node, simple)

    def _note(self, node: ast.AST, simple: Mapping[int, ast.expr]) -> None:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._assigned.setdefault(node.id, []).append((node.lineno, simple.get(id(node))))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if isinstance(node, ast.ImportFrom):
                    self._imported[alias.asname or alias.name] = (node.module or "", alias.name)
                else:
                    top = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._imported[alias.asname or top] = (top, None)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._assigned.setdefault(node.name, []).append((node.lineno, None))
        elif isinstance(node, ast.Call):
            loads = isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained"
            for inner in () if loads else ast.walk(node):
                if isinstance(inner, ast.Name):
                    self._handed[inner.id] = min(node.lineno, self._handed.get(inner.id, node.lineno))
        elif isinstance(node, ast.arg):
            self._assigned.setdefault(node.arg, []).append((node.lineno, None))
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            name = _dotted(node.value).partition(".")[0]
            if name:  # changed in place: what it holds then is not what it holds now
                self._assigned.setdefault(name, []).append((node.lineno, None))

    def value(self, node: ast.expr, line: int) -> Any:
        """The value of an expression. Raises Undecided."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return -node.operand.value  # type: ignore[operator]
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self.value(each, line) for each in node.elts]
        if isinstance(node, ast.Dict):
            return self._mapping(node, line)
        if isinstance(node, ast.Name):
            return self._name(node, line)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._made(node, line)
        raise Undecided(f"{_short(node)} is not known before the cell runs")

    def _mapping(self, node: ast.Dict, line: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            inner = self.value(value, line)
            if key is not None:
                found[self.value(key, line)] = inner
            elif isinstance(inner, Mapping):
                found.update(inner)
            else:
                raise Undecided(f"**{_short(value)} is no mapping")
        return found

    def _name(self, node: ast.Name, line: int) -> Any:
        given = self._assigned.get(node.id)
        if given is None:
            if node.id not in self._namespace:
                raise Undecided(f"{node.id} is not known before the cell runs")
            return self._unchanged(node.id, self._namespace[node.id], line)
        if len(given) == 1 and given[0][1] is not None and given[0][0] < line:
            return self._unchanged(node.id, self.value(given[0][1], given[0][0]), line)
        raise Undecided(f"{node.id} gets its value in this cell, in a way that only running it shows")

    def _unchanged(self, name: str, value: Any, line: int) -> Any:
        """What can be changed in place, and was handed to a call of the cell before, is not known."""
        fixed = value is None or isinstance(value, (bool, int, float, str, type, ModuleType))
        if not fixed and self._handed.get(name, sys.maxsize) < line:
            raise Undecided(f"{name} is handed to a call before, which may change it")
        return value

    def _attribute(self, node: ast.Attribute) -> Any:
        """Of modules alone: anything else may run code to answer."""
        found = self.live(node)
        if found is not None:
            return found
        if _dotted(node).startswith("torch.") and (_dotted(node).partition(".")[0] in self._imported):
            return {"__dtype__": node.attr}
        raise Undecided(f"{_short(node)} is not known before the cell runs")

    def live(self, node: ast.expr) -> Any:
        """What a dotted name stands for, by what is loaded already; None where that does not show."""
        if isinstance(node, ast.Name):
            if node.id in self._assigned:
                return None
            if node.id in self._imported:
                module, name = self._imported[node.id]
                loaded = sys.modules.get(module)
                return loaded if name is None else vars(loaded).get(name) if loaded is not None else None
            return self._namespace.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self.live(node.value)
            return vars(holder).get(node.attr) if isinstance(holder, ModuleType) else None
        return None

    def _made(self, node: ast.Call, line: int) -> Any:
        """A configuration that the cell makes, as its class and its arguments; ``torch.device`` likewise; ``dict`` as it is. None of them is called."""
        name = _dotted(node.func).rpartition(".")[2]
        named = {each.arg: self.value(each.value, line) for each in node.keywords if each.arg is not None}
        if len(named) == len(node.keywords):
            if name == "dict" and not node.args and "dict" not in self._assigned:
                return named
            if name.endswith("Config") and not node.args:
                return {"__class__": name, **named}
            if _dotted(node.func) == "torch.device" and len(node.args) == 1 and not named:
                return {"__device__": str(self.value(node.args[0], line))}
        raise Undecided(f"{_short(node)} is not known before the cell runs")


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}…"
