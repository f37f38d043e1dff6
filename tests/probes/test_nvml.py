"""NVML is asked through a fake library: what it refuses becomes Unknown with its reason, and only there."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from qvl_preflight.facts import Driver, Gpu, Nvidia, Process, Slice
from qvl_preflight.probes import nvml, nvml_device
from qvl_preflight.unknown import Unknown, need

HEALTH: dict[str, Any] = {
    "slices": (),
    "bus_id": "0:1",
    "compute_mode": "default",
    "processes": (),
    "ecc_errors": 0,
    "row_remap": "none",
}
A100 = Gpu(0, "GPU-a", "NVIDIA A100-SXM4-80GB", (8, 0), 85899345920, 84987740160, False, **HEALTH)
T4 = Gpu(1, "GPU-t", "Tesla T4", (7, 5), 15843721216, 15000000000, False, **HEALTH)
FIRST_HANDLE = 1  # a handle of 0 would be a null pointer
SLICE_HANDLES = 100
MODES = {"default": 0, "exclusive-process": 3, "prohibited": 2}
SURVEYED = Nvidia(nvml_error=False, lost=())


@pytest.fixture(autouse=True)
def _no_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system shows of the driver is tested apart: here only what NVML itself adds to it; and no kernel module is loaded."""
    monkeypatch.setattr(nvml.nvidia, "survey", lambda error, lost: Nvidia(nvml_error=error, lost=lost))
    monkeypatch.setattr(nvml.nvidia, "kernel_module", lambda: False)
    monkeypatch.setattr(nvml_device, "_name", lambda pid: f"name of {pid}")


