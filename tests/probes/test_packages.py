"""Distributions by their metadata folders, and torch's build by its own file: nothing is imported."""

from __future__ import annotations

import mmap  # noqa: F401  # the tests replace sys.path, from which the probe would import it
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from qvl_preflight.facts import Torch
from qvl_preflight.probes import packages
from qvl_preflight.unknown import Unknown


def install(folder: Path, name: str, metadata: str | None = "METADATA", text: str = "Name: x\nVersion: 0\n") -> None:
    """A metadata folder as an installer leaves it; without ``metadata`` as a broken uninstall leaves it."""
    place = folder / name
    place.mkdir(parents=True)
    if metadata:
        (place / metadata).write_text(text, encoding="utf-8")


def found(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> dict[str, object]:
    """What the probe finds on this path."""
    monkeypatch.setattr(sys, "path", [str(folder) for folder in folders])
    result: dict[str, object] = packages.probe()["packages"]
    return result


@pytest.mark.parametrize(
    ("folder", "metadata", "name", "version"),
    [
        pytest.param("peft-0.8.2.dist-info", "METADATA", "peft", "0.8.2", id="a wheel"),
        pytest.param("flash_attn-2.5.8.dist-info", "METADATA", "flash-attn", "2.5.8", id="underscores are hyphens"),
        pytest.param("Jinja2-3.1.6.dist-info", "METADATA", "jinja2", "3.1.6", id="capitals are small letters"),
        pytest.param("ruamel.yaml-0.18.6.dist-info", "METADATA", "ruamel-yaml", "0.18.6", id="dots are hyphens"),
        pytest.param("torch-2.1.2+cu121.dist-info", "METADATA", "torch", "2.1.2+cu121", id="a local version stays whole"),
        pytest.param("auto_gptq-0.7.1-py3.10.egg-info", "PKG-INFO", "auto-gptq", "0.7.1", id="an egg-info of one Python"),
        pytest.param("optimum-1.16.2.egg-info", "PKG-INFO", "optimum", "1.16.2", id="an egg-info of any Python"),
    ],
)
def test_a_distribution_is_found_by_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, metadata: str, name: str, version: str
) -> None:
    """Name and version come out of the folder's name, the name normalised as PEP 503 says."""
    install(tmp_path, folder, metadata)
    assert found(monkeypatch, tmp_path) == {name: version}


def test_an_egg_info_that_is_a_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian and distutils write the metadata as one file."""
    (tmp_path / "PyYAML-5.4.1.egg-info").write_text("Metadata-Version: 1.2\n", encoding="utf-8")
    assert found(monkeypatch, tmp_path) == {"pyyaml": "5.4.1"}


def test_an_editable_checkout_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``setup.py develop`` leaves a folder without a version in its name; the version is in PKG-INFO, as importlib.metadata reads it."""
    install(tmp_path, "transformers.egg-info", "PKG-INFO", "Metadata-Version: 2.1\nName: transformers\nVersion: 4.38.0.dev0\n")
    assert found(monkeypatch, tmp_path) == {"transformers": "4.38.0.dev0"}


def test_an_egg_on_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``setup.py install`` puts the egg itself on sys.path, its metadata inside: kernels built from source arrive so."""
    egg = tmp_path / "auto_gptq-0.7.1-py3.10-linux-x86_64.egg"
    install(egg, "EGG-INFO", "PKG-INFO", "Metadata-Version: 2.1\nName: auto-gptq\nVersion: 0.7.1\n")
    assert found(monkeypatch, egg) == {"auto-gptq": "0.7.1"}


def test_the_first_folder_of_the_path_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A release that is shadowed by an earlier folder would never be imported."""
    install(tmp_path / "a", "peft-0.21.2.dist-info")
    install(tmp_path / "b", "peft-0.8.2.dist-info")
    install(tmp_path / "b", "torch-2.2.2.dist-info")
    assert found(monkeypatch, tmp_path / "a", tmp_path / "b") == {"peft": "0.21.2", "torch": "2.2.2"}


def test_the_empty_entry_is_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``''`` on sys.path is where the interpreter was started."""
    install(tmp_path, "peft-0.8.2.dist-info")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [""])
    assert packages.probe() == {"packages": {"peft": "0.8.2"}, "packages_duplicates": {}}


def test_leftovers_and_strangers_are_not_distributions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder emptied by a broken uninstall, and whatever else lies there, is not installed."""
    install(tmp_path, "peft-0.8.2.dist-info", metadata=None)
    install(tmp_path, "transformers.egg-info", metadata=None)
    install(tmp_path, "dist-info")
    install(tmp_path, "torch")
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    assert found(monkeypatch, tmp_path) == {}


def test_a_folder_that_cannot_be_listed_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """sys.path names zip files and folders that are gone; the others still count."""
    archive = tmp_path / "python310.zip"
    archive.write_bytes(b"")
    install(tmp_path / "site", "peft-0.8.2.dist-info")
    assert found(monkeypatch, archive, tmp_path / "gone", tmp_path / "site") == {"peft": "0.8.2"}


def write_torch(folder: Path, text: str) -> None:
    """A torch of which only version.py is there; importing it would fail."""
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(text, encoding="utf-8")


