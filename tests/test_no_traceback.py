"""The real command, started as a person starts it: whatever is wrong with input or output, one line on stderr and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.testing import machine, write_checkpoint

COMMAND = [sys.executable, "-m", "qvl_preflight"]
DEEP = '{"a":' * 80_000 + "1" + "}" * 80_000  # 400 KB
pytestmark = pytest.mark.slow


def start(*arguments: str, env: dict[str, str] | None = None, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """One run; it may take 20 seconds, after that it hangs."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([*COMMAND, *arguments], timeout=20, env={**os.environ, **(env or {})}, check=False, **streams)


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line with which it was refused."""
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, len(lines)) == (2, 1), done.stderr.decode()
    assert lines[0].startswith("qvl-preflight: ")
    assert "internal error" not in lines[0]
    assert "Traceback" not in lines[0]
    return lines[0]


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

FILES: dict[str, bytes | None] = {
    "empty": b"", "cut off": b'{"schema": "qvl-preflight/fac', "a list": b"[1]", "null": b"null", "binary": bytes(range(256)), "deep": DEEP.encode(),
    "latin-1": '{"name": "Müller"}'.encode("latin-1"), "not json": b"device_map: auto\n", "a huge number": b'{"a": ' + b"9" * 50_000 + b"}",
}  # fmt: skip
OWN: dict[str, bytes | None] = {"NaN": b'{"a": NaN}', "said twice": b'{"a": 1, "a": 2}'}
FACTS: dict[str, bytes | None] = {
    "no schema": b'{"gpus": []}', "another schema": b'{"schema": "qvl-preflight/report/1"}', "a field that does not fit": b'{"schema": "qvl-preflight/facts/1", "gpus": 5}',
}  # fmt: skip
NO_FILES = ("missing", "folder", "pipe")


def bad_file(folder: Path, kind: str) -> str:
    """A path at which something is wrong."""
    path = folder / "given"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes((FILES | OWN | FACTS)[kind] or b"")
    return str(path)


@pytest.mark.parametrize("kind", [*FILES, *OWN, *FACTS, *NO_FILES])
def test_facts(tmp_path: Path, kind: str) -> None:
    """doctor --facts: the file is named, and the way to a good one."""
    path = bad_file(tmp_path, kind)
    line = refused(start("doctor", "--facts", path))
    assert path in line
    assert kind != "no schema" or "'schema' is missing" in line


@pytest.mark.parametrize("kind", [*FILES, *NO_FILES])
def test_the_checkpoints_own_files(tmp_path: Path, kind: str) -> None:
    """config.json in every state that is no configuration."""
    bad_file(tmp_path, kind)
    if kind != "missing":
        (tmp_path / "given").rename(tmp_path / "config.json")
    assert "config.json" in refused(start("check", str(tmp_path)))


@pytest.mark.parametrize("option", ["--kwargs", "--peft", "--trainer"])
@pytest.mark.parametrize("kind", ["deep", "NaN", "said twice", "a list", "pipe", "missing"])
def test_arguments_in_a_file(tmp_path: Path, option: str, kind: str) -> None:
    """Each option that takes a file; the checkpoint is sound."""
    write_checkpoint(str(tmp_path / "model"), {"model_type": "qwen2"}, [{}])
    path = bad_file(tmp_path, kind)
    assert path in refused(start("check", str(tmp_path / "model"), option, path))


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("nonsense",), ("check",), ("explain",), ("explain", "QVL999"), ("schema",), ("schema", "nonsense"), ("rules", "--nonsense"), ("doctor", "--fail-on", "never"),
        ("doctor", "--select", "nonsense"), ("doctor", "--ignore", "QVL4,nonsense"), ("doctor", "--model", "/nowhere"), ("doctor", "--save", "/nowhere/facts.json"),
        ("doctor", "--save", "/"), ("check", "/nowhere"), ("check", "a/b/c"), ("check", "\n"), ("check", ""), ("check", "MODEL", "--set", "device_map"),
        ("check", "MODEL", "--set", "device_map=f(x)"), ("check", "MODEL", "--set", 'device_map={"": 0'), ("check", "MODEL", "--kwargs", '{"a": 1'),
        ("check", "MODEL", "--purpose", "fun"), ("check", "MODEL", "--select", "QVL9,nonsense"), ("check", "MODEL", "--fix", "--facts", "/nowhere.json"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_arguments(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Every command with what it does not take."""
    write_checkpoint(str(tmp_path / "model"), {"model_type": "qwen2"}, [{}])
    done = start(*(str(tmp_path / "model") if each == "MODEL" else each for each in arguments))
    refused(done)
    assert done.stdout == b""


