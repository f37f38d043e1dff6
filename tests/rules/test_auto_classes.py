"""The class of the call against the checkpoint: what each release says, and where nothing may be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import STACKS, machine

REMOTE = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"}
CODES = ("QVL906", "QVL907", "QVL908", "QVL909")


def found(tmp_path: Path, written: dict[str, Any], release: str | None, **call: Any) -> list[tuple[str, str, str]]:
    (tmp_path / "config.json").write_text(json.dumps(written))
    packages = {**STACKS["legacy"]["packages"], "transformers": release}
    report = qvl_preflight.check(str(tmp_path), facts=machine(packages=packages), **call)
    return [
        (finding.code, finding.raises.type if finding.raises else "", finding.raises.text if finding.raises else "")
        for finding in report.findings
        if finding.code in CODES
    ]


@pytest.mark.parametrize(
    ("release", "kind", "text"),
    [
        ("4.30.2", "EOFError", "EOF when reading a line"),
        ("4.32.0", "ValueError", "Loading this model requires you to execute execute some code"),
        ("4.34.1", "ValueError", "The repository for {} contains custom code which must be executed to correctlyload the model."),
        ("4.37.2", "ValueError", "The repository for {} contains custom code which must be executed to correctly load the model."),
        ("4.52.4", "ValueError", "The repository `{}` contains custom code"),
        ("5.23.0", "ValueError", "The repository {} contains custom code"),
    ],
)
def test_code_that_is_not_allowed_in_the_words_of_each_release(tmp_path: Path, release: str, kind: str, text: str) -> None:
    """Run with nothing on standard input."""
    [(code, type_, said)] = found(tmp_path, {"model_type": "tiny", "auto_map": REMOTE}, release)
    assert (code, type_) == ("QVL906", kind)
    assert said.startswith(text.format(tmp_path))


@pytest.mark.parametrize(
    ("release", "text"),
    [("4.37.2", "Loading {} requires you to execute the configuration file"), ("5.23.0", "The repository {} contains custom code")],
)
def test_code_that_is_refused_in_so_many_words(tmp_path: Path, release: str, text: str) -> None:
    """trust_remote_code=False: nothing is asked."""
    [(code, kind, said)] = found(tmp_path, {"model_type": "tiny", "auto_map": REMOTE}, release, trust_remote_code=False)
    assert (code, kind) == ("QVL906", "ValueError")
    assert said.startswith(text.format(tmp_path))


def test_code_of_another_repository(tmp_path: Path) -> None:
    """AutoConfig hands the repository over in the message's place since 4.53 (run on 5.23)."""
    elsewhere = {name: f"org/repo--{reference}" for name, reference in REMOTE.items()}
    config = {"model_type": "tiny", "auto_map": elsewhere}
    assert found(tmp_path, config, "5.23.0")[0][2].startswith("org/repo You can inspect the repository content at")
    assert found(tmp_path, config, "4.51.3")[0][2].startswith(f"The repository for {tmp_path} contains")


