"""Who reaches what: real packets between the host, containers and another host, on both firewall backends."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.namespaces import NetNS, ip
from harness.sandboxes import QUIET_S, REFUSED, SILENT, Server, ask, inside, send, settle
from harness.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Machine

HOST, OUTSIDE, GATEWAY = "198.51.100.1", "198.51.100.2", "172.17.0.1"


BRIDGED_ARE_FILTERED = "net/bridge/bridge-nf-call-iptables"


def setting(name: str, value: str) -> None:
    Path(f"/proc/sys/{name}").write_text(value)


def has_setting(name: str) -> bool:
    return Path(f"/proc/sys/{name}").exists()


def test_the_host_reaches_published_ports(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080", udp53=":5300")
            with Server(web.netns_fd, 80), Server(web.netns_fd, 53, kind="udp"):
                assert ask("127.0.0.1", 8080) == GATEWAY
                assert ask(HOST, 8080) == HOST
                assert ask(GATEWAY, 8080) == GATEWAY
                assert ask("127.0.0.1", 5300, kind="udp") == GATEWAY
                assert ask(HOST, 5300, kind="udp") == HOST
                assert ask(web.endpoint.ip_address, 80) == GATEWAY
            await networks.release(web.endpoint.container_id)
            assert ask(HOST, 8080) == REFUSED

    machine.run(scenario)


@pytest.mark.parametrize("bridged_are_filtered", ["0", "1"])
def test_containers_reach_each_other_and_published_ports(machine: Machine, bridged_are_filtered: str) -> None:
    if not has_setting(BRIDGED_ARE_FILTERED) and bridged_are_filtered == "1":
        pytest.skip("the kernel has no br_netfilter")

    async def scenario() -> None:
        if has_setting(BRIDGED_ARE_FILTERED):
            setting(BRIDGED_ARE_FILTERED, bridged_are_filtered)
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080", udp53=":5300")
            client = await machine.container(networks, 2)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 53, kind="udp"):
                assert ask(web.endpoint.ip_address, 80, place=client.netns_fd) == client.endpoint.ip_address
                for asker in (client, web):
                    assert ask(HOST, 8080, place=asker.netns_fd) == GATEWAY
                    assert ask(GATEWAY, 8080, place=asker.netns_fd) == GATEWAY
                    assert ask(HOST, 5300, place=asker.netns_fd, kind="udp") == GATEWAY

    machine.run(scenario)


def test_outside_reaches_published_ports_alone(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080", tcp81="127.0.0.1:8081", udp53=":5300")
            with machine.outside.entered():
                ip("route", "add", "172.17.0.0/16", "via", HOST)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81), Server(web.netns_fd, 53, kind="udp"):
                assert ask(HOST, 8080, place=machine.outside) == OUTSIDE
                assert ask(HOST, 5300, place=machine.outside, kind="udp") == OUTSIDE
                assert ask(HOST, 8081, place=machine.outside) == REFUSED
                assert ask(HOST, 80, place=machine.outside) == REFUSED
                assert ask(web.endpoint.ip_address, 80, place=machine.outside, timeout_s=QUIET_S) == SILENT
                assert ask("127.0.0.1", 8081) == GATEWAY

    machine.run(scenario)


def test_published_ports_on_the_containers_own_address(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks(allow_direct_routing=True) as networks:
            web = await machine.container(networks, 1, tcp80=":8080")
            address = web.endpoint.ip_address
            with machine.outside.entered():
                ip("route", "add", "172.17.0.0/16", "via", HOST)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(HOST, 8080, place=machine.outside) == OUTSIDE
                assert ask(address, 80, place=machine.outside) == OUTSIDE
                assert ask(address, 81, place=machine.outside, timeout_s=QUIET_S) == SILENT
            await networks.release(web.endpoint.container_id)
            assert address not in machine.rules()

    machine.run(scenario)


def nft(commands: str) -> None:
    subprocess.run(["nft", commands], check=True)


def test_packets_with_the_mark_that_bridges_accept(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks(accept_mark="0x1/0xff") as networks:
            web = await machine.container(networks, 1)
            with machine.outside.entered():
                ip("route", "add", "172.17.0.0/16", "via", HOST)
            marking = (
                "table ip host {\nchain prerouting {\ntype filter hook prerouting priority mangle\n"
                "tcp dport 80 meta mark set 0x101\ntcp dport 81 meta mark set 0x102\n}\n}\n"
            )
            nft(marking)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(web.endpoint.ip_address, 80, place=machine.outside) == OUTSIDE
                assert ask(web.endpoint.ip_address, 81, place=machine.outside, timeout_s=QUIET_S) == SILENT

    machine.run(scenario)


def route_loopback_to(gateway: str, interface: str) -> None:
    """Make the namespace that the caller is in send what is for 127.0.0.1 to another host."""
    ip("route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    ip("route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local")
    setting(f"net/ipv4/conf/{interface}/route_localnet", "1")
    ip("route", "add", "127.0.0.0/8", "via", gateway)


def test_ports_of_the_hosts_loopback_are_not_reached_by_forged_destinations(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, udp81="127.0.0.1:8081")
            with machine.outside.entered():
                route_loopback_to(HOST, "wire")
            # The kernel would drop such packets anyway: only a host that routes them shows what the rules do.
            setting("net/ipv4/conf/uplink/route_localnet", "1")
            with Server(web.netns_fd, 81, kind="udp") as published, Server(None, 7777, kind="udp") as control:
                send("127.0.0.1", 8081, place=machine.outside, source=OUTSIDE)
                send("127.0.0.1", 7777, place=machine.outside, source=OUTSIDE)
                assert control.heard.wait(LIMIT_S)
                assert not published.heard.is_set()
                assert ask("127.0.0.1", 8081, kind="udp") == GATEWAY

    machine.run(scenario)


def test_containers_do_not_reach_the_hosts_loopback(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            client = await machine.container(networks, 1)
            with inside(client.netns_fd):
                route_loopback_to(GATEWAY, "eth0")
            source = client.endpoint.ip_address
            with (
                Server(None, 7777, kind="udp", address="127.0.0.1") as private,
                Server(None, 7778, kind="udp") as control,
            ):
                send("127.0.0.1", 7777, place=client.netns_fd, source=source)
                send(GATEWAY, 7778, place=client.netns_fd, source=source)
                assert control.heard.wait(LIMIT_S)
                assert not private.heard.is_set()

    machine.run(scenario)


def test_containers_go_out_as_the_host(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            client = await machine.container(networks, 1)
            with Server(machine.outside, 80), Server(machine.outside, 53, kind="udp"):
                assert ask(OUTSIDE, 80, place=client.netns_fd) == HOST
                assert ask(OUTSIDE, 53, place=client.netns_fd, kind="udp") == HOST

    machine.run(scenario)


def test_without_masquerade_containers_go_out_as_themselves(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks(ip_masq=False) as networks:
            client = await machine.container(networks, 1)
            with machine.outside.entered():
                ip("route", "add", "172.17.0.0/16", "via", HOST)
            with Server(machine.outside, 80):
                assert ask(OUTSIDE, 80, place=client.netns_fd) == client.endpoint.ip_address

    machine.run(scenario)


def test_without_icc_containers_reach_each_other_by_published_ports_alone(machine: Machine) -> None:
    if not has_setting(BRIDGED_ARE_FILTERED):
        pytest.skip("the kernel has no br_netfilter")

    async def scenario() -> None:
        setting(BRIDGED_ARE_FILTERED, "1")
        async with machine.networks(icc=False) as networks:
            web = await machine.container(networks, 1, tcp80=":8080")
            client = await machine.container(networks, 2)
            with Server(web.netns_fd, 80), Server(web.netns_fd, 81):
                assert ask(web.endpoint.ip_address, 81, place=client.netns_fd, timeout_s=QUIET_S) == SILENT
                assert ask(HOST, 8080, place=client.netns_fd) == GATEWAY

    machine.run(scenario)


def test_a_udp_flow_from_before_reaches_the_container_that_publishes_its_port(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            with machine.outside.entered():
                client = socket.socket(type=socket.SOCK_DGRAM)
            with client:
                client.settimeout(LIMIT_S)
                client.connect((HOST, 5300))
                with Server(None, 5300, kind="udp"):
                    client.send(b"?")
                    assert client.recv(100).decode() == OUTSIDE
                web = await machine.container(networks, 1, udp53=":5300")
                with Server(web.netns_fd, 53, kind="udp") as server:
                    for _ in range(300):  # old flows are forgotten just after the start
                        client.send(b"?")
                        if server.heard.wait(0.1):
                            break
                    assert client.recv(100).decode() == OUTSIDE

    machine.run(scenario)


@pytest.mark.parametrize("was_on", ["0", "1"])
def test_the_daemon_opens_forwarding_for_nobody_else(machine: Machine, was_on: str) -> None:
    """A third host behind this one is forwarded to only where the host forwarded before the daemon came."""

    async def scenario() -> None:
        setting("net/ipv4/ip_forward", was_on)
        ip("link", "add", "third0", "type", "veth", "peer", "name", "third1", "netns", third.path)
        ip("address", "add", "203.0.113.1/24", "dev", "third0")
        ip("link", "set", "third0", "up")
        with third.entered():
            ip("address", "add", "203.0.113.2/24", "dev", "third1")
            ip("link", "set", "third1", "up")
            ip("route", "add", "default", "via", "203.0.113.1")
            settle("third1")
        settle("third0")
        with machine.outside.entered():
            ip("route", "add", "203.0.113.0/24", "via", HOST)
        for _ in range(2):  # the next daemon finds forwarding on, and must still know whose doing it was
            async with machine.networks() as networks:
                client = await machine.container(networks, 1)
                with Server(third, 80), Server(machine.outside, 80):
                    if was_on == "1":
                        assert ask("203.0.113.2", 80, place=machine.outside) == OUTSIDE
                    else:
                        assert ask("203.0.113.2", 80, place=machine.outside, timeout_s=QUIET_S) == SILENT
                    assert ask(OUTSIDE, 80, place=client.netns_fd) == HOST

    third = NetNS()
    machine.run(scenario)
    third.close()
