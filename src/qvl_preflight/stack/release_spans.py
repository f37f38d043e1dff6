"""Tables that say in which releases of transformers something is there: a first line of the releases that were read, then ``4.28-4.50+5.0-`` on each."""

from __future__ import annotations

Release = tuple[int, int]
Releases = tuple[Release, ...]  # those that were read, oldest first
Spans = tuple[tuple[Release, Release], ...]  # the first and the last that have something


def takes_in(spans: Spans, releases: Releases, release: Release) -> bool | None:
    """Does a release lie in these spans? None between two that were read and differ, and before the first."""
    if release < releases[0]:
        return None
    before = max(read for read in releases if read <= release)
    after = min((read for read in releases if read >= release), default=before)
    answers = {any(since <= read <= last for since, last in spans) for read in (before, after)}
    return answers.pop() if len(answers) == 1 else None


def read_table(path: str) -> tuple[Releases, list[str]]:
    """A table whose first line names the releases that were read; and its other lines."""
    with open(path, encoding="utf-8") as file:
        first, *lines = file.read().splitlines()
    return tuple(map(_release, first.split())), lines


def read_spans(ranges: str, newest: Release) -> Spans:
    """``4.28-4.50+5.0-``: an open end reaches to the newest that was read."""
    spans = (span.partition("-") for span in ranges.split("+"))
    return tuple((_release(since), _release(last) if last else newest) for since, _, last in spans)


def _release(text: str) -> Release:
    major, minor = text.split(".")
    return int(major), int(minor)


def shown(spans: Spans, newest: Release) -> str:
    """For people: "4.28 to 4.50"."""
    return " and ".join(
        f"{since[0]}.{since[1]} {'and later' if last == newest else f'to {last[0]}.{last[1]}'}" for since, last in spans
    )
