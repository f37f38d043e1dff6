"""What is known of the machine, or printed in the log, confirms or refutes; and a log of any size or kind is read within bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight import notebook
from qvl_preflight.cli import main
from qvl_preflight.diagnosis.printed import printed_facts
from qvl_preflight.testing import machine

TRACE = 'Traceback (most recent call last):\n  File "train.py", line 3, in main\n    run()\n'
ENVIRONMENT = """
- `transformers` version: 4.37.2
- Platform: Linux-5.15
- Python version: 3.10.13
- Accelerate version: 0.26.1
- PyTorch version (GPU?): 2.1.2+cu118 (True)
"""
PIP_LIST = (
    "bitsandbytes              0.41.3\npeft                      0.8.2\ntransformers              4.37.2\nauto-gptq   0.7.1+cu118\n"
)
DS_REPORT = "torch version .................... 2.1.2+cu118\ndeepspeed info ................... 0.14.5\n"


def versions(text: str) -> dict[str, str]:
    facts = printed_facts(text)
    return {} if facts is None else facts["packages"]


def test_versions_that_a_log_prints() -> None:
    """transformers env, pip list, ds_report, pip freeze, a path, and what pip says."""
    assert versions(ENVIRONMENT) == {"transformers": "4.37.2", "accelerate": "0.26.1", "torch": "2.1.2+cu118"}
    assert versions(PIP_LIST) == {"bitsandbytes": "0.41.3", "peft": "0.8.2", "transformers": "4.37.2", "auto-gptq": "0.7.1+cu118"}
    assert versions(DS_REPORT)["torch"] == "2.1.2+cu118"
    assert versions("[pip3] torch==2.1.2\ntransformers==4.37.2\n") == {"torch": "2.1.2", "transformers": "4.37.2"}
    assert versions("Successfully installed transformers-4.45.2 peft-0.13.2\n") == {"transformers": "4.45.2", "peft": "0.13.2"}
    assert versions("/opt/lib/python3.10/site-packages/transformers-4.37.2.dist-info/METADATA\n") == {"transformers": "4.37.2"}


def test_the_rest_that_a_log_prints() -> None:
    """Python, what torch is built for, which devices are visible."""
    facts = printed_facts(ENVIRONMENT + "CUDA_VISIBLE_DEVICES=0,1 python train.py\nDriver Version: 535.104.05\n")
    assert facts is not None
    assert facts["python"] == {"version": "3.10.13"}
    assert facts["torch"] == {"cuda_build": "11.8"}
    assert facts["env"] == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert facts["driver"] == {"version": "535.104.05"}


@pytest.mark.parametrize(
    "text", ["", "loss 1.25, torch is fine", "transformers 4.37.2 was tried, then transformers 4.45.2", "accuracy: 0.99.1"]
)
def test_what_is_no_version_or_two_is_not_known(text: str) -> None:
    """Neither a number beside a name, nor one of two answers."""
    assert versions(text) == {}


def test_the_printed_versions_name_the_pair() -> None:
    """pip list shows which two packages do not go together."""
    log = "peft                      0.15.2\ntransformers              4.37.2\ntorch 2.1.2\n" + TRACE
    log += "ImportError: cannot import name 'EncoderDecoderCache' from 'transformers' (/opt/lib/python3.10/site-packages/transformers/__init__.py)"
    found = qvl_preflight.diagnose(log)
    assert found[0].topic == "dep-skew-import"
    assert "4.43" in found[0].message or "peft" in found[0].message


def test_a_fix_is_spelled_as_the_release_spells_it() -> None:
    """torch_dtype is dtype since 4.56."""
    error = "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5."
    old, new = (qvl_preflight.diagnose(f"transformers=={release}\n{error}")[0].fix for release in ("4.40.2", "4.57.1"))
    assert "torch_dtype" in old
    assert "torch_dtype" not in new
    assert "dtype=" in new


def test_the_machine_refutes() -> None:
    """The message asks for bitsandbytes, which is there: it misleads."""
    error = "ImportError: Using `bitsandbytes` 8-bit quantization requires Accelerate: `pip install accelerate` and the latest version of bitsandbytes"
    alone = qvl_preflight.diagnose(error)
    there = qvl_preflight.diagnose(
        error, facts={"packages": {"bitsandbytes": "0.43.0", "accelerate": "0.30.0", "torch": "2.3.0"}, "packages_complete": False}
    )
    assert alone[0].topic == there[0].topic == "bnb-missing"
    assert there[0].confidence < alone[0].confidence
    assert "misleads" in there[0].message
    bf16 = "ValueError: Your setup doesn't support bf16/gpu. You need torch>=1.10, using Ampere GPU with cuda>=11.0"
    assert qvl_preflight.diagnose(bf16, facts=machine("a100"))[0].confidence < qvl_preflight.diagnose(bf16)[0].confidence


def test_the_type_says_which_release_knows_it() -> None:
    """A model type that this transformers does not know: the tables say since when."""
    error = "ValueError: The checkpoint you are trying to load has model type `qwen3_vl` but Transformers does not recognize this architecture."
    found = qvl_preflight.diagnose(error)[0]
    assert "4.57" in found.message
    assert found.fix == '`pip install -U "transformers>=4.57"`'


def test_any_key_is_no_model_type() -> None:
    """KeyError: 'llama' out of somebody's dictionary says nothing of transformers."""
    assert not qvl_preflight.diagnose(TRACE + "KeyError: 'bert'")
    assert qvl_preflight.diagnose(
        "  File \"site-packages/transformers/models/auto/configuration_auto.py\", line 1, in __getitem__\nKeyError: 'qwen2_vl'"
    )


