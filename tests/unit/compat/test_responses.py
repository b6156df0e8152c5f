"""Each response gate: what the version below it is shown, and what the version itself is."""

from __future__ import annotations

import pytest
from lightship.compat import gates
from lightship.compat.responses import RESPONSES
from lightship.openapi.types.config import Config
from lightship.openapi.types.containers import (
    ContainerInspectResponse,
    ContainerSummary,
    ContainerSummaryHealth,
    SummaryHostConfig,
)
from lightship.openapi.types.images import (
    DriverData,
    Identity,
    ImageConfig,
    ImageInspect,
    ImageSummary,
    OCIDescriptor,
    RootFSSnapshot,
    RootFSStorage,
    Storage,
)
from lightship.openapi.types.networks import EndpointSettings, NetworkInspect, NetworkSettings, NetworkStatus
from lightship.openapi.types.stats import ContainerStatsResponse
from lightship.openapi.types.system import (
    Commit,
    ContainerdInfo,
    DeviceInfo,
    EventActor,
    EventMessage,
    FirewallInfo,
    RegistryServiceConfig,
    RuntimeInfo,
    SystemInfo,
)
from lightship.openapi.types.usage import ImagesDiskUsage, SystemDataUsageResponse
from msgspec import to_builtins

NEWEST = (1, 55)
MISSING = object()
ID = "0123456789abcdef" * 4

CONTAINER = ContainerInspectResponse(
    id=ID,
    config=Config(hostname="h", mac_address="02:42:00:00:00:01"),
    image_manifest_descriptor=OCIDescriptor(),
    storage=Storage(root_fs=RootFSStorage(snapshot=RootFSSnapshot(name="overlay2"))),
    network_settings=NetworkSettings(
        networks={
            "bridge": EndpointSettings(ip_address="172.17.0.2", gateway="172.17.0.1", aliases=["kept"]),
            "mine": EndpointSettings(aliases=["web"]),
        }
    ),
)
LISTED = [
    ContainerSummary(
        id=ID,
        host_config=SummaryHostConfig(annotations={"a": "b"}),
        image_manifest_descriptor=OCIDescriptor(),
        health=ContainerSummaryHealth(status="healthy"),
    )
]
IMAGE = ImageInspect(
    id="sha256:1", size=5, descriptor=OCIDescriptor(), identity=Identity([]), config=ImageConfig(cmd=["sh"])
)
IMAGES = [ImageSummary(id="sha256:1", size=5, repo_tags=[], repo_digests=[], containers=2, descriptor=OCIDescriptor())]
INFO = SystemInfo(
    registry_config=RegistryServiceConfig(),
    runtimes={"lightship": RuntimeInfo(path="p", status={"a": "b"})},
    containerd=ContainerdInfo(),
    firewall_backend=FirewallInfo(driver="nftables"),
    runc_commit=Commit(id="c1"),
    discovered_devices=[DeviceInfo()],
    security_options=["name=seccomp,profile=builtin", "name=cgroupns"],
)
EVENT = EventMessage(type="container", action="start", actor=EventActor(id="c", attributes={"image": "i"}))
CREATED = EventMessage(type="image", action="create", actor=EventActor(id="i"))
ANSWERS = {
    "NetworkInspect": NetworkInspect(status=NetworkStatus()),
    "ContainerInspect": CONTAINER, "ContainerList": LISTED, "ImageInspect": IMAGE, "ImageList": IMAGES,
    "SystemDataUsage": SystemDataUsageResponse(image_usage=ImagesDiskUsage(total_size=7, items=[ImageSummary(size=5)])),
    "SystemInfo": INFO, "SystemEvents": EVENT, "ContainerStats": ContainerStatsResponse(os_type="linux"),
}  # fmt: skip


def at(answer, path):
    """Return the member at a path of the plain form, or MISSING."""
    for step in path.split("/"):
        if isinstance(answer, list):
            answer = answer[int(step)]
        elif isinstance(answer, dict) and step in answer:
            answer = answer[step]
        else:
            return MISSING
    return answer


