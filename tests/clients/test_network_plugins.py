"""Networks and addresses by plugins (the old protocol on a socket): made, joined and left as dockerd does.

The plugin is the harness's own, with real links and real traffic over them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import managed_plugin
from harness.docker import Docker
from harness.engine import HOST_ADDRESS, ON_DOCKERD, Engine, engine_under_test
from harness.http import Api
from harness.network_plugin import IPAM, NetworkPlugin
from harness.waiting import wait_for

PORTS = ("com.docker.network.endpoint.exposedports", "com.docker.network.portmap")
PORT_80 = {
    PORTS[0]: [{"Proto": 6, "Port": 80}],
    PORTS[1]: [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}],
}
NO_PORTS: dict[str, list[Any]] = {PORTS[0]: [], PORTS[1]: []}


@pytest.fixture
def plugin(engine: Engine, name: str) -> Iterator[NetworkPlugin]:
    plugin = NetworkPlugin(f"lightship-{name}-{time.time_ns()}", engine.netns)
    with plugin.serving():
        yield plugin
        plugin.behave()
        for container in engine.docker.ok("ps", "-aq").split():
            engine.docker.ok("rm", "-f", container)
        for network in engine.docker.ok("network", "ls", "-q", "--filter", "type=custom").split():
            engine.docker.ok("network", "rm", network)
        assert not plugin.taken, "each address and each pool is given back"


@pytest.fixture
def network(docker: Docker, plugin: NetworkPlugin, name: str) -> str:
    """A network of the plugin with addresses of the plugin."""
    flags = ("-d", plugin.name, "--ipam-driver", plugin.name, "--subnet", "10.70.0.0/24")
    docker.ok("network", "create", *flags, f"net-{name}")
    return f"net-{name}"


def shown(docker: Docker, container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("inspect", container))[0]["NetworkSettings"]
    return found


def routes(docker: Docker, container: str) -> str:
    return docker.ok("exec", container, "ip", "route")


def test_a_network_is_made_listed_and_removed(docker: Docker, plugin: NetworkPlugin, api: Api) -> None:
    pool = ("--subnet", "10.70.0.0/24", "--ip-range", "10.70.0.128/25", "--gateway", "10.70.0.9")
    flags = ("--ipam-driver", plugin.name, "-o", "k=v", "--ipam-opt", "ik=iv", "--aux-address", "x=10.70.0.5", *pool)
    id = docker.ok("network", "create", "-d", plugin.name, *flags, "one")
    (asked,) = plugin.asked("CreateNetwork")
    assert asked == {
        "NetworkID": id,
        "Options": {
            "com.docker.network.enable_ipv4": True,
            "com.docker.network.enable_ipv6": False,
            "com.docker.network.generic": {"k": "v"},
        },
        "IPv4Data": [
            {
                "AddressSpace": "theirlocal",
                "Pool": "10.70.0.0/24",
                "Gateway": "10.70.0.9/24",
                "AuxAddresses": {"x": "10.70.0.5/24"},
            }
        ],
        "IPv6Data": [],
    }
    (asked,) = plugin.asked("RequestPool")
    assert asked == {
        "AddressSpace": "theirlocal",
        "Pool": "10.70.0.0/24",
        "SubPool": "10.70.0.128/25",
        "Options": {"ik": "iv"},
        "V6": False,
    }
    gateway, auxiliary = plugin.asked("RequestAddress")
    assert (gateway["Address"], gateway["Options"]) == (
        "10.70.0.9",
        {"RequestAddressType": "com.docker.network.gateway"},
    )
    assert (auxiliary["Address"], auxiliary["Options"]) == ("10.70.0.5", None)
    found = api.json("/networks/one")
    assert (found["Driver"], found["Scope"], found["Options"]) == (plugin.name, "local", {"k": "v"})
    assert (found["IPAM"]["Driver"], found["IPAM"]["Options"]) == (plugin.name, {"ik": "iv"})
    assert found["IPAM"]["Config"] == [
        {
            "Subnet": "10.70.0.0/24",
            "IPRange": "10.70.0.128/25",
            "Gateway": "10.70.0.9",
            "AuxiliaryAddresses": {"x": "10.70.0.5"},
        }
    ]
    assert docker.ok("network", "ls", "-q", "--no-trunc", "--filter", f"driver={plugin.name}") == id
    assert plugin.name in json.loads(docker.ok("info", "-f", "{{json .Plugins.Network}}"))
    since = len(plugin.calls)
    docker.ok("network", "rm", "one")
    assert plugin.order(since) == [
        "IpamDriver.ReleaseAddress",
        "IpamDriver.ReleaseAddress",
        "IpamDriver.ReleasePool",
        "NetworkDriver.DeleteNetwork",
    ]
    assert plugin.name not in json.loads(docker.ok("info", "-f", "{{json .Plugins.Network}}"))


def test_pools_of_the_plugins_choice(docker: Docker, plugin: NetworkPlugin, api: Api) -> None:
    docker.ok("network", "create", "-d", plugin.name, "--ipam-driver", plugin.name, "--ipv6", "both")
    assert [asked["V6"] for asked in plugin.asked("RequestPool")] == [False, True]
    config = api.json("/networks/both")["IPAM"]["Config"]
    assert [(pool["Subnet"], pool["Gateway"]) for pool in config] == [
        ("10.77.0.0/24", "10.77.0.1"),
        ("fd99:7::/64", "fd99:7::1"),
    ]
    output = docker.ok("run", "--rm", "--network", "both", "busybox", "sh", "-c", "ip addr show eth0; ip -6 route")
    assert "10.77.0.2/24" in output and "fd99:7::2/64" in output and "default via fd99:7::1" in output
    (asked,) = plugin.asked("CreateEndpoint")
    assert asked["Interface"] == {"Address": "10.77.0.2/24", "AddressIPv6": "fd99:7::2/64", "MacAddress": ""}
    told = "user specified IP address is supported only when connecting to networks with user configured subnets"
    assert told in docker.fails("run", "--rm", "--network", "both", "--ip", "10.77.0.9", "busybox", "true", code=125)


def test_a_containers_life(
    docker: Docker, plugin: NetworkPlugin, network: str, sleeper: Callable[..., str], engine: Engine
) -> None:
    since = len(plugin.calls)
    flags = ("--network", network, "--ip", "10.70.0.77", "--network-alias", "ali", "-p", "8080:80", "--name", "box")
    sleeper(*flags, "--mac-address", "02:11:22:33:44:55")
    assert plugin.order(since)[:4] == [
        "IpamDriver.RequestAddress",
        "NetworkDriver.CreateEndpoint",
        "NetworkDriver.Join",
        "NetworkDriver.ProgramExternalConnectivity",
    ]
    (created,), (joined,), (programmed,) = (
        plugin.asked(verb) for verb in ("CreateEndpoint", "Join", "ProgramExternalConnectivity")
    )
    settings = shown(docker, "box")
    ids = {key: settings["Networks"][network][key] for key in ("NetworkID", "EndpointID")}
    assert created == {
        "NetworkID": ids["NetworkID"],
        "EndpointID": ids["EndpointID"],
        "Interface": {"Address": "10.70.0.77/24", "AddressIPv6": "", "MacAddress": "02:11:22:33:44:55"},
        "Options": {**PORT_80, "com.docker.network.endpoint.macaddress": "AhEiM0RV"},
    }
    assert (joined["SandboxKey"], joined["Options"]) == (settings["SandboxKey"], PORT_80)
    assert programmed["Options"] == {**PORT_80, "com.docker.network.driver.private.no_proxy_6to4": False}
    assert created["EndpointID"] in [asked["EndpointID"] for asked in plugin.asked("EndpointOperInfo")]
    assert settings["Ports"] == {}, "the plugin alone knows what is published"
    found = settings["Networks"][network]
    assert (found["IPAddress"], found["IPPrefixLen"], found["Gateway"], found["MacAddress"]) == (
        "10.70.0.77",
        24,
        "10.70.0.1",
        "02:11:22:33:44:55",
    )
    assert "default via 10.70.0.1 dev eth0" in routes(docker, "box")
    assert "02:11:22:33:44:55" in docker.ok("exec", "box", "ip", "link", "show", "eth0")
    assert "10.70.0.77" in docker.ok("exec", "box", "cat", "/etc/hosts")
    for name in ("box", "ali", "10.70.0.77", "10.70.0.1"):
        docker.ok("run", "--rm", "--network", network, "busybox", "ping", "-c", "1", "-w", "20", name)
    since = len(plugin.calls)
    docker.ok("stop", "-t", "1", "box")
    wait_for(lambda: "IpamDriver.ReleaseAddress" in plugin.order(since))
    assert [called for called in plugin.order(since) if called != "NetworkDriver.EndpointOperInfo"] == [
        "NetworkDriver.RevokeExternalConnectivity",
        "NetworkDriver.Leave",
        "NetworkDriver.DeleteEndpoint",
        "IpamDriver.ReleaseAddress",
    ]
    assert not Path(settings["SandboxKey"]).exists()
    with engine.netns.entered():
        assert created["EndpointID"][:7] not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


def test_connecting_and_disconnecting(
    docker: Docker, plugin: NetworkPlugin, network: str, sleeper: Callable[..., str]
) -> None:
    docker.ok("network", "create", "-d", plugin.name, "second")
    box = docker.ok("create", "--init", "--network", network, "busybox", "sleep", "1000")
    docker.ok("network", "connect", "--driver-opt", "dk=dv", "--alias", "pal", "second", box)
    docker.ok("start", box)
    assert [asked["Options"] for asked in plugin.asked("CreateEndpoint")] == [NO_PORTS, {**NO_PORTS, "dk": "dv"}]
    assert set(shown(docker, box)["Networks"]) == {network, "second"}
    docker.ok("run", "--rm", "--network", "second", "busybox", "ping", "-c", "1", "-w", "20", "pal")
    first, second = (shown(docker, box)["Networks"][name]["EndpointID"] for name in (network, "second"))
    since = len(plugin.calls)
    docker.ok("network", "disconnect", network, box)
    assert first in [asked["EndpointID"] for called, asked in plugin.calls[since:] if called.endswith(".Leave")]
    wait_for(lambda: plugin.taken["pool 10.70.0.0/24"] == {"10.70.0.1"})
    program = "NetworkDriver.ProgramExternalConnectivity"
    assert [asked["EndpointID"] for called, asked in plugin.calls[since:] if called == program] == [second]
    gateway = shown(docker, box)["Networks"]["second"]["Gateway"]
    assert f"default via {gateway} dev eth1" in routes(docker, box)
    since = len(plugin.calls)
    docker.ok("network", "connect", "--ip", "10.70.0.50", "--gw-priority", "1", network, box)
    revoke = "NetworkDriver.RevokeExternalConnectivity"
    assert [asked["EndpointID"] for called, asked in plugin.calls[since:] if called == revoke] == [second]
    assert "default via 10.70.0.1 dev eth0" in routes(docker, box)
    docker.ok("exec", box, "ping", "-c", "1", "-w", "20", "10.70.0.1")
    docker.ok("network", "disconnect", "second", box)
    docker.ok("kill", box)
    docker.ok("network", "disconnect", network, box)
    docker.ok("network", "connect", network, box)
    docker.ok("start", box)
    assert list(shown(docker, box)["Networks"]) == [network]
    told = docker.fails("network", "connect", network, box)
    assert f"already exists in network {network}" in told


def test_without_a_way_out_there_is_the_engines(
    docker: Docker, plugin: NetworkPlugin, network: str, sleeper: Callable[..., str], engine: Engine, api: Api
) -> None:
    """The plugin names no gateway: `docker_gwbridge` is the container's, and its published ports'."""
    plugin.gateway = False
    box = docker.ok(
        "run", "-d", "--init", "--network", network, "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/etc"
    )
    bridge = api.json("/networks/docker_gwbridge")
    assert bridge["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    ((id, gateway),) = bridge["Containers"].items()
    assert (id, gateway["Name"]) == (box, f"gateway_{Path(shown(docker, box)['SandboxKey']).name}")
    address = gateway["IPv4Address"].partition("/")[0]
    out = f"default via {bridge['IPAM']['Config'][0]['Gateway']} dev eth1"
    assert out in routes(docker, box) and list(shown(docker, box)["Networks"]) == [network]
    assert address not in docker.ok("exec", box, "cat", "/etc/hosts")
    assert [(port["HostIp"], port["HostPort"]) for port in shown(docker, box)["Ports"]["80/tcp"]][0] == (
        "0.0.0.0",
        "8080",
    )

    def answers() -> bool:
        with engine.outside.entered():
            asked = ["curl", "-sS", "-m", "5", f"http://{HOST_ADDRESS}:8080/hostname"]
            return bool(subprocess.run(asked, capture_output=True, text=True).stdout)

    wait_for(answers)
    docker.ok("network", "create", "plain")
    docker.ok("network", "connect", "plain", box)
    assert api.json("/networks/docker_gwbridge")["Containers"] == {}
    assert "dev eth2" in routes(docker, box).splitlines()[0] and address not in docker.ok("exec", box, "ip", "addr")
    wait_for(answers)
    docker.ok("network", "disconnect", "plain", box)
    assert out in routes(docker, box)
    wait_for(answers)
    docker.ok("network", "rm", "plain")
    assert not plugin.asked("ProgramExternalConnectivity")


def test_ways_that_the_plugin_names(docker: Docker, plugin: NetworkPlugin, network: str, api: Api) -> None:
    plugin.gateway = False
    plugin.changes["NetworkDriver.Join"] = {
        "DisableGatewayService": True,
        "StaticRoutes": [
            {"Destination": "10.99.0.0/16", "RouteType": 0, "NextHop": "10.70.0.1"},
            {"Destination": "10.98.0.0/16", "RouteType": 1},
        ],
    }
    found = docker.ok("run", "--rm", "--network", network, "busybox", "ip", "route")
    assert "10.98.0.0/16 dev eth0 scope link" in found and "10.99.0.0/16 via 10.70.0.1 dev eth0" in found
    assert "default" not in found and api.get("/networks/docker_gwbridge").status == 404
    plugin.changes.clear()
    plugin.prefix = "wan"
    assert "wan0" in docker.ok("run", "--rm", "--network", network, "busybox", "ip", "link")


def test_addresses_that_the_network_plugin_chooses(docker: Docker, plugin: NetworkPlugin, api: Api) -> None:
    """Its network has no addresses of its own: they come with the endpoint, as of a DHCP server."""
    docker.ok("network", "create", "-d", plugin.name, "--ipam-driver", "null", "wire")
    assert plugin.asked("CreateNetwork")[0]["IPv4Data"] == [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]
    assert api.json("/networks/wire")["IPAM"]["Config"] == [{"Subnet": "0.0.0.0/0"}]
    plugin.changes["NetworkDriver.Join"] = {"DisableGatewayService": True}
    plugin.changes["NetworkDriver.CreateEndpoint"] = {
        "Interface": {"Address": "192.168.77.5/24", "MacAddress": "02:00:00:00:00:77"}
    }
    box = docker.ok("run", "-d", "--init", "--network", "wire", "--name", "leased", "busybox", "sleep", "1000")
    assert plugin.asked("CreateEndpoint")[0]["Interface"] == {"Address": "", "AddressIPv6": "", "MacAddress": ""}
    link = docker.ok("exec", box, "ip", "addr", "show", "eth0")
    assert "192.168.77.5/24" in link and "02:00:00:00:00:77" in link
    assert api.json("/networks/wire")["Containers"][box]["IPv4Address"] == "192.168.77.5/24"
    assert shown(docker, box)["Networks"]["wire"]["IPAddress"] == "192.168.77.5"
    plugin.changes["NetworkDriver.CreateEndpoint"] = {"Interface": {"Address": "192.168.77.6/24"}}
    docker.ok("run", "--rm", "--network", "wire", "busybox", "ping", "-c", "1", "-w", "20", "leased")


def test_an_address_plugin_for_a_bridge(docker: Docker, plugin: NetworkPlugin, sleeper: Callable[..., str]) -> None:
    plugin.changes["IpamDriver.GetCapabilities"] = {"RequiresMACAddress": True}
    docker.ok("network", "create", "--ipam-driver", plugin.name, "bridged")
    box = sleeper("--network", "bridged", "--name", "box")
    found = shown(docker, box)["Networks"]["bridged"]
    assert (found["IPAddress"], found["Gateway"]) == ("10.77.0.2", "10.77.0.1")
    assert plugin.asked("RequestAddress")[-1]["Options"] == {
        "com.docker.network.endpoint.macaddress": found["MacAddress"]
    }
    docker.ok("run", "--rm", "--network", "bridged", "busybox", "ping", "-c", "1", "-w", "20", "box")
    wait_for(lambda: plugin.taken["pool 10.77.0.0/24"] == {"10.77.0.1", "10.77.0.2"})


FAILING_STARTS: list[tuple[dict[str, dict[str, Any]], str, tuple[str, ...]]] = [
    ({"failures": {"CreateEndpoint": "no"}}, "failed to create endpoint box on network {network}: remote: no", ()),
    ({"failures": {"Join": "no"}}, "remote: no", ("DeleteEndpoint",)),
    (
        {"failures": {"ProgramExternalConnectivity": "no"}},
        "driver failed programming external connectivity on endpoint box (",
        ("Leave", "DeleteEndpoint"),
    ),
    ({"failures": {"RequestAddress": "none left"}}, "remote: none left", ()),
    ({"raw": {"RequestAddress": b'{"Address": "x"}'}}, "invalid CIDR address: x", ()),
    (
        {"codes": {"CreateEndpoint": 500}, "raw": {"CreateEndpoint": b"boo"}},
        "NetworkDriver.CreateEndpoint: boo",
        (),
    ),
    ({"raw": {"CreateEndpoint": b"boo"}}, "invalid character 'b' looking for beginning of value", ()),
    ({"raw": {"CreateEndpoint": b""}}, "on network {network}: EOF", ()),
    (
        {"changes": {"NetworkDriver.CreateEndpoint": {"Interface": {"Address": "10.70.0.99/24"}}}},
        "driver modified interface address: endpoint interface IP present (10.70.0.2/24). "
        "Cannot be modified with (10.70.0.99/24).; rolled back",
        ("DeleteEndpoint",),
    ),
    (
        {"changes": {"NetworkDriver.CreateEndpoint": {"Interface": {"MacAddress": "x"}}}},
        "address x: invalid MAC address; rolled back",
        ("DeleteEndpoint",),
    ),
    (
        {"changes": {"NetworkDriver.Join": {"Gateway": "x"}}},
        'unable to parse Gateway "x"; rolled back',
        ("Leave", "DeleteEndpoint"),
    ),
    (
        {"changes": {"NetworkDriver.Join": {"StaticRoutes": [{"Destination": "x"}]}}},
        "invalid CIDR address: x; rolled back",
        ("Leave", "DeleteEndpoint"),
    ),
    (
        {"changes": {"NetworkDriver.Join": {"Gateway": "9.9.9.9"}}},
        "updating gateway endpoint: failed to set gateway: route for the gateway 9.9.9.9 could not be found: "
        "network is unreachable",
        ("Leave", "DeleteEndpoint"),
    ),
    (
        {"changes": {"NetworkDriver.Join": {"InterfaceName": {"SrcName": "nosuch", "DstPrefix": "eth"}}}},
        'failed to add interface nosuch to sandbox: failed to get link by name "nosuch": Link not found',
        ("Leave", "DeleteEndpoint"),
    ),
]
"""What a plugin does, what is told then, and what it is asked to undo."""


def test_a_start_that_fails_leaves_nothing(docker: Docker, plugin: NetworkPlugin, network: str) -> None:
    docker.ok("create", "--name", "box", "--network", network, "busybox", "true")
    for broken, told, undone in FAILING_STARTS:
        for kind, values in broken.items():
            getattr(plugin, kind).update(values)
        since = len(plugin.calls)
        answer = docker.fails("start", "box")
        assert "failed to set up container networking: " in answer and told.format(network=network) in answer
        calls = [called for called in plugin.order(since) if called.endswith(("Leave", "DeleteEndpoint"))]
        assert calls == [f"NetworkDriver.{verb}" for verb in undone], told
        assert plugin.taken["pool 10.70.0.0/24"] == {"10.70.0.1"}, told
        plugin.behave()
    docker.ok("start", "-a", "box")
    wait_for(lambda: plugin.taken["pool 10.70.0.0/24"] == {"10.70.0.1"})


FAILING_NETWORKS: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"failures": {"CreateNetwork": "no"}}, "remote: no"),
    ({"failures": {"RequestPool": "no"}}, "remote: no"),
    ({"failures": {"RequestAddress": "no"}}, "failed to allocate gateway (): remote: no"),
    ({"failures": {"GetDefaultAddressSpaces": "no"}}, "failed to get default address space: remote: no"),
    ({"raw": {"RequestPool": b"x"}}, "invalid character 'x' looking for beginning of value"),
    ({"raw": {"RequestAddress": b"{}"}}, "failed to allocate gateway (): no address returned"),
    (
        {"changes": {"IpamDriver.RequestPool": {"Data": {"com.docker.network.gateway": "x"}}}},
        "failed to parse gateway address (x) returned by ipam driver: invalid CIDR address: x",
    ),
]


def test_a_network_that_cannot_be_made(docker: Docker, plugin: NetworkPlugin) -> None:
    for broken, told in FAILING_NETWORKS:
        for kind, values in broken.items():
            getattr(plugin, kind).update(values)
        answer = docker.fails("network", "create", "-d", plugin.name, "--ipam-driver", plugin.name, "one")
        assert told in answer
        assert not plugin.taken and "one" not in docker.ok("network", "ls", "--format", "{{.Name}}").split(), told
        plugin.behave()


def test_capabilities(docker: Docker, plugin: NetworkPlugin, api: Api) -> None:
    plugin.changes = {
        "NetworkDriver.GetCapabilities": {"Scope": "global", "GwAllocChecker": True},
        "NetworkDriver.GwAllocCheck": {"SkipIPv4": True},
    }
    docker.ok("network", "create", "-d", plugin.name, "--ipam-driver", plugin.name, "wide")
    assert api.json("/networks/wide")["Scope"] == "global"
    assert "wide" in docker.ok("network", "ls", "--filter", "scope=global", "--format", "{{.Name}}").split()
    assert plugin.asked("CreateNetwork")[0]["IPv4Data"] == [{"AddressSpace": "theirglobal", "Pool": "10.77.0.0/24"}]
    told = docker.fails("network", "create", "-d", plugin.name, "--scope", "local", "narrow")
    assert f"cannot downgrade network scope for {plugin.name} networks" in told


def test_a_scope_that_nobody_knows(docker: Docker, plugin: NetworkPlugin) -> None:
    plugin.changes["NetworkDriver.GetCapabilities"] = {"Scope": "bogus"}
    told = docker.fails("network", "create", "-d", plugin.name, "one")
    assert f"could not resolve driver {plugin.name} in registry" in told


def test_what_is_no_such_plugin(docker: Docker, plugin: NetworkPlugin, api: Api) -> None:
    for driver in ("null", "host"):
        told = docker.fails("network", "create", "-d", driver, "one")
        assert f'only one instance of "{driver}" network is allowed' in told
    answer = api.post("/networks/create", {"Name": "one", "Driver": "nosuch"})
    assert (answer.status, answer.json()["message"]) == (404, 'plugin "nosuch" not found')
    answer = api.post("/networks/create", {"Name": "one", "IPAM": {"Driver": "nosuch"}})
    assert (answer.status, answer.json()["message"]) == (404, 'plugin "nosuch" not found')
    plugin.implements = [IPAM]
    told = docker.fails("network", "create", "-d", plugin.name, "one")
    assert f'plugin="{plugin.name}", requested implementation="NetworkDriver"' in told


def test_a_plugin_that_is_gone(engine: Engine, docker: Docker, name: str) -> None:
    """Its containers and networks can be removed all the same."""
    plugin = NetworkPlugin(f"lightship-{name}-{time.time_ns()}", engine.netns)
    with plugin.serving():
        docker.ok("network", "create", "-d", plugin.name, "left")
        docker.ok("run", "-d", "--init", "--network", "left", "--name", "box", "busybox", "sleep", "1000")
    docker.ok("rm", "-f", "box")
    docker.ok("network", "rm", "left")
    assert docker.ok("ps", "-aq", "--filter", "name=box") == ""
    assert docker.ok("network", "ls", "-q", "--filter", "name=left") == ""
    plugin.clear()


def test_it_outlives_the_daemon(isolated: None, base_archive: bytes, name: str) -> None:
    engine = engine_under_test(*(["--live-restore"] if ON_DOCKERD else []))
    plugin = NetworkPlugin(f"lightship-{name}-{time.time_ns()}", engine.netns)
    plugin.changes["IpamDriver.GetCapabilities"] = {"RequiresRequestReplay": True}
    try:
        engine.start()
        docker = engine.docker
        docker.ok("load", stdin=base_archive)
        with plugin.serving():
            docker.ok("network", "create", "-d", plugin.name, "--ipam-driver", plugin.name, "kept")
            box = docker.ok("run", "-d", "--init", "--network", "kept", "--name", "box", "busybox", "sleep", "1000")
            before = shown(docker, box)
            engine.kill()
            plugin.taken.clear()
            since = len(plugin.calls)
            engine.start()
            wait_for(lambda: plugin.taken == {"pool 10.77.0.0/24": {"10.77.0.1", "10.77.0.2"}})
            assert "NetworkDriver.Leave" not in plugin.order(since)
            assert shown(docker, box) == before
            docker.ok("run", "--rm", "--network", "kept", "busybox", "ping", "-c", "1", "-w", "20", "box")
            docker.ok("rm", "-f", box)
            assert [asked["EndpointID"] for asked in plugin.asked("DeleteEndpoint")][-1] == (
                before["Networks"]["kept"]["EndpointID"]
            )
            docker.ok("network", "rm", "kept")
            assert not plugin.taken
    finally:
        engine.destroy()


MANAGED = """
import subprocess

