"""API versions in paths: `/v1.44/...`, what is too old or too new, and the headers that tell a client what we are."""

from __future__ import annotations

import functools
import re
import time
from email.utils import formatdate

from ..engine.errors import InvalidArgument
from ..engine.version import API_VERSION, MIN_API_VERSION, SERVER_VERSION
from ..openapi.operations.operation import Version

_PREFIX = re.compile(r"/v([0-9.]+)(/.*)")


def parse(text: str) -> Version:
    """Read `1.44` as numbers, what is no number as 0."""
    return tuple(int(part) if part else 0 for part in text.split("."))


MAXIMUM = parse(API_VERSION)
MINIMUM = parse(MIN_API_VERSION)


def split(path: str) -> tuple[str, str]:
    """Take the version off a path; both `/v1.44/info` and `/info` are used by clients."""
    match = _PREFIX.fullmatch(path)
    return (match[1], match[2]) if match else ("", path)


class Unsupported(InvalidArgument):
    """The client's version is outside what this engine speaks."""


@functools.lru_cache(256)
def negotiate(text: str) -> Version:
    """Return the version to serve for what the path said; raise Unsupported with dockerd's text."""
    if not text:
        return MAXIMUM
    version = parse(text)
    if version < MINIMUM:
        raise Unsupported(
            f"client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    if version > MAXIMUM:
        raise Unsupported(f"client version {text} is too new. Maximum supported API version is {API_VERSION}")
    return version


_FIXED_HEADERS = [
    (b"api-version", API_VERSION.encode()),
    (b"ostype", b"linux"),
    (b"server", f"Docker/{SERVER_VERSION} (linux)".encode()),
]


@functools.lru_cache(1)
def _date(_second: int) -> tuple[bytes, bytes]:
    return (b"date", formatdate(usegmt=True).encode())


def date_header() -> tuple[bytes, bytes]:
    return _date(int(time.time()))


def headers(*, experimental: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer of an operation."""
    return [*_FIXED_HEADERS, (b"docker-experimental", b"true" if experimental else b"false"), date_header()]
