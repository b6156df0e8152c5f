"""Networks that users make: what can be asked of them, names, connect and disconnect, and what is refused."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import HOST_ADDRESS, ON_DOCKERD, OUTSIDE_ADDRESS, Engine
from harness.http import Api
from harness.waiting import wait_for
from harness.web import WEB, fetch

Sleeper = Callable[..., str]
_numbers = itertools.count(1)


@pytest.fixture
def network(docker: Docker) -> str:
    return make(docker)


def make(docker: Docker, *flags: str) -> str:
    name = f"net-{next(_numbers)}"
    docker.ok("network", "create", *flags, name)
    return name


def show(docker: Docker, network: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("network", "inspect", network))[0]
    return found


def endpoints(docker: Docker, container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
    return found


def lookup(docker: Docker, container: str, name: str) -> set[str]:
    """The addresses that a container's nslookup shows; empty where there are none."""
    out = docker("exec", container, "nslookup", name).out.split("answer:", 1)
    return {line.split()[-1] for line in out[-1].splitlines() if line.startswith("Address")} if len(out) > 1 else set()


def test_defaults(docker: Docker, network: str) -> None:
    shown = show(docker, network)
    assert (shown["Driver"], shown["Scope"], shown["Internal"], shown["Attachable"]) == (
        "bridge",
        "local",
        False,
        False,
    )
    assert (shown["Options"], shown["Labels"], shown["Containers"], shown["ConfigOnly"]) == ({}, {}, {}, False)
    assert shown["IPAM"]["Driver"] == "default" and shown["IPAM"]["Options"] == {}
    pool = shown["IPAM"]["Config"][0]
    assert pool["Gateway"] == pool["Subnet"].split("/")[0][:-1] + "1"


def test_what_was_asked_is_shown(docker: Docker) -> None:
    name = make(docker, "--subnet", "10.77.3.0/24", "--ip-range", "10.77.3.128/25", "--gateway", "10.77.3.7",
                "--aux-address", "h=10.77.3.128", "--internal", "--attachable", "--label", "x=y",
                "-o", "com.docker.network.driver.mtu=1400",
                "-o", "com.docker.network.bridge.name=br-of-user")  # fmt: skip
    shown = show(docker, name)
    assert shown["IPAM"]["Config"] == [
        {
            "Subnet": "10.77.3.0/24",
            "IPRange": "10.77.3.128/25",
            "Gateway": "10.77.3.7",
            "AuxiliaryAddresses": {"h": "10.77.3.128"},
        }
    ]
    assert shown["Internal"] and shown["Attachable"] and shown["Labels"] == {"x": "y"}
    out = docker.ok(
        "run",
        "--rm",
        "--network",
        name,
        "busybox",
        "sh",
        "-c",
        "ip -4 -o addr show eth0; cat /sys/class/net/eth0/mtu; ip route",
    )
    assert "10.77.3.129/24" in out and "1400" in out.split() and "default" not in out


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd 28 does not know API 1.52")
def test_how_full_a_network_is(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    name = make(docker, "--subnet", "10.77.4.0/24", "--ip-range", "10.77.4.128/25")
    sleeper("--network", name)
    shown = api.json(f"/v1.52/networks/{name}")
    assert shown["Status"] == {"IPAM": {"Subnets": {"10.77.4.0/24": {"IPsInUse": 4, "DynamicIPsAvailable": 125}}}}
    assert api.json("/v1.52/networks/none")["Status"] == {"IPAM": {}}
    assert "Status" not in api.json(f"/v1.51/networks/{name}")


def test_two_networks_do_not_overlap(docker: Docker) -> None:
    subnets = {show(docker, make(docker))["IPAM"]["Config"][0]["Subnet"] for _ in range(5)}
    assert len(subnets) == 5


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            ["--subnet", "10.77.2.5/24", "x"],
            "invalid network config:\ninvalid subnet 10.77.2.5/24: it should be 10.77.2.0/24",
        ),
        (["bridge"], "operation is not permitted on predefined bridge network"),
        (["-d", "host", "x"], 'only one instance of "host" network is allowed'),
        (["-d", "null", "x"], 'only one instance of "null" network is allowed'),
        (["-d", "nope", "x"], 'plugin "nope" not found'),
        (["-d", "overlay", "x"], "This node is not a swarm manager."),
        (["--scope", "swarm", "x"], "cannot create a swarm scoped network when swarm is not active"),
        ([" "], "invalid name: name is empty"),
        (
            ["-o", "com.docker.network.bridge.enable_icc=maybe", "x"],
            "failed to parse com.docker.network.bridge.enable_icc value: maybe "
            '(strconv.ParseBool: parsing "maybe": invalid syntax)',
        ),
        (
            ["-o", "com.docker.network.bridge.host_binding_ipv4=z", "x"],
            "failed to parse com.docker.network.bridge.host_binding_ipv4 value: z (nil ip)",
        ),
        (
            ["-o", "com.docker.network.driver.mtu=z", "x"],
            'failed to parse com.docker.network.driver.mtu value: z (strconv.Atoi: parsing "z": invalid syntax)',
        ),
        (
            ["-o", "com.docker.network.bridge.gateway_mode_ipv4=z", "x"],
            "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: z (unknown gateway mode z)",
        ),
        (["--config-from", "absent", "x"], 'configuration network "absent" does not exist'),
    ],
)
def test_refused_networks(docker: Docker, flags: list[str], text: str) -> None:
    before = docker.ok("network", "ls", "-q")
    assert text in docker.fails("network", "create", *flags)
    assert docker.ok("network", "ls", "-q") == before


