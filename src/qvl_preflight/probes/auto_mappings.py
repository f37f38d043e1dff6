"""transformers' own tables of architectures, out of its files by ``ast``: which model types, Auto classes and model classes a release has.

Files: models/auto/configuration_auto.py and modeling_auto.py (4.28 to 5.23), auto_mappings.py beside them since 5.6.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from qvl_preflight.auto_tables import AutoClasses
from qvl_preflight.probes.files import read_text
from qvl_preflight.probes.packages import find_module
from qvl_preflight.probes.quantizer_methods import changed, read_methods
from qvl_preflight.versions import NEWEST

Names = dict[str, Any]  # the module's names that hold literal mappings


def read_installed() -> AutoClasses | None:
    """What the installed transformers has; None where there is none, or its files are not as in the releases read."""
    init = find_module("transformers", "__init__.py")
    if init is None:
        return None
    tables = os.path.join(os.path.dirname(init), "models", "auto", "modeling_auto.py")
    try:
        status = os.stat(tables)
    except OSError:
        return None
    return _read_once(os.path.dirname(init), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read_once(folder: str, changed: int, size: int) -> AutoClasses | None:
    """One reading for each state of the file."""
    return read_release(folder)


def read_release(folder: str) -> AutoClasses | None:
    """What the release in this folder (the one of transformers/__init__.py) has. None where its files are not as in the releases read."""
    auto = os.path.join(folder, "models", "auto")
    known: dict[str, Names] = {}
    configs = _names(auto, "configuration_auto", known).get("CONFIG_MAPPING_NAMES")
    models = _names(auto, "modeling_auto", known)
    tree = _tree(os.path.join(auto, "modeling_auto.py"))
    if not isinstance(configs, dict) or tree is None:
        return None
    exported = (read_text(os.path.join(folder, "__init__.py")) or "") + (
        read_text(os.path.join(auto, "modeling_auto.py")) or ""
    ).partition("__all__")[2]
    by_name = "type(config) in cls._model_mapping.keys()" not in (read_text(os.path.join(auto, "auto_factory.py")) or "")
    types: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in configs}
    autos = set()
    for auto_class, mapping in _auto_classes(tree):
        if f'"{auto_class}"' not in exported or not isinstance(models.get(mapping), dict):
            continue
        autos.add(auto_class)
        for model_type, found in _accepted(configs, models[mapping], by_name).items():
            types[model_type][auto_class] = found
    return AutoClasses(types, frozenset(autos), _minima(folder), _changed(folder)) if "AutoModelForCausalLM" in autos else None


def _changed(folder: str) -> tuple[str, ...]:
    """The methods of its quantizers that nobody has read in this form; nothing where there are no quantizers."""
    found, newest = read_methods(folder), NEWEST["transformers"].split(".")
    return changed(found, (int(newest[0]), int(newest[1]))) if found else ()


def _minima(folder: str) -> dict[str, str]:
    """Of other packages, the oldest releases that count as installed: NAME_MIN_VERSION in utils/import_utils.py (4.37 to 5.23)."""
    tree = _tree(os.path.join(folder, "utils", "import_utils.py"))
    found = {}
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant):
            name, _, rest = node.targets[0].id.partition("_MIN_VERSION")
            if not rest and name != node.targets[0].id and isinstance(node.value.value, str):
                found[name.lower().replace("_", "-")] = node.value.value
    return found


def _accepted(configs: Mapping[str, str], models: Mapping[str, Any], by_name: bool) -> dict[str, tuple[str, ...]]:
    """Model type → the classes that its configuration leads to (auto_factory.py _LazyAutoMapping).

    Model types that share a configuration class share the answer; since 4.55 (``by_name``) the last of them alone decides whether there is one.
    """
    last = {config: model_type for model_type, config in configs.items()}
    out: dict[str, tuple[str, ...]] = {}
    for model_type, config in configs.items():
        alike = [name for name, other in configs.items() if other == config and name in models]
        first = last[config] if last[config] in models else next(iter(alike), None)
        if first is None or (by_name and last[config] not in models):
            continue
        found = models[first]
        names = tuple(name for name in (found if isinstance(found, tuple) else (found,)) if isinstance(name, str))
        if names:
            out[model_type] = names
    return out


def _auto_classes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Auto class → the name of its mapping of names; a deprecated class's own is that of its base."""
    lazy, mapping_of = dict[str, str](), dict[str, str]()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.value.args) == 2:
            target, names = node.targets[0], node.value.args[1]
            if isinstance(target, ast.Name) and isinstance(names, ast.Name):
                lazy[target.id] = names.id
        if isinstance(node, ast.ClassDef):
            own = [inner.value.id for inner in node.body if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Name)]
            bases = [mapping_of[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in mapping_of]
            for mapping in [lazy[name] for name in own if name in lazy] + bases:
                mapping_of.setdefault(node.name, mapping)
    return ((name, mapping) for name, mapping in mapping_of.items() if re.match(r"AutoModel", name))


def _tree(path: str) -> ast.Module | None:
    try:
        return ast.parse(read_text(path) or "")
    except (SyntaxError, ValueError):
        return None


def _names(folder: str, module: str, known: dict[str, Names]) -> Names:
    """The literal mappings of a module, those that it imports from its neighbours included."""
    if module in known:
        return known[module]
    names: Names = known.setdefault(module, {})
    tree = _tree(os.path.join(folder, module + ".py"))
    for node in tree.body if tree else ():
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module in ("auto_mappings", "configuration_auto"):
            other = _names(folder, node.module, known)
            names |= {alias.asname or alias.name: other[alias.name] for alias in node.names if alias.name in other}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            _keep(names, node.targets[0].id, node.value)
        elif isinstance(node, ast.Expr) and isinstance(call := node.value, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if call.func.attr == "update" and isinstance(owner, ast.Name) and isinstance(names.get(owner.id), dict):
                names[owner.id] = {**names[owner.id], **_value(call.args[0], names)}
    return names


def _keep(names: Names, name: str, node: ast.expr) -> None:
    try:
        names[name] = _value(node, names)
    except (LookupError, TypeError, ValueError):
        names.pop(name, None)


def _value(node: ast.expr, names: Names) -> Any:
    """The value of an expression made of literals, OrderedDict, other names and ``*list(NAME.items())``. Raises ValueError."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return names[name]
        case ast.Tuple(items) | ast.List(items):
            out: list[Any] = []
            for item in items:
                out += _value(item.value, names) if isinstance(item, ast.Starred) else [_value(item, names)]
            return tuple(out) if isinstance(node, ast.Tuple) else out
        case ast.Dict(keys, values):
            return _dict(keys, values, names)
        case ast.Call(ast.Name("list"), [inner]):
            return list(_value(inner, names))
        case ast.Call(ast.Attribute(owner, "items"), []):
            return list(_value(owner, names).items())
        case ast.Call(ast.Name("OrderedDict") | ast.Subscript(ast.Name("OrderedDict")), args, keywords):
            whole = dict(_value(args[0], names)) if args else {}
            return whole | _dict([None] * len(keywords), [keyword.value for keyword in keywords], names)
    raise ValueError(ast.dump(node)[:60])


def _dict(keys: list[Any], values: list[ast.expr], names: Names) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        out |= _value(value, names) if key is None else {_value(key, names): _value(value, names)}
    return out
