"""GPTQ in transformers: which kernel holds the weights, and what auto-gptq's do where they end (gptqmodel's: gptqmodel_use.py).

Sources: transformers 4.32 to 4.37 modeling_utils.py, 4.38 on quantizers/quantizer_gptq.py; optimum gptq/quantizer.py. The recordings
on an H100 (stacks of 4.32.0, 4.37.2 and 5.23.0) decide where they and the sources could be read differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import auto_gptq, gptqmodel, gptqmodel_device
from qvl_preflight.stack.gptq_environment import stored_gptq
from qvl_preflight.stack.gptqmodel_kernels import KERNELS
from qvl_preflight.unknown import Undecided, need

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def exllama_flags(situation: Situation, config: Mapping[str, object]) -> auto_gptq.Flags:
    """bits, grouping and the exllama switches as this release hands them to optimum."""
    release = situation.packages.release("transformers") or (0,)
    disabled, version = bool(config.get("disable_exllama")), None
    if release >= (4, 35):
        use = config.get("use_exllama")
        if use is None:
            use = not config["disable_exllama"] if release < (4, 51) and config.get("disable_exllama") is not None else True
        if release >= (4, 49) and config.get("backend") == "auto_trainable" and not situation.packages.has("gptqmodel"):
            use = False
        given = config.get("exllama_config")
        disabled, version = not use, given.get("version", 1) if isinstance(given, Mapping) else 1
    return auto_gptq.Flags(
        _int(config, "bits", 4), _int(config, "group_size", 128), bool(config.get("desc_act")), disabled, version
    )


def _int(config: Mapping[str, object], name: str, default: int) -> int:
    value = config.get(name, default)
    return value if isinstance(value, int) else default


def backend_name(situation: Situation, config: Mapping[str, object]) -> str:
    """The ``backend`` that gptqmodel is asked for (4.49 to 4.57 derive it from use_exllama)."""
    given = config.get("backend")
    if isinstance(given, str):
        return given.lower()
    old = not situation.packages.at_least("transformers", 5)
    return "auto_trainable" if old and config.get("use_exllama") is False else "auto"


def kernel(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """KERNEL: sets ``draft.kernel`` and the device it was chosen for."""
    quantization = stored_gptq(draft)
    if quantization is None:
        return
    if need(quantization.backend) == "auto-gptq":
        chosen = auto_gptq.choose(situation, exllama_flags(situation, quantization.config))
        draft.kernel, draft.kernel_condition = chosen.kernel, chosen.condition
        return
    if (refusal := gptqmodel_device.refused(situation)) is not None:
        yield refusal
        return
    draft.kernel_device = gptqmodel_device.selector_device(situation)
    stored_format = quantization.config.get("checkpoint_format", quantization.config.get("format", "gptq"))
    if stored_format != "gptq":
        raise Undecided(f"which kernels take the format {stored_format!r} is not in the tables")
    config, name = quantization.config, backend_name(situation, quantization.config)
    layer = gptqmodel.Layer(
        _int(config, "bits", 4), _int(config, "group_size", 128), bool(config.get("desc_act")), bool(config.get("sym", True))
    )
    try:
        draft.kernel = gptqmodel.choose(situation, name, draft.kernel_device, layer).kernel
    except gptqmodel.Unsupported as refused:
        yield gptqmodel_device.kernel_refused(refused, name, draft.kernel_device, KERNELS.row(situation.packages).evidence)


def post_init(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: what the kernels of auto-gptq do once the weights are on their devices."""
    quantization = stored_gptq(draft)
    if quantization is None or need(quantization.backend) != "auto-gptq" or need(draft.first_parameter) != "cpu":
        return
    flags, why = (
        exllama_flags(situation, quantization.config),
        "the weights end on the CPU, and the exllama kernel that this stack picks for 4-bit weights runs on a GPU only",
    )
    guard = auto_gptq.GUARD.row(situation.packages)
    if guard.value is not None and flags.bits == 4 and not flags.disable_exllama:
        yield WillRaise("QVL306", Stage.MATERIALISE, "ValueError", guard.value, "cpu", why, evidence=guard.evidence)
        return
    chosen = auto_gptq.choose(situation, flags)
    trouble = auto_gptq.ON_CPU.get(chosen.kernel.name)
    if trouble is not None and draft.devices != ("meta",):
        if flags.disable_exllama:
            why = "the weights end on the CPU, where exllama v2 cannot run; this optimum has no switch for it: disable_exllama=True turns off v1 alone"
        yield WillRaise(
            "QVL306", Stage.MATERIALISE, trouble.type, trouble.text, "cpu", why, chosen.condition, trouble.evidence, trouble.at
        )
