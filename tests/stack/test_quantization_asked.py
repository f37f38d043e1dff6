"""What is passed as quantization_config, release by release. Each row was run on a stack without a GPU, unless it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import machine

PLAIN, GPTQ, BNB, AWQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "example/bnb-4bit", "example/awq"
STACK = {
    "torch": "2.8.0", "accelerate": "1.15.0", "bitsandbytes": "0.50.2", "optimum": "1.24.0", "gptqmodel": "7.7.0", "auto-gptq": "0.7.1", "autoawq": "0.2.7",
}  # fmt: skip


def report_of(
    root: Path, model: str, release: str, packages: dict[str, Any] | None = None, hardware: str = "a100", **call: Any
) -> qvl_preflight.Report:
    facts = machine(hardware, "today", packages={**STACK, "transformers": release, **(packages or {})})
    return qvl_preflight.check(str(root / model), facts=facts, **{"device_map": {"": 0}, **call})


def bnb(**fields: Any) -> dict[str, Any]:
    return {"__class__": "BitsAndBytesConfig", **fields}


@pytest.mark.parametrize(
    ("release", "model", "passed", "expected"),
    [
        ("4.37.2", PLAIN, "4bit", ("QVL323", "AttributeError", "'str' object has no attribute 'load_in_8bit'")),
        ("4.37.2", PLAIN, {"load_in_4bit": True}, ("QVL323", "AttributeError", "'dict' object has no attribute 'load_in_8bit'")),
        ("4.45.2", PLAIN, "4bit", ("QVL323", "AttributeError", "'str' object has no attribute 'quant_method'")),
        ("5.23.0", PLAIN, "bitsandbytes", ("QVL323", "AttributeError", "'str' object has no attribute 'quant_method'")),
        ("4.45.2", PLAIN, {"bits": 4}, ("QVL323", "ValueError", "The model's quantization config from the arguments has no `quant_method`")),
        ("4.57.1", PLAIN, {}, ("QVL323", "ValueError", "The model's quantization config from the arguments has no `quant_method`")),
        ("5.23.0", PLAIN, {"quant_method": "nope"}, ("QVL323", "ValueError", "Unknown quantization type, got nope")),
        ("4.45.2", PLAIN, {"load_in_4bit": True}, None),
        ("5.23.0", PLAIN, {"load_in_8bit": True}, None),
        ("5.23.0", GPTQ, "4bit", ("QVL303", "ValueError", "The model is quantized with GPTQConfig but you are passing a str config.")),
        ("4.51.3", GPTQ, "4bit", ("QVL303", "AttributeError", "'str' object has no attribute 'get_loading_attributes'")),
        ("4.45.2", GPTQ, {"bits": 4}, ("QVL303", "AttributeError", "'dict' object has no attribute 'get_loading_attributes'")),
        ("4.37.2", GPTQ, "4bit", ("QVL303", "AttributeError", "'str' object has no attribute 'load_in_8bit'")),
        ("5.23.0", BNB, "4bit", ("QVL303", "ValueError", "The model is quantized with BitsAndBytesConfig but you are passing a str config.")),
        ("5.23.0", BNB, {"load_in_4bit": True}, ("QVL303", "ValueError", "The model is quantized with BitsAndBytesConfig but you are passing a dict config.")),
        ("4.51.3", BNB, {"load_in_4bit": True}, None),
        ("4.51.3", BNB, "4bit", None),
        ("4.51.3", AWQ, {"__class__": "GPTQConfig", "bits": 4}, None),
        ("4.51.3", AWQ, bnb(load_in_8bit=True), ("QVL303", "AttributeError", "'BitsAndBytesConfig' object has no attribute 'get_loading_attributes'")),
        ("5.23.0", "example/fp8", bnb(load_in_8bit=True), ("QVL303", "ValueError", "The model is quantized with FineGrainedFP8Config but you are passing a BitsAndBytesConfig")),
        ("5.23.0", BNB, bnb(load_in_8bit=True), None),
    ],
)  # fmt: skip
def test_what_is_no_configuration_of_the_right_kind(
    checkpoints: Path, release: str, model: str, passed: Any, expected: tuple[str, str, str] | None
) -> None:
    """Strings, dicts and configurations of another method, on plain and on quantised checkpoints."""
    report = report_of(checkpoints, model, release, quantization_config=passed, hardware="h100")
    found = [(f.code, f.raises.type, f.raises.text) for f in report.findings if f.raises and f.code in ("QVL303", "QVL323")]
    if expected is None:
        assert not found
    else:
        assert (found[0][0], found[0][1], found[0][2][: len(expected[2])]) == expected


@pytest.mark.parametrize(
    ("release", "call", "expected"),
    [
        ("4.37.2", {"load_in_8bit": True}, None),
        ("4.37.2", {"llm_int8_threshold": 6.0}, ("ValueError", "You can't pass `load_in_8bit` or any other `BitsAndBytesConfig` argument")),
        ("4.40.2", {"load_in_8bit": True}, ("ValueError", "You can't pass `load_in_4bit`or `load_in_8bit` as a kwarg")),
        ("4.57.1", {"load_in_8bit": True}, ("ValueError", "You can't pass `load_in_4bit`or `load_in_8bit` as a kwarg")),
        ("4.57.1", {"load_in_4bit": False}, None),
        ("5.23.0", {"load_in_8bit": True}, ("TypeError", "Qwen2ForCausalLM.__init__() got an unexpected keyword argument 'load_in_8bit'")),
        ("5.23.0", {"load_in_4bit": False}, ("TypeError", "Qwen2ForCausalLM.__init__() got an unexpected keyword argument 'load_in_4bit'")),
    ],
)  # fmt: skip
def test_said_twice(checkpoints: Path, release: str, call: dict[str, Any], expected: tuple[str, str] | None) -> None:
    """One code for one mistake, whichever way the release words it; the cure is the same."""
    report = report_of(checkpoints, PLAIN, release, quantization_config=bnb(load_in_8bit=True), **call)
    found = [finding for finding in report.findings if finding.raises]
    if expected is None:
        assert not found
        return
    assert found[0].code == "QVL331"
    assert found[0].raises is not None
    assert (found[0].raises.type, found[0].raises.text[: len(expected[1])]) == expected
    assert found[0].fix is not None
    assert [edit.key for edit in found[0].fix.edits] == list(call)


@pytest.mark.parametrize(
    ("release", "fields", "finding", "quantized"),
    [
        ("4.37.2", {}, True, False),
        ("4.37.2", {"load_in_4bit": False}, False, False),
        ("4.37.2", {"load_in_4bit": False, "bnb_4bit_quant_type": "nf4"}, True, False),
        ("4.57.1", {"load_in_4bit": False}, True, True),
        ("5.23.0", {"load_in_4bit": False, "bnb_4bit_compute_dtype": {"__dtype__": "float32"}}, True, True),
        ("5.23.0", {"bnb_4bit_quant_type": "nf4"}, False, True),
        ("5.23.0", {"load_in_8bit": True}, False, True),
    ],
)
def test_neither_4_nor_8_bits(checkpoints: Path, release: str, fields: dict[str, Any], finding: bool, quantized: bool) -> None:
    """Up to 4.37 a plain model, later 4 bits; silence where that is what was said."""
    report = report_of(checkpoints, PLAIN, release, quantization_config=bnb(**fields))
    assert ("QVL324" in {found.code for found in report.findings}) is finding
    assert report.plan is not None
    assert (report.plan.quantization is not None) is quantized


@pytest.mark.parametrize(
    ("release", "fields", "expected"),
    [
        ("4.40.2", {"load_in_4bit": "yes"}, ("ValueError", "load_in_4bit must be a boolean")),
        ("5.23.0", {"load_in_4bit": "yes"}, ("TypeError", "load_in_4bit must be a boolean")),
        ("4.37.2", {"load_in_8bit": True, "llm_int8_threshold": 6}, ("ValueError", "llm_int8_threshold must be a float")),
        ("4.57.1", {"load_in_8bit": True, "llm_int8_threshold": 6}, ("TypeError", "llm_int8_threshold must be a float")),
        ("5.23.0", {"load_in_4bit": True, "llm_int8_skip_modules": "lm_head"}, ("TypeError", "llm_int8_skip_modules must be a list")),
        ("5.23.0", {"load_in_4bit": True, "bnb_4bit_quant_type": 4}, ("TypeError", "bnb_4bit_quant_type must be a string")),
        ("4.57.1", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf5"}, ("ValueError", "")),
        ("4.40.2", {"load_in_4bit": True, "bnb_4bit_quant_storage": "bf16"}, ("AttributeError", "module 'torch' has no attribute 'bf16'")),
        ("4.45.2", {"load_in_4bit": True, "bnb_4bit_quant_storage": "bf16"}, ("ValueError", "`bnb_4bit_quant_storage` must be a valid")),
        ("5.23.0", {"load_in_4bit": True, "bnb_4bit_quant_storage": "int32"}, ("ValueError", "`bnb_4bit_quant_storage` must be a valid")),
        ("5.23.0", {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16", "llm_int8_threshold": 6.0}, None),
    ],
)  # fmt: skip
def test_settings_of_the_wrong_type(
    checkpoints: Path, release: str, fields: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    """ValueError up to 4.42, TypeError later."""
    report = report_of(checkpoints, PLAIN, release, {"bitsandbytes": "0.46.1"}, quantization_config=bnb(**fields))
    found = [(f.raises.type, f.raises.text) for f in report.findings if f.raises and f.code == "QVL333"]
    assert (found[0][0], found[0][1][: len(expected[1])]) == expected if expected else not found


@pytest.mark.parametrize(
    ("release", "fields", "text"),
    [
        ("4.37.2", {"group_size": 0}, "group_size must be greater than 0"),
        ("5.23.0", {"damp_percent": 2}, "damp_percent must between 0 and 1."),
        ("4.37.2", {"dataset": "ptb"}, None),
        ("4.45.2", {"dataset": "ptb"}, "ptb dataset was deprecated."),
        ("5.23.0", {"dataset": "nope"}, "You have entered a string value for dataset."),
        ("5.23.0", {"dataset": 5}, "dataset needs to be either a list of string"),
        ("5.23.0", {"dataset": ["one text"], "group_size": 64, "damp_percent": 0.1}, None),
    ],
)
def test_settings_of_gptq(checkpoints: Path, release: str, fields: dict[str, Any], text: str | None) -> None:
    """What GPTQConfig refuses when it is made ("ptb dataset" was read only)."""
    config = {"__class__": "GPTQConfig", "bits": 4, "dataset": "c4", **fields}
    report = report_of(checkpoints, PLAIN, release, quantization_config=config, purpose="quantize")
    found = [f.raises.text for f in report.findings if f.raises and f.code == "QVL304"]
    assert found[0].startswith(text) if text else not found


def test_gptq_on_a_plain_checkpoint(checkpoints: Path) -> None:
    """It quantises now: with a dataset, and in optimum up to 1.23 with CUDA."""
    config = {"__class__": "GPTQConfig", "bits": 4}
    codes = [f.code for f in report_of(checkpoints, PLAIN, "5.23.0", {"optimum": "2.3.0"}, quantization_config=config).findings]
    assert codes == ["QVL325"]
    with_data = {**config, "dataset": "c4"}
    assert not report_of(checkpoints, PLAIN, "5.23.0", {"optimum": "2.3.0"}, quantization_config=with_data).findings
    old = {"optimum": "1.16.2", "gptqmodel": False, "accelerate": "0.26.1"}
    report = report_of(checkpoints, PLAIN, "4.37.2", old, "no-gpu", quantization_config=with_data, device_map=None)
    found = [f.raises.text for f in report.findings if f.raises and f.severity is Severity.ERROR]
    assert found[0] == "No GPU found. A GPU is needed to quantize model."
