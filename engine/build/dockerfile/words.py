"""Taking a logical line of a Dockerfile apart: the instruction, its flags, words, pairs and JSON lists.

Quotes and escapes stay in words and pairs; the shell words are for when the variables are known.
"""

from __future__ import annotations

import json
import re

from ...errors import InvalidArgument
from .quoting import go_quote

SPACES = re.compile(r"[\t\v\f\r ]+")


def split_command(line: str, escape: str) -> tuple[str, list[str], str]:
    """Return the instruction, its flags, and the rest."""
    name, *rest = SPACES.split(line.strip(), maxsplit=1)
    if not rest:
        return name, [], ""
    arguments, flags = _flags(rest[0], escape)
    return name, flags, arguments.strip()


def _flags(line: str, escape: str) -> tuple[str, list[str]]:
    """Take the words that start with `--` off the front, quotes and escapes removed from them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(line) and line[position].isspace():
            position += 1
        if not line.startswith("--", position):
            return line[position:], flags
        word, position = _flag(line, position, escape)
        if word == "--":
            return line[position:], flags
        flags.append(word)


def _flag(line: str, position: int, escape: str) -> tuple[str, int]:
    word, quote = "", ""
    while position < len(line):
        char = line[position]
        if not quote and char.isspace():
            break
        position += 1
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            word += line[position : position + 1]
            position += 1
        else:
            word += char
    return word, position


def quoted_words(text: str, escape: str) -> list[str]:
    """Split at spaces that are neither quoted nor escaped; quotes and escapes stay."""
    words: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return words
        word, position = _quoted_word(text, position, escape)
        if word:
            words.append(word)


def _quoted_word(text: str, position: int, escape: str) -> tuple[str, int]:
    word, quote = "", ""
    while position < len(text):
        char = text[position]
        if not quote and char.isspace():
            break
        position += 1
        if char == escape and quote != "'":
            if position == len(text):
                break
            word += char + text[position]
            position += 1
            continue
        word += char
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
    return word, position


def pairs(text: str, instruction: str, escape: str) -> list[tuple[str, str, bool]]:
    """Read `name=value ...`, or the old `name value`; the last of each tells the old form."""
    words = quoted_words(text, escape)
    if not words:
        return []
    if "=" not in words[0]:
        name, *value = SPACES.split(text, maxsplit=1)
        if not value:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return [(name, value[0], True)]
    for word in words:
        if "=" not in word:
            raise InvalidArgument(f"Syntax error - can't find = in {go_quote(word)}. Must be of the form: name=value")
    return [(name, value, False) for name, _, value in (word.partition("=") for word in words)]


def json_strings(text: str) -> list[str] | None:
    """Read the exec form, None where it is none. Raises InvalidArgument for a list of something else."""
    if not text.lstrip().startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")
    return list(words)
