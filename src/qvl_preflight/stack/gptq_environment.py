"""GPTQ in transformers: what a release asks of the environment and of GPTQConfig, in the order in which it asks.

Sources: transformers 4.32 to 4.37 modeling_utils.py, 4.38 on quantizers/quantizer_gptq.py; utils/quantization_config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.stack import auto_gptq
from qvl_preflight.stack.cuda import available
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def gptq_of(draft: Draft) -> Quantization | None:
    """The GPTQ settings of the model, None for any other model. Raises Undecided."""
    quantization = need(draft.quantization)
    return quantization if quantization is not None and quantization.method == "gptq" else None


def stored_gptq(draft: Draft) -> Quantization | None:
    """As `gptq_of`, for a checkpoint that comes quantised: one that is quantised by the load goes through other hands. Raises Undecided."""
    quantization = gptq_of(draft)
    return quantization if quantization is not None and quantization.pre_quantized else None


def backend_package(situation: Situation) -> str:
    """Which package provides the linear layers: ``auto-gptq`` or ``gptqmodel``. Raises Undecided."""
    release = situation.packages.release("transformers")
    if release is None:
        raise Undecided("transformers is not installed")
    if release >= (5,):
        return "gptqmodel"
    # 4.49 to 4.57 take gptqmodel where both are installed (quantizer_gptq.py validate_environment).
    return "gptqmodel" if release >= (4, 49) and situation.packages.has("gptqmodel") else "auto-gptq"


@dataclass(frozen=True)
class _Check:
    """One test of the environment, in the order in which the release makes them."""

    fails: Callable[[Situation], bool]  # raises Undecided
    type: str
    text: str
    code: str
    why: str
    evidence: Evidence


def _lacks(*names: str) -> Callable[[Situation], bool]:
    return lambda situation: any(not situation.packages.has(name) for name in names)


def _lacks_all(*names: str) -> Callable[[Situation], bool]:
    return lambda situation: all(not situation.packages.has(name) for name in names)


def _no_cuda(situation: Situation) -> bool:
    return not available(situation)


def _old_backend_without_cuda(situation: Situation) -> bool:
    release = situation.packages.release("auto-gptq")
    old = release is not None and release <= (0, 4, 2)
    return old and not situation.packages.has("gptqmodel") and not available(situation)


def _gptqmodel_too_old(situation: Situation) -> bool:
    gptqmodel_release, optimum = situation.packages.release("gptqmodel"), situation.packages.release("optimum")
    return gptqmodel_release is not None and (gptqmodel_release < (1, 4, 3) or (optimum or (0,)) < (1, 24))


def _optimum_needs_newer_gptqmodel(situation: Situation) -> bool:
    gptqmodel_release = situation.packages.release("gptqmodel")
    return situation.packages.at_least("optimum", 2, 3) and gptqmodel_release is not None and gptqmodel_release < (7,)


def _optimum_23_alone(situation: Situation) -> bool:
    return situation.packages.at_least("optimum", 2, 3) and not situation.packages.has("gptqmodel")


_GPU = "GPU is required to quantize or run quantize model."
_NEEDS_GPU = _Check(
    _no_cuda, "RuntimeError", _GPU, "QVL104", "this release loads a GPTQ checkpoint only where CUDA is available", Evidence.RECORDED
)
_OLD_NEEDS_GPU = _Check(
    _old_backend_without_cuda, "RuntimeError", _GPU, "QVL104", "auto-gptq up to 0.4.2 needs CUDA", Evidence.SOURCE
)
_MISSING = "QVL301"
_BOTH = "Loading a GPTQ quantized model requires optimum (`pip install optimum`) and auto-gptq library (`pip install auto-gptq`)"
_OPTIMUM = "Loading a GPTQ quantized model requires optimum (`pip install optimum`)"
_MINIMA = "The gptqmodel version should be >= 1.4.3, optimum version should >= 1.24.0"


def _missing(names: tuple[str, ...], type_: str, text: str, evidence: Evidence, why: str = "") -> _Check:
    return _Check(
        _lacks(*names),
        type_,
        text,
        _MISSING,
        why
        or f"this transformers loads GPTQ through {' and '.join(names)}, which {'are not both' if len(names) > 1 else 'is not'} installed",
        evidence,
    )


_NO_METADATA = _missing(("auto-gptq",), "PackageNotFoundError", "No package metadata was found for auto-gptq", Evidence.RUN)
# auto-gptq and gptqmodel import it themselves, device_map or not.
_NO_ACCELERATE = replace(
    _missing(("accelerate",), "ModuleNotFoundError", "No module named 'accelerate'", Evidence.RUN),
    code="QVL601",
    why="the packages that load GPTQ import accelerate, which is not installed",
)
_NO_OPTIMUM = _missing(("optimum",), "ImportError", _OPTIMUM, Evidence.RUN)
_TOO_OLD = _Check(
    _gptqmodel_too_old,
    "ImportError",
    _MINIMA,
    "QVL302",
    "gptqmodel or optimum is older than this transformers takes",
    Evidence.SOURCE,
)
_ENVIRONMENT: ByRelease[tuple[_Check, ...]] = ByRelease(
    "transformers",
    Row("4.32", "4.33", (_NEEDS_GPU, _missing(("optimum", "auto-gptq"), "ImportError", "Loading GPTQ quantized model requires optimum library : `pip install optimum` and auto-gptq library 'pip install auto-gptq'", Evidence.SOURCE)), Evidence.RECORDED, "transformers 4.32.0 modeling_utils.py:2474"),
    Row("4.33", "4.35", (_NEEDS_GPU, _missing(("optimum", "auto-gptq"), "ImportError", _BOTH, Evidence.SOURCE)), Evidence.SOURCE, "transformers 4.34.1 modeling_utils.py:2687"),
    Row("4.35", "4.38", (_NO_METADATA, _OLD_NEEDS_GPU, _missing(("optimum",), "ImportError", _BOTH, Evidence.RUN), _NO_ACCELERATE), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3142"),
    Row("4.38", "4.46", (_missing(("optimum",), "ModuleNotFoundError", "No module named 'optimum'", Evidence.SOURCE), _NO_METADATA, _OLD_NEEDS_GPU), Evidence.SOURCE, "transformers 4.45.2 quantizers/quantizer_gptq.py:45"),
    Row("4.46", "4.49", (_NO_OPTIMUM, _missing(("auto-gptq",), "ImportError", "Loading a GPTQ quantized model requires the auto-gptq library (`pip install auto-gptq`)", Evidence.SOURCE), _OLD_NEEDS_GPU), Evidence.SOURCE, "transformers 4.48.3 quantizers/quantizer_gptq.py"),
    Row("4.49", "5.0", (
        _NO_OPTIMUM, _OLD_NEEDS_GPU,
        _Check(lambda s: _lacks_all("gptqmodel", "auto-gptq")(s) and not available(s), "RuntimeError", _GPU, _MISSING, "neither gptqmodel nor auto-gptq is installed", Evidence.SOURCE),
        _Check(_lacks_all("gptqmodel", "auto-gptq"), "ImportError", "Loading a GPTQ quantized model requires gptqmodel (`pip install gptqmodel`) or auto-gptq (`pip install auto-gptq`) library.", _MISSING, "neither gptqmodel nor auto-gptq is installed", Evidence.SOURCE),
        _TOO_OLD,
    ), Evidence.SOURCE, "transformers 4.57.1 quantizers/quantizer_gptq.py:54"),
    Row("5.0", None, (
        _NO_OPTIMUM,
        _Check(_optimum_needs_newer_gptqmodel, "ImportError", "Found an incompatible version of GPT-QModel (`gptqmodel` package).", "QVL302", "optimum 2.3 takes gptqmodel from 7.0.0 on", Evidence.SOURCE),
        _Check(_optimum_23_alone, "NameError", "name 'QuantizeConfig' is not defined", _MISSING, "transformers 5 loads GPTQ through gptqmodel, which is not installed (auto-gptq no longer counts)", Evidence.RUN),
        _Check(lambda s: not s.packages.has("gptqmodel") and not available(s), "RuntimeError", _GPU, _MISSING, "transformers 5 loads GPTQ through gptqmodel, which is not installed", Evidence.SOURCE),
        _missing(("gptqmodel",), "ImportError", "Loading a GPTQ quantized model requires gptqmodel (`pip install gptqmodel`) library.", Evidence.SOURCE),
        _TOO_OLD, _NO_ACCELERATE,
    ), Evidence.RUN, "transformers 5.23.0 quantizers/quantizer_gptq.py:49"),
)  # fmt: skip


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: packages and CUDA, as the release asks for them."""
    quantization = gptq_of(draft)
    if quantization is None:
        return
    draft.quantization = replace(quantization, backend=attempt(lambda: backend_package(situation)))
    for check in _ENVIRONMENT.value(situation.packages):
        fails = attempt(lambda check=check: check.fails(situation))  # type: ignore[misc]
        if isinstance(fails, Unknown):
            draft.undecided.append((Stage.ENVIRONMENT, check.code, fails.reason))
        elif fails:
            yield WillRaise(
                check.code,
                Stage.ENVIRONMENT,
                check.type,
                check.text,
                "no-cuda" if check.text == _GPU else "quant-packages",
                check.why,
                evidence=check.evidence,
            )
            return
    if need(draft.quantization.backend) == "auto-gptq" and (text := auto_gptq.too_old(situation)):
        yield WillRaise(
            "QVL302",
            Stage.ENVIRONMENT,
            "ImportError",
            text,
            "quant-packages",
            "optimum and auto-gptq do not go together",
            evidence=Evidence.SOURCE,
        )