def library(*gpus: Gpu, cuda: int = 12020, refuse: Mapping[str, int] | None = None) -> SimpleNamespace:
    """A stand-in for libnvidia-ml.so. ``refuse``: the code that a function returns, for all devices or for ``name of 1``."""

    def asked(handle: Any) -> Any:
        """A device, or an instance of the first one."""
        number = handle.value - FIRST_HANDLE
        return gpus[number] if number < SLICE_HANDLES else need(gpus[0].slices)[number - SLICE_HANDLES]

    def put(pointer: Any, value: Any) -> None:
        pointer._obj.value = value

    def memory(handle: Any, pointer: Any) -> None:
        gpu = asked(handle)
        pointer._obj.total, pointer._obj.free, pointer._obj.used = gpu.total_bytes, gpu.free_bytes, 1

    def capability(handle: Any, major: Any, minor: Any) -> None:
        for pointer, value in zip((major, minor), need(asked(handle).capability), strict=True):
            put(pointer, value)

    def processes(handle: Any, count: Any, found: Any) -> int:
        """As NVML does: the number where there is no room, else the processes."""
        given = need(asked(handle).processes)
        room, count._obj.value = count._obj.value, len(given)
        if room < len(given):
            return 7
        for slot, process in zip(found or (), given, strict=False):
            slot.pid = process.pid
            slot.used = 2**64 - 1 if isinstance(process.used_bytes, Unknown) else process.used_bytes
        return 0

    def remapped(handle: Any, *pointers: Any) -> None:
        rows = need(asked(handle).row_remap)
        for pointer, value in zip(pointers, (0, 0, rows == "pending", rows == "failed"), strict=True):
            put(pointer, int(value))

    def instance(handle: Any, index: Any, pointer: Any) -> int:
        """The first place is empty."""
        if index.value == 0:
            return 6
        put(pointer, FIRST_HANDLE + SLICE_HANDLES + index.value - 1)
        return 0

    answers: dict[str, Callable[..., Any]] = {
        "nvmlInit_v2": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda buffer, size: setattr(buffer, "value", b"535.104.05"),
        "nvmlSystemGetCudaDriverVersion_v2": lambda pointer: put(pointer, cuda),
        "nvmlDeviceGetCount_v2": lambda pointer: put(pointer, len(gpus)),
        "nvmlDeviceGetHandleByIndex_v2": lambda index, pointer: put(pointer, index.value + FIRST_HANDLE),
        "nvmlDeviceGetUUID": lambda handle, buffer, size: setattr(buffer, "value", need(asked(handle).uuid).encode()),
        "nvmlDeviceGetName": lambda handle, buffer, size: setattr(buffer, "value", need(asked(handle).name).encode()),
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetCudaComputeCapability": capability,
        "nvmlDeviceGetMigMode": lambda handle, current, pending: put(current, int(need(asked(handle).mig))),
        "nvmlDeviceGetMaxMigDeviceCount": lambda handle, pointer: put(pointer, len(need(asked(handle).slices)) + 1),
        "nvmlDeviceGetMigDeviceHandleByIndex": instance,
        "nvmlDeviceGetPciInfo_v3": lambda handle, pointer: setattr(pointer._obj, "bus_id", need(asked(handle).bus_id).encode()),
        "nvmlDeviceGetComputeMode": lambda handle, pointer: put(pointer, MODES[need(asked(handle).compute_mode)]),
        "nvmlDeviceGetComputeRunningProcesses_v3": processes,
        "nvmlDeviceGetTotalEccErrors": lambda handle, kind, since, pointer: put(pointer, need(asked(handle).ecc_errors)),
        "nvmlDeviceGetRemappedRows": remapped,
        "nvmlDeviceGetRetiredPagesPendingStatus": lambda handle, pointer: put(pointer, 1),
    }
    calls: list[str] = []

    def function(name: str, answer: Callable[..., Any]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            calls.append(name)
            handle = arguments[0] if arguments and isinstance(arguments[0], ctypes.c_void_p) else None
            which = f"{name} of {handle.value - FIRST_HANDLE}" if handle is not None and handle.value else name
            code = (refuse or {}).get(name) or (refuse or {}).get(which, 0)
            return code or answer(*arguments) or 0

        return call

    return SimpleNamespace(calls=calls, **{name: function(name, answer) for name, answer in answers.items()})


def probe(monkeypatch: pytest.MonkeyPatch, fake: SimpleNamespace) -> dict[str, Any]:
    """What the probe makes of a fake library."""
    monkeypatch.setattr(nvml, "_load", lambda: fake)
    return nvml.probe()


def test_two_gpus_are_read_in_nvml_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of both devices and of the driver is what NVML answers."""
    assert probe(monkeypatch, library(A100, T4)) == {"driver": Driver("535.104.05", "12.2"), "nvidia": SURVEYED, "gpus": (A100, T4)}


def test_the_library_is_shut_down_after_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays initialised in the user's process, and shutting down comes last."""
    fake = library(A100)
    probe(monkeypatch, fake)
    assert fake.calls[0] == "nvmlInit_v2"
    assert fake.calls[-1] == "nvmlShutdown"
    assert fake.calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(12020, "12.2", id="12020 is CUDA 12.2"),
        pytest.param(13000, "13.0", id="13000 is CUDA 13.0"),
        pytest.param(11080, "11.8", id="11080 is CUDA 11.8"),
        pytest.param(12100, "12.10", id="12100 would be CUDA 12.10"),
    ],
)
def test_cuda_version_number_is_decoded(monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    """NVML packs major and minor into one number: major * 1000 + minor * 10."""
    assert probe(monkeypatch, library(cuda=number))["driver"].cuda == text


@pytest.mark.parametrize(
    ("fake", "error"),
    [
        pytest.param(None, Unknown("libnvidia-ml.so.1 is not to be found"), id="there is no library"),
        pytest.param(library(A100, refuse={"nvmlInit_v2": 9}), 9, id="the library says that no driver is loaded"),
    ],
)
def test_no_driver_is_known_to_be_absent(
    monkeypatch: pytest.MonkeyPatch, fake: SimpleNamespace | None, error: int | Unknown
) -> None:
    """Without a driver there are no GPUs: that is knowledge, not ignorance."""
    monkeypatch.setattr(nvml, "_load", lambda: fake)
    assert nvml.probe() == {"driver": None, "nvidia": Nvidia(nvml_error=error, lost=Unknown("NVML did not answer")), "gpus": ()}


def test_driver_without_its_library_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that lacks the driver's libraries nobody can say what the GPUs are."""
    monkeypatch.setattr(nvml.nvidia, "kernel_module", lambda: "535.104.05")
    monkeypatch.setattr(nvml, "_load", lambda: None)
    found = nvml.probe()
    assert isinstance(found["gpus"], Unknown)
    assert found["driver"] == found["gpus"]
    assert "libnvidia-ml.so.1 is not to be found" in found["gpus"].reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(18, "do not match", id="driver and library of different releases"),
        pytest.param(4, "no permission", id="no permission"),
        pytest.param(999, "unknown error", id="the error that NVML has no name for"),
        pytest.param(27, "NVML error 27", id="a code that has no name here"),
    ],
)
def test_refused_start_leaves_both_sections_unknown(monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    """A driver that is there and does not answer is unknown, with NVML's reason, and is not shut down."""
    fake = library(A100, refuse={"nvmlInit_v2": code})
    found = probe(monkeypatch, fake)
    for section in ("driver", "gpus"):
        assert isinstance(found[section], Unknown)
        assert found[section].reason.startswith("NVML: ")
        assert reason in found[section].reason
    assert found["nvidia"].nvml_error == code
    assert fake.calls == ["nvmlInit_v2"]


@pytest.mark.parametrize("question", ["nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"])
def test_uncountable_devices_leave_the_driver_known(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """Where the devices cannot be listed, they are unknown; the driver's own version still is known."""
    fake = library(A100, refuse={question: 12})
    found = probe(monkeypatch, fake)
    assert found["gpus"] == Unknown("NVML: a library that NVML needs cannot be loaded")
    assert found["driver"].version == "535.104.05"
    assert fake.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        pytest.param("nvmlDeviceGetMemoryInfo", {"total_bytes", "free_bytes"}, id="memory of a device that shares the host's"),
        pytest.param("nvmlDeviceGetName", {"name"}, id="the name"),
        pytest.param("nvmlDeviceGetUUID", {"uuid"}, id="the UUID"),
        pytest.param("nvmlDeviceGetCudaComputeCapability", {"capability"}, id="the compute capability"),
        pytest.param("nvmlDeviceGetPciInfo_v3", {"bus_id"}, id="the place on the bus"),
        pytest.param("nvmlDeviceGetComputeMode", {"compute_mode"}, id="the compute mode"),
        pytest.param("nvmlDeviceGetComputeRunningProcesses_v3", {"processes"}, id="the processes"),
    ],
)
def test_one_refused_question_costs_its_field_alone(monkeypatch: pytest.MonkeyPatch, question: str, fields: set[str]) -> None:
    """The field has NVML's reason, the device's other fields and the other device are whole."""
    first, second = probe(monkeypatch, library(A100, T4, refuse={f"{question} of 1": 3}))["gpus"]
    assert first == A100
    for name in ("index", "uuid", "name", "capability", "total_bytes", "free_bytes", "mig", *HEALTH):
        expected = Unknown("NVML: not supported by this device") if name in fields else getattr(T4, name)
        assert getattr(second, name) == expected, name


