"""Where models come from: what must stay quiet, and what is said of a machine that is not this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Report, Severity
from qvl_preflight.testing import machine, write_checkpoint
from qvl_preflight.testing.caches import COMMIT

OFFLINE = {"HF_HUB_OFFLINE": "1"}


def report(root: Path, model: str, env: dict[str, str] | None = None, stack: str = "today", **kwargs: Any) -> Report:
    return qvl_preflight.check(model, facts=machine("a100", stack, env=env or {}), cache_dir=str(root / "caches/offline"), **kwargs)


def codes(found: Report) -> list[str]:
    """The codes of this theme."""
    return [finding.code for finding in found.findings if finding.code.startswith(("QVL95", "QVL96", "QVL901"))]


@pytest.mark.parametrize(
    ("model", "kwargs"),
    [
        pytest.param("tiny/llama", {}, id="all files are there"),
        pytest.param("tiny/llama", {"revision": COMMIT}, id="the commit itself"),
        pytest.param("tiny/llama", {"use_safetensors": True}, id="safetensors asked for"),
        pytest.param("tiny/code", {"trust_remote_code": True}, id="the code is there"),
        pytest.param("tiny/no-code", {}, id="code that nobody may run is not asked for"),
        pytest.param(
            "tiny/no-code", {"trust_remote_code": True, "loader": "LlamaForCausalLM"}, id="a class of its own loads no code"
        ),
    ],
)
def test_offline_with_a_complete_cache(checkpoints: Path, model: str, kwargs: dict[str, Any]) -> None:
    """Nothing is missing: nothing is said."""
    assert codes(report(checkpoints, model, OFFLINE, **kwargs)) == []


@pytest.mark.parametrize("model", ["tiny/one-shard-of-two", "tiny/config-alone", "tiny/no-code"])
def test_what_can_be_fetched_is_not_missing(checkpoints: Path, model: str) -> None:
    """Online the call itself fetches the rest."""
    assert codes(report(checkpoints, model, trust_remote_code=True)) == []


@pytest.mark.parametrize("value", ["0", "off", "no", "false", ""])
def test_offline_switched_off(checkpoints: Path, value: str) -> None:
    """A word for no is read as one."""
    assert codes(report(checkpoints, "tiny/one-shard-of-two", {"HF_HUB_OFFLINE": value})) == []


@pytest.mark.parametrize("value", ["1", "ON", "yes", "True"])
@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_words_for_yes(checkpoints: Path, name: str, value: str) -> None:
    """In any case, under both names."""
    assert codes(report(checkpoints, "tiny/one-shard-of-two", {name: value})) == ["QVL952"]


def test_the_second_name_counts_where_the_first_says_no(checkpoints: Path) -> None:
    """For transformers before 4.42, which reads it by itself."""
    env = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}
    assert codes(report(checkpoints, "tiny/config-alone", env, "legacy")) == ["QVL952"]
    assert codes(report(checkpoints, "tiny/config-alone", env, "today")) == []


def test_local_files_only_is_offline(checkpoints: Path) -> None:
    """Whatever the environment says."""
    assert codes(report(checkpoints, "tiny/one-shard-of-two", local_files_only=True)) == ["QVL952"]


def test_a_folder_of_config_alone_says_nothing_of_its_weights(tmp_path: Path) -> None:
    """Offline as well: whoever checks a call often has no more than that here."""
    (tmp_path / "config.json").write_text('{"model_type": "llama", "torch_dtype": "float16"}', encoding="utf-8")
    for kwargs in ({}, {"use_safetensors": False}, {"variant": "fp16"}):
        assert codes(qvl_preflight.check(tmp_path, facts=machine("a100", env=OFFLINE), **kwargs)) == []


def test_the_cache_of_another_machine_is_not_this_one(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of a machine that does not say where its cache is: what is missing here can be there."""
    monkeypatch.setenv("HF_HUB_CACHE", str(checkpoints / "caches/offline"))
    found = qvl_preflight.check("tiny/one-shard-of-two", facts=machine("a100", env=OFFLINE))
    (finding,) = (finding for finding in found.findings if finding.code == "QVL952")
    assert finding.severity is Severity.WARNING
    assert "if the cache of that machine lacks it as well" in finding.message