NOT_SAID = Unknown("torch/version.py does not say")


@pytest.mark.parametrize(
    ("text", "cuda", "hip"),
    [
        pytest.param("cuda: Optional[str] = '12.1'\nhip: Optional[str] = None\n", "12.1", False, id="a CUDA wheel"),
        pytest.param("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False, False, id="a CPU wheel"),
        pytest.param("cuda: Optional[str] = None\nhip: Optional[str] = '6.0.32830'\n", False, "6.0.32830", id="a ROCm wheel"),
        pytest.param("cuda = '11.8'\nhip = None\n", "11.8", False, id="without annotations, as older releases write it"),
        pytest.param('cuda: str | None = "13.0"\n', "13.0", NOT_SAID, id="another annotation and other quotes"),
        pytest.param("__version__ = '2.1.2'\n", NOT_SAID, NOT_SAID, id="a file that does not say"),
        pytest.param("# cuda = '11.8'\nnocuda = '1'\n", NOT_SAID, NOT_SAID, id="a comment and a longer name are not it"),
    ],
)
def test_the_build_of_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, cuda: str | bool | Unknown, hip: str | bool | Unknown
) -> None:
    """CUDA and HIP of the build are read as torch writes them: a release, False for none, Unknown where it is not said."""
    write_torch(tmp_path, "from typing import Optional\n" + text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    torch = packages.probe_torch()["torch"]
    assert (torch.cuda_build, torch.hip_build) == (cuda, hip)
    assert type(torch.cuda_build) is type(cuda)


def test_torch_that_is_not_there_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing can be said of the build of a torch that is not installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert packages.probe_torch() == {"torch": Unknown("torch is not installed")}


@pytest.mark.parametrize(
    ("loaded", "device"),
    [
        pytest.param(
            {"is_initialized": lambda: True, "current_device": lambda: 1, "device_count": lambda: 0},
            1,
            id="initialised: its current device",
        ),
        pytest.param({"is_initialized": lambda: False}, None, id="imported, CUDA not initialised"),
        pytest.param(None, None, id="half imported: without torch.cuda"),
    ],
)
def test_the_current_device_of_a_loaded_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loaded: dict[str, object] | None, device: int | None
) -> None:
    """A torch that is loaded already is asked only where it has initialised CUDA: asking never initialises it."""
    torch = ModuleType("torch")
    if loaded is not None:
        torch.cuda = SimpleNamespace(**loaded)  # type: ignore[attr-defined]
        torch._C = SimpleNamespace(_cuda_getDeviceCount=lambda: 2)  # type: ignore[attr-defined]
    write_torch(tmp_path, "cuda = '12.1'\nhip = None\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setitem(sys.modules, "torch", torch)
    current = Unknown("this process has not initialised CUDA") if device is None else device
    found = packages.probe_torch()["torch"]
    assert isinstance(found, Torch)
    assert (found.cuda_build, found.hip_build, found.current_device) == ("12.1", False, current)
    assert found.device_count == (current if isinstance(current, Unknown) else 2)


@pytest.mark.parametrize(
    ("text", "xpu"),
    [
        pytest.param("xpu: Optional[str] = '20250000'\n", "20250000", id="a wheel for Intel GPUs"),
        pytest.param("xpu: Optional[str] = None\n", False, id="another wheel"),
        pytest.param("cuda = None\n", NOT_SAID, id="a release that knows none"),
    ],
)
def test_a_torch_for_intel_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, xpu: str | bool | Unknown) -> None:
    """It is built without CUDA and is no CPU build."""
    write_torch(tmp_path, text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert packages.probe_torch()["torch"].xpu_build == xpu


def test_architectures_are_asked_of_a_cuda_build_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A torch without CUDA has none, and its library is not opened."""
    monkeypatch.setattr(packages, "_arch_list", lambda folder: (folder,))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    write_torch(tmp_path, "cuda = None\n")
    assert packages.probe_torch()["torch"].arch_list == Unknown("torch is built without CUDA")
    (tmp_path / "torch" / "version.py").write_text("cuda = '12.1'\n", encoding="utf-8")
    assert packages.probe_torch()["torch"].arch_list == (str(tmp_path / "torch"),)


# ── the same distribution twice ─────────────────────────────────────────────────────────────────────────────────────────────────


def duplicates(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> dict[str, tuple[str, ...]]:
    """What lies twice on this path."""
    monkeypatch.setattr(sys, "path", [str(folder) for folder in folders])
    result: dict[str, tuple[str, ...]] = packages.probe()["packages_duplicates"]
    return result


def install_whole(folder: Path, name: str, version: str, *, module: bool = True) -> None:
    """A distribution with its module."""
    install(folder, f"{name}-{version}.dist-info")
    if module:
        (folder / name).mkdir(exist_ok=True)


def test_two_releases_in_two_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first is the one that is imported, and the user's own folder is named as such."""
    user, site = tmp_path / "user", tmp_path / "lib" / "site-packages"
    install_whole(user, "torch", "2.1.2")
    install_whole(site, "torch", "2.4.1")
    monkeypatch.setattr(sys.modules["site"], "USER_SITE", str(user))
    assert duplicates(monkeypatch, user, site) == {"torch": ("2.1.2 (user site)", "2.4.1 (site-packages)")}


def test_two_releases_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an upgrade leaves that broke off."""
    place = tmp_path / "site-packages"
    install_whole(place, "torch", "2.1.2")
    install_whole(place, "torch", "2.4.1")
    found = duplicates(monkeypatch, place)
    assert sorted(found["torch"]) == ["2.1.2 (site-packages)", "2.4.1 (site-packages)"]


def test_a_folder_of_another_name_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would tell who the user is."""
    install_whole(tmp_path / "jane", "peft", "0.8.2")
    install_whole(tmp_path / "site-packages", "peft", "0.9.0")
    found = duplicates(monkeypatch, tmp_path / "jane", tmp_path / "site-packages")
    assert found == {"peft": ("0.8.2 (elsewhere on sys.path)", "0.9.0 (site-packages)")}


def test_what_is_no_duplicate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One release twice, one folder twice, and the metadata of an editable install, whose module lies elsewhere."""
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    install_whole(one, "peft", "0.8.2")
    install_whole(two, "peft", "0.8.2")
    install_whole(one, "torch", "2.1.2")
    install_whole(two, "torch", "2.4.1", module=False)
    link.symlink_to(one)
    assert duplicates(monkeypatch, one, link, two) == {}


@pytest.mark.parametrize(
    ("record", "found"),
    [
        pytest.param("pytorch-2.1.2-py3.10_cuda12.1_cudnn8.9.2_0.json", ("2.4.1+cu121 (site-packages)", "2.1.2 (conda)"), id="pip over conda's pytorch"),
        pytest.param("pytorch-2.4.1-cpu_generic_py310h.json", None, id="conda's own"),
        pytest.param("pytorch-2.4.1.post303-cuda120.json", None, id="a build of the same release"),
        pytest.param("pytorch-cuda-12.1-ha16c6d3_5.json", None, id="a package of another name"),
        pytest.param("history", None, id="no record"),
        pytest.param("torch.json", None, id="a record that is called otherwise"),
    ],
)  # fmt: skip
def test_what_conda_believes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: str, found: tuple[str, ...] | None) -> None:
    """conda's records against what is there: pip leaves them as they were."""
    install_whole(tmp_path / "site-packages", "torch", "2.4.1+cu121")
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / record).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert duplicates(monkeypatch, tmp_path / "site-packages") == ({} if found is None else {"torch": found})


