"""The command line: parses, asks, renders, returns an exit code.

Exit codes: 0 nothing at or above --fail-on; 1 findings; 2 usage, input or internal error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from qvl_preflight import cli_output
from qvl_preflight._version import __version__
from qvl_preflight.exceptions import InputError, PreflightError
from qvl_preflight.settings import is_off, off_note, read_settings

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation
    from qvl_preflight.report import Report


def main(argv: list[str] | None = None) -> int:
    """Run one command; never a traceback for what a person got wrong."""
    cli_output.prepare()
    given = sys.argv[1:] if argv is None else argv
    try:
        arguments = _parser(given[0] if given else "").parse_args(given)
        if is_off() and given[0] in _JUDGING:
            return _off(arguments)
        if "select" in arguments:
            _with_settings(arguments)
        return int(arguments.run(arguments))
    except PreflightError as error:
        cli_output.complain(str(error))
    except KeyboardInterrupt:
        return 130  # as a shell reports it
    except Exception as error:  # a bug of ours: one line, its own exit code, and the place for those who mend it
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
        cli_output.complain(f"internal error at {where}: {type(error).__name__}: {error}; please report it")
    return 2


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see '{self.prog} --help'")

    def _print_message(self, message: str, file: Any = None) -> None:
        cli_output.write(message)


class _Formatter(argparse.HelpFormatter):
    """Takes the width from COLUMNS; asking the terminal would load shutil at every start."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        super().__init__(prog, width=(int(columns) if columns.isdigit() else 80) - 2)


def _parser(command: str) -> argparse.ArgumentParser:
    """All commands, and the arguments of the one that is run: the others' cost as much as the doctor itself."""
    parser = _Parser(
        prog="qvl-preflight", description="Says what from_pretrained will do before it does it.", formatter_class=_Formatter
    )
    parser.add_argument("--version", action="version", version=f"qvl-preflight {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True, prog="qvl-preflight")
    for name, (text, fill) in _COMMANDS.items():
        added = commands.add_parser(name, help=text, formatter_class=_Formatter)
        if name == command:
            fill(added)
    return parser


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="a folder or hub id: say what its plain call will do here, too")
    _online_arguments(parser)
    parser.add_argument("--save", metavar="F", help="write the facts to F, to be replayed with --facts")
    _common(parser, _doctor)


def _call_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="M", help="a folder or hub id, or the YAML of a LLaMA-Factory job")
    purposes = ("inference", "lora", "qlora", "full", "quantize")
    parser.add_argument("--purpose", choices=purposes, help="what the model is loaded for")
    parser.add_argument("--class", dest="loader", metavar="C", help="the class that is called, AutoModelForCausalLM say")
    value = "one argument: JSON, torch.float16, GPTQConfig(bits=4), else a string"
    parser.add_argument("--set", dest="pairs", metavar="K=V", action="append", default=[], help=value)
    parser.add_argument("--kwargs", metavar="F", help="the arguments as a JSON file, in plain form")
    parser.add_argument("--peft", metavar="F", help="an adapter_config.json, or its folder")
    parser.add_argument(
        "--trainer", metavar="F", help="TrainingArguments, DeepSpeed's or accelerate's configuration; {} for the defaults"
    )
    _online_arguments(parser)


def _online_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--online", action="store_true", help="ask the hub for config.json, code and headers of a model that is not here"
    )
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=30.0, help="with --online: how long to wait (default: 30)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    _call_arguments(parser)
    parser.add_argument("--fix", action="store_true", help="print the corrected call")
    parser.add_argument("--unsafe-fixes", action="store_true", help="with --fix: apply edits that may change the result")
    _common(parser, _check)


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    _call_arguments(parser)
    parser.add_argument("--facts", metavar="F", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="print plan/1")
    parser.set_defaults(run=_plan)


