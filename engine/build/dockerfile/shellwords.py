"""Words of Dockerfile instructions: quotes, escapes, and `$name` or `${name...}` replaced from an environment.

The rules and error texts are those of BuildKit's shell lexer, which is close to sh and no more: no command
substitution, no arithmetic, no nested quotes in names. Used by the Dockerfile frontend and by the changes of
`docker commit` and `docker import`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import InvalidArgument
from .quoting import go_quote

_SPECIAL = "@*#?-$!0"
_NAME = re.compile(r"\d+|[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Expanded:
    """`matched` and `unmatched` are the variables that were asked for, and were or were not there."""

    text: str
    words: list[str]
    matched: set[str]
    unmatched: set[str]


@dataclass(frozen=True, slots=True)
class Lexer:
    """How text is read; a flag leaves in the result what is otherwise taken out of it."""

    escape: str = "\\"
    keeps_quotes: bool = False
    keeps_escapes: bool = False
    keeps_unset: bool = False
    ignores_quotes: bool = False

    def expand(self, text: str, environment: Mapping[str, str]) -> Expanded:
        """Replace variables and remove quotes. `words` are what was between spaces neither quoted nor escaped."""
        return _Reader(self, text, environment).run()


def expand(word: str, environment: Mapping[str, str]) -> str:
    """Return the word with quotes removed and variables replaced; spaces stay. Raises InvalidArgument."""
    return Lexer().expand(word, environment).text


@dataclass(slots=True)
class _Words:
    """Words as they are put together; those from variables end at spaces, too."""

    all: list[str] = field(default_factory=list)
    _word: str = ""

    def add(self, text: str) -> None:
        for char in text:
            if char.isspace():
                self.end()
            else:
                self._word += char

    def add_raw(self, text: str) -> None:
        self._word += text

    def end(self) -> None:
        if self._word:
            self.all.append(self._word)
            self._word = ""


class _Reader:
    def __init__(self, lexer: Lexer, text: str, environment: Mapping[str, str]) -> None:
        self._lexer, self._text, self._environment = lexer, text, environment
        self._position = 0
        self._keeps_escapes = lexer.keeps_escapes
        self._matched: set[str] = set()
        self._unmatched: set[str] = set()

    def run(self) -> Expanded:
        try:
            text, words = self._until("", keeps_escapes=self._keeps_escapes)
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to process {go_quote(self._text)}: {error}") from None
        return Expanded(text, words, self._matched, self._unmatched)

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        char = self._peek()
        self._position += len(char)
        return char

    def _until(self, stop: str, *, keeps_escapes: bool) -> tuple[str, list[str]]:
        """Process up to the character `stop`, or to the end where it is empty."""
        words = _Words()
        result: list[str] = []
        outer, self._keeps_escapes = self._keeps_escapes, keeps_escapes
        while char := self._peek():
            if char == stop:
                self._next()
                self._keeps_escapes = outer
                words.end()
                return "".join(result), words.all
            if char == "$":
                result.append(self._dollar())
                words.add(result[-1])
            elif char in "'\"" and not self._lexer.ignores_quotes:
                result.append(self._single_quoted() if char == "'" else self._double_quoted())
                words.add_raw(result[-1])
            elif char == self._lexer.escape:
                result.append(self._escaped())
                words.add_raw(result[-1])
            elif char == "<":
                result.append(self._possible_heredoc())
                words.add_raw(result[-1])
            else:
                result.append(self._next())
                words.add(result[-1])
        if stop:
            raise InvalidArgument(f"unexpected end of statement while looking for matching {stop}")
        words.end()
        return "".join(result), words.all

    def _escaped(self) -> str:
        escape = self._next() if self._keeps_escapes else self._next()[:0]
        return escape + self._next()

    def _possible_heredoc(self) -> str:
        """Keep a heredoc's sign and its name in one word, whatever spaces are between them."""
        self._next()
        if self._peek() != "<":
            return "<"
        self._next()
        start = self._position
        while self._peek() and self._peek() in "\t\r ":
            self._next()
        return "<<" + self._text[start : self._position]

    def _single_quoted(self) -> str:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise InvalidArgument("unexpected end of statement while looking for matching single-quote")
        self._position = end + 1
        return self._text[start : end + 1] if self._lexer.keeps_quotes else self._text[start + 1 : end]

    def _double_quoted(self) -> str:
        quote = self._next() if self._lexer.keeps_quotes else self._next()[:0]
        result: list[str] = [quote]
        while (char := self._peek()) != '"':
            if not char:
                raise InvalidArgument("unexpected end of statement while looking for matching double-quote")
            if char == "$":
                result.append(self._dollar())
                continue
            self._next()
            if char == self._lexer.escape:
                if self._keeps_escapes:
                    result.append(char)
                if not self._peek():
                    continue
                if self._peek() in ('"', "$", self._lexer.escape):
                    char = self._next()
            result.append(char)
        self._next()
        return "".join([*result, quote])

    def _value(self, name: str) -> str | None:
        value = self._environment.get(name)
        (self._unmatched if value is None else self._matched).add(name)
        return value

    def _dollar(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._value(name)
            return f"${name}" if value is None and self._lexer.keeps_unset else value or ""
        self._next()
        if not self._peek():
            raise InvalidArgument("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise InvalidArgument("syntax error: bad substitution")
        return self._braced(self._name())

    def _braced(self, name: str) -> str:
        modifier = self._next()
        if modifier == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self._lexer.keeps_unset else value or ""
        if modifier == "/":
            return self._replaced(name)
        is_null_unset = modifier == ":"
        shown = modifier
        if is_null_unset:
            modifier = self._next()
            shown += modifier
        is_pattern = modifier in ("#", "%")
        if not is_null_unset and modifier not in ("+", "-", "?", "#", "%") or is_null_unset and is_pattern:
            raise InvalidArgument(f"unsupported modifier ({shown}) in substitution")
        word = self._word_until("}", keeps_escapes=is_pattern, missing="'}'")
        value = self._value(name)
        if value is None and self._lexer.keeps_unset:
            return f"${{{name}{shown}{word}}}"
        if is_pattern:
            return _trimmed(value or "", word, is_suffix=modifier == "%")
        if modifier not in ("+", "-", "?"):
            raise InvalidArgument(f"unsupported modifier ({shown}) in substitution")
        return _chosen(name, value, word, modifier=modifier, is_null_unset=is_null_unset)

    def _replaced(self, name: str) -> str:
        is_global = self._peek() == "/"
        if is_global:
            self._next()
        pattern = self._word_until("/", keeps_escapes=True, missing="'/' in ${}")
        replacement = self._word_until("}", keeps_escapes=True, missing="'}'")
        value = self._value(name)
        if value is None and self._lexer.keeps_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        regex = _compiled(pattern)
        return regex.sub(lambda _: replacement, value or "", count=0 if is_global else 1)

    def _word_until(self, stop: str, *, keeps_escapes: bool, missing: str) -> str:
        try:
            return self._until(stop, keeps_escapes=keeps_escapes)[0]
        except InvalidArgument:
            if self._peek():
                raise
            raise InvalidArgument(f"syntax error: missing {missing}") from None

    def _name(self) -> str:
        if match := _NAME.match(self._text, self._position):
            self._position = match.end()
            return match[0]
        return self._next() if self._peek() and self._peek() in _SPECIAL else ""


def _chosen(name: str, value: str | None, word: str, *, modifier: str, is_null_unset: bool) -> str:
    """Choose between a variable and the word of `-`, `+` or `?`."""
    is_unset = value is None or (is_null_unset and not value)
    if modifier == "-":
        return word if is_unset else value or ""
    if modifier == "+":
        return "" if is_unset else word
    if is_unset:
        default = "is not allowed to be unset" if value is None else "is not allowed to be empty"
        raise InvalidArgument(f"{name}: {word or default}")
    return value or ""


def _trimmed(value: str, word: str, *, is_suffix: bool) -> str:
    """Remove the shortest match of a pattern from one end, the longest where the sign stood twice."""
    sign = "%" if is_suffix else "#"
    regex = _compiled(word.removeprefix(sign))
    ends = range(len(value) + 1)
    is_longest = word.startswith(sign)
    if is_suffix:
        starts = ends if is_longest else reversed(ends)
        return next((value[:start] for start in starts if regex.fullmatch(value, start)), value)
    stops = reversed(ends) if is_longest else ends
    return next((value[stop:] for stop in stops if regex.fullmatch(value, 0, stop)), value)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Make a regular expression of a pattern with `*` and `?`."""
    parts = []
    chars = iter(pattern)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            if escaped not in ("}", "/", "*", "?", "\\"):
                raise InvalidArgument(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
            parts.append(re.escape(escaped))
        else:
            parts.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
    return re.compile("".join(parts))
