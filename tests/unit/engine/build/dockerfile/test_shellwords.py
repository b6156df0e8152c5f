"""Variables and quotes in Dockerfile words."""

from __future__ import annotations

import pytest
from lightship.engine.build.dockerfile.shellwords import Lexer, expand
from lightship.engine.errors import InvalidArgument

ENVIRONMENT = {"A": "1", "EMPTY": "", "PATHS": "/usr/local/bin:/usr/bin", "TWO": "x  y"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$A", "1"), ("${A}b", "1b"), ("$NO", ""), ("\\$A", "$A"), ("'$A'", "$A"), ('"$A \\" \\x"', '1 " \\x'),
        ("$", "$"), ("${NO:-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""), ("${A:+set}", "set"),
        ("${NO+set}", ""), ("${NO:-${A}}", "1"), ("${PATHS#*/}", "usr/local/bin:/usr/bin"), ("${PATHS##*/}", "bin"),
        ("${PATHS%/*}", "/usr/local/bin:/usr"), ("${PATHS%%/*}", ""), ("${PATHS/usr/opt}", "/opt/local/bin:/usr/bin"),
        ("${PATHS//usr/opt}", "/opt/local/bin:/opt/bin"), ("a  b", "a  b"),
    ],
)  # fmt: skip
def test_expand(word: str, expected: str) -> None:
    assert expand(word, ENVIRONMENT) == expected


def test_split_after_expansion() -> None:
    assert Lexer().expand("$TWO 'a b' c\\ d", ENVIRONMENT).words == ["x", "y", "a b", "c d"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${", "syntax error: missing '}'"), ("${A:-x", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"), ("${A!x}", "unsupported modifier (!) in substitution"),
        ("${NO?gone}", "NO: gone"), ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("'open", "unexpected end of statement while looking for matching single-quote"),
    ],
)  # fmt: skip
def test_refused(word: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        expand(word, ENVIRONMENT)
    assert str(error.value) == f'failed to process "{word}": {message}'