@pytest.mark.parametrize(
    ("config", "release", "call"),
    [
        pytest.param({"model_type": "tiny", "auto_map": REMOTE}, "4.37.2", {"trust_remote_code": True}, id="allowed"),
        pytest.param({"model_type": "phi3", "auto_map": REMOTE}, "4.41.2", {}, id="transformers has a class of its own"),
        pytest.param({"model_type": "phi3", "auto_map": REMOTE}, "5.23.0", {"trust_remote_code": False}, id="refused, and not needed"),
        pytest.param({"model_type": "tiny", "auto_map": REMOTE}, "4.37.2", {"loader": "TinyForCausalLM"}, id="a class of their own"),
        pytest.param({"model_type": "tiny"}, "5.23.0", {}, id="a type of no release and no class named"),
        pytest.param({"model_type": "tiny"}, "5.23.0", {"loader": "LlavaLlamaForCausalLM"}, id="a type and a class of their own"),
        pytest.param({"model_type": "qwen2_vl"}, "4.37.2", {"loader": "MyQwenForCausalLM"}, id="an unknown type under a class of their own"),
        pytest.param({"model_type": "qwen2_vl"}, "5.23.0", {}, id="no class named"),
        pytest.param({"model_type": "qwen2_vl"}, "5.23.0", {"loader": "AutoModel"}, id="AutoModel takes it"),
        pytest.param({"model_type": "gemma3"}, "5.23.0", {"loader": "AutoModelForCausalLM"}, id="a vision model that has a causal one"),
        pytest.param({"model_type": "llama"}, "5.23.0", {"loader": "AutoGPTQForCausalLM"}, id="a class of another package"),
        pytest.param({"model_type": "qwen99"}, "9.0.0", {"loader": "AutoModel"}, id="a release newer than the table"),
        pytest.param({"model_type": "qwen2_vl"}, "4.20.0", {"loader": "AutoModel"}, id="a release older than the table"),
        pytest.param({"model_type": "qwen2_vl"}, "5.23.0", {"loader": "AutoModelForCausalLM", "gguf_file": "x.gguf"}, id="the type is in the GGUF file"),
        pytest.param({"model_type": "qwen2_vl"}, "5.23.0", {"loader": "AutoModelForCausalLM", "config": {"__class__": "Qwen2Config"}}, id="another configuration"),
        pytest.param({"architectures": ["X"]}, "5.23.0", {"loader": "LlamaForCausalLM"}, id="no model type, for a class that needs none"),
        pytest.param({"architectures": ["X"]}, "5.23.0", {"loader": "AutoModelForCausalLM", "config": {"__class__": "Qwen2Config"}}, id="no model type, and a configuration of the call's own"),
        pytest.param({"auto_map": REMOTE}, "5.23.0", {"loader": "AutoModelForCausalLM", "trust_remote_code": True}, id="no model type, and a configuration class of its own"),
        pytest.param({"model_type": "llama"}, "5.23.0", {"loader": "AutoModelForCausalLMWithValueHead"}, id="a class of another package that is near to none"),
        pytest.param({"model_type": "phi3"}, "5.23.0", {"loader": "Phi3VForCausalLM"}, id="a class of the checkpoint's own"),
        pytest.param({"model_type": "llama"}, "5.23.0", {"loader": "LlamaForCausalLM2"}, id="a second class of their own"),
        pytest.param({"model_type": "llama"}, "5.23.0", {"loader": "transformers.AutoModelForCausalLM"}, id="the class with its module"),
        pytest.param({"model_type": "tiny", "auto_map": REMOTE}, "4.37.2", {"loader": "AutoModelForCausalLM", "trust_remote_code": True}, id="its own class"),
        pytest.param({"model_type": "llama", "auto_map": {"AutoConfig": "configuration_x.LlamaConfig"}}, "4.57.1", {"loader": "AutoModel", "trust_remote_code": True}, id="its own configuration under transformers' name (run)"),
        pytest.param({"model_type": "phi3", "auto_map": REMOTE}, "5.23.0", {"loader": "AutoModelForTokenClassification", "trust_remote_code": True}, id="its own configuration, by name transformers' own"),
    ],
)  # fmt: skip
def test_where_nothing_is_wrong_or_nothing_is_known(
    tmp_path: Path, config: dict[str, Any], release: str, call: dict[str, Any]
) -> None:
    """Silence."""
    assert found(tmp_path, config, release, **call) == []


