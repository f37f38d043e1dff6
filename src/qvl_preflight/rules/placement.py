"""QVL4xx: where the weights end up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.devices import Devices
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.spelling import nearest
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.unknown import Unknown, need


@rule(
    "QVL401",
    Severity.ERROR,
    topic="device-map-string",
    symptoms=(
        r"When passing device_map as a string, the value needs to be a device name",
        r"You can't pass device_map as a negative int",
        r"is not a valid DEVICE",
    ),
)
def invalid_device_map(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The device_map is not one that this release takes.

    ## What happens
    A string is a device (`"cpu"`, `"cuda:0"`) or one of `"auto"`, `"balanced"`, `"balanced_low_0"`, `"sequential"`, in lower case; a number is not
    negative. Anything else raises a ValueError before a file is read.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="gpu")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe where the meaning is plain: a strategy in the wrong case, "gpu" for the GPU, -1 for the CPU (as in pipeline(); the refusal
    says so too). Other strings are left to you; what they are near to is shown.
    """
    yield from as_planned(plan, "QVL401", _meant(request, remedies))


_WORDS = (*STRATEGIES, "cpu")
_GPU_WORDS = ("gpu", "gpu:0", "cuda", "cuda:0", "nvidia", "device")


def _meant(request: Request, remedies: Remedies) -> Fix | None:
    given = request.device_map
    if isinstance(given, (bool, float, list, Mapping)):
        return None
    if isinstance(given, int):
        return remedies.edit("Place the model on the CPU, as -1 is meant", Applicability.SAFE, device_map="cpu")
    word = str(given).strip().lower()
    if word in _WORDS and word != given:
        return remedies.edit(f'Spell it "{word}"', Applicability.SAFE, device_map=word)
    if given in ("balanced", "balanced_low_0", "sequential"):
        return remedies.edit('Use "auto", which spreads alike', Applicability.SAFE, device_map="auto")
    if word in _GPU_WORDS:
        none = "" if remedies.has_gpu else "; this process can use no GPU, as far as is known"
        return remedies.on_gpu() or Fix.display(f'Write "auto", or "cuda:0" for one GPU{none}')
    near = nearest(word, _WORDS) if word else None
    return Fix.display(f'Write "{near}"' if near else 'Name a device ("cuda:0") or "auto", or leave device_map out')


@rule("QVL402", Severity.WARNING, topic="gptq-on-cpu")
def quantized_weights_on_the_cpu(
    plan: LoadPlan, request: Request, devices: Devices | Unknown, remedies: Remedies
) -> Iterator[Finding]:
    """
    GPTQ weights land on the CPU although this process has a GPU.

    ## What happens
    Without a device_map a GPTQ checkpoint is loaded on the CPU, and newer stacks run it there with a slow CPU kernel, without a word, while
    the GPU idles. (bitsandbytes is the exception: it takes the current GPU.) A Trainer moves such a model to the GPU later, but a kernel that
    gptqmodel chose for the CPU stays.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Safe: same weights, same numerics, a GPU that this process may already use. An explicit `device_map="cpu"` stays.
    """
    yield from _left_on_the_cpu(plan, request, devices, remedies, "gptq")


@rule("QVL422", Severity.WARNING, topic="awq-on-cpu", symptoms=(r"You have loaded an AWQ model on CPU and have a CUDA",))
def awq_weights_on_the_cpu(plan: LoadPlan, request: Request, devices: Devices | Unknown, remedies: Remedies) -> Iterator[Finding]:
    """
    AWQ weights land on the CPU although this process has a GPU.

    ## What happens
    Without a device_map an AWQ checkpoint is loaded on the CPU. Up to transformers 4.57 a line in the log says so, and autoawq's kernels, which compute
    on a GPU only, stop at the first forward; 5.x is silent, and gptqmodel runs the model there with a slow CPU kernel.

    ## Example
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq")
    ```
    Use instead:
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map={"": 0})
    ```

    ## Fix safety
    Safe: same weights, same numerics, a GPU that this process may already use. An explicit `device_map="cpu"` is another page's (QVL327).
    """
    yield from _left_on_the_cpu(plan, request, devices, remedies, "awq")


