"""Each request gate: what a body means below its version and from it on."""

from __future__ import annotations

import json

import pytest
from lightship.compat import gates
from lightship.compat.endpoints import SYSCTLS
from lightship.compat.requests import REQUESTS
from lightship.engine.errors import InvalidArgument
from lightship.engine.filters import Filters
from lightship.openapi.codec import decode
from lightship.openapi.types.networks import NetworkConnectRequest, NetworkCreateRequest
from lightship.openapi.types.requests import (
    ContainerCreateRequest,
    ContainerUpdateRequest,
    ExecCreateRequest,
    ExecStartRequest,
)
from msgspec import UNSET

NEWEST = (1, 55)
MAC = "02:42:ac:11:00:09"


def create(version, body):
    """Return the request as the engine gets it, and the warnings."""
    request = decode(json.dumps({"Image": "i", **body}).encode(), ContainerCreateRequest)
    warnings = gates.upgrade("ContainerCreate", version, request)
    return request, warnings


def mount(**members):
    return {"HostConfig": {"Mounts": [members]}}


def refused(version, body):
    with pytest.raises(InvalidArgument) as caught:
        create(version, body)
    return str(caught.value)


def test_every_part_is_there_afterwards():
    request, _ = create(NEWEST, {})
    assert request.host_config.network_mode == "bridge"
    assert request.networking_config.endpoints_config == {}


def test_the_default_network_is_the_bridge():
    networking = {"EndpointsConfig": {"default": {"MacAddress": MAC}}}
    request, _ = create(NEWEST, {"HostConfig": {"NetworkMode": "default"}, "NetworkingConfig": networking})
    assert request.host_config.network_mode == "bridge"
    assert request.networking_config.endpoints_config["bridge"].mac_address == MAC


@pytest.mark.parametrize(("limit", "means"), [(-1, None), (0, None), (5, 5)])
def test_no_limit_of_processes(limit, means):
    assert create(NEWEST, {"HostConfig": {"PidsLimit": limit}})[0].host_config.pids_limit == means


def test_1_40_recursive_binds_and_private_ipc():
    body = mount(Type="bind", BindOptions={"NonRecursive": True})
    before, after = create((1, 39), body)[0].host_config, create((1, 40), body)[0].host_config
    assert before.mounts[0].bind_options.non_recursive is UNSET
    assert after.mounts[0].bind_options.non_recursive is True
    assert (before.ipc_mode, after.ipc_mode) == ("shareable", "")


def test_1_42_options_of_other_mount_types():
    body = mount(Type="bind", BindOptions={"CreateMountpoint": True}, VolumeOptions={}, TmpfsOptions={})
    before = create((1, 41), body)[0].host_config.mounts[0]
    assert (before.bind_options.create_mountpoint, before.volume_options, before.tmpfs_options) == (UNSET, UNSET, UNSET)
    assert refused((1, 42), body) == 'VolumeOptions must not be specified on mount type "bind"'
    assert refused(NEWEST, mount(Type="volume", BindOptions={})) == (
        'BindOptions must not be specified on mount type "volume"'
    )
    assert refused(NEWEST, mount(Type="volume", TmpfsOptions={})) == (
        'TmpfsOptions must not be specified on mount type "volume"'
    )


def test_1_42_console_size():
    body = {"HostConfig": {"ConsoleSize": [10, 20]}}
    assert create((1, 41), body)[0].host_config.console_size == [0, 0]
    assert create((1, 42), body)[0].host_config.console_size == [10, 20]


def test_1_43_annotations():
    body = {"HostConfig": {"Annotations": {"a": "b"}}}
    assert create((1, 42), body)[0].host_config.annotations is UNSET
    assert create((1, 43), body)[0].host_config.annotations == {"a": "b"}


def test_1_44_start_interval():
    body = {"Healthcheck": {"StartInterval": 5}}
    assert create((1, 43), body)[0].healthcheck.start_interval is UNSET
    assert create((1, 44), body)[0].healthcheck.start_interval == 5


def test_1_44_read_only_binds():
    body = mount(Type="bind", ReadOnly=True)
    assert create((1, 43), body)[0].host_config.mounts[0].bind_options.read_only_non_recursive is True
    assert create((1, 44), body)[0].host_config.mounts[0].bind_options is UNSET
    forced = mount(Type="bind", BindOptions={"ReadOnlyForceRecursive": True})
    assert refused((1, 43), forced) == "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"


