"""QVL3xx: the quantised checkpoint, the packages that load it, the kernel that will hold it."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan, Quantization, Stage, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import MISSING, Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Request, show
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.quantizers import KERNEL_FLAGS, LOADING_ATTRIBUTES
from qvl_preflight.unknown import need


@rule("QVL301", Severity.ERROR, topic="gptq-missing-dep", symptoms=(r"requires (optimum|gptqmodel|the auto-gptq library)", r"name 'QuantizeConfig' is not defined", r"No package metadata was found for auto-gptq", r"No module named 'optimum'"))
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
    if quantization is not None and quantization.method == "awq":
        package = "gptqmodel" if remedies.release >= (5,) else "autoawq"
        yield from as_planned(plan, "QVL301", lambda raised: Fix.display(f"Install {package}", f"pip install {package}"))
        return
    yield from as_planned(plan, "QVL301", lambda raised: _install(remedies))


def _install(remedies: Remedies) -> Fix:
    if remedies.release >= (5,):
        return Fix.display("Install what transformers 5 loads GPTQ with", "pip install 'optimum>=2.3'", "pip install 'gptqmodel>=7.7' --no-build-isolation")
    if remedies.release >= (4, 49):
        return Fix.display("Install what this transformers loads GPTQ with", "pip install 'optimum>=1.24,<2.1'", "pip install 'gptqmodel>=2,<5' --no-build-isolation")
    pin = "'optimum>=1.14,<1.23' 'auto-gptq>=0.5,<0.8'"
    return Fix.display("Install what this transformers loads GPTQ with", f"pip install {pin}")


@rule("QVL302", Severity.ERROR, topic="gptq-version-skew", symptoms=(r"Found an incompatible version of (auto-gptq|gptqmodel|GPT-QModel)", r"optimum version should >= 1\.24\.0", r"You need a version of auto_gptq"))
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
    yield from as_planned(plan, "QVL302", lambda raised: _install(remedies))


@rule("QVL303", Severity.ERROR, topic="quant-config-conflict", symptoms=(r"The model is quantized with \w+ but you are passing a", r"object has no attribute 'get_loading_attributes'", r"The model is already quantized with"))
def quantization_config_conflict(plan: LoadPlan, request: Request, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    The quantization_config that is passed is of another kind than the checkpoint's.

    ## What happens
    A checkpoint that is quantised already can not be quantised again, and its own settings decide. Depending on the release the clash is a
    ValueError, an AttributeError about `get_loading_attributes`, or a complaint about a package that is not needed at all. From 4.56 on a
    plain dict counts as another kind, too.

    ## Example
    ```python stack=today
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Required: the weights stay as the checkpoint stores them; what you asked for on top is dropped.
    """
    keys = [key for key in ("quantization_config", "load_in_4bit", "load_in_8bit") if request.kwargs.get(key)]
    title = f"Drop {' and '.join(keys)}: the checkpoint is {checkpoint.quant_method} already"
    fix = Fix(title, Applicability.REQUIRED, tuple(Edit(key, request.get(key), MISSING) for key in keys))
    yield from as_planned(plan, "QVL303", lambda raised: fix)