def _left_on_the_cpu(
    plan: LoadPlan, request: Request, devices: Devices | Unknown, remedies: Remedies, method: str
) -> Iterator[Finding]:
    """Weights that are quantised in this way, and that nobody sent to the CPU."""
    quantization = need(plan.quantization)
    if (
        quantization is None
        or not quantization.pre_quantized
        or quantization.method != method
        or request.asks_for_cpu
        or plan.blocked("cpu", "no-cuda", "quant-packages", "device-map")
    ):
        return
    if need(plan.devices) != ("cpu",) or not (isinstance(devices, Unknown) or (devices.visible and remedies.has_gpu)):
        return
    if remedies.sharded:
        return  # ZeRO-3 or FSDP puts the shards on the GPUs
    if request.trainer is not None and request.device_map is None and quantization.backend == "auto-gptq":
        return  # Trainer moves it, and auto-gptq's plain kernel runs on either device (recorded)
    if isinstance(devices, Unknown):
        if plan.dtype == "float32":
            return  # asked for by people who mean the CPU: GPU kernels take half precision
        yield Finding(f"the {method.upper()} weights end on the CPU, whether or not this process has a GPU")
        return
    fix = remedies.on_gpu()
    if fix is None:
        return  # no GPU has room for it, or a launch that shards the model places it
    name = devices.visible[0].name
    yield Finding(f"the {method.upper()} weights end on the CPU while {name if isinstance(name, str) else 'a GPU'} idles", fix=fix)


@rule(
    "QVL403",
    Severity.ERROR,
    topic="device-map-string",
    symptoms=(r"is not recognized, available devices are integers", r"is not in a valid format. Use an integer for bytes"),
)
def invalid_max_memory(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    max_memory names a device or a size that accelerate does not read.

    ## What happens
    Its keys are the GPUs' numbers, `"cpu"` and `"disk"`; sizes are bytes or `"20GiB"`. `"cuda:0"` or `"20G"` raise a ValueError when the
    device_map is worked out.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={"cuda:0": "70GiB"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "70GiB"})
    ```

    ## Fix safety
    Safe: the same limit, spelt as accelerate reads it.
    """
    limits = request.kwargs.get("max_memory")

    respelt = {_key(key): _size(value) for key, value in limits.items()} if isinstance(limits, dict) else limits
    if isinstance(respelt, dict) and remedies.release < (5,):
        respelt = {key: size for key, size in respelt.items() if key != "disk"}  # the disk has no bound of its own
    fix = remedies.edit("Spell max_memory as accelerate reads it", Applicability.SAFE, max_memory=respelt)
    yield from as_planned(plan, "QVL403", fix if respelt != limits else None)


def _key(key: object) -> object:
    number = str(key).removeprefix("cuda:")
    return int(number) if number.isdecimal() else key


def _size(value: object) -> object:
    return f"{value}B" if isinstance(value, str) and value[-1:].upper() in ("K", "M", "G", "T") else value


@rule(
    "QVL404",
    Severity.ERROR,
    topic="device-map-string",
    symptoms=(r"doesn't have any device set", r"does not give any device for the following parameters"),
)
def incomplete_device_map(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The device_map leaves modules out.

    ## What happens
    Up to transformers 4.57 the first parameter without a device raises a ValueError (a KeyError where the map also names "disk"). 5.x refuses a map with
    several devices or "disk": `ValueError: The device_map provided does not give any device for the following parameters`. Where the map names one device
    alone, it puts what is left out on the CPU without a word; with that device a GPU, the first forward raises `RuntimeError: Expected all tensors to be on
    the same device`.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"model.layers.0": 0})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe where the map names one device alone, the GPU of this process, and that has room for the model: all of it goes there; or the CPU on a machine
    without a GPU. Unsafe where it names several: you split on purpose, so add the missing entries, or `""` for the rest.
    """
    fix, other = remedies.on_the_named_device(), remedies.on_gpu()
    yield from as_planned(plan, "QVL404", fix or (Fix(other.title, Applicability.UNSAFE, other.edits) if other else None))


@rule("QVL405", Severity.ERROR, topic="low-cpu-mem-conflict", symptoms=(r"requires `low_cpu_mem_usage=True`",))
def low_cpu_mem_conflict(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    device_map and low_cpu_mem_usage=False exclude one another.

    ## What happens
    Up to transformers 4.50 a device_map needs low_cpu_mem_usage=True and sets it itself; an explicit False raises a ValueError. Later releases
    ignore the argument.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", low_cpu_mem_usage=False)
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```

    ## Fix safety
    Safe: the same weights on the same devices; the release sets the argument itself.
    """
    yield from as_planned(plan, "QVL405", remedies.without("low_cpu_mem_usage"))


@rule(
    "QVL406", Severity.ERROR, topic="meta-tensor", symptoms=(r"cannot be called on meta tensors", r"Cannot copy out of meta tensor")
)
def nothing_loaded(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    device_map="meta" loads no weights.

    ## What happens
    The model's tensors have shapes and no values: the first forward raises `RuntimeError: Tensor.item() cannot be called on meta tensors`, and
    `.to("cuda")` has nothing to copy.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="meta")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Required: a model without values runs nothing. Made where you named the purpose; an empty model may be what you wanted, to count parameters say.
    """
    fix = remedies.on_cpu() if remedies.no_gpu else remedies.on_gpu()
    yield from as_planned(plan, "QVL406", Fix(fix.title, Applicability.REQUIRED, fix.edits) if fix else None)
