"""QVL4xx, continued: a map that spreads a model over devices, and what it meets there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.counted import counted, verb
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.module_names import named_alike
from qvl_preflight.stack.trainer import away
from qvl_preflight.unknown import Unknown, need


@rule("QVL407", Severity.NOTE, topic="device-map-string")
def max_memory_not_read(request: Request) -> Iterator[Finding]:
    """
    max_memory is given without a strategy, and does nothing.

    ## What happens
    Only "auto", "balanced", "balanced_low_0" and "sequential" read max_memory. Beside a device, a dictionary or no device_map it is ignored
    without a word.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, max_memory={0: "20GiB"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "20GiB", "cpu": "64GiB"})
    ```

    ## Fix safety
    None is offered here: whether the limit or the placement is meant is for you to say.
    """
    if request.kwargs.get("max_memory") and request.device_map not in STRATEGIES:
        yield Finding('max_memory is read only with a strategy such as device_map="auto"; here it does nothing')


@rule("QVL408", Severity.NOTE, topic="device-map-string", symptoms=(r"device_map keys do not match any submodules",))
def modules_that_are_not_there(request: Request, checkpoint: Checkpoint, situation: Situation) -> Iterator[Finding]:
    """
    The device_map names modules that the checkpoint does not have.

    ## What happens
    An entry that matches nothing places nothing. accelerate warns where it spreads the model over several devices; otherwise nothing is said.
    Names that moved between releases, as those of vision-language models did in transformers 4.52, are the usual reason.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0, "transformer.h": 0})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    None is offered here: the name that was meant is for you to say.
    """
    given = request.device_map
    if not isinstance(given, Mapping) or checkpoint.remote_code:
        return
    names = [tensor.name for tensor in need(checkpoint.weights).tensors]
    without = [key for key in map(str, given) if key and not any(name == key or name.startswith(f"{key}.") for name in names)]
    # Modules without weights of their own, a rotary embedding say, are in no header.
    unknown = [key for key in without if key.rpartition(".")[2] not in ("rotary_emb", "rotary", "drop", "dropout", "act")]
    if unknown and named_alike(situation, list(map(str, given)), names):
        near = _nearest(unknown[0], names)
        hint = f'; is "{near}" meant?' if near else ""
        yield Finding(f"the checkpoint has no module {', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}{hint}")


def _nearest(entry: str, names: list[str]) -> str | None:
    """The module whose name is most like an entry."""
    from difflib import get_close_matches

    modules = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
    return next(iter(get_close_matches(entry, sorted(modules), 1, 0.85)), None)


@rule("QVL409", Severity.WARNING, topic="oom-fit")
def layers_spill_from_the_gpu(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The model does not fit on the visible GPUs: layers go to the CPU or the disk.

    ## What happens
    A strategy fills the GPUs with what is free now, then the CPU's memory, then the disk. The load says so in a log line at most; every forward
    then copies those layers to the GPU, which is slower by orders of magnitude, and training such a model fails.

    ## Example
    ```python hardware=crowded
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead, once the GPU is free:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```

    ## Fix safety
    Shown, not applied: a smaller dtype, quantisation or another GPU is your choice.
    """
    if request.device_map not in STRATEGIES or request.kwargs.get("max_memory"):
        return
    homes = need(plan.device_map)
    spilled = [name for name, device in homes.items() if device in ("cpu", "disk")]
    if not spilled or not any(device.startswith("cuda") for device in homes.values()):
        return
    memory = plan.memory
    size = "" if isinstance(memory, Unknown) else f", {sum(memory.get(device, 0) for device in ('cpu', 'disk')) / 2**30:.1f} GiB"
    kind = " and ".join(sorted({homes[name] for name in spilled}))
    fix = Fix("Free the GPU, quantise, or use a GPU with more memory", Applicability.DISPLAY, commands=("nvidia-smi",))
    yield Finding(
        f"{'about ' if plan.split_is_about else ''}{len(spilled)} of {len(homes)} parts of the model{size} {verb(len(spilled), 'goes', 'go')} to the {kind}: the GPU has no room for {verb(len(spilled), 'it', 'them')}",
        fix=fix,
    )


@rule(
    "QVL411",
    Severity.ERROR,
    topic="meta-tensor",
    symptoms=(
        r"returned an invalid gradient at index \d - expected device meta",
        r"loaded in 8-bit or 4-bit precision with CPU or disk offload",
        r"You can't move a model that has some modules offloaded to cpu or disk",
    ),
)
def training_spilled_layers(plan: LoadPlan, request: Request, situation: Situation) -> Iterator[Finding]:
    """
    Layers that lie on the CPU or the disk are to be trained.

    ## What happens
    A map that leaves blocks on the CPU or the disk copies their weights to the GPU for each forward and keeps none: the backward raises `RuntimeError:
    Function MmBackward0 returned an invalid gradient at index 1 - expected device meta but got cuda:0`. Up to 4.57 a Trainer fails before that, while it moves
    the model. Full fine-tuning in a loop of one's own, and under a Trainer since 5.0, runs: what lies away gets no gradient and stays as it is.

    ## Example
    ```python stack=today-bnb purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct",
        device_map={"": 0, "model.layers.1": "cpu"},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, llm_int8_enable_fp32_cpu_offload=True),
    )
    ```
    Use instead:
    ```python stack=today-bnb purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: the model must fit on the GPU, by quantisation, a smaller batch or another GPU.
    """
    fix = Fix("Place the whole model on the GPU, or shard it with ZeRO-3 or FSDP", Applicability.DISPLAY)
    yield from as_planned(plan, "QVL411", fix)
    blocks = () if isinstance(plan.device_map, Unknown) or plan.blocked("offloaded") else away(situation, plan.device_map)
    if blocks and request.purpose == "full" and plan.quantization is None:
        message = (
            f"the step runs, but {counted(len(blocks), 'block')} on the CPU or the disk {verb(len(blocks), 'gets', 'get')} no gradient: "
            f"{verb(len(blocks), 'it is', 'they are')} not trained"
        )
        yield Finding(message, "train", fix=fix, severity=Severity.WARNING)
