"""The hub is asked for real, by the installed huggingface_hub, at a server of our own. Run where that package is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import COMMIT, serving
from qvl_preflight.checkpoint import NOT_FETCHED, read_checkpoint
from qvl_preflight.sources import Asked, Place
from qvl_preflight.testing import write_checkpoint
from qvl_preflight.testing.files import write_torch_file

pytest.importorskip("huggingface_hub")

SHARDS = [{"a.weight": ("F16", (64, 64))}, {"b.weight": ("F32", (64, 64))}]
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}
FACTS = {"schema": "qvl-preflight/facts/1", "packages": {"torch": "2.5.1", "transformers": "4.57.1"}, "env": {}}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    write_checkpoint(str(models / "o" / "sharded"), CONFIG, SHARDS)
    write_checkpoint(str(models / "o" / "single"), CONFIG, SHARDS[:1])
    write_checkpoint(str(models / "o" / "bin"), CONFIG, [])
    write_torch_file(str(models / "o" / "bin" / "pytorch_model.bin"), SHARDS[0])
    return models


def ask(tmp_path: Path, address: str, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the address of the hub is read when huggingface_hub is imported."""
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(FACTS), encoding="utf-8")
    env = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        env.pop(name, None)
    command = [
        sys.executable,
        "-m",
        "qvl_preflight",
        "check",
        model,
        "--online",
        "--set",
        "device_map=cpu",
        "--facts",
        str(facts),
        "--json",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=100)


@pytest.mark.parametrize(("model", "total"), [("o/sharded", 2 * 16384), ("o/single", 16384)])
def test_headers_are_read_and_weights_left_where_they_are(tmp_path: Path, hub: Path, model: str, total: int) -> None:
    """The size is exact; of the weight files nothing but ranges is asked for; the cache stays empty."""
    with serving(hub) as (address, asked):
        done = ask(tmp_path, address, model)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["plan"]["memory"] == {"cpu": total}  # in float32, as 4.57 loads it
    assert all("bytes=" in line for line in asked if line.startswith("GET") and line.split()[1].endswith(".safetensors"))
    assert not (tmp_path / "cache").exists()


def test_bin_files_alone_are_known_to_be_alone(tmp_path: Path, hub: Path) -> None:
    """The hub has no safetensors files of it: the refusal is certain."""
    with serving(hub) as (address, _):
        done = ask(tmp_path, address, "o/bin")
    (finding,) = (finding for finding in json.loads(done.stdout)["findings"] if finding["code"] == "QVL953")
    assert finding["severity"] == "error"


def test_a_revision_can_be_named(tmp_path: Path, hub: Path) -> None:
    """By its commit, or not at all."""
    with serving(hub) as (address, _):
        assert ask(tmp_path, address, "o/single", "--set", f"revision={COMMIT}").returncode in (0, 1)
        done = ask(tmp_path, address, "o/single", "--set", "revision=v9")
    assert (done.returncode, done.stderr) == (2, "qvl-preflight: o/single: the hub has no such revision of it\n")


def test_what_the_hub_refuses_is_said_in_one_line(tmp_path: Path, hub: Path) -> None:
    """Unknown, gated, silent, not there at all."""
    with serving(hub) as (address, _):
        assert "the hub knows no such model" in ask(tmp_path, address, "o/none").stderr
    with serving(hub, gated=True) as (address, _):
        assert "a gated model: ask for access" in ask(tmp_path, address, "o/single").stderr
    with serving(hub, delay=5) as (address, _):
        assert "did not answer within 1 s" in ask(tmp_path, address, "o/single", "--timeout", "1").stderr
    done = ask(tmp_path, "http://127.0.0.1:9", "o/single")
    assert done.returncode == 2
    assert done.stderr.startswith("qvl-preflight: o/single: the hub could not be asked")
    assert done.stderr.count("\n") == 1


_FETCH = """
import sys, huggingface_hub
for name in sys.argv[1:]:
    try:
        huggingface_hub.hf_hub_download("o/sharded", name)
    except huggingface_hub.utils.EntryNotFoundError:
        pass
"""


def test_a_cache_that_huggingface_hub_wrote_is_read(tmp_path: Path, hub: Path) -> None:
    """Its branches, its links, and what it notes of files that the hub has not."""
    names = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"]
    cache = tmp_path / "cache"
    with serving(hub) as (address, _):
        env = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        env.pop("HF_HUB_OFFLINE", None)
        subprocess.run([sys.executable, "-c", _FETCH, *names], env=env, check=True, capture_output=True, timeout=100)
    for revision in ("main", COMMIT):
        checkpoint = read_checkpoint("o/sharded", {}, Asked(revision=revision), Place({"HF_HUB_CACHE": str(cache)}))
        assert checkpoint.config == CONFIG
        assert checkpoint.weights == NOT_FETCHED
        assert checkpoint.total_bytes == 8192 + 16384
        assert checkpoint.source is not None
        assert checkpoint.source.known_absent("pytorch_model.bin")
        assert not checkpoint.source.known_absent("model-00002-of-00002.safetensors")