def test_conflicts(docker: Docker) -> None:
    name = make(docker, "--subnet", "10.77.1.0/24", "-o", "com.docker.network.bridge.name=br-mine")
    assert docker.fails("network", "create", name).endswith(f"network with name {name} already exists")
    message = docker.fails("network", "create", "--subnet", "10.77.1.128/25", "other")
    assert message.endswith("invalid pool request: Pool overlaps with other one on this address space")
    message = docker.fails("network", "create", "-o", "com.docker.network.bridge.name=br-mine", "other")
    assert message.endswith("networks have same bridge name")
    assert docker("network", "inspect", "other").code == 1


def test_statuses(api: Api, docker: Docker, network: str) -> None:
    assert api.post("/networks/create", {"Name": network}).status == 409
    assert api.post("/networks/create", {"Name": "bridge"}).status == 403
    assert api.post("/networks/create", {"Name": "x", "Driver": "nope"}).status == 404
    answer = api.post("/networks/create", {"Name": "x", "IPAM": {"Driver": "nope"}})
    assert (answer.status, answer.message) == (404, 'plugin "nope" not found')
    subnet = show(docker, network)["IPAM"]["Config"][0]["Subnet"]
    assert api.post("/networks/create", {"Name": "x", "IPAM": {"Config": [{"Subnet": subnet}]}}).status == 403
    assert api.delete("/networks/absent").status == 404
    assert api.post("/networks/absent/connect", {"Container": "absent"}).status == 404


def test_config_only_and_config_from(docker: Docker) -> None:
    source = make(docker, "--config-only", "--subnet", "10.77.5.0/24", "--label", "a=b")
    assert show(docker, source)["Driver"] == "null" and show(docker, source)["ConfigOnly"]
    name = make(docker, "--config-from", source)
    shown = show(docker, name)
    assert shown["ConfigFrom"] == {"Network": source} and shown["Labels"] == {"a": "b"}
    assert shown["IPAM"]["Config"][0]["Subnet"] == "10.77.5.0/24"
    message = docker.fails("network", "rm", source)
    assert f'error while removing network: configuration network "{source}" is in use' in message
    message = docker.fails("run", "--rm", "--network", source, "busybox", code=125)
    assert "cannot create endpoint on configuration-only network" in message
    docker.ok("network", "rm", name)


