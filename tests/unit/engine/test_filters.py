from __future__ import annotations

import pytest
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
