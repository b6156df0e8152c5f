"""Published ports: what is read, in which order ports are given out, and who is refused."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lightship.engine import errors
from lightship.engine.networks import ports
from lightship.engine.networks.holders import holder
from lightship.engine.networks.records import PortBinding
from lightship.openapi.types.networks import PortBinding as Wanted

LOCALHOST = "127.0.0.1"


def wanted(**bindings: str) -> dict[str, list[Wanted] | None]:
    """Write `tcp80="127.0.0.1:8080"` for a port of the container and where it is wanted."""
    found: dict[str, list[Wanted] | None] = {}
    for port, texts in bindings.items():
        values = []
        for text in texts.split():
            host_ip, _, host_port = text.rpartition(":")
            values.append(Wanted(host_ip=host_ip, host_port=host_port.replace("any", "")))
        found[f"{port[3:]}/{port[:3]}"] = values
    return found


def requests(bindings: dict[str, list[Wanted] | None] | None, *exposed: str, publish_all: bool = False) -> list[str]:
    wishes = ports.PortWishes(bindings or {}, exposed, publish_all)
    found = ports.requests(wishes, default_ips=("0.0.0.0",))
    return [f"{','.join(r.host_ips)}:{r.first}-{r.last}->{r.container_port}/{r.protocol}" for r in found]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def allocator() -> Iterator[ports.PortAllocator]:
    yield ports.PortAllocator()


@pytest.mark.parametrize("port", ["abc", "99999", "80-82", "", "-1"])
def test_impossible_container_ports_are_refused_at_create(port: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=f'^invalid port specification: "{port}"$'):
        ports.validate({f"{port}/tcp": [Wanted(host_port="80")]})


numbers = st.integers(0, 65535)


@given(numbers, st.sampled_from(ports.PROTOCOLS))
def test_a_port_reads_back(number: int, protocol: str) -> None:
    assert ports.parse_port(f"{number}/{protocol}") == (number, protocol)
    assert ports.parse_port(f"{number}/{protocol.upper()}") == (number, protocol)
    assert ports.canonical([f"{number:09}/{protocol}"]) == (f"{number}/{protocol}",)


@given(numbers, numbers)
def test_a_range_reads_back(first: int, last: int) -> None:
    assert ports.parse_range(str(first)) == (first, first)
    if first <= last:
        assert ports.parse_range(f"{first}-{last}") == (first, last)
    else:
        with pytest.raises(errors.InvalidArgument):
            ports.parse_range(f"{first}-{last}")


@given(st.text(max_size=10) | st.from_regex(r"[0-9٣/tcp-]{0,12}", fullmatch=True))
@example("9" * 5000)
@example("٣")
def test_any_text_is_a_port_or_refused(text: str) -> None:
    with contextlib.suppress(errors.InvalidArgument):
        number, _ = ports.parse_port(text)
        assert 0 <= number <= 65535 and text.partition("/")[0].isascii()
    with contextlib.suppress(errors.InvalidArgument):
        first, last = ports.parse_range(text)
        assert 0 <= first <= last <= 65535 and text.isascii()


@pytest.mark.parametrize("text", ["abc", "90-80", "99999", "80-90-100"])
def test_impossible_host_ports_are_refused_at_create(text: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=f'^invalid port specification: "{text}"$'):
        ports.validate({"80/tcp": [Wanted(host_port=text)]})


def test_a_container_port_is_tcp_where_it_does_not_say() -> None:
    assert ports.parse_port("80") == (80, "tcp")
    assert ports.parse_port("53/UDP") == (53, "udp")


def test_fixed_ports_come_before_random_ones() -> None:
    found = requests(wanted(tcp80=":any", tcp81=":8080", udp53=f"{LOCALHOST}:5300-5310"))
    assert found == ["0.0.0.0:8080-8080->81/tcp", "127.0.0.1:5300-5310->53/udp", "0.0.0.0:0-0->80/tcp"]


def test_a_port_wanted_on_several_addresses_is_the_same_on_all() -> None:
    assert requests(wanted(tcp80=f"{LOCALHOST}:any 10.0.0.1:any")) == ["10.0.0.1,127.0.0.1:0-0->80/tcp"]


def test_publish_all_publishes_what_is_exposed_and_not_published() -> None:
    found = requests(wanted(tcp80=":8080"), "80/tcp", "81/tcp", "53/udp", publish_all=True)
    assert found == ["0.0.0.0:8080-8080->80/tcp", "0.0.0.0:0-0->81/tcp", "0.0.0.0:0-0->53/udp"]


def test_nothing_is_published_by_exposing_alone() -> None:
    assert requests(None, "80/tcp") == []


def test_what_is_wanted_on_another_family_is_left_out() -> None:
    bindings: dict[str, list[Wanted] | None] = {
        "80/tcp": [Wanted(host_ip="::1", host_port="80"), Wanted(host_ip="127.0.0.1", host_port="81")]
    }
    both = ("0.0.0.0", "::")
    shown = {
        versions: [
            request.host_ips
            for request in ports.requests(ports.PortWishes(bindings), default_ips=both, versions=versions)
        ]
        for versions in ((4,), (6,), (4, 6), ())
    }
    assert shown == {(4,): [("127.0.0.1",)], (6,): [("::1",)], (4, 6): [("::1",), ("127.0.0.1",)], (): []}


def test_unknown_protocols_are_refused_as_dockerd_does() -> None:
    with pytest.raises(errors.Internal, match="^unknown protocol$"):
        requests({"80/foo": [Wanted(host_port="80")]})


def test_the_port_map_shows_exposed_ports_as_null() -> None:
    bindings = [PortBinding(protocol="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080)]
    shown = ports.port_map(bindings, ["80/tcp", "99", "80-82/udp"])
    published = [Wanted(host_ip="0.0.0.0", host_port="8080")]
    assert shown == {"80-82/udp": None, "80/tcp": published, "99/tcp": None}


def reserve(allocator: ports.PortAllocator, bindings: dict[str, list[Wanted] | None]) -> ports.Reservation:
    found = ports.requests(ports.PortWishes(bindings), default_ips=("0.0.0.0",))
    return allocator.reserve(found, container_ip="172.17.0.2")


def test_a_reserved_port_is_taken_for_everybody_and_answers_nobody(
    allocator: ports.PortAllocator, free_port: int
) -> None:
    reservation = reserve(allocator, wanted(tcp80=f":{free_port}"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((LOCALHOST, free_port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOCALHOST, free_port), timeout=60)
    reservation.close()
    with socket.socket() as other:
        other.bind((LOCALHOST, free_port))


def test_a_port_with_connections_in_time_wait_is_free(allocator: ports.PortAllocator) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOCALHOST, 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection((LOCALHOST, port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            client.recv(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOCALHOST, port))
    reservation = reserve(allocator, wanted(tcp80=f":{port}"))
    assert [binding.host_port for binding in reservation.bindings] == [port]
    reservation.close()


def test_a_port_of_another_container_is_refused(allocator: ports.PortAllocator, free_port: int) -> None:
    reservation = reserve(allocator, wanted(tcp80=f"{LOCALHOST}:{free_port}"))
    with pytest.raises(
        errors.Internal, match=rf"^Bind for 127\.0\.0\.1:{free_port} failed: port is already allocated$"
    ):
        reserve(allocator, wanted(tcp80=f":{free_port}"))
    reserve(allocator, wanted(udp80=f":{free_port}")).close()
    reservation.close()


def test_a_port_of_another_program_is_refused(allocator: ports.PortAllocator) -> None:
    with socket.socket() as server:
        server.bind((LOCALHOST, 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(
            errors.Internal,
            match=rf"^failed to bind host port for 0\.0\.0\.0:{port}:172\.17\.0\.2:80/tcp: address already in use "
            rf"\(by .*, process {os.getpid()}\)$",
        ):
            reserve(allocator, wanted(tcp80=f":{port}"))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(("address", "wanted_on"), [("127.0.0.1", "127.0.0.1"), ("::1", "::"), ("::", "127.0.0.1")])
def test_who_has_a_port(kind: str, address: str, wanted_on: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as server:
        server.bind((address, 0))
        if kind == "tcp":
            server.listen()
        port = server.getsockname()[1]
        assert holder(kind, wanted_on, port).endswith(f", process {os.getpid()}")
    assert holder(kind, wanted_on, port) == ""


def test_an_address_that_the_host_has_not_is_refused(allocator: ports.PortAllocator) -> None:
    with pytest.raises(errors.Internal, match="192.0.2.1:8080:172.17.0.2:80/tcp: cannot assign requested address$"):
        reserve(allocator, wanted(tcp80="192.0.2.1:8080"))


def test_one_refused_port_gives_the_others_back(allocator: ports.PortAllocator, free_port: int) -> None:
    with pytest.raises(errors.Internal):
        reserve(allocator, wanted(tcp80=f"{LOCALHOST}:{free_port}", tcp81="192.0.2.1:8080"))
    reserve(allocator, wanted(tcp80=f":{free_port}")).close()


def test_a_range_skips_what_is_in_use(allocator: ports.PortAllocator, free_port: int) -> None:
    with socket.socket() as server:
        server.bind((LOCALHOST, free_port))
        server.listen()
        reservation = reserve(allocator, wanted(tcp80=f"{LOCALHOST}:{free_port}-{free_port + 20}"))
    assert free_port < reservation.bindings[0].host_port <= free_port + 20
    reservation.close()


def test_a_range_that_is_used_up_is_refused(allocator: ports.PortAllocator, free_port: int) -> None:
    allocator.take(
        PortBinding(protocol="tcp", container_port=1, host_ip="0.0.0.0", host_port=port)
        for port in (free_port, free_port + 1)
    )
    with pytest.raises(errors.Internal, match="^all ports are allocated$"):
        reserve(allocator, wanted(tcp80=f":{free_port}-{free_port + 1}"))


def test_random_ports_come_from_the_kernels_range_and_rotate(allocator: ports.PortAllocator) -> None:
    first, last = ports.dynamic_range()
    given = []
    for _ in range(3):
        reservation = reserve(allocator, wanted(tcp80=":any"))
        given.append(reservation.bindings[0].host_port)
        reservation.close()
        allocator.free(reservation.bindings)
    assert all(first <= port <= last for port in given)
    assert given == sorted(set(given))


def test_served_ports_listen(allocator: ports.PortAllocator, free_port: int) -> None:
    found = ports.requests(ports.PortWishes(wanted(tcp80=f"{LOCALHOST}:{free_port}")), default_ips=())
    reservation = allocator.reserve(found, container_ip="172.17.0.2", served=(4, 6))
    (listener,) = reservation.sockets.values()
    with socket.create_connection((LOCALHOST, free_port), timeout=60) as client:
        accepted, peer = listener.accept()
        accepted.close()
        assert (peer, client.recv(1)) == (client.getsockname(), b"")
    reservation.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOCALHOST, free_port), timeout=60)