def test_refused_driver_questions_cost_their_fields_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's version is known where only its CUDA release is refused."""
    found = probe(monkeypatch, library(A100, refuse={"nvmlSystemGetCudaDriverVersion_v2": 1}))
    assert found == {"driver": Driver("535.104.05", Unknown("NVML: NVML is not initialised")), "nvidia": SURVEYED, "gpus": (A100,)}


@pytest.mark.parametrize(
    ("refuse", "mig"),
    [
        pytest.param({}, True, id="partitioned"),
        pytest.param({"nvmlDeviceGetMigMode": 3}, False, id="a device that cannot be partitioned"),
        pytest.param({"nvmlDeviceGetMigMode": 4}, Unknown("NVML: no permission to ask the driver"), id="not allowed to ask"),
    ],
)
def test_mig_is_three_valued(monkeypatch: pytest.MonkeyPatch, refuse: dict[str, int], mig: bool | Unknown) -> None:
    """Only "not supported" means that a device is not partitioned; any other refusal leaves it open."""
    partitioned = Gpu(0, "GPU-h", "NVIDIA H100", (9, 0), 1, 1, True, **HEALTH)
    assert probe(monkeypatch, library(partitioned, refuse=refuse))["gpus"][0].mig == mig


def test_library_too_old_for_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that the library lacks makes its field unknown and no more."""
    fake = library(A100)
    del fake.nvmlDeviceGetMigMode
    (gpu,) = probe(monkeypatch, fake)["gpus"]
    assert isinstance(gpu.mig, Unknown)
    assert "nvmlDeviceGetMigMode" in gpu.mig.reason
    assert gpu.name == A100.name


@pytest.mark.parametrize(
    ("present", "loaded"),
    [
        pytest.param({"first", "second"}, "first", id="both are there: the first"),
        pytest.param({"second"}, "second", id="only the one of WSL is there"),
        pytest.param(set(), None, id="none is there"),
    ],
)
def test_the_first_library_that_loads_is_taken(monkeypatch: pytest.MonkeyPatch, present: set[str], loaded: str | None) -> None:
    """Libraries are tried in order, and one that cannot be loaded is passed over."""

    def load(name: str) -> str:
        if name not in present:
            raise OSError(f"{name}: cannot open shared object file")
        return name

    monkeypatch.setattr(nvml, "_LIBRARIES", ("first", "second"))
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert nvml._load() == loaded


# ── one device ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_of_others_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts devices that a control group keeps from this process, and refuses them: CUDA does not number them."""
    found = probe(monkeypatch, library(A100, T4, refuse={"nvmlDeviceGetHandleByIndex_v2": 0}))
    assert len(found["gpus"]) == 2
    fake = library(A100, T4)
    handle = fake.nvmlDeviceGetHandleByIndex_v2
    fake.nvmlDeviceGetHandleByIndex_v2 = lambda index, pointer: 4 if index.value == 0 else handle(index, pointer)
    found = probe(monkeypatch, fake)
    assert found["gpus"] == (T4,)
    assert found["nvidia"].lost == ()


