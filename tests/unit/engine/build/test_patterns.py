"""Patterns of files: what matches, as moby's patternmatcher has it."""

from __future__ import annotations

import pytest
from lightship.engine.build.patterns import Patterns, clean, read_ignore_file
from lightship.engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        ("*", ["a", "a/b"], []),
        ("*.md", ["x.md", "x.md/y"], ["a/x.md", "xmd"]),
        ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c"]),
        ("**", ["a", "a/b"], []),
        ("**/c", ["c", "a/c", "a/b/c/d"], ["bc"]),
        ("**c", ["c", "bc", "a/bc"], ["cb"]),
        ("**/*.go", ["x.go", "a/x.go"], ["xgo"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["c", "ac"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[a-c]x", ["ax"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[!]x", ["!x"], ["ax"]),
        ("a\\*", ["a*"], ["ab"]),
        ("a.b+(c)", ["a.b+(c)"], ["axb+(c)"]),
        ("./a//b/../c/", ["a/c", "a/c/d"], ["a/b"]),
        (" a ", ["a"], []),
    ],
)
def test_one_pattern(pattern: str, matching: list[str], other: list[str]) -> None:
    patterns = Patterns([pattern])
    assert [path for path in [*matching, *other] if patterns.matches(path)] == matching


def test_later_patterns_overrule() -> None:
    patterns = Patterns(["*", "!a", "a/b", "!a/b/c"])
    assert patterns.has_exclusions
    paths = ("x", "a", "a/x", "a/b", "a/b/x", "a/b/c", "a/b/c/d")
    assert [path for path in paths if patterns.matches(path)] == ["x", "a/b", "a/b/x"]


def test_what_is_known_of_the_directory_gives_the_same() -> None:
    patterns = Patterns(["a", "!a/b", "**/c", "x/*"])
    for path in ("a/b/c", "a/b/d", "x/y/z", "q/c"):
        known: tuple[bool, ...] = ()
        parts = path.split("/")
        matched = False
        for depth in range(1, len(parts) + 1):
            matched, known = patterns.match("/".join(parts[:depth]), known or None)
        assert matched == patterns.matches(path)


@pytest.mark.parametrize(
    ("pattern", "message"), [("!", 'illegal exclusion pattern: "!"'), ("[a", "syntax error in pattern")]
)
def test_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        Patterns([pattern])
    assert str(error.value) == message


def test_ignore_file() -> None:
    text = "\ufeff# no\n\n  /a/b/  \r\n! /c\n!d/../e\n #x\n."
    assert read_ignore_file(text) == ("a/b", "!c", "!e", "#x", ".")


@pytest.mark.parametrize(
    ("path", "cleaned"), [("", "."), ("//a/", "/a"), ("a/./b/..", "a"), ("/..", "/"), ("..", "..")]
)
def test_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned
