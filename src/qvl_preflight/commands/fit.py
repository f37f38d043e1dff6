"""``qvl-preflight fit``: what a model needs for a step, whether it fits, and what would."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from qvl_preflight import cli_output
from qvl_preflight.commands.calls import file_or_object
from qvl_preflight.commands.options import online_options
from qvl_preflight.exceptions import InputError

if TYPE_CHECKING:
    from qvl_preflight.fit_call import Wanted

_DTYPES = ("bfloat16", "float16", "float32")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder or hub id")
    parser.add_argument(
        "--purpose",
        choices=("inference", "lora", "qlora", "full"),
        help="what is done with it (default: as --peft and --trainer say, else inference)",
    )
    _step(parser.add_argument_group("the step"))
    _load(parser.add_argument_group("the load"))
    _machine(parser.add_argument_group("the machine, and how many share the model"))
    parser.add_argument("--json", action="store_true", help="print it as JSON (its schema: qvl-preflight schema fit)")
    parser.add_argument("--svg", metavar="PATH", help="write a picture of it, which stands alone")
    online_options(parser)


def _step(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--batch-size", metavar="N", type=_number, help="sequences at once, of each rank (default: as --trainer says, else 1)"
    )
    group.add_argument("--seq-len", metavar="N", type=_number, default=2048, help="tokens of a sequence (default: 2048)")
    group.add_argument("--new-tokens", metavar="N", type=_number, default=256, help="inference: tokens to generate (default: 256)")
    group.add_argument("--gradient-checkpointing", action="store_true", default=None, help="training: work activations out twice")
    group.add_argument("--optimizer", metavar="NAME", help="training: as TrainingArguments has it (default: adamw_torch)")
    group.add_argument(
        "--lora-rank", metavar="N", type=_number, default=16, help="lora and qlora, on all linear layers (default: 16)"
    )
    group.add_argument("--images", metavar="N", type=_number, default=0, help="images in the whole batch (default: none)")
    group.add_argument(
        "--image-size", metavar="HxW", type=_pixels, help="of each, in pixels: 448x448 (default: as the model has it)"
    )
    group.add_argument("--trainer", metavar="FILE", help="a file of TrainingArguments, DeepSpeed or accelerate")
    group.add_argument("--peft", metavar="FILE", help="an adapter_config.json, or its folder")


def _load(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dtype", choices=_DTYPES, help="of the weights (default: as the checkpoint has them)")
    group.add_argument("--attn", choices=("sdpa", "eager", "flash_attention_2"), help="attention (default: sdpa)")
    group.add_argument(
        "--set",
        dest="pairs",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an argument of from_pretrained, such as device_map=auto, as in check",
    )


def _machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gpu",
        metavar="GPU",
        action="append",
        default=[],
        help="GPUs in place of this machine's: 24GiB, 2x24GiB, rtx4090, a100-80gb:4",
    )
    group.add_argument("--ram", metavar="SIZE", help="the RAM that may be used, in place of this machine's: 64GiB")
    group.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save, in place of this machine")
    group.add_argument(
        "--world-size", metavar="N", type=_number, help="how many ranks train, or load, it (default: as --trainer says)"
    )
    group.add_argument("--zero-stage", choices=("1", "2", "3"), help="DeepSpeed's ZeRO shares it among them")
    group.add_argument("--fsdp", action="store_true", help="FSDP shares it among them, layer by layer")
    group.add_argument(
        "--offload",
        action="append",
        default=[],
        choices=("optimizer", "parameters"),
        help="with --zero-stage or --fsdp: what is kept in RAM",
    )


def _number(text: str) -> int:
    """A whole number; what it must be is said in a line."""
    if not text.strip().isdecimal() or not text.isascii() or len(text) > 10:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 on")
    return int(text)


def _pixels(text: str) -> tuple[int, int]:
    """Height and width."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and text.isascii() and len(text) < 12):
        raise argparse.ArgumentTypeError(f"{text!r}: expected height and width in pixels, such as 448x448")
    return int(height), int(width)


def run(arguments: argparse.Namespace) -> int:
    """Exit 1 where it does not fit."""
    from qvl_preflight.fit_call import fit_of

    online = arguments.timeout if arguments.online else False
    found = fit_of(
        arguments.model, _wanted(arguments), trainer=file_or_object(arguments.trainer), peft=file_or_object(arguments.peft), facts=arguments.facts,
        online=online,
    )  # fmt: skip
    if arguments.svg:
        _save(arguments.svg, found.svg())
    cli_output.write(json.dumps(found.to_dict(), indent=1) if arguments.json else found.text())
    return int(found.ok is False)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from qvl_preflight.cli_values import read_pairs
    from qvl_preflight.fit_call import Wanted

    kwargs = read_pairs(arguments.pairs)
    if arguments.dtype:
        kwargs["dtype"] = {"__dtype__": arguments.dtype}
    if arguments.attn:
        kwargs["attn_implementation"] = arguments.attn
    return Wanted(
        arguments.purpose, arguments.batch_size, arguments.seq_len, arguments.new_tokens, arguments.gradient_checkpointing, arguments.optimizer,
        arguments.lora_rank, arguments.images, arguments.image_size, tuple(arguments.gpu), arguments.ram, arguments.world_size, int(arguments.zero_stage) if arguments.zero_stage else None, arguments.fsdp, tuple(arguments.offload), kwargs,
    )  # fmt: skip


def _save(path: str, text: str) -> None:
    """Raises InputError."""
    try:
        cli_output.save(path, text)
    except (OSError, ValueError) as error:
        raise InputError(f"--svg {path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