def test_1_44_several_networks():
    body = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    assert refused((1, 43), body) == "Container cannot be created with multiple network endpoints: a, b"
    assert len(create((1, 44), body)[0].networking_config.endpoints_config) == 2


def test_1_45_subpath():
    body = mount(Type="volume", VolumeOptions={"Subpath": "a"})
    assert refused((1, 44), body) == "VolumeOptions.Subpath needs API v1.45 or newer"
    assert create((1, 45), body)[0].host_config.mounts[0].volume_options.subpath == "a"


def test_1_48_gateway_priority():
    body = {"NetworkingConfig": {"EndpointsConfig": {"a": {"GwPriority": 5}}}}
    assert create((1, 47), body)[0].networking_config.endpoints_config["a"].gw_priority == 0
    assert create((1, 48), body)[0].networking_config.endpoints_config["a"].gw_priority == 5


def test_1_48_image_mounts():
    assert refused((1, 47), mount(Type="image")) == 'Mount type "Image" needs API v1.48 or newer'
    assert create((1, 48), mount(Type="image"))[0].host_config.mounts[0].type == "image"


def test_1_48_volume_driver_warning():
    body = {"HostConfig": {"VolumeDriver": "d", "Mounts": [{"Type": "volume"}]}}
    assert create((1, 47), body)[1] == []
    (warning,) = create((1, 48), body)[1]
    assert warning.startswith("WARNING: the container-wide volume-driver configuration is ignored")
    body["HostConfig"]["Mounts"][0]["VolumeOptions"] = {"DriverConfig": {"Name": "d"}}
    assert create((1, 48), body)[1] == []


def test_1_44_mac_address_of_the_container():
    request, warnings = create((1, 43), {"MacAddress": MAC})
    assert request.networking_config.endpoints_config["bridge"].mac_address == MAC
    assert warnings == []
    assert refused((1, 43), {"MacAddress": MAC, "HostConfig": {"NetworkMode": "host"}}) == (
        "conflicting options: mac-address and the network mode"
    )
    ignored = {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": MAC}}}}
    assert create((1, 43), ignored)[0].networking_config.endpoints_config["bridge"].mac_address == ""


def test_1_52_mac_address_of_the_container():
    request, warnings = create((1, 51), {"MacAddress": MAC})
    assert request.networking_config.endpoints_config["bridge"].mac_address == MAC
    assert warnings == [
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
    ]
    other = {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:11:00:01"}}}
    assert "must match the endpoint-specific MAC address" in refused(
        (1, 51), {"MacAddress": MAC, "NetworkingConfig": other}
    )
    elsewhere = {"EndpointsConfig": {"other": {}}}
    assert refused((1, 51), {"MacAddress": MAC, "NetworkingConfig": elsewhere}).startswith(
        "unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match"
    )
    request, warnings = create((1, 52), {"MacAddress": MAC})
    assert (request.mac_address, request.networking_config.endpoints_config, warnings) == (UNSET, {}, [])


def test_1_48_sysctls_of_interfaces():
    body = {"HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.log_martians": "1", "net.core.somaxconn": "9"}}}
    request, (warning,) = create((1, 47), body)
    assert request.host_config.sysctls == {"net.core.somaxconn": "9"}
    setting = "net.ipv4.conf.IFNAME.log_martians=1"
    assert request.networking_config.endpoints_config["bridge"].driver_opts == {SYSCTLS: setting}
    assert warning == f'Migrated sysctl "net.ipv4.conf.eth0.log_martians" to DriverOpts{{"{SYSCTLS}":"{setting}"}}.'
    assert refused((1, 48), body) == (
        'interface specific sysctl setting "net.ipv4.conf.eth0.log_martians" must be supplied using driver option '
        f"'{SYSCTLS}'"
    )
    other = {"HostConfig": {"Sysctls": {"net.ipv4.conf.eth1.log_martians": "1"}}}
    assert refused((1, 47), other).startswith("unable to determine network endpoint for sysctl")
    shared = {"HostConfig": {"NetworkMode": "host", **other["HostConfig"]}}
    assert create((1, 48), shared)[0].host_config.sysctls == other["HostConfig"]["Sysctls"]


