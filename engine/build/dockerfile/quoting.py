"""Values as Go prints them, where BuildKit's messages, history and names of steps have them so."""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ESCAPES |= {'"': '\\"', "\\": "\\\\"}


def go_quote(text: str) -> str:
    """Quote as `%q` does."""
    return '"' + "".join(_ESCAPES.get(char) or _printable(char) for char in text) + '"'


def go_quoted_list(words: Iterable[str]) -> str:
    """Write a list as `%q` does."""
    return "[" + " ".join(go_quote(word) for word in words) + "]"


def go_list(words: Iterable[str]) -> str:
    """Write a list as `%v` does."""
    return "[" + " ".join(words) + "]"


def _printable(char: str) -> str:
    if char == " " or char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
