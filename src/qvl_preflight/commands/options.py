"""What several commands take: the call of from_pretrained, where to look for its model, what to report and how."""

from __future__ import annotations

import argparse

from qvl_preflight.settings import read_settings


def call_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder or hub id, or the YAML of a LLaMA-Factory job")
    purposes = ("inference", "lora", "qlora", "full", "quantize")
    parser.add_argument(
        "--purpose", choices=purposes, help="what the model is loaded for (default: as --peft and --trainer say, else inference)"
    )
    parser.add_argument("--class", dest="loader", metavar="CLASS", help="the class that is called, such as AutoModelForCausalLM")
    value = "one argument of the call: JSON, torch.float16, GPTQConfig(bits=4), else a string"
    parser.add_argument("--set", dest="pairs", metavar="KEY=VALUE", action="append", default=[], help=value)
    parser.add_argument("--kwargs", metavar="FILE", help="all arguments of the call as a JSON file, in plain form")
    parser.add_argument("--peft", metavar="FILE", help="an adapter_config.json, or its folder")
    parser.add_argument(
        "--trainer", metavar="FILE", help="a file of TrainingArguments, DeepSpeed or accelerate; {} for a Trainer with its defaults"
    )
    online_options(parser)


def online_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--online", action="store_true", help="ask the hub for config.json, code and headers of a model that is not here"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="with --online: how long to wait (default: 30)"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="print the report as JSON (its schema: qvl-preflight schema report)")
    parser.add_argument(
        "--select",
        metavar="RULES",
        action="append",
        default=[],
        help="only these rules, by code, beginning of a code, name or topic; separated by commas",
    )
    parser.add_argument("--ignore", metavar="RULES", action="append", default=[], help="all but these rules, named in the same way")
    parser.add_argument("--fail-on", choices=("error", "warning", "note"), help="exit 1 from this severity on (default: error)")
    parser.add_argument("--quiet", action="store_true", help="print the verdict alone")
    parser.add_argument("--no-color", action="store_true", help="print without colour")


def with_settings(arguments: argparse.Namespace) -> None:
    """What is not said on the command line, pyproject.toml may say."""
    from qvl_preflight.rule import selection

    settings = read_settings()
    select, ignore = selection(listed(arguments.select), listed(arguments.ignore), settings)
    arguments.select, arguments.ignore, arguments.notes = list(select), list(ignore), settings.notes
    arguments.fail_on = arguments.fail_on or settings.fail_on or "error"
    arguments.quiet, arguments.no_color = arguments.quiet or settings.quiet, arguments.no_color or settings.no_color


def listed(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
