"""What a checkpoint says of itself, and in which words a broken one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.checkpoint import NO_WEIGHTS, Checkpoint, Weights, read_checkpoint
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing import write_checkpoint
from qvl_preflight.unknown import Unknown

FIRST = {"model.layers.0.weight": ("F16", (4, 4))}
SECOND = {"model.layers.1.weight": ("F16", (4, 8)), "lm_head.weight": ("F32", (2,))}
GPTQ = {"quant_method": "gptq", "bits": 4}


def refused(model: Any, env: dict[str, str] | None = None) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(str(model), env or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def described(config: dict[str, Any]) -> Checkpoint:
    """A checkpoint of which only the config counts."""
    return Checkpoint("/nowhere", config)


def found(checkpoint: Checkpoint) -> Weights:
    """Its weights, which must be known."""
    weights = checkpoint.weights
    assert not isinstance(weights, Unknown)
    return weights


def test_a_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    """config.json is kept whole, and nothing of it is filled in."""
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    write_checkpoint(str(tmp_path), config, [FIRST])
    assert read_checkpoint(str(tmp_path), {}) == Checkpoint(str(tmp_path), config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"model_type": "qwen2", "hid', "not valid JSON", id="cut off"),
        pytest.param("", "not valid JSON", id="empty"),
        pytest.param("[" * 100_000, "not valid JSON", id="nested beyond reason"),
        pytest.param('["qwen2"]', "expected a JSON object, found list", id="a list"),
        pytest.param('"qwen2"', "expected a JSON object, found str", id="a text"),
        pytest.param("null", "expected a JSON object, found NoneType", id="null"),
        pytest.param('{"quantization_config": "gptq"}', 'quantization_config is "gptq"; expected an object with quant_method', id="a quantization_config that is a text"),
        pytest.param('{"quantization_config": [4]}', "quantization_config is [4]; expected an object", id="a quantization_config that is a list"),
        pytest.param('{"quantization_config": false}', "quantization_config is false; expected an object", id="a quantization_config that is false"),
    ],
)  # fmt: skip
def test_a_config_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file and what it holds instead."""
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    assert refused(tmp_path).startswith(f"{path}: {message}")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    """The message says which file is expected."""
    assert "expected the config.json of a transformers checkpoint" in refused(tmp_path)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        pytest.param({}, None, id="not quantised"),
        pytest.param({"quantization_config": None}, None, id="null is not quantised"),
        pytest.param({"quantization_config": GPTQ}, "gptq", id="gptq"),
        pytest.param({"quantization_config": {"quant_method": "AWQ"}}, "awq", id="spelt in capitals"),
        pytest.param({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes", id="4 bit, of before quant_method"),
        pytest.param({"quantization_config": {"load_in_8bit": True, "load_in_4bit": False}}, "bitsandbytes", id="8 bit, of before quant_method"),
        pytest.param({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes", id="bitsandbytes by name"),
        pytest.param({"quantization_config": {"load_in_4bit": False, "load_in_8bit": False}}, "unknown", id="neither, and no name"),
        pytest.param({"quantization_config": {"bits": 4}}, "unknown", id="a method that is not named"),
        pytest.param({"text_config": {"quantization_config": GPTQ}}, "gptq", id="in the text tower"),
        pytest.param({"quantization_config": {"quant_method": "awq"}, "text_config": {"quantization_config": GPTQ}}, "awq", id="the outer one wins"),
        pytest.param({"text_config": "qwen2"}, None, id="a text_config that is a text"),
    ],
)  # fmt: skip
def test_the_quantisation_of_a_checkpoint(config: dict[str, Any], method: str | None) -> None:
    """Named or recognised by its fields, in the config or in that of its text tower."""
    assert described(config).quant_method == method
    assert (described(config).quantization is None) == (method is None)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        pytest.param({"torch_dtype": "bfloat16"}, "bfloat16", id="as transformers 4 writes it"),
        pytest.param({"dtype": "bfloat16"}, "bfloat16", id="as transformers 5 writes it"),
        pytest.param({"dtype": "float16", "torch_dtype": "float32"}, "float16", id="the newer name wins"),
        pytest.param({"torch_dtype": "torch.float16"}, "float16", id="with its module"),
        pytest.param({"text_config": {"dtype": "bfloat16"}}, "bfloat16", id="in the text tower"),
        pytest.param({"torch_dtype": None}, None, id="null"),
        pytest.param({}, None, id="not named"),
    ],
)
def test_the_dtype_that_a_config_names(config: dict[str, Any], dtype: str | None) -> None:
    """The plain name, or None."""
    assert described(config).dtype == dtype


