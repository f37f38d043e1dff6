"""Which quantisation methods a release knows, and what becomes of the others. Each row was run on a stack without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.stack.quant_methods import SINCE, meant
from qvl_preflight.testing import STACKS, machine


def stored(folder: Path, settings: Any, **config: Any) -> str:
    folder.mkdir(exist_ok=True)
    whole = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "quantization_config": settings, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    return str(folder)


def check(folder: Path, release: str, settings: Any, **config: Any) -> qvl_preflight.Report:
    facts = machine(
        "h100", "today-bnb", packages={**STACKS["today-bnb"]["packages"], "transformers": release, "huggingface-hub": False}
    )
    return qvl_preflight.check(stored(folder, settings, **config), facts=facts, device_map={"": 0})


@pytest.mark.parametrize(
    ("release", "method", "code"),
    [
        ("4.37.2", "modelopt", "QVL312"), ("4.37.2", "fp8", "QVL312"), ("4.37.2", "GPTQ", "QVL312"), ("4.37.2", "", "QVL312"),
        ("4.41.2", "modelopt", "QVL311"), ("4.41.2", "compressed-tensors", "QVL311"), ("4.41.2", "GPTQ", "QVL311"), ("4.41.2", "bitsandbytes", "QVL311"),
        ("4.45.2", "fp8", "QVL311"), ("4.45.2", "", "QVL311"), ("4.51.3", "mxfp4", "QVL312"), ("4.51.3", "", "QVL311"), ("4.57.1", "nvfp4", "QVL312"),
        ("4.57.1", "bitsandbytes", "QVL312"), ("5.23.0", "modelopt", "QVL312"), ("5.23.0", "", "QVL311"),
    ],
)  # fmt: skip
def test_a_method_that_the_release_does_not_know(tmp_path: Path, release: str, method: str, code: str) -> None:
    """4.38 to 4.48 refuse it, the others load a plain model; settings without a method are refused from 4.38 on."""
    report = check(tmp_path, release, {"quant_method": method} if method else {"bits": 4})
    assert report.findings[0].code == code
    assert report.findings[0].severity is (Severity.ERROR if code == "QVL311" else Severity.WARNING)
    assert report.plan is not None
    assert (report.plan.quantization is None) == (code == "QVL312")


@pytest.mark.parametrize("release", ["4.37.2", "4.45.2", "4.57.1", "5.23.0"])
def test_what_every_release_knows(tmp_path: Path, release: str) -> None:
    """bitsandbytes by its flags, whatever quant_method says."""
    codes = {finding.code for finding in check(tmp_path, release, {"load_in_4bit": True}).findings}
    assert not codes & {"QVL311", "QVL312"}


def test_releases_that_were_not_read_are_undecided(tmp_path: Path) -> None:
    """metal came between 5.2.0 and 5.5.0."""
    report = check(tmp_path, "5.3.0", {"quant_method": "metal"})
    assert not {finding.code for finding in report.findings} & {"QVL311", "QVL312"}
    assert "metal" in " ".join(item.reason for item in report.skipped)


def test_settings_of_a_text_tower_count_where_they_are_read(tmp_path: Path) -> None:
    """From 5.17 on; before, nobody looks at them."""
    for release, codes in (("4.45.2", set()), ("5.23.0", {"QVL312"})):
        nested = {"text_config": {"quantization_config": {"quant_method": "modelopt"}}}
        folder = tmp_path / release
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "llava", **nested}))
        facts = machine(
            "h100", "today", packages={**STACKS["today"]["packages"], "transformers": release, "huggingface-hub": False}
        )
        report = qvl_preflight.check(str(folder), facts=facts, device_map={"": 0})
        assert {finding.code for finding in report.findings} & {"QVL311", "QVL312"} == codes


def test_plain_weights_under_a_stranger_are_nobodys_trouble(tmp_path: Path) -> None:
    """Headers that are those of a plain model load as such."""
    from qvl_preflight.testing.quantized import plain, write_quantized

    write_quantized(str(tmp_path), 1, settings={"quant_method": "modelopt"}, linear=plain)
    assert not qvl_preflight.check(str(tmp_path), facts=machine(), device_map={"": 0}).findings


@pytest.mark.parametrize(
    ("written", "method"),
    [("GPTQ", "gptq"), ("compressed_tensors", "compressed-tensors"), ("autoround", "auto-round"), ("gptqq", "gptq"), ("fp4", None), ("eeqt", "eetq"), ("torchoa", "torchao"), ("modelopt", None), ("", None), ("awq", None)],
)  # fmt: skip
def test_slips_of_the_pen(written: str, method: str | None) -> None:
    """Case and hyphens always, one letter in words that are long enough; short names are near to one another."""
    assert meant(written) == method


def test_methods_come_in_order() -> None:
    """The release that knows a method is later than the one that does not."""
    from qvl_preflight.versions import parse

    for without, since in SINCE.values():
        assert (parse(without) or ()) < (parse(since) or ())
