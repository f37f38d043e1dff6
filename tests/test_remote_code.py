"""Code that comes with a checkpoint, read as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.remote_code import RemoteCode, remote_code
from qvl_preflight.report import Severity
from qvl_preflight.testing import machine
from qvl_preflight.unknown import Unknown

MODEL = """
from .visual import Tower
class OwnBase(PreTrainedModel):
    {listed}
class TextBlock(nn.Module):
    def forward(self, x):
        return x + self.mlp(x)
class OwnModel(OwnBase):
    def __init__(self, config):
        super().__init__(config)
        self.h = nn.ModuleList([TextBlock(config) for i in range(config.layers)])
        self.visual = Tower(config)
    def forward(self, ids, images):
        {merge}
"""
VISUAL = """
class VisionBlock(nn.Module):
    def forward(self, x):
        x = x + self.attn(x)
        return x
class Tower(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.resblocks = nn.ModuleList([VisionBlock(config) for _ in range(2)])
"""
MERGE, MOVE = "return self.h(ids) + self.visual(images)", "return self.h(ids) + self.visual(images).to(ids.device)"


def folder(root: Path, listed: str, merge: str = MERGE, visual: str = VISUAL) -> str:
    config = {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "visual": {},
        "auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"},
    }
    (root / "config.json").write_text(json.dumps(config))
    (root / "modeling_own.py").write_text(MODEL.format(listed=listed, merge=merge))
    (root / "visual.py").write_text(visual)
    return str(root)


def code_of(path: str) -> RemoteCode | Unknown:
    return remote_code(Checkpoint(path, json.loads((Path(path) / "config.json").read_text())), None)


def findings(path: str, **kwargs: Any) -> list[tuple[str, Severity, str]]:
    call = {"device_map": "auto", "trust_remote_code": True, **kwargs}
    report = qvl_preflight.check(path, facts=machine("two-gpus", "legacy"), **call)
    return [(found.code, found.severity, found.message) for found in report.findings]


def test_blocks_that_the_class_does_not_keep_together(tmp_path: Path) -> None:
    """Qwen-VL lists the blocks of its text and not those of its vision tower."""
    code = code_of(folder(tmp_path, '_no_split_modules = ["TextBlock"]'))
    assert isinstance(code, RemoteCode)
    assert code.cut(of_parts=True) == ("VisionBlock",)
    ((found, severity, message),) = findings(str(tmp_path))
    assert (found, severity) == ("QVL410", Severity.WARNING)
    assert "VisionBlock" in message


@pytest.mark.parametrize(
    "listed", ['_no_split_modules = ["TextBlock", "VisionBlock"]', '_no_split_modules = ["TextBlock", "Tower"]']
)
def test_code_that_keeps_its_blocks_together_and_moves_tensors_is_left_alone(tmp_path: Path, listed: str) -> None:
    """What holds a block holds it together too."""
    assert findings(folder(tmp_path, listed, MOVE)) == []


def test_code_that_joins_two_towers_without_moving(tmp_path: Path) -> None:
    """Its blocks stay whole, its towers may still meet on two devices."""
    ((found, severity, _),) = findings(folder(tmp_path, '_no_split_modules = ["TextBlock", "Tower"]'))
    assert (found, severity) == ("QVL410", Severity.WARNING)


@pytest.mark.parametrize(
    "quiet", [{"device_map": {"": 0}}, {"max_memory": {0: "70GiB"}}, {"device_map": "sequential"}, {"device_map": None}]
)
def test_calls_that_use_one_gpu(tmp_path: Path, quiet: dict[str, Any]) -> None:
    """No split, no warning."""
    folder(tmp_path, '_no_split_modules = ["TextBlock"]')
    assert "QVL410" not in {found for found, _, _ in findings(str(tmp_path), **quiet)}


def test_a_class_that_lists_nothing(tmp_path: Path) -> None:
    """The name of the class is the release's words."""
    path = folder(tmp_path, "config_class = OwnConfig")
    report = qvl_preflight.check(path, facts=machine("a100", "legacy"), device_map="auto", trust_remote_code=True)
    raised = report.findings[0].raises
    assert raised is not None
    assert (raised.type, raised.text.split("`")[0]) == ("ValueError", "OwnModel does not support ")


@pytest.mark.parametrize("stack", ["today", "middle-bnb"])
def test_a_base_class_that_is_not_there_is_unknown(tmp_path: Path, stack: str) -> None:
    """Inherited from elsewhere: it may list modules."""
    path = folder(tmp_path, "x = 1")
    (tmp_path / "modeling_own.py").write_text(
        MODEL.replace("(PreTrainedModel)", "(LlamaPreTrainedModel)").format(listed="x = 1", merge=MERGE)
    )
    report = qvl_preflight.check(path, facts=machine("a100", stack), device_map="auto", trust_remote_code=True)
    assert "QVL412" not in {found.code for found in report.findings}


@pytest.mark.parametrize(
    "text",
    [
        "class Broken(",
        "\x00",
        "x = " + "(" * 5000 + ")" * 5000,
        "class OwnModel(OwnModel): pass",
        "class A(B): pass\nclass B(A): pass\nclass OwnModel(A): pass",
    ],
)
def test_code_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """Nothing raises, and nothing hangs."""
    path = folder(tmp_path, "x = 1")
    (tmp_path / "modeling_own.py").write_text(text)
    qvl_preflight.check(path, facts=machine("two-gpus", "legacy"), device_map="auto", trust_remote_code=True)


def test_code_of_another_repository_is_not_looked_for(tmp_path: Path) -> None:
    """auto_map may name another repository, or leave the folder."""
    for named in ("other/repo--modeling.Model", "../modeling.Model", "modeling"):
        assert isinstance(remote_code(Checkpoint(str(tmp_path), {"auto_map": {"AutoModelForCausalLM": named}}), None), Unknown)


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    """Who mends the code checks again in the same process."""
    first = code_of(folder(tmp_path, '_no_split_modules = ["TextBlock"]'))
    second = code_of(folder(tmp_path, '_no_split_modules = ["TextBlock", "VisionBlock"]'))
    assert isinstance(first, RemoteCode)
    assert isinstance(second, RemoteCode)
    assert first.no_split("OwnModel") == ("TextBlock",)
    assert second.no_split("OwnModel") == ("TextBlock", "VisionBlock")
