"""Networks of users against the kernel, with both firewalls: isolation, names, rules that come back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.namespaces import ip
from harness.sandboxes import QUIET_S, REFUSED, SILENT, Server, ask, inside
from harness.waiting import LIMIT_S
from lightship.engine.networks.network import EndpointRequest
from lightship.openapi.types.networks import IPAM, IPAMConfig, NetworkCreateRequest

if TYPE_CHECKING:
    from conftest import Machine
    from lightship.engine.networks.networks import Networks

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"


async def make(networks: Networks, name: str, *, internal: bool = False, **options: str) -> str:
    bridge = {f"com.docker.network.bridge.{option}": value for option, value in options.items()}
    request = NetworkCreateRequest(name=name, internal=internal, options=bridge)
    return (await networks.create(request)).id


def question(name: str, kind: int = 1, *, number: int = 7, opt: int = 0) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    extra = b"\x00" + struct.pack("!HHIH", 41, opt, 0, 0) if opt else b""
    header = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 1 if opt else 0)
    return header + labels + b"\x00" + struct.pack("!HH", kind, 1) + extra


def resolve(place: int | None, name: str, kind: int = 1, *, timeout_s: float = LIMIT_S) -> tuple[int, int, bytes]:
    """Ask 127.0.0.11 in a namespace; return code, number of answers and the whole message."""
    with inside(place), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(timeout_s)
        client.connect(("127.0.0.11", 53))
        client.send(question(name, kind))
        answer = client.recv(65535)
    _, flags, _, answers, _, _ = struct.unpack_from("!HHHHHH", answer)
    return flags & 0xF, answers, answer


async def resolved(place: int | None, name: str) -> tuple[int, int, bytes]:
    return await asyncio.to_thread(resolve, place, name)


def is_closed(address: str, port: int, place: int | None) -> bool:
    try:
        return ask(address, port, place=place, timeout_s=QUIET_S) in (SILENT, REFUSED)
    except OSError:
        return True  # there is no route


def test_networks_are_apart_and_internal_ones_are_closed(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            before = machine.state()
            await make(networks, "one")
            await make(networks, "two")
            await make(networks, "closed", internal=True)
            web = await machine.container(networks, 1, mode="one", tcp80=":8080")
            places = {name: await machine.container(networks, number, mode=name)
                      for number, name in enumerate(("one", "two", "closed", "default"), start=2)}  # fmt: skip
            address = web.endpoint.ip_address
            with Server(web.netns_fd, 80):
                assert ask(address, 80, place=places["one"].netns_fd) == places["one"].endpoint.ip_address
                for name in ("two", "closed", "default"):
                    assert is_closed(address, 80, places[name].netns_fd)
                assert is_closed(HOST, 8080, places["closed"].netns_fd)
                for name in ("one", "two", "default"):
                    assert ask(HOST, 8080, place=places[name].netns_fd) not in (SILENT, REFUSED)
            for number in range(1, 6):
                await networks.release(f"{number:02x}" * 32)
            for name in ("one", "two", "closed"):
                await networks.remove(name)
            for sandbox in machine.sandboxes:
                sandbox.close()
            for _ in range(100):
                if machine.state() == before:
                    break
                await asyncio.sleep(0.02)
            assert machine.state() == before

    machine.run(scenario)


def test_neighbours_without_icc(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "shy", enable_icc="false")
            web = await machine.container(networks, 1, mode="shy", tcp80=":8080")
            other = await machine.container(networks, 2, mode="shy")
            with Server(web.netns_fd, 80):
                assert ask(HOST, 8080, place=other.netns_fd) not in (REFUSED, SILENT)
                assert ask(HOST, 8080, place=machine.outside) == "198.51.100.2"

    machine.run(scenario)


def test_routed_ports_are_open_without_translation(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "routed", gateway_mode_ipv4="routed")
            web = await machine.container(networks, 1, mode="routed", tcp80=":8080")
            address = web.endpoint.ip_address
            with machine.outside.entered():
                ip("route", "add", "172.18.0.0/24", "via", HOST)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(address, 80, place=machine.outside) == "198.51.100.2"
                assert ask(address, 81, place=machine.outside, timeout_s=QUIET_S) == SILENT
            # IPv6 is not routed: there the shim serves the port of the host, as dockerd's proxy would.
            assert [(one.host_ip, one.host_port) for one in web.record.bindings] == [("0.0.0.0", 0), ("::", 8080)]

    machine.run(scenario)


@pytest.mark.parametrize("mode", ["nat", "nat-unprotected"])
def test_what_is_not_published(machine: Machine, mode: str) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one", gateway_mode_ipv4=mode)
            web = await machine.container(networks, 1, mode="one", tcp80=":8080")
            with machine.outside.entered():
                ip("route", "add", "172.18.0.0/24", "via", HOST)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(HOST, 8080, place=machine.outside) == OUTSIDE
                if mode == "nat-unprotected":
                    assert ask(web.endpoint.ip_address, 81, place=machine.outside) == OUTSIDE
                else:
                    assert ask(web.endpoint.ip_address, 81, place=machine.outside, timeout_s=QUIET_S) == SILENT

    machine.run(scenario)


@pytest.mark.parametrize("trusted", ["other0:uplink", "other0", 'a b:"}'])
def test_links_that_are_trusted(machine: Machine, trusted: str) -> None:
    """From them, published ports are reached by the containers' own addresses."""

    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one", trusted_host_interfaces=trusted)
            web = await machine.container(networks, 1, mode="one", tcp80=":8080")
            with machine.outside.entered():
                ip("route", "add", "172.18.0.0/24", "via", HOST)
            address = web.endpoint.ip_address
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(HOST, 8080, place=machine.outside) == OUTSIDE
                if "uplink" in trusted:
                    assert ask(address, 80, place=machine.outside) == OUTSIDE
                else:
                    assert ask(address, 80, place=machine.outside, timeout_s=QUIET_S) == SILENT
                assert ask(address, 81, place=machine.outside, timeout_s=QUIET_S) == SILENT
            await networks.release(web.endpoint.container_id)
            assert address not in machine.rules()

    machine.run(scenario)


