"""What six releases did with all sorts of quantisation settings on a machine without a GPU, replayed. See tests/recordings/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from quantization_calls import SETTINGS
from qvl_preflight.testing import machine

RECORDINGS = Path(__file__).parents[1] / "recordings"
RELEASES = {path.stem: json.loads(path.read_text()) for path in sorted((RECORDINGS / "quantization").glob("*.json"))}
RUNS = [(release, run) for release, found in RELEASES.items() for run in found["runs"]]
# Where plan and outcome still part, and why. What agrees is taken out.
KNOWN = {
    "4.45.2 torchao {}": "a torchao that is too new for this transformers was not looked up",
    "4.57.1 torchao {}": "the same",
    "4.51.3 torchao {}": "settings of torchao are not read",
    "5.23.0 torchao {}": "the same",
    "4.57.1 bnb4 {'quantization_config': {'__class__': 'BitsAndBytesConfig', 'load_in_8bit': True}}": "the weights are not those of the settings",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints: the headers of one plain model under each of the settings."""
    root = tmp_path_factory.mktemp("quantized")
    source = RECORDINGS / "models" / "plain-bf16"
    config = json.loads((source / "config.json").read_text())
    for name, settings in SETTINGS.items():
        folder = Path(shutil.copytree(source, root / name))
        (folder / "config.json").write_text(json.dumps({**config, **({"quantization_config": settings} if settings else {})}))
    return root


def planned(root: Path, release: str, run: dict[str, Any]) -> list[tuple[str, str]]:
    """What the plan says is raised for certain, up to the end of the load."""
    found = RELEASES[release]
    sections = {"packages": found["packages"], "torch": {"cuda_build": found["cuda_build"], "hip_build": False}}
    report = qvl_preflight.check(str(root / run["model"]), facts=machine("no-gpu", "today", **sections), **run["kwargs"])
    assert report.plan is not None
    raises = [raised for raised in report.plan.raises if raised.stage.reported in ("import", "load") and raised.condition is None]
    return [(raised.type, " ".join(raised.text.split())) for raised in raises]


def name_of(release: str, run: dict[str, Any]) -> str:
    return f"{release} {run['model']} {run['kwargs']}"


@pytest.mark.parametrize(("release", "run"), RUNS, ids=[name_of(release, run) for release, run in RUNS])
def test_plan_says_what_happened(models: Path, release: str, run: dict[str, Any]) -> None:
    """The first exception in its words, or none."""
    raises = planned(models, release, run)
    if run["type"] == "ok":
        agrees = not raises
    else:
        agrees = bool(raises) and raises[0][0] == run["type"] and run["text"].startswith(raises[0][1][: len(run["text"])])
    if name_of(release, run) in KNOWN:
        assert not agrees, "this agrees now: take it out of KNOWN"
    else:
        assert agrees, (raises[:1], run["type"], run["text"])


def test_recordings_are_there() -> None:
    """A glob that finds nothing would pass silently."""
    assert len(RELEASES) == 6
    assert len(RUNS) > 350
