"""What every load needs and is not installed: transformers, and torch.

Run: `import transformers` without it; AutoModelForCausalLM and LlamaForCausalLM of 4.37.2, 4.57.1 and 5.23.0 with torch hidden from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.facts import absent
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import requirements
from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

CAUSE = "not-installed"


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


def _raised(kind: str, text: str, why: str) -> WillRaise:
    return WillRaise("QVL607", Stage.ENVIRONMENT, kind, text, CAUSE, why, evidence=Evidence.RUN)