@pytest.mark.parametrize(("config", "remote"), [({}, False), ({"auto_map": {}}, False), ({"auto_map": {"AutoModel": "m.M"}}, True)])
def test_a_checkpoint_with_code_of_its_own(config: dict[str, Any], remote: bool) -> None:
    """auto_map is what makes transformers ask for trust_remote_code."""
    assert described(config).remote_code is remote


def test_the_weights_of_one_file(tmp_path: Path) -> None:
    """A single file needs no index."""
    write_checkpoint(str(tmp_path), {}, [FIRST])
    weights = found(read_checkpoint(str(tmp_path), {}))
    assert weights == Weights((Tensor("model.layers.0.weight", "F16", (4, 4), 32),), (), {})
    assert weights.total_bytes == 32


def test_the_weights_of_several_shards(tmp_path: Path) -> None:
    """All shards of the index together, in the order of their names."""
    total = write_checkpoint(str(tmp_path), {}, [FIRST, SECOND])
    weights = found(read_checkpoint(str(tmp_path), {}))
    assert [tensor.name for tensor in weights.tensors] == [*FIRST, *SECOND]
    assert weights.total_bytes == total == 32 + 64 + 8
    assert not weights.missing_shards
    assert not weights.short_shards


def test_a_folder_of_config_alone_has_unknown_weights(tmp_path: Path) -> None:
    """No weights here is not a broken checkpoint: they may be fetched later."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert read_checkpoint(str(tmp_path), {}).weights == NO_WEIGHTS


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The shards that are there still count."""
    write_checkpoint(str(tmp_path), {}, [FIRST, SECOND])
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    weights = found(read_checkpoint(str(tmp_path), {}))
    assert weights.missing_shards == ("model-00002-of-00002.safetensors",)
    assert [tensor.name for tensor in weights.tensors] == [*FIRST]


def test_a_short_shard_is_told_by_the_byte(tmp_path: Path) -> None:
    """On paper its tensors are whole; what the file lacks is exact."""
    write_checkpoint(str(tmp_path), {}, [FIRST, SECOND])
    shard = tmp_path / "model-00002-of-00002.safetensors"
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 11)
    weights = found(read_checkpoint(str(tmp_path), {}))
    assert weights.short_shards == {"model-00002-of-00002.safetensors": 11}
    assert weights.total_bytes == 32 + 64 + 8
    assert not weights.missing_shards


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"metadata": {}}', "holds no weight_map; download it again", id="without weight_map"),
        pytest.param('{"weight_map": ["a"]}', "holds no weight_map; download it again", id="a weight_map that is a list"),
        pytest.param("[]", "holds no weight_map; download it again", id="a list"),
        pytest.param('{"weight_map": {', "not valid JSON", id="cut off"),
    ],
)
def test_an_index_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The message names the index and says what to do."""
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    index.write_text(text, encoding="utf-8")
    checkpoint = read_checkpoint(str(tmp_path), {})
    with pytest.raises(InputError) as caught:
        _ = checkpoint.weights
    assert str(caught.value).startswith(f"{index}: {message}")


def test_a_shard_that_is_none_is_refused(tmp_path: Path) -> None:
    """What cannot be told to be anything is an input error, not a short shard."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    checkpoint = read_checkpoint(str(tmp_path), {})
    with pytest.raises(InputError, match="not a safetensors file"):
        _ = checkpoint.weights


