"""What config.json gets wrong, as 4.37.2, 4.57.1 and 5.23.0 met it on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from file_scenes import folder
from qvl_preflight.report import Report
from qvl_preflight.request import Dtype
from qvl_preflight.testing import machine

RELEASES = {"4.37.2": "2.2.2", "4.57.1": "2.14.1", "5.23.0": "2.14.1"}


def check(path: Path, transformers: str = "5.23.0", loader: str | None = "AutoModelForCausalLM", **kwargs: Any) -> Report:
    packages = {"transformers": transformers, "torch": RELEASES[transformers], "safetensors": "0.8.0", "accelerate": "1.15.0"}
    return qvl_preflight.check(str(path), facts=machine("no-gpu", packages=packages), loader=loader, **kwargs)


def said(report: Report) -> list[tuple[str, str]]:
    return [(found.code, found.raises.type if found.raises else "") for found in report.findings]


@pytest.mark.parametrize("transformers", RELEASES)
@pytest.mark.parametrize("named", ["bf16", "torch.bfloat16"])
def test_a_dtype_in_config_json_that_torch_does_not_have(tmp_path: Path, transformers: str, named: str) -> None:
    report = check(folder(tmp_path / "model", torch_dtype=named), transformers)
    assert said(report) == [("QVL902", "AttributeError")]
    assert report.verdict == "fails"


def test_transformers_5_does_not_look_at_it_where_one_is_passed_to_an_auto_class(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", torch_dtype="bf16")
    passed = {"torch_dtype": Dtype("float16")}
    assert said(check(path, **passed)) == []
    assert said(check(path, loader="LlamaForCausalLM", **passed)) == [("QVL902", "AttributeError")]
    assert said(check(path, "4.57.1", **passed)) == [("QVL902", "AttributeError")]


@pytest.mark.parametrize("named", ["bfloat16", "float16", "half"])
def test_names_of_a_dtype_stay_quiet(tmp_path: Path, named: str) -> None:
    assert said(check(folder(tmp_path / "model", torch_dtype=named))) == []


@pytest.mark.parametrize("transformers", RELEASES)
@pytest.mark.parametrize("wrong", [{"vocab_size": 640}, {"hidden_size": 128}])
def test_embeddings_of_another_shape(tmp_path: Path, transformers: str, wrong: dict[str, int]) -> None:
    report = check(folder(tmp_path / "model", **wrong), transformers)
    assert said(report) == [("QVL916", "RuntimeError")]
    assert "256 × 64" in report.findings[0].message


def test_shapes_that_the_call_corrects_or_ignores(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", vocab_size=640)
    assert said(check(path, vocab_size=256)) == []
    assert said(check(path, ignore_mismatched_sizes=True)) == []
    assert said(check(path, "4.37.2", device_map="cpu")) == [("QVL916", "ValueError")]


@pytest.mark.parametrize("transformers", RELEASES)
def test_gptq_settings_without_bits(tmp_path: Path, transformers: str) -> None:
    report = check(folder(tmp_path / "model", quantization_config={"quant_method": "gptq", "group_size": 128}), transformers)
    assert ("QVL304", "TypeError") in said(report)


@pytest.mark.parametrize("loader", [None, "AutoModelForCausalLM"])
def test_a_slip_in_the_model_type(tmp_path: Path, loader: str | None) -> None:
    """The program may register the type: a warning."""
    report = check(folder(tmp_path / "model", model_type="lama"), loader=loader)
    assert said(report) == [("QVL907", "ValueError")]
    assert report.verdict == "degraded"
    assert "llama is near" in report.findings[0].message


def test_a_type_of_the_programs_own_stays_quiet(tmp_path: Path) -> None:
    assert said(check(folder(tmp_path / "model", model_type="house_decoder"), loader=None)) == []


@pytest.mark.parametrize("transformers", RELEASES)
@pytest.mark.parametrize("passed", [4, True, False, [1]])
def test_a_quantization_config_that_is_none(tmp_path: Path, transformers: str, passed: object) -> None:
    report = check(folder(tmp_path / "model"), transformers, quantization_config=passed)
    assert said(report) == [("QVL323", "AttributeError")]