@pytest.mark.parametrize(
    ("operation", "version", "path", "below", "here"),
    [
        ("ContainerList", (1, 46), "0/HostConfig/Annotations", MISSING, {"a": "b"}),
        ("ContainerList", (1, 48), "0/ImageManifestDescriptor/size", MISSING, 0),
        ("ContainerList", (1, 52), "0/Health/Status", MISSING, "healthy"),
        ("ContainerInspect", (1, 45), "NetworkSettings/Networks/mine/Aliases", ["web", ID[:12], "h"], ["web"]),
        ("ContainerInspect", (1, 48), "ImageManifestDescriptor/size", MISSING, 0),
        ("ContainerInspect", (1, 52), "NetworkSettings/IPAddress", "172.17.0.2", MISSING),
        ("ContainerInspect", (1, 52), "NetworkSettings/Gateway", "172.17.0.1", MISSING),
        ("ContainerInspect", (1, 52), "NetworkSettings/GlobalIPv6PrefixLen", 0, MISSING),
        ("ContainerInspect", (1, 52), "NetworkSettings/HairpinMode", False, MISSING),
        ("ContainerInspect", (1, 52), "NetworkSettings/SecondaryIPAddresses", None, MISSING),
        ("ContainerInspect", (1, 52), "Config/OnBuild", None, MISSING),
        ("ContainerInspect", (1, 52), "Config/MacAddress", "02:42:00:00:00:01", MISSING),
        ("ContainerInspect", (1, 52), "GraphDriver", {"Data": None, "Name": "overlay2"}, MISSING),
        ("ContainerInspect", (1, 52), "Storage/RootFS/Snapshot/Name", MISSING, "overlay2"),
        ("NetworkInspect", (1, 52), "Status/IPAM", MISSING, {}),
        ("ImageList", (1, 43), "0/RepoTags", ["<none>:<none>"], []),
        ("ImageList", (1, 43), "0/RepoDigests", ["<none>@<none>"], []),
        ("ImageList", (1, 44), "0/VirtualSize", 5, MISSING),
        ("ImageList", (1, 48), "0/Descriptor/size", MISSING, 0),
        ("ImageList", (1, 51), "0/Containers", -1, 2),
        ("ImageInspect", (1, 44), "VirtualSize", 5, MISSING),
        ("ImageInspect", (1, 44), "Created", "0001-01-01T00:00:00Z", MISSING),
        ("ImageInspect", (1, 45), "ContainerConfig/Hostname", "", MISSING),
        ("ImageInspect", (1, 45), "Container", "", MISSING),
        ("ImageInspect", (1, 48), "Descriptor/size", MISSING, 0),
        ("ImageInspect", (1, 53), "Identity/Pull", MISSING, []),
        ("ImageInspect", (1, 50), "Config/Hostname", "", MISSING),
        ("ImageInspect", (1, 50), "Config/Cmd", ["sh"], ["sh"]),
        ("ImageInspect", (1, 52), "Config/Env", None, MISSING),
        ("ImageInspect", (1, 52), "Config/User", "", MISSING),
        ("ImageInspect", (1, 52), "Author", "", MISSING),
        ("ImageInspect", (1, 52), "Parent", "", MISSING),
        ("ImageInspect", (1, 52), "GraphDriver/Name", "overlay2", MISSING),
        ("SystemInfo", (1, 25), "SecurityOptions", ["seccomp", "cgroupns"],
         ["name=seccomp,profile=builtin", "name=cgroupns"]),
        ("SystemInfo", (1, 42), "KernelMemory", False, MISSING),
        ("SystemInfo", (1, 44), "Runtimes/lightship", {"path": "p"}, {"path": "p", "status": {"a": "b"}}),
        ("SystemInfo", (1, 46), "Containerd/Namespaces/Plugins", MISSING, ""),
        ("SystemInfo", (1, 49), "RegistryConfig/AllowNondistributableArtifactsCIDRs", None, MISSING),
        ("SystemInfo", (1, 49), "FirewallBackend/Driver", MISSING, "nftables"),
        ("SystemInfo", (1, 49), "RuncCommit/Expected", "c1", MISSING),
        ("SystemInfo", (1, 50), "DiscoveredDevices/0/ID", MISSING, ""),
        ("SystemInfo", (1, 50), "BridgeNfIptables", False, MISSING),
        ("SystemInfo", (1, 52), "KernelMemoryTCP", False, MISSING),
        ("SystemDataUsage", (1, 44), "Images/0/VirtualSize", 5, MISSING),
        ("SystemDataUsage", (1, 52), "ImageUsage/TotalSize", MISSING, 7),
        ("SystemDataUsage", (1, 52), "LayersSize", 7, 7),
        ("SystemDataUsage", (1, 53), "Images/0/Size", 5, MISSING),
        ("ContainerStats", (1, 52), "os_type", MISSING, "linux"),
        ("SystemEvents", (1, 52), "status", "start", MISSING),
        ("SystemEvents", (1, 52), "id", "c", MISSING),
        ("SystemEvents", (1, 52), "from", "i", MISSING),
    ],
)  # fmt: skip
def test_gate(operation, version, path, below, here):
    major, minor = version
    before = to_builtins(gates.downgrade(operation, (major, minor - 1), ANSWERS[operation]))
    after = to_builtins(gates.downgrade(operation, version, ANSWERS[operation]))
    assert at(before, path) == below
    assert at(after, path) == here


