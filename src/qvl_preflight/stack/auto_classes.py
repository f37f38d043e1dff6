"""The Auto classes: which class a configuration leads to, and when the checkpoint's own code is run for it.

Sources: transformers 4.28 to 5.23 models/auto/configuration_auto.py AutoConfig.from_pretrained, auto_factory.py _BaseAutoModelClass.from_pretrained,
dynamic_module_utils.py resolve_trust_remote_code. The configuration is looked up first, then the class; each may be the checkpoint's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.auto_tables import tables
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.spelling import nearest
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# What is said where trust_remote_code is not passed and nobody answers; {} is the name of the model as it was passed.
_UNANSWERED = ByRelease(
    "transformers",
    Row("4.28", "4.30", ("ValueError", "Loading {} requires you to execute the {what} file in that repo on your local machine."), Evidence.RUN, "transformers 4.28.1 configuration_auto.py"),
    Row("4.30", "4.32", ("EOFError", "EOF when reading a line"), Evidence.RUN, "transformers 4.30.2, 4.31.0 dynamic_module_utils.py"),
    Row("4.32", "4.34", ("ValueError", "Loading this model requires you to execute execute some code in that repo on your local machine."), Evidence.RUN, "transformers 4.32.0 dynamic_module_utils.py"),
    Row("4.34", "4.35", ("ValueError", "The repository for {} contains custom code which must be executed to correctlyload the model."), Evidence.RUN, "transformers 4.34.1 dynamic_module_utils.py"),
    Row("4.35", "4.52", ("ValueError", "The repository for {} contains custom code which must be executed to correctly load the model."), Evidence.RUN, "transformers 4.37.2, 4.51.3 dynamic_module_utils.py"),
    Row("4.52", "4.53", ("ValueError", "The repository `{}` contains custom code which must be executed to correctly load the model."), Evidence.RUN, "transformers 4.52.4 dynamic_module_utils.py"),
    Row("4.53", None, ("ValueError", "The repository {} contains custom code which must be executed to correctly load the model."), Evidence.RUN, "transformers 4.53.3, 5.23.0 dynamic_module_utils.py"),
)  # fmt: skip
# What is said to trust_remote_code=False.
_REFUSED = ByRelease(
    "transformers",
    Row("4.28", "4.30", "Loading {} requires you to execute the {what} file in that repo on your local machine.", Evidence.RUN, "transformers 4.28.1"),
    Row("4.30", "4.52", "Loading {} requires you to execute the configuration file in that repo on your local machine.", Evidence.RUN, "transformers 4.32.0, 4.37.2, 4.51.3 dynamic_module_utils.py"),
    Row("4.52", "4.53", "The repository `{}` contains custom code which must be executed to correctly load the model.", Evidence.RUN, "transformers 4.52.4 dynamic_module_utils.py"),
    Row("4.53", None, "The repository {} contains custom code which must be executed to correctly load the model.", Evidence.RUN, "transformers 4.53.3, 5.23.0 dynamic_module_utils.py"),
)  # fmt: skip
_UNKNOWN_TYPE = ByRelease(
    "transformers",
    Row("4.28", "4.36", ("KeyError", "'{}'"), Evidence.RUN, "transformers 4.32.0 configuration_auto.py"),
    Row("4.36", None, ("ValueError", "The checkpoint you are trying to load has model type `{}` but Transformers does not recognize this architecture."), Evidence.RUN, "transformers 4.37.2, 5.23.0 configuration_auto.py"),
)  # fmt: skip
_READS_PATH: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "5.1", True, Evidence.RUN, "transformers 4.37.2, 4.57.1 configuration_auto.py; 5.0.0 has it as well"),
    Row("5.2", None, False, Evidence.RUN, "transformers 5.23.0 configuration_auto.py; gone in 5.2.0"),
)
_NO_CLASS = Evidence.RUN  # transformers 4.37.2, 4.45.2, 5.23.0: from transformers import NAME
# From here on a configuration class of the checkpoint counts as transformers' own where it has that name (run: 4.55.4, 4.57.1, 5.23.0); before it
# never does (run: 4.37.2, 4.45.2, 4.51.3, 4.54.1 auto_factory.py, "type(config) in cls._model_mapping.keys()").
_GOES_BY_NAME = (4, 55)
_WRONG_CLASS = Evidence.RUN  # transformers 4.32.0, 4.37.2, 4.57.1, 5.23.0 auto_factory.py


def by_auto_class(situation: Situation) -> bool:
    """Is an Auto class called, as far as is said? A call that names no class counts as one of an Auto class."""
    loader = situation.request.loader
    return loader is None or tables().is_auto(loader)


def has_type(situation: Situation, model_type: str) -> bool:
    """Does the installed release know a model type? Raises Undecided."""
    if situation.auto_classes is not None:
        return model_type in situation.auto_classes.types
    return tables().has_type(model_type, situation.packages.release("transformers") or ())


def autos_of(situation: Situation, model_type: str) -> Mapping[str, tuple[str, ...]]:
    """The Auto classes of the installed release that take a model type. Raises Undecided."""
    if situation.auto_classes is not None:
        return situation.auto_classes.types.get(model_type, {})
    return tables().autos_of(model_type, situation.packages.release("transformers") or ())


def _takes(situation: Situation, auto: str, model_type: str) -> bool:
    if situation.auto_classes is not None:
        return auto in situation.auto_classes.types.get(model_type, {})
    return tables().takes(auto, model_type, situation.packages.release("transformers") or ())


def class_exists(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: a class of transformers that the installed release does not have. A name of no release is a person's own class."""
    name, release = situation.request.loader, situation.packages.release("transformers")
    if name is None or release is None:
        return
    if not tables().is_class(name):
        yield from _misspelt_class(situation, name)
        return
    installed = situation.auto_classes
    if (name in installed.autos) if installed is not None and tables().is_auto(name) else tables().has_class(name, release):
        return
    why = f"transformers {situation.packages.version('transformers')} has no {name}: it is in {tables().class_span(name)}"
    yield WillRaise(
        "QVL908",
        Stage.ENVIRONMENT,
        "ImportError",
        f"cannot import name '{name}' from 'transformers'",
        "class",
        why,
        evidence=_NO_CLASS,
    )


