"""Times as Docker writes and reads them: RFC 3339 with nanoseconds in UTC, Go durations, and `5 minutes ago`.

Inside the engine a time is an int of Unix nanoseconds and 0 is "never". Used by every service that reports or filters
by time.
"""

from __future__ import annotations

import re
import time
from datetime import datetime

from .errors import InvalidArgument
from .numbers import LIMIT, natural

NEVER = "0001-01-01T00:00:00Z"
EPOCH = "1970-01-01T00:00:00Z"
SECOND_NS = 1_000_000_000
_MAX_FRACTION = 18
_UNITS_NS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000,
    "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS,
}  # fmt: skip
_DURATION = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNIX = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]*))?")


def rfc3339(time_ns: int) -> str:
    """Write a time as Go's RFC3339Nano does: UTC, the fraction without trailing zeros."""
    if not time_ns:
        return NEVER
    seconds, fraction = divmod(time_ns, SECOND_NS)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    if fraction:
        text = f"{text}.{fraction:09}".rstrip("0")
    return text + "Z"


def timestamp(seconds: int) -> str:
    """Write a time in whole seconds, 0 being the epoch as in SOURCE_DATE_EPOCH."""
    return rfc3339(seconds * SECOND_NS) if seconds else EPOCH


def human_duration(duration_ns: int) -> str:
    """Say roughly how long that is, in the words of Docker's status column."""
    seconds = max(0, duration_ns) // SECOND_NS
    minutes = seconds // 60
    hours = (seconds + 1800) // 3600
    steps = (
        (seconds < 1, "Less than a second"),
        (seconds == 1, "1 second"),
        (seconds < 60, f"{seconds} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 14, f"{hours // 24} days"),
        (hours < 24 * 60, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 730, f"{hours // 24 // 30} months"),
    )
    return next((text for fits, text in steps if fits), f"{seconds // 3600 // 24 // 365} years")


def parse_duration(text: str) -> int:
    """Read a Go duration such as `1h30m`; raise ValueError where it is none."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"invalid duration: {text}")
    total_ns = sum(_in_ns(number, _UNITS_NS[unit]) for number, unit in _DURATION_PART.findall(text))
    if total_ns >= LIMIT:
        raise ValueError(f"invalid duration: {text}")
    return -total_ns if text.startswith("-") else total_ns


def _in_ns(number: str, unit_ns: int) -> int:
    whole, _, fraction = number.partition(".")
    whole_ns = natural(whole or "0", below=LIMIT // unit_ns + 1)
    if whole_ns is None:
        return LIMIT
    fraction = fraction[:_MAX_FRACTION]
    part_ns: int = int(fraction or "0") * unit_ns // 10 ** len(fraction)
    return whole_ns * unit_ns + part_ns


def go_duration(duration_ns: int) -> str:
    """Write a duration as Go does: `1h2m3.5s`, below a second in the unit that fits."""
    for unit, size_ns in (("s", SECOND_NS), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
        if duration_ns >= size_ns or unit == "ns":
            break
    if unit != "s":
        return f"{_decimal(duration_ns, size_ns)}{unit}" if duration_ns else "0s"
    minutes, rest_ns = divmod(duration_ns, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{text}{_decimal(rest_ns, SECOND_NS)}s"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}}".rstrip("0").rstrip(".") if fraction else str(whole)


def parse_time(text: str, *, now_ns: int | None = None) -> int:
    """Read what `until` and `since` filters take: a duration before now, an RFC 3339 time or a Unix timestamp."""
    try:
        return (time.time_ns() if now_ns is None else now_ns) - parse_duration(text)
    except ValueError:
        pass
    if match := _UNIX.fullmatch(text):
        whole, fraction = match.groups()
        return int(whole) * SECOND_NS + int(f"{fraction or '':0<9}"[:9])
    try:
        seconds = int(datetime.fromisoformat(text).replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from None
    fraction_text = re.search(r"\.(\d+)", text)
    fraction_ns = int(f"{fraction_text[1]:0<9}"[:9]) if fraction_text else 0
    return seconds * SECOND_NS + fraction_ns
