"""qvl-preflight run on real stacks that do not have it installed: a QLoRA script, and what launchers start."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import stacks

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "recordings" / "models"
RANKS = str(Path(__file__).with_name("ranks.py"))
PLAIN = str(MODELS / "plain-fp16")
# The command line as another environment has it: the stack sees nothing of it but what `run` hands down.
OURS = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); from qvl_preflight.cli import main; sys.exit(main())", "run"]  # fmt: skip


def finetune(stack: str, scratch: Path, *options: str, guarded: bool = True) -> subprocess.CompletedProcess[str]:
    """One step of examples/finetune_qlora.py."""
    script = [str(ROOT / "examples" / "finetune_qlora.py"), "--model_name_or_path", str(MODELS / "gptq-int4"), "--output_dir", str(scratch / "out"),
              "--max_steps", "1", "--report_to", "none", "--use_cpu"]  # fmt: skip
    return started(stack, scratch, *([*OURS, *options, "--"] if guarded else []), "python", *script)


def started(stack: str, scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
    _, env = stacks.command(stack, scratch)
    env = {name: value for name, value in env.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "MASTER_PORT": "0"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=scratch, timeout=300)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("qvl-preflight:")]


@pytest.mark.parametrize("stack", ["modern", "legacy"])
def test_a_qlora_script_trains_where_it_fails_by_itself(stack: str, tmp_path: Path) -> None:
    """It is not changed: the kernel that refuses training (5.x) or the CPU (4.37) is exchanged in the call."""
    assert finetune(stack, tmp_path, guarded=False).returncode == 1
    done = finetune(stack, tmp_path, "--mode", "fix", "--purpose", "qlora")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 step, loss 5." in done.stdout
    place, last = said(done)
    assert "finetune_qlora.py:" in place
    assert last.endswith("the call is made as corrected.")


def test_a_script_is_stopped_before_its_weights(tmp_path: Path) -> None:
    """Exit code 3 where the purpose is named; else an error of the training step is said, and the script fails as it does."""
    done = finetune("modern", tmp_path, "--purpose", "qlora")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Loading weights" not in done.stderr
    done = finetune("modern", tmp_path)
    assert done.returncode == 1
    assert "In this process TrainingArguments was made." in done.stderr
    assert "--purpose qlora" in said(done)[-1]


def test_one_bad_rank_of_four(tmp_path: Path) -> None:
    """The bad one alone speaks, in a line, and ends the job; the launcher's own exit code would be 1."""
    done = started("modern", tmp_path, *OURS, "--", "torchrun", "--nproc_per_node", "4", RANKS, PLAIN, "2")
    assert done.returncode == 3
    (line,) = said(done)
    assert line.startswith("qvl-preflight: rank 2: ")
    assert "QVL902" in line
    assert "exitcode  : 3" in done.stderr


def test_two_ranks_with_the_same_slip(tmp_path: Path) -> None:
    """The first speaks for both, in full, and both load the corrected call."""
    done = started("modern", tmp_path, *OURS, "--mode", "fix", "--", "torchrun", "--nproc_per_node", "2", RANKS, PLAIN, "0,1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(done.stdout.split("\n")) == ["", "loaded on rank 0", "loaded on rank 1"]
    assert len(said(done)) == 2


def test_accelerate_launch(tmp_path: Path) -> None:
    """Stopped, and corrected."""
    launch = [
        "accelerate",
        "launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    assert started("modern", tmp_path, *OURS, "--", *launch, RANKS, PLAIN, "0").returncode == 3
    done = started("modern", tmp_path, *OURS, "--mode", "fix", "--", *launch, RANKS, PLAIN, "0")
    assert (done.returncode, done.stdout) == (0, "loaded on rank 0\n")


def test_a_wrapper_in_bash(tmp_path: Path) -> None:
    """What it does after a stop is its own affair; that something was stopped shows."""
    script = tmp_path / "finetune.sh"
    script.write_text(
        textwrap.dedent(f"""\
        #!/bin/bash
        export CUDA_DEVICE_MAX_CONNECTIONS=1
        python {RANKS} {PLAIN} 0
        echo over
    """)
    )
    done = started("modern", tmp_path, *OURS, "--", "bash", str(script))
    assert (done.returncode, done.stdout) == (3, "over\n")
    done = started("modern", tmp_path, *OURS, "--mode", "warn", "--", "bash", str(script))
    assert (done.returncode, done.stdout) == (0, "over\n")
    assert "AttributeError" in done.stderr


@pytest.mark.parametrize(("slip", "code"), [("0", 3), ("none", 0)])
def test_a_dry_run_ends_at_the_first_call(slip: str, code: int, tmp_path: Path) -> None:
    """With a report, of a good call as well."""
    done = started("modern", tmp_path, *OURS, "--dry-run", "--", "python", RANKS, PLAIN, slip)
    assert (done.returncode, done.stdout) == (code, "")
    assert "a dry run ends here" in said(done)[-1]
