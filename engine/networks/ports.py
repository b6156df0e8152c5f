"""Published ports: what a container asks for, which host ports it gets, and the sockets that keep them for it.

A host port is reserved by a bound socket that the shim holds for as long as the container runs, so that no other
program can bind it. The firewall's rules come first. Where they carry nothing, to IPv6 ports of containers without it
say, the socket listens, and the shim serves it as dockerd's userland proxy does; else nothing is ever accepted by it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ...openapi.types import networks as api
from .. import errors
from ..numbers import natural
from .holders import holder
from .records import PortBinding

logger = logging.getLogger(__name__)

PROTOCOLS = ("tcp", "udp", "sctp")
ANY = ("0.0.0.0", "::")
"""All addresses of the host, of IPv4 and of IPv6."""
_DEFAULT_RANGE = (49153, 65535)
_BACKLOG = 1024
_SOCKET_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


@dataclass(frozen=True, slots=True, order=True)
class PortRequest:
    """One port of the container, wanted on the same host port of each address. The order is that of allocation."""

    random: bool
    """Fixed ports and ranges go first, so that a random port never takes one of theirs."""
    protocol: str
    container_port: int
    first: int
    last: int
    host_ips: tuple[str, ...]


@dataclass(slots=True)
class Reservation:
    """The host ports of one container, with the sockets that keep them, by their names."""

    bindings: list[PortBinding] = field(default_factory=list)
    sockets: dict[str, socket.socket] = field(default_factory=dict)

    def close(self) -> None:
        """Give up the daemon's copies of the sockets."""
        while self.sockets:
            self.sockets.popitem()[1].close()


def parse_port(text: str) -> tuple[int, str]:
    """Read a container's port, such as `80/tcp` or `80`."""
    digits, _, protocol = text.partition("/")
    if (number := natural(digits, below=1 << 16)) is None:
        raise errors.InvalidArgument(f'invalid port specification: "{digits}"')
    return number, protocol.lower() or "tcp"


def canonical(exposed: Iterable[str]) -> tuple[str, ...]:
    """Return ports as clients see them, each with its protocol; what is no port is shown as it is."""
    found = set()
    for port in exposed:
        try:
            number, protocol = parse_port(port)
            found.add(f"{number}/{protocol}")
        except errors.InvalidArgument:
            found.add(port)
    return tuple(sorted(found))


def parse_range(text: str) -> tuple[int, int]:
    """Read a host port or a range of them; `(0, 0)` is any."""
    first, _, last = text.partition("-")
    low = natural(first or "0", below=1 << 16)
    high = natural(last or first or "0", below=1 << 16)
    if low is None or high is None or low > high:
        raise errors.InvalidArgument(f'invalid port specification: "{text}"')
    return low, high


def validate(bindings: api.PortMap | None) -> None:
    """Refuse what can never be published, when the container is created."""
    for port, wanted in (bindings or {}).items():
        parse_port(port)
        for binding in wanted or ():
            parse_range(binding.host_port)


@dataclass(frozen=True, slots=True)
class PortWishes:
    """What a container's user said of its ports."""

    bindings: api.PortMap = field(default_factory=dict)
    exposed: tuple[str, ...] = ()
    publish_all: bool = False


def requests(
    wishes: PortWishes, *, default_ips: tuple[str, ...], versions: Collection[int] = (4, 6)
) -> list[PortRequest]:
    """Return what has to be allocated, in the order of allocation.

    `default_ips` are the host's addresses for ports that name none. What is wanted on an address of another family than
    `versions` is left out: the container may be connected to a network that has it later.
    """
    wanted: dict[tuple[str, int, int, int], list[str]] = {}
    found: list[tuple[tuple[str, int, int, int], list[str]]] = []
    for port, binding in _wanted(wishes):
        number, protocol = parse_port(port)
        if protocol not in PROTOCOLS or number == 0:
            raise errors.Internal("unknown protocol" if protocol not in PROTOCOLS else f"invalid container port {port}")
        key = (protocol, number, *parse_range(binding.host_port))
        host_ips = (_host_ip(binding.host_ip),) if binding.host_ip else default_ips
        host_ips = tuple(host_ip for host_ip in host_ips if (6 if ":" in host_ip else 4) in versions)
        if not host_ips:
            continue
        same = wanted.get(key)
        if same is None or set(host_ips).intersection(same):
            same = wanted[key] = []
            found.append((key, same))
        same += host_ips
    return sorted(PortRequest(key[2] == 0, *key, tuple(sorted(host_ips))) for key, host_ips in found)


