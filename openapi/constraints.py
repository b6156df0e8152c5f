"""What the document says of members beyond their type: enumerations, and which ones are always there.

Keyed by the type's name. Decoding does not enforce them: dockerd's own checks, with its own texts, are the services'.
"""

from __future__ import annotations

_HEALTH = ("none", "starting", "healthy", "unhealthy")
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_MOUNT_TYPES = ("bind", "cluster", "image", "npipe", "tmpfs", "volume")
_LOG_DRIVERS = (
    "local", "json-file", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "none",
)  # fmt: skip
_EVENT_TYPES = (
    "builder", "config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume",
)  # fmt: skip

ENUMS: dict[str, dict[str, tuple[str, ...]]] = {
    "BindOptions": {"Propagation": ("private", "rprivate", "shared", "rshared", "slave", "rslave")},
    "ContainerState": {"Status": _STATES},
    "ContainerSummary": {"State": _STATES},
    "ContainerSummaryHealth": {"Status": _HEALTH},
    "EventMessage": {"Type": _EVENT_TYPES, "scope": ("local", "swarm")},
    "Health": {"Status": _HEALTH},
    "HostConfig": {"CgroupnsMode": ("private", "host"), "Isolation": ("default", "process", "hyperv", "")},
    "ImageManifestSummary": {"Kind": ("image", "attestation", "unknown")},
    "LogConfig": {"Type": _LOG_DRIVERS},
    "Mount": {"Type": _MOUNT_TYPES},
    "MountPoint": {"Type": _MOUNT_TYPES},
    "PluginInterface": {"ProtocolScheme": ("", "moby.plugins.http/v1")},
    "PortSummary": {"Type": ("tcp", "udp", "sctp")},
    "RestartPolicy": {"Name": ("", "no", "always", "unless-stopped", "on-failure")},
    "SwarmInfo": {"LocalNodeState": ("", "inactive", "pending", "active", "error", "locked")},
    "SystemInfo": {
        "CgroupDriver": ("cgroupfs", "systemd", "none"),
        "CgroupVersion": ("1", "2"),
        "Isolation": ("default", "hyperv", "process", ""),
    },
    "Volume": {"Scope": ("local", "global")},
}

REQUIRED: dict[str, tuple[str, ...]] = {
    "AuthResponse": ("Status",),
    "ContainerCreateResponse": ("Id", "Warnings"),
    "ContainerWaitResponse": ("StatusCode",),
    "AttestationStatement": ("Descriptor", "PredicateType"),
    "DistributionInspect": ("Descriptor", "Platforms"),
    "DriverData": ("Name", "Data"),
    "ErrorResponse": ("message",),
    "FilesystemChange": ("Path", "Kind"),
    "IDResponse": ("Id",),
    "ImageHistoryResponseItem": ("Id", "Created", "CreatedBy", "Tags", "Size", "Comment"),
    "ImageManifestSummary": ("ID", "Descriptor", "Available", "Size", "Kind"),
    "ManifestImageData": ("Platform", "Containers", "Size", "UnpackedSize"),
    "ManifestImageSize": ("Unpacked",),
    "ManifestSize": ("Total", "Content"),
    "AttestationData": ("For",),
    "ImageSummary": (
        "Id", "ParentId", "RepoTags", "RepoDigests", "Created", "Size", "SharedSize", "Labels", "Containers",
    ),
    "NetworkConnectRequest": ("Container",),
    "NetworkCreateRequest": ("Name",),
    "NetworkCreateResponse": ("Id", "Warning"),
    "NetworkDisconnectRequest": ("Container",),
    "Plugin": ("Settings", "Enabled", "Config", "Name"),
    "PluginArgs": ("Name", "Description", "Settable", "Value"),
    "PluginConfig": (
        "Description", "Documentation", "Interface", "Entrypoint", "WorkDir", "Network", "Linux", "PidHost",
        "PropagatedMount", "IpcHost", "Mounts", "Env", "Args",
    ),
    "PluginDevice": ("Name", "Description", "Settable", "Path"),
    "PluginEnv": ("Name", "Description", "Settable", "Value"),
    "PluginInterface": ("Types", "Socket"),
    "PluginLinux": ("Capabilities", "AllowAllDevices", "Devices"),
    "PluginMount": ("Name", "Description", "Settable", "Source", "Destination", "Type", "Options"),
    "PluginNetwork": ("Type",),
    "PluginSettings": ("Args", "Devices", "Env", "Mounts"),
    "PortSummary": ("PrivatePort", "Type"),
    "RootFs": ("Type",),
    "VersionComponent": ("Name", "Version"),
    "VersionPlatform": ("Name",),
    "Volume": ("Name", "Driver", "Mountpoint", "Labels", "Scope", "Options"),
    "VolumeUsageData": ("Size", "RefCount"),
}  # fmt: skip
