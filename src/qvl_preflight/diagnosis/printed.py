"""What a log says of the machine on which it was written: versions that are printed, and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from qvl_preflight.versions import parse

_NAMES = (
    "torch", "torchvision", "transformers", "accelerate", "peft", "optimum", "auto-gptq", "gptqmodel", "bitsandbytes", "autoawq", "deepspeed", "flash-attn",
    "huggingface-hub", "tokenizers", "safetensors", "triton", "trl", "xformers", "datasets", "torchao", "compressed-tensors", "numpy", "vllm", "unsloth",
    "kernels",
)  # fmt: skip
_ALSO = {"pytorch": "torch", "flash_attn": "flash-attn", "auto_gptq": "auto-gptq", "huggingface_hub": "huggingface-hub", "compressed_tensors": "compressed-tensors"}  # fmt: skip
_ANY = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in sorted([*_NAMES, "pytorch"], key=len, reverse=True))
_VERSION = r"(?P<version>\d{1,4}\.\d{1,4}(?:\.\d{1,8})?(?:\.?(?:post|dev|rc|a|b)\d{1,4})?(?:\+[\w.]{1,20})?)"
# "transformers==4.37.2", "- `transformers` version: 4.37.2", "PyTorch version (GPU?): 2.1.2+cu118 (True)", "torch version .... 2.1.2",
# "transformers              4.37.2    pypi_0", "[pip3] torch==2.1.2", "transformers-4.37.2.dist-info", "Successfully installed peft-0.10.0".
_LINE = re.compile(
    rf"(?<![\w.-])[`'\"]?(?P<name>{_ANY})[`'\"]?(?:\s?==\s?|\s{{1,60}}(?:version)?\s?(?:\([^)\n]{{1,30}}\))?[\s.:|@]{{0,60}}|\s?[:@|]\s?v?|-(?=\d)|\s{{2,60}}){_VERSION}(?![\w%])",
    re.IGNORECASE,
)
_PYTHON = re.compile(
    r"(?:[/\\]python(?P<path>3\.\d{1,2})[/\\](?:site|dist)-packages|[Pp]ython version\W{1,4}(?P<said>3\.\d{1,2}(?:\.\d{1,2})?))"
)
_VISIBLE = re.compile(
    r"CUDA_VISIBLE_DEVICES(?:\s?=\s?|\W{1,3}:\s?)[\"']?(?P<value>[\d,]{0,40}|-1)[\"']?(?=[\s;)}]|$)", re.MULTILINE
)
_DRIVER = re.compile(r"(?:Driver Version|Nvidia driver version|driver_version)\W{1,4}(?P<driver>\d{3}\.\d{2,3}(?:\.\d{2})?)")
_MOST = 1 << 20


def printed_facts(text: str) -> dict[str, Any] | None:
    """Facts of the form facts/1 out of a log; None where it prints none. What is printed twice with two answers is not known."""
    text = text if len(text) <= _MOST else text[: _MOST // 2] + "\n" + text[-_MOST // 2 :]
    packages: dict[str, set[str]] = {}
    for name, version in _versions(text):
        packages.setdefault(name, set()).add(version)
    facts: dict[str, Any] = {"packages": {name: next(iter(said)) for name, said in packages.items() if len(said) == 1}}
    if (build := _build(facts["packages"].get("torch"))) is not None:
        facts["torch"] = {"cuda_build": build}
    if (python := _one(_PYTHON, text)) is not None:
        facts["python"] = {"version": python}
    if (visible := _one(_VISIBLE, text)) is not None:
        facts["env"] = {"CUDA_VISIBLE_DEVICES": visible}
    if (driver := _one(_DRIVER, text)) is not None:
        facts["driver"] = {"version": driver}
    if not facts["packages"] and len(facts) == 1:
        return None
    return {"schema": "qvl-preflight/facts/1", "packages_complete": False, **facts}


def _versions(text: str) -> Iterator[tuple[str, str]]:
    for found in _LINE.finditer(text):
        name = found["name"].lower()
        if parse(found["version"]) is not None:
            yield _ALSO.get(name.replace("-", "_"), _ALSO.get(name, name.replace("_", "-"))), found["version"]


def _build(torch: str | None) -> str | bool | None:
    """``2.1.2+cu118`` → ``11.8``; False for ``+cpu``."""
    local = (torch or "").partition("+")[2]
    if local.startswith("cpu"):
        return False
    return f"{local[2:-1]}.{local[-1]}" if re.fullmatch(r"cu\d{3}", local) else None


def _one(pattern: re.Pattern[str], text: str) -> str | None:
    said = {next(each for each in found.groups() if each is not None) for found in pattern.finditer(text)}
    return said.pop() if len(said) == 1 else None
