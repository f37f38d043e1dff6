"""The class whose from_pretrained is called, and the checkpoint's own code."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.auto_tables import tables
from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.plan import LoadPlan, Situation, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack import config_objects
from qvl_preflight.stack.auto_classes import autos_of
from qvl_preflight.stack.other_model import of_another_model
from qvl_preflight.stack.quant_methods import SINCE
from qvl_preflight.unknown import Unknown, attempt

# Of several Auto classes for one model class, the one that people mean.
_USUAL = ("CausalLM", "ImageTextToText", "Vision2Seq", "MultimodalLM", "SpeechSeq2Seq", "Seq2SeqLM", "MaskedLM")


@rule(
    "QVL906",
    Severity.ERROR,
    topic="trust-remote-code",
    symptoms=(
        r"requires you to execute the (configuration|modeling) file in that repo",
        r"requires you to execute execute some code in that repo",
        r"contains custom code which must be executed to correctly ?load the model",
        r"You can inspect the repository content at .*Please pass the argument `trust_remote_code=True`",
    ),
)
def remote_code_not_trusted(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The checkpoint brings its own code, and the call does not allow it.

    ## What happens
    `auto_map` in config.json names Python files of the checkpoint, and the installed transformers has no class of its own for that model
    type. Without `trust_remote_code=True` the Auto classes of transformers 4.30 and later ask on a terminal, wait 15 seconds and raise;
    without a terminal (a batch job) they raise at once. Where transformers has a class of its own, that one is used and nothing is asked.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat", device_map={"": 0})
    ```
    Use instead, once you have read the code:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Unsafe: it runs the checkpoint's Python code with your rights. Read it, or trust who wrote it; `revision=` pins what you have read.
    """
    allow = remedies.edit("Allow the checkpoint's code, once you have read it", Applicability.UNSAFE, trust_remote_code=True)
    yield from as_planned(plan, "QVL906", allow)


