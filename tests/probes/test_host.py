"""Python, memory within its cgroup, CPU flags, compilers and caches: what is not there is said not to be there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qvl_preflight.facts import Build, Host
from qvl_preflight.probes import host
from qvl_preflight.unknown import Unknown

GIB = 2**30
MEMINFO = f"MemTotal:       {64 * GIB // 1024} kB\nMemFree:         1024 kB\nMemAvailable:   {48 * GIB // 1024} kB\n"
CGROUP_2, CGROUP_2_USED = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"
OWN = "/proc/self/cgroup"
JOB, JOB_USED = "/sys/fs/cgroup/slurm/job_7/memory.max", "/sys/fs/cgroup/slurm/job_7/memory.current"
STEP, STEP_USED = "/sys/fs/cgroup/slurm/job_7/step_0/memory.max", "/sys/fs/cgroup/slurm/job_7/step_0/memory.current"
JOB_1 = "/sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes"
JOB_1_USED = "/sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes"
CGROUP_1, CGROUP_1_USED = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"


def probed(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> Host:
    """The host as these files describe it."""
    monkeypatch.setattr(host, "read_text", files.get)
    found: Host = host.probe()["host"]
    return found


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        pytest.param({}, 64, 48, id="no cgroup: the machine's"),
        pytest.param({CGROUP_2: "max\n", CGROUP_2_USED: f"{GIB}\n"}, 64, 48, id="cgroup 2 without a limit"),
        pytest.param({CGROUP_2: f"{16 * GIB}\n", CGROUP_2_USED: f"{4 * GIB}\n"}, 16, 12, id="cgroup 2 with a limit"),
        pytest.param({CGROUP_2: f"{60 * GIB}\n", CGROUP_2_USED: f"{GIB}\n"}, 60, 48, id="a limit beyond what the machine has available"),
        pytest.param({CGROUP_2: f"{128 * GIB}\n", CGROUP_2_USED: "0\n"}, 64, 48, id="a limit beyond the machine"),
        pytest.param({CGROUP_2: f"{16 * GIB}\n"}, 16, 16, id="a limit whose use is not told"),
        pytest.param({CGROUP_1: f"{8 * GIB}\n", CGROUP_1_USED: f"{2 * GIB}\n"}, 8, 6, id="cgroup 1 with a limit"),
        pytest.param({CGROUP_1: "9223372036854771712\n", CGROUP_1_USED: "0\n"}, 64, 48, id="cgroup 1 without a limit"),
        pytest.param({OWN: "0::/slurm/job_7/step_0\n", STEP: f"{8 * GIB}\n", STEP_USED: f"{GIB}\n"}, 8, 7, id="a Slurm step's group, further down"),
        pytest.param({OWN: "0::/slurm/job_7/step_0\n", STEP: "max\n", JOB: f"{10 * GIB}\n", JOB_USED: f"{4 * GIB}\n"}, 10, 6, id="the limit of the job above a step without one"),
        pytest.param({OWN: "0::/slurm/job_7/step_0\n", JOB: f"{10 * GIB}\n", JOB_USED: f"{GIB}\n", STEP: f"{6 * GIB}\n", STEP_USED: f"{GIB}\n"}, 6, 5, id="two limits: the narrower"),
        pytest.param({OWN: "5:cpu,memory:/slurm/job_7\n1:name=systemd:/x\n", JOB_1: f"{8 * GIB}\n", JOB_1_USED: f"{2 * GIB}\n"}, 8, 6, id="cgroup 1: a job's group"),
        pytest.param({OWN: "0::/../../outside\n", CGROUP_2: f"{16 * GIB}\n", CGROUP_2_USED: f"{4 * GIB}\n"}, 16, 12, id="a group outside of the container's view"),
        pytest.param({CGROUP_2: f"{16 * GIB}\n", CGROUP_2_USED: "a lot\n"}, 16, 16, id="a use that is no number"),
        pytest.param({CGROUP_2: f"{4 * GIB}\n", CGROUP_2_USED: f"{5 * GIB}\n"}, 4, 0, id="more in use than a lowered limit: nothing is left"),
    ],
)  # fmt: skip
def test_memory_is_bounded_by_the_cgroup(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], total: int, available: int
) -> None:
    """Total and available are what this process may use, whatever the machine has."""
    found = probed(monkeypatch, {"/proc/meminfo": MEMINFO, **files})
    assert (found.ram_total_bytes, found.ram_available_bytes) == (total * GIB, available * GIB)


@pytest.mark.parametrize(
    ("variables", "total"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, 8), ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "3"}, 6), ({"SLURM_MEM_PER_NODE": "0"}, 64),
        ({"SLURM_MEM_PER_NODE": "999999"}, 64), ({"SLURM_MEM_PER_CPU": "2048"}, 64), ({"SLURM_MEM_PER_NODE": "many"}, 64),
    ],
)  # fmt: skip
def test_memory_is_bounded_by_slurm(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], total: int) -> None:
    """Where the job has no control group of its own: its variables say what it was given."""
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = probed(monkeypatch, {"/proc/meminfo": MEMINFO})
    assert (found.ram_total_bytes, found.ram_available_bytes) == (total * GIB, min(total, 48) * GIB)


def test_a_kernel_that_does_not_tell_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before MemAvailable existed the total is the best bound there is."""
    found = probed(monkeypatch, {"/proc/meminfo": "MemTotal: 1024 kB\n"})
    assert found.ram_available_bytes == found.ram_total_bytes == 2**20


