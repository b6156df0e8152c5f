from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.shim.detachkeys import DEFAULT, Scanner, parse


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", DEFAULT),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("a,b,DEL", b"ab\x7f"),
    ],
)
def test_parse(keys, expected):
    assert parse(keys) == expected


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-A", "ctrl-aa", "x,,y", "del", "ü"])
def test_parse_refuses(keys):
    bad = next(key for key in keys.split(",") if key not in ("x", "y"))
    with pytest.raises(ValueError, match=f"^Unknown character: '{bad}'$"):
        parse(keys)


def feed(chunks):
    scanner = Scanner(DEFAULT)
    passed = b""
    for chunk in chunks:
        data, detached = scanner.feed(chunk)
        passed += data
        if detached:
            return passed, True
    return passed, False


@pytest.mark.parametrize(
    ("chunks", "passed", "detached"),
    [
        ([b"text"], b"text", False),
        ([b"a\x10\x11rest"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"a\x10", b"b"], b"a\x10b", False),
        ([b"a\x10"], b"a", False),
        ([b"\x11"], b"\x11", False),
        # moby/term takes the key that breaks the sequence for no beginning of a new one
        ([b"\x10\x10\x11x"], b"\x10\x10\x11x", False),
    ],
)
def test_scanner(chunks, passed, detached):
    assert feed(chunks) == (passed, detached)


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\x11", b"\x10"))))
def test_chunks_do_not_matter_and_nothing_is_lost(chunks):
    whole = b"".join(chunks)
    passed, detached = feed(chunks)
    assert not detached
    assert passed in (whole, whole.removesuffix(b"\x10"))