def ip(*args):
    subprocess.run(["ip", *args], check=True)

def answer(verb, asked):
    if verb == "Activate":
        return {"Implements": ["NetworkDriver"]}
    if verb == "GetCapabilities":
        return {"Scope": "local"}
    endpoint = asked.get("EndpointID", "")[:7]
    if verb == "CreateNetwork":
        ip("link", "add", "mp" + asked["NetworkID"][:7], "type", "bridge")
        ip("address", "add", asked["IPv4Data"][0]["Gateway"], "dev", "mp" + asked["NetworkID"][:7])
        ip("link", "set", "mp" + asked["NetworkID"][:7], "up")
    elif verb == "DeleteNetwork":
        ip("link", "del", "mp" + asked["NetworkID"][:7])
    elif verb == "Join":
        ip("link", "add", "h" + endpoint, "type", "veth", "peer", "name", "c" + endpoint)
        ip("link", "set", "h" + endpoint, "master", "mp" + asked["NetworkID"][:7], "up")
        return {"InterfaceName": {"SrcName": "c" + endpoint, "DstPrefix": "eth"}, "Gateway": "10.71.0.1"}
    elif verb == "DeleteEndpoint":
        ip("link", "del", "h" + endpoint)
    return {}
"""


def test_a_managed_plugin(docker: Docker, tmp_path: Path) -> None:
    config = {
        "description": "networks for tests",
        "interface": {"types": ["docker.networkdriver/1.0"], "socket": "plugin.sock"},
        "network": {"type": "host"},
        "linux": {"capabilities": ["CAP_NET_ADMIN"]},
    }
    docker.ok("plugin", "create", "test/networks", str(managed_plugin.write(tmp_path / "plugin", config, MANAGED)))
    try:
        docker.ok("plugin", "enable", "test/networks")
        driver = "test/networks:latest"
        assert driver in json.loads(docker.ok("info", "-f", "{{json .Plugins.Network}}"))
        docker.ok("network", "create", "-d", driver, "--subnet", "10.71.0.0/24", "managed")
        docker.ok("run", "--rm", "--network", "managed", "busybox", "ping", "-c", "1", "-w", "20", "10.71.0.1")
        assert "is in use" in docker.fails("plugin", "disable", "test/networks")
        docker.ok("network", "rm", "managed")
        docker.ok("plugin", "disable", "test/networks")
    finally:
        docker.ok("plugin", "rm", "-f", "test/networks")


@pytest.mark.skipif(ON_DOCKERD, reason="its daemon, killed meanwhile, leaves the endpoint")
def test_what_a_killed_daemon_was_making_goes(isolated: None, base_archive: bytes, name: str) -> None:
    engine = engine_under_test()
    plugin = NetworkPlugin(f"lightship-{name}-{time.time_ns()}", engine.netns)
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        with plugin.serving(), ThreadPoolExecutor(1) as pool:
            engine.docker.ok("network", "create", "-d", plugin.name, "kept")
            engine.docker.ok("create", "--name", "box", "--network", "kept", "busybox", "true")
            plugin.late.clear()
            starting = pool.submit(engine.docker, "start", "box")
            wait_for(lambda: "NetworkDriver.CreateEndpoint" in plugin.arrived)
            engine.kill()
            assert starting.result().code != 0
            plugin.late.set()
            engine.start()
            wait_for(lambda: bool(plugin.asked("DeleteEndpoint")))
            assert plugin.asked("DeleteEndpoint")[0]["EndpointID"] == plugin.asked("CreateEndpoint")[0]["EndpointID"]
            assert not list((engine.exec_root / "netns").glob("*"))
            engine.docker.ok("start", "-a", "box")
            engine.docker.ok("rm", "box")
            engine.docker.ok("network", "rm", "kept")
    finally:
        engine.destroy()
