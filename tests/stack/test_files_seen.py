"""What a call does with the files that are there, held against what eight releases of transformers did with the same files on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from file_scenes import make_cache, make_folders
from qvl_preflight.testing import machine

RUNS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "files_seen.json").read_text(encoding="utf-8"))
CALLS = [(run, *call) for run in RUNS for call in run["calls"]]
# What is left open on purpose: files that may be elsewhere (the contract), and what is not worked out.
NOT_JUDGED = (
    "./none",
    "./gone",
    "./code-",
    "./garbage",
    "./lfs-index",
    "./lfs-config",
    "./empty-index",
    "./empty-config",
    "./html-index",
)
BASES = {"ConnectionError": "OSError", "OfflineModeIsEnabled": "OSError"}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    make_folders(root / "folders")
    make_cache(root / "cache")
    return root


def judged(run: dict[str, Any], name: str, kwargs: dict[str, Any]) -> bool:
    if name.startswith(NOT_JUDGED):
        return False
    if name.startswith("o/other-") and run["transformers"] < "4.30":  # no code in other repositories yet
        return False
    if name == "o/shardbin" and run["transformers"].startswith("4.41"):  # the hub is asked for safetensors before it comes to that
        return False
    return name != "o/noconfig-ne" and not (name == "./tf" and kwargs)


@pytest.mark.parametrize(
    ("run", "name", "kwargs", "kind", "text"),
    [case for case in CALLS if judged(*case[:3])],
    ids=[
        f"{case[0]['transformers']}-{case[1]}-{json.dumps(case[2])}-{json.dumps(case[0]['env'])}"
        for case in CALLS
        if judged(*case[:3])
    ],
)
def test_the_plan_says_what_happened(
    scenes: Path, monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], name: str, kwargs: dict[str, Any], kind: str, text: str
) -> None:
    """Where the load worked nothing is said; else the exception is named, with the beginning of its text."""
    env = {**run["env"], "HF_HUB_CACHE": str(scenes / "cache"), "HUGGINGFACE_HUB_CACHE": str(scenes / "cache")}
    packages = {package: run[package] for package in ("transformers", "huggingface-hub", "torch", "safetensors")} | {
        "accelerate": "1.15.0"
    }
    facts = machine("no-gpu", packages=packages, env=env, build={"network": False})
    model = str(scenes / "folders" / name[2:]) if name.startswith("./") else name
    report = qvl_preflight.check(model, facts=facts, loader="AutoModelForCausalLM", **kwargs)
    said = [finding.raises for finding in report.findings if finding.code.startswith(("QVL95", "QVL96", "QVL901"))]
    if not kind:
        assert said == []
        return
    assert said
    assert said[0] is not None
    assert said[0].type in (kind, BASES.get(kind))
    assert text.startswith(said[0].text.replace(str(scenes), "ROOT")[: len(text)])
