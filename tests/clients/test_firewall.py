"""Both firewall backends do the same: ports from everywhere, NAT, nothing left, and rules that outlive the daemon."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

import pytest
from harness import host
from harness.engine import HOST_ADDRESS, ON_DOCKERD, OUTSIDE_ADDRESS, Engine
from harness.namespaces import ip
from harness.waiting import wait_for
from harness.web import WEB, fetch

GREETING = "root:x:0:"


@pytest.fixture(params=["nftables", "iptables"])
def engine(private_engine: Callable[..., Engine], request: pytest.FixtureRequest) -> Engine:
    if ON_DOCKERD and request.param == "nftables":
        pytest.skip("dockerd 28 knows iptables only")
    return private_engine() if ON_DOCKERD else private_engine(f"--firewall-backend={request.param}")


def serve(engine: Engine, *flags: str) -> str:
    container = engine.docker.ok("run", "-d", "--init", *flags, "busybox", *WEB)
    address = engine.api.json(f"/v1.44/containers/{container}/json")["NetworkSettings"]["IPAddress"]
    wait_for(lambda: fetch(engine.netns, address, 80) == GREETING)
    return container


def test_published_ports(engine: Engine) -> None:
    serve(engine, "--name", "web", "-p", "18400:80")
    for netns, address in (
        (engine.netns, "127.0.0.1"),
        (engine.netns, HOST_ADDRESS),
        (engine.netns, "172.17.0.1"),
        (engine.outside, HOST_ADDRESS),
    ):
        assert fetch(netns, address, 18400) == GREETING, address
    for address in (HOST_ADDRESS, "172.17.0.1"):
        assert engine.docker.ok("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}:18400/group")
    engine.docker.ok("exec", "web", "wget", "-qO-", f"http://{HOST_ADDRESS}:18400/group")


def test_nothing_is_left(engine: Engine) -> None:
    engine.docker.ok("run", "--rm", "-p", "18401:80", "-p", "18401:80/udp", "busybox", "true")
    before = host.snapshot(engine)
    for _ in range(2):
        serve(engine, "--name", "web", "-p", "18401:80", "-p", "127.0.0.1:18402:81", "-p", "18403-18405:82-84/udp")
        engine.docker.ok("rm", "-f", "web")
    assert not host.leaks(before, engine)


def test_what_is_not_published_is_not_reached_from_outside(engine: Engine) -> None:
    """Even by a neighbour that routes to the containers' subnet."""
    serve(engine)
    with engine.outside.entered():
        ip("route", "add", "172.17.0.0/16", "via", HOST_ADDRESS)
    with pytest.raises(OSError):
        fetch(engine.outside, "172.17.0.2", 80, timeout_s=1)


def test_containers_reach_the_outside(engine: Engine) -> None:
    with engine.outside.entered(), socket.create_server((OUTSIDE_ADDRESS, 7001)) as server:
        client = engine.docker.background("run", "--rm", "-i", "busybox", "nc", OUTSIDE_ADDRESS, "7001")
        server.settimeout(60)
        connection, peer = server.accept()
        connection.close()
    assert peer[0] == HOST_ADDRESS
    client.communicate(timeout=60)


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd's published ports pass by the host's input rules")
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_published_ports_through_the_hosts_input_rules(private_engine: Callable[..., Engine], backend: str) -> None:
    """What a host's own firewall says of its ports, as ufw does, holds for containers' ports."""
    engine = private_engine(f"--firewall-backend={backend}", "--published-ports-through-input")
    serve(engine, "--name", "web", "-p", "18410:80", "-p", "18411:80")
    with engine.netns.entered():
        policy = (
            "table inet host {\nchain input {\ntype filter hook input priority filter; policy accept;\n"
            'iifname "uplink" ct state established,related accept\niifname "uplink" tcp dport 18410 accept\n'
            'iifname "uplink" drop\n}\n}\n'
        )
        subprocess.run(["nft", policy], check=True)
    assert fetch(engine.outside, HOST_ADDRESS, 18410) == GREETING
    with pytest.raises(OSError):
        fetch(engine.outside, HOST_ADDRESS, 18411, timeout_s=1)
    for address in ("127.0.0.1", HOST_ADDRESS, "172.17.0.1"):
        assert fetch(engine.netns, address, 18411) == GREETING, address
    engine.docker.ok("run", "--rm", "busybox", "wget", "-qO-", f"http://{HOST_ADDRESS}:18411/group")


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd's proxies end with it")
def test_rules_outlive_the_daemon(engine: Engine) -> None:
    container = serve(engine, "-p", "18406:80")
    engine.kill()
    assert fetch(engine.netns, "127.0.0.1", 18406) == fetch(engine.outside, HOST_ADDRESS, 18406) == GREETING
    engine.start()
    assert fetch(engine.netns, "127.0.0.1", 18406) == fetch(engine.outside, HOST_ADDRESS, 18406) == GREETING
    engine.docker.ok("rm", "-f", container)
    with pytest.raises(OSError):
        fetch(engine.netns, "127.0.0.1", 18406, timeout_s=1)
