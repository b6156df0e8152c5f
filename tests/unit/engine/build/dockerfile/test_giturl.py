"""Addresses of git repositories."""

from __future__ import annotations

import pytest
from lightship.engine.build.dockerfile.giturl import GitUrl, parse_git_url
from lightship.engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://h/r.git", GitUrl("https://h/r.git")),
        ("https://h/r.git#main:a/../b", GitUrl("https://h/r.git", "main", "b")),
        ("http://u:p@h/r.git#:sub", GitUrl("http://u:p@h/r.git", "", "sub")),
        ("git://h/r", GitUrl("git://h/r")),
        ("ssh://git@h/r", GitUrl("ssh://git@h/r")),
        ("git@h:o/r.git#v1", GitUrl("git@h:o/r.git", "v1")),
        ("github.com/o/r#x", GitUrl("https://github.com/o/r", "x", is_ambiguous=True)),
        ("https://h/r.git?ref=a&subdir=b&keep-git-dir&submodules=0&checksum=c",
         GitUrl("https://h/r.git", "a", "b", "c", keeps_git_dir=True, submodules=False)),
        ("https://h/r.git?tag=v1", GitUrl("https://h/r.git", "refs/tags/v1")),
        ("https://h/r.git?branch=refs/heads/x", GitUrl("https://h/r.git", "refs/heads/x")),
        ("https://h/r", None), ("https://h/f.tar", None), ("ftp://h/r.git", None), ("./git@h:r", None),
        ("a/b.git", None), ("", None),
    ],
)  # fmt: skip
def test_parse(text: str, url: GitUrl | None) -> None:
    assert parse_git_url(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://h/r.git?ref=a#b", 'ref conflicts: "b" vs "a"'),
        ("https://h/r.git?tag=a&branch=b", "branch conflicts with tag"),
        ("https://h/r.git?x=y", 'unexpected query "x"'),
        ("https://h/r.git?ref=", 'query "ref" has no value'),
        ("https://h/r.git?ref=a&ref=b", 'query "ref" has multiple values'),
        ("https://h/r.git?submodules=x", 'invalid submodules value: "x"'),
        ("https://[/r.git", 'parse "https://[/r.git": invalid ipv6 url'),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_git_url(text)
    assert str(error.value) == message