@pytest.mark.parametrize(
    ("config", "release", "loader", "expected"),
    [
        ({"model_type": "qwen2_vl"}, "4.32.0", "AutoModel", ("QVL907", "KeyError", "'qwen2_vl'")),
        ({"model_type": "qwen2_vl"}, "4.37.2", None, ("QVL907", "ValueError", "The checkpoint you are trying to load has model type `qwen2_vl`")),
        ({"model_type": "mega"}, "5.23.0", None, ("QVL907", "ValueError", "The checkpoint you are trying to load has model type `mega`")),
        ({"model_type": "qwen2_vl"}, "4.44.2", "Qwen2VLForConditionalGeneration", ("QVL908", "ImportError", "cannot import name 'Qwen2VLFor")),
        ({"model_type": "blip-2"}, "5.0.0", "AutoModelForVision2Seq", ("QVL908", "ImportError", "cannot import name 'AutoModelForVision2Seq' from")),
        ({"model_type": "blip-2"}, "4.42.4", "AutoModelForCausalLM", ("QVL909", "ValueError", "Unrecognized configuration class <class 'transformers.models.")),
        ({}, "5.23.0", "AutoModel", ("QVL907", "ValueError", "Unrecognized model in ")),
        ({}, "5.23.0", None, ("QVL907", "ValueError", "Unrecognized model in ")),
        *(
            ({"model_type": "llama", "auto_map": REMOTE}, release, "AutoModel", ("QVL909", "ValueError", "Unrecognized configuration class <class 'transformers_modules."))
            for release in ("4.37.2", "4.51.3", "4.54.1")
        ),
        ({"model_type": "llama", "auto_map": {"AutoConfig": "configuration_x.LlamaConfig"}}, "5.23.0", "AutoModelForSeq2SeqLM", ("QVL909", "ValueError", "Unrecognized configuration class <class 'transformers_modules.")),
        ({"model_type": None}, "5.23.0", "AutoModel", ("QVL907", "ValueError", "The checkpoint you are trying to load has model type `None`")),
        ({"model_type": ["llama"]}, "4.57.1", "AutoModel", ("QVL907", "TypeError", "unhashable type: 'list'")),
        ({"model_type": "llama"}, "4.37.2", "AutoModelForCasualLM", ("QVL908", "ImportError", "cannot import name 'AutoModelForCasualLM' from")),
        ({"model_type": "llama"}, "5.23.0", "transformers.AutoModelForCausalLm", ("QVL908", "ImportError", "cannot import name 'AutoModelForCausalLm' from")),
        ({"model_type": "llama"}, "5.23.0", "LlamaForCasualLM", ("QVL908", "ImportError", "cannot import name 'LlamaForCasualLM' from")),
        ({"model_type": "tiny", "auto_map": REMOTE}, "5.23.0", "AutoModel", ("QVL909", "ValueError", "Unrecognized configuration class <class 'transformers_modules.")),
    ],
)  # fmt: skip
def test_the_class_does_not_go_with_the_checkpoint(
    tmp_path: Path, config: dict[str, Any], release: str, loader: str | None, expected: tuple[str, str, str]
) -> None:
    """Each in the words of its release (run)."""
    code, kind, text = found(tmp_path, config, release, loader=loader, trust_remote_code=True)[0]
    assert (code, kind) == expected[:2]
    assert text.startswith(expected[2])


def test_a_type_that_the_program_may_register_itself_makes_a_warning(tmp_path: Path) -> None:
    """LLaVA and others call AutoConfig.register before they load."""
    (tmp_path / "config.json").write_text('{"model_type": "llava_llama"}')
    finding = qvl_preflight.check(str(tmp_path), facts=machine(), loader="AutoModelForCausalLM").findings[0]
    assert (finding.code, finding.severity) == ("QVL907", Severity.WARNING)
    assert "does not register that type itself" in finding.message


