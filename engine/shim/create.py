"""From the bundle to a container: what the shim's worker does, at the first start and at each restart, and the log.

Beside the OCI spec in `config.json` a bundle has `task.json`, written by the daemon: the mounts that make the root file
system, the path of the compiled seccomp filter, and the containers whose namespaces are joined. Nothing of it is kept
in the shim's memory.
"""

from __future__ import annotations

import fcntl
import json
import os

from ..runtime import container as runtime
from ..runtime import state as runtime_state
from ..runtime import trace
from ..runtime.borrow import clone_mount
from . import oci
from .exec import made_fds, read_filter
from .log import JsonFile
from .protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .command import Created
    from .exec import Pipes
    from .relay import Log
    from .worker import Result

    Message = dict[str, Any]

_NAMESPACE_FILES = {"mount": "mnt", "network": "net"}
_SHARED_MEMORY = "/dev/shm"
NS_GET_USERNS = 0xB701  # <linux/nsfs.h>


def make(bundle: str, pipes: Pipes | None, netns_fd: int | None, *, start: bool) -> Result:
    """In the worker: create the container, and start it where that was asked for."""
    trace.begin()
    trace.note("the shim begins")
    spec, task = read_json(f"{bundle}/config.json"), read_json(f"{bundle}/task.json")
    _set_namespaces(spec, bundle, netns_fd, task["joins"])
    if "ipc" in task["joins"]:
        _share_memory(spec, f"{os.path.dirname(bundle)}/{task['joins']['ipc']}")
    made = _create(bundle, spec, task, pipes.stdio() if pipes else runtime.Stdio(-1, -1, -1), start=start)
    try:
        oom_fd = runtime.cgroup(bundle).oom_fd()
        if start:
            made.start()
            trace.note("started the program")
        _save_trace(bundle)
    except BaseException:
        oci.runtime_of(bundle).delete(bundle, force=True)
        raise
    own_pids = any(kind["type"] == "pid" and not kind.get("path") for kind in spec["linux"]["namespaces"])
    fds = made_fds(made) | ({"oom": oom_fd} if oom_fd >= 0 else {})
    return {"pid": made.pid, "shares_pids": not own_pids}, fds


def _save_trace(bundle: str) -> None:
    """Keep what was done for who asks how the container came to be."""
    with open(f"{bundle}/trace.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(trace.take()))


def _create(bundle: str, spec: Message, task: Message, stdio: runtime.Stdio, *, start: bool) -> runtime.Init | Created:
    if oci.is_other(bundle):
        from . import command

        return command.create(task["id"], bundle, spec, stdio=stdio, rootfs=task["rootfs"])
    return runtime.create(
        task["id"],
        bundle,
        spec,
        stdio=stdio,
        state_dir=bundle,
        rootfs=task["rootfs"],
        seccomp=read_filter(task["seccomp"]),
        # What is not started at once must outlive the worker
        detached=not start,
        at_once=start,
    )


def read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
        return found


def _set_namespaces(spec: dict[str, Any], bundle: str, netns_fd: int | None, joins: dict[str, str]) -> None:
    """Say which namespaces are joined, by descriptors: those of another container as it is now, for it may have been
    restarted since, and its old pid may be anybody's."""
    for namespace in spec["linux"]["namespaces"]:
        kind = namespace["type"]
        if kind in joins:
            namespace["path"] = f"/proc/self/fd/{_open_namespace(f'{os.path.dirname(bundle)}/{joins[kind]}', kind)}"
        elif kind == "network" and netns_fd is not None:
            namespace["path"] = f"/proc/self/fd/{netns_fd}"
        elif kind == "user" and netns_fd is not None:
            namespace["path"] = f"/proc/self/fd/{fcntl.ioctl(netns_fd, NS_GET_USERNS)}"


def _share_memory(spec: dict[str, Any], bundle: str) -> None:
    """Mount the same /dev/shm as in the container of `bundle`, where this one mounts nothing else there."""
    for mount in spec["mounts"]:
        if mount["type"] == "bind" and mount["source"] == "shm":
            mount["mount_fd"] = clone_mount(_open_namespace(bundle, "mount"), _SHARED_MEMORY)


def _open_namespace(bundle: str, kind: str) -> int:
    """Open a namespace of the running container of `bundle`; the worker's end closes it."""
    try:
        saved = runtime_state.read(bundle)
        fd = os.open(f"/proc/{saved['pid']}/ns/{_NAMESPACE_FILES.get(kind, kind)}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, runtime.RuntimeFailure):
        saved, fd = {"pid": 0, "start_time": 0}, -1
    if not runtime_state.is_alive(saved):
        other = os.path.basename(bundle)
        raise Failure("conflict", f"cannot join {kind} namespace of a non running container: container {other}")
    return fd


def keep_resources(bundle: str, resources: dict[str, Any]) -> None:
    """Note changed limits in the bundle, for the next restart."""
    spec = read_json(f"{bundle}/config.json")
    kept = spec["linux"].setdefault("resources", {})
    for controller, values in resources.items():
        kept[controller] = {**kept.get(controller, {}), **values} if isinstance(values, dict) else values
    with open(f"{bundle}/config.json.new", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    os.rename(f"{bundle}/config.json.new", f"{bundle}/config.json")


def open_log(log: Message | None) -> Log | None:
    """Open the log's file, and begin to send where a server is to have it; Failure where it has to be there."""
    if log is None:
        return None
    file = None
    if log["path"]:
        file = JsonFile(
            log["path"],
            max_size=log.get("max_size", -1),
            max_file=log.get("max_file", 1),
            compress=log.get("compress", False),
            attrs=log.get("attrs"),
        )
    if not log.get("remote"):
        return file
    # Few containers have one: the others' shims do without the module
    from .relay import Relay

    return Relay(log["remote"], file)
