"""Times in the forms that Docker writes and reads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lightship.engine.errors import InvalidArgument
from lightship.engine.times import go_duration, human_duration, parse_duration, parse_time, rfc3339, timestamp

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (NOW, "2023-11-14T22:13:20Z"),
        (NOW + 500_000_000, "2023-11-14T22:13:20.5Z"),
        (NOW + 1, "2023-11-14T22:13:20.000000001Z"),
    ],
)
def test_rfc3339(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text


@given(st.integers(min_value=1, max_value=4_000_000_000 * SECOND))
def test_what_is_written_is_read(time_ns: int) -> None:
    assert parse_time(rfc3339(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
        (60, "About a minute"), (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"),
        (3600, "About an hour"), (5399, "About an hour"), (5400, "2 hours"), (47.4 * 3600, "47 hours"),
        (47.5 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"), (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"), (729 * 86400, "24 months"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(int(seconds * SECOND)) == text


@pytest.mark.parametrize(
    ("text", "duration_ns"), [("1h30m", 5400 * SECOND), ("1.5s", 3 * SECOND // 2), ("-2ms", -2_000_000), ("10ns", 10)]
)
def test_durations(text: str, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns
    assert parse_time(text, now_ns=NOW) == NOW - duration_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1700000000", NOW), ("1700000000.5", NOW + SECOND // 2), ("0", 0), ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-15T00:13:20+02:00", NOW), ("2023-11-14T22:13:20.000000001Z", NOW + 1),
    ],
)  # fmt: skip
def test_points_in_time(text: str, time_ns: int) -> None:
    assert parse_time(text, now_ns=NOW) == time_ns


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "2023-13-01", "1h x"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidArgument, match="failed to parse value as time or duration"):
        parse_time(text)


@given(st.text() | st.from_regex(r"[-+0-9.:TZhmsnu\u00b5 ]*", fullmatch=True) | st.datetimes().map(str))
@example("9" * 400 + "h")
@example("9" * 5000)
@example("0001-01-01T00:00:00")
@example("9999-12-31T23:59:59-23:59")
@example("٣")
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        time_ns = parse_time(text, now_ns=NOW)
    except InvalidArgument:
        return
    assert isinstance(time_ns, int) and text.isascii() == (not {*text} & {"µ", "μ"})


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_durations_are_exact(duration_ns: int) -> None:
    assert parse_duration(go_duration(duration_ns)) == duration_ns
    assert parse_duration("-" + go_duration(duration_ns)) == -duration_ns


def test_go_durations():
    shown = {
        0: "0s",
        1: "1ns",
        1_500: "1.5µs",
        500_000_000: "500ms",
        1_000_000_000: "1s",
        1_500_000_000: "1.5s",
        90_000_000_000: "1m30s",
        3_600_000_000_000: "1h0m0s",
        3_661_250_000_000: "1h1m1.25s",
    }
    assert {duration: go_duration(duration) for duration in shown} == shown


def test_the_epoch_is_a_time() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00Z" and timestamp(1) == "1970-01-01T00:00:01Z"
