"""Network modes, the default bridge, published ports: reached from the host, its addresses, containers, and outside."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from harness.docker import Docker
from harness.engine import HOST_ADDRESS, OUTSIDE_ADDRESS, Engine
from harness.http import Api
from harness.namespaces import NetNS
from harness.waiting import wait_for
from harness.web import WEB, fetch

Sleeper = Callable[..., str]


def host_port(api: Api, container: str, port: str = "80/tcp") -> int:
    bindings = api.json(f"/containers/{container}/json")["NetworkSettings"]["Ports"][port]
    return int(bindings[0]["HostPort"])


def test_none(docker: Docker) -> None:
    out = docker.ok(
        "run", "--rm", "--network", "none", "busybox", "sh", "-c", "ls /sys/class/net; ip -4 -o addr; ip route"
    )
    assert out.split()[0] == "lo" and "127.0.0.1" in out and "eth0" not in out and "default" not in out


def test_host(docker: Docker, engine: Engine) -> None:
    assert HOST_ADDRESS in docker.ok("run", "--rm", "--network", "host", "busybox", "ip", "addr")
    server = docker.ok(
        "run", "-d", "--init", "--network", "host", "busybox", "httpd", "-f", "-p", "18555", "-h", "/etc"
    )
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18555) == "root:x:0:")
    docker.ok("rm", "-f", server)


def test_bridge(docker: Docker) -> None:
    out = docker.ok(
        "run", "--rm", "busybox", "sh", "-c", "ip -4 -o addr show eth0; ip route; cat /sys/class/net/eth0/mtu"
    )
    assert (
        "172.17.0." in out
        and "default via 172.17.0.1 dev eth0" in out
        and "172.17.0.0/16 dev eth0" in out
        and out.endswith("1500")
    )


def test_containers_reach_each_other_and_the_host(docker: Docker, api: Api, engine: Engine, sleeper: Sleeper) -> None:
    server = sleeper(command=WEB)
    address = api.json(f"/v1.44/containers/{server}/json")["NetworkSettings"]["IPAddress"]
    assert docker.ok("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}/hostname") == server[:12]
    assert docker.ok("run", "--rm", "busybox", "ping", "-c1", "-W2", "172.17.0.1")
    assert fetch(engine.netns, address, 80) == "root:x:0:"


def test_nat_to_the_outside(docker: Docker, engine: Engine) -> None:
    """The world outside does not know 172.17.0.0/16; it sees the host's address."""
    with engine.outside.entered(), socket.create_server((OUTSIDE_ADDRESS, 7000)) as server:
        client = docker.background("run", "--rm", "-i", "busybox", "nc", OUTSIDE_ADDRESS, "7000")
        server.settimeout(60)
        connection, peer = server.accept()
        with connection:
            connection.sendall(b"from outside\n")
    assert peer[0] == HOST_ADDRESS
    assert client.communicate(timeout=60)[0] == b"from outside\n"


def test_p59_published_port_from_everywhere(docker: Docker, api: Api, engine: Engine, sleeper: Sleeper) -> None:
    server = sleeper("-p", "18080:80", command=WEB)
    wait_for(
        lambda: (
            fetch(engine.netns, api.json(f"/v1.44/containers/{server}/json")["NetworkSettings"]["IPAddress"], 80) != ""
        )
    )
    assert fetch(engine.netns, "127.0.0.1", 18080) == "root:x:0:"
    assert fetch(engine.netns, HOST_ADDRESS, 18080) == "root:x:0:"
    assert fetch(engine.netns, "172.17.0.1", 18080) == "root:x:0:"
    assert fetch(engine.outside, HOST_ADDRESS, 18080) == "root:x:0:"
    for address in (HOST_ADDRESS, "172.17.0.1"):
        assert docker.ok("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}:18080/hostname") == server[:12]
    assert (
        docker.ok("exec", server, "wget", "-qO-", f"http://{HOST_ADDRESS}:18080/hostname") == server[:12]
    )  # to itself
    docker.ok("rm", "-f", server)
    with pytest.raises(OSError):
        fetch(engine.netns, "127.0.0.1", 18080, timeout_s=1)


def test_published_on_one_address_only(engine: Engine, sleeper: Sleeper) -> None:
    sleeper("-p", "127.0.0.1:18081:80", command=WEB)
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18081) == "root:x:0:")
    with pytest.raises(OSError):
        fetch(engine.outside, HOST_ADDRESS, 18081, timeout_s=1)
    with pytest.raises(OSError):
        fetch(engine.netns, HOST_ADDRESS, 18081, timeout_s=1)


