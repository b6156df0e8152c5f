"""What the commands show: colours and progress on a terminal alone, plain text everywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_BAR_CELLS = 30
_REDRAW_S = 0.1


def has_colours(stream: TextIO) -> bool:
    """Whether a stream shows colours (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str, *, stream: TextIO | None = None) -> str:
    return f"\033[{_CODES[colour]}m{text}\033[0m" if has_colours(stream or sys.stdout) else text


def tell(text: str) -> None:
    """Say something to the person, not to the program that reads our output."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    tell(f"{coloured('lightship:', 'red', stream=sys.stderr)} {text}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need to be, as `docker ps` has them."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


class Progress:
    """A bar on standard error while something takes long; nothing where that is no terminal."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, max(total, 1)
        self._done = 0
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() - self._drawn > _REDRAW_S:
            self._draw()

    def _draw(self) -> None:
        if not self._is_shown:
            return
        self._drawn = time.monotonic()
        share = min(self._done / self._total, 1.0)
        cells = int(share * _BAR_CELLS)
        bar = "#" * cells + "." * (_BAR_CELLS - cells)
        sys.stderr.write(f"\r{self._label} [{bar}] {share:4.0%}")
        sys.stderr.flush()
