"""Published ports that no rule of the firewall carries: IPv6 to containers without it, ::1, an engine without rules."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from harness.docker import Docker
from harness.engine import HOST_ADDRESS, ON_DOCKERD, Engine
from harness.http import Api
from harness.waiting import wait_for
from harness.web import WEB, fetch

Sleeper = Callable[..., str]
GREETING = "root:x:0:"
IPV6_ADDRESS = "fd00:98::1"


@pytest.fixture
def ipv6_address(engine: Engine) -> Iterator[str]:
    """An IPv6 address of the host, which the outside reaches."""
    with engine.netns.entered():
        subprocess.run(["ip", "-6", "address", "add", f"{IPV6_ADDRESS}/64", "dev", "uplink", "nodad"], check=True)
    with engine.outside.entered():
        subprocess.run(["ip", "-6", "address", "add", "fd00:98::2/64", "dev", "wire", "nodad"], check=True)
    yield IPV6_ADDRESS
    with engine.netns.entered():
        subprocess.run(["ip", "-6", "address", "del", f"{IPV6_ADDRESS}/64", "dev", "uplink"], check=True)
    with engine.outside.entered():
        subprocess.run(["ip", "-6", "address", "del", "fd00:98::2/64", "dev", "wire"], check=True)


def test_ipv6_reaches_a_container_without_it(
    docker: Docker, engine: Engine, sleeper: Sleeper, ipv6_address: str
) -> None:
    server = sleeper("-p", "18500:80", "-p", "[::1]:18501:80", command=WEB)
    shown = docker.ok("port", server).splitlines()
    assert set(shown) == {"80/tcp -> 0.0.0.0:18500", "80/tcp -> [::]:18500", "80/tcp -> [::1]:18501"}
    wait_for(lambda: fetch(engine.netns, "::1", 18500) == GREETING)
    assert fetch(engine.netns, ipv6_address, 18500) == GREETING
    assert fetch(engine.outside, ipv6_address, 18500) == GREETING
    assert fetch(engine.netns, "::1", 18501) == GREETING
    with pytest.raises(OSError):
        fetch(engine.outside, ipv6_address, 18501, timeout_s=1)
    docker.ok("rm", "-f", server)
    with pytest.raises(OSError):
        fetch(engine.netns, "::1", 18500, timeout_s=1)


def test_datagrams(docker: Docker, engine: Engine, sleeper: Sleeper, ipv6_address: str) -> None:
    echo = (
        "import socket as s; u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.bind(('', 9))\n"
        "while True: u.sendto(*u.recvfrom(9))"
    )
    sleeper("-p", "18502:9/udp", "-v", "/usr:/usr:ro", command=("/usr/bin/python3", "-c", echo))
    for address in ("::1", ipv6_address):
        with engine.netns.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.connect((address, 18502))

            def echoed(client: socket.socket = client) -> bool:
                client.send(b"datagram")
                return client.recv(100) == b"datagram"

            wait_for(echoed)


def test_the_loopback_of_a_container_with_ipv6(docker: Docker, engine: Engine, sleeper: Sleeper, name: str) -> None:
    docker.ok("network", "create", "--ipv6", name)
    sleeper("--network", name, "-p", "18503:80", command=("httpd", "-f", "-p", "[::]:80", "-h", "/etc"))
    for address in ("::1", "127.0.0.1"):
        wait_for(lambda address=address: fetch(engine.netns, address, 18503) == GREETING)  # type: ignore[misc]


def test_it_follows_the_container(docker: Docker, engine: Engine, sleeper: Sleeper, name: str) -> None:
    """As IPv4 ports do: to the network that is the container's gateway now."""
    for network in (f"{name}-a", f"{name}-b"):
        docker.ok("network", "create", network)
    server = sleeper("--network", f"{name}-a", "-p", "18504:80", command=WEB)
    wait_for(lambda: fetch(engine.netns, "::1", 18504) == GREETING)
    docker.ok("network", "connect", f"{name}-b", server)
    docker.ok("network", "disconnect", f"{name}-a", server)
    wait_for(lambda: fetch(engine.netns, "::1", 18504) == GREETING)
    docker.ok("restart", "-t", "0", server)
    wait_for(lambda: fetch(engine.netns, "::1", 18504) == GREETING)


def test_more_ports_than_one_message_has_room_for(docker: Docker, engine: Engine, api: Api, sleeper: Sleeper) -> None:
    server = sleeper("-p", "19000-19299:1000-1299", "-p", "19300:80", command=WEB)
    assert len(api.json(f"/containers/{server}/json")["NetworkSettings"]["Ports"]) == 301
    wait_for(lambda: fetch(engine.netns, "::1", 19300) == GREETING)
    assert fetch(engine.netns, "127.0.0.1", 19300) == GREETING


def test_without_it(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine("--userland-proxy=false")
    server = engine.docker.ok("run", "-d", "--init", "-p", "18500:80", "-p", "[::1]:18501:80", "busybox", *WEB)
    assert engine.docker.ok("port", server) == "80/tcp -> 0.0.0.0:18500"
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18500) == GREETING)
    for port in (18500, 18501):
        with pytest.raises(OSError):
            fetch(engine.netns, "::1", port, timeout_s=1)


@pytest.mark.parametrize("userland_proxy", ["true", "false"])
def test_an_engine_that_makes_no_rules(private_engine: Callable[..., Engine], userland_proxy: str) -> None:
    engine = private_engine("--iptables=false", "--ip6tables=false", f"--userland-proxy={userland_proxy}")
    server = engine.docker.ok("run", "-d", "--init", "-p", "18500:80", "busybox", *WEB)
    assert "80/tcp -> 0.0.0.0:18500" in engine.docker.ok("port", server).splitlines()
    wait_for(lambda: fetch(engine.netns, "172.17.0.2", 80) == GREETING)
    for netns, address in ((engine.netns, "127.0.0.1"), (engine.netns, HOST_ADDRESS), (engine.outside, HOST_ADDRESS)):
        if userland_proxy == "true":
            assert fetch(netns, address, 18500) == GREETING
        else:
            with pytest.raises(OSError):
                fetch(netns, address, 18500, timeout_s=1)


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd's proxies end with it")
def test_it_outlives_the_daemon(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine()
    server = engine.docker.ok("run", "-d", "--init", "-p", "18500:80", "busybox", *WEB)
    wait_for(lambda: fetch(engine.netns, "::1", 18500) == GREETING)
    engine.kill()
    assert fetch(engine.netns, "::1", 18500) == GREETING
    engine.start()
    assert engine.docker.ok("port", server).splitlines() == ["80/tcp -> 0.0.0.0:18500", "80/tcp -> [::]:18500"]
    assert fetch(engine.netns, "::1", 18500) == GREETING