@pytest.mark.parametrize("text", [None, "", "garbage\n"], ids=["no /proc", "an empty file", "a file without MemTotal"])
def test_memory_that_nobody_tells_is_unknown(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """A system without /proc costs memory and flags, not the rest of the section."""
    found = probed(monkeypatch, {} if text is None else {"/proc/meminfo": text})
    assert isinstance(found.ram_total_bytes, Unknown)
    assert isinstance(found.ram_available_bytes, Unknown)
    assert found.cpu_flags == Unknown("/proc/cpuinfo names no flags")
    assert isinstance(found.cpu_count, int)


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        pytest.param("flags\t\t: fpu avx avx2 fma sse4_2 amx_bf16\n", ("avx", "avx2", "fma", "amx_bf16"), id="x86"),
        pytest.param("Features\t: fp asimd sve\n", ("asimd", "sve"), id="arm"),
        pytest.param("flags : fpu vme\n", (), id="an old CPU: none, and known to be none"),
    ],
)
def test_cpu_flags_are_those_that_kernels_ask_for(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, flags: tuple[str, ...]) -> None:
    """Whole words of the flags line, in the order of our own list."""
    assert probed(monkeypatch, {"/proc/meminfo": MEMINFO, "/proc/cpuinfo": cpuinfo}).cpu_flags == flags


def test_the_running_interpreter_is_named() -> None:
    """Version and implementation are those that platform would give."""
    found = host.probe()["python"]
    assert found.version == "{}.{}.{}".format(*sys.version_info[:3])
    assert found.implementation == "CPython"


@pytest.mark.parametrize(
    ("platform", "release", "machine", "name"),
    [
        pytest.param("linux", "6.8.0-45-generic", "x86_64", "linux-x86_64", id="Linux"),
        pytest.param("linux", "5.15.153.1-microsoft-standard-WSL2", "x86_64", "linux-x86_64-wsl", id="Linux in Windows"),
        pytest.param("darwin", "23.5.0", "arm64", "macos-arm64", id="a Mac"),
        pytest.param("win32", "", "", "win-amd64", id="Windows"),
    ],
)
def test_the_platform(monkeypatch: pytest.MonkeyPatch, platform: str, release: str, machine: str, name: str) -> None:
    """System, machine, and whether it is WSL, in one word."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release, machine=machine))
    monkeypatch.setattr(sys, "platform", platform)
    assert host.probe()["python"].platform == name


def test_the_cpus_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm and taskset bind a process to some CPUs: those count."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    assert host.probe()["host"].cpu_count == 3


def test_a_system_without_affinity_counts_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS knows no affinity; a system that tells no number at all leaves it unknown."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert host.probe()["host"].cpu_count == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert host.probe()["host"].cpu_count == Unknown("the system does not say")


def test_free_disk_is_that_of_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Free for an ordinary user, in bytes, where the process works."""
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def statvfs(path: str) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(f_bavail=3, f_bfree=9, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs, raising=False)
    assert host.probe()["host"].disk_free_bytes == 3 * 4096
    assert asked == [os.curdir]


