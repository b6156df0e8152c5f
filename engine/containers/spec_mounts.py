"""The `mounts` of an OCI spec: dockerd's own in its order, then the user's and the network files, outermost first.

Used by `spec` alone. Nothing is looked up here; sources were made ready by `mounts.prepare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from ..errors import InvalidArgument
from ..idmap import IdMap
from .modes import joined_container
from .mount_syntax import DEFAULT_PROPAGATION, clean
from .mounts import ResolvedMount

OciMount = dict[str, Any]
INIT_PATH = "/sbin/docker-init"
"""Where `--init` puts the init program in the container."""

SHARED_MEMORY = "shm"
"""The source of a bind that the shim takes from the container whose IPC namespace is joined."""

_KERNEL_MOUNTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", "nosuid", "noexec", "nodev")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777")),
)
_STAY_WRITABLE = frozenset(("/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"))
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev", DEFAULT_PROPAGATION)
_TMPFS_DATA = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"))
_PROPAGATION_WORDS = frozenset(
    ("bind", "rbind", "unbindable", "runbindable", "private", "rprivate", "shared", "rshared", "slave", "rslave")
)
# Words that set or clear the same flag: the last one given wins.
_FLAG_OF = {
    "ro": "ro", "rw": "ro", "suid": "suid", "nosuid": "suid", "dev": "dev", "nodev": "dev", "exec": "exec",
    "noexec": "exec", "sync": "sync", "async": "sync", "dirsync": "dirsync", "remount": "remount", "mand": "mand",
    "nomand": "mand", "atime": "atime", "noatime": "atime", "diratime": "diratime", "nodiratime": "diratime",
    "relatime": "relatime", "norelatime": "relatime", "strictatime": "strictatime", "nostrictatime": "strictatime",
    **dict.fromkeys(_PROPAGATION_WORDS, "propagation"),
}  # fmt: skip


def build(
    host_config: HostConfig,
    mounts: Sequence[ResolvedMount],
    *,
    network_files: Mapping[str, str],
    init_path: str,
    writable_cgroups: bool,
    id_map: IdMap | None = None,
) -> list[OciMount]:
    """Return all mounts; `network_files` are sources on the host by destination, `init_path` is empty without init."""
    own = _own_mounts(host_config, mounts, network_files)
    if id_map is not None:
        ours = {*network_files.values(), *(mount.source for mount in mounts if _is_plain_volume(mount) or mount.root)}
        own = [_mapped(mount, id_map) if mount["source"] in ours or "lower" in mount else mount for mount in own]
    covered = {mount["destination"] for mount in own}
    built = [*_kernel_mounts(host_config, covered), *_init_mount(init_path, covered)]
    for mount in built:
        if host_config.readonly_rootfs and mount["destination"] not in _STAY_WRITABLE and "ro" not in mount["options"]:
            mount["options"].append("ro")
        if (mount["destination"] == "/sys" and host_config.privileged) or (
            mount["type"] == "cgroup" and writable_cgroups
        ):
            mount["options"] = [word for word in mount["options"] if word != "ro"]
    return built + own


def build_for_files(mounts: Sequence[ResolvedMount], network_files: Mapping[str, str]) -> list[OciMount]:
    """Return the mounts that hold files of a container that does not run, outermost first."""
    taken = {mount.destination for mount in mounts}
    own = [_user_mount(mount) for mount in mounts if mount.type != "tmpfs"]
    own += [
        _bind(destination, source, ["rbind", DEFAULT_PROPAGATION])
        for destination, source in network_files.items()
        if destination not in taken
    ]
    return sorted(own, key=lambda mount: mount["destination"].count("/"))


def tmpfs_words(words: Iterable[str]) -> list[str]:
    """Put a tmpfs' words after Docker's defaults; of several for the same thing the last one stays."""
    kept: list[str] = []
    seen: set[str] = set()
    for word in reversed((*_TMPFS_DEFAULTS, *words)):
        if word == "defaults":
            continue
        about = _FLAG_OF.get(word, "")
        if not about:
            about, equals, _ = word.partition("=")
            if not equals or about not in _TMPFS_DATA:
                raise InvalidArgument(f'invalid tmpfs option "{about}"')
        if about not in seen:
            seen.add(about)
            kept.append(word)
    return kept[::-1]


def mapped_layers(id_map: IdMap) -> OciMount:
    """Return what an overlay's entry needs for its files to have the ids of a container's."""
    return {"id_map": {"uid": id_map.root_uid, "gid": id_map.root_gid}}


def _mapped(mount: OciMount, id_map: IdMap) -> OciMount:
    """What the engine itself keeps has the containers' ids on disk; other mounts show the host's."""
    if "lower" in mount:
        return mount | mapped_layers(id_map)
    return mount | {"options": [*mount["options"], "idmap"]}


def _is_plain_volume(mount: ResolvedMount) -> bool:
    return mount.type == "volume" and mount.driver == "local" and not (mount.filesystem or mount.device)


def _own_mounts(
    host_config: HostConfig, mounts: Sequence[ResolvedMount], network_files: Mapping[str, str]
) -> list[OciMount]:
    """The mounts that come from the user, the ipc mode and the network, outermost first."""
    own: list[OciMount] = []
    taken = {mount.destination for mount in mounts}
    if host_config.ipc_mode == "host" and "/dev/shm" not in taken:
        own.append(_bind("/dev/shm", "/dev/shm", ["rbind", DEFAULT_PROPAGATION]))
    if joined_container(host_config.ipc_mode) is not None and "/dev/shm" not in taken:
        own.append(_bind("/dev/shm", SHARED_MEMORY, ["rbind", DEFAULT_PROPAGATION]))
    for destination, text in given(host_config.tmpfs, {}).items():
        if clean(destination) not in taken:
            own.append(_tmpfs(clean(destination), text.split(",") if text else ()))
    own += [_user_mount(mount) for mount in mounts]
    for destination, source in network_files.items():
        if destination not in taken:
            read_only = ["rro"] if host_config.readonly_rootfs else []
            own.append(_bind(destination, source, ["rbind", *read_only, DEFAULT_PROPAGATION]))
    return sorted(own, key=lambda mount: mount["destination"].count("/"))


def _kernel_mounts(host_config: HostConfig, covered: set[str]) -> list[OciMount]:
    """What every container has, but for what the user covers."""
    mounts = []
    for destination, kind, source, words in _KERNEL_MOUNTS:
        if destination in covered or ("/dev" in covered and destination.startswith("/dev/")):
            continue
        options = list(words)
        if destination == "/dev/shm":
            if host_config.ipc_mode == "none":
                continue
            options.append(f"size={host_config.shm_size}")
        mounts.append({"destination": destination, "type": kind, "source": source, "options": options})
    return mounts


def _init_mount(init_path: str, covered: set[str]) -> list[OciMount]:
    return [_bind(INIT_PATH, init_path, ["bind", "ro"])] if init_path and INIT_PATH not in covered else []


def _user_mount(mount: ResolvedMount) -> OciMount:
    if mount.type == "tmpfs":
        return _tmpfs(mount.destination, mount.options)
    if mount.root is not None:
        return _image(mount, mount.root)
    if mount.filesystem or mount.device:
        return _device_volume(mount)
    words = ["bind" if mount.non_recursive else "rbind", *_read_only(mount)]
    if mount.propagation:
        words.append(mount.propagation)
    if mount.id_source:
        words.append("idmap")
    return _bind(mount.destination, mount.source, words) | _subpath(mount) | (mount.id_maps or {})


def _device_volume(mount: ResolvedMount) -> OciMount:
    """A volume with a device: mounted in the container alone, never on the host."""
    if mount.filesystem == "none" or {"bind", "rbind"} & set(mount.options):
        words = [*mount.options, *_read_only(mount)]
        return _bind(mount.destination, mount.device, words) | _subpath(mount)
    words = [*mount.options, *([] if mount.rw else ["ro"])]
    entry = {"destination": mount.destination, "type": mount.filesystem, "source": mount.device, "options": words}
    return entry | _subpath(mount)


def _image(mount: ResolvedMount, root: OciMount) -> OciMount:
    words = ["ro", mount.propagation]
    if "lower" not in root:
        return _bind(mount.destination, root["source"], ["bind", *words]) | _subpath(mount)
    return {**root, "destination": mount.destination, "source": mount.name, "options": words} | _subpath(mount)


def _subpath(mount: ResolvedMount) -> OciMount:
    return {"subpath": mount.subpath} if mount.subpath else {}


def _read_only(mount: ResolvedMount) -> list[str]:
    if mount.rw:
        return []
    return ["ro"] if mount.read_only_non_recursive else ["rro"]


def _tmpfs(destination: str, words: Iterable[str]) -> OciMount:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": tmpfs_words(words)}


def _bind(destination: str, source: str, words: list[str]) -> OciMount:
    return {"destination": destination, "type": "bind", "source": source, "options": words}
