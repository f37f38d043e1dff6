"""Configuration objects: they are made before from_pretrained is called, so that what their class refuses comes before all else.

Sources: transformers 4.32 to 5.23 utils/quantization_config.py. Run on 4.37.2, 4.57.1 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import ConfigObject
from qvl_preflight.stack import awq, bitsandbytes, gptq_settings, quant_methods
from qvl_preflight.stack.quantizers import METHOD_OF
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def made(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: the quantization_config of the call, where it is an object."""
    passed = situation.request.kwargs.get("quantization_config")
    if not isinstance(passed, ConfigObject) or situation.packages.release("transformers") is None:
        return
    method = method_of(passed.class_name)
    if method is not None and not quant_methods.knows(situation.packages, method):
        text = f"cannot import name '{passed.class_name}' from 'transformers'"
        why = f"transformers {situation.packages.version('transformers')} has no {passed.class_name}: it came with {quant_methods.SINCE[method][1]}"
        yield WillRaise("QVL908", Stage.ENVIRONMENT, "ImportError", text, "config-class", why, evidence=Evidence.RUN)
    elif passed.class_name in _REFUSALS:
        yield from _refusal(situation, passed)
    elif passed.class_name == "BitsAndBytesConfig":
        yield from bitsandbytes.made(situation, passed.fields)
    elif passed.class_name == "GPTQConfig":
        yield from gptq_settings.made(situation, passed.fields)
        yield from _exllama(situation, passed.fields)
    elif passed.class_name == "AwqConfig":
        yield from awq.made(situation, draft)
        yield from awq.fused(situation, passed.fields)
    elif passed.class_name == "FineGrainedFP8Config":
        yield from _fp8(situation, passed.fields)


_REFUSALS: dict[str, ByRelease[tuple[str, str]]] = {
    "QuarkConfig": ByRelease(
        "transformers",
        Row("4.50", "5.0", ("ImportError", "Quark is not installed. Please refer to"), Evidence.RUN, "transformers 4.57.1 utils/quantization_config.py"),
        Row("5.17", None, ("ImportError", "Please install the latest version of Quark"), Evidence.RUN, "transformers 5.23.0 utils/quantization_config.py:1760"),
    ),
    "CompressedTensorsConfig": ByRelease(
        "transformers",
        Row("4.56", "5.0", ("ImportError", "compressed_tensors is not installed and is required for compressed-tensors quantization."), Evidence.RUN, "transformers 4.57.1 utils/quantization_config.py"),
        Row("5.17", None, ("ImportError", "compressed-tensors>="), Evidence.RUN, "transformers 5.23.0 utils/quantization_config.py"),
    ),
    "TorchAoConfig": ByRelease(
        "transformers", Row("4.56", "5.0", ("ValueError", "TorchAoConfig requires torchao to be installed. Install with `pip install torchao`"), Evidence.RUN, "transformers 4.57.1 utils/quantization_config.py"),
        Row("5.0", "5.17", ("ValueError", "TorchAoConfig requires torchao to be installed. Install with `pip install torchao`"), Evidence.SOURCE, "transformers 5.0.0, 5.2.0, 5.10.0 utils/quantization_config.py:1508"),
        Row("5.17", None, ("ValueError", "TorchAoConfig requires torchao to be installed. Install with `pip install torchao`"), Evidence.RECORDED, "transformers 5.17.0 on an H100; 5.23.0 utils/quantization_config.py:1514"),
    ),
    "HqqConfig": ByRelease(
        "transformers",
        Row("4.49", "5.0", ("ImportError", "A valid HQQ version (>=0.2.1) is not available."), Evidence.RUN, "transformers 4.57.1 utils/quantization_config.py:316"),
        Row("5.0", None, ("ImportError", "A valid HQQ version (>=0.2.1) is not available."), Evidence.RUN, "transformers 5.23.0 utils/quantization_config.py:312"),
    ),
    "QuantoConfig": ByRelease(
        "transformers", Row("4.41", None, ("ValueError", "Only support weights in ['float8', 'int8', 'int4', 'int2'] but found {}"), Evidence.RUN, "transformers 4.57.1, 5.23.0 utils/quantization_config.py")
    ),
}  # fmt: skip
_PACKAGES = {
    "HqqConfig": "hqq",
    "QuarkConfig": "amd-quark",
    "CompressedTensorsConfig": "compressed-tensors",
    "TorchAoConfig": "torchao",
}
_STRINGS_OF_TORCHAO = "String-based quantization type '{}' is no longer supported."


