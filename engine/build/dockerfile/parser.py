"""From the text of a Dockerfile to its instructions, each with its lines, flags, arguments and heredocs.

Nothing is expanded here, and arguments are only told apart as each instruction's grammar needs; what they mean is for
`interpret`. Rules, quirks and error texts are those of BuildKit's parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import InvalidArgument
from ..graph import Location
from . import words
from .directives import BOM, Directives
from .errors import DockerfileError, located
from .heredocs import Heredoc, heredocs_in

_MAX_LINE = 1 << 16
_JSON_OR_TEXT = ("cmd", "entrypoint", "run", "shell")
_JSON_OR_WORDS = ("add", "copy", "volume")
_WORDS = ("expose", "from")
_TEXT = ("maintainer", "stopsignal", "user", "workdir")
_WITH_HEREDOCS = ("add", "copy", "run")
NAMES = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip


@dataclass(slots=True)
class Node:
    """One instruction. `pairs` are ENV's and LABEL's, `child` is ONBUILD's, `original` the logical line."""

    name: str
    original: str
    flags: list[str]
    arguments: list[str] = field(default_factory=list)
    is_json: bool = False
    pairs: list[tuple[str, str, bool]] = field(default_factory=list)
    child: Node | None = None
    comments: list[str] = field(default_factory=list)
    heredocs: list[Heredoc] = field(default_factory=list)
    location: Location = Location(0, 0)

    @property
    def has_heredoc_syntax(self) -> bool:
        node = self.child if self.name.lower() == "onbuild" and self.child else self
        return node.name.lower() in _WITH_HEREDOCS and not node.is_json


@dataclass(slots=True)
class Parsed:
    """`empty_continuations` are the ends of continued lines that have an empty one inside."""

    nodes: list[Node]
    escape: str
    empty_continuations: list[Location]


def parse(text: str) -> Parsed:
    """Raises DockerfileError."""
    return _Parser(text).run()


def parse_line(line: str, escape: str, comments: list[str]) -> Node:
    """Read one logical line."""
    name, flags, rest = words.split_command(line, escape)
    node = Node(name, line, flags, comments=comments)
    lowered = name.lower()
    if lowered in ("env", "label"):
        node.pairs = words.pairs(rest, lowered.upper(), escape)
    elif lowered == "arg":
        node.arguments = words.quoted_words(rest, escape)
    elif lowered == "onbuild":
        node.child = parse_line(rest, escape, []) if rest else None
    elif lowered == "healthcheck":
        kind, *command = rest.split(maxsplit=1)[:2] if rest else [""]
        node.arguments = [kind] if kind else []
        _read_command(node, command[0] if command else "")
    elif lowered in _JSON_OR_TEXT:
        _read_command(node, rest)
    elif lowered in (*_JSON_OR_WORDS, *_WORDS):
        strings = words.json_strings(rest) if lowered in _JSON_OR_WORDS else None
        node.is_json = strings is not None
        node.arguments = strings if strings is not None else words.SPACES.split(rest) if rest else []
    elif lowered in _TEXT:
        node.arguments = [rest] if rest else []
    return node


def _read_command(node: Node, rest: str) -> None:
    strings = words.json_strings(rest)
    node.is_json = strings is not None
    node.arguments += strings if strings is not None else [rest] if rest else []


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = self._numbered(text.removeprefix(BOM))
        self._line = 0
        self._directives = Directives()
        self._set_escape("\\")
        self._comments: list[str] = []
        self._parsed = Parsed([], "\\", [])

    def run(self) -> Parsed:
        for line in self._lines:
            self._note_comment(line)
            text = self._processed(line.rstrip("\r\n").lstrip(), is_first=True)
            start = self._line
            text, is_continued = self._without_continuation(text)
            if is_continued or text:
                self._instruction(text, start, is_continued=is_continued)
        if not self._parsed.nodes:
            raise DockerfileError("file with no instructions", Location(self._line, self._line))
        return self._parsed

    def _numbered(self, text: str) -> Iterator[str]:
        for line in re.findall(r"[^\n]*\n|[^\n]+\Z", text):
            if len(line) > _MAX_LINE:
                place = Location(self._line, self._line)
                raise DockerfileError(f"dockerfile line greater than max allowed size of {_MAX_LINE - 1}", place)
            self._line += 1
            yield line

    def _set_escape(self, escape: str) -> None:
        if escape not in ("`", "\\"):
            raise InvalidArgument(f"invalid escape token '{escape}' does not match ` or \\")
        token = re.escape(escape)
        self._continuation = re.compile(rf"(?:(?<=[^{token}])|^){token}[ \t]*$")
        self._escape = escape

    def _note_comment(self, line: str) -> None:
        if line.lstrip().startswith("#"):
            comment = line[1:].strip()
            self._comments = [*self._comments, comment] if comment else []

    def _processed(self, line: str, *, is_first: bool) -> str:
        """Take directives and comments out."""
        with located(Location(self._line - 1, self._line - 1)):
            directive = self._directives.read(line)
            if directive and directive.name == "escape":
                self._set_escape(directive.value)
                self._parsed.escape = directive.value
        if directive and is_first:
            self._comments = self._comments[:-1]
        return "" if line.lstrip().startswith("#") else line

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        shortened, count = self._continuation.subn("", line)
        return shortened, bool(count)

    def _instruction(self, text: str, start: int, *, is_continued: bool) -> None:
        has_empty = False
        while is_continued and (line := next(self._lines, None)) is not None:
            more = self._processed(line.rstrip("\r\n"), is_first=False)
            if line.lstrip().startswith("#"):
                continue
            if not more.strip():
                has_empty = True
                continue
            more, is_continued = self._without_continuation(more)
            text += more
        if has_empty:
            self._parsed.empty_continuations.append(Location(self._line, self._line))
        with located(Location(start, self._line)):
            node = parse_line(text, self._escape, self._comments)
        if node.has_heredoc_syntax and "<<" in text:
            for heredoc in heredocs_in(text):
                node.heredocs.append(self._heredoc(heredoc, start))
        node.location = Location(start, self._line)
        self._parsed.nodes.append(node)
        self._comments = []

    def _heredoc(self, heredoc: Heredoc, start: int) -> Heredoc:
        content: list[str] = []
        for line in self._lines:
            possible = line.rstrip("\r\n")
            if (possible.lstrip("\t") if heredoc.is_chomped else possible) == heredoc.name:
                return heredoc.with_content("".join(content))
            content.append(line)
        raise DockerfileError("unterminated heredoc", Location(start, self._line))
