"""What the code that comes with a checkpoint imports, read as text: which packages transformers looks for before it runs a file, and which
names the file then asks of transformers. Nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qvl_preflight.unknown import Unknown

EXPORTS = os.path.join(os.path.dirname(__file__), "tables", "exports.txt")
MOST_FILES, _MOST_BYTES = 40, 2**21
_RELATIVE = (
    re.compile(r"^\s*import\s+\.(\S+)\s*$", re.MULTILINE),
    re.compile(r"^\s*from\s+\.(\S+)\s+import", re.MULTILINE),
)


@dataclass(frozen=True)
class Import:
    """``from module import names`` or ``import module`` (no names), run as soon as the file is; ``line`` of the file."""

    module: str
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class CodeFile:
    """One Python file of a checkpoint, with its text."""

    module: str
    text: str

    @property
    def tree(self) -> ast.Module | Unknown:
        """The file, parsed."""
        found = parsed(self.text)
        return Unknown(f"the checkpoint's code cannot be parsed ({found})") if isinstance(found, str) else found

    @property
    def relatives(self) -> tuple[str, ...]:
        """The files beside it that it imports, as transformers finds them."""
        return relative_imports(self.text)

    @property
    def runs(self) -> tuple[Import, ...] | Unknown:
        """The imports that the file runs whatever else holds: at its top, under no condition and in no try."""
        tree = self.tree
        if isinstance(tree, Unknown):
            return tree
        return tuple(found for node in tree.body for found in _imports(node))

    @property
    def runs_beside(self) -> tuple[str, ...]:
        """The files beside it that it imports at its top, under no condition and in no try. Code that does not parse runs nothing."""
        tree = self.tree
        body = [] if isinstance(tree, Unknown) else tree.body
        return tuple(node.module for node in body if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module)

    def looked_for(self, reading: str) -> tuple[str, ...] | Unknown:
        """The packages that transformers looks for before it runs the file. ``reading``: one of READINGS."""
        if reading in ("calls", "flash-calls"):
            tree = self.tree
            return tree if isinstance(tree, Unknown) else tuple(sorted(set(_in_tree(tree, reading, _from_transformers(tree)))))
        return tuple(dict.fromkeys(_in_text(self.text, reading)))


def relative_imports(text: str) -> tuple[str, ...]:
    """The modules that transformers takes a text of Python to import from beside it (get_relative_imports, the same from 4.28 to 5.23)."""
    return tuple(dict.fromkeys(name for pattern in _RELATIVE for name in pattern.findall(text)))


def code_file(folder: str, module: str) -> CodeFile | Unknown | None:
    """A module of a folder. None where the folder does not hold it."""
    path = os.path.join(folder, module + ".py")
    try:
        if not stat.S_ISREG((found := os.stat(path)).st_mode):
            return Unknown(f"{module}.py is no file")  # opening a pipe would wait for ever
        if found.st_size > _MOST_BYTES:
            return Unknown(f"{module}.py is too large to read")
        with open(path, encoding="utf-8") as file:
            return CodeFile(module, file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return Unknown(f"{module}.py cannot be read ({type(error).__name__})")


def with_relatives(folder: str, module: str) -> dict[str, CodeFile | Unknown | None]:
    """A module and all that it imports from its folder, directly or not, in the order in which they are met."""
    found: dict[str, CodeFile | Unknown | None] = {}
    waiting = [module]
    while waiting and len(found) < MOST_FILES:
        current = waiting.pop(0)
        if current not in found:
            found[current] = file = code_file(folder, current)
            waiting += file.relatives if isinstance(file, CodeFile) else ()
    return found


# ── which packages transformers looks for (dynamic_module_utils.py get_imports) ──

# How a release reads a file. The first four search its text, comments and functions included; the last two parse it.
READINGS = ("bare-except", "try", "try-flash", "try-flash-anywhere", "flash-calls", "calls")
_TRY: Mapping[str, tuple[str, re.RegexFlag]] = {
    "bare-except": (r"\s*try\s*:\s*.*?\s*except\s*:", re.MULTILINE),
    "try": (r"\s*try\s*:\s*.*?\s*except\s*.*?:", re.MULTILINE | re.DOTALL),
    "try-flash": (r"\s*try\s*:\s*.*?\s*except\s*.*?:", re.MULTILINE | re.DOTALL),
    "try-flash-anywhere": (r"\s*try\s*:.*?except.*?:", re.DOTALL),
}


def _in_text(text: str, reading: str) -> Iterator[str]:
    pattern, flags = _TRY[reading]
    text = re.sub(pattern, "", text, flags=flags)
    if "flash" in reading:
        text = _without_flash(text)
    found = re.findall(r"^\s*import\s+(\S+)\s*$", text, flags=re.MULTILINE)
    found += re.findall(r"^\s*from\s+(\S+)\s+import", text, flags=re.MULTILINE)
    return (name.split(".")[0] for name in found if not name.startswith("."))


def _without_flash(text: str) -> str:
    """As ``re.sub(r"if is_flash_attn[a-zA-Z0-9_]+available\\(\\):\\s*(from flash_attn\\s*.*\\s*)+", "", text)`` of transformers, in linear time."""
    out, lines, skipping = [], text.split("\n"), False
    for line in lines:
        if skipping and (not line.strip() or line.lstrip().startswith("from flash_attn")):
            continue
        skipping = bool(re.search(r"if is_flash_attn[a-zA-Z0-9_]+available\(\):\s*$", line))
        out.append(line)
    return "\n".join(out)


def _in_tree(node: ast.AST, reading: str, known: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Try):
        return
    if isinstance(node, ast.If):
        called = [getattr(call.func, "id", "") for call in ast.walk(node.test) if isinstance(call, ast.Call)]
        flash = [name for name in called if name.startswith("is_flash_attn")]
        if reading == "flash-calls" and flash:
            return
        if reading == "calls" and (any(name.endswith("available") for name in flash) or set(called) & set(known)):
            return
    elif isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _in_tree(child, reading, known)


def _from_transformers(tree: ast.Module) -> set[str]:
    """The functions that a file takes from transformers.utils: its import_utils has those that ask for packages."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    asking = [node for node in nodes if (node.module or "").startswith(("transformers.utils", "transformers.file_utils"))]
    return {alias.name for node in asking for alias in node.names if alias.name.startswith("is_")}