def _refusal(situation: Situation, passed: ConfigObject) -> Iterator[WillRaise]:
    """Other methods: a package that the class itself asks for, and what it takes."""
    name, packages = passed.class_name, situation.packages
    kind, weights = passed.fields.get("quant_type"), passed.fields.get("weights")
    if name == "TorchAoConfig" and packages.at_least("transformers", 5, 17) and packages.has("torchao"):
        if isinstance(kind, str):
            text, why = (
                _STRINGS_OF_TORCHAO.format(kind),
                f'quant_type="{kind}" is a name, and this release takes a configuration object of torchao',
            )
            yield WillRaise("QVL304", Stage.ARGUMENTS, "ValueError", text, "quant-type", why, evidence=Evidence.RUN)
    elif name == "QuantoConfig" and isinstance(weights, str) and weights not in ("float8", "int8", "int4", "int2"):
        row = _REFUSALS[name].row(packages)
        yield WillRaise(
            "QVL304",
            Stage.ARGUMENTS,
            row.value[0],
            row.value[1].format(weights),
            "quant-type",
            f'weights="{weights}" is no kind of weights',
            evidence=row.evidence,
        )
    elif name in _PACKAGES and not packages.has(_PACKAGES[name]):
        row = _REFUSALS[name].row(packages)
        yield WillRaise(
            "QVL301",
            Stage.ARGUMENTS,
            *row.value,
            "quant-packages",
            f"{name} asks for {_PACKAGES[name]}, which is not installed",
            evidence=row.evidence,
        )


def _fp8(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """A scheme for the activations that the class does not know (4.48 to 4.57 utils/quantization_config.py; later releases take "static" as well)."""
    scheme = fields.get("activation_scheme")
    known = ("dynamic", "static") if situation.packages.at_least("transformers", 5) else ("dynamic",)
    if isinstance(scheme, str) and scheme.lower() not in known:
        text = f"Activation scheme {scheme.lower()} not supported"
        why = f'activation_scheme="{scheme}" is none of {", ".join(known)}'
        evidence = Evidence.RUN if situation.packages.at_least("transformers", 4, 57) else Evidence.SOURCE
        yield WillRaise("QVL304", Stage.ARGUMENTS, "ValueError", text, "quant-type", why, evidence=evidence)


def method_of(class_name: str) -> str | None:
    """The method as quant_methods names it; None for a class that is not in the tables."""
    method = "auto-round" if class_name == "AutoRoundConfig" else METHOD_OF.get(class_name)
    method = "bitsandbytes_4bit" if method == "bitsandbytes" else method
    return method if method in quant_methods.SINCE else None


def _exllama(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """exllama_config, which 4.35 to 4.57 look into."""
    given = fields.get("exllama_config")
    if (
        not isinstance(given, Mapping)
        or not situation.packages.at_least("transformers", 4, 35)
        or situation.packages.at_least("transformers", 5)
    ):
        return
    version = given.get("version")
    if "version" not in given:
        text, why = "`exllama_config` needs to have a `version` key.", "exllama_config says no version of the kernel"
    elif isinstance(version, int) and version not in (1, 2):
        text = f"Only supported versions are in [ExllamaVersion.ONE, ExllamaVersion.TWO] - not recognized version {version}"
        why = f"exllama_config asks for version {version}, and there are 1 and 2"
    else:
        return
    yield WillRaise("QVL304", Stage.ARGUMENTS, "ValueError", text, "exllama-flags", why, evidence=Evidence.RUN)