def test_saving_into_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """It is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert "cannot be written" in refused(start("doctor", "--save", str(tmp_path / "pipe")))


def test_bytes_that_are_no_text_in_a_name(tmp_path: Path) -> None:
    """They come back in the message as escapes."""
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"check", b"/nowhere/\xff\x1b[31m"], capture_output=True, timeout=20, check=False
    )
    assert "\\x1b[31m" in refused(done)


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    """The doctor works where a shell was left open in a folder that is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone}; rmdir {gone}; exec "$0" -m qvl_preflight doctor --json'
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, timeout=20, env=env, check=False)
    facts = json.loads(done.stdout)["facts"]
    assert (done.returncode, done.stderr) == (0, b"")
    assert facts["packages"]
    assert facts["host"]["cpu_count"]


# ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SAYS = {
    "doctor": ("doctor",), "doctor --json": ("doctor", "--json"), "doctor --quiet": ("doctor", "--quiet"), "rules": ("rules",), "rules --json": ("rules", "--json"),
    "explain": ("explain", "QVL101"), "schema": ("schema", "facts"), "--help": ("--help",), "check --help": ("check", "--help"), "--version": ("--version",),
}  # fmt: skip


@pytest.mark.parametrize("arguments", SAYS.values(), ids=list(SAYS))
def test_a_full_disk(arguments: tuple[str, ...]) -> None:
    """What cannot be written is said, once."""
    with open("/dev/full", "wb") as full:
        assert "No space left on device" in refused(start(*arguments, stdout=full))


@pytest.mark.parametrize("arguments", SAYS.values(), ids=list(SAYS))
def test_a_closed_output(arguments: tuple[str, ...]) -> None:
    """qvl-preflight doctor >&-"""
    assert "is closed" in refused(start(*arguments, preexec_fn=lambda: os.close(1)))


@pytest.mark.parametrize("arguments", [SAYS["doctor --json"], SAYS["rules"]], ids=["doctor --json", "rules"])
def test_a_reader_that_is_gone(arguments: tuple[str, ...]) -> None:
    """Nothing is said, nothing is lost: as with `| head`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_errors() -> None:
    """Nobody is there to be told; the exit code says it, and standard output is not used instead."""
    done = start("check", "/nowhere", preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp936"])
def test_an_encoding_that_lacks_signs(tmp_path: Path, encoding: str) -> None:
    """The signs are written in others; pages and reports hold … and ·."""
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(machine("container-without-gpus").to_dict()), encoding="utf-8")
    for arguments in (("doctor", "--facts", str(facts)), ("explain", "QVL107"), ("rules",)):
        done = start(*arguments, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode(encoding)
    if encoding == "ascii":
        assert b"docker run --gpus all ..." in start("doctor", "--facts", str(facts), env={"PYTHONIOENCODING": encoding}).stdout


def test_the_plainest_of_locales() -> None:
    """LC_ALL=C, as cron and containers have it."""
    done = start("explain", "QVL107", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stderr) == (0, b"")


# ── without rich ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def without_rich(tmp_path: Path) -> dict[str, str]:
    """An environment in which rich cannot be imported."""
    (tmp_path / "rich.py").write_text("raise ImportError('no rich here')", encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}


def test_a_report_that_goes_to_a_file_needs_no_rich(tmp_path: Path, without_rich: dict[str, str]) -> None:
    """It is plain text in any case."""
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(machine("held-gpu").to_dict()), encoding="utf-8")
    done = start("doctor", "--facts", str(facts), env=without_rich)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == start("doctor", "--facts", str(facts)).stdout


def test_a_terminal_without_rich_gets_plain_text_and_one_line(without_rich: dict[str, str]) -> None:
    """The line says why there is no colour."""
    ours, theirs = os.openpty()
    done = start("doctor", "--quiet", env=without_rich, stdout=theirs)
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == ["qvl-preflight: plain text, since rich cannot be imported (no rich here)"]
    assert b"this environment" in shown
    assert b"\x1b" not in shown