@pytest.mark.parametrize(
    ("config", "release", "trusted", "title"),
    [
        ({"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}, "4.45.2", None, "Call AutoModelForVision2Seq.from_pretrained"),
        ({"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}, "5.23.0", None, "Call AutoModelForImageTextToText.from_pretrained"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "4.51.3", None, "Call AutoModelForSeq2SeqLM.from_pretrained"),
        ({"model_type": "tiny", "architectures": ["T"], "auto_map": {"AutoConfig": "c.C", "AutoModel": "m.T"}}, "4.51.3", True, "Call AutoModel.from_pretrained"),
    ],
)  # fmt: skip
def test_the_class_that_takes_the_checkpoint_is_named(
    tmp_path: Path, config: dict[str, Any], release: str, trusted: bool | None, title: str
) -> None:
    """The one that leads to the class that the checkpoint was saved from."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    packages = {**STACKS["legacy"]["packages"], "transformers": release}
    report = qvl_preflight.check(
        str(tmp_path), facts=machine(packages=packages), loader="AutoModelForCausalLM", trust_remote_code=trusted
    )
    [finding] = [finding for finding in report.findings if finding.code == "QVL909"]
    assert finding.fix is not None
    assert finding.fix.title == title


def test_an_unknown_release_is_judged_by_what_all_of_them_do(tmp_path: Path) -> None:
    """No release from 4.28 to 5.23 has the model type "qwen": each refuses the checkpoint's code in its own words."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen", "auto_map": REMOTE}))
    report = qvl_preflight.check(str(tmp_path), facts={"packages": {"torch": "2.1.2"}, "packages_complete": False})
    assert [finding.code for finding in report.findings if finding.topic == "trust-remote-code"] == ["QVL906"]
    assert all(finding.severity is not Severity.ERROR for finding in report.findings)


def test_allowing_code_is_never_applied_unasked(tmp_path: Path) -> None:
    """It runs somebody else's program: fix_kwargs leaves it to the person."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen", "auto_map": REMOTE}))
    assert "trust_remote_code" not in qvl_preflight.fix_kwargs(str(tmp_path), facts=machine(stack="legacy"))
    assert qvl_preflight.fix_kwargs(str(tmp_path), facts=machine(stack="legacy"), unsafe=True)["trust_remote_code"] is True


def test_an_adapter_before_transformers_knew_any(checkpoints: Path) -> None:
    """Up to 4.32 an installed peft makes no difference (run on 4.28.1, 4.32.0)."""
    report = qvl_preflight.check(str(checkpoints / "weights" / "adapter"), facts=machine(stack="seed"), device_map={"": 0})
    [finding] = [found for found in report.findings if found.code == "QVL961"]
    assert finding.raises is not None
    assert finding.raises.type == "OSError"
    assert finding.fix is not None
    assert finding.fix.commands == ("pip install 'transformers>=4.33' peft",)


@pytest.mark.parametrize(
    ("release", "folder", "codes"),
    [
        pytest.param("4.57.1", "my-llama-x", [], id="4.57 finds llama in the path (run)"),
        pytest.param("4.37.2", "my-llama-x", [], id="4.37 finds llama in the path (run)"),
        pytest.param("5.23.0", "my-llama-x", ["QVL907"], id="5.23 does not look there (run)"),
        pytest.param("4.57.1", "x1", ["QVL907"], id="4.57, and no type in the path (run)"),
        pytest.param("4.57.1", "my-blip-2-x", ["QVL909"], id="4.57 takes a type that the class does not"),
    ],
)
def test_a_model_type_out_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, folder: str, codes: list[str]
) -> None:
    """Without model_type releases up to 5.0 take the longest one that stands in the path as it is passed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "config.json").write_text("{}", encoding="utf-8")
    facts = machine("a100", packages={"transformers": release, "torch": "2.4.1"})
    report = qvl_preflight.check(folder, facts=facts, loader="AutoModelForCausalLM")
    assert [finding.code for finding in report.findings if finding.code.startswith("QVL9")] == codes


@pytest.mark.parametrize(
    ("config", "call", "said"),
    [
        pytest.param({"model_type": "llama"}, {"loader": "Qwen2ForCausalLM"}, True, id="qwen2's class on llama (run)"),
        pytest.param({"model_type": "gpt2"}, {"loader": "LlamaForCausalLM"}, True, id="llama's class on gpt2: nothing fits (run)"),
        pytest.param({"model_type": "llama"}, {"loader": "GemmaForCausalLM"}, True, id="all names fit and the formulas do not (run)"),
        pytest.param({"model_type": "qwen2_5_vl"}, {"loader": "Qwen2VLForConditionalGeneration"}, True, id="one generation off"),
        pytest.param({"model_type": "mistral"}, {"loader": "LlamaForCausalLM"}, False, id="the same model (run)"),
        pytest.param({"model_type": "mt5"}, {"loader": "T5ForConditionalGeneration"}, False, id="the same model, t5"),
        pytest.param({"model_type": "llama"}, {"loader": "LlamaForCausalLM"}, False, id="its own class"),
        pytest.param({"model_type": "code_llama"}, {"loader": "LlamaForCausalLM"}, False, id="a type that shares the class"),
        pytest.param({"model_type": "llava", "text_config": {"model_type": "llama"}}, {"loader": "LlamaForCausalLM"}, False, id="a tower of the checkpoint"),
        pytest.param({"model_type": "clip"}, {"loader": "CLIPTextModel"}, False, id="a class that does not generate"),
        pytest.param({"model_type": "yi"}, {"loader": "LlamaForCausalLM"}, False, id="a type of no release"),
        pytest.param({"model_type": "llama"}, {"loader": "OurOwnForCausalLM"}, False, id="a class of no release"),
        pytest.param({"model_type": "llama"}, {"loader": "Qwen2ForCausalLM", "config": {"__class__": "Qwen2Config"}}, False, id="a configuration of the call's own"),
        pytest.param({}, {"loader": "LlamaForCausalLM"}, False, id="a class that needs no type"),
    ],
)  # fmt: skip
def test_a_class_of_another_model(tmp_path: Path, config: dict[str, Any], call: dict[str, Any], said: bool) -> None:
    """transformers warns and goes on, with weights that it makes up."""
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    report = qvl_preflight.check(str(tmp_path), facts=machine("a100"), **call)
    assert ("QVL915" in [finding.code for finding in report.findings]) is said
