"""QVL7xx: several processes, several GPUs, and a device_map that was written for one."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.devices import Devices, is_rank
from qvl_preflight.facts import Launch
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.unknown import need


@rule(
    "QVL701",
    Severity.WARNING,
    topic="device-map-ddp",
    symptoms=(r"You can't train a model that has been loaded with .device_map='auto'. in any distributed mode",),
)
def spread_map_under_a_launcher(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    A strategy like "auto" spreads the model in every rank.

    ## What happens
    Under torchrun or accelerate launch each rank runs the same call. "auto" and its kin place one copy over all GPUs that the rank sees, so
    the ranks fill the same GPUs; accelerate refuses to train such a model: `ValueError: You can't train a model that has been loaded with
    device_map='auto' in any distributed mode.`

    ## Example
    ```python hardware=rank-1-of-2 purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead, the number being the rank's LOCAL_RANK:
    ```python hardware=rank-1-of-2 purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 1})
    ```

    ## Fix safety
    Safe: each rank holds its own copy on its own GPU, as data parallel training needs it.
    """
    each = Fix.display('Give each rank its own GPU: device_map={"": int(os.environ["LOCAL_RANK"])}')
    alone = Fix.display("Leave device_map out: FSDP or ZeRO-3 places the shards")
    yield from as_planned(plan, "QVL701", remedies.on_gpu() or (alone if remedies.sharded else each))


@rule("QVL702", Severity.WARNING, topic="bnb-wrong-device", symptoms=(r"on a different device than the one you're training on",))
def another_ranks_gpu(request: Request, launch: Launch, devices: Devices, remedies: Remedies) -> Iterator[Finding]:
    """
    The call puts this rank's model on another rank's GPU.

    ## What happens
    An ordinal that is written out puts every rank on the same GPU: it runs out of memory, or training stops because the model is not where
    the rank computes.

    ## Example
    ```python hardware=rank-1-of-2 purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, the number being the rank's LOCAL_RANK:
    ```python hardware=rank-1-of-2 purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 1})
    ```

    ## Fix safety
    Safe: the same weights on the GPU that the launcher gave to this rank.
    """
    if not request.trains or not is_rank(launch):
        return
    named = set(request.named_devices)
    fix = remedies.on_gpu()
    if fix is None or len(need(devices).visible) < 2 or len(named) != 1:
        return
    name = named.pop() or ""
    mine = f"cuda:{need(launch.local_rank)}"
    if name.startswith("cuda:") and name != mine:
        yield Finding(f"rank {launch.rank} puts its model on {name}; its own GPU is {mine}", "train", fix=fix)


@rule("QVL704", Severity.WARNING, topic="zero3-device-map", symptoms=(r"DeepSpeed Zero-3 is not compatible with",))
def device_map_under_zero3(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    A device_map is passed under DeepSpeed ZeRO-3.

    ## What happens
    ZeRO-3 shards the weights over the ranks while they are loaded and refuses any device_map: `ValueError: DeepSpeed Zero-3 is not compatible
    with passing a device_map`.

    ## Example
    ```python hardware=zero3 purpose=full
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead:
    ```python hardware=zero3 purpose=full
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Safe: ZeRO-3 places the weights itself.
    """
    refused = [key for key in ("device_map", "low_cpu_mem_usage") if request.kwargs.get(key) is not None]
    fix = Fix(f"Drop {' and '.join(refused)}", Applicability.SAFE, tuple(Edit(key, request.get(key), MISSING) for key in refused))
    yield from as_planned(plan, "QVL704", fix)