def test_a_lost_device_is_named_and_the_others_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which devices CUDA still shows is not known."""
    fake = library(A100, T4)
    handle = fake.nvmlDeviceGetHandleByIndex_v2
    fake.nvmlDeviceGetHandleByIndex_v2 = lambda index, pointer: 15 if index.value == 1 else handle(index, pointer)
    found = probe(monkeypatch, fake)
    assert found["gpus"] == Unknown("NVML: the GPU has fallen off the bus")
    assert found["nvidia"].lost == (1,)
    assert found["driver"] == Driver("535.104.05", "12.2")


def one(monkeypatch: pytest.MonkeyPatch, gpu: Gpu, **refuse: int) -> Gpu:
    """What is read of one device."""
    (found,) = probe(monkeypatch, library(gpu, refuse={f"nvmlDeviceGet{name}": code for name, code in refuse.items()}))["gpus"]
    assert isinstance(found, Gpu)
    return found


def test_instances_are_read_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty place is passed over."""
    slices = (Slice("MIG-1", "A100 MIG 3g.20gb", 20, 19), Slice("MIG-2", "A100 MIG 1g.5gb", 5, 4))
    assert one(monkeypatch, replace(A100, mig=True, slices=slices)).slices == slices


@pytest.mark.parametrize(
    ("refuse", "slices"),
    [
        pytest.param({"MigMode": 4}, Unknown("NVML: no permission to ask the driver"), id="whether MIG is on is not told"),
        pytest.param(
            {"MaxMigDeviceCount": 4}, Unknown("NVML: no permission to ask the driver"), id="how many there can be is not told"
        ),
        pytest.param({"MigDeviceHandleByIndex": 4}, Unknown("NVML: no permission to ask the driver"), id="an instance is refused"),
    ],
)
def test_instances_that_are_refused_are_unknown(monkeypatch: pytest.MonkeyPatch, refuse: dict[str, int], slices: Unknown) -> None:
    """Never none."""
    assert one(monkeypatch, replace(A100, mig=True), **refuse).slices == slices