@pytest.mark.parametrize("mode", ["nat", "isolated"])
def test_internal_networks(machine: Machine, mode: str) -> None:
    """Neighbours reach each other; nobody comes in or goes out. Isolated, not even the host is there."""

    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one", internal=True, gateway_mode_ipv4=mode)
            web = await machine.container(networks, 1, mode="one", tcp80=":8080")
            other = await machine.container(networks, 2, mode="one")
            address = web.endpoint.ip_address
            with machine.outside.entered():
                ip("route", "add", "172.18.0.0/24", "via", HOST)
            with inside(other.netns_fd):  # a container that makes itself a way out
                ip("route", "add", "default", "dev", "eth0")
            link = f"br-{networks.find('one').id[:12]}"
            with Server(web.netns_fd, 80), Server(machine.outside, 80):
                assert ask(address, 80, place=other.netns_fd) == other.endpoint.ip_address
                assert ask(address, 80, place=machine.outside, timeout_s=QUIET_S) in (SILENT, REFUSED)
                assert ask(HOST, 8080) == REFUSED
                assert is_closed(OUTSIDE, 80, other.netns_fd)
                assert ("172.18.0.1" in ip("-o", "address", "show", link)) == (mode == "nat")

    machine.run(scenario)


def test_ipv6_by_rules(machine: Machine) -> None:
    """Out as the host, in by published ports alone, and not from another network."""

    async def scenario() -> None:
        with machine.outside.entered():
            ip("-6", "address", "add", "fd00:77::2/64", "dev", "wire", "nodad")
            ip("-6", "route", "add", "fd00:78::/64", "via", "fd00:77::1")
        ip("-6", "address", "add", "fd00:77::1/64", "dev", "uplink", "nodad")
        async with machine.networks() as networks:
            pool = IPAM(config=[IPAMConfig(subnet="fd00:78::/64")])
            await networks.create(NetworkCreateRequest(name="six", enable_ipv6=True, ipam=pool))
            await networks.create(NetworkCreateRequest(name="other", enable_ipv6=True))
            web = await machine.container(networks, 1, mode="six", tcp80=":8080")
            other = await machine.container(networks, 2, mode="other")
            address = web.endpoint.ipv6_address
            with Server(web.netns_fd, 80, address="::"), Server(web.netns_fd, 81, address="::"):
                assert ask("fd00:77::1", 8080, place=machine.outside) == "fd00:77::2"
                assert ask(address, 80, place=machine.outside, timeout_s=QUIET_S) == SILENT
                assert ask(address, 81, place=other.netns_fd, timeout_s=QUIET_S) == SILENT
                assert ask("fd00:77::1", 8080, place=other.netns_fd) not in (SILENT, REFUSED)
            with Server(machine.outside, 80, address="::"):
                assert ask("fd00:77::2", 80, place=web.netns_fd) == "fd00:77::1"

    machine.run(scenario)


