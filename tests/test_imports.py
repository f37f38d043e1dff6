"""What importing costs, and which way imports may point."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "qvl_preflight"
HEAVY = ("torch", "transformers", "pydantic", "rich", "pynvml", "packaging", "importlib.metadata")
# A module may import only from lines above its own. `*` stands for the modules of a folder, which may import one another
# only as the second table says.
LAYERS = (
    "_version",
    "strict",
    "exceptions",
    "missing",
    "counted",
    "unknown",
    "spelling",
    "plain_names",
    "auto_tables",
    "settings",
    "versions",
    "borders",
    "json_files",
    "sections",
    "facts",
    "facts_from",
    "safetensors",
    "torch_pickle",
    "torch_files",
    "stand_ins",
    "weight_files",
    "caches",
    "sources",
    "devices",
    "loaders",
    "request",
    "checkpoint",
    "remote_imports",
    "remote_code",
    "symptoms",
    "plan",
    "report",
    "live",
    "memory.*",
    "stack.*",
    "planner",
    "remedies",
    "online",
    "locate",
    "loaded.causes",
    "rule",
    "rules",
    "rules.*",
    "judge",
    "environment",
    "possible_stacks",
    "questions",
    "outline",
    "engine",
    "fitting.*",
    "fitting",
    "loaded",
    "loaded.*",
    "probes.*",
    "probes",
    "render.*",
    "render",
    "schemas",
    "readers",
    "readers.*",
    "jobs",
    "cli_values",
    "cli_output",
    "diagnosis.*",
    "diagnosis",
    "api",
    "guarding.*",
    "guarding",
    "estimate",
    "callback",
    "fit_call",
    "testing.*",
    "testing",
    "rule_page",
    "commands",
    "commands.*",
    "cli",
    "progress",
    "cell_calls",
    "notebook",
    "cells",
    "__init__",
    "__main__",
)
WITHIN_STACK = (
    "release_spans",
    "requirements",
    "torchvision",
    "absent",
    "other_model",
    "skew",
    "auto_classes",
    "argument_names",
    "left_over",
    "own_code",
    "copied_code",
    "torch_wheels",
    "nvidia_driver",
    "hub",
    "mirrors",
    "code_files",
    "files",
    "weight_choice",
    "weight_arguments",
    "config_values",
    "config_mistakes",
    "broken_files",
    "cuda",
    "accelerate",
    "kernel_images",
    "auto_map",
    "module_tree",
    "named_modules",
    "strategy_map",
    "transformers",
    "dtype_forms",
    "no_split",
    "attention_support",
    "flash",
    "flash_library",
    "attention",
    "module_names",
    "map_holes",
    "placement",
    "map_forms",
    "offload",
    "other_devices",
    "tensor_parallel",
    "newer",
    "quant_methods",
    "quant_checks",
    "quant_tables",
    "quant_environment",
    "quant_dtype",
    "quant_training",
    "fp8_forward",
    "loading_attributes",
    "quant_arguments",
    "quantizers",
    "auto_gptq",
    "gptqmodel_kernels",
    "gptqmodel_device",
    "gptqmodel",
    "gptqmodel_awq",
    "gptqmodel_use",
    "gptq_environment",
    "gptq_settings",
    "gptq",
    "gptq_blocks",
    "bnb_environment",
    "bnb_library",
    "bnb_moved",
    "bitsandbytes",
    "awq",
    "awq_kernels",
    "config_objects",
    "peft",
    "adapter_targets",
    "lora_defaults",
    "lora",
    "lora_targets",
    "lora_settings",
    "lora_step",
    "trainer",
    "deepspeed",
    "deepspeed_ops",
    "fsdp",
    "loaders",
    "out_of_memory",
    "training_arguments",
    "training_choices",
    "precision",
    "eras",
    "proven",
    "proven_on",
)
# Reached by a function when it is needed, against the direction, with the reason.
LAZY = {
    ("versions", "facts"): "typing only",
    ("facts_from", "probes"): "collecting runs the probes",
    ("report", "request"): "the doctor's report needs no call",
    ("report", "render"): "a report shows itself when it is asked to",
    ("guarding.call", "guarding"): "the engine is loaded with the first call that is looked at",
    ("guarding.call", "jobs"): "the same",
    ("guarding.call", "live"): "only a call that is corrected needs it",
    ("guarding.said", "render"): "only what is said in full needs it",
    ("api", "render"): "only text() needs it",
    ("fitting.answer", "render"): "an answer shows itself when it is asked to",
    ("api", "rule_page"): "a page is made readable where it is shown",
    ("notebook", "cells"): "the magic is made before what it does is needed",
    ("rule", "rules"): "the registry is filled when it is asked for",
    ("__init__", "*"): "names are loaded on first use",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy() -> None:
    """import qvl_preflight: none of torch, transformers, pydantic, rich, pynvml."""
    assert not loaded_by("import qvl_preflight") & set(HEAVY)


@pytest.mark.slow
def test_the_doctor_in_json_pays_for_neither_rich_nor_pydantic() -> None:
    """Plain --json is for machines that have little time."""
    loaded = loaded_by(
        "import io, contextlib\nfrom qvl_preflight.cli import main\nwith contextlib.redirect_stdout(io.StringIO()): main(['doctor', '--json'])"
    )
    assert not loaded & set(HEAVY)
    assert "qvl_preflight.planner" not in loaded


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def layer(name: str) -> int:
    if name in LAYERS:
        return LAYERS.index(name)
    return LAYERS.index(name.split(".")[0] + ".*")


def imports(path: Path) -> list[tuple[str, bool]]:
    """The modules of ours that a file imports, and whether only for types or inside a function."""
    tree = ast.parse(path.read_text())
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.If)) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("qvl_preflight"):
            base = node.module.removeprefix("qvl_preflight").lstrip(".")
            inner = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            targets = [name for name in inner if (SOURCE / (name.replace(".", "/") + ".py")).is_file()] or [base or "__init__"]
            found += [(target, id(node) in late) for target in targets]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: name_of(path))
def test_imports_point_one_way(path: Path) -> None:
    """Arrows never go back: facts know nothing of plans, plans nothing of rules, rules nothing of the engine."""
    me = name_of(path)
    for target, late in imports(path):
        if late and (typing_only(path, target) or (me, target.split(".")[0]) in LAZY or (me, "*") in LAZY):
            continue
        if me.startswith("stack.") and target.startswith("stack."):
            order = WITHIN_STACK
            assert order.index(target[6:]) < order.index(me[6:]), f"{me} imports {target}"
        else:
            assert layer(target) < layer(me) or (target.split(".")[0] == me.split(".")[0] and "." in me), f"{me} imports {target}"


def typing_only(path: Path, target: str) -> bool:
    """Is it imported under TYPE_CHECKING?"""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and (inner.module or "").removeprefix("qvl_preflight.") == target:
                    return True
    return False


def test_the_layers_name_every_module() -> None:
    """A new module is put into the order on purpose."""
    for path in SOURCE.rglob("*.py"):
        layer(name_of(path))
        if name_of(path).startswith("stack."):
            assert name_of(path)[6:] in WITHIN_STACK