def _stack_arguments(parser: argparse.ArgumentParser) -> None:
    from qvl_preflight.stack.proven import METHODS, PURPOSES

    parser.add_argument("--purpose", choices=PURPOSES, default="inference", help="what it must do (default: inference)")
    method = "how the checkpoint is quantised (default: none)"
    parser.add_argument("--method", choices=METHODS, default="none", help=method)
    parser.add_argument("--python", metavar="3.11", help="the Python that it must install on (default: the one of the facts)")
    parser.add_argument("--facts", metavar="F", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="packages, Python, where it was seen, what would change")
    parser.set_defaults(run=_stack)


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the log; - or nothing: standard input")
    parser.add_argument("--facts", metavar="F", help="facts saved with doctor --save on the machine where it happened")
    parser.add_argument("--here", action="store_true", help="it happened on this machine: combine with what it shows")
    parser.add_argument("--json", action="store_true", help="a list: code, topic, title, message, confidence, fix, evidence")
    parser.set_defaults(run=_diagnose)


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", help="QVL306, or the rule's name")
    parser.set_defaults(run=_explain)


def _rules_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="code, name, topic, severity, summary, fixable")
    parser.set_defaults(run=_rules)


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("facts", "report"))
    parser.set_defaults(run=_schema)


_COMMANDS = {
    "doctor": ("look at this machine", _doctor_arguments),
    "check": ("look at one call of from_pretrained", _check_arguments),
    "plan": ("print where everything will land, and how far each stage comes", _plan_arguments),
    "stack": ("print releases that were seen to work together", _stack_arguments),
    "diagnose": ("find the cause of a crash in its traceback or log", _diagnose_arguments),
    "explain": ("print the page of a rule", _explain_arguments),
    "rules": ("list the rules", _rules_arguments),
    "schema": ("print a JSON schema", _schema_arguments),
}

_JUDGING = ("doctor", "check", "plan", "fit", "diagnose")  # what QVL_PREFLIGHT=off ends


def _off(arguments: argparse.Namespace) -> int:
    """One line, or an empty report for who reads JSON."""
    if arguments.run in (_doctor, _check) and arguments.json:
        from qvl_preflight.api import nothing_checked

        cli_output.write(json.dumps(nothing_checked().to_dict(), indent=1))
    else:
        cli_output.write(off_note())
    return 0


def _with_settings(arguments: argparse.Namespace) -> None:
    """What is not said on the command line, pyproject.toml may say."""
    from qvl_preflight.rule import selection

    settings = read_settings()
    select, ignore = selection(_listed(arguments.select), _listed(arguments.ignore), settings)
    arguments.select, arguments.ignore, arguments.notes = list(select), list(ignore), settings.notes
    arguments.fail_on = arguments.fail_on or settings.fail_on or "error"
    arguments.quiet, arguments.no_color = arguments.quiet or settings.quiet, arguments.no_color or settings.no_color


