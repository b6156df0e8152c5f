"""Why our document differs from the published ones: every difference that is left, with its reason.

Patterns are matched against the whole line of `drift.differences`. Differences from older documents are there because
ours is of the newest version: the gates in `compat` make up for them.
"""

from __future__ import annotations

import re

_SWARM = "swarm mode is not there"
_EMPTY = "dockerd leaves it out where it is empty, which it always is here"
_GATE = "an older version's; compat.responses adds it"
_LATER = "a later version changed it"

REASONS: tuple[tuple[str, str], ...] = (
    (r"(ContainerConfig|POST /containers/create: body body)\.MacAddress: not published",
     "sent by clients before 1.52; compat.endpoints moves it to the endpoint"),
    (r".*BindOptions\.IDMapping(\..*)?: not published", "planned for 1.56; those who send it mean it"),
    (r"POST /build/prune: query keep-storage not published", "what reserved-space was called before 1.48"),
    (r"POST /(grpc|build/cancel): not published", "dockerd has it too, for buildx and the CLI"),
    (r"(Identity|ImageInspect\.Identity|ImageManifestSummary\.ImageData\.Identity)\.(Build|Signature): missing",
     "signatures are not checked, and builds have no history"),
    (r"Network\.(Peers|Services): missing", _SWARM),
    (r"Network\.Containers: missing", "NetworkInspect has it; before 1.52 lists had the same definition"),
    (r"SwarmInfo\.Cluster: missing", _SWARM),
    (r"SystemInfo\.GenericResources\[\]\.(DiscreteResourceSpec|NamedResourceSpec): missing", _SWARM),
    (r"Plugin\.Config\.DockerVersion: missing", "which dockerd made it; later versions do not have it"),
    (r"PluginInterfaceType: type object, ours string", "dockerd writes one as a string, as newer documents say"),
    (r"SystemInfo\.NRI: missing", "there is no NRI"),
    (r"Volume\.ClusterVolume: missing", _SWARM),
    (r"AuthConfig\.email: missing", "without effect for long, and gone from newer documents"),
    (r"VolumeCreate(Request|Options)\.ClusterVolumeSpec: missing", _SWARM),
    (r"(HostConfig|POST /containers/\{id\}/update: body update)\.KernelMemoryTCP: missing", _EMPTY),
    (r"SystemInfo\.(KernelMemoryTCP|BridgeNfIptables|BridgeNfIp6tables): missing", _GATE),
    (r"NetworkSettings\.(Bridge|HairpinMode|LinkLocalIPv6Address|LinkLocalIPv6PrefixLen|SecondaryIPAddresses|"
     r"SecondaryIPv6Addresses|EndpointID|Gateway|GlobalIPv6Address|GlobalIPv6PrefixLen|IPAddress|IPPrefixLen|"
     r"IPv6Gateway|MacAddress): missing", _GATE),
    (r"ImageInspect\.(Container|ContainerConfig): missing", _GATE),
    (r"ImageInspect\.(Parent|DockerVersion): not published", "dockerd tells them still, where the image has them"),
    (r"ImageConfig\.(Hostname|Domainname|AttachStdin|AttachStdout|AttachStderr|Tty|OpenStdin|StdinOnce|Image): missing",
     _GATE),
    (r"ImageConfig\.(NetworkDisabled|MacAddress|StopTimeout): missing", _EMPTY),
    (r"RegistryServiceConfig\.AllowNondistributableArtifacts(CIDRs|Hostnames): missing", _GATE),
    (r"Commit\.Expected: missing", _GATE),
    (r"(BuildCache|Containers|Images|Volumes)DiskUsage\.Items\[\]: .*", "the document names Go's types alone"),
    (r"GET /system/df: 200\.(LayersSize|Images|Containers|Volumes|BuildCache): missing", _GATE),
    (r"(POST /images/load|GET /images/get|GET /images/\{name\}/get): query platform: type string, ours array", _LATER),
    (r"(Mount|MountPoint)\.Type: enum .*", _LATER),
    (r"HostConfig\.LogConfig\.Type: enum .*", _LATER),
    (r"ContainerSummary\.State: enum None, ours .*", _LATER),
    (r"POST /networks/\{id\}/(connect|disconnect): body container\.Container: not required there", _LATER),
    (r"POST /networks/create: 201\.(Id|Warning): not required there", _LATER),
    (r"POST /networks/create: body networkConfig\.CheckDuplicate: missing", "without effect since 1.44"),
)  # fmt: skip


def reason(difference: str, *, is_newest: bool) -> str | None:
    """Return why a difference is there, nothing where nobody has said so."""
    if not is_newest and difference.endswith(": not published"):
        return "newer than that document"
    return next((because for pattern, because in REASONS if re.fullmatch(pattern, difference)), None)
