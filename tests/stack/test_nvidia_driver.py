"""What stands between a process and the driver: each part that can be amiss, and what is amiss with none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qvl_preflight.facts import Facts, Gpu, Host, Nvidia
from qvl_preflight.stack.nvidia_driver import driver_trouble, library_release
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import Evidence

LIBRARY = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
NODES = ("nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl")
SOUND = Nvidia("580.95.05", LIBRARY, NODES, (), False, (), 2, "nvidia", False)
GPUS = (Gpu(0), Gpu(1))
NO_DRIVER, NO_GPUS, UNKNOWN_ERROR = "Found no NVIDIA driver", "No CUDA GPUs are available", "CUDA unknown error"


def facts(container: str | bool = False, gpus: tuple[Gpu, ...] | Unknown = GPUS, **differs: Any) -> Facts:
    """A sound machine, but for these parts."""
    return Facts(nvidia=replace(SOUND, **differs), gpus=gpus, host=Host(container=container))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "cause", "text"),
    [
        pytest.param(facts(libcuda="/usr/local/cuda/lib64/stubs/libcuda.so"), "stub", "Error 34: CUDA driver is a stub library", id="a stub of libcuda"),
        pytest.param(facts(gpus=(), kernel_module=False, libcuda=False), "not-loaded", NO_DRIVER, id="cards without a module"),
        pytest.param(facts(gpus=(), kernel_module=False), "not-loaded", NO_GPUS, id="cards without a module, with libcuda"),
        pytest.param(facts("docker", (), nodes=(), libcuda=False), "no-nodes", NO_DRIVER, id="a container without nodes and libraries"),
        pytest.param(facts("docker", (), nodes=()), "no-nodes", NO_GPUS, id="a container without nodes"),
        pytest.param(facts(libcuda=False), "no-libcuda", NO_DRIVER, id="no libcuda"),
        pytest.param(facts(gpus=(), locked_nodes=("nvidia0", "nvidia1")), "locked", NO_GPUS, id="every GPU is closed"),
        pytest.param(facts(gpus=Unknown("x"), locked_nodes=("nvidiactl",)), "locked", NO_GPUS, id="the control node is closed"),
        pytest.param(facts(locked_nodes=("nvidia-uvm",)), "locked", UNKNOWN_ERROR, id="the node of unified memory is closed"),
        pytest.param(facts(libcuda="/usr/local/cuda-13.0/compat/libcuda.so.580.82.07"), "mismatch", "Error 803", id="an older library of the same branch"),
        pytest.param(facts(libcuda="/usr/lib/libcuda.so.580.126.09"), "mismatch", "Error 803", id="a newer library of the same branch"),
        pytest.param(facts(libcuda="/usr/lib/libcuda.so.590.44"), "mismatch", "Error 803", id="a library of a newer branch, not from compat"),
        pytest.param(facts(gpus=Unknown("x"), nvml_error=18), "mismatch", "Error 803", id="NVML says so"),
        pytest.param(facts("docker", nodes=("nvidia0", "nvidiactl")), "no-uvm", UNKNOWN_ERROR, id="a container without nvidia-uvm"),
    ],
)  # fmt: skip
def test_each_part_that_is_amiss(machine: Facts, cause: str, text: str) -> None:
    """With the words in which torch refuses."""
    found = driver_trouble(machine)
    assert found is not None
    assert found.cause == cause
    assert text in found.text
    assert found.type == "RuntimeError"


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(facts(), id="sound"),
        pytest.param(facts("docker"), id="a sound container"),
        pytest.param(Facts(gpus=GPUS), id="nothing is known of the driver's parts"),
        pytest.param(facts(gpus=(), kernel_module=False, cards=0, libcuda=False, nodes=()), id="no card at all"),
        pytest.param(facts(gpus=(), kernel_module=False, cards=Unknown("x"), libcuda=False, nodes=()), id="nobody knows of cards"),
        pytest.param(facts(gpus=(), nodes=()), id="a bare machine without nodes: the driver makes them itself, as was seen"),
        pytest.param(facts(nodes=("nvidia0", "nvidia1", "nvidiactl")), id="a bare machine before the first use of CUDA"),
        pytest.param(facts(locked_nodes=("nvidia1",)), id="one GPU of two is closed: the other is shown"),
        pytest.param(facts(locked_nodes=Unknown("x")), id="nobody knows what is closed"),
        pytest.param(facts(kernel_module="535.183.06", libcuda="/usr/local/cuda-13.0/compat/libcuda.so.580.95.05"), id="a newer branch from compat"),
        pytest.param(facts(libcuda="/usr/lib/libcuda.so.1"), id="a library whose name holds no release"),
        pytest.param(facts(kernel_module=Unknown("x"), libcuda="/usr/lib/libcuda.so.535.54.03"), id="nobody knows the module's release"),
        pytest.param(facts(kernel_module=False, libcuda="/usr/lib/wsl/lib/libcuda.so.1.1", nodes=("dxg",), cards=0), id="WSL"),
        pytest.param(facts("docker", nodes=Unknown("x")), id="a /dev that cannot be listed"),
    ],
)  # fmt: skip
def test_what_is_not_amiss(machine: Facts) -> None:
    """Nothing is said where it works, or where nobody knows."""
    assert driver_trouble(machine) is None


def test_what_was_not_seen_is_not_certain() -> None:
    """NVML's word for a mismatch was read, not seen; a container may make the node itself."""
    assert driver_trouble(facts(gpus=Unknown("x"), nvml_error=18)).evidence is Evidence.SOURCE  # type: ignore[union-attr]
    assert driver_trouble(facts("docker", nodes=("nvidia0", "nvidiactl"))).condition  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "release"),
    [(LIBRARY, "580.95.05"), ("/usr/lib/wsl/lib/libcuda.so.1.1", None), ("/usr/lib/libcuda.so.1", None), ("/x/libcuda.so", None), (False, None), (Unknown("x"), None)],
)  # fmt: skip
def test_the_release_of_a_library(path: str | bool | Unknown, release: str | None) -> None:
    """By the name of the file behind the link."""
    assert library_release(replace(SOUND, libcuda=path)) == release  # type: ignore[arg-type]
