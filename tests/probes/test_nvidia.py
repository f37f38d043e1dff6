"""What the driver leaves in /proc, /dev and on the bus: read as it stands, and unknown where it cannot be read."""

from __future__ import annotations

import builtins
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.facts import Nvidia
from qvl_preflight.probes import nvidia
from qvl_preflight.unknown import Unknown

PROPRIETARY = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.06  Thu Jul 11 07:08:51 UTC 2024\nGCC version:  gcc version 12\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root@)  \n"
PROC, SYS, PCI = "/proc/driver/nvidia/version", "/sys/module/nvidia/version", "/proc/bus/pci/devices"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The only files there are."""
    content: dict[str, str] = {}
    monkeypatch.setattr(nvidia, "read_text", content.get)
    return content


@pytest.mark.parametrize(
    ("content", "release"),
    [
        pytest.param({PROC: PROPRIETARY}, "535.183.06", id="the proprietary module"),
        pytest.param({PROC: OPEN}, "580.159.04", id="the open module, as an H100 shows it"),
        pytest.param({SYS: "550.54.15\n"}, "550.54.15", id="a container whose /proc is masked"),
        pytest.param({}, False, id="no module"),
        pytest.param({PROC: "nothing of the kind"}, Unknown("/proc/driver/nvidia/version names no release"), id="another text"),
    ],
)
def test_the_release_of_the_kernel_module(files: dict[str, str], content: dict[str, str], release: str | bool | Unknown) -> None:
    """False is known: no module is loaded."""
    files |= content
    assert nvidia.kernel_module() == release


def test_device_nodes_are_those_that_cuda_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs, control, unified memory, and WSL's one node; the rest of /dev is not looked at."""
    monkeypatch.setattr(
        os,
        "listdir",
        lambda path: ["nvidiactl", "nvidia10", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps", "null", "dxg", "nvme0"],
    )
    assert nvidia.device_nodes() == ("dxg", "nvidia-uvm", "nvidia10", "nvidiactl")


def test_a_dev_that_cannot_be_listed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may hide it."""

    def refused(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    assert nvidia.device_nodes() == Unknown("/dev cannot be listed (Permission denied)")


def pci(*devices: tuple[str, str, str]) -> str:
    """Lines of /proc/bus/pci/devices: address, vendor and device, driver."""
    return "".join(f"{address}\t{device}\t0" + "\t               0" * 14 + f"\t{driver}\n" for address, device, driver in devices)


@pytest.mark.parametrize(
    ("content", "cards"),
    [
        pytest.param({PCI: pci(("0030", "10de2330", "nvidia"))}, [("10de", "nvidia")], id="an H100 as a virtual machine shows it"),
        pytest.param(
            {
                PCI: pci(("0100", "10de2204", "nouveau"), ("0101", "10de1aef", "snd_hda_intel")),
                "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
                "/sys/bus/pci/devices/0000:01:00.1/class": "0x040300\n",
            },
            [("10de", "nouveau")],
            id="a card with its sound device",
        ),
        pytest.param(
            {PCI: pci(("0a00", "10022740f", "")), "/sys/bus/pci/devices/0000:0a:00.0/class": "0x120000\n"},
            [("1002", "")],
            id="an AMD accelerator without a driver",
        ),
        pytest.param({PCI: pci(("0010", "80863e92", "i915"))}, [], id="Intel's graphics are not looked for"),
        pytest.param({PCI: "garbage\n\n"}, [], id="lines of another kind"),
        pytest.param({}, Unknown("/proc/bus/pci/devices is not there"), id="no bus"),
    ],
)
def test_cards_on_the_bus(files: dict[str, str], content: dict[str, str], cards: list[tuple[str, str]] | Unknown) -> None:
    """Display controllers and accelerators, with the driver that holds them."""
    files |= content
    assert nvidia.pci_cards() == cards


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No libcuda anywhere, and a cache of ld.so in this folder."""
    opened = builtins.open

    def redirected(path: Any, *arguments: Any, **options: Any) -> Any:
        return opened(tmp_path / "ld.so.cache" if path == "/etc/ld.so.cache" else path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", redirected)
    monkeypatch.setattr(nvidia, "_FOLDERS", (str(tmp_path / "default"),))
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path / "home")})
    return tmp_path


def library(folder: Path, release: str = "535.183.06") -> str:
    """A libcuda as the driver installs it: the name that is loaded is a link."""
    folder.mkdir(parents=True)
    real = folder / f"libcuda.so.{release}"
    real.write_bytes(b"")
    (folder / "libcuda.so.1").symlink_to(real)
    return str(real)


