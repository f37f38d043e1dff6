"""Compiled extensions by their files: there, of this Python, and linked against torch's CUDA runtime."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from elf_files import library
from qvl_preflight.probes import extensions
from qvl_preflight.unknown import Unknown

TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-x86_64-linux-gnu"
WINDOWS_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}-win_amd64"
CUDA_12 = b"\x7fELF\0\0libc10.so\0libcudart.so.12\0libc.so.6\0"
UNREADABLE = Unknown("exllama_kernels is there; which CUDA runtime it needs could not be read")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A site-packages with auto-gptq and a torch for CUDA 12.1."""
    (tmp_path / "auto_gptq").mkdir()
    (tmp_path / "auto_gptq" / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = '12.1'\nhip: Optional[str] = None\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def exllama() -> bool | Unknown:
    """What is found of one extension."""
    found: bool | Unknown = extensions.probe()["extensions"]["exllama_kernels"]
    return found


def test_nothing_is_asked_without_auto_gptq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Extensions are those of packages that are installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert extensions.probe() == {"extensions": {}}


def test_an_extension_without_its_file_is_absent(site: Path) -> None:
    """A wheel built without CUDA lacks them all; names that only begin alike do not count."""
    (site / f"exllama_kernels_old.{TAG}.so").write_bytes(CUDA_12)
    (site / "exllama_kernels.py").write_bytes(b"")
    found = extensions.probe()["extensions"]
    assert "exllamav2_kernels" in found
    assert set(found.values()) == {False}


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        pytest.param(f"exllama_kernels.{TAG}.so", CUDA_12, True, id="this Python, this CUDA"),
        pytest.param("exllama_kernels.abi3.so", CUDA_12, True, id="any Python, this CUDA"),
        pytest.param("exllama_kernels.so", CUDA_12, True, id="no tag at all"),
        pytest.param(f"autogptq_extension/exllama_kernels.{TAG}.so", CUDA_12, True, id="in auto-gptq's own folder"),
        pytest.param(f"exllama_kernels.{WINDOWS_TAG}.pyd", b"MZ\0cudart64_12.dll\0", True, id="a Windows file"),
        pytest.param("exllama_kernels.cpython-36m-x86_64-linux-gnu.so", CUDA_12, False, id="another Python"),
        pytest.param("exllama_kernels.cp36-win_amd64.pyd", b"MZ\0cudart64_12.dll\0", False, id="another Python on Windows"),
        pytest.param(f"exllama_kernels.{TAG}.so", b"\x7fELF\0libcudart.so.11.0\0", False, id="another CUDA"),
        pytest.param(f"exllama_kernels.{WINDOWS_TAG}.pyd", b"MZ\0cudart64_110.dll\0", False, id="another CUDA on Windows"),
        pytest.param(f"exllama_kernels.{TAG}.so", b"\x7fELF\0libc.so.6\0", UNREADABLE, id="a file that names no CUDA runtime"),
        pytest.param(f"exllama_kernels.{TAG}.so", b"", UNREADABLE, id="an empty file"),
    ],
)
def test_an_extension_loads_where_it_fits(site: Path, file: str, content: bytes, expected: bool | Unknown) -> None:
    """True needs the Python tag and the CUDA runtime to fit; what cannot be read is unknown, never a guess."""
    path = site / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert exllama() == expected
    assert type(exllama()) is type(expected)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("cuda: Optional[str] = None\n", False, id="a torch without CUDA loads none of them"),
        pytest.param("cuda: Optional[str] = '11.8'\n", False, id="a torch for CUDA 11"),
        pytest.param("debug = False\n", UNREADABLE, id="a torch that does not say"),
        pytest.param(None, Unknown("torch is not installed"), id="no torch"),
    ],
)
def test_an_extension_loads_with_the_installed_torch(site: Path, version: str | None, expected: bool | Unknown) -> None:
    """The same file loads or not by the build of torch beside it."""
    (site / f"exllama_kernels.{TAG}.so").write_bytes(CUDA_12)
    if version is None:
        (site / "torch" / "version.py").unlink()
    else:
        (site / "torch" / "version.py").write_text(version, encoding="utf-8")
    assert exllama() == expected
    assert type(exllama()) is type(expected)


