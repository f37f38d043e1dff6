"""GPTQ in transformers: environment, placement, kernel, first step. Which backend does the work is decided here.

Sources: transformers 4.32 to 4.37 modeling_utils.py, 4.38 on quantizers/quantizer_gptq.py; optimum gptq/quantizer.py. The recordings
on an H100 (stacks of 4.32.0, 4.37.2 and 5.23.0) decide where they and the sources could be read differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.request import device_name
from qvl_preflight.stack import auto_gptq, gptqmodel
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.cuda import available
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_BITS = (2, 3, 4, 8)


def _gptq(draft: Draft) -> Quantization | None:
    """The GPTQ settings of the model, None for any other model. Raises Undecided."""
    quantization = need(draft.quantization)
    return quantization if quantization is not None and quantization.method == "gptq" else None


# ── the environment ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    old = (situation.packages.release("auto-gptq") or (0,)) <= (0, 4, 2)
    return old and not situation.packages.has("gptqmodel") and not available(situation)


def _gptqmodel_too_old(situation: Situation) -> bool:
    gptqmodel_release, optimum = situation.packages.release("gptqmodel"), situation.packages.release("optimum")
    return gptqmodel_release is not None and (gptqmodel_release < (1, 4, 3) or (optimum or (0,)) < (1, 24))


def _optimum_needs_newer_gptqmodel(situation: Situation) -> bool:
    gptqmodel_release = situation.packages.release("gptqmodel")
    return (situation.packages.release("optimum") or (0,)) >= (2, 3) and gptqmodel_release is not None and gptqmodel_release < (7,)


def _optimum_23_alone(situation: Situation) -> bool:
    return (situation.packages.release("optimum") or (0,)) >= (2, 3) and not situation.packages.has("gptqmodel")


_GPU = "GPU is required to quantize or run quantize model."
_NEEDS_GPU = _Check(_no_cuda, "RuntimeError", _GPU, "QVL104", "this release loads a GPTQ checkpoint only where CUDA is available", Evidence.RECORDED)
_OLD_NEEDS_GPU = _Check(_old_backend_without_cuda, "RuntimeError", _GPU, "QVL104", "auto-gptq up to 0.4.2 needs CUDA", Evidence.SOURCE)
_MISSING = "QVL301"
_BOTH = "Loading a GPTQ quantized model requires optimum (`pip install optimum`) and auto-gptq library (`pip install auto-gptq`)"
_OPTIMUM = "Loading a GPTQ quantized model requires optimum (`pip install optimum`)"
_MINIMA = "The gptqmodel version should be >= 1.4.3, optimum version should >= 1.24.0"


def _missing(names: tuple[str, ...], type_: str, text: str, evidence: Evidence, why: str = "") -> _Check:
    return _Check(_lacks(*names), type_, text, _MISSING, why or f"a GPTQ checkpoint needs {' and '.join(names)} in this release, not all of it is installed", evidence)


_NO_METADATA = _missing(("auto-gptq",), "PackageNotFoundError", "No package metadata was found for auto-gptq", Evidence.RUN)
_NO_OPTIMUM = _missing(("optimum",), "ImportError", _OPTIMUM, Evidence.RUN)
_TOO_OLD = _Check(_gptqmodel_too_old, "ImportError", _MINIMA, "QVL302", "gptqmodel or optimum is older than this transformers takes", Evidence.SOURCE)
_ENVIRONMENT: ByRelease[tuple[_Check, ...]] = ByRelease(
    "transformers",
    Row("4.32", "4.33", (_NEEDS_GPU, _missing(("optimum", "auto-gptq"), "ImportError", "Loading GPTQ quantized model requires optimum library : `pip install optimum` and auto-gptq library 'pip install auto-gptq'", Evidence.SOURCE)), Evidence.RECORDED, "transformers 4.32.0 modeling_utils.py:2474"),
    Row("4.33", "4.35", (_NEEDS_GPU, _missing(("optimum", "auto-gptq"), "ImportError", _BOTH, Evidence.SOURCE)), Evidence.SOURCE, "transformers 4.34.1 modeling_utils.py:2687"),
    Row("4.35", "4.38", (_NO_METADATA, _OLD_NEEDS_GPU, _missing(("optimum",), "ImportError", _BOTH, Evidence.RUN)), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3142"),
    Row("4.38", "4.46", (_missing(("optimum",), "ModuleNotFoundError", "No module named 'optimum'", Evidence.SOURCE), _NO_METADATA, _OLD_NEEDS_GPU), Evidence.SOURCE, "transformers 4.45.2 quantizers/quantizer_gptq.py:45"),
    Row("4.46", "4.49", (_NO_OPTIMUM, _missing(("auto-gptq",), "ImportError", "Loading a GPTQ quantized model requires the auto-gptq library (`pip install auto-gptq`)", Evidence.SOURCE), _OLD_NEEDS_GPU), Evidence.SOURCE, "transformers 4.48.3 quantizers/quantizer_gptq.py"),
    Row("4.49", "5.0", (
        _NO_OPTIMUM, _OLD_NEEDS_GPU,
        _Check(_lacks_all("gptqmodel", "auto-gptq"), "ImportError", "Loading a GPTQ quantized model requires gptqmodel (`pip install gptqmodel`) or auto-gptq (`pip install auto-gptq`) library.", _MISSING, "neither gptqmodel nor auto-gptq is installed", Evidence.SOURCE),
        _TOO_OLD,
    ), Evidence.SOURCE, "transformers 4.57.1 quantizers/quantizer_gptq.py:54"),
    Row("5.0", None, (
        _NO_OPTIMUM,
        _Check(_optimum_needs_newer_gptqmodel, "ImportError", "Found an incompatible version of GPT-QModel (`gptqmodel` package).", "QVL302", "optimum 2.3 takes gptqmodel from 7.0.0 on", Evidence.SOURCE),
        _Check(_optimum_23_alone, "NameError", "name 'QuantizeConfig' is not defined", _MISSING, "transformers 5 loads GPTQ through gptqmodel, which is not installed (auto-gptq no longer counts)", Evidence.RUN),
        _Check(lambda s: not s.packages.has("gptqmodel") and not available(s), "RuntimeError", _GPU, _MISSING, "transformers 5 loads GPTQ through gptqmodel, which is not installed", Evidence.SOURCE),
        _missing(("gptqmodel",), "ImportError", "Loading a GPTQ quantized model requires gptqmodel (`pip install gptqmodel`) library.", Evidence.SOURCE),
        _TOO_OLD,
    ), Evidence.RUN, "transformers 5.23.0 quantizers/quantizer_gptq.py:49"),
)  # fmt: skip


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: packages and CUDA, as the release asks for them."""
    quantization = _gptq(draft)
    if quantization is None:
        return
    draft.quantization = replace(quantization, backend=attempt(lambda: backend_package(situation)))
    for check in _ENVIRONMENT.value(situation.packages):
        fails = attempt(lambda check=check: check.fails(situation))  # type: ignore[misc]
        if isinstance(fails, Unknown):
            draft.undecided.append((Stage.ENVIRONMENT, check.code, fails.reason))
        elif fails:
            yield WillRaise(check.code, Stage.ENVIRONMENT, check.type, check.text, "no-cuda" if check.text == _GPU else "quant-packages", check.why, evidence=check.evidence)
            return
    if need(draft.quantization.backend) == "auto-gptq" and (text := auto_gptq.too_old(situation)):
        yield WillRaise("QVL302", Stage.ENVIRONMENT, "ImportError", text, "quant-packages", "optimum and auto-gptq do not go together", evidence=Evidence.SOURCE)


