"""Response gates: what older clients are shown, each entry one change of the API's history.

The changes work on an answer's plain form (dicts as they are on the wire) and return it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .gate import Gate

_ZERO_TIME = "0001-01-01T00:00:00Z"
_Answer = Any
_Change = Callable[[_Answer], _Answer]

_CONFIG_1_51: Mapping[str, Any] = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
_CONFIG_1_49: Mapping[str, Any] = {
    **_CONFIG_1_51,
    "AttachStderr": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "Domainname": "",
    "Hostname": "",
    "Image": "",
    "OpenStdin": False,
    "StdinOnce": False,
    "Tty": False,
}
_NETWORK_SETTINGS: Mapping[str, Any] = {
    "Bridge": "",
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
}
_BRIDGE_SETTINGS: Mapping[str, Any] = {
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


def _objects(answer: _Answer, path: list[str]) -> Iterator[dict[str, Any]]:
    """Give the objects at a path; `[]` and `{}` stand for every item of a list or a map."""
    if not path:
        yield answer
        return
    step, *rest = path
    if step in ("[]", "{}"):
        for item in answer.values() if step == "{}" else answer:
            yield from _objects(item, rest)
    elif answer.get(step) is not None:
        yield from _objects(answer[step], rest)


def _without(path: str) -> _Change:
    """Leave out a member, such as `[].HostConfig.Annotations`."""
    *parents, name = path.split(".")

    def change(answer: _Answer) -> _Answer:
        for found in _objects(answer, parents):
            found.pop(name, None)
        return answer

    return change


def _with(path: str, members: Mapping[str, Any]) -> _Change:
    """Add members that are not there, to the object at `path`."""

    def change(answer: _Answer) -> _Answer:
        for found in _objects(answer, path.split(".") if path else []):
            for name, value in members.items():
                found.setdefault(name, copy.copy(value))
        return answer

    return change


def _same(path: str, source: str, target: str) -> _Change:
    """Show a member by an older name as well."""

    def change(answer: _Answer) -> _Answer:
        for found in _objects(answer, path.split(".") if path else []):
            found[target] = found.get(source)
        return answer

    return change


def _bridge_settings(answer: _Answer) -> _Answer:
    """What the container has on the default bridge stood in the network settings themselves."""
    settings = answer.get("NetworkSettings")
    if settings is not None:
        bridge = (settings.get("Networks") or {}).get("bridge") or {}
        settings.update({name: bridge.get(name, default) for name, default in _BRIDGE_SETTINGS.items()})
    return answer


def _graph_driver(answer: _Answer) -> _Answer:
    """Say by the older name where a snapshotter holds the file system."""
    storage = answer.pop("Storage", None)
    if "GraphDriver" not in answer and storage:
        name = ((storage.get("RootFS") or {}).get("Snapshot") or {}).get("Name", "")
        answer["GraphDriver"] = {"Data": None, "Name": name}
    return answer


def _short_id_alias(answer: _Answer) -> _Answer:
    """On user-defined networks the short id and the host name were shown as aliases."""
    for name, endpoint in ((answer.get("NetworkSettings") or {}).get("Networks") or {}).items():
        if name not in ("bridge", "host", "none", "default"):
            hostname = (answer.get("Config") or {}).get("Hostname", "")
            aliases = [*(endpoint.get("Aliases") or ()), answer["Id"][:12], hostname]
            endpoint["Aliases"] = list(dict.fromkeys(aliases))
    return answer


def _none_names(answer: _Answer) -> _Answer:
    for image in answer:
        if not image["RepoTags"] and not image["RepoDigests"]:
            image["RepoTags"], image["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]
    return answer


def _uncounted(answer: _Answer) -> _Answer:
    for image in answer:
        image["Containers"] = -1
    return answer


def _expected_commits(answer: _Answer) -> _Answer:
    for name in ("ContainerdCommit", "RuncCommit", "InitCommit"):
        answer[name]["Expected"] = answer[name]["ID"]
    return answer


def _bare_security_options(answer: _Answer) -> _Answer:
    options = answer.get("SecurityOptions") or []
    answer["SecurityOptions"] = [option.removeprefix("name=").partition(",")[0] for option in options]
    return answer


def _no_image_create(answer: _Answer) -> _Answer:
    return None if (answer["Type"], answer["Action"]) == ("image", "create") else answer


def _event_of_1_21(answer: _Answer) -> _Answer:
    if answer["Type"] in ("container", "image") and answer["Actor"]["ID"]:
        answer["id"], answer["status"] = answer["Actor"]["ID"], answer["Action"]
    if answer["Type"] == "container" and answer["Actor"]["ID"]:
        answer["from"] = (answer["Actor"].get("Attributes") or {}).get("image", "")
    return answer


def _both_disk_usages(answer: _Answer) -> _Answer:
    """Tell the lists by the names that they had, too."""
    parts = {"Images": "ImageUsage", "Containers": "ContainerUsage", "Volumes": "VolumeUsage"}
    found = {name: (answer.get(part) or {}).get("Items") for name, part in parts.items()}
    found["BuildCache"] = (answer.get("BuildCacheUsage") or {}).get("Items")
    return {"LayersSize": (answer.get("ImageUsage") or {}).get("TotalSize", 0), **found, **answer}


def _old_disk_usage(answer: _Answer) -> _Answer:
    both = _both_disk_usages(answer)
    return {name: value for name, value in both.items() if not name.endswith("Usage")}


RESPONSES: tuple[Gate, ...] = (
    Gate("ContainerList", _without("[].HostConfig.Annotations"), below=(1, 46)),
    Gate("ContainerList", _without("[].ImageManifestDescriptor"), below=(1, 48)),
    Gate("ContainerList", _without("[].Health"), below=(1, 52)),
    Gate("ContainerInspect", _short_id_alias, below=(1, 45)),
    Gate("ContainerInspect", _without("ImageManifestDescriptor"), below=(1, 48)),
    Gate("ContainerInspect", _with("NetworkSettings", _NETWORK_SETTINGS), below=(1, 52)),
    Gate("ContainerInspect", _bridge_settings, below=(1, 52)),
    Gate("ContainerInspect", _with("Config", {"OnBuild": None}), below=(1, 52)),
    Gate("ContainerInspect", _graph_driver, below=(1, 52)),
    Gate("ContainerInspect", _without("Config.MacAddress"), since=(1, 52)),
    Gate("NetworkInspect", _without("Status"), below=(1, 52)),
    Gate("ImageList", _none_names, below=(1, 43)),
    Gate("ImageList", _same("[]", "Size", "VirtualSize"), below=(1, 44)),
    Gate("ImageList", _without("[].Descriptor"), below=(1, 48)),
    Gate("ImageList", _uncounted, below=(1, 51)),
    Gate("ImageInspect", _same("", "Size", "VirtualSize"), below=(1, 44)),
    Gate("ImageInspect", _with("", {"Created": _ZERO_TIME}), below=(1, 44)),
    Gate("ImageInspect", _with("", {"Container": "", "ContainerConfig": _CONFIG_1_49}), below=(1, 45)),
    Gate("ImageInspect", _without("Descriptor"), below=(1, 48)),
    Gate("ImageInspect", _without("Identity"), below=(1, 53)),
    Gate("ImageInspect", _with("Config", _CONFIG_1_49), below=(1, 50)),
    Gate("ImageInspect", _with("Config", _CONFIG_1_51), since=(1, 50), below=(1, 52)),
    Gate("ImageInspect", _with("", dict.fromkeys(("Parent", "Comment", "DockerVersion", "Author"), "")), below=(1, 52)),
    Gate("ImageInspect", _with("", {"GraphDriver": {"Data": None, "Name": "overlay2"}}), below=(1, 52)),
    Gate("SystemDataUsage", _both_disk_usages, since=(1, 52), below=(1, 53)),
    Gate("SystemDataUsage", _old_disk_usage, below=(1, 52)),
    Gate("SystemDataUsage", _same("Images.[]", "Size", "VirtualSize"), below=(1, 44)),
    Gate("SystemInfo", _bare_security_options, below=(1, 25)),
    Gate("SystemInfo", _with("", {"KernelMemory": False}), below=(1, 42)),
    Gate("SystemInfo", _without("Runtimes.{}.status"), below=(1, 44)),
    Gate("SystemInfo", _without("Containerd"), below=(1, 46)),
    Gate(
        "SystemInfo",
        _with(
            "RegistryConfig",
            dict.fromkeys(("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames")),
        ),
        below=(1, 49),
    ),
    Gate("SystemInfo", _without("FirewallBackend"), below=(1, 49)),
    Gate("SystemInfo", _expected_commits, below=(1, 49)),
    Gate("SystemInfo", _without("DiscoveredDevices"), below=(1, 50)),
    Gate("SystemInfo", _with("", {"BridgeNfIptables": False, "BridgeNfIp6tables": False}), below=(1, 50)),
    Gate("SystemInfo", _with("", {"KernelMemoryTCP": False}), below=(1, 52)),
    Gate("ContainerStats", _without("os_type"), below=(1, 52)),
    Gate("SystemEvents", _no_image_create, below=(1, 46)),
    Gate("SystemEvents", _event_of_1_21, below=(1, 52)),
)
