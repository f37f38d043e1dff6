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
        pytest.param('torch.device("cuda:1")', {"__device__": "cuda:1"}, id="a torch.device"),
        pytest.param("{'': torch.device('cuda', 1)}", {"": {"__device__": "cuda:1"}}, id="a torch.device in two parts"),
        pytest.param("transformers.GPTQConfig(bits=4)", {"__class__": "GPTQConfig", "bits": 4}, id="a configuration by its full name"),
        pytest.param('"f(x)"', "f(x)", id="in quotes anything is a string"),
        pytest.param("NaN", "NaN", id="what is no number of JSON is a string"),
        pytest.param("20 GiB (at most)", "20 GiB (at most)", id="a sentence with brackets is a string"),
        pytest.param(r"'layers\.0'", r"layers\.0", id="a pattern in quotes keeps its backslash, without a warning"),
    ],
)  # fmt: skip
def test_a_value_as_it_is_typed(text: str, value: Any) -> None:
    """JSON first, then Python's literals, dtypes and configurations, else the string itself."""
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("f(x)", id="a function of the person's own"),
        pytest.param("GPTQConfig(4)", id="a configuration by position"),
        pytest.param("GPTQConfig(**settings)", id="unpacked settings"),
        pytest.param("GPTQConfig(bits=n)", id="a variable"),
        pytest.param("GPTQConfig(bits=4", id="a bracket that is not closed"),
        pytest.param("torch.device(0)", id="a device by number alone"),
        pytest.param("torch.device('cuda', n)", id="a device by a variable"),
        pytest.param("__import__('os').getcwd()", id="code is never run"),
        pytest.param("{**base, 'a': 1}", id="an unpacked dict"),
        pytest.param("{[1]: 2}", id="a key that no dict takes"),
        pytest.param("{'a': 1", id="something cut off"),
        pytest.param('{"a": 0, "a": 1}', id="a key that is said twice"),
        pytest.param('{"a": 1, "a": 2}x', id="an object with something behind it"),
        pytest.param("[" * 100_000, id="lists nested beyond reason"),
        pytest.param("f(" * 100_000, id="calls nested beyond reason"),
    ],
)
def test_what_begins_like_code_and_is_none_is_refused(text: str) -> None:
    """Taken as a string it would be checked as one, and the answer would be about something that nobody wrote."""
    with pytest.raises(InputError) as caught:
        read_pairs([f"device_map={text}"])
    message = str(caught.value)
    assert message.startswith(f"--set device_map={text[:100]}")
    assert "double quotes" in message
    assert len(message) < 300


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
