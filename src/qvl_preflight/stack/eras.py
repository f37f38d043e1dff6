"""Where the release of transformers is not known: the stacks that a call can be meant for.

A stack of each era stands for its neighbours, with the companions of its day. What the call and the packages that are known rule out is
left out; what then happens on every stack that is left is said, as a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from qvl_preflight.checkpoint import UnreadConfig
from qvl_preflight.facts import Gpu
from qvl_preflight.request import ConfigObject
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation


@dataclass(frozen=True)
class Era:
    """One release of transformers, and what was installed beside it."""

    transformers: str
    companions: Mapping[str, str]


ERAS = (
    Era(
        "4.34.1",
        {
            "torch": "2.1.0",
            "accelerate": "0.23.0",
            "optimum": "1.13.2",
            "auto-gptq": "0.4.2",
            "peft": "0.5.0",
            "bitsandbytes": "0.41.1",
        },
    ),
    Era(
        "4.34.1",
        {
            "torch": "2.1.0",
            "accelerate": "0.23.0",
            "optimum": "1.13.2",
            "auto-gptq": "0.7.1",
            "peft": "0.8.2",
            "bitsandbytes": "0.41.1",
        },
    ),
    Era(
        "4.37.2",
        {
            "torch": "2.2.0",
            "accelerate": "0.26.1",
            "optimum": "1.16.2",
            "auto-gptq": "0.7.1",
            "peft": "0.8.2",
            "bitsandbytes": "0.42.0",
            "autoawq": "0.1.8",
        },
    ),
    Era(
        "4.45.2",
        {
            "torch": "2.4.1",
            "accelerate": "1.0.1",
            "optimum": "1.22.0",
            "auto-gptq": "0.7.1",
            "peft": "0.13.2",
            "bitsandbytes": "0.44.1",
            "autoawq": "0.2.6",
        },
    ),
    Era(
        "4.51.3",
        {
            "torch": "2.6.0",
            "accelerate": "1.6.0",
            "optimum": "1.24.0",
            "gptqmodel": "2.2.0",
            "peft": "0.15.2",
            "bitsandbytes": "0.45.5",
            "autoawq": "0.2.8",
        },
    ),
    Era(
        "4.57.1",
        {
            "torch": "2.9.0",
            "accelerate": "1.11.0",
            "optimum": "2.0.0",
            "gptqmodel": "4.2.5",
            "peft": "0.18.1",
            "bitsandbytes": "0.48.1",
            "autoawq": "0.2.9",
        },
    ),
    Era(
        "5.23.0",
        {
            "torch": "2.14.1",
            "accelerate": "1.15.0",
            "optimum": "2.3.0",
            "gptqmodel": "7.7.0",
            "peft": "0.21.2",
            "bitsandbytes": "0.50.2",
        },
    ),
)

_Packages = Mapping[str, "str | Literal[False] | Unknown"]
_Range = tuple[str, str]  # of transformers: from, up to but not including
_ALWAYS: _Range = ("0", "999")
# A package in this range of releases goes with these releases of transformers alone (minimum versions in transformers' utils/import_utils.py,
# requirements in the packages' metadata).
_GOES_WITH: tuple[tuple[str, _Range, _Range], ...] = (
    ("auto-gptq", _ALWAYS, ("4.32", "5.0")),
    ("auto-gptq", ("0", "0.5"), ("4.32", "4.38")),
    ("gptqmodel", _ALWAYS, ("4.49", "999")),
    ("gptqmodel", ("7", "999"), ("5.0", "999")),
    ("optimum", ("0", "1.24"), ("0", "4.49")),
    ("optimum", ("2.3", "999"), ("5.0", "999")),
    ("accelerate", ("0", "0.26"), ("0", "4.45")),
    ("accelerate", ("0", "1.1"), ("0", "5.0")),
    ("bitsandbytes", ("0", "0.46.1"), ("0", "5.0")),
    ("torch", ("0", "2.1"), ("0", "4.52")),
    ("torch", ("0", "2.4"), ("0", "5.5")),
    ("peft", ("0.19", "999"), ("4.50", "999")),
)
# An argument that only these releases read.
_ARGUMENTS: Mapping[str, _Range] = {
    "dtype": ("4.56", "999"),
    "use_flash_attention_2": ("4.34", "4.53"),
    "attn_implementation": ("4.36", "999"),
    "load_in_4bit": ("0", "5.0"),
    "load_in_8bit": ("0", "5.0"),
    "low_cpu_mem_usage": ("0", "5.0"),
}
# A checkpoint quantised so is written for these releases (AUTO_QUANTIZATION_CONFIG_MAPPING, quantizers/auto.py; modeling_utils.py before 4.38).
_METHODS: Mapping[str, _Range] = {
    "awq": ("4.35", "999"), "aqlm": ("4.38", "999"), "fbgemm_fp8": ("4.43", "999"), "compressed-tensors": ("4.45", "999"), "fp8": ("4.49", "999"),
    "mxfp4": ("4.55", "999"),
}  # fmt: skip
_FIELDS: Mapping[str, _Range] = {
    "disable_exllama": ("4.32", "4.51"), "use_exllama": ("4.35", "5.0"), "exllama_config": ("4.35", "5.0"), "backend": ("4.49", "999"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """The situation on one stack that it can be meant for."""

    situation: Situation
    name: str  # the releases that were assumed and tell it apart
    assumes_transformers: bool


def hypotheses(situation: Situation) -> tuple[Hypothesis, ...]:
    """The situation on each stack that it can be meant for; () where every package that matters is known."""
    known = {} if isinstance(situation.facts.packages, Unknown) else situation.facts.packages
    if isinstance(situation.facts.packages, Mapping) and situation.facts.packages_complete:
        return ()
    release = known.get("transformers")
    if release is False or isinstance(situation.checkpoint.config, UnreadConfig):
        return ()
    stacks: list[dict[str, str | Literal[False] | Unknown]] = []
    found = []
    for era in ERAS:
        assumed = {
            name: version
            for name, version in {"transformers": era.transformers, **era.companions}.items()
            if not _answered(known, name) and (name != "autoawq" or situation.checkpoint.quant_method == "awq")
        }
        stack = {**known, **assumed}
        if assumed and stack not in stacks and _fits(stack, situation, known):
            stacks.append(stack)
            told = [name for name in ("transformers",) if name in assumed] or sorted(assumed)
            facts = replace(situation.facts, packages=stack, packages_complete=False)  # what an era does not name is not known
            label = " and ".join(f"{name} {assumed[name]}" for name in told)
            found.append(Hypothesis(replace(situation, facts=facts), label, "transformers" in assumed))
    return tuple(found)


def with_and_without_gpu(situation: Situation) -> tuple[Situation, Situation] | None:
    """The situation on a machine with one GPU, of which nothing else is known, and on one without; None where the facts say which it is."""
    facts = situation.facts
    if (
        not isinstance(facts.gpus, Unknown)
        or not isinstance(facts.driver, Unknown)
        or not isinstance(facts.nvidia, Unknown)
        or facts.other_gpus
    ):
        return None
    return (
        replace(situation, facts=replace(facts, gpus=(Gpu(0),))),
        replace(situation, facts=replace(facts, gpus=(), driver=None)),
    )


def _answered(known: _Packages, name: str) -> bool:
    return not isinstance(known.get(name, Unknown("")), Unknown)


def _fits(stack: _Packages, situation: Situation, known: _Packages) -> bool:
    """Do the packages go together, and would anyone write this call, for this checkpoint, for them?"""
    request = situation.request
    ranges = [
        wanted
        for name, of, wanted in _GOES_WITH
        if isinstance(version := stack.get(name), str)
        and _within(version, of)
        and not (_answered(known, name) and _answered(known, "transformers"))
    ]  # what is installed is installed, and may be what fails
    ranges += [wanted for name, wanted in _ARGUMENTS.items() if name in request.kwargs]
    config = request.kwargs.get("quantization_config")
    if isinstance(config, ConfigObject) and config.class_name == "GPTQConfig":
        ranges += [wanted for name, wanted in _FIELDS.items() if config.fields.get(name) is not None]
    ranges += [
        wanted for method, wanted in _METHODS.items() if (situation.checkpoint.quantization or {}).get("quant_method") == method
    ]
    release = stack["transformers"]
    return isinstance(release, str) and all(_within(release, wanted) for wanted in ranges)


def _within(version: str, of: _Range) -> bool:
    release, since, until = parse(version), parse(of[0]), parse(of[1])
    return release is not None and since is not None and until is not None and since <= release < until
