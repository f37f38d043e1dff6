"""What the call needs and is not installed: transformers and torch for every load, peft for adapters, accelerate for the Trainer.

Run: `import transformers` without it; AutoModelForCausalLM and LlamaForCausalLM of 4.37.2, 4.57.1 and 5.23.0 with torch hidden from them,
TrainingArguments of 4.37.2, 4.57.1 and 5.23.0 with accelerate hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.facts import absent
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import requirements
from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

CAUSE = "not-installed"
# What TrainingArguments say without accelerate; 4.28 does without it.
_NO_ACCELERATE: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.30", "5.0", ("ImportError", "Using the `Trainer` with `PyTorch` requires `accelerate>="), Evidence.RUN, "transformers 4.37.2, 4.57.1; 4.30.2, 4.45.2 training_args.py"),
    Row("5.0", "5.23", ("ImportError", ""), Evidence.SOURCE, "transformers 5.0.0 training_args.py:1745"),
    Row("5.23", None, ("ModuleNotFoundError", "Could not import module 'TrainingArguments'."), Evidence.RUN, "transformers 5.23.0"),
)  # fmt: skip


def needed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: transformers, or the torch that its classes ask for, is known not to be installed. What is not known is left out."""
    missing = absent(situation.facts)
    if not missing:
        return
    why = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed in this environment"
    if "transformers" in missing:
        yield _raised("ModuleNotFoundError", "No module named 'transformers'", f"{why}: the load cannot begin")
    else:
        loader = situation.request.loader or "AutoModelForCausalLM"
        text = attempt(lambda: requirements.without_torch(situation.packages, loader))
        said = "" if isinstance(text, Unknown) else text
        yield _raised("ImportError", said, f"{why}, and every class of transformers that loads a model asks for it")


def adapters(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: peft, which makes them."""
    wanted = situation.request.purpose in ("lora", "qlora") and situation.request.trains
    if wanted and attempt(lambda: situation.packages.has("peft")) is False:
        why = "adapters are made with peft, which is not installed in this environment"
        text = "No module named 'peft'"
        yield WillRaise("QVL607", Stage.ADAPTERS, "ModuleNotFoundError", text, "import-peft", why, evidence=Evidence.RUN)


def trainer(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: accelerate, which TrainingArguments ask for. A device_map has asked for it before."""
    if situation.request.trainer is None or attempt(lambda: situation.packages.has("accelerate")) is not False:
        return
    row = attempt(lambda: _NO_ACCELERATE.row(situation.packages))
    if not isinstance(row, Unknown):
        why = "transformers' Trainer runs on accelerate, which is not installed in this environment"
        yield WillRaise("QVL607", Stage.TRAINER, *row.value, "accelerate", why, evidence=row.evidence)


def _raised(kind: str, text: str, why: str) -> WillRaise:
    return WillRaise("QVL607", Stage.ENVIRONMENT, kind, text, CAUSE, why, evidence=Evidence.RUN)
