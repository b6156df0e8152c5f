"""What dockerd calls the API's types in its messages: Go's names, which clients and people have seen for years."""

from __future__ import annotations

import types
import typing
from typing import Any, Union

STRUCTS: dict[str, str] = {
    "BindOptions": "mount.BindOptions",
    "ConfigReference": "network.ConfigReference",
    "ContainerCreateRequest": "container.CreateRequest",
    "ContainerUpdateRequest": "container.UpdateConfig",
    "DeviceMapping": "container.DeviceMapping",
    "DeviceRequest": "container.DeviceRequest",
    "EndpointIPAMConfig": "network.EndpointIPAMConfig",
    "EndpointSettings": "network.EndpointSettings",
    "ExecCreateRequest": "container.ExecOptions",
    "ExecStartRequest": "container.ExecStartOptions",
    "HealthConfig": "v1.HealthcheckConfig",
    "HostConfig": "container.HostConfig",
    "IPAM": "network.IPAM",
    "IPAMConfig": "network.IPAMConfig",
    "ImageOptions": "mount.ImageOptions",
    "LogConfig": "container.LogConfig",
    "Mount": "mount.Mount",
    "NetworkConnectRequest": "network.ConnectOptions",
    "NetworkCreateRequest": "network.CreateRequest",
    "NetworkDisconnectRequest": "network.DisconnectOptions",
    "NetworkingConfig": "network.NetworkingConfig",
    "PortBinding": "nat.PortBinding",
    "RestartPolicy": "container.RestartPolicy",
    "ThrottleDevice": "blkiodev.ThrottleDevice",
    "TmpfsOptions": "mount.TmpfsOptions",
    "Ulimit": "units.Ulimit",
    "VolumeCreateRequest": "volume.CreateOptions",
    "VolumeDriverConfig": "mount.Driver",
    "VolumeOptions": "mount.VolumeOptions",
    "WeightDevice": "blkiodev.WeightDevice",
}
_MEMBERS: dict[str, str] = {
    "BlkioWeight": "uint16",
    "Cgroup": "container.CgroupSpec",
    "CgroupnsMode": "container.CgroupnsMode",
    "ConsoleSize": "[2]uint",
    "Consistency": "mount.Consistency",
    "Count": "int",
    "EndpointsConfig": "map[string]*network.EndpointSettings",
    "ExposedPorts": "nat.PortSet",
    "GlobalIPv6PrefixLen": "int",
    "GwPriority": "int",
    "IPPrefixLen": "int",
    "Interval": "time.Duration",
    "IpcMode": "container.IpcMode",
    "Isolation": "container.Isolation",
    "MaximumRetryCount": "int",
    "Mode": "fs.FileMode",
    "NetworkMode": "container.NetworkMode",
    "OomScoreAdj": "int",
    "PidMode": "container.PidMode",
    "PortBindings": "nat.PortMap",
    "Propagation": "mount.Propagation",
    "Rate": "uint64",
    "Retries": "int",
    "RestartPolicy.Name": "container.RestartPolicyMode",
    "StartInterval": "time.Duration",
    "StartPeriod": "time.Duration",
    "StopTimeout": "int",
    "Timeout": "time.Duration",
    "Mount.Type": "mount.Type",
    "UTSMode": "container.UTSMode",
    "UsernsMode": "container.UsernsMode",
    "Weight": "uint16",
}
_SCALARS: dict[Any, str] = {str: "string", bool: "bool", int: "int64", Any: "interface {}"}
_EMPTY_OBJECT = dict[str, Any]


def struct_name(name: str) -> str:
    return STRUCTS.get(name, name)


def root_name(name: str) -> str:
    """Return what a path to a member begins with; the body of create has no name of its own."""
    return "" if name == "ContainerCreateRequest" else struct_name(name).rpartition(".")[2]


def member_name(struct: str, member: str, hint: Any) -> str:
    """Return the type of a member."""
    return _MEMBERS.get(f"{struct}.{member}") or _MEMBERS.get(member) or type_name(hint)


def type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint == _EMPTY_OBJECT:
        return "struct {}"
    if origin is list:
        return f"[]{type_name(arguments[0])}"
    if origin is dict:
        return f"map[string]{type_name(arguments[1])}"
    if origin in (Union, types.UnionType):
        return type_name(arguments[0])
    return _SCALARS.get(hint) or struct_name(hint.__name__)
