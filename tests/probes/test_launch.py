"""The launch by its environment variables, and which of those are let in at all."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from qvl_preflight.facts import Launch
from qvl_preflight.probes import launch
from qvl_preflight.unknown import Unknown

ELASTIC = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TORCHRUN = {**ELASTIC, "TORCHELASTIC_RUN_ID": "none"}
ACCELERATE = {**TORCHRUN, "ACCELERATE_MIXED_PRECISION": "bf16"}
# deepspeed 0.19.8 launcher/launch.py: it sets no LOCAL_WORLD_SIZE and nothing of torchelastic
DEEPSPEED = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_SIZE": "4", "CROSS_RANK": "1", "CROSS_SIZE": "2"}
SLURM_STEP = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}


def probed(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> tuple[dict[str, str], Launch]:
    """What the probe finds in exactly this environment, outside of a notebook."""
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    found = launch.probe()
    return found["env"], found["launch"]


@pytest.mark.parametrize(
    ("environ", "launcher", "ranks"),
    [
        pytest.param({}, "python", (1, 0, 0, 1), id="nothing is set: one plain process"),
        pytest.param(TORCHRUN, "torchrun", (8, 5, 1, 4), id="torchrun"),
        pytest.param(ELASTIC, "torchrun", (8, 5, 1, 4), id="torch.distributed.launch of old"),
        pytest.param(ACCELERATE, "accelerate", (8, 5, 1, 4), id="accelerate launch"),
        pytest.param(DEEPSPEED, "deepspeed", (8, 5, 1, 4), id="deepspeed's own launcher"),
        pytest.param({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, "python", (1, 0, 0, 1), id="a salloc shell of 4 tasks is plain python"),
        pytest.param({**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, "python", (1, 0, 0, 1), id="a step of one task is plain python"),
        pytest.param({**SLURM_STEP, **TORCHRUN}, "torchrun", (8, 5, 1, 4), id="torchrun inside of a step counts as torchrun"),
        pytest.param({**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "8(x2)"}, "python", (1, 0, 0, 1), id="a number of tasks that is no number is no launch"),
        pytest.param({"RANK": "3"}, "python", None, id="a stray RANK alone is no launch"),
    ],
)  # fmt: skip
def test_the_launcher_and_its_ranks(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], launcher: str, ranks: tuple[int, int, int, int] | None
) -> None:
    """World size, rank, local rank and processes on this host are those of whoever started the process."""
    _, found = probed(monkeypatch, environ)
    assert found.launcher == launcher
    if ranks is not None:
        assert (found.world_size, found.rank, found.local_rank, found.local_world_size) == ranks


def test_a_slurm_step_does_not_say_how_many_are_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """srun tells rank and local rank; the tasks of this host are unknown, not all of them."""
    _, found = probed(monkeypatch, SLURM_STEP)
    assert (found.launcher, found.world_size, found.rank, found.local_rank) == ("slurm", 8, 5, 1)
    assert found.local_world_size == Unknown("the launcher does not say")


def test_a_rank_that_is_no_number_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A placeholder that nobody filled in costs that one field, and is shown in its reason."""
    _, found = probed(monkeypatch, {**TORCHRUN, "RANK": "%q{RANK}"})
    assert found.rank == Unknown("RANK='%q{RANK}' is not a number")
    assert found.world_size == 8


@pytest.mark.parametrize("value", ["--1", "²", "", "1.0"])
def test_what_only_looks_like_a_number_is_unknown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """No text breaks the probe: what int() does not read is unknown."""
    _, found = probed(monkeypatch, {**TORCHRUN, "LOCAL_RANK": value})
    assert isinstance(found.local_rank, Unknown)


