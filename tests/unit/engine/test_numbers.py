from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.numbers import LIMIT, integer, natural


@given(st.integers(0, LIMIT - 1), st.integers(0, 30))
def test_what_is_written_is_read(number: int, zeros: int) -> None:
    text = "0" * zeros + str(number)
    assert natural(text) == number
    assert integer(f"+{text}") == number and integer(f"-{text}") == -number


@given(st.text())
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = natural(text)
    assert (number is not None) == (text.isascii() and text.isdecimal() and int(text) < LIMIT)


@pytest.mark.parametrize("text", ["", "-", "+", "-+1", "--1", "1_0", " 1", "٣", "²", str(LIMIT), "9" * 5000])
def test_what_is_no_number(text: str) -> None:
    assert natural(text) is None and integer(text) is None


def test_a_limit() -> None:
    assert natural("65535", below=1 << 16) == 65535
    assert natural("65536", below=1 << 16) is None
