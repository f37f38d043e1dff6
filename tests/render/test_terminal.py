"""The whole text of a report, as a person reads it."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight import api, engine
from qvl_preflight.facts import Facts
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.render.terminal import print_fixed, print_report
from qvl_preflight.render.words import shown
from qvl_preflight.report import Severity
from qvl_preflight.request import Dtype
from qvl_preflight.rule import all_rules
from qvl_preflight.testing import machine

GPTQ, QWEN_VL = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "Qwen/Qwen-VL-Chat-Int4"
SEED_CALL = {
    "device_map": None,
    "trust_remote_code": True,
    "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True},
}


@pytest.fixture(autouse=True)
def _short_paths(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports show the model as it was named."""
    monkeypatch.chdir(checkpoints)
    monkeypatch.delenv("COLUMNS", raising=False)


def text_of(report: qvl_preflight.Report, **options: bool) -> str:
    stream = io.StringIO()
    print_report(report, stream, **options)
    return stream.getvalue()


def test_the_archetype() -> None:
    """Verdict first, then what matters most: what will happen, why, the edit, the command."""
    report = qvl_preflight.check(QWEN_VL, facts=machine("a100", "seed"), purpose="qlora", **SEED_CALL)  # type: ignore[arg-type]
    assert text_of(report) == textwrap.dedent("""\
        FAILS  Qwen/Qwen-VL-Chat-Int4 for qlora: this call will not do what was asked

        1. error  kernel-refuses-the-cpu (QVL306)
           What  The load will raise AssertionError, without a message, from: assert
                 self.qweight.device.type == "cuda"
           Why   the weights end on the CPU, where exllama v2 cannot run; this optimum
                 has no switch for it: disable_exllama=True turns off v1 alone
           Fix   Place the model on cuda:0 (NVIDIA A100-SXM4-80GB; the only GPU) (safe)
                 - device_map=None
                 + device_map={"": 0}
           More  qvl-preflight explain QVL306

        2. error  adapters-do-not-fit (QVL803)
           What  Training will raise ValueError: Target module QuantLinear() is not
                 supported. Currently, only the following modules are supported:
                 `torch.nn.Linear`, `torch.nn.Embedding`, `torch.nn.Conv2d`,
                 `transformers.pytorch_utils.Conv1D`.
           Why   the model holds exllamav2 layers, and this peft looks for cuda_old
           Fix   Install an optimum that can switch exllama v2 off
           Run   pip install 'optimum>=1.14,<1.23'
           More  qvl-preflight explain QVL803

        Machine
           GPU 0     NVIDIA A100-SXM4-80GB, capability 8.0, 79.2 GiB of 80.0 GiB free
           driver    535.104.05, CUDA up to 12.2
           torch     built for CUDA 12.1
           packages  torch 2.1.2, transformers 4.32.0, accelerate 0.23.0, optimum
                     1.13.2, auto-gptq 0.7.1, peft 0.8.2, triton 2.1.0
           launch    python, one process
           python    3.10.13 on linux-x86_64
           host      16 CPUs, 111.8 GiB of 128.0 GiB RAM free
        """)


def test_a_corrected_call() -> None:
    """The call to paste, why each key changed, and that nothing is left."""
    case = api.situation(GPTQ, "qlora", None, None, None, machine(), {})
    stream = io.StringIO()
    print_fixed(engine.fix(case, all_rules()), stream)
    assert stream.getvalue() == textwrap.dedent("""\
        DEGRADED  Qwen/Qwen2-7B-Instruct-GPTQ-Int4 for qlora: it runs, but not as wanted
           Plan  on cpu, torch_aten kernel, float16, 2.3 GiB of weights on cpu

        Corrected call
          from_pretrained(
              "Qwen/Qwen2-7B-Instruct-GPTQ-Int4",
              device_map={"": 0},
              quantization_config=GPTQConfig(bits=4, backend="auto_trainable"),
          )

        Why
           device_map           Place the model on cuda:0 (NVIDIA A100-SXM4-80GB; the
                                only GPU) (safe, QVL402)
           quantization_config  Choose a kernel that trains (required, QVL801)

        The corrected call is clean: nothing was found against the load, the first
        forward or the training step
        """)


def test_nothing_to_correct() -> None:
    """It is said that nothing was changed."""
    case = api.situation(GPTQ, None, None, None, None, machine(), {"device_map": {"": 0}})
    stream = io.StringIO()
    print_fixed(engine.fix(case, all_rules()), stream)
    assert "No argument was changed." in stream.getvalue()


def test_what_is_not_known_is_listed_with_its_reason() -> None:
    """An incomplete check says what it lacks, once."""
    report = qvl_preflight.check(GPTQ, facts=machine("a100", gpus=None, driver=None), device_map="auto")
    assert text_of(report).partition("Machine")[0] == textwrap.dedent("""\
        INCOMPLETE  Qwen/Qwen2-7B-Instruct-GPTQ-Int4 for inference: nothing was found,
        but not everything could be checked
           Plan  placement not known (the facts do not say which GPUs there are),
                 float16

        Not checked
           ?  which kernel holds the weights, where the weights land, whether the
              devices are there: the facts do not say which GPUs there are

        """)


