"""Whole numbers in texts of clients, as Go's strconv reads them: ASCII digits, and no more than 64 bits.

`int()` also takes other scripts' digits, underscores and blanks, and refuses thousands of digits by its own error.
"""

from __future__ import annotations

LIMIT = 1 << 63
_MAX_DIGITS = 19


def natural(text: str, *, below: int = LIMIT) -> int | None:
    """Read digits; None where the text is something else or the number is not below the limit."""
    digits = text.lstrip("0") or text[:1]
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MAX_DIGITS:
        return None
    number = int(digits)
    return number if number < below else None


def integer(text: str) -> int | None:
    """Read digits behind a sign or none."""
    number = natural(text[1:] if text.startswith(("-", "+")) else text)
    return -number if number is not None and text.startswith("-") else number
