"""macvlan and ipvlan beyond what every kernel has: parents that the engine makes, what is refused, networks inside."""

from __future__ import annotations

import subprocess

import pytest
from harness.docker import Docker
from harness.engine import OUTSIDE_ADDRESS, Engine
from harness.http import Api


def kernel_has(kind: str, engine: Engine) -> bool:
    parent = ["link", "uplink"] if kind in ("vlan", "ipvlan") else []
    options = ["id", "9"] if kind == "vlan" else []
    with engine.netns.entered():
        add = ["ip", "link", "add", *parent, "name", "probe0", "type", kind, *options]
        if subprocess.run(add, capture_output=True).returncode:
            return False
        subprocess.run(["ip", "link", "del", "probe0"], check=True)
    return True


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_without_a_parent(docker: Docker, engine: Engine, name: str, driver: str) -> None:
    """Its containers reach each other alone, over a link that leads nowhere."""
    if not (kernel_has("dummy", engine) and (driver == "macvlan" or kernel_has(driver, engine))):
        assert "operation not supported" in docker.fails("network", "create", "-d", driver, name)
        assert docker("network", "inspect", name).code != 0
        return
    network = docker.ok("network", "create", "-d", driver, name)
    try:
        assert "default" not in docker.ok("run", "--rm", "--network", name, "busybox", "ip", "route")
        with engine.netns.entered():
            assert f"dm-{network[:12]}" in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
    finally:
        docker.ok("network", "rm", name)


def test_a_vlan(docker: Docker, engine: Engine, name: str) -> None:
    arguments = ("network", "create", "-d", "macvlan", "-o", "parent=uplink.20", "--subnet", "10.88.0.0/24", name)
    if not kernel_has("vlan", engine):
        assert "failed to create uplink.20 vlan link: operation not supported" in docker.fails(*arguments)
        return
    docker.ok(*arguments)
    try:
        with engine.netns.entered():
            shown = subprocess.run(["ip", "-d", "link", "show", "uplink.20"], capture_output=True, text=True).stdout
        assert "vlan protocol 802.1Q id 20" in shown and "UP" in shown
    finally:
        docker.ok("network", "rm", name)
    with engine.netns.entered():
        assert "uplink.20" not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


def test_an_internal_one(docker: Docker, name: str) -> None:
    flags = ("-d", "macvlan", "--internal", "-o", "parent=uplink", "--subnet", "10.89.0.0/24")
    docker.ok("network", "create", *flags, name)
    try:
        routes = docker.ok("run", "--rm", "--network", name, "busybox", "ip", "route")
        assert routes.split()[:3] == ["10.89.0.0/24", "dev", "eth0"] and "default" not in routes
        out = docker.ok(
            "run", "--rm", "--network", name, "busybox", "sh", "-c", f"ping -c1 -W1 {OUTSIDE_ADDRESS}; echo $?"
        )
        assert out.splitlines()[-1] != "0"
    finally:
        docker.ok("network", "rm", name)


def test_ipvlan_on_a_kernel_without_it(docker: Docker, engine: Engine, name: str) -> None:
    """The network can be made; what fails is the container's start."""
    if kernel_has("ipvlan", engine):
        pytest.skip("the kernel has ipvlan")
    docker.ok("network", "create", "-d", "ipvlan", "-o", "parent=uplink", "--subnet", "10.90.0.0/24", name)
    try:
        message = docker.fails("run", "--rm", "--network", name, "busybox", "true", code=125)
        assert "failed to create the ipvlan port: operation not supported" in message
    finally:
        docker.ok("network", "rm", name)


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("macvlan", {"parent": "nope"}, "invalid subinterface vlan name nope, example formatting is eth0.10"),
        ("macvlan", {"parent": "nope.20"}, "-o parent interface was not found on the host: nope"),
        ("macvlan", {"parent": "uplink.5000"}, "vlan id must be between 1-4094, received: 5000"),
        ("macvlan", {"parent": "uplink.x"}, "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        ("macvlan", {"parent": "a.b.c"}, "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10"),
        ("macvlan", {"parent": "lo"}, "loopback interface is not a valid macvlan parent link"),
        ("ipvlan", {"parent": "lo"}, "loopback interface is not a valid ipvlan parent link"),
        (
            "macvlan",
            {"parent": "uplink", "macvlan_mode": "x"},
            "requested macvlan mode 'x' is not valid, 'bridge' mode",
        ),
        ("ipvlan", {"parent": "uplink", "ipvlan_mode": "l9"}, "requested ipvlan mode 'l9' is not valid, 'l2' mode"),
        ("ipvlan", {"parent": "uplink", "ipvlan_flag": "x"}, "requested ipvlan flag 'x' is not valid, 'bridge' is"),
    ],
)
def test_refused_parents(api: Api, driver: str, options: dict[str, str], text: str) -> None:
    answer = api.post("/networks/create", {"Name": "refused", "Driver": driver, "Options": options})
    assert answer.status == 500 and text in answer.json()["message"]
    assert api.get("/networks/refused").status == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"EnableIPv4": False}, "IPv4 or IPv6 must be enabled"),
        ({"IPAM": {"Driver": "null"}}, "ipv4 pool is empty"),
        ({"IPAM": {"Driver": "null", "Config": [{"Subnet": "10.1.0.0/24"}]}}, "null ipam driver does not handle"),
    ],
)
def test_refused_without_addresses(api: Api, body: dict[str, object], text: str) -> None:
    answer = api.post("/networks/create", {"Name": "refused", **body})
    assert answer.status == 400 and text in answer.json()["message"]


def test_addresses_that_the_user_gives(docker: Docker, api: Api, name: str) -> None:
    """The null IPAM driver has none: the container gets a link without an address."""
    flags = ("-d", "macvlan", "-o", "parent=uplink", "--ipam-driver", "null", "--ipv4=false")
    docker.ok("network", "create", *flags, name)
    try:
        assert api.json(f"/networks/{name}")["IPAM"] == {"Driver": "null", "Options": {}, "Config": None}
        out = docker.ok("run", "--rm", "--network", name, "busybox", "ip", "-o", "link")
        assert "eth0@" in out
        assert "eth0" not in docker.ok("run", "--rm", "--network", name, "busybox", "ip", "-o", "-4", "address")
    finally:
        docker.ok("network", "rm", name)