@pytest.mark.parametrize(("cut", "topic"), [
    ("ValueError: FP8 quantized models is only supp", "fp8-capability"),
    ("ValueError: Some modules are dispatched on the CPU or the", "bnb-offload"),
    ("ValueError: You can't train a model that has been loaded with `device_map='auto'` in any dis", "device-map-ddp"),
    ("ImportError: Using `low_cpu_mem_usage=True` or a `device_map` requ", "dep-skew-import"),
])  # fmt: skip
def test_a_message_that_is_cut_off(cut: str, topic: str) -> None:
    """Known by its beginning, and less sure."""
    found = qvl_preflight.diagnose(cut)
    assert found[0].topic == topic


@pytest.mark.parametrize(
    "cut", ["RuntimeError: You can't", "ValueError: The", "Some modules are", "ValueError: Numpy is not available"]
)
def test_a_few_words_are_not_enough(cut: str) -> None:
    """Half a sentence that anything may begin with."""
    assert not qvl_preflight.diagnose(cut)


def test_interleaved_ranks() -> None:
    """Each rank's traceback is put together; the watchdog and the launcher only report it."""
    ranks = [f"[rank{rank}]: {line}" for line in (TRACE + "ValueError: Must flatten tensors with uniform dtype but got torch.bfloat16 and torch.uint8").splitlines()
             for rank in range(4)]  # fmt: skip
    end = TRACE + "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \ntrain.py FAILED\n  exitcode  : 1 (pid: 7)\n"
    assert qvl_preflight.diagnose("\n".join(ranks) + "\n" + end)[0].topic == "fsdp-mixed-dtype"


def test_the_direct_cause() -> None:
    """What was raised from it comes after it, and says less."""
    log = (
        TRACE + "ModuleNotFoundError: No module named 'triton.ops'\n\nThe above exception was the direct cause of the following exception:\n\n"
        + TRACE + "RuntimeError: Failed to import transformers.integrations.bitsandbytes because of the following error (look up to see its traceback):\n"
        "No module named 'triton.ops'"
    )  # fmt: skip
    assert qvl_preflight.diagnose(log)[0].topic == "bnb-triton-skew"