def test_published_localhost_port_is_not_reachable_by_its_neighbours(engine: Engine, sleeper: Sleeper) -> None:
    """A neighbour that routes 127.0.0.1 to this host must not reach what is published there only."""
    sleeper("-p", "127.0.0.1:18082:80", command=WEB)
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18082) == "root:x:0:")
    with engine.outside.entered():
        subprocess.run(["ip", "route", "add", "172.17.0.0/16", "via", HOST_ADDRESS], check=True)
        try:
            with pytest.raises(OSError):
                fetch(engine.outside, "172.17.0.2", 80, timeout_s=1)
        finally:
            with engine.outside.entered():
                subprocess.run(["ip", "route", "del", "172.17.0.0/16"], check=True)


def test_udp(docker: Docker, engine: Engine, name: str) -> None:
    echo = (
        "import socket as s; u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.bind(('', 9))\n"
        "while True: u.sendto(*u.recvfrom(100))"
    )
    docker.ok(
        "run",
        "-d",
        "--init",
        "--name",
        name,
        "-p",
        "18083:9/udp",
        "-v",
        "/usr:/usr:ro",
        "busybox",
        "/usr/bin/python3",
        "-c",
        echo,
    )
    for netns, address in ((engine.netns, HOST_ADDRESS), (engine.outside, HOST_ADDRESS), (engine.netns, "127.0.0.1")):
        with netns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.connect((address, 18083))
            wait_for(lambda client=client: echoed(client))  # type: ignore[misc]


def echoed(client: socket.socket) -> bool:
    client.send(b"datagram")
    return client.recv(100) == b"datagram"


def test_ranges_random_ports_and_publish_all(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    first = sleeper("-p", "18090-18092:90-92")
    ports = api.json(f"/containers/{first}/json")["NetworkSettings"]["Ports"]
    assert {port: bindings[0]["HostPort"] for port, bindings in ports.items()} == {
        "90/tcp": "18090",
        "91/tcp": "18091",
        "92/tcp": "18092",
    }
    from_range = [sleeper("-p", "18100-18101:80") for _ in range(2)]
    assert {host_port(api, container) for container in from_range} == {18100, 18101}
    message = docker.fails("run", "-d", "-p", "18100-18101:80", "busybox", code=125)
    assert "all ports are allocated" in message or "port is already allocated" in message
    public = docker.ok("run", "-d", "--init", "-P", "--entrypoint", "sleep", "rich:1", "100")
    assert host_port(api, public, "8080/tcp") >= 32768


def test_p57_v4_and_v6_share_the_number(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    bindings = api.json(f"/containers/{sleeper('-p', '80')}/json")["NetworkSettings"]["Ports"]["80/tcp"]
    assert len({binding["HostPort"] for binding in bindings}) == 1
    assert "0.0.0.0" in {binding["HostIp"] for binding in bindings}


def test_docker_port(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper("-p", "127.0.0.1:18110:80", "-p", "18111:81/udp")
    lines = docker.ok("port", container).splitlines()
    assert "80/tcp -> 127.0.0.1:18110" in lines and "81/udp -> 0.0.0.0:18111" in lines
    assert docker.ok("port", container, "80") == "127.0.0.1:18110"


def test_a_port_in_use_by_a_container(docker: Docker, name: str, sleeper: Sleeper) -> None:
    sleeper("-p", "18120:80")
    message = docker.fails("run", "--name", name, "-p", "18120:80", "busybox", code=125)
    assert "Bind for 0.0.0.0:18120 failed: port is already allocated" in message
    assert docker.ok("inspect", "-f", "{{.State.Status}}", name) == "created"


@contextlib.contextmanager
def listening(netns: NetNS, address: str, port: int) -> Iterator[None]:
    with netns.entered(), socket.create_server((address, port)):
        yield


def test_a_port_in_use_by_the_host(docker: Docker, engine: Engine, name: str) -> None:
    with listening(engine.netns, "0.0.0.0", 18121):
        message = docker.fails("run", "--name", name, "-p", "18121:80", "busybox", code=125)
    assert "18121" in message and "address already in use" in message


def test_other_addresses_do_not_conflict(api: Api, sleeper: Sleeper) -> None:
    one, two = sleeper("-p", "127.0.0.1:18122:80"), sleeper("-p", f"{HOST_ADDRESS}:18122:80")
    assert host_port(api, one) == host_port(api, two) == 18122


def test_a_port_is_free_again(docker: Docker, engine: Engine, sleeper: Sleeper) -> None:
    for _ in range(3):
        server = sleeper("-p", "18123:80", command=WEB)
        wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18123) == "root:x:0:")
        docker.ok("rm", "-f", server)
        with pytest.raises(OSError):
            fetch(engine.netns, "127.0.0.1", 18123, timeout_s=1)
        with engine.netns.entered(), socket.create_server(("", 18123)):
            pass


def test_a_restart_keeps_fixed_ports(docker: Docker, api: Api, engine: Engine, sleeper: Sleeper) -> None:
    container = sleeper("-p", "18124:80", command=WEB)
    docker.ok("restart", container)
    assert host_port(api, container) == 18124
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18124) == "root:x:0:")