# ── what a file runs ──


@lru_cache(maxsize=64)
def parsed(text: str) -> ast.Module | str:
    """A text as Python; where it is none, the name of the error."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return type(error).__name__


def _imports(node: ast.stmt) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, (), node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield Import(node.module, tuple(alias.name for alias in node.names if alias.name != "*"), node.lineno)


# ── what transformers exports ──


class Exports:
    """Of the modules of transformers that checkpoints import from: the names that came or went, by release."""

    def __init__(self, text: str) -> None:
        head, *lines = text.splitlines()
        self._releases = [tuple(map(int, word.split("."))) for word in head.split()]
        self._modules: dict[str, tuple[str, str]] = {}
        for line in lines:
            module, there, *names = line.split(" ", 2)
            self._modules[module] = (there, names[0] if names else "")

    def has_module(self, module: str, release: tuple[int, ...]) -> bool | None:
        """Does a release have a module? None where that is not known."""
        entry = self._modules.get(module)
        return None if entry is None else self._there(entry[0], release)

    def has_name(self, module: str, name: str, release: tuple[int, ...]) -> bool | None:
        """Does a module have a name in a release? None where that is not known; names that are always there are not in the table."""
        entry = self._modules.get(module)
        found = re.search(rf"(?:^| ){re.escape(name)}:(\S+)", entry[1]) if entry else None
        return None if found is None else self._there(found[1], release)

    def span(self, module: str, name: str | None = None) -> str:
        """The releases that have a module or a name of it, for people: "4.28 to 4.56"."""
        there, names = self._modules[module]
        found = re.search(rf"(?:^| ){re.escape(name)}:(\S+)", names) if name else None
        spans = [span.partition("-")[::2] for span in (found[1] if found else there).split("+")]
        return " and ".join(f"{since} to {last}" if last else f"{since} and later" for since, last in spans)

    def _there(self, ranges: str, release: tuple[int, ...]) -> bool | None:
        """None for a release older than the table, newer, or between two that differ."""
        minor = release[:2]
        around = {
            max((r for r in self._releases if r <= minor), default=None),
            min((r for r in self._releases if r >= minor), default=None),
        }
        answers = {None if at is None else self._within(ranges, at) for at in around}
        return answers.pop() if len(answers) == 1 else None

    @staticmethod
    def _within(ranges: str, at: tuple[int, ...]) -> bool:
        for span in filter(None, ranges.split("+")):
            since, last = span.split("-")
            if _numbers(since) <= at and (not last or at <= _numbers(last)):
                return True
        return False


def _numbers(word: str) -> tuple[int, ...]:
    return tuple(map(int, word.split(".")))


@lru_cache(maxsize=1)
def exports() -> Exports:
    """The table of the package, read on first use."""
    with open(EXPORTS, encoding="utf-8") as file:
        return Exports(file.read())


def entries(config: Mapping[str, Any], loader: str | None) -> tuple[str, ...] | Unknown:
    """The modules that a load runs: that of the configuration, then that of the model. Unknown where they lie in another repository."""
    auto_map = config.get("auto_map")
    auto_map = auto_map if isinstance(auto_map, Mapping) else {}
    models = [loader] if loader else [name for name in ("AutoModelForCausalLM", "AutoModel") if name in auto_map][:1]
    named = [auto_map[name] for name in ["AutoConfig", *models] if name in auto_map]
    if any(not isinstance(reference, str) or reference.count(".") != 1 or "--" in reference for reference in named):
        return Unknown("auto_map names no module of the folder")
    return tuple(dict.fromkeys(reference.partition(".")[0] for reference in named))