def test_several_causes_say_what_tells_them_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they are about as likely."""
    file = tmp_path / "log"
    file.write_text(
        "RuntimeError: CUDA was not found on the system, please set the CUDA_HOME or the CUDA_PATH environment variable"
    )
    main(["diagnose", str(file)])
    assert capsys.readouterr().out.count("   Tell   ") >= 2


def _log(kind: str) -> bytes:
    end = (TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n").encode()
    line = {
        "plain": b"{'loss': 1.234, 'grad_norm': 0.5, 'learning_rate': 1e-05, 'epoch': 0.1}\n",
        "chinese": "{'损失': 1.234, '学习率': 1e-05}\n".encode(),
        "noisy": b"RuntimeError: failed to do it, retry\n",
        "binary": bytes(range(256)) * 4,
        "long": b"Error: " + b"x" * 1_000_000 + b"\n",
    }[kind]
    return line * (40_000_000 // len(line)) + b"\n" + end


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read where Linux shows it")
@pytest.mark.parametrize("kind", ["plain", "chinese", "noisy", "binary", "long"])
def test_forty_megabytes_in_little_memory(kind: str, tmp_path: Path) -> None:
    """Under two seconds on a machine of its own, under 200 MB anywhere; measured in a process of its own."""
    file = tmp_path / "train.log"
    file.write_bytes(_log(kind))
    program = (
        "import sys, time\nfrom qvl_preflight.cli import main\nstart = time.process_time()\ncode = main(['diagnose', sys.argv[1], '--json'])\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"  # ru_maxrss is the parent's too
        "print(code, time.process_time() - start, int(peak) * 1024, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    code, seconds, peak = ran.stderr.split()
    assert json.loads(ran.stdout)[0]["topic"] == "oom-fit"
    assert (int(code), float(seconds) < 4, float(peak) < 200e6) == (1, True, True), ran.stderr


def test_a_log_of_powershell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """UTF-16 with its mark."""
    file = tmp_path / "log"
    file.write_bytes((TRACE + "ModuleNotFoundError: No module named 'triton.ops'").encode("utf-16"))
    assert main(["diagnose", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["topic"] == "bnb-triton-skew"


def test_an_empty_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is known of nothing."""
    (tmp_path / "log").touch()
    assert main(["diagnose", str(tmp_path / "log")]) == 0
    assert "Not known" in capsys.readouterr().out


class Shell:
    """What IPython hands to an extension."""

    def __init__(self) -> None:
        self.magics: dict[str, object] = {}
        self.user_ns: dict[str, object] = {}

    def register_magic_function(self, function: object, kind: str, name: str) -> None:
        self.magics[f"{kind}:{name}"] = function


def test_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """%load_ext qvl_preflight, a crash, %preflight why."""
    shell = Shell()
    qvl_preflight.load_ipython_extension(shell)  # type: ignore[attr-defined]
    magic = shell.magics["line_cell:preflight"]
    assert callable(magic)
    monkeypatch.setattr(sys, "last_value", None, raising=False)
    monkeypatch.setattr(sys, "last_exc", None, raising=False)
    magic("why")
    assert "no exception" in capsys.readouterr().out
    monkeypatch.setattr(sys, "last_value", ModuleNotFoundError("No module named 'triton.ops'"), raising=False)
    magic("why")
    assert "QVL391" in capsys.readouterr().out
    magic("help")
    assert "why" in capsys.readouterr().out
    assert notebook.why().startswith("1. ")


def test_a_traceback_in_one_line() -> None:
    """As logs in JSON write it: its frames are read too."""
    text = (
        r'{"level": "error", "exc": "Traceback (most recent call last):\n  File \"/v/transformers/models/auto/configuration_auto.py\", line 7, in f\n'
        r"    raise KeyError(key)\nKeyError: 'qwen2'\n" + '"}'
    )
    assert [each.code for each in qvl_preflight.diagnose(text)] == ["QVL907"]


@pytest.mark.parametrize("size", [10_000, 3_000_000, 25_000_000])
def test_a_log_without_line_breaks(size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error stands in the middle, and the line that is shown begins with it."""
    log = tmp_path / "train.log"
    log.write_text("x" * (size // 2) + " RuntimeError: CUDA error: invalid device ordinal " + "y" * (size // 2))
    assert main(["diagnose", str(log), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)[0]
    assert found["topic"] == "visible-devices"
    assert found["evidence"].startswith("RuntimeError")
