"""Reads what a release of transformers says in its source, without importing it: arguments, minima, quantizers, messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# The functions of a quantizer that decide a load, and those of its configuration.
DECIDING = (
    "validate_environment", "update_dtype", "update_torch_dtype", "update_device_map", "adjust_max_memory", "is_trainable", "is_serializable",
    "get_loading_attributes", "post_init", "__post_init__", "merge_quantization_configs", "from_dict", "get_default_model",
)  # fmt: skip
# Files of functions outside of classes that decide where a model is put, and what an import asks for.
PLACING = ("integrations/accelerate.py",)
ASKING = (
    "is_torch_available",
    "requires_backends",
    "is_kernels_available",
    "is_accelerate_available",
    "is_bitsandbytes_available",
    "is_gptqmodel_available",
    "is_optimum_available",
)
# Where from_pretrained and what it calls are.
FILES = (
    "modeling_utils.py", "quantizers/*.py", "utils/quantization_config.py", "integrations/accelerate.py", "integrations/hub_kernels.py", "training_args.py",
    "models/auto/auto_factory.py", "models/auto/configuration_auto.py", "dynamic_module_utils.py", "utils/import_utils.py", "configuration_utils.py", "trainer.py",
)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """One unpacked release."""

    version: str
    root: Path  # the folder of the package

    def tree(self, name: str) -> ast.Module | None:
        """A file, parsed; None where it is not there or is no Python of this interpreter."""
        try:
            return ast.parse((self.root / name).read_text(encoding="utf-8"))
        except (OSError, SyntaxError):
            return None

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Of `FILES`, those that this release has."""
        return tuple(sorted(str(path.relative_to(self.root)) for pattern in FILES for path in self.root.glob(pattern)))

    @cached_property
    def arguments(self) -> dict[str, str]:
        """What from_pretrained takes out of its kwargs, and the default, as written."""
        tree = self.tree("modeling_utils.py")
        found: dict[str, str] = {}
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.FunctionDef) and node.name == "from_pretrained":
                named = (
                    [*node.args.args[-len(node.args.defaults) :], *node.args.kwonlyargs]
                    if node.args.defaults
                    else node.args.kwonlyargs
                )
                found |= {argument.arg: "named" for argument in named}
                found |= dict(_popped(node))
        return found

    @cached_property
    def minima(self) -> dict[str, str]:
        """Constants that name the oldest release of another package."""
        tree = self.tree("utils/import_utils.py")
        return {
            target.id: ast.unparse(node.value)
            for node in (tree.body if tree else ())
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and "VERSION" in target.id and isinstance(node.value, ast.Constant)
        }

    @cached_property
    def requirements(self) -> dict[str, str]:
        """The packages that it asks for as it is imported, and the releases of each (dependency_versions_check.py)."""
        table, check = self.tree("dependency_versions_table.py"), self.tree("dependency_versions_check.py")
        wanted = [node for node in ast.walk(check) if isinstance(node, ast.List)] if check else []
        names = {item.value for node in wanted[:1] for item in node.elts if isinstance(item, ast.Constant)}
        return {
            str(key.value): str(value.value)
            for node in (table.body if table else ())
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and (key.value in names or not names)
        }

    @cached_property
    def mappings(self) -> dict[str, dict[str, str]]:
        """quant_method → class, by the name of the table."""
        tree = self.tree("quantizers/auto.py")
        return {
            target.id: {
                ast.unparse(key): ast.unparse(value) for key, value in zip(node.value.keys, node.value.values, strict=True) if key
            }
            for node in (tree.body if tree else ())
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    @cached_property
    def deciding(self) -> dict[str, str]:
        """``file Class.function`` → its source without docstring."""
        return {
            f"{name} {owner}{'.' * bool(owner)}{function.name}": _source(function)
            for name in self.files
            if (tree := self.tree(name))
            for owner, function in _methods(tree)
            if function.name in DECIDING or (not owner and (name in PLACING or function.name in ASKING))
        }

    def texts(self, name: str) -> str:
        """All string constants of a file, one a line; what an f-string fills in is a blank line."""
        tree = self.tree(name)
        if tree is None:
            return ""
        return "\n".join(_text(node) for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.JoinedStr)))


def _popped(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("pop", "get")
            and ast.unparse(node.func.value) == "kwargs"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), ast.unparse(node.args[1]) if len(node.args) > 1 else "required"


def _methods(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((node.name, inner) for inner in node.body if isinstance(inner, ast.FunctionDef))
        elif isinstance(node, ast.FunctionDef):
            yield "", node


def _source(function: ast.FunctionDef) -> str:
    """Without docstring and annotations, which decide nothing."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    bare = ast.FunctionDef(function.name, function.args, body or [ast.Pass()], function.decorator_list, None, None, lineno=0)
    return ast.unparse(bare)


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "\n" for part in node.values)


def fragments(text: str) -> list[str]:
    """What of a message is fixed: the pieces between what is filled in, long enough to be looked for."""
    return [piece for piece in re.split(r"\{[^{}]*\}", text) if len(piece) >= 12]