@rule("QVL304", Severity.ERROR, topic="gptq-exllama-flags", symptoms=(r"Only support quantization to \[2,3,4,8\] bits", r"Cannot specify both .disable_exllama. and .use_exllama."))
def invalid_gptq_settings(plan: LoadPlan, request: Request, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    GPTQConfig refuses its own settings.

    ## What happens
    `bits` other than 2, 3, 4 and 8, or `disable_exllama` together with `use_exllama`, raise a ValueError when the object is made or when the
    checkpoint's settings are read.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=5))
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```

    ## Fix safety
    Safe for `bits`: the checkpoint's own number decides anyway. The doubled switch is left to you.
    """
    stored = (checkpoint.quantization or {}).get("bits")

    def remedy(raised: WillRaise) -> Fix | None:
        if raised.cause != "bits" or stored is None or request.get("quantization_config.bits") in (MISSING, stored):
            return None
        return Fix.of(f"Say bits={stored}, as the checkpoint does", Applicability.SAFE, request, quantization_config__bits=stored)

    yield from as_planned(plan, "QVL304", remedy)


@rule("QVL305", Severity.ERROR, topic="gptq-kernel-missing", symptoms=(r"is not a valid BACKEND", r"Unsupported backend: `BACKEND", r"No valid quant linear"))
def unusable_kernel(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The kernel that is asked for does not exist, or does not take this checkpoint.

    ## What happens
    `backend` names one kernel of gptqmodel. A name that it does not know (`exllama_v1` and `ipex` are gone), or a kernel that does not take
    the checkpoint's bits, group size or this GPU, raises a ValueError while the layers are replaced.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="exllama_v1"))
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto"))
    ```

    ## Fix safety
    Required: another kernel computes the same layers, with differences in the last digits.
    """
    named = request.get("quantization_config.backend")
    fix = None if named in (MISSING, "auto", "auto_trainable") else remedies.other_kernel("Let gptqmodel choose a kernel", train=request.trains)
    yield from as_planned(plan, "QVL305", lambda raised: fix)


@rule("QVL306", Severity.ERROR, topic="gptq-on-cpu", symptoms=(r"qweight\.device\.type == .cuda.", r"Found modules on cpu/disk\. Using Exllama", r"^RuntimeError: no device index", r"does not support device: cpu", r"Expected a cuda device, but got: cpu"))
def kernel_refuses_the_cpu(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The quantised weights end on the CPU, and the kernel that holds them runs on a GPU only.

    ## What happens
    Without a device_map a GPTQ model stays on the CPU, in every release of transformers. The exllama kernels of auto-gptq stop there after
    the last shard: with a bare `AssertionError` (optimum up to 1.13, or exllama v2), with `ValueError: Found modules on cpu/disk` (optimum up
    to 1.22) or `RuntimeError: no device index` (later). gptqmodel refuses a kernel that was named; with `device_map="auto"` and no GPU it
    takes a GPU kernel and fails in the first forward.

    ## Example
    ```python stack=seed purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map=None, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```
    Use instead:
    ```python stack=seed-optimum-1.16 purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map={"": 0}, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```

    ## Fix safety
    Safe where a GPU is visible: the same weights, the same numerics, on a GPU that this process may already use. Without one a kernel for the
    CPU is chosen, which is a *required* edit.
    """
    def remedy(raised: WillRaise) -> Fix | None:
        if remedies.has_gpu:
            return remedies.on_gpu()
        if raised.stage is Stage.FORWARD:
            return remedies.on_cpu()
        return remedies.other_kernel("Choose a kernel that runs on the CPU", train=request.trains)

    yield from as_planned(plan, "QVL306", remedy)


@rule("QVL307", Severity.ERROR, topic="kernel-needs-build", symptoms=(r"GPTQMODEL_CUTLASS_DIR", r"failed to build torch\.ops JIT extension", r"torch\.ops kernels are not properly installed"))
def kernel_needs_build(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The kernel that will be chosen compiles or downloads at its first use, and cannot do so here.

    ## What happens
    gptqmodel 7 ships its GPU kernels as sources. On a Hopper GPU "auto" picks Machete, which fetches CUTLASS when the weights are loaded already:
    without network the load dies with a `URLError`. Marlin, on other GPUs, needs nvcc, ninja and a C++ compiler.

    ## Example
    ```python hardware=h100-offline
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=h100-offline
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="triton"))
    ```

    ## Fix safety
    Required: the Triton kernel needs neither compiler nor network and is slower; results differ in the last digits.
    """
    name = "auto_trainable" if request.trains else "triton"
    yield from as_planned(plan, "QVL307", lambda raised: remedies.kernel_by_name("Use the Triton kernel, which needs no build", name))


@rule("QVL308", Severity.NOTE, topic="gptq-exllama-flags")
def ignored_kernel_flags(plan: LoadPlan, request: Request, packages: Packages) -> Iterator[Finding]:
    """
    A switch of GPTQConfig is ignored without a word by this release.

    ## What happens
    `GPTQConfig` swallows names that it does not know: `use_exllama` before 4.35 and from 5.0 on, `disable_exllama` from 4.51 on, `backend` before
    4.49. The kernel is chosen as if they were not there.

    ## Example
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, use_exllama=False))
    ```
    Use instead:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```

    ## Fix safety
    None is offered here: where the kernel matters, the rule for training or placement says which one to ask for.
    """
    passed = request.kwargs.get("quantization_config")
    if not isinstance(passed, ConfigObject) or passed.class_name != "GPTQConfig":
        return
    read = LOADING_ATTRIBUTES.value(packages)
    ignored = [name for name in KERNEL_FLAGS if passed.fields.get(name) is not None and name not in read]
    if ignored:
        listed = ", ".join(f"{name}={show(passed.fields[name])}" for name in ignored)
        yield Finding(f"this transformers does not read {listed}: the kernel is chosen as if it were not there")


@rule("QVL309", Severity.ERROR, topic="bnb-missing", symptoms=(r"requires (the latest version of )?bitsandbytes", r"No package metadata was found for bitsandbytes"))
def bitsandbytes_missing(plan: LoadPlan) -> Iterator[Finding]:
    """
    bitsandbytes is asked for and not installed, or too old.

    ## What happens
    Up to transformers 4.57 `BitsAndBytesConfig(load_in_4bit=True)` itself asks for the installed release and raises PackageNotFoundError; from
    5.0 on the load raises an ImportError that names bitsandbytes 0.46.1.

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
    yield from as_planned(plan, "QVL309", lambda raised: Fix.display("Install bitsandbytes", "pip install -U bitsandbytes"))


@rule("QVL310", Severity.ERROR, topic="bnb-offload", symptoms=(r"Some modules are dispatched on the CPU or the disk",))
def quantized_layers_offloaded(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    bitsandbytes layers would be offloaded to the CPU or the disk.

    ## What happens
    A device_map that leaves part of a bitsandbytes model on the CPU, or a string map that does not fit into GPU memory, raises `ValueError: Some
    modules are dispatched on the CPU or the disk` unless `llm_int8_enable_fp32_cpu_offload=True`; those modules then stay unquantised.

    ## Example
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", device_map={"model": 0, "lm_head": "cpu"}, quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Unsafe: the whole model goes to one GPU, which must have room for it; a max_memory that forbids it is dropped.
    """
    fix = remedies.on_gpu()
    if fix is not None:
        drop = (Edit("max_memory", request.get("max_memory"), MISSING),) if request.kwargs.get("max_memory") else ()
        fix = Fix(fix.title, Applicability.UNSAFE, (*fix.edits, *drop))
    yield from as_planned(plan, "QVL310", lambda raised: fix)


def pre_quantized(plan: LoadPlan) -> Quantization | None:
    """The quantisation of a checkpoint that comes quantised. Raises Undecided."""
    found = need(plan.quantization)
    return found if found is not None and found.pre_quantized else None