def test_filters_and_prune(docker: Docker, sleeper: Sleeper) -> None:
    used, unused = make(docker, "--label", "kind=test"), make(docker, "--label", "kind=test")
    sleeper("--network", used)
    assert set(docker.ok("network", "ls", "--filter", "label=kind=test", "--format", "{{.Name}}").split()) == {
        used,
        unused,
    }
    assert docker.ok("network", "ls", "--filter", "dangling=true", "--format", "{{.Name}}").split() == [unused]
    assert "invalid value for filter 'dangling', must be" in docker.fails("network", "ls", "--filter", "dangling=x")
    assert used in docker.ok("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").split()
    assert unused in docker.ok("network", "prune", "-f", "--filter", "label=kind=test").split()
    assert docker.ok("network", "ls", "--filter", "label=kind=test", "--format", "{{.Name}}").split() == [used]
    assert "more than one until filter specified" in docker.fails(
        "network", "prune", "-f", "--filter", "until=1h", "--filter", "until=2h"
    )


def test_a_network_in_use_stays(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    sleeper("--name", name, "--network", network)
    endpoint = endpoints(docker, name)[network]["EndpointID"][:12]
    message = docker.fails("network", "rm", network)
    assert (
        f'error while removing network: network {network} has active endpoints (name:"{name}" id:"{endpoint}")'
        in message
    )
    docker.ok("stop", "-t", "1", name)
    assert docker.ok("network", "rm", network) == network


def test_containers_find_each_other_by_name(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    first = sleeper("--name", name, "--network", network, "--hostname", "Boss")
    second = sleeper("--network", network, "--network-alias", "shared")
    third = sleeper("--network", network, "--network-alias", "shared", "--network-alias", "only")
    address = {container: endpoints(docker, container)[network]["IPAddress"] for container in (first, second, third)}
    for known in (name, name.upper(), first[:12], f"{name}.{network}", "boss"):
        assert lookup(docker, second, known) == {address[first]}
    assert lookup(docker, first, "shared") == {address[second], address[third]}
    assert lookup(docker, first, "only") == {address[third]}
    assert f"name = {name}.{network}" in docker.ok("exec", second, "nslookup", address[first])
    assert endpoints(docker, third)[network]["DNSNames"][1:] == ["shared", "only", third[:12]]
    docker.ok("rename", name, f"{name}-new")
    wait_for(lambda: lookup(docker, second, f"{name}-new") == {address[first]})
    docker.ok("rm", "-f", third)
    wait_for(lambda: lookup(docker, first, "shared") == {address[second]})
    assert "nameserver 127.0.0.11" in docker.ok("exec", first, "cat", "/etc/resolv.conf")


def test_names_are_of_one_network_only(docker: Docker, name: str, sleeper: Sleeper) -> None:
    one, two = make(docker, "--internal"), make(docker, "--internal")
    sleeper("--name", name, "--network", one)
    stranger = sleeper("--network", two)
    assert lookup(docker, stranger, name) == set()


def test_a_port_can_be_served_beside_the_resolver(docker: Docker, network: str, sleeper: Sleeper) -> None:
    """A server in the container has port 53 on all its addresses."""
    server = sleeper("--network", network, command=("httpd", "-f", "-p", "53", "-h", "/etc"))
    url = f"http://{endpoints(docker, server)[network]['IPAddress']}:53/hostname"
    wait_for(lambda: docker("run", "--rm", "--network", network, "busybox", "wget", "-qO-", url).line == server[:12])


def test_link_local_addresses(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    six = make(docker, "--ipv6")
    addresses = ("--link-local-ip", "169.254.7.8", "--link-local-ip", "fe80::78")
    sleeper("--name", name, "--network", six, *addresses)
    docker.ok("network", "connect", "--link-local-ip", "169.254.9.9", network, name)
    docker.ok("restart", "-t", "1", name)
    seen = docker.ok("exec", name, "ip", "-o", "address")
    assert all(address in seen for address in ("169.254.7.8/16", "fe80::78/64", "169.254.9.9/16"))
    told = docker.fails("run", "--network", network, "--link-local-ip", "fe80::78", "busybox", "true", code=126)
    assert told.splitlines()[0].endswith("link local IPs to [fe80::78/64]: permission denied")


def test_static_addresses(docker: Docker, name: str, sleeper: Sleeper) -> None:
    network = make(docker, "--subnet", "10.77.9.0/24")
    sleeper("--name", name, "--network", network, "--ip", "10.77.9.50", "--mac-address", "02:aa:bb:cc:dd:ee")
    shown = endpoints(docker, name)[network]
    assert (shown["IPAddress"], shown["IPAMConfig"], shown["MacAddress"]) == (
        "10.77.9.50",
        {"IPv4Address": "10.77.9.50"},
        "02:aa:bb:cc:dd:ee",
    )
    assert "02:aa:bb:cc:dd:ee" in docker.ok("exec", name, "ip", "link", "show", "eth0")
    assert "Address already in use" in docker.fails(
        "run", "-d", "--network", network, "--ip", "10.77.9.50", "busybox", code=125
    )
    message = docker.fails("run", "-d", "--network", network, "--ip", "10.77.8.1", "busybox", code=125)
    assert "invalid endpoint settings:\nno configured subnet" in message
    docker.ok("restart", "-t", "1", name)
    assert endpoints(docker, name)[network]["IPAddress"] == "10.77.9.50"
    assert endpoints(docker, name)[network]["MacAddress"] == "02:aa:bb:cc:dd:ee"
    chosen = make(docker)
    message = docker.fails("run", "-d", "--network", chosen, "--ip", "172.18.0.9", "busybox", code=125)
    assert (
        "user specified IP address is supported only when connecting to networks with user configured subnets"
        in message
    )


def test_connect_and_disconnect_while_running(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    sleeper("--name", name)
    peer = sleeper("--network", network, "--network-alias", "peer", command=WEB)
    assert lookup(docker, name, "peer") == set()
    docker.ok("network", "connect", "--alias", "late", network, name)
    shown = endpoints(docker, name)
    assert set(shown) == {"bridge", network} and shown[network]["Aliases"] == ["late"]
    address = shown[network]["IPAddress"]
    assert address in docker.ok("exec", name, "ip", "-4", "-o", "addr", "show", "eth1")
    assert (
        docker.ok("exec", name, "wget", "-qO-", f"http://{endpoints(docker, peer)[network]['IPAddress']}/hostname")
        == peer[:12]
    )
    assert lookup(docker, name, "peer") and lookup(docker, peer, "late") == {address}
    hosts = docker.ok("exec", name, "cat", "/etc/hosts")
    assert f"{address}\t" in hosts
    assert f"endpoint with name {name} already exists in network {network}" in docker.fails(
        "network", "connect", network, name
    )
    docker.ok("network", "disconnect", "bridge", name)
    assert set(endpoints(docker, name)) == {network}
    assert "eth0" not in docker.ok("exec", name, "ip", "link")
    gateway = show(docker, network)["IPAM"]["Config"][0]["Gateway"]
    assert f"default via {gateway} dev eth1" in docker.ok("exec", name, "ip", "route")
    assert "is not connected to network bridge" in docker.fails("network", "disconnect", "bridge", name)
    docker.ok("network", "disconnect", network, name)
    assert f"{address}\t" not in docker.ok("exec", name, "cat", "/etc/hosts")
    assert endpoints(docker, name) == {} and "default" not in docker.ok("exec", name, "ip", "route")


def test_connect_before_the_start(docker: Docker, network: str, name: str) -> None:
    docker.ok("create", "--init", "--name", name, "busybox", "sleep", "1000")
    docker.ok("network", "connect", "--alias", "early", network, name)
    docker.ok("start", name)
    assert set(endpoints(docker, name)) == {"bridge", network}
    out = docker.ok("exec", name, "ip", "-4", "-o", "addr")
    assert "eth0" in out and "eth1" in out
    docker.ok("stop", "-t", "1", name)
    docker.ok("network", "disconnect", "bridge", name)
    docker.ok("start", name)
    assert set(endpoints(docker, name)) == {network}


def test_several_networks_at_create(docker: Docker, network: str, sleeper: Sleeper) -> None:
    other = make(docker)
    container = sleeper("--network", f"name={network},alias=a", "--network", f"name={other},alias=b,gw-priority=5")
    assert (
        endpoints(docker, container)[network]["Aliases"] == ["a"]
        and endpoints(docker, container)[other]["GwPriority"] == 5
    )
    gateway = show(docker, other)["IPAM"]["Config"][0]["Gateway"]
    assert f"default via {gateway} " in docker.ok("exec", container, "ip", "route")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["connect", "host", "NAME"],
            "cannot connect container to host network - container must be created in host network mode",
        ),
        (
            ["connect", "none", "NAME"],
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (["connect", "absent", "NAME"], "network absent not found"),
        (["connect", "bridge", "absent"], "No such container: absent"),
        (["disconnect", "absent", "NAME"], "network absent not found"),
        (["rm", "bridge"], "bridge is a pre-defined network and cannot be removed"),
    ],
)
def test_refused_changes(docker: Docker, name: str, sleeper: Sleeper, arguments: list[str], text: str) -> None:
    sleeper("--name", name)
    assert text in docker.fails("network", *[name if word == "NAME" else word for word in arguments])


def test_isolation(docker: Docker, engine: Engine, sleeper: Sleeper) -> None:
    one, two, internal = make(docker), make(docker), make(docker, "--internal")
    server = sleeper("--network", one, "-p", "18400:80", command=WEB)
    address = endpoints(docker, server)[one]["IPAddress"]
    wait_for(lambda: fetch(engine.netns, address, 80) == "root:x:0:")
    assert reaches(docker, one, f"{address}:80")
    assert not any(reaches(docker, network, f"{address}:80") for network in (two, "bridge", internal))
    assert all(reaches(docker, network, f"{HOST_ADDRESS}:18400") for network in (one, two, "bridge"))
    assert not reaches(docker, internal, f"{HOST_ADDRESS}:18400")


def reaches(docker: Docker, network: str, host: str) -> bool:
    """Whether a container on a network gets an answer from a web server."""
    command = ["timeout", "1", "wget", "-qO-", f"http://{host}/hostname"]
    return docker("run", "--rm", "--init", "--network", network, "busybox", *command).code == 0


def test_published_ports_follow_the_container(docker: Docker, engine: Engine, network: str, sleeper: Sleeper) -> None:
    server = sleeper("--network", network, "-p", "18401:80", command=WEB)
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18401) == "root:x:0:")
    other = make(docker)
    docker.ok("network", "connect", other, server)
    docker.ok("network", "disconnect", network, server)
    wait_for(lambda: fetch(engine.outside, HOST_ADDRESS, 18401) == "root:x:0:")
    assert docker.ok("port", server).startswith("80/tcp -> 0.0.0.0:18401")


