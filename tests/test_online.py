"""What is asked of a hub and what is made of its answers, without any network: a hub in memory stands for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight import locate, online
from qvl_preflight.checkpoint import read_checkpoint
from qvl_preflight.exceptions import InputError
from qvl_preflight.online import Hub, ask_hub
from qvl_preflight.request import make_request
from qvl_preflight.safetensors import Tensor
from qvl_preflight.sources import Asked
from qvl_preflight.testing import machine
from qvl_preflight.testing.caches import COMMIT, write_cache

INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})


class Memory:
    """A hub that has these files. ``fetched``: those that were asked for."""

    def __init__(self, files: Mapping[str, str], folder: str = "", slow: float = 0.0) -> None:
        self._files, self.folder, self._slow = files, folder, slow
        self.fetched: list[str] = []

    def at(self, model: str, revision: str, folder: str) -> Hub:
        self.folder = str(Path(folder) / f"models--{model.replace('/', '--')}" / "snapshots" / COMMIT)
        return self

    def files(self) -> tuple[str, Mapping[str, int | None]]:
        time.sleep(self._slow)
        return COMMIT, {name: len(text) for name, text in self._files.items()}

    def fetch(self, name: str, commit: str) -> None:
        self.fetched.append(name)
        path = Path(self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._files[name], encoding="utf-8")

    def header(self, name: str, commit: str) -> tuple[Tensor, ...]:
        return (Tensor(name, "F16", (4,), 8),)


def asking(files: Mapping[str, str], **asked: Any) -> tuple[online.Answer, Memory]:
    hub = Memory(files)
    return ask_hub("o/m", Asked.of(asked), 5, hub.at), hub


def test_small_files_are_fetched_and_headers_read() -> None:
    """config.json, the code and the index; of the weights the headers alone."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "README.md", "tokenizer.json"]
    answer, hub = asking(
        {"config.json": "{}", "modeling_x.py": "", "model.safetensors.index.json": INDEX, **dict.fromkeys(names, "x")}
    )
    assert sorted(hub.fetched) == ["config.json", "model.safetensors.index.json", "modeling_x.py"]
    assert answer.weights is not None
    assert (answer.weights.names, answer.weights.total_bytes) == (tuple(names[:2]), 16)
    assert answer.source.path("modeling_x.py") is not None


def test_bin_files_are_known_by_their_size() -> None:
    """And that there are no safetensors files is noted, as huggingface_hub notes it."""
    answer, _ = asking({"config.json": "{}", "pytorch_model.bin": "x" * 100})
    assert answer.weights is not None
    assert answer.weights.total_bytes == 100
    assert answer.source.known_absent("model.safetensors")


def test_the_call_says_which_files_are_asked_for() -> None:
    """A subfolder and a variant."""
    answer, hub = asking(
        {"sub/config.json": "{}", "sub/model.fp16.safetensors": "x", "model.safetensors": "x"}, subfolder="sub", variant="fp16"
    )
    assert hub.fetched == ["sub/config.json"]
    assert answer.weights is not None
    assert answer.weights.names == ("model.fp16.safetensors",)


def test_a_model_without_weights_of_transformers() -> None:
    """GGUF files alone: the configuration is there, the weights stay unknown."""
    assert asking({"config.json": "{}", "q4.gguf": "x"})[0].weights is None


def test_a_model_without_config_is_refused() -> None:
    """One line that says what is missing."""
    with pytest.raises(InputError, match=r"the hub has no config\.json of it"):
        asking({"model_index.json": "{}"})


def test_a_silent_hub_is_not_waited_for() -> None:
    """The deadline is for everything together."""
    start = time.monotonic()
    with pytest.raises(InputError, match=r"did not answer within 0\.1 s; give it longer with --timeout"):
        ask_hub("o/m", Asked(), 0.1, Memory({}, slow=5).at)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GatedRepoError", "a gated model"),
        ("RepositoryNotFoundError", "knows no such model"),
        ("RevisionNotFoundError", "no such revision"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE forbids"),
        ("ConnectTimeout", "could not be asked (ConnectTimeout: first line)"),
    ],
)
def test_what_the_hub_answers_is_told_in_one_line(name: str, words: str) -> None:
    """By the names of huggingface_hub's exceptions, wherever their module is in a release."""

    def connect(model: str, revision: str, folder: str) -> Hub:
        raise type(name, (Exception,), {})("first line\nsecond line")

    with pytest.raises(InputError) as caught:
        ask_hub("o/m", Asked(), 5, connect)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what to install."""
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        ask_hub("o/m", Asked(), 5)


def found_online(monkeypatch: pytest.MonkeyPatch, cache: Path, hub: Memory, **kwargs: Any) -> Any:
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(online, "HuggingFaceHub", hub.at)
    return locate.locate(make_request("o/m", kwargs), machine("a100"), here=True, online=5)


def test_a_cache_that_has_everything_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--online is for what is not here."""
    write_cache(str(tmp_path), "o/m", {"here": True}, [{"a": ("F16", (4,))}])
    hub = Memory({})
    assert found_online(monkeypatch, tmp_path, hub).config == {"here": True}
    assert hub.fetched == []


def test_what_is_not_here_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size on paper comes with it, and nothing is put into the cache."""
    checkpoint = found_online(monkeypatch, tmp_path, Memory({"config.json": '{"a": 1}', "model.safetensors": "x"}))
    assert (checkpoint.config, checkpoint.total_bytes) == ({"a": 1}, 8)
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_is_offline_itself_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged by what it will find."""
    hub = Memory({"config.json": "{}"})
    found_online(monkeypatch, tmp_path, hub, local_files_only=True)
    assert hub.fetched == []


def test_a_folder_asks_nothing(tmp_path: Path) -> None:
    """Whatever is asked of the hub, a folder is read as it stands."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    request = make_request(str(tmp_path), {})
    assert locate.locate(request, machine("a100"), here=True, online=True) == read_checkpoint(str(tmp_path), {})
