"""Collecting: only what is asked for is probed, and a probe that breaks costs its own sections."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qvl_preflight.facts import Facts, field_names
from qvl_preflight.probes import collect, extensions, host, launch, nvml, packages
from qvl_preflight.unknown import Unknown

PROBES = {
    ("driver", "nvidia", "gpus"): (nvml, "probe"), ("packages", "packages_duplicates"): (packages, "probe"), ("torch",): (packages, "probe_torch"), ("env", "env_misspelt", "env_late", "launch"): (launch, "probe"),
    ("python", "host"): (host, "probe"), ("build",): (host, "probe_build"), ("extensions",): (extensions, "probe"),
}  # fmt: skip


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every probe replaced by one that answers with the names of its sections; the list of those that ran."""
    log: list[tuple[str, ...]] = []
    for sections, (module, name) in PROBES.items():

        def probe(sections: tuple[str, ...] = sections) -> dict[str, str]:
            log.append(sections)
            return {section: f"found {section}" for section in sections}

        monkeypatch.setattr(module, name, probe)
    return log


def test_every_section_has_a_probe(ran: list[tuple[str, ...]]) -> None:
    """Without a wish all probes run, once each, and every section is found."""
    facts = collect()
    assert sorted(ran) == sorted(PROBES)
    assert {name: getattr(facts, name) for name in field_names()} == {name: f"found {name}" for name in field_names()}


@pytest.mark.parametrize(
    ("wanted", "probes"),
    [
        pytest.param(["torch"], [("torch",)], id="one section of its own probe"),
        pytest.param(["gpus"], [("driver", "nvidia", "gpus")], id="a part of a probe"),
        pytest.param(["env", "launch"], [("env", "env_misspelt", "env_late", "launch")], id="two parts: asked once"),
        pytest.param(["packages", "build"], [("packages", "packages_duplicates"), ("build",)], id="two probes"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_only_wanted_sections_are_probed(ran: list[tuple[str, ...]], wanted: list[str], probes: list[tuple[str, ...]]) -> None:
    """Other probes do not run, and other sections stay as unknown as they were, even where their probe ran."""
    facts = collect(iter(wanted))
    assert ran == probes
    for name in field_names():
        assert getattr(facts, name) == (f"found {name}" if name in wanted else getattr(Facts(), name))


def test_a_probe_that_raises_leaves_its_sections_unknown(ran: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the exception; the other sections are found as ever."""

    def broken() -> dict[str, object]:
        raise RuntimeError("bus error")

    monkeypatch.setattr(nvml, "probe", broken)
    facts = collect()
    assert facts.driver == facts.gpus == Unknown("the probe failed: RuntimeError: bus error")
    assert vars(facts)["packages"] == "found packages"


def test_being_interrupted_is_not_a_broken_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the doctor."""

    def interrupted() -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(nvml, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(["gpus"])


def test_torch_is_never_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A whole collection reads torch's files and leaves the module alone."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = '12.1'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    facts = collect()
    assert not isinstance(facts.torch, Unknown)
    assert facts.torch.cuda_build == "12.1"
    assert "torch" not in sys.modules


def test_this_machine_survives_the_trip_through_json() -> None:
    """What is collected here and now can be saved and read again without a difference."""
    facts = collect()
    assert isinstance(facts.packages, dict)
    assert "packaging" in facts.packages
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