def test_every_gate_has_a_test():
    """Each boundary in the table is one that `test_gate` looks at, or the one for image create events."""
    tested = {(case[0], case[1]) for mark in test_gate.pytestmark for case in mark.args[1]}
    boundaries = {(gate.operation, edge) for gate in RESPONSES for edge in (gate.below, gate.since) if edge}
    assert boundaries - tested == {("SystemEvents", (1, 46))}


def test_image_create_events_came_with_1_46():
    assert gates.downgrade("SystemEvents", (1, 45), CREATED) is None
    assert gates.downgrade("SystemEvents", (1, 46), CREATED)["Action"] == "create"


def test_members_of_older_answers_keep_their_order_and_maps_are_sorted():
    """`docker inspect` prints them as they come."""
    network = NetworkInspect(name="n", id="i", labels={"b": "", "a": ""})
    shown = gates.downgrade("NetworkInspect", (1, 51), network)
    assert list(shown)[:4] == ["Name", "Id", "Created", "Scope"]
    assert list(shown["Labels"]) == ["a", "b"]


def test_prune_events_have_no_object_to_name():
    shown = gates.downgrade("SystemEvents", (1, 51), EventMessage(type="container", action="prune", actor=EventActor()))
    assert not {"id", "from", "status"} & set(shown)


def test_events_of_other_kinds_get_no_old_members():
    event = EventMessage(type="network", action="connect", actor=EventActor(id="n"))
    assert "status" not in gates.downgrade("SystemEvents", (1, 51), event)


def test_the_engines_own_objects_are_left_alone():
    before = to_builtins(CONTAINER)
    gates.downgrade("ContainerInspect", (1, 24), CONTAINER)
    assert to_builtins(CONTAINER) == before


def test_tables_are_not_shared_between_answers():
    first = gates.downgrade("ImageInspect", (1, 44), IMAGE)
    first["ContainerConfig"]["Hostname"] = "changed"
    first["GraphDriver"]["Name"] = "changed"
    second = gates.downgrade("ImageInspect", (1, 44), IMAGE)
    assert (second["ContainerConfig"]["Hostname"], second["GraphDriver"]["Name"]) == ("", "overlay2")


def test_a_graph_driver_that_is_there_stays():
    image = ImageInspect(graph_driver=DriverData(name="overlay2", data={"UpperDir": "/u"}))
    assert gates.downgrade("ImageInspect", (1, 51), image)["GraphDriver"]["Data"] == {"UpperDir": "/u"}


def test_operations_without_gates_are_passed_on_untouched():
    answer = object()
    assert gates.downgrade("SystemVersion", (1, 24), answer) is answer


def test_containers_without_networks_have_empty_settings():
    shown = gates.downgrade(
        "ContainerInspect",
        (1, 51),
        ContainerInspectResponse(id=ID, config=Config(), network_settings=NetworkSettings()),
    )
    assert (shown["NetworkSettings"]["IPAddress"], shown["NetworkSettings"]["Bridge"]) == ("", "")
