"""What every Python runs first that ``qvl-preflight run`` starts: it waits for transformers, and an existing sitecustomize has its turn.

Kept to what any Python 3 understands, and to modules that are loaded anyway: a process that never imports transformers must not notice.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


class _Waits:
    """A finder that finds nothing, and starts the guard when transformers is looked for."""

    done = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "transformers" and not self.done:
            self.done = True
            try:
                _start()
            except Exception as error:
                _complain("nothing is checked in this process: %s: %s" % (type(error).__name__, error))  # noqa: UP031


def _start() -> None:
    """The package is taken from where it lies, and nothing beside it: this Python may belong to another environment."""
    if sys.version_info < (3, 10):  # noqa: UP036  # whatever a script is started with
        _complain("nothing is checked in this process: it is Python %d.%d, and 3.10 is needed" % sys.version_info[:2])  # noqa: UP031
        return
    if "qvl_preflight" not in sys.modules:
        from importlib.util import module_from_spec, spec_from_file_location

        folder = os.path.dirname(os.path.dirname(_HERE))
        spec = spec_from_file_location("qvl_preflight", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
        if spec is None or spec.loader is None:
            raise ImportError(folder)
        package = module_from_spec(spec)
        sys.modules["qvl_preflight"] = package
        spec.loader.exec_module(package)
    from qvl_preflight.guarding.started import start

    start()


def _complain(text: str) -> None:
    try:  # noqa: SIM105
        os.write(2, ("qvl-preflight: " + text + "\n").encode("ascii", "backslashreplace"))
    except OSError:
        pass


def _next() -> None:
    """The sitecustomize that Python would have run, as if this one were not there."""
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != _HERE]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if ours is not None:
            sys.modules["sitecustomize"] = ours


sys.meta_path.insert(0, _Waits())
_next()
