"""The service against the kernel: what containers get, what is refused, what is left after failure, kill and flush."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.namespaces import ip
from harness.sandboxes import REFUSED, Server, ask, inside
from harness.waiting import LIMIT_S
from lightship.engine import errors
from lightship.engine.filters import Filters
from lightship.engine.networks import ports

if TYPE_CHECKING:
    from conftest import Machine

HOST = "198.51.100.1"


def identifier(number: int) -> str:
    return f"{number:02x}" * 32


async def settled(machine: Machine, wanted: dict[str, set[str]]) -> dict[str, set[str]]:
    """The state once links whose namespace has ended are gone, or the state that would not become the wanted one."""
    deadline = time.monotonic() + LIMIT_S
    while (state := machine.state()) != wanted and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)  # the kernel tells nobody when it is done
    return state


def test_a_container_gets_address_route_and_loopback(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks(mtu=1400) as networks:
            sandbox = await machine.container(networks, 1)
            with inside(sandbox.netns_fd):
                links, addresses, routes = ip("-d", "link"), ip("-o", "address"), ip("route")
                ipv6_off = [
                    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").read_text().strip()
                    for name in ("eth0", "default", "lo")
                ]
        assert re.findall(r"^\d+: (\w+)", links, re.M) == ["lo", "eth0"]
        assert re.search(r"eth0@.*<[A-Z,_]*UP[A-Z,_]*LOWER_UP.* mtu 1400 ", links)
        assert "02:42:ac:11:00:02" in links
        assert "inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0" in addresses
        assert "127.0.0.1/8" in addresses
        assert "fe80" not in addresses
        assert routes.splitlines()[0].split() == ["default", "via", "172.17.0.1", "dev", "eth0"]
        assert ipv6_off == ["1", "0", "0"]

    machine.run(scenario)


def test_none_has_its_loopback_alone_and_host_has_no_namespace(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            none = await machine.container(networks, 1, mode="none", tcp80=":8080")
            with inside(none.netns_fd):
                assert [line.split(":")[1].strip() for line in ip("-o", "link", "show", "up").splitlines()] == ["lo"]
            host = await machine.container(networks, 2, mode="host", tcp80=":8080")
            assert host.netns_fd is None
            assert (host.endpoint.ip_address, host.record.bindings) == ("", ())
            assert ask(HOST, 8080) == REFUSED
            await networks.release(identifier(1))
            await networks.release(identifier(1))
        assert machine.events == [
            ("network connect", "none", "01"),
            ("network connect", "host", "02"),
            ("network disconnect", "none", "01"),
        ]

    machine.run(scenario)


def test_ports_are_reported_as_docker_shows_them(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            sandbox = await machine.container(
                networks, 1, exposed=("99/tcp",), tcp80=":8080", udp53="127.0.0.1:5300-5310", tcp81=":"
            )
        shown = ports.port_map(sandbox.record.bindings, sandbox.record.exposed)
        pairs = {port: [(b.host_ip, b.host_port) for b in found or ()] for port, found in shown.items()}
        random = pairs.pop("81/tcp")
        assert pairs == {
            "80/tcp": [("0.0.0.0", "8080"), ("::", "8080")],
            "53/udp": [("127.0.0.1", "5300")],
            "99/tcp": [],
        }
        assert int(random[0][1]) in range(*ports.dynamic_range())

    machine.run(scenario)


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        (":8080", "Bind for 0.0.0.0:8080 failed: port is already allocated"),
        ("127.0.0.1:8080", "Bind for 0.0.0.0:8080 failed: port is already allocated"),
        (":7777", "failed to bind host port for 0.0.0.0:7777:172.17.0.3:80/tcp: address already in use (by NAME)"),
        (
            "192.0.2.9:80",
            "failed to bind host port for 192.0.2.9:80:172.17.0.3:80/tcp: cannot assign requested address",
        ),
    ],
)
def test_a_refused_port_is_named_and_nothing_remains(machine: Machine, port: str, reason: str) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            await machine.container(networks, 1, tcp80=":8080")
            before = machine.state()
            with socket.create_server(("0.0.0.0", 7777)), pytest.raises(errors.Internal) as refused:
                await machine.container(networks, 2, tcp81=":9000", tcp80=port)
            assert re.fullmatch(
                "failed to set up container networking: driver failed programming external connectivity on endpoint "
                rf"c2 \([0-9a-f]{{64}}\): {re.escape(reason).replace('NAME', '.*, process [0-9]+')}",
                str(refused.value),
            )
            assert machine.state() == before
            assert networks.sandbox(identifier(2)) is None
            after = await machine.container(networks, 3, tcp80=":9000")
            assert after.endpoint.ip_address == "172.17.0.3"
        assert [event for event in machine.events if event[2] == "02"] == []

    machine.run(scenario)


def test_a_host_without_ipv6_publishes_on_ipv4_alone(machine: Machine) -> None:
    async def scenario() -> None:
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080")
            assert [one.host_ip for one in web.record.bindings] == ["0.0.0.0"]

    machine.run(scenario)


def test_a_failing_firewall_undoes_the_rest(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightship.engine.networks.iptables import Iptables
    from lightship.engine.networks.nftables import Nftables

    def refuse(*_: object) -> None:
        raise errors.Internal("no rules today")

    async def scenario() -> None:
        async with machine.networks() as networks:
            before = machine.state()
            with monkeypatch.context() as broken:
                for backend in (Iptables, Nftables):
                    broken.setattr(backend, "add", refuse)
                with pytest.raises(errors.Internal, match=r"external connectivity on endpoint c1 .*: no rules today$"):
                    await machine.container(networks, 1, tcp80=":8080")
            assert await settled(machine, before) == before
            sandbox = await machine.container(networks, 2, tcp80=":8080")
            assert sandbox.endpoint.ip_address == "172.17.0.2"

    machine.run(scenario)


def test_the_next_daemon_keeps_what_runs_and_removes_what_does_not(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            kept = await machine.container(networks, 1, tcp80=":8080")
            dead = await machine.container(networks, 2, tcp80=":8081")
            network_ids = [network.id for network in networks.list(Filters())]
        dead.close()
        with Server(kept.netns_fd, 80):
            assert ask("127.0.0.1", 8080) == "172.17.0.1"  # no daemon is there
            async with machine.networks() as networks:
                assert ask("127.0.0.1", 8080) == "172.17.0.1"  # it does not know yet who runs
                await networks.restore({identifier(1)})
                assert [network.id for network in networks.list(Filters())] == network_ids
                assert networks.sandbox(identifier(1)) == kept.record
                assert networks.sandbox(identifier(2)) is None
                assert ask("127.0.0.1", 8080) == "172.17.0.1"
                assert "8081" not in machine.rules()
                with pytest.raises(errors.Internal, match="port is already allocated"):
                    await machine.container(networks, 3, tcp80=":8080")
                again = await machine.container(networks, 4, tcp80=":8081")
                assert again.endpoint.ip_address == "172.17.0.3"
                attached = networks.inspect("bridge").containers
                assert attached is not None
                assert set(attached) == {identifier(1), identifier(4)}
                await networks.release(identifier(1))
                assert ask("127.0.0.1", 8080) == REFUSED

    machine.run(scenario)


def test_flushed_rules_come_back_with_the_next_change(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080")
            await machine.container(networks, 2, tcp80=":8081")
            with Server(web.netns_fd, 80):
                machine.flush()
                assert ask("127.0.0.1", 8080) == REFUSED
                await networks.release(identifier(2))
                assert ask("127.0.0.1", 8080) == "172.17.0.1"
                assert "8081" not in machine.rules()

    machine.run(scenario)


def test_fifty_at_once_leave_nothing(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            before = machine.state()

            async def live(number: int) -> str:
                sandbox = await machine.container(networks, number, tcp80=":", udp53=":", tcp81=":9000-9100")
                address = sandbox.endpoint.ip_address
                await asyncio.sleep(0)
                await networks.release(identifier(number))
                sandbox.close()
                return address

            addresses = await asyncio.gather(*(live(number) for number in range(1, 51)))
            assert len(addresses) == 50
            assert await settled(machine, before) == before
            assert (await machine.container(networks, 60)).endpoint.ip_address == "172.17.0.2"

    machine.run(scenario)


def test_a_cancelled_start_leaves_nothing(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            before = machine.state()
            for turns in range(1, 12):
                start = asyncio.create_task(machine.container(networks, 1, tcp80=":8080"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                start.cancel()
                try:
                    await start
                except asyncio.CancelledError:
                    continue
                await networks.release(identifier(1))
                machine.sandboxes.pop().close()
            assert await settled(machine, before) == before
            assert (await machine.container(networks, 2, tcp80=":8080")).endpoint.ip_address == "172.17.0.2"

    machine.run(scenario)


def test_stopping_lets_go_of_namespaces_and_threads_but_not_of_the_bridge(machine: Machine) -> None:
    async def scenario() -> None:
        own, before = os.readlink("/proc/thread-self/ns/net"), len(os.listdir("/proc/self/fd"))
        async with machine.networks() as networks:
            (await machine.container(networks, 1, mode="none")).close()
            await networks.release(identifier(1))
        namespaces = {os.readlink(f"/proc/self/task/{task}/ns/net") for task in os.listdir("/proc/self/task")}
        assert namespaces <= {own, os.readlink("/proc/self/ns/net")}
        assert len(os.listdir("/proc/self/fd")) == before
        assert "docker0" in ip("-o", "link")

    machine.run(scenario)


def test_the_bridge_avoids_networks_that_the_host_reaches(machine: Machine) -> None:
    async def scenario() -> None:
        ip("route", "add", "172.17.4.0/24", "dev", "uplink")
        async with machine.networks() as networks:
            assert (await machine.container(networks, 1)).endpoint.ip_address == "172.18.0.2"
        ip("route", "add", "172.18.4.0/24", "dev", "uplink")
        async with machine.networks() as networks:  # what it once chose, it keeps
            assert (await machine.container(networks, 1)).endpoint.ip_address == "172.18.0.2"

    machine.run(scenario)


def test_the_bridges_address_and_range_are_configurable(machine: Machine) -> None:
    async def scenario() -> None:
        wanted = {"bip": "10.9.0.5/24", "fixed_cidr": "10.9.0.128/25", "default_gateway": "10.9.0.9"}
        async with machine.networks(**wanted) as networks:
            endpoint = (await machine.container(networks, 1)).endpoint
            assert (endpoint.ip_address, endpoint.gateway, endpoint.prefix_len) == ("10.9.0.128", "10.9.0.9", 24)
            shown = networks.inspect("bridge")
            assert shown.ipam.config is not None
            pool = shown.ipam.config[0]
            assert (pool.subnet, pool.gateway, pool.ip_range) == ("10.9.0.0/24", "10.9.0.5", "10.9.0.128/25")
            assert networks.host_gateway_ips == ("10.9.0.5",)
            await networks.release(endpoint.container_id)
        async with machine.networks(bip="10.9.1.1/24") as networks:  # another one takes its place
            assert (await machine.container(networks, 1)).endpoint.ip_address == "10.9.1.2"
            shown_addresses = ip("-o", "-4", "address", "show", "docker0")
            assert "10.9.1.1/24" in shown_addresses and "10.9.0.5" not in shown_addresses

    machine.run(scenario)


def test_the_bridges_ipv6_is_configurable(machine: Machine) -> None:
    async def scenario() -> None:
        wanted = {"bip6": "fd00:9::5/64", "fixed_cidr_v6": "fd00:9::8000/113", "default_gateway_v6": "fd00:9::9"}
        async with machine.networks(ipv6=True, **wanted) as networks:
            endpoint = (await machine.container(networks, 1)).endpoint
            shown = (endpoint.ipv6_address, endpoint.ipv6_gateway, endpoint.ipv6_prefix_len)
            assert shown == ("fd00:9::8000", "fd00:9::9", 64)
            assert "fd00:9::5/64" in ip("-o", "-6", "address", "show", "docker0")

    machine.run(scenario)


def test_the_fixed_range_alone_is_the_subnet(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks(ipv6=True, fixed_cidr="10.9.2.0/24", fixed_cidr_v6="fd00:9:2::/64") as networks:
            endpoint = (await machine.container(networks, 1)).endpoint
            assert (endpoint.ip_address, endpoint.ipv6_address) == ("10.9.2.2", "fd00:9:2::2")

    machine.run(scenario)


def test_a_bridge_of_the_users_own(machine: Machine) -> None:
    async def scenario() -> None:
        with pytest.raises(errors.Internal, match="non default name br9 must be created manually"):
            async with machine.networks(name="br9"):
                pass
        ip("link", "add", "br9", "type", "bridge")
        ip("address", "add", "10.9.3.1/24", "dev", "br9")
        async with machine.networks(name="br9") as networks:
            assert (await machine.container(networks, 1)).endpoint.ip_address == "10.9.3.2"
            shown = networks.inspect("bridge")
            assert shown.options is not None
            assert shown.options["com.docker.network.bridge.name"] == "br9"

    machine.run(scenario)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bip": "10.9.0.1/24", "fixed_cidr": "10.8.0.0/25"}, "is not within the bridge's subnet"),
        ({"bip": "10.9.0.1/24", "default_gateway": "10.8.0.1"}, "is not within the bridge's subnet"),
        ({"bip": "fd00::1/64"}, "it is not IPv4"),
        ({"fixed_cidr": "x"}, "invalid fixed-cidr 'x'"),
        ({"ipv6": True, "bip6": "10.0.0.1/8"}, "it is not IPv6"),
    ],
)
def test_what_the_bridge_cannot_have(machine: Machine, options: dict[str, object], problem: str) -> None:
    async def scenario() -> None:
        with pytest.raises(errors.InvalidArgument, match=problem):
            async with machine.networks(**options):
                pass

    machine.run(scenario)


@pytest.mark.parametrize("userland_proxy", [True, False])
def test_without_iptables_there_are_no_rules(machine: Machine, userland_proxy: bool) -> None:
    """Published ports are the shim's to serve then, where it may."""

    async def scenario() -> None:
        before = machine.state()["rules"]
        async with machine.networks(iptables=False, userland_proxy=userland_proxy) as networks:
            web = await machine.container(networks, 1, tcp80=":8080", udp53="127.0.0.1:5300")
            assert machine.state()["rules"] == before
            served = {name: target for name, target in web.served.items() if "::" not in name}
            assert set(web.sockets) >= {"tcp 0.0.0.0 8080", "udp 127.0.0.1 5300"}
            assert served == (
                {"tcp 0.0.0.0 8080": ("172.17.0.2", 80), "udp 127.0.0.1 5300": ("172.17.0.2", 53)}
                if userland_proxy
                else {}
            )

    machine.run(scenario)


@pytest.mark.parametrize("userland_proxy", [True, False])
def test_ipv6_ports_of_a_container_without_ipv6(machine: Machine, userland_proxy: bool) -> None:
    async def scenario() -> None:
        async with machine.networks(userland_proxy=userland_proxy) as networks:
            web = await machine.container(networks, 1, tcp80=":8080", tcp81="::1:8081")
            shown = [(one.host_ip, one.host_port) for one in web.record.bindings]
            if not userland_proxy:
                assert (shown, web.served) == ([("0.0.0.0", 8080)], {})
                return
            assert shown == [("0.0.0.0", 8080), ("::", 8080), ("::1", 8081)]
            assert web.served == {"tcp :: 8080": ("172.17.0.2", 80), "tcp ::1 8081": ("172.17.0.2", 81)}
            assert "8081" not in machine.rules()

    machine.run(scenario)