def test_processes_are_read_without_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With name and memory; memory that Windows manages is unknown."""
    others = (Process(42, "name of 42", 2**30), Process(43, "name of 43", Unknown("the driver does not say")))
    mine = Process(os.getpid(), "me", 5)
    assert one(monkeypatch, replace(A100, processes=(others[0], mine, others[1]))).processes == others


@pytest.mark.parametrize("mode", ["default", "exclusive-process", "prohibited"])
def test_the_compute_mode(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """In words."""
    assert one(monkeypatch, replace(A100, compute_mode=mode)).compute_mode == mode


@pytest.mark.parametrize(
    ("refuse", "errors"),
    [
        pytest.param({}, 3, id="counted"),
        pytest.param({"TotalEccErrors": 3}, False, id="a device without ECC"),
        pytest.param({"TotalEccErrors": 4}, Unknown("NVML: no permission to ask the driver"), id="not allowed to ask"),
    ],
)
def test_memory_errors_are_three_valued(
    monkeypatch: pytest.MonkeyPatch, refuse: dict[str, int], errors: int | bool | Unknown
) -> None:
    """A device without ECC has no count, which is not a count of none."""
    found = one(monkeypatch, replace(A100, ecc_errors=3), **refuse).ecc_errors
    assert found == errors
    assert type(found) is type(errors)


@pytest.mark.parametrize(
    ("rows", "refuse", "found"),
    [
        pytest.param("none", {}, "none", id="sound"),
        pytest.param("pending", {}, "pending", id="rows that wait for a reset"),
        pytest.param("failed", {}, "failed", id="rows that cannot be replaced"),
        pytest.param("none", {"RemappedRows": 3}, "pending", id="before Ampere: pages that wait for a reset"),
        pytest.param("none", {"RemappedRows": 3, "RetiredPagesPendingStatus": 3}, "none", id="a device that knows neither"),
        pytest.param("none", {"RemappedRows": 4}, Unknown("NVML: no permission to ask the driver"), id="rows: not allowed to ask"),
        pytest.param(
            "none", {"RemappedRows": 3, "RetiredPagesPendingStatus": 4}, Unknown("NVML: no permission to ask the driver"), id="pages: not allowed"
        ),
    ],
)  # fmt: skip
def test_bad_rows_of_memory(monkeypatch: pytest.MonkeyPatch, rows: str, refuse: dict[str, int], found: str | Unknown) -> None:
    """Rows since Ampere, pages before."""
    assert one(monkeypatch, replace(A100, row_remap=rows), **refuse).row_remap == found


# ── whose process ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

READ_NAME = nvml_device._name  # before the fixture above puts a stand-in in its place


def test_a_process_is_named_by_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """This very process, outside a container."""
    monkeypatch.setattr("qvl_preflight.probes.host.container", lambda: False)
    with open("/proc/self/comm", encoding="utf-8") as file:
        assert READ_NAME(os.getpid()) == file.read().strip()


def test_a_process_that_is_gone_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has one that belongs to somebody whose processes are hidden."""
    monkeypatch.setattr("qvl_preflight.probes.host.container", lambda: False)
    assert READ_NAME(2**31 - 1) == Unknown("the process cannot be looked at")


def test_a_number_of_the_host_names_no_process_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may bear it here."""
    monkeypatch.setattr("qvl_preflight.probes.host.container", lambda: "docker")
    assert READ_NAME(os.getpid()) == Unknown("in a container the numbers are the host's")


def test_a_driver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvidia-smi does then; the doctor goes on, and says so."""
    waiting = threading.Event()
    fake = library(A100)
    fake.nvmlInit_v2 = lambda: waiting.wait(10) and 0
    monkeypatch.setattr(nvml, "_PATIENCE", 0.05)
    found = probe(monkeypatch, fake)
    waiting.set()
    assert found["gpus"] == found["driver"] == Unknown("NVML: no answer within 20 seconds: the driver hangs")
    assert found["nvidia"].nvml_error == 10


def test_what_breaks_in_the_probe_is_seen_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread keeps nothing to itself."""

    def broken() -> int:
        raise OSError("no")

    fake = library(A100)
    fake.nvmlInit_v2 = broken
    with pytest.raises(OSError, match="no"):
        probe(monkeypatch, fake)
