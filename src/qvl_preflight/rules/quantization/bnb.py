"""bitsandbytes: what it needs, and how it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.facts import Packages
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Situation, WillRaise
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Dtype, Request, show
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.transformers import DTYPE_SLIPS
from qvl_preflight.symptoms import Symptom
from qvl_preflight.unknown import Unknown


@rule(
    "QVL331",
    Severity.ERROR,
    topic="duplicate-quant-kwargs",
    symptoms=(
        r"You can't pass `load_in_4bit`\s?or `load_in_8bit` as a kwarg",
        r"any other `BitsAndBytesConfig` argument as a kwarg",
    ),
)
def quantization_asked_twice(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    load_in_4bit or load_in_8bit is passed beside a quantization_config.

    ## What happens
    transformers 4.38 to 4.57 refuse the two together with a ValueError. Older releases take the flag out first, but refuse other settings of
    BitsAndBytesConfig as arguments. In 5.x the flag is no argument any more: it reaches the model, whose constructor raises a TypeError.

    ## Example
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", device_map={"": 0}, load_in_4bit=True, quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Safe: the configuration says the same; the flag is dropped.
    """
    flags = [name for name in _SETTINGS if name in request.kwargs]
    fix = Fix(f"Drop {' and '.join(flags)}", Applicability.SAFE, tuple(Edit(name, request.get(name), MISSING) for name in flags))
    yield from as_planned(plan, "QVL331", fix)


# Arguments that a BitsAndBytesConfig says as well.
_SETTINGS = (
    "load_in_4bit", "load_in_8bit", "llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight",
    "bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
)  # fmt: skip


@rule(
    "QVL332",
    Severity.ERROR,
    topic="bnb-no-cuda",
    symptoms=(
        r"No GPU found\. A GPU is needed for quantization",
        r"CUDA is required but not available for bitsandbytes",
        r"are supported by the bitsandbytes version you have installed",
        r"installed version of bitsandbytes \(<0\.43\.1\) requires CUDA",
        Symptom(r"'frozenset' object has no attribute 'discard'", within=r"bitsandbytes|quantizer_bnb"),
    ),
)
def bitsandbytes_without_cuda(plan: LoadPlan) -> Iterator[Finding]:
    """
    bitsandbytes is asked for where CUDA is not available.

    ## What happens
    Up to transformers 4.52 the load stops: with a RuntimeError, in words that name a missing package (4.38 to 4.40), or, with bitsandbytes from 0.46
    on, over its list of devices. From 4.53 on bitsandbytes from 0.46 on runs on the CPU, slowly and without a word; older ones are refused.

    ## Example
    ```python hardware=no-gpu stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead, on a machine with a GPU:
    ```python hardware=a100 stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: give the process a GPU, or load without quantisation.
    """
    yield from as_planned(plan, "QVL332", Fix.display("Give the process a GPU, or load without bitsandbytes", "nvidia-smi"))


