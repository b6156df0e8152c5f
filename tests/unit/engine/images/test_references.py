"""References: dockerd's grammar, its defaults and its words for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.references import (
    Reference,
    familiar_name,
    is_digest,
    parse,
    parse_any,
    parse_repository_and_tag,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("me/tool", "docker.io/me/tool", "me/tool"),
        ("library/deep/name", "docker.io/library/deep/name", "library/deep/name"),
        ("localhost/tool", "localhost/tool", "localhost/tool"),
        ("localhost:5000/tool:x", "localhost:5000/tool:x", "localhost:5000/tool:x"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("EXAMPLE/tool", "EXAMPLE/tool", "EXAMPLE/tool"),
        ("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f", "a__b/c---d/e.f"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
    ],
)
def test_names_are_normalized(text: str, whole: str, familiar: str) -> None:
    reference = parse(text)
    assert (str(reference), reference.familiar) == (whole, familiar)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a/B:tag", "invalid reference format: repository name (a/B) must be lowercase"),
        ("busybox:", "invalid reference format"),
        ("busybox:-x", "invalid reference format"),
        ("busybox:" + "x" * 129, "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("busybox\n", "invalid reference format"),
        ("busybox@sha256:abc", "invalid reference format"),
        ("busybox@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("busybox@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("busybox@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a/" + "b" * 255, "repository name must not be more than 255 characters"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse(text)
    assert str(error.value) == message


def test_ids_are_taken_for_digests() -> None:
    assert parse_any(DIGEST) == DIGEST
    assert parse_any(DIGEST.removeprefix("sha256:")) == DIGEST
    assert parse_any("sha256:abc") == Reference("docker.io", "library/sha256", "abc")


def test_repository_and_tag() -> None:
    assert parse_repository_and_tag("", "x") is None
    assert parse_repository_and_tag("a", "") == Reference("docker.io", "library/a", "latest")
    assert parse_repository_and_tag("a:1", "2") == Reference("docker.io", "library/a", "2")
    for repository, tag, message in (
        ("a", "b:c", "invalid tag format"),
        (f"a@{DIGEST}", "", "cannot import digest reference"),
        ("sha256", "x", "refusing to create an ambiguous tag using digest algorithm as name"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            parse_repository_and_tag(repository, tag)


def test_a_digest_wins_over_a_tag_as_key() -> None:
    assert parse(f"a:1@{DIGEST}").key() == parse(f"a@{DIGEST}")
    assert parse("a").key() == parse("a:latest")


def test_familiar_name_leaves_alone_what_is_no_reference() -> None:
    assert familiar_name("docker.io/library/a:1") == "a"
    assert familiar_name("Not One") == "Not One"


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar) == reference


components = st.from_regex(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", fullmatch=True).filter(lambda text: len(text) < 30)
tags = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(st.lists(components, min_size=1, max_size=3), tags, st.none() | st.just(DIGEST))
def test_what_is_written_reads_back(path: list[str], tag: str | None, digest: str | None) -> None:
    reference = Reference("registry.example:5000", "/".join(path), tag, digest)
    assert parse(str(reference)) == reference
    assert parse(reference.familiar) == reference


@given(st.text(max_size=80))
def test_digests_are_strict(text: str) -> None:
    assert not is_digest(text) or (len(text) == 71 and text.startswith("sha256:"))
