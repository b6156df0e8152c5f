"""Truth values as Docker's clients may write them: what Go's `strconv.ParseBool` takes."""

from __future__ import annotations

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def parse(text: str) -> bool:
    """Return the truth of `text`; raise ValueError with Go's sentence where it has none."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
