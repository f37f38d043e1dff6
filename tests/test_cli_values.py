"""Arguments as they are typed become what from_pretrained would be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.cli_values import read_json, read_pairs, read_value
from qvl_preflight.exceptions import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("auto", "auto", id="a word is a string"),
        pytest.param('"auto"', "auto", id="quotes are JSON's"),
        pytest.param("'auto'", "auto", id="quotes are Python's"),
        pytest.param("cuda:0", "cuda:0", id="a device is a string"),
        pytest.param("20GiB", "20GiB", id="a size is a string"),
        pytest.param("Qwen/Qwen2-7B", "Qwen/Qwen2-7B", id="a hub id is a string"),
        pytest.param("", "", id="nothing is the empty string"),
        pytest.param("flash attention", "flash attention", id="two words are one string"),
        pytest.param("0", 0, id="a whole number"),
        pytest.param("0.5", 0.5, id="a fraction"),
        pytest.param("007", "007", id="leading zeros are no number"),
        pytest.param("true", True, id="true as JSON writes it"),
        pytest.param("True", True, id="True as Python writes it"),
        pytest.param("False", False, id="False as Python writes it"),
        pytest.param("null", None, id="null"),
        pytest.param("None", None, id="None"),
        pytest.param("[1, 2]", [1, 2], id="a JSON list"),
        pytest.param('{"": 0}', {"": 0}, id="a device_map as JSON"),
        pytest.param("{'': 0, 'lm_head': 'cpu'}", {"": 0, "lm_head": "cpu"}, id="a device_map as Python"),
        pytest.param('{"0": "20GiB", "cpu": "60GiB"}', {0: "20GiB", "cpu": "60GiB"}, id="numbers as JSON keys become numbers"),
        pytest.param("{0: '20GiB', 'cpu': '60GiB'}", {0: "20GiB", "cpu": "60GiB"}, id="numbers as Python keys"),
        pytest.param('{"a": [{"-1": 2}]}', {"a": [{-1: 2}]}, id="numbers as keys further in"),
        pytest.param('{"-": 1, "1.5": 2, "v2": 3}', {"-": 1, "1.5": 2, "v2": 3}, id="keys that are no whole numbers stay"),
        pytest.param('{"--1": 1, "²": 2}', {"--1": 1, "²": 2}, id="keys that only look like numbers stay"),
        pytest.param("torch.float16", {"__dtype__": "float16"}, id="a torch.dtype"),
        pytest.param("{'torch_dtype': torch.bfloat16}", {"torch_dtype": {"__dtype__": "bfloat16"}}, id="a torch.dtype inside of a dict"),
        pytest.param("numpy.float16", "numpy.float16", id="another module's attribute is a string"),
        pytest.param("GPTQConfig()", {"__class__": "GPTQConfig"}, id="a configuration with defaults"),
        pytest.param("GPTQConfig(bits=4, disable_exllama=True)", {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True}, id="a configuration"),
        pytest.param("GPTQConfig(bits=4, exllama_config={'version': 1})", {"__class__": "GPTQConfig", "bits": 4, "exllama_config": {"version": 1}}, id="a configuration with a dict"),
        pytest.param("BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)", {"__class__": "BitsAndBytesConfig", "load_in_4bit": True, "bnb_4bit_compute_dtype": {"__dtype__": "bfloat16"}}, id="a configuration with a dtype"),
        pytest.param("TorchAoConfig(quant_type=Int4WeightOnlyConfig(group_size=128))", {"__class__": "TorchAoConfig", "quant_type": {"__class__": "Int4WeightOnlyConfig", "group_size": 128}}, id="a configuration in a configuration"),
        pytest.param("GPTQConfig(4)", "GPTQConfig(4)", id="a configuration by position is not understood: a string"),
        pytest.param("GPTQConfig(**settings)", "GPTQConfig(**settings)", id="unpacked settings are not understood: a string"),
        pytest.param("{**base, 'a': 1}", "{**base, 'a': 1}", id="an unpacked dict is not understood: a string"),
        pytest.param("GPTQConfig(bits=n)", "GPTQConfig(bits=n)", id="a variable is not understood: a string"),
        pytest.param("{[1]: 2}", "{[1]: 2}", id="a key that no dict takes is not understood: a string"),
        pytest.param("__import__('os').getcwd()", "__import__('os').getcwd()", id="code is never run: a string"),
        pytest.param("{'a': 1", "{'a': 1", id="something cut off is a string"),
        pytest.param(r"'layers\.0'", r"layers\.0", id="a pattern in quotes keeps its backslash, without a warning"),
    ],
)  # fmt: skip
def test_a_value_as_it_is_typed(text: str, value: Any) -> None:
    """JSON first, then Python's literals, dtypes and configurations, else the string itself."""
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


def test_a_value_nested_beyond_reason_is_a_string() -> None:
    """No text breaks the reader."""
    text = "[" * 100_000
    assert read_value(text) == text


def test_pairs_become_kwargs() -> None:
    """The first equals sign divides; the last of two equal names wins, as in a shell."""
    pairs = ["device_map=auto", "revision=a=b", "max_memory={0: '20GiB'}", "device_map=None"]
    assert read_pairs(pairs) == {"device_map": None, "revision": "a=b", "max_memory": {0: "20GiB"}}
    assert read_pairs([]) == {}


@pytest.mark.parametrize("pair", ["device_map", "=auto", "device map=auto", "0=cuda", "quantization_config.bits=4", ""])
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    """The message shows what was given and what is expected."""
    with pytest.raises(InputError) as caught:
        read_pairs(["trust_remote_code=True", pair])
    assert str(caught.value) == f"--set {pair}: expected NAME=VALUE, device_map=auto say"


@pytest.mark.parametrize(
    "text", ['{"max_memory": {"0": "20GiB"}, "device_map": "auto"}', '  {"max_memory": {"0": "20GiB"}, "device_map": "auto"}']
)
def test_json_from_a_file_and_inline(tmp_path: Path, text: str) -> None:
    """A path and the JSON itself are taken alike, with numbers as keys."""
    expected = {"max_memory": {0: "20GiB"}, "device_map": "auto"}
    (tmp_path / "kwargs.json").write_text(text, encoding="utf-8")
    assert read_json(str(tmp_path / "kwargs.json"), dict) == expected
    assert read_json(text, dict) == expected


def test_json_keys_that_only_look_like_numbers_stay(tmp_path: Path) -> None:
    """A key that int() does not read is a string."""
    assert read_json('{"--1": 1, "²": 2}', dict) == {"--1": 1, "²": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{'a': 1}", "not readable as JSON", id="Python is not JSON"),
        pytest.param('{"a": ', "not readable as JSON", id="cut off"),
        pytest.param("[1]", "expected a JSON object, found list", id="a list"),
        pytest.param("4", "expected a JSON object, found int", id="a number"),
        pytest.param(None, "not readable as JSON", id="no such file"),
    ],
)
def test_json_that_is_no_object_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    """One line that names the file and what is wrong with it."""
    path = tmp_path / "kwargs.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_json(str(path), dict)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
