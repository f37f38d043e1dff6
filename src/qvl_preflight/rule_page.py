"""A rule's page as people read it: what its examples are run on stands in them as a comment, not as a mark for the tests."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^```python (\S[^\n]*)\n", re.MULTILINE)
_SHOWN = ("torch", "transformers", "accelerate", "optimum", "auto-gptq", "gptqmodel", "autoawq", "bitsandbytes", "flash-attn", "torchvision", "peft", "deepspeed")  # fmt: skip


def readable(page: str) -> str:
    """Each ``python stack=legacy purpose=qlora`` fence becomes a plain one that begins with a comment: releases, machine, purpose."""
    return _FENCE.sub(lambda fence: f"```python\n{_comment(fence.group(1))}", page)


def _comment(marks: str) -> str:
    from qvl_preflight.testing import STACKS

    settings = dict(mark.split("=", 1) for mark in marks.split())
    packages = STACKS[settings.pop("stack")]["packages"] if "stack" in settings else {}
    machine = settings.pop("hardware", "")
    trainer = settings.pop("trainer", "")
    said = [
        ", ".join(f"{name} {packages[name]}" for name in _SHOWN if name in packages),
        f"machine: {machine.replace('-', ' ')}" if machine else "",
        ", ".join(f"{name}: {value}" for name, value in settings.items()),
        "a Trainer" if trainer in ("yes", "{}") else f"a Trainer with {trainer}" if trainer else "",
    ]
    return f"# {'; '.join(part for part in said if part)}\n"