def test_a_bare_mirror_matters_to_calls_of_the_hub_alone(checkpoints: Path) -> None:
    """A folder is read without it, and so is a cache offline."""
    env = {"HF_ENDPOINT": "hf-mirror.com"}
    folder = str(checkpoints / "Qwen/Qwen2-7B-Instruct")
    assert codes(qvl_preflight.check(folder, facts=machine("a100", env=env), device_map={"": 0})) == []
    assert codes(report(checkpoints, "tiny/llama", env | OFFLINE)) == []
    assert codes(report(checkpoints, "tiny/llama", env)) == ["QVL959"]


@pytest.mark.parametrize("endpoint", ["https://hf-mirror.com", "https://hf-mirror.com/", "http://127.0.0.1:8080"])
def test_a_mirror_with_its_scheme_is_fine(checkpoints: Path, endpoint: str) -> None:
    """With or without a slash in the end."""
    assert codes(report(checkpoints, "tiny/llama", {"HF_ENDPOINT": endpoint})) == []


def test_old_releases_load_bin_files_under_use_safetensors(checkpoints: Path) -> None:
    """A folder of .bin files: before 4.43 use_safetensors=True is no refusal."""
    folder = str(checkpoints / "weights/bin-alone")
    assert codes(qvl_preflight.check(folder, facts=machine("a100", "legacy"), use_safetensors=True)) == []
    assert codes(qvl_preflight.check(folder, facts=machine("a100", "middle-bnb"), use_safetensors=True)) == ["QVL954"]


@pytest.mark.parametrize("stack", ["legacy", "middle-bnb", "today"])
def test_bin_files_are_unpickled_by_old_releases_and_new_torch(checkpoints: Path, stack: str) -> None:
    """torch 2.2 with 4.37, 2.4 with 4.45, 2.14 with 5.23."""
    assert codes(qvl_preflight.check(str(checkpoints / "weights/bin-alone"), facts=machine("a100", stack))) == []


def test_weights_only_goes_around_the_check_up_to_4_57(checkpoints: Path) -> None:
    """In 5.x it does not."""
    folder = str(checkpoints / "weights/bin-alone")
    facts = machine("a100", "today-old-torch")
    assert codes(qvl_preflight.check(folder, facts=facts, weights_only=False)) == []
    assert codes(qvl_preflight.check(folder, facts=facts)) == ["QVL953"]


def test_a_class_of_modelscope_reads_modelscopes_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in text or by the module of the class; the Auto class is judged as transformers' own."""
    folder = tmp_path / "models" / "tiny" / "llama"
    write_checkpoint(
        str(folder),
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"},
        [{"a": ("F16", (4,))}],
    )
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    wrapped = type("AutoModelForCausalLM", (), {"__module__": "modelscope.utils.hf_util.patcher"})
    for loader in ("modelscope.AutoModelForCausalLM", wrapped):
        found = qvl_preflight.check("tiny/llama", facts=machine("a100", env=OFFLINE), loader=loader, device_map={"": 0})
        assert found.ok
        assert found.request is not None
        assert found.request.loader == "AutoModelForCausalLM"


def test_an_adapter_is_judged_as_its_base(checkpoints: Path) -> None:
    """With peft installed nothing is said of it."""
    found = qvl_preflight.check(str(checkpoints / "weights/adapter"), facts=machine("a100"), device_map={"": 0})
    assert codes(found) == []
    assert found.plan is not None
    assert found.plan.memory == {"cuda:0": found.plan.memory["cuda:0"]}  # type: ignore[index]


@pytest.mark.parametrize("network", [True, None])
def test_bin_files_of_a_cache_where_the_hub_may_answer(checkpoints: Path, network: bool | None) -> None:
    """4.41 asks the hub offline, which matters where it cannot be reached: unknown makes a warning."""
    facts = machine("a100", "spring-2024", env=OFFLINE, build={"network": network})
    found = qvl_preflight.check("tiny/bin", facts=facts, cache_dir=str(checkpoints / "caches/offline"))
    assert codes(found) == ([] if network else ["QVL963"])
    assert not [finding for finding in found.findings if finding.severity is Severity.ERROR]