def test_quiet_is_the_verdict_alone() -> None:
    """For scripts' logs: neither the plan nor anything below it."""
    text = text_of(qvl_preflight.check(GPTQ, facts=machine()), quiet=True)
    assert " ".join(text.split()) == f"DEGRADED {GPTQ} for inference: it runs, but not as wanted"


def test_a_headline_promises_no_more_than_its_findings() -> None:
    """Where an exception is among the warnings, the call may not run at all."""
    report = qvl_preflight.check(GPTQ, facts=machine("a100-old-driver"), device_map="cuda")
    assert any(finding.raises for finding in report.at_least(Severity.WARNING))
    assert "it runs" not in text_of(report, quiet=True)
    assert "this call may fail" in text_of(report, quiet=True)


def test_a_corrected_call_is_not_clean_while_something_is_open() -> None:
    """What the corrected call hangs on is listed, in place of a word that it is clean."""
    facts = machine("a100", "legacy", gpus=None, driver=None)
    case = api.situation("Qwen/Qwen2-7B-Instruct", None, None, None, None, facts, {"device_map": "auto", "dtype": Dtype("float16")})
    fixed = engine.fix(case, all_rules())
    stream = io.StringIO()
    print_fixed(fixed, stream)
    assert fixed.after.verdict == "incomplete"
    assert "is clean" not in stream.getvalue()
    assert "Not checked" in stream.getvalue()


def test_a_rename_is_one_change() -> None:
    """The key that goes and the one that comes stand in one row."""
    case = api.situation("Qwen/Qwen2-7B-Instruct", None, None, None, None, machine("a100", "legacy"), {"dtype": Dtype("float16")})
    stream = io.StringIO()
    print_fixed(engine.fix(case, all_rules()), stream)
    assert stream.getvalue().count("Call it torch_dtype") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The quantization method", "The quantization method …"),
        (
            "Unrecognized configuration class <class 'transformers.models.",
            "Unrecognized configuration class <class 'transformers.models.…",
        ),
        (
            "Unknown quantization type, got hqq - supported types are:",
            "Unknown quantization type, got hqq - supported types are: …",
        ),
        ("<urlopen error", "<urlopen error …"),
        ("You can't pass it", "You can't pass it"),
        ("No module named 'accelerate'", "No module named 'accelerate'"),
        ("Loading it requires optimum (`pip install optimum`)", "Loading it requires optimum (`pip install optimum`)"),
        ("Please\n  install it.", "Please install it."),
        ("", ""),
    ],
)
def test_a_message_that_is_cut_ends_in_an_ellipsis(text: str, said: str) -> None:
    """A reader who searches for it knows that more follows."""
    assert shown(WillRaise("QVL000", Stage.CONFIG, "ValueError", text, "cause", "why")) == said


@pytest.mark.parametrize(
    "hardware", ["a100", "two-gpus", "no-gpu", "hidden", "repeated", "rank-1-of-2", "a100-cpu-torch", "a100-old-driver"]
)
def test_text_is_fit_to_be_pasted(hardware: str) -> None:
    """No line over 80 columns but commands, none that ends in blanks, no control characters."""
    for report in (
        qvl_preflight.doctor(facts=machine(hardware)),
        qvl_preflight.check(GPTQ, facts=machine(hardware), device_map="cuda"),
    ):
        for line in text_of(report).splitlines():
            assert len(line) <= 80 or line.strip().startswith(("Run", "+", "-"))
            assert line == line.rstrip()
            assert line.isprintable()


def test_colour_only_where_it_is_wanted() -> None:
    """A stream that is no terminal gets none; color=True forces it."""
    report = qvl_preflight.check(GPTQ, facts=machine())
    assert "\x1b[" not in text_of(report)
    assert "\x1b[" in text_of(report, color=True)
    assert "\x1b[" not in text_of(report, color=False)


def test_an_inferred_purpose_is_said() -> None:
    """The reader learns why a required edit was not applied."""
    report = qvl_preflight.check(GPTQ, facts=machine(), peft={"r": 4}, device_map={"": 0})
    assert "The purpose was taken to be lora" in text_of(report)


def test_facts_of_which_nothing_is_known() -> None:
    """The doctor on an empty file: unknown, line by line, and no crash."""
    text = text_of(qvl_preflight.doctor(facts=Facts()))
    assert text.count("unknown: the facts do not say") == 4
    assert text.startswith("INCOMPLETE  this environment: nothing was found, but not everything could be\nchecked\n")


def test_a_torch_of_which_only_the_name_is_known() -> None:
    """``"torch": null`` among the packages: it may be installed or not, and neither is said."""
    text = text_of(qvl_preflight.doctor(facts={"packages": {"torch": None}}))
    assert "torch     build unknown: " in text
    assert "torch     not installed" in text_of(qvl_preflight.doctor(facts={"packages": {"torch": False}}))


def test_names_cannot_move_the_cursor() -> None:
    """What comes out of a file is shown, not obeyed."""
    gpu = {"index": 0, "name": "\x1b[2J\x1b]0;mine\x07GPU", "capability": [8, 0]}
    text = text_of(qvl_preflight.doctor(facts=machine(gpus=[gpu])))
    assert "\\x1b[2J" in text
    assert not set(text) & {"\x1b", "\x07"}
