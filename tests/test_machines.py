"""What the doctor says of every machine that is kept: the whole text, as the person in front of it reads it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from qvl_preflight.environment import examine
from qvl_preflight.facts import Facts, Gpu
from qvl_preflight.unknown import Unknown

MACHINES = Path(__file__).parent / "machines"
FILES = sorted(MACHINES.glob("*.json"))
# What the first finding must be about; None: nothing is wrong.
FIRST = {
    "a100-box": None, "h100-virtual-machine": None, "wsl": None, "colab-t4": None, "rocm-mi250": None, "apple-m2": None, "intel-arc": None, "ascend-910b": None, "driver-hangs": "QVL112",
    "amd-with-cuda-torch": "QVL115", "blackwell-old-wheel": "QVL114", "colab-without-gpu": "QVL101", "conda-with-user-site": "QVL602",
    "container-without-gpus": "QVL106", "cpu-torch-on-gpu-machine": "QVL102", "docker-after-daemon-reload": "QVL112", "docker-utility-only": "QVL108",
    "driver-library-mismatch": "QVL107", "four-gpus-mixed": "QVL117", "hidden-gpus": "QVL201", "kaggle-two-t4": "QVL208", "laptop-without-driver": "QVL105",
    "lost-gpu": "QVL111", "machine-without-gpu": "QVL101", "mig-a100": "QVL212", "mig-without-instance": "QVL119", "old-driver": "QVL103",
    "pascal-new-wheel": "QVL114", "pod-without-gpu": "QVL106", "secure-boot-unsigned-module": "QVL105", "shared-server": "QVL116",
    "slurm-step": "QVL201", "slurm-without-gpu": "QVL209", "v100-new-wheel": "QVL114", "windows-cpu-torch": "QVL102", "wsl-without-driver": "QVL101",
}  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that writes the texts."""
    path = MACHINES.parents[1] / "scripts" / "machine_reports.py"
    spec = importlib.util.spec_from_file_location("machine_reports", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_text_is_the_one_that_was_read_and_approved(path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python scripts/machine_reports.py`` writes it anew; read it before you keep it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert script.report_of(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_answer_comes_first(path: Path) -> None:
    """The finding that the person needs stands above all others."""
    findings = examine(Facts.load(str(path))).findings
    assert (findings[0].code if findings else None) == FIRST[path.stem]


def test_every_machine_is_there_and_explained() -> None:
    """Each has an expectation, a text, and a place in the table of sources."""
    names = {path.stem for path in FILES}
    readme = (MACHINES / "README.md").read_text(encoding="utf-8")
    assert names == set(FIRST)
    assert names == {path.stem for path in MACHINES.glob("*.txt")}
    assert [name for name in sorted(names) if name not in readme and not name.startswith("docker")] == []


@pytest.mark.parametrize("name", ["rocm-mi250", "apple-m2", "intel-arc", "ascend-910b"])
def test_another_vendors_machine_is_not_judged_by_nvidias_rules(name: str) -> None:
    """They are listed as not checked, for that reason; "no GPU" is not said."""
    report = examine(Facts.load(str(MACHINES / f"{name}.json")))
    assert report.findings == ()
    assert {item.reason.rpartition(": ")[2] for item in report.skipped} == {"the checks know NVIDIA GPUs only"}
    assert "QVL101" in {item.code for item in report.skipped}
    assert report.verdict == "incomplete"
    assert "checks were left out" in report.text().partition("\n")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_machine_says_all_that_the_probes_would(path: Path) -> None:
    """Nothing is left unsaid by oversight: what is unknown has a reason of its own."""
    facts = Facts.load(str(path))
    unsaid = [
        name
        for name, value in vars(facts).items()
        if isinstance(value, Unknown) and value.reason.startswith("the facts do not say")
    ]
    gpus: tuple[Gpu, ...] = () if isinstance(facts.gpus, Unknown) else facts.gpus
    for section in (facts.torch, facts.nvidia, facts.host, facts.python, *gpus):
        unsaid += [
            name
            for name, value in vars(section).items()
            if isinstance(value, Unknown) and value.reason.startswith("the facts do not say")
        ]
    assert set(unsaid) <= {"arch_list"}