def test_a_current_folder_that_was_deleted_costs_the_disk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody cleaned up under a shell that is still open."""

    def gone(path: str) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "statvfs", gone, raising=False)
    found = host.probe()["host"]
    assert found.disk_free_bytes == Unknown("the current folder cannot be looked at (No such file or directory)")
    assert isinstance(found.cpu_count, int)


def test_disk_is_unknown_where_the_system_has_no_statvfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows is not asked."""
    monkeypatch.delattr(os, "statvfs", raising=False)
    assert host.probe()["host"].disk_free_bytes == Unknown("not asked on this system")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without compilers or caches: PATH, HOME and CUDA_HOME lead into an empty folder."""
    for name in ("CUDA_PATH", "XDG_CACHE_HOME", "GPTQMODEL_CACHE_DIR", "GPTQMODEL_CUTLASS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    return tmp_path


def program(path: Path, *, executable: bool = True) -> Path:
    """A file that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755 if executable else 0o644)
    return path


def build() -> Build:
    """The section as probed now."""
    found: Build = host.probe_build()["build"]
    return found


def test_a_bare_machine_can_build_nothing(bare: Path) -> None:
    """No compiler, no ninja, no sources: each known to be absent; the network is not tried."""
    assert build() == Build(nvcc=False, cxx=False, ninja=False, network=Unknown("not tried"), cutlass=False)


@pytest.mark.parametrize("compiler", ["c++", "g++", "clang++", "cl.exe"])
def test_any_cxx_compiler_will_do(bare: Path, compiler: str) -> None:
    """torch takes whichever is there."""
    program(bare / "bin" / compiler)
    assert (build().cxx, build().ninja) == (True, False)


def test_a_file_that_cannot_be_run_is_no_program(bare: Path) -> None:
    """A name on PATH counts only where it is executable, and a folder never."""
    program(bare / "bin" / "ninja", executable=False)
    (bare / "bin" / "g++").mkdir()
    assert (build().cxx, build().ninja) == (False, False)
    program(bare / "bin" / "ninja")
    assert build().ninja is True


def test_nvcc_has_the_release_of_its_toolkit(bare: Path) -> None:
    """version.json beside the compiler says it; major and minor count."""
    program(bare / "cuda" / "bin" / "nvcc")
    (bare / "cuda" / "version.json").write_text(
        json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.1.20230626"}}), encoding="utf-8"
    )
    assert build().nvcc == "12.1"


def test_nvcc_on_path_comes_first_and_its_link_is_followed(bare: Path) -> None:
    """torch's own builder asks PATH before /usr/local/cuda; the toolkit is where the link leads."""
    program(bare / "cuda" / "bin" / "nvcc")
    (bare / "cuda" / "version.json").write_text('{"cuda": {"version": "11.8.0"}}', encoding="utf-8")
    real = program(bare / "cuda-13.0" / "bin" / "nvcc")
    (bare / "cuda-13.0" / "version.json").write_text('{"cuda": {"version": "13.0.1"}}', encoding="utf-8")
    (bare / "bin").mkdir()
    (bare / "bin" / "nvcc").symlink_to(real)
    assert build().nvcc == "13.0"


def test_cuda_path_stands_in_for_cuda_home(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows installers set CUDA_PATH alone."""
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("CUDA_PATH", str(bare / "cuda"))
    program(bare / "cuda" / "bin" / "nvcc")
    (bare / "cuda" / "version.json").write_text('{"cuda": {"version": "12.4.1"}}', encoding="utf-8")
    assert build().nvcc == "12.4"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no version.json"),
        pytest.param("{", id="cut off"),
        pytest.param("{}", id="without cuda"),
        pytest.param('{"cuda": {"version": 12}}', id="a number"),
        pytest.param('{"cuda": "12.1"}', id="cuda is no object"),
        pytest.param("[]", id="a list"),
    ],
)
def test_nvcc_whose_release_cannot_be_read_is_unknown(bare: Path, text: str | None) -> None:
    """The compiler is there, its release is not known: neither absent nor a guess, and the rest of the section stands."""
    program(bare / "cuda" / "bin" / "nvcc")
    if text is not None:
        (bare / "cuda" / "version.json").write_text(text, encoding="utf-8")
    found = build()
    assert isinstance(found.nvcc, Unknown)
    assert "its release is not written beside it" in found.nvcc.reason
    assert found.ninja is False


@pytest.mark.parametrize(
    ("variable", "cache"),
    [
        pytest.param("GPTQMODEL_CACHE_DIR", "given", id="its own variable"),
        pytest.param("XDG_CACHE_HOME", "given/gptqmodel", id="the cache folder of the desktop"),
        pytest.param(None, "home/.cache/gptqmodel", id="the home folder"),
    ],
)
def test_cutlass_is_looked_for_in_gptqmodels_cache(
    bare: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, cache: str
) -> None:
    """The sources of another release do not count; those that Machete compiles do."""
    if variable:
        monkeypatch.setenv(variable, str(bare / "given"))
    (bare / cache / "cutlass" / "4.2.0-abc").mkdir(parents=True)
    assert build().cutlass is False
    (bare / cache / "cutlass" / "4.7.1-abc").mkdir()
    assert build().cutlass is True


def test_files_are_read_whole_and_missing_ones_are_none(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 do not break the probe."""
    (tmp_path / "cpuinfo").write_bytes(b"flags : avx \xff\n")
    assert host.read_text(str(tmp_path / "cpuinfo")) == "flags : avx \N{REPLACEMENT CHARACTER}\n"
    assert host.read_text(str(tmp_path / "gone")) is None


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """No variables and no files but those put into this set."""
    files: set[str] = set()
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os.path, "exists", lambda path: path in files)
    monkeypatch.setattr(host, "read_text", lambda path: None)
    return files


