"""The ports of EXPOSE: `80`, `53/udp`, `8000-8010/tcp`, and the forms with addresses that should not be there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ...errors import InvalidArgument
from ...numbers import natural
from ..graph import Location
from .checks import Checks
from .quoting import go_quote

_PROTOCOLS = ("tcp", "udp", "sctp")


def exposed_ports(words: Iterable[str], location: Location, checks: Checks) -> list[str]:
    """Return each as `port/protocol`. Raises InvalidArgument."""
    return [port for word in words for port in _ports(word, location, checks)]


def _ports(word: str, location: Location, checks: Checks) -> list[str]:
    rest, _, port = word.rpartition(":")
    address, _, host_port = rest.rpartition(":")
    port, _, protocol = port.partition("/")
    if not port:
        raise InvalidArgument(f"invalid port: {go_quote(word)}: no port specified")
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise InvalidArgument(f"invalid port: {go_quote(word)}: invalid proto: {protocol}")
    if protocol != protocol.lower():
        checks.expose_proto_casing(location, word)
    if rest:
        checks.expose_invalid_format(location, word)
    if address:
        _check_address(address)
    first, last = _bounds(port, "containerPort")
    if host_port:
        _bounds(host_port, "hostPort")
    return [f"{number}/{protocol.lower() or 'tcp'}" for number in range(first, last + 1)]


def _check_address(address: str) -> None:
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {address}") from None


def _bounds(text: str, field: str) -> tuple[int, int]:
    first, separator, last = text.partition("-")
    low, high = natural(first, below=1 << 16), natural(last if separator else first, below=1 << 16)
    if low is None or high is None or low > high:
        raise InvalidArgument(f"invalid {field}: {text}")
    return low, high