def test_a_current_folder_that_was_deleted_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The empty entry of sys.path leads nowhere; the other folders are read."""
    site, gone = tmp_path / "site", tmp_path / "gone"
    (site / "peft-0.8.2.dist-info").mkdir(parents=True)
    (site / "peft-0.8.2.dist-info" / "METADATA").touch()
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "path", ["", str(site)])
    assert packages.probe()["packages"] == {"peft": "0.8.2"}
    os.chdir(tmp_path)


def _broken() -> int:
    raise RuntimeError("CUDA error: unspecified launch failure")


@pytest.mark.parametrize(
    ("cuda", "reason"),
    [
        pytest.param(SimpleNamespace(), "of this process: AttributeError", id="torch.cuda is half imported"),
        pytest.param(SimpleNamespace(is_initialized=lambda: True, current_device=_broken, device_count=_broken), "of this process: RuntimeError", id="CUDA broke"),
    ],
)  # fmt: skip
def test_a_torch_that_cannot_answer_costs_its_answer_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: SimpleNamespace, reason: str
) -> None:
    """What its files say is known all the same."""
    torch = ModuleType("torch")
    torch.cuda = cuda  # type: ignore[attr-defined]
    torch._C = SimpleNamespace(_cuda_getDeviceCount=_broken)  # type: ignore[attr-defined]
    write_torch(tmp_path, "cuda = '12.1'\nhip = None\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = packages.probe_torch()["torch"]
    assert isinstance(found, Torch)
    assert found.cuda_build == "12.1"
    assert isinstance(found.current_device, Unknown)
    assert found.current_device.reason.endswith(reason)


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        pytest.param("__init__.py", '__version__ = "4.51.3"\n', "4.51.3", id="its version stands at the top"),
        pytest.param("version.py", "__version__: str = '2.9.0+cu128'\n", "2.9.0+cu128", id="or beside it"),
        pytest.param("__init__.py", "from .about import __version__\n", None, id="or elsewhere"),
    ],
)
@pytest.mark.parametrize("name", ["transformers", "torch"])
def test_a_checkout_on_the_path_is_not_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, file: str, text: str, version: str | None
) -> None:
    """PYTHONPATH=src of a checkout that was never installed: no metadata, and the import works."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / file).write_text(text, encoding="utf-8")
    shown = found(monkeypatch, tmp_path)[name]
    assert shown == version if version else isinstance(shown, Unknown)


def test_what_is_imported_already_is_not_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Frozen applications have modules that lie in no folder."""
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    assert isinstance(found(monkeypatch, tmp_path)["transformers"], Unknown)
