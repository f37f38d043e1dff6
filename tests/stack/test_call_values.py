"""Values that no load survives: what 4.37.2, 4.57.1 and 5.23.0 answered on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.exceptions import InputError
from qvl_preflight.testing import STACKS, machine

MODEL = "meta-llama/Llama-2-7b-hf"
OLD, V4, NEW = "4.37.2", "4.57.1", "5.23.0"


class BitsAndBytesConfig:
    """Stands for the class, where an object of it is meant."""


def raised(model: Path | str, release: str, loader: str | None = None, **kwargs: Any) -> tuple[str, str, str] | None:
    """The first exception of a call, where it is certain."""
    packages = {**STACKS["today" if release == NEW else "legacy"]["packages"], "transformers": release}
    report = qvl_preflight.check(str(model), facts=machine("no-gpu", packages=packages), loader=loader, **kwargs)
    first = next((f for f in report.findings if f.raises and f.raises.certain), None)
    return (first.code, first.raises.type, first.raises.text) if first and first.raises else None


STATE, MISSING_ATTRIBUTE = "`state_dict` cannot be passed together", "type object 'BitsAndBytesConfig' has no attribute"
SEEN: list[tuple[tuple[str, ...], dict[str, Any], tuple[str, str, str] | None]] = [
    ((OLD, V4, NEW), {"torch_dtype": float}, ("QVL902", "IndexError", "list index out of range")),
    ((V4, NEW), {"torch_dtype": float, "loader": "LlamaForCausalLM"}, ("QVL902", "ValueError", "`dtype` can be one of")),
    ((OLD,), {"torch_dtype": float, "loader": "LlamaForCausalLM"}, ("QVL902", "AttributeError", "type object 'float' has no attribute")),
    ((V4, NEW), {"state_dict": {}}, ("QVL918", "ValueError", STATE)), ((OLD,), {"state_dict": {}}, None), ((NEW,), {"state_dict": None}, None),
    ((OLD, V4), {"from_tf": True}, ("QVL918", "ModuleNotFoundError", "No module named 'tensorflow'")), ((NEW,), {"from_tf": True}, None),
    ((OLD, V4), {"from_flax": True}, ("QVL918", "ModuleNotFoundError", "No module named 'jax'")), ((V4,), {"from_flax": False}, None),
    ((V4, NEW), {"gguf_file": "x.gguf"}, ("QVL918", "OSError", "")),
    ((OLD,), {"quantization_config": BitsAndBytesConfig}, ("QVL323", "AttributeError", f"{MISSING_ATTRIBUTE} 'load_in_8bit'")),
    ((V4, NEW), {"quantization_config": BitsAndBytesConfig}, ("QVL323", "AttributeError", f"{MISSING_ATTRIBUTE} 'quant_method'")),
    ((V4,), {"device_map": {"": "cpu:0"}}, ("QVL401", "SafetensorError", "device cpu:0 is invalid")),
    ((OLD, NEW), {"device_map": {"": "cpu:0"}}, None), ((V4,), {"device_map": {"": "cpu"}}, None),
    ((NEW,), {"device_map": {0: "cpu"}}, ("QVL401", "AttributeError", "'int' object has no attribute 'count'")),
    ((NEW,), {"device_map": {None: "cpu"}}, ("QVL401", "AttributeError", "'NoneType' object has no attribute 'count'")),
    ((OLD, V4, NEW), {"num_attention_heads": 0}, ("QVL917", "ZeroDivisionError", "")),
    ((OLD, V4, NEW), {"num_key_value_heads": 0}, ("QVL917", "ZeroDivisionError", "")),
    ((V4, NEW), {"rope_scaling": {"rope_type": "foo", "factor": 2.0}}, ("QVL917", "KeyError", "'foo'")),
    ((OLD,), {"rope_scaling": {"type": "foo", "factor": 2.0}}, ("QVL917", "ValueError", "`rope_scaling`")),
    ((OLD, V4, NEW), {"rope_scaling": {"type": "linear", "factor": 2.0}}, None),
    ((OLD, V4), {"hidden_size": "128"}, ("QVL917", "TypeError", "empty(): argument")),
    ((NEW,), {"hidden_size": "128"}, ("QVL917", "StrictDataclassFieldValidationError", "Validation ")),
]  # fmt: skip


@pytest.mark.parametrize(("releases", "call", "expected"), SEEN, ids=[f"{case[0]} {case[1]}" for case in SEEN])
def test_what_happened(
    checkpoints: Path, releases: tuple[str, ...], call: dict[str, Any], expected: tuple[str, str, str] | None
) -> None:
    for release in releases:
        found = raised(checkpoints / MODEL, release, **call)
        assert (found and (*found[:2], found[2][: len(expected[2])] if expected else found[2])) == expected, release


def test_a_gguf_file_that_is_there(checkpoints: Path, tmp_path: Path) -> None:
    """Nothing is said of one in the folder, nor of a hub's name."""
    (tmp_path / "config.json").write_text((checkpoints / MODEL / "config.json").read_text())
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert (raised(tmp_path, NEW, gguf_file="x.gguf") or ("",))[0] != "QVL918"


@pytest.mark.parametrize("loader", ["AutoConfig", "AutoTokenizer", "AutoModel ForCausalLM", "1", "Auto Model", ""])
def test_what_is_no_class_of_a_model(checkpoints: Path, loader: str) -> None:
    with pytest.raises(InputError, match="loader is "):
        qvl_preflight.check(str(checkpoints / MODEL), loader=loader, facts=machine())


@pytest.mark.parametrize(("loader", "codes"), [
    ("AutoModelForFoo", ["QVL908"]), ("AutoModelForCausalLMWithValueHead", []), ("MyModel", []), ("AutoModelForCausalLM", []),
    (" transformers.AutoModelForCausalLM ", []), ("AutoPeftModelForCausalLM", []),
])  # fmt: skip
def test_auto_classes_of_no_release(checkpoints: Path, loader: str, codes: list[str]) -> None:
    report = qvl_preflight.check(str(checkpoints / MODEL), loader=loader, facts=machine(), device_map={"": 0})
    assert [f.code for f in report.findings] == codes


@pytest.mark.parametrize(("architecture", "kind", "release", "refused"), [
    ("BertForMaskedLM", "bert", "4.37.2", True), ("CLIPModel", "clip", "4.37.2", True), ("CLIPModel", "clip", "4.40.2", False),
    ("GPT2LMHeadModel", "gpt2", "4.37.2", False), ("RobertaForSequenceClassification", "roberta", "4.37.2", False),
    ("BertForMaskedLM", "bert", "4.57.1", False),
])  # fmt: skip
def test_classes_that_no_strategy_splits(tmp_path: Path, architecture: str, kind: str, release: str, refused: bool) -> None:
    """4.37.2 was asked for each of its 871 classes."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": kind}))
    packages = {**STACKS["legacy"]["packages"], "transformers": release}
    report = qvl_preflight.check(str(tmp_path), facts=machine("a100", packages=packages), device_map="auto")
    assert [f.code for f in report.findings if f.code == "QVL412"] == ["QVL412"] * refused
