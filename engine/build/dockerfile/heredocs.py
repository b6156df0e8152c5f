"""Heredocs in words of a Dockerfile: `<<EOF`, `<<-EOF`, `3<<"EOF"`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ...errors import InvalidArgument
from .shellwords import Lexer

_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_LINE = Lexer(keeps_quotes=True, keeps_escapes=True, keeps_unset=True)
_NAME = Lexer(keeps_unset=True)
_RAW_NAME = Lexer(keeps_unset=True, keeps_quotes=True)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`expands`: variables in it are replaced; `is_chomped`: tabs at the start of its lines are removed (`<<-`)."""

    name: str
    expands: bool
    is_chomped: bool
    content: str = ""

    def with_content(self, content: str) -> Heredoc:
        return replace(self, content=content)

    @property
    def text(self) -> str:
        return _LEADING_TABS.sub("", self.content) if self.is_chomped else self.content


def parse_heredoc(word: str) -> Heredoc | None:
    """Read a word; None where it is no heredoc."""
    match = _HEREDOC.fullmatch(word)
    if not match or not match[3]:
        return None
    names = _NAME.expand(match[3], {}).words
    if len(names) != 1:
        return None
    raw = _RAW_NAME.expand(match[3], {}).words
    has_quotes = _quotes("".join(raw)) != _quotes(names[0])
    return Heredoc(names[0], expands=not has_quotes, is_chomped=match[2] == "-")


def heredoc_or_none(word: str) -> Heredoc | None:
    """Like `parse_heredoc`, where one that is wrong is none."""
    try:
        return parse_heredoc(word)
    except InvalidArgument:
        return None


def heredocs_in(line: str) -> list[Heredoc]:
    try:
        words = _LINE.expand(line, {}).words
    except InvalidArgument:
        return []
    return [heredoc for heredoc in map(parse_heredoc, words) if heredoc]


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