def test_ipv6(docker: Docker, network: str, sleeper: Sleeper) -> None:
    name = make(docker, "--ipv6")
    pools = show(docker, name)["IPAM"]["Config"]
    assert len(pools) == 2 and pools[1]["Subnet"].startswith("fd") and pools[1]["Subnet"].endswith("/64")
    server = sleeper("--network", name, "--network-alias", "six", command=WEB)
    shown = endpoints(docker, server)[name]
    assert (
        shown["GlobalIPv6Address"]
        and shown["GlobalIPv6PrefixLen"] == 64
        and shown["IPv6Gateway"] == pools[1]["Gateway"]
    )
    out = docker.ok(
        "run",
        "--rm",
        "--network",
        name,
        "busybox",
        "sh",
        "-c",
        f"ping -6 -c1 -W2 {shown['GlobalIPv6Address']} && ip -6 route && wget -qO- http://[{shown['GlobalIPv6Address']}]/hostname",
    )
    assert out.endswith(server[:12]) and f"default via {pools[1]['Gateway']}" in out
    assert shown["GlobalIPv6Address"] in lookup(docker, server, "six")


def test_ipv6_ports(docker: Docker, engine: Engine, api: Api, sleeper: Sleeper) -> None:
    name = make(docker, "--ipv6")
    server = sleeper(
        "--network", name, "-p", "18402:80", "-p", "81", command=("sh", "-c", "cd /etc; httpd -f -p [::]:80")
    )
    ports = api.json(f"/containers/{server}/json")["NetworkSettings"]["Ports"]
    assert {(one["HostIp"], one["HostPort"]) for one in ports["80/tcp"]} == {("0.0.0.0", "18402"), ("::", "18402")}
    assert len({one["HostPort"] for one in ports["81/tcp"]}) == 1 and len(ports["81/tcp"]) == 2
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18402) == "root:x:0:")
    with engine.netns.entered():
        subprocess.run(["ip", "-6", "address", "add", "fd00:99::1/64", "dev", "uplink", "nodad"], check=True)
    try:
        wait_for(lambda: fetch(engine.netns, "fd00:99::1", 18402) == "root:x:0:")
    finally:
        with engine.netns.entered(), contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "-6", "address", "del", "fd00:99::1/64", "dev", "uplink"], check=True)