@pytest.mark.parametrize(
    ("variables", "files", "kind"),
    [
        pytest.param({}, set(), False, id="none"),
        pytest.param({}, {"/.dockerenv"}, "docker", id="Docker"),
        pytest.param({}, {"/run/.containerenv"}, "podman", id="Podman"),
        pytest.param({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {"/.dockerenv"}, "kubernetes", id="a pod, on Docker"),
        pytest.param({"APPTAINER_CONTAINER": "/x.sif"}, set(), "apptainer", id="Apptainer"),
        pytest.param({"SINGULARITY_CONTAINER": "/x.sif"}, {"/.singularity.d"}, "apptainer", id="Singularity, as it was called"),
    ],
)
def test_the_kind_of_a_container(
    outside: set[str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], files: set[str], kind: str | bool
) -> None:
    """By what its runtime sets and leaves."""
    monkeypatch.setattr(os, "environ", variables)
    outside |= files
    assert host.container() == kind


def test_a_container_that_systemd_knows(outside: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in a file."""
    monkeypatch.setattr(host, "read_text", {"/run/systemd/container": "lxc\n"}.get)
    assert host.container() == "lxc"


@pytest.mark.parametrize(
    ("variables", "kind"),
    [({}, False), ({"COLAB_RELEASE_TAG": "release-colab"}, "colab"), ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "kaggle")],
    ids=["none", "Colab", "Kaggle"],
)
def test_a_hosted_notebook(outside: set[str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], kind: str | bool) -> None:
    """By the variables that it sets."""
    monkeypatch.setattr(os, "environ", variables)
    assert host._service() == kind


@pytest.mark.parametrize(
    ("cards", "files", "found"),
    [
        pytest.param([], set(), (), id="none"),
        pytest.param([("10de", "nvidia")], set(), (), id="NVIDIA's are counted elsewhere"),
        pytest.param([("1002", "amdgpu")], set(), ("amd",), id="an AMD card"),
        pytest.param(Unknown("x"), {"/dev/kfd"}, ("amd",), id="AMD's device node in a container"),
        pytest.param([("19e5", "")], {"/dev/davinci0"}, ("ascend",), id="an Ascend NPU"),
        pytest.param(Unknown("x"), set(), (), id="a bus that cannot be read, and no node"),
    ],
)
def test_gpus_of_others(
    outside: set[str],
    monkeypatch: pytest.MonkeyPatch,
    cards: list[tuple[str, str]] | Unknown,
    files: set[str],
    found: tuple[str, ...],
) -> None:
    """By the cards on the bus and by the nodes of their drivers."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(host.nvidia, "pci_cards", lambda: cards)
    outside |= files
    assert host._other_gpus() == found


@pytest.mark.parametrize(("machine", "found"), [("arm64", ("apple",)), ("x86_64", ())])
def test_gpus_of_a_mac(monkeypatch: pytest.MonkeyPatch, machine: str, found: tuple[str, ...]) -> None:
    """Apple's own are those that torch can use."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine), raising=False)
    assert host._other_gpus() == found


def test_gpus_of_windows_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is unknown, not none."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert isinstance(host._other_gpus(), Unknown)


def test_the_kind_of_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """conda before venv before the system's own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert host._environment() == "system"
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert host._environment() == "venv"
    (tmp_path / "conda-meta").mkdir()
    assert host._environment() == "conda"
