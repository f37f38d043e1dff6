"""The events of PreflightCallback on models that are no modules of torch, without transformers. Trainings are in tests/reality/test_callback.py."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import callback, strict
from qvl_preflight.exceptions import PreflightError, TrainingStopped


class Tensor:
    """A tensor that can be asked little, and takes a hook. Its gradient is a number."""

    device, dtype = "cpu", "torch.float32"

    def __init__(self, trainable: bool = True) -> None:
        self.requires_grad, self.hooks = trainable, list[Any]()

    def numel(self) -> int:
        return 1

    element_size = numel

    def register_hook(self, hook: Any) -> Any:
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))


class Gradient(float):
    """As much of one as is asked."""

    def detach(self) -> Gradient:
        return self

    def abs(self) -> Gradient:
        return Gradient(abs(float(self)))

    def amax(self) -> Gradient:
        return self

    def maximum(self, other: float) -> Gradient:
        return Gradient(max(self, other))


class Model:
    """Two tensors."""

    config = None

    def __init__(self, trainable: bool = True) -> None:
        self.tensors = {"first": Tensor(trainable), "second": Tensor(trainable)}

    def named_parameters(self) -> Any:
        return self.tensors.items()

    def named_buffers(self) -> Any:
        return ()

    def named_modules(self) -> Any:
        return (("", self),)

    def backward(self, first: float, second: Any = None) -> None:
        for hook in self.tensors["first"].hooks:
            hook(Gradient(first))
        for hook in self.tensors["second"].hooks if second is not None else ():
            hook(second)


ARGS = {"output_dir": "x", "bf16": False}


def begun(model: Any, *, zero: bool = True, **how: Any) -> tuple[Any, Any, io.StringIO]:
    """A callback whose training has begun."""
    stream = io.StringIO()
    made = object.__new__(callback.PreflightCallback)
    made.__init__(stream=stream, **how)  # type: ignore[misc]
    state = SimpleNamespace(global_step=0, is_world_process_zero=zero)
    made.on_train_begin(ARGS, state, None, model=model)
    return made, state, stream


def test_the_first_step_is_said_once_and_the_hooks_are_gone() -> None:
    """A gradient that cannot be read counts as one that arrived."""
    model = Model()
    made, state, stream = begun(model)
    assert stream.getvalue().startswith("OK  Model for full")
    model.backward(0.5, object())
    state.global_step = 1
    made.on_step_end(ARGS, state, None)
    assert "in the first step gradients reach 2 of 2 trainable tensors" in stream.getvalue()
    assert all(not tensor.hooks for tensor in model.tensors.values())
    before = stream.getvalue()
    made.on_step_end(ARGS, state, None)
    made.on_train_end(ARGS, state, None)
    assert stream.getvalue() == before


def test_zero_gradients_are_waited_for() -> None:
    """Three steps, or the end. The largest of the steps counts."""
    model = Model()
    made, state, stream = begun(model, quiet=True)
    for step in (1, 2):
        model.backward(0.0)
        state.global_step = step
        made.on_step_end(ARGS, state, None)
    assert stream.getvalue() == ""
    made.on_train_end(ARGS, state, None)
    assert "in the first 2 steps no gradient but zero reached any of the 2 trainable tensors (QVL854)" in stream.getvalue()
    made, state, stream = begun(model)
    model.backward(0.0)
    model.backward(-2.0, Gradient("nan"))
    state.global_step = 1
    made.on_step_end(ARGS, state, None)
    assert "and some are not finite" in stream.getvalue()


def test_an_error_stops_by_one_exception() -> None:
    """Of ours; told to go on, it goes on. Other ranks print one line, and none where nothing is wrong."""
    for zero in (True, False):
        with pytest.raises(TrainingStopped, match="QVL853") as stopped:
            begun(Model(trainable=False), zero=zero)
        assert isinstance(stopped.value, PreflightError)
    made, _, stream = begun(Model(trainable=False), zero=False, stop=False)
    assert stream.getvalue().startswith("qvl-preflight: ")
    assert stream.getvalue().count("\n") == 1
    assert made.report.verdict == "fails"
    assert begun(Model(), zero=False)[2].getvalue() == ""
    assert begun(Model(trainable=False), purpose="lora", ignore=["QVL853"])[0].report.ok


def test_whatever_breaks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model, one that cannot be listed, hooks that cannot be taken away, a stream that is closed; off is off."""
    strict.ON = False
    assert begun(None)[2].getvalue().count("\n") == begun(7)[2].getvalue().count("\n") == 1
    model = Model()
    made, state, stream = begun(model)
    for tensor in model.tensors.values():
        tensor.hooks.clear()
    model.named_parameters = None  # type: ignore[method-assign, assignment]
    state.global_step = 3
    made.on_step_end(ARGS, state, None)
    assert "the training goes on without it" in stream.getvalue()
    made.on_step_end(ARGS, state, None)
    made, state, stream = begun(Model())
    stream.close()
    state.global_step = 3
    made.on_step_end(ARGS, state, None)
    monkeypatch.setenv("QVL_PREFLIGHT", "off")
    assert begun(Model(trainable=False))[2].getvalue() == ""


def test_settings_that_are_none_are_refused_where_it_is_made() -> None:
    """Not in the middle of a training."""
    for wrong in ({"purpose": "train"}, {"select": ["QVL4O2"]}):
        with pytest.raises(qvl_preflight.InputError):
            begun(Model(), **wrong)