def test_names_and_their_absence(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one")
            first = await machine.container(networks, 1, mode="one")
            await machine.container(networks, 2, mode="one")
            assert (await resolved(first.netns_fd, "C2"))[:2] == (0, 1)
            code, answers, answer = await asyncio.to_thread(resolve, first.netns_fd, "c2", 28)
            assert (code, answers) == (0, 0), "the other family is an empty answer"
            assert socket.inet_aton("172.18.0.3") in (await resolved(first.netns_fd, "c2.one"))[2]
            _, _, answer = await asyncio.to_thread(resolve, first.netns_fd, "2.0.18.172.in-addr.arpa", 12)
            assert b"\x02c1\x03one" in answer
            await networks.release("02" * 32)
            assert (await resolved(first.netns_fd, "c1"))[:2] == (0, 1)

    machine.run(scenario)


def test_over_tcp_and_with_many_addresses(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one")
            request = EndpointRequest("one", aliases=("all",))
            sandboxes = []
            for number in range(1, 41):
                sandboxes.append(await networks.allocate(f"{number:02x}" * 32, [request], name=f"c{number}"))
            machine.sandboxes += sandboxes
            place = sandboxes[0].netns_fd
            code, answers, answer = await resolved(place, "all")
            assert (code, answer[2] & 0x02) == (0, 0x02) and answers < 40 and len(answer) <= 512
            assert len({(await resolved(place, "all"))[2][-4:] for _ in range(10)}) > 1, "they take turns"
            with inside(place), socket.create_connection(("127.0.0.11", 53), timeout=LIMIT_S) as client:
                data = question("all")
                client.sendall(struct.pack("!H", len(data)) + data)
                whole = await asyncio.to_thread(client.recv, 65535)
            assert struct.unpack_from("!H", whole, 2 + 6)[0] == 40
            with inside(place), socket.socket(type=socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.11", 53))
                client.send(question("all", opt=4096))
                assert struct.unpack_from("!H", await asyncio.to_thread(client.recv, 65535), 6)[0] == 40

    machine.run(scenario)


def test_other_names_are_forwarded(machine: Machine, tmp_path: Path) -> None:
    """A nameserver that the container's user chose is asked from the container, by many at once."""

    async def scenario() -> None:
        from lightship.engine.networks.files import Upstream

        async with machine.networks() as networks:
            await make(networks, "one")
            server = await machine.container(networks, 1, mode="one")
            upstream = Upstream(((server.endpoint.ip_address, False),), ndots=False)
            asker = await networks.allocate("02" * 32, [EndpointRequest("one")], name="c2", upstream=upstream)
            machine.sandboxes.append(asker)
            with inside(server.netns_fd):
                nameserver = socket.socket(type=socket.SOCK_DGRAM)
                nameserver.bind((server.endpoint.ip_address, 53))
            with inside(asker.netns_fd):
                client = socket.socket(type=socket.SOCK_DGRAM)
                client.connect(("127.0.0.11", 53))
            for one in (nameserver, client):
                one.settimeout(LIMIT_S)
                one.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE: nothing is to be lost here

            def exchange() -> set[int]:
                """All questions are out before the first answer."""
                for number in range(1000):
                    client.send(question(f"n{number}.example", number=number))
                asked = [nameserver.recvfrom(4096) for _ in range(1000)]
                for data, source in asked:
                    nameserver.sendto(data[:2] + b"\x81\x83" + data[4:], source)  # NXDOMAIN
                return {struct.unpack("!HH", client.recv(4096)[:4])[0] for _ in range(1000)}

            with nameserver, client:
                assert await asyncio.to_thread(exchange) == set(range(1000))

    machine.run(scenario)


def test_names_change_at_once(machine: Machine) -> None:
    """From the answer to whoever made the change on, whatever is asked in between is right."""

    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one")
            asker = await machine.container(networks, 1, mode="one")
            for _ in range(20):
                other = await machine.container(networks, 2, mode="one")
                assert (await resolved(asker.netns_fd, "c2"))[1] == 1
                await networks.release(other.endpoint.container_id)
                other.close()
                assert (await resolved(asker.netns_fd, "c2"))[1] == 0

    machine.run(scenario)


def test_the_resolver_is_started_again_where_it_dies(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one")
            first = await machine.container(networks, 1, mode="one")
            assert (await resolved(first.netns_fd, "c1"))[:2] == (0, 1)
            # A process in the namespace stands for the container.
            with inside(first.netns_fd):
                process = await asyncio.create_subprocess_exec("sleep", "100")
            networks.set_pids(lambda container_id: process.pid)
            os.kill(resolver_pid(machine), signal.SIGKILL)
            for _ in range(200):
                try:
                    answer = await asyncio.to_thread(resolve, first.netns_fd, "c1", timeout_s=0.2)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
            process.kill()
            await process.wait()
            assert answer[:2] == (0, 1)

    machine.run(scenario)


def resolver_pid(machine: Machine) -> int:
    """The process that listens on the resolver's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.connect(str(machine.folder / "run/resolver/resolver.sock"))
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def test_reloading_puts_flushed_rules_back(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await make(networks, "one")
            web = await machine.container(networks, 1, mode="one", tcp80=":8080")
            with Server(web.netns_fd, 80):
                machine.flush()
                assert ask("127.0.0.1", 8080) == REFUSED
                networks.reload()
                for _ in range(100):
                    if ask("127.0.0.1", 8080) != REFUSED:
                        break
                    await asyncio.sleep(0.02)
                assert ask("127.0.0.1", 8080) == "172.18.0.1"

    machine.run(scenario)


def test_networks_are_made_again_after_a_reboot(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            pool = IPAM(config=[IPAMConfig(subnet="10.9.0.0/24")])
            await networks.create(NetworkCreateRequest(name="kept", ipam=pool))
            link = f"br-{networks.find('kept').id[:12]}"
        ip("link", "del", link)
        machine.flush()
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, mode="kept", tcp80=":8080")
            assert web.endpoint.ip_address == "10.9.0.2"
            with Server(web.netns_fd, 80):
                assert ask("127.0.0.1", 8080) == "10.9.0.1"

    machine.run(scenario)