def test_no_libcuda_is_known_to_be_absent(libraries: Path) -> None:
    """Also where ld.so has no cache."""
    assert nvidia.libcuda() is False
    (libraries / "ld.so.cache").write_bytes(b"glibc-ld.so.cache1.1\0libc.so.6\0/lib/libc.so.6\0")
    assert nvidia.libcuda() is False


def test_libcuda_is_found_as_ld_so_finds_it(libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folders, before them the cache, before that LD_LIBRARY_PATH."""
    default = library(libraries / "default")
    assert nvidia.libcuda() == default
    cached = library(libraries / "cached")
    (libraries / "ld.so.cache").write_bytes(b"\0libcuda.so.1\0" + os.fsencode(libraries / "cached" / "libcuda.so.1") + b"\0")
    assert nvidia.libcuda() == cached
    first = library(libraries / "compat", "580.95.05")
    monkeypatch.setitem(os.environ, "LD_LIBRARY_PATH", f"/nowhere:{libraries / 'compat'}")
    assert nvidia.libcuda() == first


def test_a_cache_that_is_out_of_date_is_passed_over(libraries: Path) -> None:
    """What it names is gone."""
    default = library(libraries / "default")
    (libraries / "ld.so.cache").write_bytes(b"\0libcuda.so.1\0/gone/libcuda.so.1\0")
    assert nvidia.libcuda() == default


def test_the_users_own_folder_is_not_told(libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are pasted into reports."""
    library(libraries / "home" / "lib")
    monkeypatch.setitem(os.environ, "LD_LIBRARY_PATH", str(libraries / "home" / "lib"))
    assert nvidia.libcuda() == "~/lib/libcuda.so.535.183.06"


@pytest.mark.parametrize(
    ("content", "on"),
    [
        pytest.param(b"\x06\0\0\0\x01", True, id="on"),
        pytest.param(b"\x06\0\0\0\0", False, id="off"),
        pytest.param(None, Unknown("the firmware does not say"), id="no such variable: a BIOS, or a container"),
    ],
)
def test_secure_boot(monkeypatch: pytest.MonkeyPatch, content: bytes | None, on: bool | Unknown) -> None:
    """The byte after the attributes."""

    def opened(path: str, mode: str) -> io.BytesIO:
        if content is None:
            raise FileNotFoundError(path)
        return io.BytesIO(content)

    monkeypatch.setattr(builtins, "open", opened)
    assert nvidia.secure_boot() == on


def test_the_whole_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part in its field; what is closed to this user is named apart."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(nvidia, "kernel_module", lambda: "535.183.06")
    monkeypatch.setattr(nvidia, "libcuda", lambda: "/lib/libcuda.so.1")
    monkeypatch.setattr(nvidia, "device_nodes", lambda: ("nvidia0", "nvidiactl"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev/nvidia0")
    monkeypatch.setattr(nvidia, "pci_cards", lambda: [("1002", "amdgpu"), ("10de", "nvidia"), ("10de", "vfio-pci")])
    monkeypatch.setattr(nvidia, "secure_boot", lambda: False)
    assert nvidia.survey(18, (1,)) == Nvidia(
        "535.183.06", "/lib/libcuda.so.1", ("nvidia0", "nvidiactl"), ("nvidia0",), 18, (1,), 2, "nvidia", False
    )


def test_parts_that_cannot_be_read_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its reason, and none costs another."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(nvidia, "device_nodes", lambda: Unknown("no /dev"))
    monkeypatch.setattr(nvidia, "pci_cards", lambda: Unknown("no bus"))
    found = nvidia.survey(False, ())
    assert (found.nodes, found.locked_nodes) == (Unknown("no /dev"),) * 2
    assert (found.cards, found.bound_to) == (Unknown("no bus"),) * 2
    assert found.nvml_error is False


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_are_not_asked(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """Only what NVML itself said is known there."""
    monkeypatch.setattr(sys, "platform", platform)
    found = nvidia.survey(False, ())
    assert (found.nvml_error, found.lost) == (False, ())
    assert all(isinstance(value, Unknown) for name, value in vars(found).items() if name not in ("nvml_error", "lost"))


def test_files_are_read_whole_and_missing_ones_are_none(tmp_path: Path) -> None:
    """A missing file is no error."""
    (tmp_path / "version").write_text("x\ny\n", encoding="utf-8")
    assert nvidia.read_text(str(tmp_path / "version")) == "x\ny\n"
    assert nvidia.read_text(str(tmp_path / "gone")) is None