def test_sysctls_go_before_those_that_the_endpoint_has():
    endpoint = {"DriverOpts": {SYSCTLS: "net.ipv4.conf.IFNAME.forwarding=1"}}
    body = {
        "HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "0"}},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": endpoint}},
    }
    options = create((1, 47), body)[0].networking_config.endpoints_config["bridge"].driver_opts
    assert options[SYSCTLS] == "net.ipv4.conf.IFNAME.forwarding=0,net.ipv4.conf.IFNAME.forwarding=1"


def test_1_52_empty_port_bindings():
    body = {"HostConfig": {"PortBindings": {"80/tcp": [], "81/tcp": None, "82/tcp": [{"HostPort": "5"}]}}}
    before, silence = create((1, 51), body)
    after, (warning,) = create((1, 52), body)
    for request in (before, after):
        assert [len(bindings) for bindings in request.host_config.port_bindings.values()] == [1, 1, 1]
    assert silence == []
    assert warning.startswith("Following container port(s) have an empty list of port-bindings: 80/tcp, 81/tcp.")


@pytest.mark.parametrize(("version", "limit", "means"), [((1, 39), 5, None), ((1, 40), 5, 5), (NEWEST, -1, 0)])
def test_update_pids_limit(version, limit, means):
    request = ContainerUpdateRequest(pids_limit=limit)
    gates.upgrade("ContainerUpdate", version, request)
    assert request.pids_limit == means


def test_1_55_update_of_devices():
    for version, kept in (((1, 54), None), ((1, 55), [])):
        request = ContainerUpdateRequest(blkio_weight_device=[], blkio_device_read_iops=[], blkio_device_write_bps=[])
        gates.upgrade("ContainerUpdate", version, request)
        assert (request.blkio_weight_device, request.blkio_device_read_iops, request.blkio_device_write_bps) == (
            kept,
        ) * 3


def test_1_42_console_size_of_exec():
    for version, kept in (((1, 41), None), ((1, 42), [1, 2])):
        made, started = ExecCreateRequest(console_size=[1, 2]), ExecStartRequest(console_size=[1, 2], tty=True)
        gates.upgrade("ContainerExec", version, made)
        gates.upgrade("ExecStart", version, started)
        assert (made.console_size, started.console_size) == (kept, kept)
    without_tty = ExecStartRequest(console_size=[1, 2])
    gates.upgrade("ExecStart", NEWEST, without_tty)
    assert without_tty.console_size is None


def test_1_48_networks_without_ipv4():
    for version, kept in (((1, 47), None), ((1, 48), False)):
        request = NetworkCreateRequest(name="n", enable_ipv4=False)
        gates.upgrade("NetworkCreate", version, request)
        assert request.enable_ipv4 is kept


def test_a_mac_address_on_connect_is_kept_by_every_version():
    """Before 1.54 dockerd showed it, as docker-py's tests expect, and did not use it."""
    for version in ((1, 24), (1, 53), (1, 54)):
        request = decode(json.dumps({"EndpointConfig": {"MacAddress": MAC}}).encode(), NetworkConnectRequest)
        gates.upgrade("NetworkConnect", version, request)
        assert request.endpoint_config.mac_address == MAC


def test_1_42_pruning_of_named_volumes():
    assert gates.filters("VolumePrune", (1, 41), Filters({"label": ["a"]})).get("all") == ["true"]
    assert gates.filters("VolumePrune", (1, 41), Filters({"label": ["a"]})).get("label") == ["a"]
    assert "all" not in gates.filters("VolumePrune", (1, 42), Filters())


def test_completing_comes_first():
    assert next(gate for gate in REQUESTS if gate.operation == "ContainerCreate").change.__name__ == "_complete"


@pytest.mark.parametrize("version", [(1, 24), (1, 40), (1, 43), (1, 47), (1, 51), (1, 55)])
def test_what_the_stock_client_sends_is_understood_by_every_version(version):
    body = {
        "Hostname": "", "Cmd": ["sh"], "OnBuild": None, "Labels": {},
        "HostConfig": {"Binds": None, "NetworkMode": "default", "PortBindings": {}, "Mounts": None, "Sysctls": None},
        "NetworkingConfig": {"EndpointsConfig": {"default": {}}},
    }  # fmt: skip
    request, warnings = create(version, body)
    assert (request.cmd, request.host_config.network_mode, warnings) == (["sh"], "bridge", [])
