"""Writes src/qvl_preflight/tables/messages.txt: what the plan says that releases raise, as symptoms for ``diagnose``.

scripts/plan_messages.py [--check]. The texts are read out of `stack/` by ast: those of every WillRaise, with the code beside them, through names,
tables of releases and helpers. What is made up at run time is a gap, ``{}``. One line each: code, type of the exception, releases, text.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STACK = Path(__file__).parents[1] / "src" / "qvl_preflight" / "stack"
TABLE = STACK.parent / "tables" / "messages.txt"
_CODE = re.compile(r"QVL\d{3}")
_FIELDS = ("code", "stage", "type", "text")
_LEAST = 14  # letters that a text must have to say anything
_OF_ANYTHING = ("list index out of range",)  # what every program may raise betrays nothing


class Text(str):
    """A text, and the releases that say it: ``transformers:4.36-4.54``; empty where no table tells."""

    releases: str = ""

    def said_by(self, releases: str) -> Text:
        self.releases = releases or self.releases
        return self


class Module:
    """One file of the stack: its names, functions and classes."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.names: dict[str, ast.expr] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}
        self.fields: dict[str, list[str]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.names[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self.names[node.target.id] = node.value
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qvl_preflight.stack"):
                for name in node.names:
                    self.imported[name.asname or name.name] = ((node.module or "").rpartition("stack")[2].strip("."), name.name)
            elif isinstance(node, ast.ClassDef):
                self.fields[node.name] = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]  # fmt: skip


_BUSY: set[tuple[int, str]] = set()  # names that are being looked up: one may be made out of itself
MODULES = {path.stem: Module(path) for path in sorted(STACK.glob("*.py"))}


class Reader:
    """The texts that an expression can stand for."""

    def __init__(
        self, module: Module, function: ast.FunctionDef | None, depth: int = 0, lines: tuple[int, int] = (0, 1 << 30)
    ) -> None:
        self.module, self.function, self.depth, self.lines = module, function, depth, lines

    def texts(self, node: ast.expr | None) -> list[str]:
        """Every text; a gap for what is not known."""
        if node is None or self.depth > 12:
            return ["{}"]
        handler = getattr(self, f"_{type(node).__name__.lower()}", None)
        found: list[str] = Reader(self.module, self.function, self.depth + 1, self.lines)._as(handler, node) if handler else ["{}"]
        return list(dict.fromkeys(found))

    def _as(self, handler: object, node: ast.expr) -> list[str]:
        return getattr(self, handler.__name__)(node)  # type: ignore[attr-defined,no-any-return]

    def _constant(self, node: ast.Constant) -> list[str]:
        return [Text(node.value).said_by(getattr(node, "releases", ""))] if isinstance(node.value, str) else ["{}"]

    def _joinedstr(self, node: ast.JoinedStr) -> list[str]:
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        return [Text(text).said_by(getattr(node, "releases", ""))]

    def _binop(self, node: ast.BinOp) -> list[str]:
        if isinstance(node.op, ast.Add):
            return [left + right for left in self.texts(node.left) for right in self.texts(node.right)]
        return ["{}"]

    def _ifexp(self, node: ast.IfExp) -> list[str]:
        return self.texts(node.body) + self.texts(node.orelse)

    def _boolop(self, node: ast.BoolOp) -> list[str]:
        return [text for value in node.values for text in self.texts(value)]

    def _tuple(self, node: ast.Tuple | ast.List) -> list[str]:
        return [text for value in node.elts for text in self.texts(value)]

    _list = _tuple

    def _dict(self, node: ast.Dict) -> list[str]:
        return [text for value in node.values for text in self.texts(value)]

    def _subscript(self, node: ast.Subscript) -> list[str]:
        value = node.value
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            picked = [elts[node.slice.value] for elts in self._tuples(value) if node.slice.value < len(elts)]
            if picked:
                return [text for each in picked for text in self.texts(each)]
        return self.texts(value)

    def _tuples(self, node: ast.expr) -> Iterator[list[ast.expr]]:
        for row in self._rows(node):
            if isinstance(row, ast.Tuple):
                yield row.elts

    def _attribute(self, node: ast.Attribute) -> list[str]:
        if isinstance(node.value, ast.Name) and node.value.id in self.module.imported:
            module = MODULES.get(self.module.imported[node.value.id][1])
            if module is not None and node.attr in module.names:
                return Reader(module, None, self.depth + 1).texts(module.names[node.attr])
        rows = [row for row in self._rows(node.value) if not isinstance(row, ast.Call) or self._field(row, node.attr) is not None]
        if node.attr == "value":
            return [text for row in rows for text in self.texts(row)] or ["{}"]
        fields = [self._field(row, node.attr) for row in rows if isinstance(row, ast.Call)]
        return [text for each in fields if each is not None for text in self.texts(each)] or ["{}"]

    def _field(self, call: ast.Call, name: str) -> ast.expr | None:
        """The argument of a dataclass of this module."""
        if isinstance(call.func, ast.Name) and call.func.id in self.module.fields and name in self.module.fields[call.func.id]:
            index = self.module.fields[call.func.id].index(name)
            if index < len(call.args):
                return call.args[index]
            return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
        return None

    def _rows(self, node: ast.expr) -> list[ast.expr]:
        """The values of the table that ``TABLE.row(packages)``, a name of it, or ``TABLE.value(packages)`` stands for."""
        if isinstance(node, ast.Name):
            table = self.module.names.get(node.id)
            if table is not None:
                return self._values(table)
            if self.depth > 12:
                return []
            deeper = Reader(self.module, self.function, self.depth + 1, self.lines)
            return [row for value in self._assigned(node.id) for row in deeper._rows(value)]
        if isinstance(node, ast.Attribute):
            return self._rows(node.value) if node.attr == "value" else []
        if isinstance(node, ast.IfExp):
            return self._rows(node.body) + self._rows(node.orelse)
        if isinstance(node, ast.Subscript):
            return self._rows(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("row", "value", "get"):
            return self._rows(node.func.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.module.functions:
            returned = [
                each.value for each in ast.walk(self.module.functions[node.func.id]) if isinstance(each, ast.Return) and each.value
            ]
            return [
                row
                for value in returned
                for row in Reader(self.module, self.module.functions[node.func.id], self.depth + 1)._rows(value)
            ]
        return []

    def _values(self, table: ast.expr) -> list[ast.expr]:
        if isinstance(table, ast.Call) and isinstance(table.func, ast.Name) and table.func.id == "ByRelease":
            rows = [row for row in table.args[1:] if isinstance(row, ast.Call) and len(row.args) > 2]
            for row in rows:
                package, since, until = (
                    each.value if isinstance(each, ast.Constant) else None for each in (table.args[0], *row.args[:2])
                )
                for part in ast.walk(row.args[2]):
                    part.releases = f"{package}:{since}-{until or ''}"  # type: ignore[attr-defined]
            return [row.args[2] for row in rows]
        if isinstance(table, ast.Dict):
            return [value for value in table.values if value is not None]
        return list(table.elts) if isinstance(table, ast.Tuple) else []

    def _assigned(self, name: str) -> list[ast.expr]:
        key = (id(self.function), name)
        if key in _BUSY:
            return []
        _BUSY.add(key)
        try:
            return self._sources(name)
        finally:
            _BUSY.discard(key)

    def _sources(self, name: str) -> list[ast.expr]:
        """What is assigned to a name: what stands between this WillRaise and the one before it, else all that stands before."""
        near = self._between(name, *self.lines)
        return near or self._between(name, 0, self.lines[1]) or self._between(name, 0, 1 << 30)

    def _between(self, name: str, first: int, last: int) -> list[ast.expr]:
        found: list[ast.expr] = []
        for node in ast.walk(self.function) if self.function else ():
            if not first <= getattr(node, "lineno", 0) <= last:
                continue
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        found.append(node.value)
                    elif (
                        isinstance(target, ast.Tuple)
                        and isinstance(node.value, ast.Tuple)
                        and len(target.elts) == len(node.value.elts)
                    ):
                        found += [
                            value
                            for each, value in zip(target.elts, node.value.elts, strict=True)
                            if isinstance(each, ast.Name) and each.id == name
                        ]
                    elif isinstance(target, ast.Tuple):
                        places = [index for index, each in enumerate(target.elts) if isinstance(each, ast.Name) and each.id == name]
                        found += [elts[places[0]] for elts in self._tuples(node.value) if places and places[0] < len(elts)]
            elif isinstance(node, ast.NamedExpr) and node.target.id == name:
                found.append(node.value)
        return found

    def _name(self, node: ast.Name) -> list[str]:
        if self.depth < 12 and (found := [text for value in self._assigned(node.id) for text in self.texts(value)]):
            return found
        if node.id in self.module.names:
            return self.texts(self.module.names[node.id])
        if node.id in self.module.imported:
            module = MODULES.get(self.module.imported[node.id][0])
            if module is not None and node.id in module.names:
                return Reader(module, None, self.depth + 1).texts(module.names[node.id])
        return self._passed(node.id)

    def _passed(self, name: str) -> list[str]:
        """What the callers of this function in its module pass for a parameter."""
        if self.function is None or name not in (names := [each.arg for each in self.function.args.args]):
            return ["{}"]
        index, texts = names.index(name), []
        for caller in self.module.functions.values():
            for call in ast.walk(caller):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == self.function.name
                    and index < len(call.args)
                ):
                    texts += Reader(self.module, caller, self.depth + 1).texts(call.args[index])
        return texts or ["{}"]

    def _call(self, node: ast.Call) -> list[str]:
        func = node.func
        if isinstance(func, ast.Name) and func.id == "str" and node.args:
            return self.texts(node.args[0])
        if isinstance(func, ast.Attribute):
            if func.attr in ("format", "replace", "strip"):
                return [
                    Text(re.sub(r"\{\w*\}", "{}", text)).said_by(getattr(text, "releases", "")) for text in self.texts(func.value)
                ]
            if func.attr in ("row", "value", "get"):
                return [text for row in self._rows(node) for text in self.texts(row)] or ["{}"]
        if isinstance(func, ast.Name) and func.id in self.module.functions:
            function = self.module.functions[func.id]
            returned = [each.value for each in ast.walk(function) if isinstance(each, ast.Return)]
            return [text for value in returned for text in Reader(self.module, function, self.depth + 1).texts(value)] or ["{}"]
        return ["{}"]


def messages() -> Iterator[tuple[str, str, str]]:
    """Code, type and text of everything that the plan may say; a gap where a part is not known."""
    for module in MODULES.values():
        for name, fields in module.fields.items():
            if {"code", "text", "type"} <= set(fields):
                yield from _of_records(module, name)
        yield from _of_helpers(module)
        for function in module.functions.values():
            calls = [call for call in ast.walk(function) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
            before = 0
            for call in sorted((call for call in calls if call.func.id == "WillRaise"), key=lambda each: each.lineno):  # type: ignore[attr-defined]
                yield from _of_call(Reader(module, function, lines=(before, call.lineno)), call)
                before = call.lineno


def _of_helpers(module: Module) -> Iterator[tuple[str, str, str]]:
    """Calls of a helper that takes a text: its code is passed too, or stands in the helper."""
    for call in ast.walk(module.tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        helper = _helper(module, call.func.id)
        if helper is None:
            continue
        function, home = helper
        names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        given = dict(zip(names, call.args, strict=False)) | {each.arg: each.value for each in call.keywords if each.arg}
        defaults = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
        defaults |= {
            each.arg: value
            for each, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
            if value is not None
        }
        reader, inside = Reader(module, None), Reader(home, None)

        def read(field: str, given: Any = given, defaults: Any = defaults, reader: Any = reader, inside: Any = inside) -> list[str]:
            return reader.texts(given[field]) if field in given else inside.texts(defaults.get(field))  # type: ignore[no-any-return]

        inner = [each.value for each in ast.walk(function) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        codes = read("code") if "code" in names or "code" in defaults else [each for each in inner if _CODE.fullmatch(each)]
        kinds = read("type_") if "type_" in names else [each for each in inner if each.endswith("Error")]
        yield from ((code, kinds[0] if kinds else "{}", text) for code in codes for text in read("text"))


def _helper(module: Module, name: str) -> tuple[ast.FunctionDef, Module] | None:
    home, real = module, name
    if name not in module.functions and name in module.imported:
        home, real = MODULES.get(module.imported[name][0], module), module.imported[name][1]
    function = home.functions.get(real)
    return (function, home) if function is not None and "text" in [each.arg for each in function.args.args] else None


def _of_records(module: Module, name: str) -> Iterator[tuple[str, str, str]]:
    reader = Reader(module, None)
    for call in ast.walk(module.tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
            code, kind, text = (reader.texts(reader._field(call, each)) for each in ("code", "type", "text"))
            yield from ((one, kind[0], each) for one in code for each in text)


def _of_call(reader: Reader, call: ast.Call) -> Iterator[tuple[str, str, str]]:
    given = {field: value for field, value in zip(_FIELDS, call.args, strict=False) if not isinstance(value, ast.Starred)}
    starred = next((each.value for each in call.args if isinstance(each, ast.Starred)), None)
    codes = [code for code in reader.texts(call.args[0]) if _CODE.fullmatch(code)]
    if starred is not None:
        base = starred.value if isinstance(starred, ast.Subscript) and isinstance(starred.slice, ast.Slice) else starred
        pairs = [(reader.texts(elts[0])[0], text) for elts in reader._tuples(base) for text in reader.texts(elts[1])]
        yield from ((code, kind, text) for code in codes for kind, text in pairs)
        return
    kinds, texts = reader.texts(given.get("type")), reader.texts(given.get("text"))
    at = next((keyword.value for keyword in call.keywords if keyword.arg == "at"), None)
    kind = kinds[0] if len(kinds) == 1 and kinds[0].isidentifier() else "{}"
    yield from ((code, kind, text) for code in codes for text in texts)
    if at is not None:
        yield from ((code, kind, text) for code in codes for text in reader.texts(at))


# What Python says itself, for every reason, and what a release says for many.
_ANYTHING = re.compile(
    r"object has no attribute|got an unexpected keyword argument|cannot import name|No module named|No such file or directory|\[Errno 2\]|from 'transformers'"
    r"|EOF when reading a line|Max retries exceeded with url|HTTPSConnectionPool\(host='huggingface.co', port=443\)|__init__\(\)|Unrecognized model in"
    r"|We encountered some issues during automatic conversion of the weights|unsupported scalarType|Expected all tensors to be on the same device"
    r"|module 'torch' has|not implemented for|indices must be integers|Expected one of cpu, cuda.*|does not appear to have a file named|config\.json"
    r"|Error no file named|\bor\b|found in directory|The quantization method|is not available, you should use device|key in its|Should have a `model_type`"
)


def table() -> str:
    """The lines of the table; texts that say nothing of their own are left out."""
    lines = set()
    for code, kind, text in messages():
        releases = getattr(text, "releases", "") or "-"
        text = re.sub(r"\s+", " ", text).strip()
        if (
            text not in _OF_ANYTHING
            and _CODE.fullmatch(code)
            and len(re.sub(r"\{\}|[^A-Za-z]", "", _ANYTHING.sub("", text))) >= _LEAST
        ):
            lines.add(f"{code} {kind if kind.isidentifier() else '-'} {releases} {text}")
    return "\n".join(sorted(lines)) + "\n"


def main(arguments: list[str]) -> int:
    """Write the table, or with --check say whether it is what the plan says."""
    if "--check" not in arguments:
        TABLE.write_text(table(), encoding="utf-8")
    elif TABLE.read_text(encoding="utf-8") != table():
        print(f"{TABLE.name} is not what the plan says: run scripts/plan_messages.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
