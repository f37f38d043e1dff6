"""What NVML and CUDA stand on: kernel module, device nodes, libcuda, and the cards on the bus. Files are looked at, nothing is loaded.

Sources: NVIDIA's driver README, "Files created by the driver" (/proc/driver/nvidia/version, /dev/nvidia0, nvidiactl, nvidia-uvm);
CUDA on WSL user guide (/dev/dxg, /usr/lib/wsl/lib); Linux Documentation/PCI (/proc/bus/pci/devices, classes 0x03 and 0x12).
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Literal

from qvl_preflight.facts import Nvidia
from qvl_preflight.probes.files import read_text
from qvl_preflight.sections import RELEASE
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

NVIDIA, AMD, ASCEND = "10de", "1002", "19e5"  # PCI vendor numbers
_ELSEWHERE = Unknown("not asked on this system")
_LIBCUDA = "libcuda.so.1"
_FOLDERS = (
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
_DISPLAY, _ACCELERATOR = "0x03", "0x12"
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def survey(nvml_error: int | Literal[False] | Unknown, lost: tuple[int, ...] | Unknown) -> Nvidia:
    """The ``nvidia`` section; the last two values are NVML's own."""
    if not sys.platform.startswith("linux"):
        return Nvidia(*(_ELSEWHERE,) * 4, nvml_error, lost, *(_ELSEWHERE,) * 3)
    nodes = device_nodes()
    locked = (
        nodes if isinstance(nodes, Unknown) else tuple(name for name in nodes if not os.access(f"/dev/{name}", os.R_OK | os.W_OK))
    )
    cards = pci_cards()
    held = cards if isinstance(cards, Unknown) else [driver for vendor, driver in cards if vendor == NVIDIA]
    return Nvidia(
        kernel_module=kernel_module(),
        libcuda=libcuda(),
        nodes=nodes,
        locked_nodes=locked,
        nvml_error=nvml_error,
        lost=lost,
        cards=held if isinstance(held, Unknown) else len(held),
        bound_to=held if isinstance(held, Unknown) else next(iter(held), ""),
        secure_boot=secure_boot(),
    )


def kernel_module() -> str | Literal[False] | Unknown:
    """The release of the loaded kernel module."""
    text = read_text("/proc/driver/nvidia/version")
    if text is not None:
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
        return found.group(1) if found else Unknown("/proc/driver/nvidia/version names no release")
    version = (read_text("/sys/module/nvidia/version") or "").strip()
    if version and not re.fullmatch(RELEASE, version):
        return Unknown("/sys/module/nvidia/version names no release")
    return version or False


def device_nodes() -> tuple[str, ...] | Unknown:
    """The device nodes through which a process reaches the driver."""
    try:
        entries = os.listdir("/dev")
    except OSError as error:
        return Unknown(f"/dev cannot be listed ({error.strerror})")
    return tuple(sorted(name for name in entries if re.fullmatch(r"nvidia(\d+|ctl|-uvm)|dxg", name)))


def libcuda() -> str | Literal[False]:
    """The file behind the libcuda.so.1 that a process would load: its name holds the release. The user's own folder is shown as ``~``."""
    for folder in _search_path():
        path = os.path.join(folder, _LIBCUDA)
        if os.path.exists(path):
            real, home = os.path.realpath(path), os.path.expanduser("~")
            return f"~{real[len(home) :]}" if home != "/" and real.startswith(f"{home}/") else real
    return False


def _search_path() -> Iterator[str]:
    """Where ld.so looks, in its order (ld.so(8)): LD_LIBRARY_PATH, its cache, the default folders."""
    yield from (folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            found = re.search(rb"\0(/[^\0]*)/libcuda\.so\.1\0", file.read())
    except OSError:
        found = None
    if found:
        yield os.fsdecode(found.group(1))
    yield from _FOLDERS


def pci_cards() -> list[tuple[str, str]] | Unknown:
    """Vendor and kernel driver of every display controller and accelerator on the PCI bus."""
    text = read_text("/proc/bus/pci/devices")
    if text is None:
        return Unknown("/proc/bus/pci/devices is not there")
    out = []
    for line in text.splitlines():
        words = line.split("\t")
        vendor = words[1][:4] if len(words) > 1 else ""
        if vendor in (NVIDIA, AMD, ASCEND) and _kind(words[0])[:4] in (_DISPLAY, _ACCELERATOR):
            out.append((vendor, words[-1].strip() if len(words) > 17 else ""))
    return out


def _kind(address: str) -> str:
    """The class of the device at a bus and function number of /proc/bus/pci/devices ("0108": bus 1, slot 1, function 0)."""
    bus, function = int(address[:2], 16), int(address[2:4], 16)
    return read_text(f"/sys/bus/pci/devices/0000:{bus:02x}:{function >> 3:02x}.{function & 7}/class") or _DISPLAY


def secure_boot() -> bool | Unknown:
    """Does the firmware load signed kernel modules only? Four bytes of attributes, then the value (UEFI, "SecureBoot")."""
    try:
        with open(_SECURE_BOOT, "rb") as file:
            return file.read()[4:5] == b"\x01"
    except OSError:
        return Unknown("the firmware does not say")
