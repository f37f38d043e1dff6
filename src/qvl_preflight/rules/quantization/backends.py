"""The packages that load a quantised checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from qvl_preflight.facts import Facts
from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.cuda.ways_out import give_gpu
from qvl_preflight.unknown import need


@rule(
    "QVL301",
    Severity.ERROR,
    topic="gptq-missing-dep",
    symptoms=(
        r"requires (optimum|gptqmodel|the auto-gptq library)",
        r"name 'QuantizeConfig' is not defined",
        r"No package metadata was found for auto-gptq",
        r"No module named '(optimum|compressed_tensors)'",
        r"(compressed-tensors quantization|Using `\w+` quantization requires|Loading an? (quanto|optimum-quanto|torchao|EETQ|AutoRound) quantized model requires)",
        r"A valid HQQ version .* is not available",
    ),
)
def quantization_backend_missing(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    A package that loads this checkpoint is not installed.

    ## What happens
    transformers 4.32 to 4.48 load GPTQ through optimum and auto-gptq, 4.49 to 4.57 through optimum and gptqmodel or auto-gptq, 5.x through
    optimum and gptqmodel alone: there auto-gptq no longer counts. What is missing shows as an ImportError, a PackageNotFoundError, or with
    optimum 2.3 as `NameError: name 'QuantizeConfig' is not defined`.

    ## Example
    ```python stack=today-without-gptqmodel
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead, with the package installed:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    quantization = need(plan.quantization)
    if quantization is None or quantization.method == "gptq":
        yield from as_planned(plan, "QVL301", _install(remedies))
        return
    package = _package(quantization.method, remedies.release)
    yield from as_planned(plan, "QVL301", Fix.display(f"Install {package}", f"pip install {shlex.quote(package)}"))


# What pip calls the package of a method, where that is not the method's own name.
_PACKAGES = {
    "aqlm": "aqlm[gpu,cpu]", "quanto": "optimum-quanto", "quark": "amd-quark", "spqr": "spqr_quant[gpu]", "fbgemm_fp8": "fbgemm-gpu-genai", "higgs": "flute-kernel",
}  # fmt: skip


def _package(method: str, release: tuple[int, ...]) -> str:
    if method == "awq":
        return "gptqmodel" if release >= (5,) else "autoawq"
    if method == "compressed-tensors" and release >= (5, 17):
        return "compressed-tensors>=0.15.0"
    if method == "torchao" and release >= (5, 17):
        return "torchao>=0.15.0"
    if method == "eetq" and release >= (5,):
        return "kernels"
    return _PACKAGES.get(method, method)


def _install(remedies: Remedies) -> Fix:
    if remedies.release >= (5,):
        return Fix.display(
            "Install what transformers 5 loads GPTQ with",
            "pip install 'optimum>=2.3'",
            "pip install 'gptqmodel>=7.7' --no-build-isolation",
        )
    if remedies.release >= (4, 49):
        return Fix.display(
            "Install what this transformers loads GPTQ with",
            "pip install 'optimum>=1.24,<2.1'",
            "pip install 'gptqmodel>=2,<5' --no-build-isolation",
        )
    pin = "'optimum>=1.14,<1.23' 'auto-gptq>=0.5,<0.8'"
    return Fix.display("Install what this transformers loads GPTQ with", f"pip install {pin}")


@rule(
    "QVL302",
    Severity.WARNING,
    topic="gptq-version-skew",
    symptoms=(
        r"Found an incompatible version of (auto-gptq|gptqmodel|GPT-QModel)",
        r"optimum version should >= 1\.24\.0",
        r"You need a version of auto_gptq",
    ),
)
def quantization_backend_version(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The packages that load this checkpoint do not go together.

    ## What happens
    optimum, auto-gptq, gptqmodel and transformers each test the releases of the others and stop with an ImportError: optimum from 1.14 on
    takes auto-gptq from 0.5.0 on, optimum 2.3 takes gptqmodel from 7.0.0 on.

    ## Example
    ```python stack=today-old-gptqmodel
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead, with releases that go together:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from as_planned(plan, "QVL302", _install(remedies))


@rule(
    "QVL309",
    Severity.ERROR,
    topic="bnb-missing",
    symptoms=(r"requires (the latest version of )?bitsandbytes", r"No package metadata was found for bitsandbytes"),
)
def bitsandbytes_missing(plan: LoadPlan, facts: Facts) -> Iterator[Finding]:
    """
    bitsandbytes is asked for and not installed, or too old.

    ## What happens
    Up to transformers 4.57 `BitsAndBytesConfig(load_in_4bit=True)` itself asks for the installed release and raises PackageNotFoundError; from
    5.0 on the load raises an ImportError that names bitsandbytes 0.46.1. From 4.38 to 4.52 the same words can mean that CUDA is not available: an
    older bitsandbytes counts as missing then, and installing it again helps nothing.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead, with bitsandbytes installed:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """

    def remedy(raised: WillRaise) -> Fix:
        return (
            give_gpu(facts)
            if "counts as missing" in raised.why
            else Fix.display("Install bitsandbytes", "pip install -U bitsandbytes")
        )

    yield from as_planned(plan, "QVL309", remedy)