def test_headers_are_read_once(tmp_path: Path) -> None:
    """The weights are kept: 300 shards are not opened again by every rule."""
    write_checkpoint(str(tmp_path), {}, [FIRST])
    checkpoint = read_checkpoint(str(tmp_path), {})
    weights = checkpoint.weights
    (tmp_path / "model.safetensors").unlink()
    assert checkpoint.weights is weights


def cache_snapshot(cache: Path, model: str = "Qwen/Qwen2-7B", revision: str = "abc123") -> Path:
    """A model in a Hugging Face cache, of which ``main`` is this revision."""
    repo = cache / f"models--{model.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision + "\n", encoding="utf-8")
    for name in ("000old", revision):
        write_checkpoint(str(repo / "snapshots" / name), {"revision": name}, [FIRST])
    return repo / "snapshots" / revision


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        pytest.param({"HF_HUB_CACHE": "given"}, "given", id="HF_HUB_CACHE"),
        pytest.param({"HUGGINGFACE_HUB_CACHE": "given"}, "given", id="its old name"),
        pytest.param({"HF_HUB_CACHE": "given", "HF_HOME": "other"}, "given", id="the cache's variable before the home's"),
        pytest.param({"HF_HOME": "given"}, "given/hub", id="HF_HOME"),
        pytest.param({"XDG_CACHE_HOME": "given"}, "given/huggingface/hub", id="XDG_CACHE_HOME"),
        pytest.param({"HF_HOME": "", "HF_HUB_CACHE": ""}, "home/.cache/huggingface/hub", id="empty variables are as unset ones"),
        pytest.param({}, "home/.cache/huggingface/hub", id="the home folder"),
    ],
)
def test_a_hub_id_is_found_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    """The snapshot of ``main``, where huggingface_hub keeps it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    snapshot = cache_snapshot(tmp_path / place)
    env = {name: str(tmp_path / value) if value else "" for name, value in variables.items()}
    found_ = read_checkpoint("Qwen/Qwen2-7B", env)
    assert found_ == Checkpoint(str(snapshot), {"revision": "abc123"})


def test_a_hub_id_without_an_owner_is_found(tmp_path: Path) -> None:
    """gpt2 and its like."""
    snapshot = cache_snapshot(tmp_path, "gpt2")
    assert read_checkpoint("gpt2", {"HF_HUB_CACHE": str(tmp_path)}).path == str(snapshot)


def test_a_folder_wins_over_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """from_pretrained looks for a folder of that name first."""
    monkeypatch.chdir(tmp_path)
    cache_snapshot(tmp_path / "cache")
    write_checkpoint("Qwen/Qwen2-7B", {"here": True}, [FIRST])
    assert read_checkpoint("Qwen/Qwen2-7B", {"HF_HUB_CACHE": str(tmp_path / "cache")}).config == {"here": True}


def test_a_hub_id_that_is_not_cached_says_what_to_do(tmp_path: Path) -> None:
    """The cache that was looked in, and the command that fills it."""
    message = refused("Qwen/Qwen2-7B", {"HF_HUB_CACHE": str(tmp_path)})
    assert message.startswith("Qwen/Qwen2-7B: neither a folder here nor a model in the cache")
    assert str(tmp_path) in message
    assert "hf download Qwen/Qwen2-7B config.json" in message


@pytest.mark.parametrize("model", ["./gone", "/gone/model", "~/gone", "../gone", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(model: str) -> None:
    """No download is suggested for what can only be a folder."""
    assert refused(model) == f"{model}: no such folder; expected one that holds config.json"


def test_a_snapshot_without_config_is_refused(tmp_path: Path) -> None:
    """A download that was broken off says which file is missing."""
    snapshot = cache_snapshot(tmp_path)
    (snapshot / "config.json").unlink()
    assert "expected the config.json" in refused("Qwen/Qwen2-7B", {"HF_HUB_CACHE": str(tmp_path)})


def test_a_config_is_plain_json() -> None:
    """A checkpoint can be described without any file: rules and stages ask the config alone."""
    config = json.loads('{"quantization_config": {"quant_method": "gptq", "bits": 4}}')
    assert described(config).quantization == GPTQ