def test_events(docker: Docker, api: Api, name: str) -> None:
    since = json.loads(docker.ok("info", "-f", "{{json .SystemTime}}"))
    network = make(docker)
    docker.ok("run", "--rm", "--name", name, "--network", network, "busybox", "true")
    docker.ok("network", "rm", network)
    wanted = ["create", "connect", "disconnect", "destroy"]
    wait_for(lambda: len(seen(docker, since, network)) == len(wanted))
    assert seen(docker, since, network) == wanted


def seen(docker: Docker, since: str, network: str) -> list[str]:
    out = docker.ok(
        "events",
        "--since",
        since,
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "type=network",
        "--format",
        "{{json .}}",
    )
    found = [json.loads(line) for line in out.splitlines()]
    return [event["Action"] for event in found if event["Actor"]["Attributes"].get("name") == network]


def test_a_users_hosts_file_is_kept(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    sleeper("--name", name, "--network", network)
    docker.ok(
        "exec", name, "sh", "-c", "echo '192.0.2.1 mine' >> /etc/hosts; echo 'nameserver 192.0.2.53' > /etc/resolv.conf"
    )
    docker.ok("network", "connect", "bridge", name)
    docker.ok("network", "disconnect", network, name)
    assert "192.0.2.1 mine" in docker.ok("exec", name, "cat", "/etc/hosts")
    assert docker.ok("exec", name, "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53"


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd's resolver ends with it")
def test_names_and_networks_survive_the_daemon(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine()
    docker = engine.docker
    docker.ok("network", "create", "net")
    docker.ok("run", "-d", "--init", "--name", "one", "--network", "net", "busybox", "sleep", "1000")
    docker.ok("run", "-d", "--init", "--name", "two", "--network", "net", "-p", "18403:80", "busybox", *WEB)
    pid = docker.ok("inspect", "-f", "{{.State.Pid}}", "one")
    before = endpoints(docker, "two")
    engine.kill()
    inside = ["nsenter", "-t", pid, "-n", "busybox", "nslookup", "two", "127.0.0.11"]
    assert before["net"]["IPAddress"] in subprocess.run(inside, capture_output=True, text=True).stdout
    assert fetch(engine.netns, "127.0.0.1", 18403) == "root:x:0:"
    engine.start()
    assert endpoints(docker, "two") == before
    assert lookup(docker, "one", "two") == {before["net"]["IPAddress"]}
    docker.ok("run", "-d", "--init", "--name", "three", "--network", "net", "busybox", "sleep", "1000")
    assert lookup(docker, "one", "three") == {endpoints(docker, "three")["net"]["IPAddress"]}
    assert Path(engine.exec_root / "resolver").is_dir()
    docker.ok("rm", "-f", "one", "two", "three")
    docker.ok("network", "rm", "net")


def test_links_on_the_default_bridge(docker: Docker, name: str, sleeper: Sleeper) -> None:
    child = sleeper("--name", name, "--expose", "81", "-e", "COLOUR=blue", command=WEB)
    address = endpoints(docker, child)["bridge"]["IPAddress"]
    parent = sleeper("--name", f"{name}-parent", "--link", f"{name}:db")
    assert docker.ok("exec", parent, "wget", "-qO-", "http://db/hostname") == child[:12]
    assert f"{address}\tdb {child[:12]} {name}" in docker.ok("exec", parent, "cat", "/etc/hosts")
    environment = docker.ok("exec", parent, "env").splitlines()
    if not ON_DOCKERD:  # an exec of dockerd does not have them
        environment = docker.ok("exec", parent, "cat", "/proc/1/environ").split("\0")
        assert {f"DB_PORT=tcp://{address}:81", f"DB_NAME=/{name}-parent/db", "DB_ENV_COLOUR=blue"} <= {*environment}
    shown = json.loads(docker.ok("inspect", "-f", "{{json .HostConfig.Links}}", parent))
    assert shown == [f"/{name}:/{name}-parent/db"]
    docker.ok("stop", "-t", "1", child)
    message = docker.fails("run", "--rm", "--link", name, "busybox", code=125)
    assert f"Cannot link to a non running container: /{name} AS /" in message
    assert "could not get container for absent" in docker.fails("run", "--rm", "--link", "absent", "busybox", code=125)


def test_links_on_a_users_network(docker: Docker, network: str, name: str, sleeper: Sleeper) -> None:
    sleeper("--name", name, "--network", network)
    parent = sleeper("--network", network, "--link", f"{name}:db")
    other = sleeper("--network", network)
    assert lookup(docker, parent, "db") == {endpoints(docker, name)[network]["IPAddress"]}
    assert lookup(docker, other, "db.") == set()


def test_macvlan(docker: Docker, engine: Engine, name: str, sleeper: Sleeper) -> None:
    """Containers are on the host's wire, beside the other hosts there."""
    network = make(
        docker, "-d", "macvlan", "--subnet", "198.51.100.0/24", "--gateway", OUTSIDE_ADDRESS,
        "--ip-range", "198.51.100.64/26", "-o", "parent=uplink", "-o", "macvlan_mode=bridge",
    )  # fmt: skip
    message = docker.fails("network", "create", "-d", "macvlan", "-o", "parent=uplink", "other")
    assert "already using parent interface uplink" in message
    server = sleeper("--name", name, "--network", network, command=WEB)
    address = endpoints(docker, server)[network]["IPAddress"]
    assert address == "198.51.100.64"
    wait_for(lambda: fetch(engine.outside, address, 80) == "root:x:0:")
    assert f"default via {OUTSIDE_ADDRESS} dev eth0" in docker.ok("exec", server, "ip", "route")
    client = sleeper()
    docker.ok("network", "connect", network, client)
    assert docker.ok("exec", client, "wget", "-qO-", f"http://{name}/hostname") == server[:12]
    docker.ok("network", "disconnect", network, client)
    assert "eth1" not in docker.ok("exec", client, "ip", "link")


def test_a_subnet_may_be_written_in_any_way(api: Api, docker: Docker, name: str) -> None:
    """docker-py's own suite writes an IPv6 range with a needless zero; what was given is shown as it was given."""
    pool = {"Subnet": "2001:389::/64", "IPRange": "2001:389::0/96", "Gateway": "2001:389::ffff"}
    body = {"Name": name, "EnableIPv6": True, "IPAM": {"Driver": "default", "Config": [pool]}}
    try:
        answer = api.post("/networks/create", body)
        assert answer.status == 201, answer
        ipam = api.json(f"/networks/{name}")["IPAM"]
        assert ipam["Options"] is None and pool in ipam["Config"]
    finally:
        docker("network", "rm", name)