def test_container_mode(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    server = sleeper("--name", name, "--hostname", "first", "-p", "18130:80", command=WEB)
    mode = ["--network", f"container:{name}"]
    assert docker.ok("run", "--rm", *mode, "busybox", "wget", "-qO-", "http://127.0.0.1/hostname") == "first"
    assert docker.ok("run", "--rm", *mode, "busybox", "hostname") == "first"
    other = docker.ok("run", "-d", "--init", *mode, "busybox", "sleep", "100")
    assert api.json(f"/containers/{other}/json")["HostConfig"]["NetworkMode"] == f"container:{server}"
    assert api.json(f"/containers/{other}/json")["NetworkSettings"]["Networks"] == {}
    docker.ok("rm", "-f", other)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            ["--network", "host", "--network", "none"],
            "container sharing network namespace with another container or host cannot be connected to any "
            "other network",
        ),
        (["--network", "container:absent"], "No such container: absent"),
        (["--network", "absent"], "network absent not found"),
        (["--network", "none", "--ip", "172.17.0.9"], "user specified IP address is supported"),
        (["--ip", "172.17.0.9"], "user specified IP address is supported on user defined networks only"),
        (["--network-alias", "x"], "network-scoped alias"),
        (["-p", "99999:80"], "99999"),
        (["-p", "80:80/icmp"], "icmp"),
        (["-p", "1-3:1-2"], "ange"),
        (["--mac-address", "nonsense"], "nonsense"),
    ],
)
def test_refused(docker: Docker, flags: list[str], text: str) -> None:
    assert text in docker.fails("run", "-d", *flags, "busybox", "true", code=125)


@pytest.mark.parametrize(
    "flags",
    [["--hostname", "h"], ["--dns", "1.1.1.1"], ["--add-host", "a:1.1.1.1"], ["-p", "80:80"], ["--expose", "80"]],
)
def test_refused_in_anothers_network(docker: Docker, name: str, sleeper: Sleeper, flags: list[str]) -> None:
    sleeper("--name", name)
    message = docker.fails("run", "-d", "--network", f"container:{name}", *flags, "busybox", "true", code=125)
    assert "conflicting options" in message


def test_joining_a_stopped_container(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    message = docker.fails("run", "-d", "--network", f"container:{name}", "busybox", code=125)
    assert f"cannot join network namespace of a non running container: container {name} is created" in message


def test_p100_the_three_networks(docker: Docker, api: Api) -> None:
    listed = {network["Name"]: network for network in api.json("/networks")}
    assert {name: listed[name]["Driver"] for name in ("bridge", "host", "none")} == {
        "bridge": "bridge",
        "host": "host",
        "none": "null",
    }
    assert all(network["Scope"] == "local" for network in listed.values())
    assert listed["bridge"]["IPAM"]["Config"][0]["Subnet"] == "172.17.0.0/16"
    assert listed["bridge"]["Options"]["com.docker.network.bridge.name"] == "docker0"
    assert sorted(docker.ok("network", "ls", "--format", "{{.Name}}").split()) == ["bridge", "host", "none"]
    assert docker.ok("network", "ls", "-q", "--filter", "driver=null", "--no-trunc") == listed["none"]["Id"]


def test_network_inspect_lists_containers(docker: Docker, name: str, sleeper: Sleeper) -> None:
    container = sleeper("--name", name)
    document = json.loads(docker.ok("network", "inspect", "bridge"))[0]
    endpoint = document["Containers"][container]
    assert (
        endpoint["Name"] == name
        and endpoint["IPv4Address"].startswith("172.17.0.")
        and endpoint["IPv4Address"].endswith("/16")
    )
    assert docker.fails("network", "inspect", "absent").endswith("network absent not found")


def test_addresses_are_given_back(docker: Docker, api: Api) -> None:
    seen = set()
    for _ in range(3):
        container = docker.ok("run", "-d", "--init", "busybox", "sleep", "100")
        seen.add(api.json(f"/v1.44/containers/{container}/json")["NetworkSettings"]["IPAddress"])
        docker.ok("rm", "-f", container)
    assert all(address.startswith("172.17.0.") for address in seen)
    ids = [docker.ok("run", "-d", "--init", "busybox", "sleep", "100") for _ in range(3)]
    addresses = [api.json(f"/v1.44/containers/{container}/json")["NetworkSettings"]["IPAddress"] for container in ids]
    assert len(set(addresses)) == 3
