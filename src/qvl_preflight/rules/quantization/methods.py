"""The quantisation method of the checkpoint, against those that this release of transformers knows."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack import quant_methods
from qvl_preflight.stack.fp8_forward import KERNELS
from qvl_preflight.unknown import Unknown, attempt


def _cure(situation: Situation) -> Fix:
    method = quant_methods.written(situation) or ""
    if method in quant_methods.SINCE:
        since = quant_methods.SINCE[method][1]
        return Fix.display(f"Install a transformers that knows {method}", f"pip install 'transformers>={since}'")
    slip = quant_methods.meant(method)
    if slip is not None:
        return Fix.display(f'Say "quant_method": "{slip}" in config.json')
    return Fix.display("Load it with the tool that quantised it, or take another checkpoint")


@rule(
    "QVL311",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"Unknown quantization type, got ", r"quantization config from the arguments has no `quant_method` attribute"),
)
def unknown_quant_method(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    The checkpoint is quantised with a method that this transformers refuses.

    ## What happens
    transformers 4.38 to 4.48 raise `ValueError: Unknown quantization type` for a quant_method that they do not know: one that came later (fp8 is
    known from 4.49 on, mxfp4 from 4.55 on), one of another tool, or a misspelt one. Settings that name no method are refused by all later releases, too.

    ## Example
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```
    Use instead, with a release that knows the method:
    ```python hardware=h100 stack=today-kernels
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: another release of transformers, or a corrected config.json.
    """
    yield from as_planned(plan, "QVL311", _cure(situation))


@rule(
    "QVL312", Severity.WARNING, topic="version-skew", symptoms=(r"Unknown quantization type, got .* we will skip the quantization",)
)
def quantization_passed_over(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    The checkpoint is quantised with a method that this transformers passes over.

    ## What happens
    transformers up to 4.37, and from 4.49 on, load such a checkpoint as if it were a plain model: the first without a word, the others with one
    line in the log. Packed or scaled weights then do not fit the plain layers, which are left as they were initialised, or hold numbers without
    their scales: the model loads, and talks nonsense.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("broken/method-misspelt", device_map={"": 0})
    ```
    Use instead a checkpoint whose quant_method is spelt as transformers knows it:
    ```python
    AutoModelForCausalLM.from_pretrained("example/awq", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: another release of transformers, or a corrected config.json.
    """
    method = quant_methods.skipped(situation)
    if method is None or _weights_are_plain(situation):
        return
    why = quant_methods.why_unknown(situation, method)
    yield Finding(f"{why}: it is loaded as if it were a plain model", fix=_cure(situation))


def _weights_are_plain(situation: Situation) -> bool:
    """Are the stored tensors known to be those of a plain model, whatever config.json says?"""
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        return False
    return all(tensor.dtype in ("BF16", "F16", "F32") and "scale" not in tensor.name for tensor in weights.tensors)


@rule(
    "QVL322",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"is not available yet and will be supported soon", r"Loading pre-quantized NVFP4 checkpoints is not supported yet"),
)
def method_is_not_ported(plan: LoadPlan) -> Iterator[Finding]:
    """
    transformers 5 does not do this with this quantisation method (yet).

    ## What happens
    transformers 5 rewrote how weights are quantised during a load. HQQ and HIGGS have not followed: their configuration is taken, the packages are
    asked for, and the first weight raises `NotImplementedError: QuantizationMethod.HQQ is not available yet and will be supported soon`. NVFP4 is the
    other way round: checkpoints that come quantised are refused.

    ## Example
    ```python stack=today-hqq
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=HqqConfig(nbits=4, group_size=64))
    ```
    Use instead a method that is there:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: another method, or transformers 4.57.
    """
    fix = Fix.display("Quantise with bitsandbytes, quanto or torchao, or use transformers 4.57", "pip install 'transformers<5'")
    yield from as_planned(plan, "QVL322", fix)


@rule(
    "QVL338",
    Severity.ERROR,
    topic="fp8-capability",
    symptoms=(r"finegrained-fp8 kernel (unavailable|requires the `kernels` package)",),
)
def fp8_without_kernels(plan: LoadPlan, packages: Packages) -> Iterator[Finding]:
    """
    FP8 layers without the package that multiplies by them.

    ## What happens
    transformers 5.10 and later take the product of FP8 layers from the package kernels, in a narrow range of releases that is another for each release of
    transformers. The load succeeds; the first forward raises `ImportError: finegrained-fp8 kernel unavailable`, on the GPU and on the CPU alike. Where the GPU is older
    than compute capability 8.9 a stored FP8 checkpoint becomes a bfloat16 model instead, and needs nothing.

    ## Example
    ```python hardware=h100
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map={"": 0})
    ```
    Use instead, or install the package:
    ```python hardware=h100
    AutoModelForCausalLM.from_pretrained("example/fp8", device_map={"": 0}, quantization_config=FineGrainedFP8Config(dequantize=True))
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    row = attempt(lambda: KERNELS.value(packages))
    command = () if isinstance(row, Unknown) else (f"pip install 'kernels>={row[1]},<{row[2]}'",)
    yield from as_planned(
        plan, "QVL338", Fix.display("Install the kernels that this transformers takes; the first use downloads one", *command)
    )
