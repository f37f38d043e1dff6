"""qvl-preflight run, of commands that need nothing: they end as they end without it, and other programs notice nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qvl_preflight.guarding.launch import BOOTSTRAP, is_one_python, leaves_us_out

RUN = [sys.executable, "-m", "qvl_preflight", "run"]
MODES = [["--mode", "warn"], ["--mode", "check"], ["--dry-run"]]  # in place of this process, and beside it
pytestmark = pytest.mark.slow


def ran(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *command], capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_a_command_ends_as_it_ends(mode: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code, signal and output; nothing is left behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = ran(*mode, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert ran(*mode, "--", "sh", "-c", "kill -USR1 $$").returncode == -signal.SIGUSR1
    assert ran(*mode, "true").returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_a_signal_reaches_the_command(mode: list[str], tmp_path: Path) -> None:
    """As a scheduler sends it before it takes the machine away."""
    ready = tmp_path / "ready"
    script = f"trap 'echo asked; exit 9' TERM; touch {ready}; while :; do sleep 0.05; done"
    process = subprocess.Popen([*RUN, *mode, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (9, "asked\n")


def test_the_command_takes_the_place_of_ours() -> None:
    """Same process, and no signal is ignored that was not before."""
    process = subprocess.Popen([*RUN, "--mode", "fix", "--", "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True)
    assert int(process.communicate()[0]) == process.pid
    ignored = ["sh", "-c", "grep SigIgn /proc/self/status"]
    plain = subprocess.run(ignored, capture_output=True, text=True, check=True).stdout
    assert _signals(ran("--mode", "fix", "--", *ignored).stdout) == _signals(plain) == _signals(ran("--", *ignored).stdout)


def _signals(status: str) -> int:
    """1 to 31: 32 and 33 are the C library's own, and come and go with its threads."""
    return int(status.split()[1], 16) & 0x7FFFFFFF


def test_an_existing_sitecustomize_has_its_turn(tmp_path: Path) -> None:
    """It is the one that a script finds, and ours is nowhere on the path. One that fails fails as it does."""
    (tmp_path / "sitecustomize.py").write_text("print('theirs', __file__)\n")
    code = "import sys, sitecustomize; print(sitecustomize.__file__, any('bootstrap' in each for each in sys.path), 'qvl_preflight' in sys.modules)"
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = ran("--", sys.executable, "-c", code, env={"PYTHONPATH": path})
    theirs = f"{tmp_path}/sitecustomize.py"
    assert done.stdout.splitlines() == [f"theirs {theirs}", f"theirs {theirs}", f"{theirs} False False"]  # the first: `run` itself
    for text in ("import no_such_module\n", "raise RuntimeError('theirs')\n", "import sitecustomize_of_nobody\n"):
        (tmp_path / "sitecustomize.py").write_text(text)
        command = [sys.executable, "-c", "print('on')"]
        plain = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
        done = ran("--", *command, env={"PYTHONPATH": path})
        assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
        assert done.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]


@pytest.mark.parametrize("flag", ["-S", "-I", "-E"])
def test_a_python_that_wants_no_environment_gets_none(flag: str) -> None:
    """And it is said that nothing is checked there."""
    done = ran("--", sys.executable, flag, "-c", "import sys; print([type(each).__name__ for each in sys.meta_path])")
    assert "_Waits" not in done.stdout
    assert done.stderr.count("nothing is checked") == 1


def test_the_guard_is_there_once_transformers_is_looked_for() -> None:
    """Not before. Here it is not installed: the import fails as it does."""
    code = """if True:
        import sys
        before = "qvl_preflight" in sys.modules
        try:
            import transformers
        except ImportError as error:
            from qvl_preflight.guarding import active
            print(before, error, active.current().mode, active.current().purpose)
    """
    done = ran("--mode", "fix", "--purpose", "lora", "--", sys.executable, "-c", code)
    assert done.stdout == "False No module named 'transformers' fix lora\n"


def test_a_guard_that_cannot_start_is_said_and_no_more() -> None:
    """Whatever has become of its variable on the way."""
    code = "try:\n    import transformers\nexcept ImportError as error:\n    print(error)"
    done = ran("--", "env", "QVL_PREFLIGHT_RUN={", sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (0, "No module named 'transformers'\n")
    assert done.stderr.startswith("qvl-preflight: nothing is checked in this process")
    assert done.stderr.count("\n") == 1


def test_nothing_is_started_where_it_is_switched_off() -> None:
    """The command is, as it is."""
    done = ran("--", "sh", "-c", "echo ${QVL_PREFLIGHT_RUN:-none}", env={"QVL_PREFLIGHT": "off"})
    assert done.stdout == "none\n"
    assert done.stderr == "qvl-preflight: QVL_PREFLIGHT=off: nothing was checked.\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([], "is required"),
        (["--"], "is required"),
        (["no-such-command"], "no-such-command"),
        (["train.py"], "write: python train.py"),
    ],
)
def test_what_cannot_be_started_is_one_line(command: list[str], said: str) -> None:
    """Exit code 2, as for every command."""
    done = ran(*command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_which_commands_are_one_python() -> None:
    """Those whose exit code nobody changes on the way."""
    assert is_one_python(["/usr/bin/python3.11", "train.py", "-m"])
    assert not any(
        map(is_one_python, (["python", "-m", "torch.distributed.run"], ["bash", "a.sh"], ["torchrun", "a.py"], ["python"]))
    )
    assert leaves_us_out(["python", "-u", "-sE", "a.py"]) == "-sE"
    assert leaves_us_out(["python", "a.py", "-I"]) is None
    assert leaves_us_out(["torchrun", "-E"]) is None


def test_a_process_that_loads_no_model_does_not_notice() -> None:
    """Under 5 ms; the best of three sittings, on a busy machine."""
    path = Path(__file__).parents[2] / "benchmarks" / "run.py"
    spec = importlib.util.spec_from_file_location("run_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert min(benchmark.milliseconds(9) for _ in range(3)) < 5


def test_the_bootstrap_is_what_every_python_reads() -> None:
    """No syntax that an old one refuses with a traceback, and no import beyond what is loaded anyway."""
    text = (Path(BOOTSTRAP) / "sitecustomize.py").read_text()
    assert not re.search(r"\bf\"|:=|\bmatch |from __future__", text)
    assert re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE) == ["os", "sys"]
