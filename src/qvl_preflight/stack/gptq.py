"""GPTQ in transformers: which kernel holds the weights, and what it does where they end.

Sources: transformers 4.32 to 4.37 modeling_utils.py, 4.38 on quantizers/quantizer_gptq.py; optimum gptq/quantizer.py. The recordings
on an H100 (stacks of 4.32.0, 4.37.2 and 5.23.0) decide where they and the sources could be read differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.request import device_name
from qvl_preflight.stack import auto_gptq, gptqmodel
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.cuda import available
from qvl_preflight.stack.gptq_environment import stored_gptq
from qvl_preflight.stack.gptqmodel_kernels import KERNELS, Spec
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# ── the kernel ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    if (text := _device_refused(situation)) is not None:
        yield WillRaise(
            "QVL401",
            Stage.KERNEL,
            "ValueError",
            text,
            "device-map",
            "this gptqmodel takes no such device_map for GPTQ",
            evidence=Evidence.RUN,
        )
        return
    if device_name(situation.request.device_map) == "meta" and situation.packages.at_least("gptqmodel", 7):
        text = "Unsupported selector device family `meta`"
        yield WillRaise(
            "QVL406", Stage.KERNEL, "ValueError", text, "meta", 'device_map="meta" loads no weights at all', evidence=Evidence.RUN
        )
        return
    draft.kernel_device = selector_device(situation)
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
        on_cpu = (
            draft.kernel_device == "cpu" and name not in ("auto", "auto_trainable") and "is not a valid BACKEND" not in str(refused)
        )
        why = f'the kernel "{name}" cannot be used: {refused}'
        if on_cpu:
            why = f'the kernel "{name}" runs on a GPU only, and the weights would be on the CPU'
        row = KERNELS.row(situation.packages)
        yield WillRaise(
            "QVL306" if on_cpu else "QVL305",
            Stage.KERNEL,
            refused.type,
            str(refused),
            "cpu" if on_cpu else "kernel",
            why,
            evidence=row.evidence,
        )


def _device_refused(situation: Situation) -> str | None:
    """gptqmodel before 5 reads every value of a device_map as a device of its own (utils/importer.py)."""
    if situation.packages.at_least("gptqmodel", 5):
        return None
    given = situation.request.device_map
    for value in given.values() if isinstance(given, Mapping) else [given]:
        if value in ("balanced", "balanced_low_0", "sequential", "disk", "meta"):
            return f"'{value}' is not a valid DEVICE"
    return None


def selector_device(situation: Situation) -> str:
    """``cuda`` or ``cpu``: the device for which gptqmodel looks for a kernel, out of the device_map as passed. Raises Undecided."""
    given = situation.request.device_map
    if given is None:
        return "cpu"  # GptqHfQuantizer.update_device_map
    if given in STRATEGIES:
        return _accelerator_of_build(situation)
    named = situation.request.named_devices
    return "cuda" if any(name is not None and name.startswith("cuda") for name in named) else "cpu"


def _accelerator_of_build(situation: Situation) -> str:
    """For "auto" the build of torch decides, not the hardware: current_accelerator() is asked without a check (recorded)."""
    if not situation.packages.at_least("gptqmodel", 5):
        return "cuda"
    torch = situation.facts.torch
    build = torch.cuda_build if not isinstance(torch, Unknown) else torch
    if isinstance(build, Unknown):
        return "cuda" if available(situation) else need(build) or "cpu"
    return "cpu" if build is False else "cuda"


# ── after the weights are there ─────────────────────────────────────────────────────────────────────────────────────────────────


def post_init(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: what the kernels do once the weights are on their devices."""
    quantization = stored_gptq(draft)
    if quantization is None:
        return
    if need(quantization.backend) == "auto-gptq":
        yield from _exllama_on_cpu(situation, draft, quantization)
    else:
        yield from _first_use(situation, draft)


def _exllama_on_cpu(situation: Situation, draft: Draft, quantization: Quantization) -> Iterator[WillRaise]:
    if need(draft.first_parameter) != "cpu":
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


