"""What is wrong with a text that is no JSON, in the words of Go's scanner.

Only looked at when decoding has failed already: clients of dockerd, and people, know these texts.
"""

from __future__ import annotations

import re

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_ESCAPED = '"\\/bfnrtu'


class _Problem(Exception):
    pass


def problem(body: bytes) -> str | None:
    """Return Go's text for the first mistake; nothing where the first value is well formed."""
    scanner = _Scanner(body.decode("utf-8", "surrogateescape"))
    try:
        scanner.value()
    except _Problem as found:
        return str(found)
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text, self._position = text, 0

    def value(self) -> None:
        character = self._peek()
        if character == "{":
            self._object()
        elif character == "[":
            self._array()
        elif character == '"':
            self._string()
        elif character in _LITERALS:
            self._literal(_LITERALS[character])
        elif character == "-" or character.isdecimal():
            self._number()
        else:
            self._fail("looking for beginning of value")

    def _object(self) -> None:
        self._position += 1
        if self._peek() == "}":
            self._position += 1
            return
        while True:
            if self._peek() != '"':
                self._fail("looking for beginning of object key string")
            self._string()
            self._expect(":", "after object key")
            self.value()
            if self._expect(",}", "after object key:value pair") == "}":
                return

    def _array(self) -> None:
        self._position += 1
        if self._peek() == "]":
            self._position += 1
            return
        while True:
            self.value()
            if self._expect(",]", "after array element") == "]":
                return

    def _string(self) -> None:
        self._position += 1
        while (character := self._current()) != '"':
            if character < " ":
                self._fail("in string literal")
            if character == "\\":
                self._position += 1
                if self._current() not in _ESCAPED:
                    raise _Problem(f"invalid escape sequence `\\{self._current()}` in string")
            self._position += 1
        self._position += 1

    def _literal(self, word: str) -> None:
        for expected in word:
            if self._current() != expected:
                self._fail(f"in literal {word} (expecting '{expected}')")
            self._position += 1

    def _number(self) -> None:
        match = _NUMBER.match(self._text, self._position)
        if match is None:
            self._position += 1
            self._current()
            self._fail("in numeric literal")
        else:
            self._position = match.end()

    def _expect(self, characters: str, where: str) -> str:
        character = self._peek()
        if character not in characters:
            self._fail(where)
        self._position += 1
        return character

    def _peek(self) -> str:
        """Return the next character that is no space."""
        while self._current() in _SPACE:
            self._position += 1
        return self._current()

    def _current(self) -> str:
        if self._position >= len(self._text):
            raise _Problem("unexpected EOF")
        return self._text[self._position]

    def _fail(self, where: str) -> None:
        shown = repr(self._current()).strip("'") if self._current() != "'" else "\\'"
        raise _Problem(f"invalid character '{shown}' {where}")
