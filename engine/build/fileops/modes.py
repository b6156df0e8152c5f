"""What --chmod says: octal digits, or the words of chmod(1)."""

from __future__ import annotations

import re
import stat

from ...containers.fileworker import Refused

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


class Mode:
    """A change of a file's permissions."""

    def __init__(self, text: str) -> None:
        """Raises Refused for what is none."""
        self.octal: int | None = None
        self._clauses: list[tuple[str, list[tuple[str, str]]]] = []
        if re.fullmatch(r"[0-7]{1,4}|0[0-7]{4}", text):
            self.octal = int(text, 8)
            return
        for clause in text.split(","):
            match = _CLAUSE.fullmatch(clause)
            if match is None:
                raise Refused("invalid_argument", f'invalid chmod parameter: "{text}"')
            self._clauses.append((match[1], _ACTION.findall(match[2])))

    def apply(self, mode: int) -> int:
        """Return the permissions that a file of the given mode gets."""
        if self.octal is not None:
            return self.octal
        bits = stat.S_IMODE(mode)
        for who, actions in self._clauses:
            for sign, words in actions:
                bits = _changed(bits, who or "a", sign, words, is_directory=stat.S_ISDIR(mode))
        return bits


def _changed(bits: int, who: str, sign: str, words: str, *, is_directory: bool) -> int:
    mask = 0
    value = 0
    for each in "ugo" if "a" in who else who:
        shift = _SHIFT[each]
        mask |= 7 << shift
        value |= _permission(bits, words, is_directory=is_directory) << shift
        special = {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": 0}[each]
        if "s" in words:
            value |= special
        mask |= special if not is_directory else 0
    if "t" in words:
        value |= stat.S_ISVTX
    if sign == "+":
        return bits | value
    if sign == "-":
        return bits & ~value
    return bits & ~mask | value


def _permission(bits: int, words: str, *, is_directory: bool) -> int:
    if words in _SHIFT:
        return bits >> _SHIFT[words] & 7
    found = sum(bit for word, bit in _BITS.items() if word in words)
    if "X" in words and (is_directory or bits & 0o111):
        found |= 1
    return found
