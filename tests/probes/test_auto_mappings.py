"""transformers' own tables, read by ast out of its files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.probes.auto_mappings import read_installed, read_release
from qvl_preflight.report import Severity

CONFIGS = """
from collections import OrderedDict
{imported}
CONFIG_MAPPING_NAMES = OrderedDict([("llama", "LlamaConfig"), ("gpt2", "GPT2Config"), ("qwen2_vl", "Qwen2VLConfig")])
CONFIG_MAPPING_NAMES.update({{"llava": "LlavaConfig"}})
CONFIG_MAPPING_NAMES = OrderedDict(**{{"gpt-sw3": "GPT2Config"}}, **CONFIG_MAPPING_NAMES)
"""
MODELS = """
from .configuration_auto import CONFIG_MAPPING_NAMES
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([("llama", "LlamaForCausalLM"), ("gpt2", "GPT2LMHeadModel")])
MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES = OrderedDict[str, str]([("qwen2_vl", ("Qwen2VLForConditionalGeneration", "Other")), ("elsewhere", "X")])
MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES = OrderedDict([*list(MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES.items()), ("llava", "Llava")])
MODEL_FOR_CAUSAL_LM_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
MODEL_FOR_VISION_2_SEQ_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES)
MODEL_FOR_MULTIMODAL_LM_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)
class AutoModelForCausalLM(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_CAUSAL_LM_MAPPING
class _AutoModelForVision2Seq(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_VISION_2_SEQ_MAPPING
class AutoModelForVision2Seq(_AutoModelForVision2Seq):
    pass
class AutoModelForMultimodalLM(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_MULTIMODAL_LM_MAPPING
class AutoModelForNobody(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_CAUSAL_LM_MAPPING
__all__ = ["AutoModelForCausalLM", "AutoModelForVision2Seq", "AutoModelForMultimodalLM"]
"""
OLD_FACTORY = "has_local_code = type(config) in cls._model_mapping.keys()"
NEW_FACTORY = "has_local_code = type(config) in cls._model_mapping"


def write(folder: Path, factory: str = NEW_FACTORY, configs: str = CONFIGS, models: str = MODELS) -> str:
    auto = folder / "models" / "auto"
    auto.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (auto / "configuration_auto.py").write_text(configs.format(imported=""))
    (auto / "modeling_auto.py").write_text(models)
    (auto / "auto_factory.py").write_text(factory)
    return str(folder)


def test_every_form_in_which_the_releases_write_their_tables(tmp_path: Path) -> None:
    """OrderedDict of pairs, with a type, of keywords; other tables inside; update(); deprecated classes with a base."""
    found = read_release(write(tmp_path))
    assert found is not None
    assert found.autos == {"AutoModelForCausalLM", "AutoModelForVision2Seq", "AutoModelForMultimodalLM"}  # what is exported
    assert found.types["llava"] == {"AutoModelForMultimodalLM": ("Llava",)}
    assert found.types["qwen2_vl"]["AutoModelForVision2Seq"] == ("Qwen2VLForConditionalGeneration", "Other")
    assert "elsewhere" not in found.types


@pytest.mark.parametrize("factory", [OLD_FACTORY, NEW_FACTORY])
def test_types_that_share_a_configuration_share_the_answer(tmp_path: Path, factory: str) -> None:
    """gpt-sw3 has GPT2Config, and so GPT-2's model, though no table of models names it."""
    found = read_release(write(tmp_path, factory))
    assert found is not None
    assert found.types["gpt-sw3"] == {"AutoModelForCausalLM": ("GPT2LMHeadModel",)}


def test_since_4_55_the_last_type_of_a_configuration_decides(tmp_path: Path) -> None:
    """`type(config) in mapping` goes by the last type with that class; `in mapping.keys()` by any of them."""
    configs = CONFIGS + 'CONFIG_MAPPING_NAMES.update({{"zz": "LlamaConfig"}})\n'
    new = read_release(write(tmp_path / "new", NEW_FACTORY, configs))
    old = read_release(write(tmp_path / "old", OLD_FACTORY, configs))
    assert new is not None
    assert old is not None
    assert new.types["llama"] == {}
    assert old.types["llama"] == {"AutoModelForCausalLM": ("LlamaForCausalLM",)}


@pytest.mark.parametrize("models", ["", "def broken(:", "class AutoModelForCausalLM: pass"])
def test_files_that_are_written_otherwise_say_nothing(tmp_path: Path, models: str) -> None:
    """A release that keeps its tables elsewhere is unknown, not empty."""
    assert read_release(write(tmp_path, models=models)) is None
    assert read_release(str(tmp_path / "nowhere")) is None


def install(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "transformers")
    metadata = folder / f"transformers-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: transformers\nVersion: {version}\n")
    monkeypatch.setattr("sys.path", [str(folder), *sys.path])


def test_a_release_that_no_table_holds_is_asked_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is newer than what was read: its own files say which model types it has."""
    install(tmp_path / "site", "9.1.0", monkeypatch)
    checkpoint = tmp_path / "model"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "bert"}')
    [finding] = [
        found for found in qvl_preflight.check(str(checkpoint), loader="AutoModelForCausalLM").findings if found.code[:5] == "QVL90"
    ]
    assert (finding.code, finding.severity) == (
        "QVL907",
        Severity.WARNING,
    )  # as the newest that was read would: it may say it otherwise
    assert "transformers 9.1.0 does not know the model type bert" in finding.message
    (checkpoint / "config.json").write_text('{"model_type": "llava"}')
    codes = [found.code for found in qvl_preflight.check(str(checkpoint), loader="AutoModelForMultimodalLM").findings]
    assert "QVL909" not in codes


def test_the_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they change."""
    install(tmp_path, "9.1.0", monkeypatch)
    assert read_installed() is read_installed()
    (tmp_path / "transformers" / "models" / "auto" / "modeling_auto.py").write_text("")
    assert read_installed() is None
    monkeypatch.setattr("sys.path", [])
    assert read_installed() is None