def _common(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--facts", metavar="F", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="print report/1")
    parser.add_argument(
        "--select",
        metavar="R",
        action="append",
        default=[],
        help="only these rules: codes, beginnings of codes, names, topics; commas",
    )
    parser.add_argument("--ignore", metavar="R", action="append", default=[], help="not these rules")
    parser.add_argument("--fail-on", choices=("error", "warning", "note"), help="exit 1 from this severity on (default: error)")
    parser.add_argument("--quiet", action="store_true", help="the verdict alone")
    parser.add_argument("--no-color", action="store_true", help="no colour, wherever it goes")
    parser.set_defaults(run=run)


def _doctor(arguments: argparse.Namespace) -> int:
    from qvl_preflight.facts_from import facts_of

    facts = facts_of(arguments.facts)
    if arguments.save:
        _save(arguments.save, facts.to_dict())
    select, ignore = _listed(arguments.select), _listed(arguments.ignore)
    if arguments.model:
        from qvl_preflight.api import check

        online = arguments.timeout if arguments.online else False
        report = check(arguments.model, facts=facts if arguments.facts else None, online=online, select=select, ignore=ignore)
        return _show(report, arguments)
    from qvl_preflight.environment import examine

    return _show(examine(facts, select, ignore), arguments)


def _situation(arguments: argparse.Namespace) -> Situation:
    from dataclasses import replace

    from qvl_preflight import api
    from qvl_preflight.cli_values import read_json, read_pairs
    from qvl_preflight.jobs import elsewhere

    kwargs = (read_json(arguments.kwargs, dict) if arguments.kwargs else {}) | read_pairs(arguments.pairs)
    case = api.situation(
        arguments.model, arguments.purpose, arguments.loader, _file_or_object(arguments.peft), _file_or_object(arguments.trainer), arguments.facts, kwargs,
        arguments.timeout if arguments.online else False,
    )  # fmt: skip
    return replace(case, facts=elsewhere(case.facts, case.request.trainer))


def _file_or_object(given: str | None) -> Any:
    """``--trainer`` and ``--peft``: a file, or an object in JSON in place of its name. Raises InputError."""
    from qvl_preflight.cli_values import read_json

    return read_json(given, dict) if given and given.lstrip().startswith("{") else given


def _plan(arguments: argparse.Namespace) -> int:
    """Exit 1 where the call certainly stops."""
    from qvl_preflight.planner import make_plan

    situation = _situation(arguments)
    plan = make_plan(situation)
    if arguments.json:
        from qvl_preflight.outline import to_dict

        cli_output.write(json.dumps(to_dict(situation, plan), indent=1))
    else:
        from qvl_preflight.render.outline import outline_text

        cli_output.write(outline_text(situation, plan))
    return int(plan.stops_at is not None)


def _check(arguments: argparse.Namespace) -> int:
    from qvl_preflight import engine
    from qvl_preflight.rule import select_rules

    situation = _situation(arguments)
    rules = select_rules(_listed(arguments.select), _listed(arguments.ignore))
    if not arguments.fix:
        return _show(engine.check(situation, rules), arguments)
    fixed = engine.fix(situation, rules, unsafe=arguments.unsafe_fixes)
    if arguments.json:
        from qvl_preflight.report import fixed_to_dict

        cli_output.write(json.dumps(fixed_to_dict(fixed), indent=1))
    else:
        from qvl_preflight.render.terminal import print_fixed

        cli_output.write_by(lambda stream: print_fixed(fixed, stream, color=False if arguments.no_color else None))
    return _exit_code(fixed.after, arguments.fail_on)


def _show(report: Report, arguments: argparse.Namespace) -> int:
    report = report.with_notes(arguments.notes)
    if arguments.json:
        cli_output.write(json.dumps(report.to_dict(), indent=1))
    else:
        from qvl_preflight.render.terminal import print_report

        color = False if arguments.no_color else None
        cli_output.write_by(lambda stream: print_report(report, stream, color=color, quiet=arguments.quiet))
    return _exit_code(report, arguments.fail_on)


def _exit_code(report: Report, fail_on: str) -> int:
    from qvl_preflight.report import Severity

    return 1 if report.at_least(Severity(fail_on)) else 0


def _listed(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _save(path: str, data: Any) -> None:
    """A pipe that nobody reads is refused rather than waited for."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0), 0o666)
        with open(number, "w", encoding="utf-8") as file:
            if hasattr(os, "set_blocking"):
                os.set_blocking(number, True)
            json.dump(data, file, indent=1)
            file.write("\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that is there and yours"
        ) from error


def _stack(arguments: argparse.Namespace) -> int:
    from qvl_preflight.cli_values import read_python
    from qvl_preflight.facts_from import facts_of
    from qvl_preflight.render.requirements import requirements, to_dict
    from qvl_preflight.stack.proven import nearest

    facts = facts_of(arguments.facts)
    stack = nearest(facts, arguments.purpose, arguments.method, read_python(arguments.python, facts))
    if arguments.json:
        cli_output.write(json.dumps(to_dict(stack, facts), indent=1))
    else:
        cli_output.write(requirements(stack, facts, arguments.purpose, arguments.method))
    return 0


def _diagnose(arguments: argparse.Namespace) -> int:
    from qvl_preflight.diagnose_command import run

    return run(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    from qvl_preflight.api import explain

    cli_output.write(explain(arguments.code))
    return 0


def _rules(arguments: argparse.Namespace) -> int:
    from qvl_preflight.rule import all_rules

    if arguments.json:
        cli_output.write(json.dumps([rule.to_dict() for rule in all_rules()], indent=1))
    else:
        cli_output.write("\n".join(f"{r.code}  {r.severity.value:<8} {r.name:<32} {r.summary}" for r in all_rules()))
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    from qvl_preflight.schemas import facts_schema, report_schema

    cli_output.write(json.dumps(facts_schema() if arguments.what == "facts" else report_schema(), indent=1))
    return 0
