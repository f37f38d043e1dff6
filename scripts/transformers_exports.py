"""Writes src/qvl_preflight/tables/exports.txt: the names that code of checkpoints imports from transformers, and the releases that have them.

scripts/transformers_exports.py FOLDER…, each an unpacked release (see transformers_tables.py). Nothing of them is imported. Only names that came
or went are written, and of each module its releases. A module that a release makes up at run time (sys.modules) counts as there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from qvl_preflight.auto_tables import ranges
from qvl_preflight.remote_imports import EXPORTS

_CORE = [
    "activations",
    "cache_utils",
    "configuration_utils",
    "deepspeed",
    "file_utils",
    "generation",
    "generation.beam_constraints",
    "generation.beam_search",
    "generation.configuration_utils",
    "generation.logits_process",
    "generation.stopping_criteria",
    "generation.streamers",
    "generation.utils",
    "generation_utils",
    "integrations",
    "integrations.deepspeed",
    "masking_utils",
    "modeling_attn_mask_utils",
    "modeling_flash_attention_utils",
    "modeling_layers",
    "modeling_outputs",
    "modeling_rope_utils",
    "modeling_utils",
    "processing_utils",
    "pytorch_utils",
    "utils",
    "utils.doc",
    "utils.generic",
    "utils.import_utils",
    "utils.logging",
    "utils.model_parallel_utils",
]
_MODELS = [
    "bert",
    "bloom",
    "clip",
    "gemma",
    "gpt2",
    "llama",
    "mistral",
    "opt",
    "phi3",
    "qwen2",
    "qwen2_vl",
    "qwen2_5_vl",
    "siglip",
    "t5",
    "vit",
    "whisper",
]
MODULES = ["", *_CORE, *(f"models.{name}.{kind}_{name}" for name in _MODELS for kind in ("configuration", "modeling"))]
# Of what transformers itself exports: not the thousands of model classes, which tables/auto_classes.txt holds.
_TOP = re.compile(
    r"^(Logits|Stopping|Beam|Constrain|Phrasal|Disjunctive|Generation|AdamW$|top_k|is_|Auto|PreT|Pret|Bert|Bloom|CLIP|Gemma[23]?[CFMPT]|GPT2"
    r"|Llama[CFMPT]|Mistral[CFMP]|OPT|Phi3[CFMP]|Qwen2|Siglip[CIMV]|T5|ViT[CFIM]|Whisper)|(Logits\w+|Cache|Streamer|Cache\w*Config|Criteria)$"
)
_NOT_TOP = re.compile(
    r"^(TF|Flax|FX)|ForConditionalGeneration|Onnx|Tester|OmniT|Omni[A-Z]|ArchiveList|Fast$"
)  # …Fast: 5.x makes them up


def main(folders: list[str]) -> None:
    """Read every release and write the table."""
    releases = sorted((_release(Path(folder)), Path(folder)) for folder in folders)
    named = [".".join(map(str, numbers[:2])) for numbers, _ in releases]
    lines = [" ".join(named)]
    for module in MODULES:
        found = [_exported(folder / "transformers", module) for _, folder in releases]
        there = [names is not None for names in found]
        every = set().union(*(names for names in found if names))
        parts = [f"transformers.{module}".rstrip("."), ranges(there, named)]
        for name in sorted(every):
            at = [names is not None and name in names for names in found]
            if at != there and _wanted(module, name):
                parts.append(f"{name}:{ranges(at, named)}")
        lines.append(" ".join(parts))
    Path(EXPORTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{EXPORTS}: {Path(EXPORTS).stat().st_size} bytes")


def _release(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.name)[-3:]))


def _wanted(module: str, name: str) -> bool:
    if not module:
        return bool(_TOP.search(name)) and not _NOT_TOP.search(name)
    return name in _own_names() and (not name.startswith("_") or "attn" in module or "attention" in module or "mask" in name)


def _exported(root: Path, module: str) -> set[str] | None:
    """Every name that a module has, as far as its text says; None where the release has no such module."""
    base = root / module.replace(".", "/")
    for path in (base.with_suffix(".py") if module else base / "__init__.py", base / "__init__.py"):
        if path.is_file():
            tree = _parsed(path)
            names = set(_bound(tree.body)) - {"*"}
            if path.name == "__init__.py":  # lazy modules list their names as text, or take them from __all__ of their files
                names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
                for other in path.parent.rglob("*.py") if not module else path.parent.glob("*.py"):
                    listed = re.search(r"^__all__\s*=\s*\[(.*?)\]", other.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
                    names |= set(re.findall(r"\"(\w+)\"", listed.group(1))) if listed else set()
            return names
    if (
        module
        and base.parent.is_dir()
        and re.search(rf"[\"'.]{module.rpartition('.')[2]}[\"']", (root / "__init__.py").read_text(encoding="utf-8"))
    ):
        return set(_own_names())  # made up at run time: it may have anything
    return None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _own_names() -> frozenset[str]:
    """Classes, functions, constants and aliases that some module of some release defines itself."""
    names: set[str] = set()
    for folder in sys.argv[1:]:
        for module in MODULES[1:]:
            path = Path(folder, "transformers", *module.split(".")).with_suffix(".py")
            if path.is_file():
                body = list(_flat(_parsed(path).body))
                names |= {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
                names |= {name for node in body if isinstance(node, ast.Assign) for name in _bound([node]) if name[0].isupper()}
    return frozenset(names)


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under if, try and with included."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
                yield from _flat(getattr(node, inner, []))


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements bind."""
    for node in _flat(body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))


if __name__ == "__main__":
    main(sys.argv[1:])
