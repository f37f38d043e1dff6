"""Where the caches of hubs lie, by the variables that each release reads, and what is found in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qvl_preflight.caches import Repository, hugging_face_cache, is_hub_id, modelscope_folder
from qvl_preflight.testing.caches import COMMIT, write_cache

SEED, LEGACY, TODAY = (4, 32, 0), (4, 37, 2), (5, 23, 0)
ALL = {
    "HF_HUB_CACHE": "/hub", "HUGGINGFACE_HUB_CACHE": "/old-hub", "TRANSFORMERS_CACHE": "/transformers", "PYTORCH_TRANSFORMERS_CACHE": "/pytorch",
    "PYTORCH_PRETRAINED_BERT_CACHE": "/bert", "HF_HOME": "/home", "XDG_CACHE_HOME": "/xdg",
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "release", "place"),
    [
        pytest.param("all", TODAY, "/hub", id="5: the hub's own"),
        pytest.param("all", LEGACY, "/transformers", id="4.37: TRANSFORMERS_CACHE first"),
        pytest.param("all", SEED, "/transformers", id="4.32: TRANSFORMERS_CACHE first"),
        pytest.param("HF_HUB_CACHE PYTORCH_TRANSFORMERS_CACHE", LEGACY, "/pytorch", id="4.37: PyTorch's before the hub's"),
        pytest.param("HUGGINGFACE_HUB_CACHE PYTORCH_TRANSFORMERS_CACHE", SEED, "/old-hub", id="4.32: the hub's before PyTorch's"),
        pytest.param("HF_HUB_CACHE HF_HOME", SEED, "/home/hub", id="4.32 does not know HF_HUB_CACHE"),
        pytest.param("TRANSFORMERS_CACHE HF_HOME", TODAY, "/home/hub", id="5 does not know TRANSFORMERS_CACHE"),
        pytest.param("XDG_CACHE_HOME", TODAY, "/xdg/huggingface/hub", id="XDG_CACHE_HOME"),
        pytest.param("HF_HOME XDG_CACHE_HOME", None, "/home/hub", id="release unknown"),
    ],
)
def test_the_cache_by_release(names: str, release: tuple[int, ...] | None, place: str) -> None:
    """The order in which the variables are read has changed."""
    env = ALL if names == "all" else {name: ALL[name] for name in names.split()}
    assert hugging_face_cache(env, release) == place


def test_a_home_with_a_tilde_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As huggingface_hub expands them."""
    monkeypatch.setenv("HOME", "/users/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    assert hugging_face_cache({"HF_HOME": "~/models"}) == "/users/me/models/hub"
    assert hugging_face_cache({"HF_HUB_CACHE": "$SCRATCH/hub"}) == "/scratch/hub"


@pytest.mark.parametrize(("name", "expected"), [("Qwen/Qwen2.5-7B", True), ("gpt2", True), ("a/b/c", False), ("../x", False), ("/x", False), ("~/x", False), ("", False), ("a/", False)])  # fmt: skip
def test_names_of_a_hub(name: str, expected: bool) -> None:
    """At most one slash, and no path."""
    assert is_hub_id(name) is expected


def repository(tmp_path: Path, **kwargs: object) -> Repository:
    write_cache(str(tmp_path), "o/m", {}, [], **kwargs)  # type: ignore[arg-type]
    return Repository.of("o/m", str(tmp_path))


@pytest.mark.parametrize(("revision", "found"), [("main", True), (COMMIT, True), (COMMIT[:10], False), ("v1", False), ("f" * 40, False), ("../refs/main", False), ("", False), (".", False)])  # fmt: skip
def test_revisions(tmp_path: Path, revision: str, found: bool) -> None:
    """A branch or tag counts where refs/ has it, a commit by its 40 digits."""
    assert repository(tmp_path).commit(revision) == (COMMIT if found else None)


def test_a_branch_with_a_slash(tmp_path: Path) -> None:
    """refs/pr/7, as the hub names pull requests."""
    assert repository(tmp_path, revision="refs/pr/7").commit("refs/pr/7") == COMMIT


def test_a_reference_that_leads_nowhere(tmp_path: Path) -> None:
    """Its snapshot was deleted, or the file holds something else; a pipe is not waited for."""
    cache = repository(tmp_path)
    reference = tmp_path / "models--o--m" / "refs" / "main"
    for text in ("f" * 40, "../../../etc", "\x00\xff", ""):
        reference.write_text(text, encoding="latin-1")
        assert cache.commit("main") is None
    reference.unlink()
    os.mkfifo(reference)
    assert cache.commit("main") is None


def test_downloads_that_were_broken_off(tmp_path: Path) -> None:
    """A blob that ends in .incomplete."""
    cache = repository(tmp_path)
    assert not cache.is_unfinished()
    (tmp_path / "models--o--m" / "blobs" / "ab.incomplete").touch()
    assert cache.is_unfinished()
    assert not Repository.of("o/none", str(tmp_path)).is_unfinished()


def test_what_the_hub_said_that_it_has_not(tmp_path: Path) -> None:
    """A marker in .no_exist, by commit."""
    cache = repository(tmp_path, absent=["model.safetensors"])
    assert cache.known_absent(COMMIT, "model.safetensors")
    assert not cache.known_absent(COMMIT, "config.json")


@pytest.mark.parametrize(
    ("env", "place"),
    [
        pytest.param({"MODELSCOPE_CACHE": "ms"}, "ms/models/Qwen/Qwen2___5-7B", id="MODELSCOPE_CACHE"),
        pytest.param({"MODELSCOPE_CACHE": "ms"}, "ms/hub/Qwen/Qwen2___5-7B", id="where older releases kept it"),
        pytest.param({}, "home/.cache/modelscope/hub/models/Qwen/Qwen2___5-7B", id="the home folder"),
        pytest.param({}, "home/.cache/modelscope/hub/Qwen/Qwen2___5-7B", id="the home folder, older"),
        pytest.param({}, "home/.cache/modelscope/hub/models/Qwen/Qwen2.5-7B", id="a link with the dots in its name"),
    ],
)
def test_a_model_in_modelscopes_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], place: str) -> None:
    """Dots are written as ___ there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert modelscope_folder("Qwen/Qwen2.5-7B", {key: str(tmp_path / value) for key, value in env.items()}) == str(folder)
    assert modelscope_folder("Qwen/Qwen3-8B", {}) is None
    assert modelscope_folder("gpt2", {}) is None