def routed(wishes: PortWishes, version: int) -> list[PortBinding]:
    """Return the ports of a container that is reached by its own address: they have none on the host.

    What is wanted on an address of the other family is left out.
    """
    wanted = {
        parse_port(port)
        for port, binding in _wanted(wishes)
        if not binding.host_ip or (":" in binding.host_ip) == (version == 6)
    }
    return [
        PortBinding(protocol=protocol, container_port=number, host_ip=ANY[version == 6], host_port=0)
        for number, protocol in sorted(wanted)
    ]


def plugin_options(wishes: PortWishes) -> dict[str, Any]:
    """Return the ports as network plugins are told of them; nothing where there are none."""
    exposed, published = [], []
    for port in {**dict.fromkeys(wishes.exposed if wishes.publish_all else ()), **wishes.bindings}:
        number, protocol = parse_port(port)
        exposed.append({"Proto": _SOCKET_TYPES[protocol][1], "Port": number})
    for port, binding in _wanted(wishes):
        number, protocol = parse_port(port)
        first, last = parse_range(binding.host_port)
        numbers = {"Proto": _SOCKET_TYPES[protocol][1], "IP": "", "Port": number}
        published.append({**numbers, "HostIP": binding.host_ip, "HostPort": first, "HostPortEnd": last})
    if not exposed:
        return {}
    return {"com.docker.network.endpoint.exposedports": exposed, "com.docker.network.portmap": published}


def port_map(bindings: Sequence[PortBinding], exposed: Collection[str]) -> dict[str, list[api.PortBinding] | None]:
    """Return the ports as `NetworkSettings.Ports` shows them: unpublished ones are null."""
    ports: dict[str, list[api.PortBinding] | None] = dict.fromkeys(canonical(exposed))
    for binding in bindings:
        key = f"{binding.container_port}/{binding.protocol}"
        shown = api.PortBinding(host_ip=binding.host_ip, host_port=str(binding.host_port or ""))
        ports[key] = [*(ports.get(key) or ()), shown]
    return ports


class PortAllocator:
    """Which host ports the containers have. Used from the event loop's thread alone, so nothing comes between."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int], set[str]] = {}
        self._last: dict[tuple[str, str, int, int], int] = {}

    def reserve(self, wanted: Sequence[PortRequest], *, container_ip: str, served: Collection[int] = ()) -> Reservation:
        """Reserve all or raise, with dockerd's words, and keep nothing; those of the families `served` listen."""
        reservation = Reservation()
        try:
            for request in wanted:
                self._reserve_one(request, reservation, container_ip, served)
        except BaseException:
            reservation.close()
            self.free(reservation.bindings)
            raise
        return reservation

    def take(self, bindings: Iterable[PortBinding]) -> None:
        """Mark ports that a record says are in use."""
        for binding in filter(_is_on_host, bindings):
            self._taken.setdefault((binding.protocol, binding.host_port), set()).add(binding.host_ip)

    def free(self, bindings: Collection[PortBinding]) -> None:
        for binding in bindings:
            key = (binding.protocol, binding.host_port)
            holders = self._taken.get(key, set())
            holders.discard(binding.host_ip)
            if not holders:
                self._taken.pop(key, None)

    def _reserve_one(
        self, request: PortRequest, reservation: Reservation, container_ip: str, served: Collection[int]
    ) -> None:
        only = request.first if request.first == request.last and not request.random else 0
        for port in self._candidates(request):
            clash = self._clash(request, port)
            if clash is not None:
                if only:
                    raise errors.Internal(f"Bind for {clash}:{port} failed: port is already allocated")
                continue
            bindings = [
                PortBinding(
                    protocol=request.protocol, container_port=request.container_port, host_ip=host_ip, host_port=port
                )
                for host_ip in request.host_ips
            ]
            try:
                sockets = _bind_all(bindings, served)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and not only:
                    continue
                raise _bind_failure(error, request, port, container_ip) from error
            self.take(bindings)
            reservation.bindings += bindings
            reservation.sockets |= sockets
            self._last[self._rotation(request)] = port
            return
        raise errors.Internal("all ports are allocated")

    def _candidates(self, request: PortRequest) -> Iterator[int]:
        """Go through the range from the port after the last one given, as dockerd does."""
        first, last = (request.first, request.last) if not request.random else dynamic_range()
        after = self._last.get(self._rotation(request), last)
        start = after + 1 if first <= after < last else first
        yield from range(start, last + 1)
        yield from range(first, start)

    @staticmethod
    def _rotation(request: PortRequest) -> tuple[str, str, int, int]:
        return request.protocol, request.host_ips[0], request.first, request.last

    def _clash(self, request: PortRequest, port: int) -> str | None:
        """Return the address on which a container has the port already, where that is in the way."""
        holders = self._taken.get((request.protocol, port), set())
        for taken in sorted(holders):
            for wanted in request.host_ips:
                if taken == wanted or (ANY[":" in wanted] in (taken, wanted) and (":" in taken) == (":" in wanted)):
                    return taken
        return None


