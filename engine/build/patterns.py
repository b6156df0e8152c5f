"""Patterns of files, as in .dockerignore, `COPY --exclude` and what a client is asked to send.

Rules are those of moby's patternmatcher: `*` and `?` stop at slashes, `**` does not, a pattern that matches a directory
matches all in it, and later patterns overrule earlier ones, `!` turning a match off.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InvalidArgument

_SEGMENT = "[^/]"
_WILDCARDS = frozenset("*?[]\\")


def clean(path: str) -> str:
    """Return the shortest way to write a path, as Go's `path.Clean`: never empty, one slash in front at most."""
    cleaned = posixpath.normpath(path) if path else "."
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def read_ignore_file(text: str) -> tuple[str, ...]:
    """Return the patterns of a .dockerignore."""
    patterns = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        sign = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip() if sign else pattern
        if pattern:
            pattern = clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        patterns.append(sign + pattern)
    return tuple(patterns)


@dataclass(frozen=True, slots=True)
class _Pattern:
    text: str
    is_exclusion: bool
    regex: re.Pattern[str]


class Patterns:
    """`has_exclusions`: one of them starts with `!`, so that not all in a directory that matches does."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises InvalidArgument."""
        stripped = (pattern.strip() for pattern in patterns)
        self._patterns = [_compiled(clean(pattern)) for pattern in stripped if pattern]
        self.has_exclusions = any(pattern.is_exclusion for pattern in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    @property
    def texts(self) -> list[str]:
        """The patterns as they are used, without those that turn a match off."""
        return [pattern.text for pattern in self._patterns if not pattern.is_exclusion]

    def matches(self, path: str) -> bool:
        """Tell whether a path, relative and with slashes, or a directory that it is in matches."""
        return self.match(path, None)[0]

    def match(self, path: str, parent: tuple[bool, ...] | None) -> tuple[bool, tuple[bool, ...]]:
        """Tell it with what this returned for the directory that the path is in, which is faster on a walk."""
        matched = False
        each: list[bool] = []
        for index, pattern in enumerate(self._patterns):
            is_match = parent is not None and parent[index]
            if not is_match and pattern.is_exclusion == matched:
                is_match = bool(pattern.regex.match(path))
                if not is_match and parent is None:
                    is_match = any(pattern.regex.match(directory) for directory in _parents(path))
            each.append(is_match)
            if is_match:
                matched = not pattern.is_exclusion
        return matched, tuple(each)


def _parents(path: str) -> Iterable[str]:
    position = path.find("/")
    while position >= 0:
        yield path[:position]
        position = path.find("/", position + 1)


def _compiled(pattern: str) -> _Pattern:
    is_exclusion = pattern.startswith("!")
    if is_exclusion:
        pattern = pattern[1:]
        if not pattern:
            raise InvalidArgument('illegal exclusion pattern: "!"')
    try:
        return _Pattern(pattern, is_exclusion, re.compile(regex_of(pattern) + r"\Z", re.DOTALL))
    except re.error as error:
        raise InvalidArgument("syntax error in pattern") from error


def regex_of(pattern: str) -> str:
    """Return the regular expression of a pattern."""
    regex: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 1
            if pattern.startswith("/", position):
                position += 1
            if position == len(pattern):
                regex.append(".*")
            else:
                is_plain_suffix = position == 2 and not set(pattern[2:]) & _WILDCARDS
                regex.append(".*" if is_plain_suffix else "(?:.*/)?")
        elif char == "*":
            regex.append(f"{_SEGMENT}*")
        elif char == "?":
            regex.append(_SEGMENT)
        elif char == "[":
            text, position = _character_class(pattern, position)
            regex.append(text)
        elif char == "\\" and position < len(pattern):
            regex.append(re.escape(pattern[position]))
            position += 1
        else:
            regex.append(re.escape(char))
    return "".join(regex)


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """Read what stands between brackets."""
    end = position + 1 if pattern.startswith("^", position) else position
    start, is_negated = end, end > position
    while end < len(pattern) and (pattern[end] != "]" or end == start):
        end += 2 if pattern[end] == "\\" else 1
    if end >= len(pattern):
        raise re.error("missing ]")
    inside = re.sub(r"([\[&~|])", r"\\\1", pattern[start:end])
    return f"[{'^' * is_negated}{inside}]", end + 1