def backend_package(situation: Situation) -> str:
    """Which package provides the linear layers: ``auto-gptq`` or ``gptqmodel``. Raises Undecided."""
    release = situation.packages.release("transformers")
    if release is None:
        raise Undecided("transformers is not installed")
    if release >= (5,):
        return "gptqmodel"
    # 4.49 to 4.57 take gptqmodel where both are installed (quantizer_gptq.py validate_environment).
    return "gptqmodel" if release >= (4, 49) and situation.packages.has("gptqmodel") else "auto-gptq"


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: what GPTQConfig itself refuses."""
    quantization = _gptq(draft)
    if quantization is None:
        return
    passed = situation.request.get("quantization_config.bits")
    for bits in (passed, quantization.config.get("bits")):
        if isinstance(bits, int) and bits not in _BITS:
            yield WillRaise("QVL304", Stage.CONFIG, "ValueError", f"Only support quantization to [2,3,4,8] bits but found {bits}", "bits", f"transformers takes GPTQ of 2, 3, 4 or 8 bits, this says {bits}", evidence=Evidence.RUN)
            return
    if _reads_both_flags(situation) and all(quantization.config.get(name) is not None for name in ("disable_exllama", "use_exllama")):
        yield WillRaise("QVL304", Stage.CONFIG, "ValueError", "Cannot specify both `disable_exllama` and `use_exllama`. Please use just `use_exllama`", "exllama-flags", "both spellings of one switch are given", evidence=Evidence.SOURCE)


def _reads_both_flags(situation: Situation) -> bool:
    return (4, 35) <= (situation.packages.release("transformers") or (0,)) < (4, 51)


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
    return auto_gptq.Flags(_int(config, "bits", 4), _int(config, "group_size", 128), bool(config.get("desc_act")), disabled, version)


def _int(config: Mapping[str, object], name: str, default: int) -> int:
    value = config.get(name, default)
    return value if isinstance(value, int) else default


def backend_name(situation: Situation, config: Mapping[str, object]) -> str:
    """The ``backend`` that gptqmodel is asked for (4.49 to 4.57 derive it from use_exllama)."""
    given = config.get("backend")
    if isinstance(given, str):
        return given.lower()
    old = (situation.packages.release("transformers") or (0,)) < (5,)
    return "auto_trainable" if old and config.get("use_exllama") is False else "auto"


def kernel(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """KERNEL: sets ``draft.kernel`` and the device it was chosen for."""
    quantization = _gptq(draft)
    if quantization is None:
        return
    if need(quantization.backend) == "auto-gptq":
        chosen = auto_gptq.choose(situation, exllama_flags(situation, quantization.config))
        draft.kernel, draft.kernel_condition = chosen.kernel, chosen.condition
        return
    if (text := _device_refused(situation)) is not None:
        yield WillRaise("QVL401", Stage.KERNEL, "ValueError", text, "device-map", "this gptqmodel takes no such device_map for GPTQ", evidence=Evidence.RUN)
        return
    draft.kernel_device = selector_device(situation)
    config, name = quantization.config, backend_name(situation, quantization.config)
    layer = gptqmodel.Layer(_int(config, "bits", 4), _int(config, "group_size", 128), bool(config.get("desc_act")), bool(config.get("sym", True)))
    try:
        draft.kernel = gptqmodel.choose(situation, name, draft.kernel_device, layer).kernel
    except gptqmodel.Unsupported as refused:
        on_cpu = draft.kernel_device == "cpu" and name not in ("auto", "auto_trainable") and "is not a valid BACKEND" not in str(refused)
        why = f'the kernel "{name}" cannot be used: {refused}'
        if on_cpu:
            why = f'the kernel "{name}" runs on a GPU only, and the weights would be on the CPU'
        row = gptqmodel.KERNELS.row(situation.packages)
        yield WillRaise("QVL306" if on_cpu else "QVL305", Stage.KERNEL, refused.type, str(refused), "cpu" if on_cpu else "kernel", why, evidence=row.evidence)


def _device_refused(situation: Situation) -> str | None:
    """gptqmodel before 5 reads every value of a device_map as a device of its own (utils/importer.py)."""
    if (situation.packages.release("gptqmodel") or (0,)) >= (5,):
        return None
    given = situation.request.device_map
    for value in given.values() if isinstance(given, Mapping) else [given]:
        if value in ("balanced", "balanced_low_0", "sequential", "disk"):
            return f"'{value}' is not a valid DEVICE"
    return None


def selector_device(situation: Situation) -> str:
    """``cuda`` or ``cpu``: the device for which gptqmodel looks for a kernel, out of the device_map as passed. Raises Undecided."""
    given = situation.request.device_map
    if given is None:
        return "cpu"  # GptqHfQuantizer.update_device_map
    if given in STRATEGIES:
        return _accelerator_of_build(situation)
    names = [device_name(value) for value in given.values()] if isinstance(given, Mapping) else [device_name(given)]
    return "cuda" if any(name is not None and name.startswith("cuda") for name in names) else "cpu"


def _accelerator_of_build(situation: Situation) -> str:
    """For "auto" the build of torch decides, not the hardware: current_accelerator() is asked without a check (recorded)."""
    if (situation.packages.release("gptqmodel") or (0,)) < (5,):
        return "cuda"
    torch = situation.facts.torch
    build = torch.cuda_build if not isinstance(torch, Unknown) else torch
    if isinstance(build, Unknown):
        return "cuda" if available(situation) else need(build) or "cpu"
    return "cpu" if build is False else "cuda"


# ── after the weights are there ─────────────────────────────────────────────────────────────────────────────────────────────────


def post_init(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: what the kernels do once the weights are on their devices."""
    quantization = _gptq(draft)
    if quantization is None:
        return
    if need(quantization.backend) == "auto-gptq":
        yield from _exllama_on_cpu(situation, draft, quantization)
    else:
        yield from _first_use(situation, draft)


