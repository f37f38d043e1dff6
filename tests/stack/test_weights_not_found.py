"""Folders whose weights cannot be found or say too little, as 4.37.2, 4.57.1 and 5.23.0 met them on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from file_scenes import LLAMA, folder
from qvl_preflight.report import Report
from qvl_preflight.testing import machine

SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
RELEASES = {"4.37.2": "2.2.2", "4.57.1": "2.14.1", "5.23.0": "2.14.1"}


def check(path: Path, transformers: str = "5.23.0", **kwargs: Any) -> Report:
    packages = {"transformers": transformers, "torch": RELEASES[transformers], "safetensors": "0.8.0", "accelerate": "1.15.0"}
    return qvl_preflight.check(str(path), facts=machine("no-gpu", packages=packages), loader="AutoModelForCausalLM", **kwargs)


def open_questions(report: Report) -> list[str]:
    return [item.reason for item in report.skipped if item.matters]


@pytest.mark.parametrize("transformers", RELEASES)
@pytest.mark.parametrize("scene", ["no index", "a dead link", "a folder"])
def test_weights_that_are_not_found_stop_the_load(tmp_path: Path, transformers: str, scene: str) -> None:
    path = folder(tmp_path / "model", "sts" if scene == "no index" else "none")
    if scene == "no index":
        (path / "model.safetensors.index.json").unlink()
    elif scene == "a dead link":
        (path / "model.safetensors").symlink_to("../../blobs/ab")
    else:
        (path / "model.safetensors").mkdir()
    report = check(path, transformers)
    assert [(found.code, str(found.raises and found.raises.type)) for found in report.findings] == [("QVL901", "OSError")]
    assert report.verdict == "fails"


@pytest.mark.parametrize("kwargs", [{}, {"use_safetensors": True}, {"variant": "fp16"}])
def test_config_json_alone_leaves_the_weights_open(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """Whoever checks a call often has no more at hand."""
    report = check(folder(tmp_path / "model", "none"), **kwargs)
    assert (report.findings, report.verdict) == ((), "incomplete")
    assert any("no weights" in reason for reason in open_questions(report))


@pytest.mark.parametrize(("transformers", "verdict"), [("4.37.2", "fails"), ("4.57.1", "incomplete"), ("5.23.0", "fails")])
def test_an_index_that_names_nothing(tmp_path: Path, transformers: str, verdict: str) -> None:
    """4.57 starts from random weights."""
    path = folder(tmp_path / "model", "sts")
    (path / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {}}', encoding="utf-8")
    assert check(path, transformers).verdict == verdict


@pytest.mark.parametrize("transformers", RELEASES)
def test_bytes_behind_the_last_tensor(tmp_path: Path, transformers: str) -> None:
    path = folder(tmp_path / "model")
    with open(path / "model.safetensors", "ab") as file:
        file.write(b"xx")
    (found,) = check(path, transformers).findings
    assert found.code == "QVL901"
    assert found.raises is not None
    assert found.raises.type == "SafetensorError"
    assert "2 bytes behind its last tensor" in found.message


@pytest.mark.parametrize(("transformers", "codes"), [("4.37.2", ["QVL901"]), ("4.57.1", []), ("5.23.0", [])])
def test_a_header_without_metadata(tmp_path: Path, transformers: str, codes: list[str]) -> None:
    path = folder(tmp_path / "model")
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F16", "shape": [256, 64], "data_offsets": [0, 32768]}}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(32768))
    assert [found.code for found in check(path, transformers).findings] == codes


def test_code_that_is_not_beside_config_json_is_an_open_question(tmp_path: Path) -> None:
    """Also where transformers knows the model type: with trust_remote_code=True the code comes first."""
    path = folder(
        tmp_path / "model", auto_map={"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XModel"}
    )
    assert LLAMA["model_type"] == "llama"
    report = check(path, trust_remote_code=True)
    assert report.verdict == "incomplete"
    assert any("configuration_x.py" in reason for reason in open_questions(report))
    assert check(path).verdict == "ok"


@pytest.mark.parametrize("weights", ["st", "sts", "bin", "bins"])
def test_whole_checkpoints_stay_quiet(tmp_path: Path, weights: str) -> None:
    assert check(folder(tmp_path / "model", weights)).verdict == "ok"
