"""RAM while a model loads, held against real loads on a CPU (Linux, torch 2.13 and 2.14; RssAnon and RssFile of /proc/self/status, sampled)."""

from __future__ import annotations

from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.fitting.host import PROCESS_BYTES
from qvl_preflight.testing import machine, write_checkpoint
from qvl_preflight.testing.files import write_torch_file

MB = 2**20
BINS = "bin"  # their bodies are empty here
# format, transformers, dtype, other arguments → MiB of the process's own memory that the load took, of 419 MiB in bfloat16 (files of 238 and 181)
LOADS: tuple[tuple[str, str, str, dict[str, Any], int], ...] = (
    ("safetensors", "4.37.2", "float32", {}, 856), ("safetensors", "4.37.2", "bfloat16", {}, 430), ("safetensors", "4.37.2", "bfloat16", {"device_map": "cpu"}, 7),
    ("safetensors", "4.37.2", "float32", {"device_map": "cpu"}, 854), ("bin", "4.37.2", "bfloat16", {"device_map": "cpu"}, 11),
    ("bin", "4.37.2", "bfloat16", {"low_cpu_mem_usage": True}, 7), ("bin", "4.36.2", "bfloat16", {"device_map": "cpu"}, 426),
    ("bin", "4.36.2", "bfloat16", {"low_cpu_mem_usage": True}, 429),
    ("safetensors", "4.57.1", "float32", {}, 838), ("safetensors", "4.57.1", "bfloat16", {}, 0), ("bin", "4.57.1", "bfloat16", {}, 0),
    ("bin", "4.57.1", "float32", {"device_map": "cpu"}, 838), ("safetensors", "5.23.0", "bfloat16", {}, 2), ("bin", "5.23.0", "bfloat16", {"device_map": "cpu"}, 2),
    ("safetensors", "5.23.0", "float32", {"device_map": "cpu"}, 841),
)  # fmt: skip
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12,
    "num_attention_heads": 16, "vocab_size": 32000, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip


def tensors() -> dict[str, tuple[str, tuple[int, ...]]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens": (32000, 1024), "model.norm": (1024,), "lm_head": (32000, 1024)}
    for number in range(12):
        at = f"model.layers.{number}."
        found |= {f"{at}self_attn.{name}_proj": (1024, 1024) for name in "qkvo"}
        found |= {f"{at}mlp.gate_proj": (2816, 1024), f"{at}mlp.up_proj": (2816, 1024), f"{at}mlp.down_proj": (1024, 2816)}
        found |= {f"{at}{name}_layernorm": (1024,) for name in ("input", "post_attention")}
    return {f"{name}.weight": ("BF16", shape) for name, shape in found.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("loads")
    write_checkpoint(str(root / "safetensors"), CONFIG, [tensors()])
    write_checkpoint(str(root / BINS), CONFIG, [])
    write_torch_file(str(root / BINS / "pytorch_model.bin"), tensors())
    return {kind: str(root / kind) for kind in ("safetensors", BINS)}


@pytest.mark.parametrize(("kind", "release", "dtype", "kwargs", "took"), LOADS, ids=lambda value: str(value))
def test_what_real_loads_took(
    folders: dict[str, str], kind: str, release: str, dtype: str, kwargs: dict[str, Any], took: int
) -> None:
    """Without what Python and its libraries take; half of a small file is the most that is said too much."""
    packages = {**machine("no-gpu").to_dict()["packages"], "transformers": release, "torch": "2.13.0"}
    found = qvl_preflight.fit(folders[kind], facts=machine("no-gpu", packages=packages), dtype={"__dtype__": dtype}, **kwargs).host
    assert isinstance(found.ram_bytes, int), found.ram_bytes
    said = (found.ram_bytes - PROCESS_BYTES) / MB
    assert said == pytest.approx(took, abs=30)
    assert (found.mapped_bytes == 0) == (took > 100)


def test_old_releases_read_bin_files_as_a_whole(folders: dict[str, str]) -> None:
    """Beside the model that they have made: 612 MiB were seen, of 419 and a file of 238."""
    packages = {**machine("no-gpu").to_dict()["packages"], "transformers": "4.36.2", "torch": "2.13.0"}
    found = qvl_preflight.fit(folders[BINS], facts=machine("no-gpu", packages=packages)).host
    assert found.why == ("the model, made in full before it is filled", "the largest file, read as a whole")


def test_every_rank_loads_its_own_copy(folders: dict[str, str]) -> None:
    """What is mapped is shared; what is converted is not."""
    facts = machine("two-gpus")
    one = qvl_preflight.fit(folders["safetensors"], facts=facts, dtype={"__dtype__": "float32"}, purpose="full").host
    two = qvl_preflight.fit(folders["safetensors"], facts=facts, dtype={"__dtype__": "float32"}, purpose="full", world_size=2).host
    assert isinstance(one.ram_bytes, int)
    assert two.ram_bytes == 2 * one.ram_bytes
    assert two.processes == 2
    half = qvl_preflight.fit(folders["safetensors"], facts=facts, purpose="full", world_size=2).host
    assert (half.ram_bytes, half.why) == (2 * PROCESS_BYTES, ())


@pytest.mark.parametrize(("ram", "verdict"), [("1GiB", "too large"), ("8GiB", "fits")])
def test_the_limit_of_the_process_decides(folders: dict[str, str], ram: str, verdict: str) -> None:
    found = qvl_preflight.fit(folders["safetensors"], gpu="24GiB", ram=ram, dtype={"__dtype__": "float32"})
    assert found.host.ram_verdict == verdict
    assert ("does not fit" in found.text()) == (verdict == "too large")


def test_what_is_free_now_is_less_than_the_limit(folders: dict[str, str]) -> None:
    host = {**machine("a100").to_dict()["host"], "ram_total_bytes": 64 * 2**30, "ram_available_bytes": 2**30}
    found = qvl_preflight.fit(folders["safetensors"], facts=machine("a100", host=host), dtype={"__dtype__": "float32"})
    assert found.host.ram_verdict == "narrowly"
    assert "once others let go" in found.text()


def test_parts_on_the_disk_are_written_where_the_files_cannot_be_used(folders: dict[str, str]) -> None:
    """safetensors in the same dtype are read where they lie."""
    places = {"model.embed_tokens": 0, "model.layers": 0, "model.norm": 0, "lm_head": "disk"}
    call: dict[str, Any] = {"gpu": "24GiB", "device_map": places}
    assert qvl_preflight.fit(folders["safetensors"], **call).host.disk_bytes == 0
    assert qvl_preflight.fit(folders["safetensors"], dtype={"__dtype__": "float32"}, **call).host.disk_bytes == 32000 * 1024 * 4
    assert qvl_preflight.fit(folders[BINS], **call).host.disk_bytes == 32000 * 1024 * 2