def _first_use(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """A gptqmodel kernel that downloads or compiles once the weights are loaded, and cannot here."""
    spec = _spec(situation, draft)
    if spec is None or spec.builds != "load" or draft.failed("no-cuda"):
        return
    build = need(situation.facts.build)
    if spec.downloads and not _sources_at_hand(situation):
        if not isinstance(build.network, Unknown) and not build.network:
            yield WillRaise(
                "QVL307",
                Stage.MATERIALISE,
                "URLError",
                "<urlopen error",
                "kernel-build",
                f"the {spec.name} kernel fetches the CUTLASS sources when it is first used, and there is no network",
                None if build.cutlass is False else "no copy of CUTLASS 4.7.1 lies in gptqmodel's cache",
                evidence=Evidence.RECORDED,
            )
            return
        draft.undecided.append((Stage.MATERIALISE, "QVL307", "whether the network can be reached was not tried"))
    if build.nvcc is False or build.ninja is False or build.cxx is False:
        what = "nvcc" if build.nvcc is False else "ninja" if build.ninja is False else "a C++ compiler"
        type_, text = (
            ("RuntimeError", "Machete: failed to build torch.ops JIT extension")
            if spec.downloads
            else ("ModuleNotFoundError", "Marlin torch.ops kernels are not properly installed.")
        )
        yield WillRaise(
            "QVL307",
            Stage.MATERIALISE,
            type_,
            text,
            "kernel-build",
            f"the {spec.name} kernel is compiled when it is first used, and {what} is not installed",
            "no compiled copy lies in gptqmodel's cache",
            Evidence.SOURCE,
        )


def _sources_at_hand(situation: Situation) -> bool:
    """gptqmodel 7.7.0 utils/machete.py:330: named by a variable, or in its cache."""
    env = situation.facts.variables
    cached = need(situation.facts.build).cutlass
    return bool({"GPTQMODEL_CUTLASS_DIR", "GPTQMODEL_MACHETE_PRECOMPILED_LIBRARY"} & env.keys()) or (
        not isinstance(cached, Unknown) and cached
    )


def _spec(situation: Situation, draft: Draft) -> Spec | None:
    chosen = need(draft.kernel)
    if chosen is None or chosen.backend != "gptqmodel":
        return None
    return next((spec for spec in KERNELS.value(situation.packages) if spec.name == chosen.name), None)


# A CUDA kernel whose weights lie on the CPU, at the first forward.
_CPU_FORWARD = ByRelease(
    "gptqmodel",
    Row(
        "2.0",
        "5.0",
        ("RuntimeError", "0 active drivers ([]). There should only be one."),
        Evidence.RUN,
        "gptqmodel 4.2.5 with transformers 4.57.1",
    ),
    Row("5.0", "7.0", ("RuntimeError", "0 active drivers ([]). There should only be one."), Evidence.SOURCE, "gptqmodel 5.8.0"),
    Row("7.0", None, ("ValueError", "Expected a cuda device, but got: cpu"), Evidence.RECORDED, "gptqmodel 7.7.0"),
)


def forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: a kernel for GPUs on weights that lie on the CPU."""
    if stored_gptq(draft) is None or draft.failed("cpu") or draft.failed("no-cuda"):
        return
    chosen = need(draft.kernel)
    if chosen is None or chosen.backend != "gptqmodel" or "cpu" in chosen.devices or need(draft.devices) != ("cpu",):
        return
    row = _CPU_FORWARD.row(situation.packages)
    yield WillRaise(
        "QVL306",
        Stage.FORWARD,
        *row.value,
        "cpu",
        f"the {chosen.name} kernel is chosen for the GPU that this torch is built for, and the weights end on the CPU",
        evidence=row.evidence,
    )


def step(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: kernels of gptqmodel that refuse model.train(). Sets ``draft.trainable``."""
    if stored_gptq(draft) is None or not situation.request.trains:
        return
    chosen = need(draft.kernel)
    if chosen is None:
        return
    draft.trainable = chosen.trainable
    if chosen.trainable or chosen.backend != "gptqmodel":
        return
    spec = _spec(situation, draft)
    text = (
        spec.refuses_training
        if spec and spec.refuses_training
        else f"{chosen.class_name}: `{chosen.path}` switching to training mode."
    )
    row = KERNELS.row(situation.packages)
    yield WillRaise(
        "QVL801",
        Stage.STEP,
        "NotImplementedError",
        text,
        "no-train",
        f"the {chosen.name} kernel is made for inference and refuses model.train()",
        evidence=row.evidence,
    )