def _misspelt_class(situation: Situation, name: str) -> Iterator[WillRaise]:
    """A name of no release: a slip where it is nearly that of a class; else a class of the person's own."""
    meant = tables().meant(name)
    if situation.auto_classes is not None and name in situation.auto_classes.autos:
        return
    text = f"cannot import name '{name}' from 'transformers'"
    if meant is None:
        if re.match(r"AutoModel(For[A-Z]|$)", name) and "With" not in name:
            why, own = f"no release of transformers up to 5.23 has {name}", f"{name} is no class of the program's own"
            yield WillRaise("QVL908", Stage.ENVIRONMENT, "ImportError", text, "class", why, own, _NO_CLASS)
        return
    why = f"transformers has no {name}; {meant} is meant"
    condition = None if tables().is_auto(meant) else f"{name} is no class of the program's own"
    yield WillRaise("QVL908", Stage.ENVIRONMENT, "ImportError", text, "class", why, condition, _NO_CLASS)


def configuration(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: AutoConfig looks for the class of the configuration."""
    model_type, auto_map = _model_type(situation), _auto_map(situation)
    remote, trusted = "AutoConfig" in auto_map, _trusted(situation)
    if model_type is None and not remote:
        yield from _without_type(situation)
    if model_type is None:
        return
    always = not situation.packages.at_least(
        "transformers", 4, 30
    )  # the checkpoint's own code comes first, whatever is there besides
    if remote and not trusted and (always or not has_type(situation, model_type)):
        yield _refusal(situation, "configuration", auto_map["AutoConfig"], model_type)
    elif not (remote and trusted) and not has_type(situation, model_type):
        yield from _unknown_type(situation, model_type)


def model_class(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: the Auto class that is called looks for the class of the model."""
    loader, model_type, auto_map = situation.request.loader, _model_type(situation), _auto_map(situation)
    if loader is None or model_type is None:
        return
    if any(map(draft.failed, ("class", "model-type", "trust-remote-code"))):
        return
    remote, trusted = loader in auto_map, _trusted(situation)
    if remote and trusted:
        return
    always = not situation.packages.at_least("transformers", 4, 30)
    own_config = "AutoConfig" in auto_map and trusted
    if own_config and has_type(situation, model_type) and situation.packages.at_least("transformers", *_GOES_BY_NAME):
        named = str(auto_map["AutoConfig"]).rpartition(".")[2].removesuffix("Config")
        if _bare(named) != _bare(model_type) or _takes(situation, loader, model_type):
            return  # it may count as a configuration of transformers' own, of this type or another
    taken = not own_config and _takes(situation, loader, model_type)
    if remote and (always or not taken):
        yield _refusal(situation, "modeling", auto_map[loader], model_type)
    elif not taken:
        module = "transformers_modules." if own_config else "transformers.models."
        text = f"Unrecognized configuration class <class '{module}"
        yield WillRaise(
            "QVL909",
            Stage.CONFIG,
            "ValueError",
            text,
            "auto-class",
            _why_wrong(situation, loader, model_type),
            evidence=_WRONG_CLASS,
        )


def _bare(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _why_wrong(situation: Situation, loader: str, model_type: str) -> str:
    own = [name for name in _auto_map(situation) if name.startswith("AutoModel")]
    if "AutoConfig" in _auto_map(situation) and _trusted(situation):
        return (
            f"{loader} has no class for this checkpoint: its config.json names {' and '.join(own) or 'no model class'} (auto_map)"
        )
    return f"{loader} has no class for the model type {model_type} in this release of transformers"


def _unknown_type(situation: Situation, model_type: str) -> Iterator[WillRaise]:
    known = tables().is_type(model_type)
    meant = None if known else nearest(model_type, tables().every_type())
    if not known and situation.request.loader is None and meant is None:
        return  # a class of the person's own, most likely
    row = _UNKNOWN_TYPE.row(situation.packages)
    version = situation.packages.version("transformers")
    why = f"transformers {version} does not know the model type {model_type}; " + (
        f"{tables().type_span(model_type)} do" if known else "no release up to 5.23 does"
    )
    if meant is not None:
        why += f"; {meant} is near"
    condition = None if known else "the program does not register that type itself"
    yield WillRaise(
        "QVL907", Stage.CONFIG, row.value[0], row.value[1].format(model_type), "model-type", why, condition, row.evidence
    )


def _without_type(situation: Situation) -> Iterator[WillRaise]:
    """A config.json that names no model type, or one that is no text. Where the call names no class, one may be called that needs none."""
    config = situation.checkpoint.config
    if not _by_type(situation):
        return
    condition = None if situation.request.loader else "it is an Auto class that is called"
    if "model_type" not in config:
        text = f"Unrecognized model in {situation.request.model}. Should have a `model_type` key in its config.json"
        why = "config.json names no model_type, by which an Auto class finds the architecture"
        if _READS_PATH.value(situation.packages):
            why += "; this release also looks for one in the path, which holds none"
        yield WillRaise("QVL907", Stage.CONFIG, "ValueError", text, "model-type", why, condition, Evidence.RUN)
        return
    named = config["model_type"]
    kind, text = _UNKNOWN_TYPE.row(situation.packages).value
    if isinstance(named, (list, Mapping)):
        kind, text = "TypeError", f"unhashable type: '{'list' if isinstance(named, list) else 'dict'}'"
    elif kind == "KeyError":
        text = str(named)
    why = f"model_type in config.json is {json.dumps(named)[:40]}, and not the name of an architecture"
    yield WillRaise("QVL907", Stage.CONFIG, kind, text.format(named), "model-type", why, condition, Evidence.RUN)


def _refusal(situation: Situation, what: str, reference: Any, model_type: str) -> WillRaise:
    """Code of the checkpoint that nobody allowed. ``what``: configuration or modeling; both say so, the first stops the load."""
    passed = situation.request.kwargs.get("trust_remote_code")
    answered, refused = _UNANSWERED.row(situation.packages), _REFUSED.row(situation.packages)
    kind, text = answered.value if passed is None else ("ValueError", refused.value)
    row_evidence = answered.evidence if passed is None else refused.evidence
    name, upstream = situation.request.model, str(reference).partition("--")[0] if "--" in str(reference) else None
    if upstream and situation.packages.at_least("transformers", 4, 53):
        # AutoConfig hands the other repository over in the place of the message (4.53.3 to 5.23.0 configuration_auto.py).
        text = (
            f"{upstream} You can inspect the repository content at"
            if what == "configuration"
            else "The repository {} references custom code"
        )
    asks = ""
    if passed is None and situation.packages.at_least("transformers", 4, 30):
        asks = "; on a terminal it asks and waits 15 seconds for an answer"
    later = ""
    if tables().is_type(model_type):
        later = f" (transformers {tables().type_span(model_type)} have one)"
    why = (
        f"config.json names code of the checkpoint (auto_map), this release has no class of its own for the model type {model_type}{later}, "
        f"and trust_remote_code is {'not passed' if passed is None else passed}{asks}"
    )
    return WillRaise("QVL906", Stage.CONFIG, kind, text.format(name, what=what), "trust-remote-code", why, evidence=row_evidence)


def _by_type(situation: Situation) -> bool:
    """Does an Auto class read the model type? Not where something else decides: another class, a configuration that is passed, GGUF."""
    kwargs = situation.request.kwargs
    return by_auto_class(situation) and kwargs.get("config") is None and kwargs.get("gguf_file") is None


def _model_type(situation: Situation) -> str | None:
    """The model type that an Auto class goes by. None where it reads none, or finds none."""
    if not _by_type(situation):
        return None
    found = situation.checkpoint.config.get("model_type", MISSING)
    return _from_path(situation) if found is MISSING else found if isinstance(found, str) else None


def _from_path(situation: Situation) -> str | None:
    """Without a model type, old releases take the longest one that stands anywhere in the path as it was passed."""
    if "AutoConfig" in _auto_map(situation) or not _READS_PATH.value(situation.packages):
        return None
    known = situation.auto_classes.types if situation.auto_classes is not None else tables().every_type()
    fitting = [each for each in known if each in situation.request.model and has_type(situation, each)]
    return max(fitting, key=len, default=None)


def _auto_map(situation: Situation) -> Mapping[str, Any]:
    found = situation.checkpoint.config.get("auto_map")
    return found if isinstance(found, Mapping) else {}


def _trusted(situation: Situation) -> bool:
    return bool(situation.request.kwargs.get("trust_remote_code"))