@rule(
    "QVL907",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(
        r"but Transformers does not recognize this architecture",
        r"Unrecognized model in \S+ Should have a `model_type` key",
        r"configuration_auto\.py[\s\S]*KeyError: '[a-z0-9_-]+'",
    ),
)
def model_type_not_known(plan: LoadPlan, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    The installed transformers does not know this model type.

    ## What happens
    `model_type` in config.json names an architecture that came with a later release, or left with an earlier one. Every Auto class raises
    before anything is loaded: a KeyError up to transformers 4.35, then a ValueError that names the type. Where config.json names no type at all, releases
    up to 5.0 take the longest one that stands in the path, `my-llama` say; with none there, and in every later release, that is a ValueError.

    ## Example
    ```python stack=legacy
    AutoModelForVision2Seq.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```
    Use instead a release that knows it:
    ```python stack=middle-bnb
    AutoModelForVision2Seq.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: other releases of transformers may need other releases of its companions.
    """
    model_type = str(checkpoint.config.get("model_type"))
    known = tables().is_type(model_type)
    fix = _install(tables().type_span(model_type), f"a transformers that knows {model_type}") if known else _named(checkpoint)
    yield from as_planned(plan, "QVL907", fix)


def _named(checkpoint: Checkpoint) -> Fix | None:
    """The model type that config.json should name, where the class that it was saved from belongs to one."""
    saved = checkpoint.config.get("architectures")
    name = saved[0] if isinstance(saved, list) and saved else None
    types = tables().types_of(name) if isinstance(name, str) else ()
    own = [each for each in types if each.replace("_", "").replace("-", "") == str(name).partition("For")[0].lower()]
    types = tuple(own) or types
    return Fix.display(f'Let config.json say "model_type": "{types[0]}", to which its {name} belongs') if len(types) == 1 else None


@rule(
    "QVL908",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"cannot import name '(Auto|\w+For)\w+' from 'transformers'", r"cannot import name '\w+Config' from 'transformers'"),
)
def class_not_there(plan: LoadPlan, request: Request, situation: Situation) -> Iterator[Finding]:
    """
    The class that is called is not in the installed transformers.

    ## What happens
    Classes come and go: AutoModelForImageTextToText came with transformers 4.46, AutoModelForVision2Seq left with 5.0, a configuration of a
    quantisation method (HqqConfig) comes with its method. The import raises. A name that no release has and that is nearly one of a class is a slip.

    ## Example
    ```python
    AutoModelForVision2Seq.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python
    AutoModelForImageTextToText.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the class is not an argument of the call.
    """
    yield from as_planned(plan, "QVL908", lambda raised: _class_that_is_there(raised, request, situation))


def _class_that_is_there(raised: WillRaise, request: Request, situation: Situation) -> Fix | None:
    name, passed = request.loader or "", request.kwargs.get("quantization_config")
    if raised.cause == "config-class" and isinstance(passed, ConfigObject):
        method = config_objects.method_of(passed.class_name)
        return _install(f"{SINCE[method][1]} on", f"a transformers that has {passed.class_name}") if method else None
    if not tables().is_class(name):
        return Fix.display(f"Call {tables().meant(name)}.from_pretrained")
    return _other_class(situation) or _install(tables().class_span(name), f"a transformers that has {name}")


@rule(
    "QVL909",
    Severity.ERROR,
    topic="wrong-auto-class",
    symptoms=(r"Unrecognized configuration class <class .* for this kind of AutoModel",),
)
def wrong_auto_class(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    The Auto class that is called has no class for this checkpoint.

    ## What happens
    Each Auto class has a table of model types: a vision-language model is in that of AutoModelForImageTextToText (AutoModelForVision2Seq
    before transformers 4.46), rarely in that of AutoModelForCausalLM. A checkpoint with code of its own names its Auto classes in
    `auto_map`. Any other raises `Unrecognized configuration class …`.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python
    AutoModelForImageTextToText.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the class is not an argument of the call.
    """
    yield from as_planned(plan, "QVL909", lambda _: _other_class(situation))


@rule(
    "QVL915",
    Severity.WARNING,
    topic="wrong-auto-class",
    symptoms=(r"You are using a model of type `?[\w.-]+`? to instantiate a model of type",),
)
def class_of_another_model(plan: LoadPlan, request: Request, situation: Situation) -> Iterator[Finding]:
    """
    The class that is called is one of another model than the checkpoint's.

    ## What happens
    A class like Qwen2ForCausalLM asks for no permission: transformers logs "You are using a model of type llama to instantiate a model of type qwen2", takes the settings
    that both have, initialises at random what the checkpoint lacks (all of it, where the names have nothing in common), leaves out the rest, and goes on. Where the
    names do fit, the formulas may not. Some pairs raise: shapes that differ, a setting that is null.

    ## Example
    ```python
    LlamaForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the class is not an argument of the call.
    """
    found = None if plan.blocked("class") else of_another_model(situation)
    if found is not None:
        model_type, types = found
        why = (
            f"{request.loader} is a class of {' and '.join(types)}, and the checkpoint is one of {model_type}: transformers logs a warning, initialises at random "
            "what the checkpoint lacks and leaves out what the class has no place for, or stops where shapes differ"
        )
        yield Finding(why, fix=_other_class(situation))


def _install(span: str, title: str) -> Fix:
    """``4.45 and later`` or ``4.28 to 4.57`` as a command."""
    since, _, last = span.partition(" to ")
    if last:
        major, minor = map(int, last.split("."))
        return Fix.display(f"Install {title}", f"pip install 'transformers<={major}.{minor}.99'")
    return Fix.display(f"Install {title}", f"pip install 'transformers>={since.removesuffix(' and later')}'")


def _other_class(situation: Situation) -> Fix | None:
    """The Auto class that takes this checkpoint: the one that leads to the class it was saved from, if any does."""
    config = situation.checkpoint.config
    auto_map, model_type = config.get("auto_map"), config.get("model_type")
    found: dict[str, tuple[str, ...]]
    if isinstance(auto_map, dict) and situation.request.kwargs.get("trust_remote_code"):
        found = {name: (str(reference).rpartition(".")[2],) for name, reference in auto_map.items() if name.startswith("AutoModel")}
    else:
        taken = attempt(lambda: dict(autos_of(situation, str(model_type))))
        found = {} if isinstance(taken, Unknown) else taken
    saved = config.get("architectures")
    saved = saved[0] if isinstance(saved, list) and saved else None
    fitting = [name for name, classes in found.items() if saved in classes] or list(found)
    if not fitting:
        return None
    best = min(fitting, key=_preference)
    return Fix.display(f"Call {best}.from_pretrained")


def _preference(name: str) -> int:
    kind = name.removeprefix("AutoModelFor")
    return _USUAL.index(kind) if kind in _USUAL else len(_USUAL)
