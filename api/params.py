"""Query parameters as dockerd reads them: its booleans, Go's words for bad numbers, its timestamps, platforms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from ..engine import numbers
from ..engine.errors import InvalidArgument
from ..openapi.types.images import OCIPlatform

_FALSE = {"", "0", "no", "false", "none"}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_INTEGER = re.compile(r"[-+]?[0-9]+")
SECOND_NS = 1_000_000_000


def parse_query(query_string: bytes) -> dict[str, list[str]]:
    """Split a query; every value of a name is kept."""
    text = query_string.decode("latin-1")
    if bad := _BAD_ESCAPE.search(text):
        raise InvalidArgument(f'invalid URL escape "{bad[0]}"')
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


def boolean(value: str) -> bool:
    return value.strip().lower() not in _FALSE


def integer(value: str, *, go_function: str = "Atoi") -> int:
    """Read a signed 64-bit integer; refuse others in the words of Go's strconv."""
    if not _INTEGER.fullmatch(value):
        raise InvalidArgument(f'strconv.{go_function}: parsing "{value}": invalid syntax')
    if (number := numbers.integer(value)) is None:
        raise InvalidArgument(f'strconv.{go_function}: parsing "{value}": value out of range')
    return number


def console_size(value: str, name: str) -> int:
    """Read a height or width of a console."""
    digits = value.removeprefix("-")
    if not digits.isdecimal() or not digits.isascii():
        raise InvalidArgument(f'invalid resize {name} "{value}": invalid syntax')
    number = numbers.natural(digits, below=1 << 32)
    if value.startswith("-") or number is None:
        raise InvalidArgument(f'invalid resize {name} "{value}": value out of range')
    return number


def timestamp_ns(value: str) -> int | None:
    """Read `seconds` or `seconds.nanoseconds` as Unix nanoseconds; nothing stays nothing."""
    if not value:
        return None
    seconds, _, fraction = value.partition(".")
    total_ns = integer(seconds, go_function="ParseInt") * SECOND_NS
    if fraction:
        integer(fraction, go_function="ParseInt")
        total_ns += int(f"{fraction:0<9}"[:9])
    return total_ns


def platform(value: str) -> OCIPlatform:
    """Read a platform given as JSON."""
    try:
        found = msgspec.json.decode(value, type=OCIPlatform)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"failed to parse platform: {error}") from error
    if not found.os and not found.architecture and (found.variant or found.os_version or found.os_features):
        raise InvalidArgument("optional platform fields provided, but OS and Architecture are missing")
    if not found.os or not found.architecture:
        raise InvalidArgument("both OS and Architecture must be provided")
    return found


def accepted(header: str, offers: tuple[str, ...]) -> str | None:
    """Return the offer that an Accept header names outright with the highest weight; wildcards do not count."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        media_type, _, rest = part.partition(";")
        weight = re.search(r"q=([0-9.]+)", rest)
        value = float(weight[1]) if weight else 1.0
        weights[media_type.strip()] = max(value, weights.get(media_type.strip(), 0.0))
    named = [offer for offer in offers if weights.get(offer)]
    return max(named, key=lambda offer: weights[offer]) if named else None


def check_json(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not said to be JSON; no body needs no type."""
    content_type = headers.get("content-type", "")
    if not content_type and headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        raise InvalidArgument(f"malformed Content-Type header ({content_type}): mime: no media type")
    if media_type != "application/json":
        raise InvalidArgument(f"unsupported Content-Type header ({content_type}): must be 'application/json'")
