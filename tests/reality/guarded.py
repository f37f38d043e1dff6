"""Calls of from_pretrained under a guard, made for real inside a stack's own Python. Prints what each did as a line of JSON.

usage: guarded.py MODELS SCRATCH before|after      whether the guard is there before transformers is imported
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import qvl_preflight
from qvl_preflight.guarding import call, judging, made, said

MODELS, SCRATCH, WHEN = sys.argv[1:4]
if WHEN == "before":
    qvl_preflight.install_guard("fix")
    qvl_preflight.uninstall_guard()
    qvl_preflight.install_guard("fix")
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaForCausalLM, TrainingArguments  # noqa: E402

PLAIN, GPTQ = os.path.join(MODELS, "plain-fp16"), os.path.join(MODELS, "gptq-int4")
Scene = Callable[[], Any]
SCENES: dict[str, Scene] = {}


def scene(function: Scene) -> Scene:
    SCENES[function.__name__] = function
    return function


def told(work: Callable[[], Any]) -> dict[str, Any]:
    """What a call gave or raised, and what was said meanwhile."""
    said._said.clear()
    words = io.StringIO()
    with contextlib.redirect_stderr(words):
        try:
            model = work()
            out = {"dtype": str(model.dtype), "class": type(model).__name__}
        except Exception as error:
            out = {"raised": type(error).__name__}
    lines = [line for line in words.getvalue().splitlines() if line.startswith("qvl-preflight:")]
    return {**out, "reports": sum("from_pretrained" in line for line in lines), "said": lines}


def slip(loader: Any = None, path: str = PLAIN) -> Any:
    """No dtype has this name: it fails on every machine."""
    return (loader or AutoModelForCausalLM).from_pretrained(path, torch_dtype="fp16")


@scene
def unguarded() -> Any:
    return told(slip)


@scene
def fix_by_an_auto_class() -> Any:
    with qvl_preflight.guard("fix"):
        return told(slip)


@scene
def fix_by_the_class_itself() -> Any:
    with qvl_preflight.guard("fix"):
        return told(lambda: slip(LlamaForCausalLM))


@scene
def fix_by_keyword() -> Any:
    with qvl_preflight.guard("fix"):
        return told(lambda: AutoModelForCausalLM.from_pretrained(pretrained_model_name_or_path=PLAIN, torch_dtype="fp16"))


@scene
def fix_of_a_subclass_of_the_persons_own() -> Any:
    class Mine(LlamaForCausalLM):
        pass

    with qvl_preflight.guard("fix"):
        return told(lambda: slip(Mine))


@scene
def warn() -> Any:
    with qvl_preflight.guard():
        return told(slip)


@scene
def check() -> Any:
    with qvl_preflight.guard("check"):
        return told(slip)


@scene
def a_good_call() -> Any:
    with qvl_preflight.guard("check"):
        return told(lambda: AutoModelForCausalLM.from_pretrained(PLAIN))


@scene
def nested_guards() -> Any:
    with qvl_preflight.guard("check"):
        with qvl_preflight.guard("fix"):
            inner = told(slip)
        return [inner, told(slip)]


@scene
def two_threads() -> Any:
    out: dict[str, Any] = {}

    def load(mode: str) -> None:
        with qvl_preflight.guard(mode):
            try:
                out[mode] = str(slip().dtype)
            except Exception as error:
                out[mode] = type(error).__name__

    threads = [threading.Thread(target=load, args=(mode,)) for mode in ("fix", "check")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


@scene
def a_call_of_a_library() -> Any:
    scope = {"__name__": "somelib.loading", "Auto": AutoModelForCausalLM, "path": PLAIN}
    code = "def load():\n    return Auto.from_pretrained(path, torch_dtype='fp16')"
    exec(compile(code, os.path.join(os.sep, "env", "site-packages", "somelib", "loading.py"), "exec"), scope)
    with qvl_preflight.guard("fix"):
        return told(scope["load"])


@scene
def an_adapter_by_peft() -> Any:
    adapter = os.path.join(SCRATCH, "adapter")
    peft.get_peft_model(
        LlamaForCausalLM.from_pretrained(PLAIN), peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    ).save_pretrained(adapter)
    right = told(lambda: peft.AutoPeftModelForCausalLM.from_pretrained(adapter, torch_dtype=torch.float16))
    with qvl_preflight.guard("fix"):
        return [told(lambda: peft.AutoPeftModelForCausalLM.from_pretrained(adapter, torch_dtype="fp16")), right]


@scene
def a_class_that_came_with_a_checkpoint() -> Any:
    folder = os.path.join(SCRATCH, "own")
    os.makedirs(folder)
    for name in os.listdir(PLAIN):
        os.symlink(os.path.join(PLAIN, name), os.path.join(folder, name))
    os.unlink(os.path.join(folder, "config.json"))
    with open(os.path.join(PLAIN, "config.json")) as file:
        config = json.load(file) | {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    with open(os.path.join(folder, "modeling_own.py"), "w") as file:
        file.write("from transformers import LlamaForCausalLM\n\n\nclass OwnForCausalLM(LlamaForCausalLM):\n    pass\n")
    own = transformers.dynamic_module_utils.get_class_from_dynamic_module("modeling_own.OwnForCausalLM", folder)
    with qvl_preflight.guard("fix"):
        auto = told(lambda: AutoModelForCausalLM.from_pretrained(folder, torch_dtype="fp16", trust_remote_code=True))
        return [told(lambda: slip(own, folder)), auto]


@scene
def unsloth_is_there() -> Any:
    sys.modules["unsloth"] = ModuleType("unsloth")
    try:
        with qvl_preflight.guard("fix"):
            return told(slip)
    finally:
        del sys.modules["unsloth"]


@scene
def a_purpose_that_shows() -> Any:
    """Arguments for a Trainer, and a quantised checkpoint: adapters are trained. What changes a kernel is said, not done."""
    with qvl_preflight.guard("fix"):
        arguments = TrainingArguments(os.path.join(SCRATCH, "out"), report_to=[])
        words = io.StringIO()
        said._said.clear()
        seen: dict[str, Any] = {}

        def stand_in(cls: type, *args: Any, **kwargs: Any) -> None:
            seen.update(kwargs)

        with contextlib.redirect_stderr(words):
            call.loads(stand_in, AutoModelForCausalLM, (GPTQ,), {"device_map": None})
        assert made.MADE.trainer is arguments
    return {"said": words.getvalue(), "kwargs": seen}


@scene
def a_purpose_that_is_named() -> Any:
    seen: dict[str, Any] = {}
    with qvl_preflight.guard("fix", purpose="qlora"):
        told(
            lambda: call.loads(
                lambda cls, *args, **kwargs: seen.update(kwargs), AutoModelForCausalLM, (GPTQ,), {"device_map": None}
            )
        )
    config = seen.get("quantization_config")
    return {"class": type(config).__name__, "backend": str(getattr(config, "backend", None)), "use_exllama": getattr(config, "use_exllama", None)}  # fmt: skip


@scene
def faults() -> Any:
    """Whatever breaks in the guard, the call does what it does without one."""
    out = {}
    usual, limit = judging.judge, judging.LIMIT_S

    def fails(*_: Any) -> Any:
        raise KeyError("a rule's own slip")

    def hangs(*_: Any) -> Any:
        time.sleep(30)

    def too_deep(*_: Any) -> Any:
        return too_deep()

    for name, broken in {"raises": fails, "hangs": hangs, "recursion": too_deep}.items():
        judging._cache.clear()
        judging.judge, judging.LIMIT_S = broken, 0.3
        with qvl_preflight.guard("fix"):
            out[name] = [told(slip), told(lambda: AutoModelForCausalLM.from_pretrained(PLAIN))]
        call._given_up.clear()
    judging.judge, judging.LIMIT_S = usual, limit
    for name, stream in {"closed": None, "full": open("/dev/full", "w")}.items():  # noqa: SIM115
        before, sys.stderr = sys.stderr, stream
        said._said.clear()
        try:
            with qvl_preflight.guard("fix"):
                out[f"stderr {name}"] = call.loads(lambda cls, *_, **kwargs: str(kwargs["torch_dtype"]), *_a_slip())
        finally:
            sys.stderr = before
    return out


def _a_slip() -> tuple[Any, ...]:
    return AutoModelForCausalLM, (PLAIN,), {"torch_dtype": "fp16"}


@scene
def put_back() -> Any:
    """Every method is the very object that it was."""
    qvl_preflight.uninstall_guard()
    bare = {name: vars(kind)["from_pretrained"] for name, kind in kinds().items()}
    finders = list(sys.meta_path)
    with qvl_preflight.guard(), qvl_preflight.guard("fix"):
        covered = all(vars(kind)["from_pretrained"] is not bare[name] for name, kind in kinds().items())
    back = all(vars(kind)["from_pretrained"] is bare[name] for name, kind in kinds().items())
    ours = [name for name, method in bare.items() if "qvl_preflight" in method.__func__.__code__.co_filename]
    return {"covered": covered, "back": back, "ours": ours, "classes": len(bare), "finders": finders == sys.meta_path}


def kinds() -> dict[str, type]:
    auto = transformers.models.auto.modeling_auto
    found = {
        name: kind for name, kind in vars(auto).items() if isinstance(kind, type) and issubclass(kind, auto._BaseAutoModelClass)
    }
    found = {name: kind for name, kind in found.items() if "from_pretrained" in vars(kind)}
    return {**found, "PreTrainedModel": transformers.PreTrainedModel}


@scene
def cost() -> Any:
    """Milliseconds that a call takes more, once it is known."""
    qvl_preflight.install_guard()
    times = []
    for _ in range(200):
        start = time.perf_counter()
        call.loads(lambda cls, *args, **kwargs: None, AutoModelForCausalLM, (PLAIN,), {"device_map": "cpu", "dtype": torch.float16})
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[100]


if __name__ == "__main__":
    for name, play in SCENES.items():
        with contextlib.redirect_stdout(sys.stderr):
            outcome = play() if name != "unguarded" or WHEN == "after" else None
        print(json.dumps({"scene": name, "outcome": outcome}), flush=True)
