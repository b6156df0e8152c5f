from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.errors import InvalidArgument
from lightship.engine.filters import Filters


@pytest.mark.parametrize("text", ['{"label":["a","b=c"]}', '{"label":{"a":true,"b=c":true}}'])
def test_both_encodings_of_filters_are_read(text: str) -> None:
    """P13"""
    filters = Filters.parse(text)
    assert filters.get("label") == ["a", "b=c"]


def test_no_filters_match_everything() -> None:
    for text in (None, "", "{}", "null"):
        filters = Filters.parse(text)
        assert not filters
        assert filters.exact("name", "x") and filters.labels("label", {})


@pytest.mark.parametrize("text", ["[]", "x", '{"a":1}', '"a"'])
def test_unreadable_filters_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter"):
        Filters.parse(text)


fields = st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=4, unique=True), max_size=4)


@given(fields)
def test_what_a_client_writes_is_read(wanted: dict[str, list[str]]) -> None:
    """Lists, as of API 1.22, and the older maps, in which an order is no part."""
    assert all(Filters.parse(json.dumps(wanted)).get(key) == wanted[key] for key in wanted)
    older = Filters.parse(json.dumps({key: dict.fromkeys(values, True) for key, values in wanted.items()}))
    assert all(sorted(older.get(key)) == sorted(wanted[key]) for key in wanted)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.text() | documents.map(json.dumps))
def test_any_text_is_filters_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        filters = Filters.parse(text)
        filters.validate({"label", "name"})


@given(st.lists(st.text(max_size=12), max_size=3), st.text(max_size=12))
def test_any_value_matches_or_does_not(values: list[str], source: str) -> None:
    filters = Filters({"name": values})
    expected = not values or source in values
    assert filters.exact("name", source) == expected
    assert filters.regex("name", source) or not expected
    assert filters.prefix("name", source) or not expected
    with contextlib.suppress(InvalidArgument):
        filters.boolean("name")


def test_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'bogus'"):
        Filters.parse('{"bogus":["1"]}').validate({"name"})


def test_labels_must_all_match() -> None:
    """P14"""
    filters = Filters({"label": ["a", "b=c"]})
    assert filters.labels("label", {"a": "1", "b": "c"})
    assert not filters.labels("label", {"a": "1", "b": "x"})
    assert not filters.labels("label", {"b": "c"})


@pytest.mark.parametrize(("values", "expected"), [(["true"], True), (["1"], True), (["0"], False), (["false"], False)])
def test_truth_of_a_filter(values: list[str], expected: bool) -> None:
    assert Filters({"dangling": values}).boolean("dangling") is expected


@pytest.mark.parametrize("values", [["maybe"], ["true", "false"]])
def test_contradicting_truth_is_refused(values: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'dangling="):
        Filters({"dangling": values}).boolean("dangling")


def test_regex_and_prefix_matching() -> None:
    filters = Filters({"name": ["^/we", "["]})
    assert filters.regex("name", "/web") and not filters.regex("name", "/db")
    assert Filters({"id": ["ab"]}).prefix("id", "abc") and not Filters({"id": ["ab"]}).prefix("id", "b")
