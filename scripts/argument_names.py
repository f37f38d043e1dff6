"""Writes src/qvl_preflight/tables/argument_names.txt: every name that some release of transformers may take in from_pretrained.

    python scripts/argument_names.py FOLDER/transformers-*

``@base``: arguments of from_pretrained itself and attributes of every configuration. ``@names``: attributes of configuration classes and arguments of
model classes, each with the model types that have it; more than a few are written as ``*``. ``@open``: model types with a class that takes any name.
Names are gathered generously: what is missing here is taken by nothing.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from glob import glob

TABLE = os.path.join(os.path.dirname(__file__), "..", "src", "qvl_preflight", "tables", "argument_names.txt")
BASE = ("configuration_utils.py", "utils/backbone_utils.py", "backbone_utils.py", "modeling_rope_utils.py", "utils/hub.py")
CALLS = ("configuration_utils.py", "modeling_utils.py", "models/auto/auto_factory.py", "models/auto/configuration_auto.py", "utils/hub.py", "dynamic_module_utils.py")  # fmt: skip
LOADING = (
    "from_pretrained",
    "get_config_dict",
    "_get_config_dict",
    "from_dict",
    "_from_config",
    "from_config",
    "find_adapter_config_file",
)
FEW = 12


def parsed(path: str) -> ast.Module | None:
    """The file's syntax tree; None where it is not there."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())


def words(nodes: list[ast.expr]) -> set[str]:
    """The strings among these."""
    return {
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    }


def arguments(function: ast.FunctionDef) -> set[str]:
    """The names that a function takes."""
    return {found.arg for found in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}


def attributes(tree: ast.Module) -> set[str]:
    """Whatever hasattr may find on an object of the classes in a file, and what their constructors take."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("pop", "get", "setdefault"):
            found |= words(node.args[:1])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            found |= words(node.args)
        elif isinstance(node, ast.Dict):
            found |= words([key for key in node.keys if key is not None])
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    found |= {item.name} | (arguments(item) if item.name in ("__init__", "__post_init__") else set())
                targets = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def taken(tree: ast.Module) -> set[str]:
    """What the functions that load take, pop, or list."""
    found: set[str] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name not in LOADING:
            continue
        found |= arguments(function)
        for node in ast.walk(function):
            if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
                found |= words(node.elts)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("pop", "get"):
                found |= words(node.args[:1])
    return found


def model_types(tree: ast.Module) -> Iterator[str]:
    """The model types of the configuration classes in a file."""
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Assign, ast.AnnAssign))
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value.value and any(isinstance(target, ast.Name) and target.id == "model_type" for target in targets):
                yield node.value.value


def constructors(folder: str) -> tuple[set[str], bool]:
    """What the model classes beside a configuration take beside it; does one take any name?"""
    found: set[str] = set()
    anything = False
    for path in glob(os.path.join(folder, "modeling_*.py")):
        tree = parsed(path)
        if tree is None or "_tf_" in path or "_flax_" in path:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or re.search("Pre[tT]rainedModel$", node.name):
                continue
            bases = [ast.unparse(base) for base in node.bases]
            if not any(re.search(r"(Model|For\w+|Mixin|Backbone)$", base) for base in bases):
                continue
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name in ("__init__", "from_pretrained"):
                    found |= arguments(item)
                    anything = anything or item.args.kwarg is not None
    return found, anything


def release(top: str) -> tuple[set[str], dict[str, set[str]], set[str]]:
    """Base names, model type → its names, and the model types that take anything, of one release."""
    base: set[str] = set()
    for part in (
        *BASE,
        *(os.path.relpath(path, top) for path in glob(os.path.join(top, "**", "heterogen*", "*.py"), recursive=True)),
    ):
        base |= attributes(tree) if (tree := parsed(os.path.join(top, part))) else set()
    for part in CALLS:
        base |= taken(tree) if (tree := parsed(os.path.join(top, part))) else set()
    own: dict[str, set[str]] = {}
    towards: dict[str, set[str]] = {}
    of: dict[str, tuple[set[str], str]] = {}
    for pattern in ("models/*/configuration_*.py", "models/deprecated/*/configuration_*.py"):
        for path in glob(os.path.join(top, pattern)):
            if tree := parsed(path):
                key = os.path.basename(path)[len("configuration_") : -3]
                own[key] = attributes(tree)
                imports = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
                towards[key] = {name.split("configuration_")[1] for name in imports if "configuration_" in name}
                of[key] = set(model_types(tree)) or {key}, os.path.dirname(path)
    types: dict[str, set[str]] = defaultdict(set)
    anything: set[str] = set()
    for key, (named, folder) in of.items():
        seen: set[str] = set()
        ahead = [key]
        while ahead:
            if (at := ahead.pop()) in own and at not in seen:
                seen.add(at)
                ahead += towards[at]
        beside, takes_all = constructors(folder)
        for name in named:
            types[name] |= beside.union(*(own[at] for at in seen))
        anything |= named if takes_all else set()
    return base, types, anything


def main() -> None:
    """The table of the releases named on the command line."""
    base: set[str] = set()
    types: dict[str, set[str]] = defaultdict(set)
    anything: set[str] = set()
    for folder in sys.argv[1:]:
        more, found, takes_all = release(os.path.join(folder, "transformers"))
        base |= more
        anything |= takes_all
        for name, names in found.items():
            types[name] |= names
    having: dict[str, set[str]] = defaultdict(set)
    for model_type, names in types.items():
        for name in names - base:
            having[name].add(model_type)
    lines = [f"{name} {'*' if len(of) > FEW else ' '.join(sorted(of))}" for name, of in sorted(having.items())]
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write(
            "\n".join(
                [
                    "@base",
                    *sorted(base),
                    "@types",
                    " ".join(sorted(types)),
                    "@open",
                    " ".join(sorted(anything)),
                    "@names",
                    *lines,
                    "",
                ]
            )
        )


if __name__ == "__main__":
    main()