def test_a_file_that_cannot_be_opened_is_unknown(site: Path) -> None:
    """A dangling link is there by its name, and says nothing."""
    os.symlink(site / "gone", site / f"exllama_kernels.{TAG}.so")
    assert exllama() == UNREADABLE


def test_a_path_that_is_gone_is_passed_over(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of sys.path that do not exist hide nothing that comes after them."""
    (site / f"exllama_kernels.{TAG}.so").write_bytes(CUDA_12)
    monkeypatch.setattr(sys, "path", [str(site / "gone"), str(site)])
    assert exllama() is True


def test_the_libraries_of_bitsandbytes(site: Path) -> None:
    """One for each CUDA; that for the CPU is none of them."""
    package = site / "bitsandbytes"
    package.mkdir()
    for name in ("__init__.py", "libbitsandbytes_cpu.so", "libbitsandbytes_cuda126.so", "libbitsandbytes_cuda130.so"):
        (package / name).write_bytes(b"")
    found = extensions.probe()["extensions"]
    assert [name for name in found if "bitsandbytes" in name] == ["libbitsandbytes_cuda126", "libbitsandbytes_cuda130"]


C10 = [b"_ZN3c105ErrorC2Ev", b"_ZNK2at6Tensor4sizeEv", b"_ZN5torch3jitEv"]
FLASH = f"flash_attn_2_cuda.{TAG}.so"


@pytest.fixture
def flash(site: Path) -> Path:
    """flash-attn beside that torch, whose libraries define three names."""
    (site / "flash_attn").mkdir()
    (site / "flash_attn" / "flash_attn_interface.py").write_bytes(b"")
    (site / "torch" / "lib").mkdir()
    (site / "torch" / "lib" / "libc10.so").write_bytes(library(C10[:1]))
    (site / "torch" / "lib" / "libtorch_cpu.so").write_bytes(library(C10[1:]))
    return site


@pytest.mark.parametrize(
    ("asks_for", "weakly", "expected"),
    [
        pytest.param(C10, [], True, id="all of them are there"),
        pytest.param([*C10, b"_ZN3c104goneEv"], [], False, id="one is of another torch"),
        pytest.param(C10, [b"_ZN3c104goneEv"], True, id="what may stay undefined does not count"),
        pytest.param([*C10, b"cudaMalloc", b"_ZSt4cout"], [], True, id="other libraries' names are not looked for"),
    ],
)
def test_a_library_of_another_torch_does_not_load(flash: Path, asks_for: list[bytes], weakly: list[bytes], expected: bool) -> None:
    """As the loader would: each name of torch's has to be defined in one of torch's libraries."""
    (flash / FLASH).write_bytes(library([b"PyInit_flash_attn_2_cuda"], asks_for, weakly) + b"libcudart.so.12\0")
    assert extensions.probe()["extensions"]["flash_attn_2_cuda"] is expected


def test_libraries_that_cannot_be_read_prove_nothing(flash: Path) -> None:
    """A torch whose libraries are broken or elsewhere says nothing about what it defines."""
    (flash / FLASH).write_bytes(library(asks_for=[b"_ZN3c104goneEv"]) + b"libcudart.so.12\0")
    (flash / "torch" / "lib" / "libc10.so").write_bytes(b"\x7fELF")
    assert extensions.probe()["extensions"]["flash_attn_2_cuda"] is True


def test_flash_attention_4_has_no_such_library(site: Path) -> None:
    """It shares the folder, and brings no compiled part."""
    (site / "flash_attn").mkdir()
    assert "flash_attn_2_cuda" not in extensions.probe()["extensions"]


@pytest.mark.parametrize(("asks_for", "loads"), [(C10, True), ([*C10, b"_ZN5torch8autograd10deleteNodeEv"], False)])
def test_the_library_of_torchvision(flash: Path, asks_for: list[bytes], loads: bool) -> None:
    """Built for the CPU or for CUDA: what counts is whether this torch defines what it asks for."""
    (flash / "torchvision").mkdir()
    (flash / "torchvision" / "_C.so").write_bytes(library(asks_for=asks_for))
    assert extensions.probe()["extensions"]["torchvision._C"] is loads
