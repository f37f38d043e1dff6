"""For which GPUs torch is built, out of libraries made here: an ELF file with its constants, and one that is none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from qvl_preflight.probes.arch_list import arch_list
from qvl_preflight.unknown import Unknown

LIST = b"sm_75 sm_80 sm_86 sm_90 sm_100 sm_120\0"
BUILT = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


def elf(constants: bytes, *, name: bytes = b".rodata", code: bytes = b"") -> bytes:
    """A 64-bit ELF file of three sections: none, names, constants. ``code`` lies outside of them."""
    names = b"\0.shstrtab\0" + name + b"\0"
    names_at = 64 + len(code)
    constants_at = names_at + len(names)
    table_at = constants_at + len(constants)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table_at, 0, 64, 0, 0, 64, 3, 1
    )

    def section(name_at: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name_at, 1, 0, 0, offset, size, 0, 0, 1, 0)

    return (
        header
        + code
        + names
        + constants
        + section(0, 0, 0)
        + section(1, names_at, len(names))
        + section(11, constants_at, len(constants))
    )


@pytest.fixture
def torch(tmp_path: Path) -> Path:
    """The folder of a torch, with an empty lib."""
    (tmp_path / "lib").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        pytest.param("libtorch_python.so", elf(b"other\0" + LIST + b"\0"), BUILT, id="among its constants"),
        pytest.param("libtorch_python.so", elf(b"sm_max\0x sm_75 y\0" + LIST), BUILT, id="after texts that only look alike"),
        pytest.param("libtorch_python.so", elf(b"sm_80 compute_90a\0"), ("sm_80", "compute_90a"), id="with code for newer GPUs"),
        pytest.param("libtorch_python.so", elf(b"sm_90\0"), ("sm_90",), id="built for one GPU"),
        pytest.param("torch_python.dll", b"MZ\0\0" + LIST, BUILT, id="a Windows library"),
        pytest.param("libtorch_python.so", LIST * 2, BUILT, id="a file that is no ELF"),
        pytest.param("libtorch_python.so", elf(b"none\0", code=LIST), Unknown("libtorch_python.so names no architectures"), id="not among its constants"),
        pytest.param("libtorch_python.so", elf(b"a torch without CUDA\0"), Unknown("libtorch_python.so names no architectures"), id="a build without CUDA"),
        pytest.param("libtorch_python.so", elf(LIST, name=b".text\0\0"), BUILT, id="an ELF file without that section: the whole of it"),
        pytest.param("libtorch_python.so", elf(LIST)[:100], Unknown("libtorch_python.so names no architectures"), id="a file that was cut off"),
        pytest.param("libtorch.so", LIST, Unknown("torch's Python library is not where its wheels put it"), id="no such library"),
    ],
)  # fmt: skip
def test_the_list_is_read_from_the_library(torch: Path, file: str, content: bytes, found: tuple[str, ...] | Unknown) -> None:
    """As torch.cuda.get_arch_list() gives it."""
    (torch / "lib" / file).write_bytes(content)
    assert arch_list(str(torch)) == found


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02"], ids=["empty", "a head alone"])
def test_a_library_that_cannot_be_read_is_unknown(torch: Path, content: bytes) -> None:
    """Whatever is wrong with it."""
    (torch / "lib" / "libtorch_python.so").write_bytes(content)
    assert isinstance(arch_list(str(torch)), Unknown)


def test_a_folder_in_its_place_is_unknown(torch: Path) -> None:
    """With what the system says."""
    (torch / "lib" / "libtorch_python.so").mkdir()
    found = arch_list(str(torch))
    assert isinstance(found, Unknown)
    assert "libtorch_python.so cannot be read" in found.reason
