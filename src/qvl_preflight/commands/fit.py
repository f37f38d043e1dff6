"""``qvl-preflight fit``: what a model needs for a step, whether it fits, and what would."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING

from qvl_preflight import cli_output
from qvl_preflight.commands.options import online_options
from qvl_preflight.exceptions import InputError

if TYPE_CHECKING:
    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.fitting import Call, Room
    from qvl_preflight.plan import Situation

_UNITS = {"": 1, "B": 1, "GB": 10**9, "MB": 10**6, "GIB": 2**30, "MIB": 2**20, "G": 2**30}
_DTYPES = ("bfloat16", "float16", "float32")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder or hub id")
    parser.add_argument(
        "--purpose",
        choices=("inference", "lora", "qlora", "full"),
        default="inference",
        help="what is done with it (default: inference)",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=1, help="sequences at once (default: 1)")
    parser.add_argument("--seq-len", metavar="N", type=int, default=2048, help="tokens of a sequence (default: 2048)")
    parser.add_argument("--new-tokens", metavar="N", type=int, default=256, help="inference: tokens to generate (default: 256)")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="training: work activations out twice")
    parser.add_argument(
        "--optimizer", metavar="NAME", default="adamw_torch", help="training: as TrainingArguments has it (default: adamw_torch)"
    )
    parser.add_argument("--lora-rank", metavar="N", type=int, default=16, help="lora and qlora, on all linear layers (default: 16)")
    parser.add_argument("--dtype", choices=_DTYPES, help="of the weights (default: as the checkpoint has them)")
    parser.add_argument("--attn", choices=("sdpa", "eager", "flash_attention_2"), default="sdpa", help="attention (default: sdpa)")
    parser.add_argument(
        "--gpu", metavar="SIZE", action="append", default=[], help="the memory of a GPU in place of this machine's, such as 24GiB"
    )
    parser.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    online_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit 1 where it fits on none of the GPUs."""
    from qvl_preflight import api
    from qvl_preflight.memory.fitting import changes, longest, verdict
    from qvl_preflight.render.fit import fit_dict, fit_text
    from qvl_preflight.unknown import Undecided

    asked = _asked(arguments)
    named = [_room(text) for text in arguments.gpu]
    kwargs = {"dtype": {"__dtype__": arguments.dtype}} if arguments.dtype else {}
    online = arguments.timeout if arguments.online else False
    case = api.situation(arguments.model, None, None, None, None, arguments.facts, kwargs, online)
    call, rooms = _call(case, arguments, asked), named or _rooms(case)
    try:
        found = call.estimate()
    except Undecided as undecided:
        raise InputError(f"{arguments.model}: the size of the weights is not known: {undecided.reason}") from undecided
    verdicts = [verdict(found, room) for room in rooms]
    most = max((room.free for room in rooms), default=0)
    offers = changes(call, most) if rooms and set(verdicts) == {"too large"} else ()
    answer = (arguments.model, call, found, rooms, offers, longest(call, most) if rooms else None)
    cli_output.write(json.dumps(fit_dict(*answer), indent=1) if arguments.json else fit_text(*answer))
    return int(bool(rooms) and set(verdicts) == {"too large"})


def _asked(arguments: argparse.Namespace) -> Asked:
    from qvl_preflight.memory.asked import read_asked

    sizes = {"batch_size": arguments.batch_size, "sequence_length": arguments.seq_len}
    if arguments.purpose == "inference":
        asked = read_asked({**sizes, "max_new_tokens": arguments.new_tokens}, None)
    else:
        method = "full" if arguments.purpose == "full" else "lora"
        more = {
            "gradient_checkpointing": arguments.gradient_checkpointing,
            "optimizer": arguments.optimizer,
            "lora_rank": arguments.lora_rank,
        }
        asked = read_asked(None, {**sizes, **more, "method": method, "amp": "bf16"})
    assert asked is not None
    return asked


def _call(case: Situation, arguments: argparse.Namespace, asked: Asked) -> Call:
    from qvl_preflight.estimate import loader_of, quantization_of
    from qvl_preflight.memory.fitting import FOUR_BITS, Call
    from qvl_preflight.planner import make_plan
    from qvl_preflight.unknown import Unknown, attempt

    plan = make_plan(case)
    quantization = quantization_of(case, plan.quantization)
    if quantization is None and arguments.purpose == "qlora":
        quantization = FOUR_BITS
    devices = case.devices
    capability = None if isinstance(devices, Unknown) or not devices.visible else devices.visible[0].capability
    dtype = arguments.dtype or (case.checkpoint.dtype if case.checkpoint.dtype in _DTYPES else "float32")
    old = attempt(lambda: case.packages.at_least("transformers", 5)) is False
    known = None if isinstance(capability, Unknown) or arguments.gpu else capability
    return Call(case.checkpoint, dtype, quantization, arguments.attn, asked, known, release5=not old, loader=loader_of(case, plan))


def _rooms(case: Situation) -> list[Room]:
    """The GPUs that this process sees. One whose memory is not known is left out."""
    from qvl_preflight.memory.fitting import Room
    from qvl_preflight.unknown import Unknown

    if isinstance(case.devices, Unknown):
        return []
    found = []
    for number, gpu in enumerate(case.devices.visible):
        free, total = gpu.free_bytes, gpu.total_bytes
        size = total if isinstance(free, Unknown) else free
        if not isinstance(size, Unknown):
            name = "" if isinstance(gpu.name, Unknown) else f" {gpu.name}"
            found.append(Room(f"cuda:{number}{name}", size, measured=not isinstance(free, Unknown)))
    return found


def _room(text: str) -> Room:
    from qvl_preflight.memory.fitting import Room

    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if found is None or found[2].upper() not in _UNITS or not 0 < float(found[1]) * _UNITS[found[2].upper()] < 2**50:
        raise InputError(f"--gpu {text}: expected the memory of a GPU, such as 24GiB or 80GB")
    return Room(f"a GPU of {text}", int(float(found[1]) * _UNITS[found[2].upper()]), measured=False)
