"""What lies in place of a file of weights: a git-lfs pointer, a web page, nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from qvl_preflight.exceptions import InputError

POINTER, PAGE, EMPTY = "a git-lfs pointer", "a web page or a server's answer", "nothing: it is empty"
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b'{"error"', b'{"code"', b"<head")


@dataclass(frozen=True)
class StandIn:
    """What lies in place of a file: a git-lfs pointer, a web page, nothing."""

    what: str
    true_bytes: int = 0  # of the file that it stands for, where it says

    @property
    def is_pointer(self) -> bool:
        """Does git-lfs know the file?"""
        return self.what == POINTER

    @property
    def is_empty(self) -> bool:
        """Is there nothing at all?"""
        return self.what == EMPTY


def stand_in(path: str) -> StandIn | None:
    """What lies in place of a file of weights; None where it may be one. Raises InputError."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        return StandIn(EMPTY)
    if head.startswith(_POINTER):
        size = re.search(rb"^size (\d{1,15})\s*$", head, re.MULTILINE)
        return StandIn(POINTER, int(size[1]) if size else 0)
    if head.lstrip().lower().startswith(_PAGES):
        return StandIn(PAGE)
    return None
