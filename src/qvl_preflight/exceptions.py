"""What this package raises.

PreflightError
├── InputError            something given to us cannot be read; one line, exit code 2
├── OutputError           what was asked for cannot be written; one line, exit code 2
├── PreflightStopped      a guard that checks stops a call before weights are loaded
│   └── TrainingStopped   the model that a Trainer is about to train will raise, or learn nothing
└── FixDidNotConverge     a bug of ours: edits undo one another
"""


class PreflightError(Exception):
    """Base of everything raised on purpose."""


class InputError(PreflightError):
    """A file, a mapping or an argument cannot be read. Says what was seen, what was expected and what to do, in one line whatever was seen."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in message))


class OutputError(PreflightError):
    """Standard output is closed, or the disk behind it is full."""


class PreflightStopped(PreflightError):
    """A call under ``guard("check")`` will fail: what it was, and its report."""


class TrainingStopped(PreflightStopped):
    """A PreflightCallback found an error as the training began. ``PreflightCallback(stop=False)`` only says it."""


class FixDidNotConverge(PreflightError):
    """The edits of two rules undo one another. Please report it with the facts and the call."""
