"""Calls back when a module has been imported, by way of ``sys.meta_path``, and is gone without a trace when it is no longer wanted.

wrapt's post-import hooks were weighed: they cannot be taken back, importing wrapt takes tens of milliseconds, and it need not be installed where
``qvl-preflight run`` starts a Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]


class PostImports:
    """A finder that finds nothing itself: it has the others' loaders call a hook once the module's code has run."""

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self.hooks = dict(hooks)

    def install(self) -> None:
        """Hooks run at once for what is imported already."""
        sys.meta_path.insert(0, self)
        for name, hook in self.hooks.items():
            module = sys.modules.get(name)
            if module is not None:
                _call(hook, module)

    def remove(self) -> None:
        """Imports are as they were."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the other finders have, its loader prepared."""
        hook = self.hooks.get(name)
        if hook is None:
            return None
        for finder in [each for each in sys.meta_path if each is not self]:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                _prepare(spec.loader, hook)
                return spec
        return None


def _prepare(loader: Any, hook: Hook) -> None:
    """The loader stays the same object, which others ask for sources and resources; only its next exec_module is followed by the hook."""
    run = getattr(loader, "exec_module", None)
    if run is None:
        return

    def exec_module(module: ModuleType) -> None:
        loader.__dict__.pop("exec_module", None)
        run(module)
        _call(hook, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader without room for it: the module goes unnoticed
        return


def _call(hook: Hook, module: ModuleType) -> None:
    try:
        hook(module)
    except Exception:  # a module of another shape than those that are known is imported all the same
        return