@rule(
    "QVL333",
    Severity.ERROR,
    topic="bnb-dtype",
    symptoms=(
        r"load_in_4bit and load_in_8bit are both True",
        r"(load_in_[48]bit|llm_int8_\w+|bnb_4bit_\w+) must be a ",
        r"`bnb_4bit_quant_storage` must be a valid string",
    ),
)
def invalid_bnb_settings(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    BitsAndBytesConfig refuses its own settings.

    ## What happens
    4 and 8 bits at once raise a ValueError. Each setting must be of its own type, llm_int8_threshold a float and no 6. A dtype that is given as a string must be an attribute of torch: "bf16" is none, and raises
    `AttributeError: module 'torch' has no attribute 'bf16'`.

    ## Example
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype="bf16")
    )
    ```
    Use instead:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    )
    ```

    ## Fix safety
    Safe for a dtype and for a number or a list: the same, spelt as it must be. Which of 4 and 8 bits is meant is left to you.
    """

    def remedy(raised: WillRaise) -> Fix | None:
        path = f"quantization_config.{raised.cause.removesuffix('-type')}"
        if raised.cause.endswith("-type"):
            return _retyped(path, request)
        if raised.cause == "bnb_4bit_quant_type":
            return Fix('Say "nf4", which QLoRA uses', Applicability.REQUIRED, (Edit(path, request.get(path), "nf4"),))
        meant = DTYPE_SLIPS.get(str(request.get(path)))
        return Fix(f"Pass torch.{meant}", Applicability.SAFE, (Edit(path, request.get(path), Dtype(meant)),)) if meant else None

    yield from as_planned(plan, "QVL333", remedy)


def _retyped(path: str, request: Request) -> Fix | None:
    """The same value in the type that is asked for."""
    value = request.get(path)
    same: object = None
    if path.endswith("threshold") and isinstance(value, int) and not isinstance(value, bool):
        same = float(value)
    elif path.endswith("skip_modules") and isinstance(value, str):
        same = [value]
    return None if same is None else Fix(f"Say {show(same)}", Applicability.SAFE, (Edit(path, value, same),))


@rule("QVL334", Severity.ERROR, topic="bnb-triton-skew", symptoms=(r"No module named '(triton\.ops|scipy)'",))
def bitsandbytes_import_breaks(plan: LoadPlan) -> Iterator[Finding]:
    """
    The installed bitsandbytes cannot be imported.

    ## What happens
    bitsandbytes up to 0.45.0 imports `triton.ops`, which triton dropped in 3.2, the one of torch 2.6; before 0.42 it imports scipy without asking pip for
    it. Loads in 4 or 8 bits stop, and so does every use of peft, whatever the model: peft imports bitsandbytes wherever it is installed.

    ## Example
    ```python stack=recent-4-old-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead, with a newer bitsandbytes:
    ```python stack=recent-4-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """

    def remedy(raised: WillRaise) -> Fix:
        if "scipy" in raised.why:
            return Fix.display("Install scipy, or a newer bitsandbytes", "pip install scipy")
        return Fix.display("Install a newer bitsandbytes", "pip install -U 'bitsandbytes>=0.45.1'")

    yield from as_planned(plan, "QVL334", remedy)


@rule(
    "QVL335",
    Severity.WARNING,
    topic="bnb-cuda-setup",
    symptoms=(
        r"CUDA Setup failed despite (GPU|CUDA) being available",
        r"(Configured|No compatible) CUDA binary (not )?found at",
        r"Could not find the bitsandbytes CUDA binary",
        r"not available in CPU-only version of bitsandbytes",
        r"libbitsandbytes_cpu\.so: undefined symbol",
    ),
)
def bitsandbytes_has_no_library(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    bitsandbytes brings no library for the CUDA of this torch.

    ## What happens
    bitsandbytes loads `libbitsandbytes_cuda126.so` for a torch that is built for CUDA 12.6, or the one that BNB_CUDA_VERSION names. Where its wheel
    has none, the import warns and the first quantised weight raises: 0.46 has none for CUDA 13, 0.44 none for 12.6. From 0.50 on a neighbour of
    the same major release is taken.

    ## Example
    ```python stack=today-bnb-0.46
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead, with a newer bitsandbytes:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you, and environment variables are yours.
    """
    env = situation.facts.env
    if not isinstance(env, Unknown) and env.get("BNB_CUDA_VERSION"):
        fix = Fix.display("Let bitsandbytes follow torch", "unset BNB_CUDA_VERSION")
    else:
        fix = Fix.display("Install a newer bitsandbytes", "pip install -U bitsandbytes")
    yield from as_planned(plan, "QVL335", fix)


@rule("QVL337", Severity.ERROR, topic="bnb-version-skew", symptoms=(r"to support fp4 auto device map",))
def releases_before_4_bits(plan: LoadPlan) -> Iterator[Finding]:
    """
    4-bit weights are asked of packages that do not know them yet.

    ## What happens
    `load_in_4bit` came with transformers 4.30; before, it reaches the model's constructor, which raises a TypeError. A strategy like "auto" needs accelerate
    0.20 as well: `ValueError: You are using device_map='auto' on a 4bit loaded version of the model`.

    ## Example
    ```python stack=before-4-bit
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0}, load_in_4bit=True)
    ```
    Use instead, with packages of one later day:
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0}, load_in_4bit=True)
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    fix = Fix.display("Install releases that know 4-bit weights", "pip install -U transformers accelerate bitsandbytes")
    yield from as_planned(plan, "QVL337", fix)


@rule(
    "QVL336",
    Severity.ERROR,
    topic="bnb-to-device",
    symptoms=(Symptom(r"`\.to` is not supported for `4-bit` or `8-bit`", frames="dispatch_model", weight=0.95),),
)
def accelerate_moves_the_model(plan: LoadPlan, packages: Packages) -> Iterator[Finding]:
    """
    accelerate moves a bitsandbytes model after the load, which this transformers refuses.

    ## What happens
    From 1.2 on accelerate calls `model.to(device)` where a device_map comes to one device, also where the call names none. transformers before 4.45 refuses
    that for bitsandbytes models: `ValueError: .to is not supported for 4-bit or 8-bit bitsandbytes models`; from 4.45 on it does with a bitsandbytes before
    0.43.2. Nothing in the call is wrong: the packages are of different years.

    ## Example
    ```python stack=older-4-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead, with releases of one time:
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    newer = packages.at_least("transformers", 4, 45)
    commands = (
        ("pip install 'bitsandbytes>=0.43.2'",)
        if newer
        else ("pip install 'accelerate<1.2'", "pip install 'transformers>=4.45' 'bitsandbytes>=0.43.2'")
    )
    fix = Fix.display(
        "Install a newer bitsandbytes" if newer else "Install the accelerate of that time, or a newer transformers", *commands
    )
    yield from as_planned(plan, "QVL336", fix)