def quantizing(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: a GPTQConfig on a plain checkpoint quantises it now, which takes a dataset and, with auto-gptq, CUDA.

    Sources: optimum 1.13.2 to 2.3.0 gptq/quantizer.py quantize_model. Run: 1.16.2 without a GPU; 2.3.0 without a dataset.
    """
    quantization = gptq_of(draft)
    if quantization is None or quantization.pre_quantized:
        return
    if backend_package(situation) == "auto-gptq" and not available(situation):
        text, why = (
            "No GPU found. A GPU is needed to quantize model.",
            "a GPTQConfig on a plain checkpoint quantises it now, which needs CUDA here",
        )
        yield WillRaise("QVL104", Stage.MATERIALISE, "RuntimeError", text, "no-cuda", why, evidence=Evidence.RUN)
    elif not isinstance(draft.device_map, Unknown) and "disk" in draft.device_map.values():
        text = "disk offload is not supported with GPTQ quantization"
        why = "a GPTQConfig on a plain checkpoint quantises it now, which optimum does not do with parts on the disk"
        yield WillRaise("QVL325", Stage.MATERIALISE, "ValueError", text, "gptq-dataset", why, evidence=Evidence.RUN)
    elif _without_tokenizer(situation):
        text = "We were not able to get the tokenizer using `AutoTokenizer.from_pretrained`"
        why = "a GPTQConfig on a plain checkpoint quantises it now, with the tokenizer of its folder, which holds none"
        yield WillRaise("QVL325", Stage.MATERIALISE, "ValueError", text, "gptq-dataset", why, evidence=Evidence.RUN)
    elif situation.request.get("quantization_config.dataset") in (MISSING, None):
        text = "You need to pass `dataset` in order to quantize your model"
        why = "a GPTQConfig on a plain checkpoint quantises it now, and no dataset is given to calibrate with"
        yield WillRaise("QVL325", Stage.MATERIALISE, "ValueError", text, "gptq-dataset", why, evidence=Evidence.RUN)


_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def _without_tokenizer(situation: Situation) -> bool:
    """A folder that holds weights and no file of a tokenizer, where none is passed (optimum 1.13.2 to 2.3.0 gptq/quantizer.py)."""
    checkpoint, source = situation.checkpoint, situation.checkpoint.source
    if (
        situation.request.get("quantization_config.tokenizer") not in (MISSING, None)
        or source is None
        or source.hub
        or checkpoint.remote_code
    ):
        return False
    return not isinstance(checkpoint.weights, Unknown) and all(source.path(name) is None for name in _TOKENIZERS)
