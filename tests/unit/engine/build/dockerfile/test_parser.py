"""From text to instructions: lines, continuations, comments, heredocs, flags, quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.build.dockerfile.directives import find, syntax
from lightship.engine.build.dockerfile.errors import DockerfileError
from lightship.engine.build.dockerfile.parser import Node, parse
from lightship.engine.build.graph import Location


def only(text: str) -> Node:
    (node,) = parse(text).nodes
    return node


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("FROM a AS b", "FROM", ["a", "AS", "b"]),
        ("run  echo  a  b ", "run", ["echo  a  b"]),
        ('RUN ["a", "b c"]', "RUN", ["a", "b c"]),
        ("RUN ['a']", "RUN", ["['a']"]),
        ('CMD ["a", 1', "CMD", ['["a", 1']),
        ("COPY a\tb  c", "COPY", ["a", "b", "c"]),
        ('COPY ["a b", "c"]', "COPY", ["a b", "c"]),
        ("ARG A=1 B", "ARG", ["A=1", "B"]),
        ("ARG A='x y'", "ARG", ["A='x y'"]),
        ("USER  a b", "USER", ["a b"]),
        ("EXPOSE 80 443/udp", "EXPOSE", ["80", "443/udp"]),
        ('HEALTHCHECK --timeout=3s CMD ["a"]', "HEALTHCHECK", ["CMD", "a"]),
        ("HEALTHCHECK cmd  a b", "HEALTHCHECK", ["cmd", "a b"]),
        ("RUN", "RUN", []),
        ("ANYTHING x", "ANYTHING", []),
    ],
)
def test_arguments(text: str, name: str, arguments: list[str]) -> None:
    node = only(text)
    assert (node.name, node.arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a b  c", [("a", "b  c", True)]),
        ('ENV a=b c=\'d e\' f="g\\" h"', [("a", "b", False), ("c", "'d e'", False), ("f", '"g\\" h"', False)]),
        ("LABEL a\\ b=c", [("a\\ b", "c", False)]),
        ("LABEL =x", [("", "x", False)]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str, bool]]) -> None:
    assert only(text).pairs == pairs


@pytest.mark.parametrize(
    ("text", "flags", "arguments"),
    [
        ("COPY --from=a --link b c", ["--from=a", "--link"], ["b", "c"]),
        ("COPY --chown='a b' b c", ["--chown=a b"], ["b", "c"]),
        ("COPY -- --b c", [], ["--b", "c"]),
        ("RUN --mount=type=tmpfs,target=/x make", ["--mount=type=tmpfs,target=/x"], ["make"]),
        ('COPY --a\\ b="c" d e', ["--a b=c"], ["d", "e"]),
        ("RUN - --x", [], ["- --x"]),
    ],
)
def test_flags(text: str, flags: list[str], arguments: list[str]) -> None:
    node = only(text)
    assert (node.flags, node.arguments) == (flags, arguments)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("RUN a \\\n b", ["a  b"]),
        ("RUN a \\\n# comment\n  # more\n b", ["a  b"]),
        ("RUN a \\  \n b", ["a  b"]),
        ("RUN a \\\r\n b\r\n", ["a  b"]),
        ("RUN a \\\\\n", ["a \\\\"]),
        ("\ufeffRUN a", ["a"]),
        ("\n\n   RUN a", ["a"]),
        ("RUN a \\", ["a"]),
        ("# escape=`\nRUN a `\n b\\\n", ["a  b\\"]),
    ],
)
def test_lines_that_go_on(text: str, arguments: list[str]) -> None:
    assert only(text).arguments == arguments


def test_places() -> None:
    nodes = parse("# c\nFROM a\n\nRUN b \\\n\n  c\nCOPY <<E /x\n1\n2\nE\nCMD d").nodes
    assert [node.location for node in nodes] == [Location(2, 2), Location(4, 6), Location(7, 10), Location(11, 11)]


def test_empty_lines_inside_of_a_continued_one_are_told() -> None:
    assert parse("FROM a\nRUN b \\\n\n  c").empty_continuations == [Location(4, 4)]


def test_comments_right_above_belong_to_an_instruction() -> None:
    nodes = parse("# syntax=x\n# one\nFROM a\n# two\n# three\nRUN b\n# four\n#\n# five\nRUN c").nodes
    assert [node.comments for node in nodes] == [["one"], ["two", "three"], ["five"]]


@pytest.mark.parametrize(
    ("text", "name", "content", "expands"),
    [
        ("RUN <<EOF\na\n b\nEOF", "EOF", "a\n b\n", True),
        ("COPY <<'E O' /x\n$a\nE O", "E O", "$a\n", False),
        ('COPY <<"E" /x\n\nE', "E", "\n", False),
        ("RUN cat 3<<-E\n\ta\n\t\tE", "E", "a\n", True),
        ("RUN << EOF\nx\r\nEOF\r\n", "EOF", "x\r\n", True),
        ("ONBUILD RUN <<E\nx\nE", "E", "x\n", True),
    ],
)
def test_heredocs(text: str, name: str, content: str, expands: bool) -> None:
    (heredoc,) = only(text).heredocs
    assert (heredoc.name, heredoc.text, heredoc.expands) == (name, content, expands)


def test_several_heredocs_come_one_after_the_other() -> None:
    nodes = parse("COPY <<a <<b /x/\n1\na\n2\nb\nRUN c").nodes
    assert [heredoc.content for heredoc in nodes[0].heredocs] == ["1\n", "2\n"]
    assert nodes[1].arguments == ["c"]


@pytest.mark.parametrize("text", ['RUN ["<<E"]', "RUN echo '<<E'", "RUN echo \\<<E", "ENV a=<<E", "RUN a <<<b"])
def test_what_is_no_heredoc(text: str) -> None:
    assert only(text).heredocs == []


@pytest.mark.parametrize(
    ("text", "message", "first"),
    [
        ("", "file with no instructions", 0),
        ("# a\n\n", "file with no instructions", 2),
        ("FROM a\nENV A", "ENV must have two arguments", 2),
        ("FROM a\nENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value', 2),
        ('CMD ["a", 1]', "when using JSON array syntax, arrays must be comprised of strings only", 1),
        ("RUN <<E\na", "unterminated heredoc", 1),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\", 0),
        ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used", 1),
        (f"RUN {'x' * (1 << 16)}", "dockerfile line greater than max allowed size of 65535", 0),
    ],
)
def test_mistakes(text: str, message: str, first: int) -> None:
    with pytest.raises(DockerfileError) as error:
        parse(text)
    assert str(error.value) == message
    assert error.value.locations[0].first == first


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("# syntax=docker/dockerfile:1 extra\nFROM a", "docker/dockerfile:1 extra"),
        ("#!/bin/x\n# SYNTAX = a\n", "a"),
        ("// syntax=a\n", "a"),
        ('{"syntax": "a"}', "a"),
        ("\n# syntax=a", None),
        ("# comment\n# syntax=a", None),
        ("FROM a", None),
    ],
)
def test_syntax(text: str, value: str | None) -> None:
    directive = syntax(text)
    assert (directive and directive.value) == value


def test_a_directive_is_found_by_name() -> None:
    directive = find("check", "# escape=`\n# check=skip=all\nFROM a")
    assert directive is not None
    assert (directive.value, directive.location) == ("skip=all", Location(2, 2))


WORDS = (
    "FROM ",
    "RUN ",
    "COPY ",
    "ONBUILD ",
    "ENV ",
    "<<E",
    "\nE\n",
    "--",
    "=",
    "\\\n",
    "\n",
    "$",
    "'",
    '"',
    "[",
    "#",
    "a",
)


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=20))
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    try:
        parse("".join(words))
    except DockerfileError as error:
        assert error.locations