@pytest.mark.parametrize(
    ("extra", "stage"),
    [
        pytest.param({}, False, id="accelerate without DeepSpeed"),
        pytest.param({"ACCELERATE_USE_DEEPSPEED": "false"}, False, id="said not to be in use"),
        pytest.param({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, 3, id="stage 3"),
        pytest.param({"ACCELERATE_USE_DEEPSPEED": "1", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, 2, id="stage 2"),
        pytest.param({"ACCELERATE_USE_DEEPSPEED": "true"}, Unknown("the DeepSpeed configuration is in a file"), id="the stage is in a file"),
    ],
)  # fmt: skip
def test_the_zero_stage(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], stage: int | bool | Unknown) -> None:
    """False where DeepSpeed is known not to be in use, the stage where accelerate says it, else unknown."""
    _, found = probed(monkeypatch, {**ACCELERATE, **extra})
    assert found.deepspeed_zero == stage
    assert type(found.deepspeed_zero) is type(stage)


def test_the_zero_stage_under_deepspeeds_own_launcher_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deepspeed command says nothing of the stage in the environment: it must not be read as "not in use"."""
    _, found = probed(monkeypatch, DEEPSPEED)
    assert isinstance(found.deepspeed_zero, Unknown)


@pytest.mark.parametrize(("value", "fsdp"), [("true", True), ("1", True), ("false", False), (None, False)])
def test_fsdp_is_as_accelerate_says(monkeypatch: pytest.MonkeyPatch, value: str | None, fsdp: bool) -> None:
    """accelerate names FSDP in the environment of each rank."""
    _, found = probed(monkeypatch, ACCELERATE if value is None else {**ACCELERATE, "ACCELERATE_USE_FSDP": value})
    assert found.fsdp is fsdp


@pytest.mark.parametrize(
    ("shell", "notebook"),
    [
        pytest.param("ZMQInteractiveShell", True, id="Jupyter"),
        pytest.param("Shell", True, id="Google Colab"),
        pytest.param("TerminalInteractiveShell", False, id="IPython in a terminal"),
        pytest.param("NoneType", False, id="IPython imported by a plain script"),
    ],
)
def test_a_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch, shell: str, notebook: bool) -> None:
    """Only IPython's notebook shells make a notebook, and IPython is never imported to find out."""
    for name in launch.ALLOWED:
        monkeypatch.delenv(name, raising=False)
    ipython = ModuleType("IPython")
    current = None if shell == "NoneType" else type(shell, (), {})()
    ipython.get_ipython = lambda: current  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    found = launch.probe()["launch"]
    assert found.notebook is notebook
    assert found.launcher == ("notebook" if notebook else "python")


def test_ipython_that_is_half_imported_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module without get_ipython answers nothing."""
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    assert launch.probe()["launch"].notebook is False


def test_a_notebook_inside_of_a_launch_keeps_its_launcher() -> None:
    """accelerate.notebook_launcher sets ranks: placement goes by them, and the notebook stays known."""
    found = launch.launch_of(dict(TORCHRUN), notebook=True)
    assert (found.launcher, found.notebook) == ("torchrun", True)


def test_secrets_never_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only allow-listed names are read; tokens and keys are not among them, however they are called."""
    secrets = {
        "HF_TOKEN": "hf_x", "HUGGING_FACE_HUB_TOKEN": "hf_y", "WANDB_API_KEY": "w", "AWS_SECRET_ACCESS_KEY": "a", "OPENAI_API_KEY": "o",
        "SSH_AUTH_SOCK": "/tmp/s", "http_proxy": "http://user:password@proxy", "HOME": "/home/somebody", "USER": "somebody",
    }  # fmt: skip
    wanted = {"CUDA_VISIBLE_DEVICES": "0", "HF_HOME": "/data/hf", "RANK": "0"}
    env, _ = probed(monkeypatch, {**secrets, **wanted})
    assert env == wanted


def test_no_allowed_name_is_that_of_a_secret() -> None:
    """The list itself holds no name that tokens, keys, passwords or proxies go by."""
    words = ("TOKEN", "KEY", "SECRET", "PASS", "PROXY", "CREDENTIAL", "AUTH")
    assert [name for name in launch.ALLOWED if any(word in name.upper() for word in words)] == []


def test_an_empty_variable_is_not_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CUDA_VISIBLE_DEVICES=`` hides every GPU; leaving it unset hides none."""
    env, _ = probed(monkeypatch, {"CUDA_VISIBLE_DEVICES": ""})
    assert env == {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        pytest.param("CUDA_VISIBILE_DEVICES", "0,1", "0,1", id="a letter too much"),
        pytest.param("CUDA_VISIBLE_DEVICE", "1", "1", id="the plural forgotten"),
        pytest.param("cuda_visible_devices", "0", "0", id="small letters"),
        pytest.param("CUDA_VISBLE_DEVICES", "/home/jane/secret", "…", id="a value that is no list of numbers stays outside"),
    ],
)
def test_slips_of_known_names_are_kept(monkeypatch: pytest.MonkeyPatch, name: str, value: str, kept: str) -> None:
    """With their value as far as it is a list of numbers, and apart from the names that somebody reads."""
    monkeypatch.setattr(os, "environ", {name: value, "HOME": "/home/jane"})
    found = launch.probe()
    assert (found["env"], found["env_misspelt"]) == ({}, {name: kept})


def test_a_rank_that_a_notebook_started_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """notebook_launcher forks its ranks: they carry the notebook's modules, and the variables that it set for them."""
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    processes = ModuleType("multiprocessing.process")
    processes.parent_process = lambda: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "multiprocessing.process", processes)
    assert launch.probe()["launch"].notebook is False