def _is_on_host(binding: PortBinding) -> bool:
    return binding.host_port != 0


def dynamic_range() -> tuple[int, int]:
    """Return the range that random ports come from: the kernel's own for this network namespace."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as setting:
            first, last = setting.read().split()
    except OSError:
        return _DEFAULT_RANGE
    return int(first), int(last)


def _wanted(wishes: PortWishes) -> Iterator[tuple[str, api.PortBinding]]:
    for port, wanted in wishes.bindings.items():
        for binding in wanted or ():
            yield port, binding
    if wishes.publish_all:
        for port in wishes.exposed:
            if not wishes.bindings.get(port):
                yield port, api.PortBinding()


def _host_ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise errors.InvalidArgument(f"invalid host IP address {text!r}") from error


def _bind_all(bindings: Sequence[PortBinding], served: Collection[int]) -> dict[str, socket.socket]:
    sockets: dict[str, socket.socket] = {}
    try:
        for binding in bindings:
            bound = _bind(binding, served)
            if bound is not None:
                sockets[binding.socket_name] = bound
    except BaseException:
        for bound in sockets.values():
            bound.close()
        raise
    return sockets


def _bind(binding: PortBinding, served: Collection[int]) -> socket.socket | None:
    kind, number = _SOCKET_TYPES[binding.protocol]
    try:
        family = socket.AF_INET6 if binding.version == 6 else socket.AF_INET
        bound = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        if served:
            place = f"[{binding.host_ip}]" if binding.version == 6 else binding.host_ip
            reason = f"failed to listen on {place}:{binding.host_port}: protocol not supported"
            raise errors.Internal(f"error starting userland proxy: {reason}") from error
        return None  # without SCTP in the kernel no program can take the port; forwarding it works all the same
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if binding.protocol == "tcp":
            # A port with connections in TIME-WAIT is free for who sets SO_REUSEADDR, as every server does.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((binding.host_ip, binding.host_port))
        if binding.version in served and binding.protocol != "udp":
            bound.listen(_BACKLOG)
        elif binding.protocol == "tcp":
            # Listening for an instant claims the port against others with SO_REUSEADDR; after the shutdown the
            # socket stays bound and answers nobody.
            bound.listen(1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            bound.shutdown(socket.SHUT_RD)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_failure(error: OSError, request: PortRequest, port: int, container_ip: str) -> errors.Internal:
    host_ip = request.host_ips[0]
    target = f"{host_ip}:{port}:{container_ip}:{request.container_port}/{request.protocol}"
    reason = os.strerror(error.errno or 0)
    found = holder(request.protocol, host_ip, port) if error.errno == errno.EADDRINUSE else ""
    by = f" (by {found})" if found else ""
    return errors.Internal(f"failed to bind host port for {target}: {reason[:1].lower()}{reason[1:]}{by}")
