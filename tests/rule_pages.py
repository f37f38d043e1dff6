"""Reads the examples out of the rules' pages: each fence is one call on a named machine."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvl_preflight.cli_values import _from_python
from qvl_preflight.rule import Rule

_FENCE = re.compile(r"```python([^\n]*)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One call of a page, and the machine that it is made on."""

    model: str
    kwargs: dict[str, Any]
    hardware: str = "a100"
    stack: str = "today"
    purpose: str | None = None
    trainer: dict[str, Any] | None = None  # TrainingArguments: "yes" is a Trainer with defaults, "fp16,use_cpu" sets these
    targets: tuple[str, ...] = ()  # of a LoraConfig
    lora: dict[str, Any] | None = None  # more of it: "r:0,modules_to_save:o_proj"
    loader: str | None = None  # the class whose from_pretrained is called


def peft_of(example: Example) -> dict[str, Any] | None:
    """The LoraConfig of an example, as a mapping."""
    targets = {"target_modules": list(example.targets)} if example.targets else {}
    return {"r": 8, **targets, **(example.lora or {})} if targets or example.lora else None


def model_of(example: Example, root: Path) -> str:
    """A named checkpoint, or a hub id that only a cache knows."""
    return str(root / example.model) if (root / example.model).is_dir() else example.model


def kwargs_of(example: Example, root: Path) -> dict[str, Any]:
    """A cache of an example lies beside the checkpoints."""
    given = example.kwargs
    return {**given, "cache_dir": str(root / given["cache_dir"])} if "cache_dir" in given else given


def examples(rule: Rule) -> tuple[Example, Example]:
    """The bad call and the good one."""
    found = [_example(info, textwrap.dedent(code)) for info, code in _FENCE.findall(rule.page)]
    assert len(found) == 2, f"{rule.code} has {len(found)} examples"
    return found[0], found[1]


def _example(info: str, code: str) -> Example:
    call = ast.parse(code.strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    settings: dict[str, Any] = dict(pair.split("=") for pair in info.split())
    if (trainer := settings.get("trainer")) is not None:
        settings["trainer"] = _trainer(trainer)
    settings["targets"] = tuple(filter(None, settings.pop("peft", "").split(",")))
    if "lora" in settings:
        settings["lora"] = dict(_setting(pair) for pair in settings["lora"].split(","))
    settings["loader"] = _loader(call.func)
    return Example(
        ast.literal_eval(call.args[0]), {keyword.arg or "": _from_python(keyword.value) for keyword in call.keywords}, **settings
    )


def _trainer(said: str) -> dict[str, Any]:
    """``yes``: a Trainer with defaults; ``fp16,use_cpu``: these switched on; else the settings as JSON, without blanks."""
    if said.startswith("{"):
        settings: dict[str, Any] = json.loads(said)
        return settings
    return {} if said == "yes" else dict.fromkeys(said.split(","), True)


def _loader(called: ast.expr) -> str | None:
    """``AutoModelForCausalLM`` of ``AutoModelForCausalLM.from_pretrained``."""
    return called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else None


def _setting(pair: str) -> tuple[str, Any]:
    """``r:0``; what lists modules is a list."""
    key, value = pair.split(":")
    return key, int(value) if value.isdecimal() else [value] if key.startswith("modules") else value