def _exllama_on_cpu(situation: Situation, draft: Draft, quantization: Quantization) -> Iterator[WillRaise]:
    if need(draft.first_parameter) != "cpu":
        return
    flags, why = exllama_flags(situation, quantization.config), "the weights end on the CPU, and the exllama kernel that this stack picks for 4-bit weights runs on a GPU only"
    guard = auto_gptq.GUARD.row(situation.packages)
    if guard.value is not None and flags.bits == 4 and not flags.disable_exllama:
        yield WillRaise("QVL306", Stage.MATERIALISE, "ValueError", guard.value, "cpu", why, evidence=guard.evidence)
        return
    chosen = auto_gptq.choose(situation, flags)
    trouble = auto_gptq.ON_CPU.get(chosen.kernel.name)
    if trouble is not None and draft.devices != ("meta",):
        if flags.disable_exllama:
            why = "the weights end on the CPU, where exllama v2 cannot run; this optimum has no switch for it: disable_exllama=True turns off v1 alone"
        yield WillRaise("QVL306", Stage.MATERIALISE, trouble.type, trouble.text, "cpu", why, chosen.condition, trouble.evidence)


def _first_use(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """A gptqmodel kernel that downloads or compiles once the weights are loaded, and cannot here."""
    spec = _spec(situation, draft)
    if spec is None or spec.builds != "load" or draft.failed("no-cuda"):
        return
    build = need(situation.facts.build)
    if spec.downloads and not _sources_at_hand(situation):
        if not isinstance(build.network, Unknown) and not build.network:
            yield WillRaise("QVL307", Stage.MATERIALISE, "URLError", "<urlopen error", "kernel-build", f"the {spec.name} kernel fetches the CUTLASS sources when it is first used, and there is no network", None if build.cutlass is False else "no copy of CUTLASS 4.7.1 lies in gptqmodel's cache")
            return
        draft.undecided.append((Stage.MATERIALISE, "QVL307", "whether the network can be reached was not tried"))
    if build.nvcc is False or build.ninja is False or build.cxx is False:
        what = "nvcc" if build.nvcc is False else "ninja" if build.ninja is False else "a C++ compiler"
        type_, text = ("RuntimeError", "Machete: failed to build torch.ops JIT extension") if spec.downloads else ("ModuleNotFoundError", "Marlin torch.ops kernels are not properly installed.")
        yield WillRaise("QVL307", Stage.MATERIALISE, type_, text, "kernel-build", f"the {spec.name} kernel is compiled when it is first used, and {what} is not installed", "no compiled copy lies in gptqmodel's cache", Evidence.SOURCE)


def _sources_at_hand(situation: Situation) -> bool:
    """gptqmodel 7.7.0 utils/machete.py:330: named by a variable, or in its cache."""
    env = {} if isinstance(situation.facts.env, Unknown) else situation.facts.env
    cached = need(situation.facts.build).cutlass
    return bool({"GPTQMODEL_CUTLASS_DIR", "GPTQMODEL_MACHETE_PRECOMPILED_LIBRARY"} & env.keys()) or (not isinstance(cached, Unknown) and cached)


def _spec(situation: Situation, draft: Draft) -> gptqmodel.Spec | None:
    chosen = need(draft.kernel)
    if chosen is None or chosen.backend != "gptqmodel":
        return None
    return next((spec for spec in gptqmodel.KERNELS.value(situation.packages) if spec.name == chosen.name), None)


# A CUDA kernel whose weights lie on the CPU, at the first forward.
_CPU_FORWARD = ByRelease(
    "gptqmodel",
    Row("2.0", "5.0", ("RuntimeError", "0 active drivers ([]). There should only be one."), Evidence.RUN, "gptqmodel 4.2.5 with transformers 4.57.1"),
    Row("5.0", "7.0", ("RuntimeError", "0 active drivers ([]). There should only be one."), Evidence.SOURCE, "gptqmodel 5.8.0"),
    Row("7.0", None, ("ValueError", "Expected a cuda device, but got: cpu"), Evidence.RECORDED, "gptqmodel 7.7.0"),
)


def forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: a kernel for GPUs on weights that lie on the CPU."""
    if _gptq(draft) is None or draft.failed("cpu") or draft.failed("no-cuda"):
        return
    chosen = need(draft.kernel)
    if chosen is None or chosen.backend != "gptqmodel" or "cpu" in chosen.devices or need(draft.devices) != ("cpu",):
        return
    row = _CPU_FORWARD.row(situation.packages)
    yield WillRaise("QVL306", Stage.FORWARD, *row.value, "cpu", f"the {chosen.name} kernel is chosen for the GPU that this torch is built for, and the weights end on the CPU", evidence=row.evidence)


def step(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: kernels of gptqmodel that refuse model.train(). Sets ``draft.trainable``."""
    if _gptq(draft) is None or not situation.request.trains:
        return
    chosen = need(draft.kernel)
    if chosen is None:
        return
    draft.trainable = chosen.trainable
    if chosen.trainable or chosen.backend != "gptqmodel":
        return
    spec = _spec(situation, draft)
    text = spec.refuses_training if spec and spec.refuses_training else f"{chosen.class_name}: `{chosen.path}` switching to training mode."
    row = gptqmodel.KERNELS.row(situation.packages)
    yield WillRaise("QVL801", Stage.STEP, "NotImplementedError", text, "no-train", f"the {chosen.name} kernel is made for inference and refuses model.train()", evidence=row.evidence)
