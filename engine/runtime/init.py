"""The first process of a container, from the fork to its program: one ordered list of steps (`run`).

Runs in the child that `container.create` clones with the new namespaces. The order is runc's
(standard_init_linux.go, rootfs_linux.go); what matters in it is said at the step. Failures travel back over the
channel; nothing here returns.
"""

from __future__ import annotations

import os
import signal
import socket

from . import channel, console, devices, hooks, inroot, linux, namespaces, process, rootfs, scheduling, sysctl, trace
from .constants import CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWTIME
from .errors import RuntimeFailure, describe
from .mounts import Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from .cgroups.cgroup import Cgroup
    from .container import Stdio
    from .namespaces import Namespaces
    from .process import Confinement


class Plan:
    """All that init is given; the parent fills it in before the fork.

    `rootfs_fds` and `bind_fds` are mounts made outside a user namespace, `host_root` is the root's mount where it is
    the host's own (see `hostroot`), `waits` says that the parent has to map ids or move the process into its cgroup
    first.
    """

    def __init__(
        self,
        *,
        id: str,
        bundle: str,
        spec: dict[str, Any],
        stdio: Stdio,
        sock: socket.socket,
        listener: socket.socket | None,
        cgroup: Cgroup,
        namespaces: Namespaces,
        confinement: Confinement,
        rootfs: Sequence[dict[str, Any]],
        preserve_fds: int,
        no_pivot: bool,
        new_keyring: bool,
        at_once: bool,
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.spec = spec
        self.linux: dict[str, Any] = spec.get("linux") or {}
        self.process: dict[str, Any] = spec["process"]
        self.stdio = stdio
        self.sock = sock
        self.listener = listener
        self.cgroup = cgroup
        self.namespaces = namespaces
        self.confinement = confinement
        self.rootfs = rootfs
        self.rootfs_fds: list[int] = []
        # A mount with a descriptor (lightship's addition to an OCI mount) was cloned by the caller.
        mounts = enumerate(spec.get("mounts") or ())
        self.bind_fds: dict[int, int] = {number: entry["mount_fd"] for number, entry in mounts if "mount_fd" in entry}
        self.preserve_fds = preserve_fds
        self.no_pivot = no_pivot
        self.new_keyring = new_keyring
        # Whoever answers in between must not have said "start" before.
        answers = spec.get("hooks") or "user" in namespaces.joined or self.linux.get("timeOffsets")
        self.at_once = at_once and not answers
        self.placed = False
        self.waits = False
        self.root_path = os.path.realpath(os.path.join(bundle, spec["root"]["path"]))
        self.host_root = 0
        self.state: dict[str, Any] = {}
        self.hooks: dict[str, Any] = spec.get("hooks") or {}


def run(plan: Plan) -> NoReturn:
    """Become the container's first process."""
    trace.take()  # what the parent has noted is the parent's to tell
    process.run_child(plan.sock, lambda prefix: _steps(plan, prefix))


def _steps(plan: Plan, prefix: list[str]) -> NoReturn:
    process.begin("lightship-init", _kept_fds(plan), preserve_fds=plan.preserve_fds, stdio=plan.stdio)
    _enter_namespaces(plan)
    trace.note("entered control groups and namespaces")
    root_fd = _make_root(plan)
    # Hooks of the runtime's side see the mounts in place, and still the host's root.
    if plan.hooks.get("prestart") or plan.hooks.get("createRuntime"):
        channel.send(plan.sock, "hooks")
        channel.expect(plan.sock, "hooks-done")
    os.fchdir(root_fd)
    hooks.run("createContainer", plan.hooks.get("createContainer"), _state(plan))
    _enter_root(plan, root_fd)
    trace.note("changed the root")
    os.makedirs(plan.process.get("cwd") or "/", 0o755, exist_ok=True)
    # After the user's mounts (the devpts is one of them), before the root may become read-only.
    master = _open_terminal(plan) if plan.process.get("terminal") else -1
    if "mount" not in plan.namespaces.joined:
        _make_read_only(plan)
    _confine(plan)
    process.become(
        plan.process,
        confinement=plan.confinement,
        preserve_fds=plan.preserve_fds,
        prefix=prefix,
        wait=lambda: _wait_for_start(plan, master),
        before_exec=lambda env: hooks.run("startContainer", plan.hooks.get("startContainer"), _state(plan), env=env),
    )


def _enter_namespaces(plan: Plan) -> None:
    """Into the cgroup before anything is allocated, and before the cgroup namespace, whose root is where we are."""
    new = plan.namespaces.new
    if plan.waits:
        channel.expect(plan.sock, "prepared")
    plan.cgroup.join()
    scheduling.reset_affinity()
    plan.namespaces.join()
    if plan.namespaces.has("user"):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if "user" in plan.namespaces.joined:
        # The others are to belong to it, so they could not be made before.
        linux.unshare(new & ~(CLONE_NEWCGROUP | CLONE_NEWTIME))
        if new & CLONE_NEWPID:
            process.fork_again(plan.sock)
    if new & CLONE_NEWCGROUP:
        linux.unshare(CLONE_NEWCGROUP)
    if new & CLONE_NEWTIME:
        _enter_time_namespace(plan)
    if plan.new_keyring:
        process.join_keyring(plan.id, user_namespace=plan.namespaces.has("user"), new=True)


def _open_terminal(plan: Plan) -> int:
    """Make a pty the console and the standard streams; return its master."""
    master, slave = console.open_pty(plan.process.get("consoleSize"))
    console.mount_console(slave)
    console.make_standard(slave)
    os.close(slave)
    return master


def _confine(plan: Plan) -> None:
    """What is set and hidden before the process becomes the user's."""
    umask = (plan.process.get("user") or {}).get("umask")
    os.umask(0o022 if umask is None else umask)
    if plan.spec.get("hostname"):
        linux.sethostname(plan.spec["hostname"])
    if plan.spec.get("domainname"):
        linux.setdomainname(plan.spec["domainname"])
    process.set_apparmor_profile(plan.process.get("apparmorProfile"))
    # Before /proc/sys becomes read-only.
    sysctl.write(plan.linux.get("sysctl") or {})
    rootfs.make_paths_read_only(plan.linux.get("readonlyPaths") or ())
    rootfs.mask_paths(plan.linux.get("maskedPaths") or ())
    trace.note("wrote sysctls, made paths read-only and masked others")
    process.set_personality(plan.linux)
    scheduling.set_memory_policy(plan.linux.get("memoryPolicy"))


def _enter_time_namespace(plan: Plan) -> None:
    linux.unshare(CLONE_NEWTIME)
    if plan.namespaces.has("user"):
        # Not dumpable, we may not write to our own files in /proc as another than the host's root.
        channel.send(plan.sock, "clocks")
        channel.expect(plan.sock, "clocks-set")
    else:
        namespaces.write_time_offsets("self", plan.linux.get("timeOffsets"))
    namespaces.enter_time_namespace()


def _kept_fds(plan: Plan) -> list[int]:
    kept = [plan.sock.fileno(), *plan.cgroup.fds, *plan.namespaces.to_enter(), *plan.rootfs_fds]
    kept += plan.bind_fds.values()
    if plan.listener is not None:
        kept.append(plan.listener.fileno())
    return kept


def _make_root(plan: Plan) -> int:
    """Put together the root with all its mounts, still under the bundle's path; return its descriptor."""
    try:
        root_fd = _attach_root(plan)
    except OSError as error:
        text = f"error preparing rootfs: {describe(error)}"
        raise RuntimeFailure("internal", text, error.errno or 0) from error
    trace.note("mounted", "/")
    entries = plan.spec.get("mounts") or ()
    mounter = Mounter(root_fd, cgroup_mounts=plan.cgroup.mounts(), cgroup_namespace=plan.namespaces.has("cgroup"))
    for number, entry in enumerate(entries):
        mounter.mount(entry, plan.bind_fds.get(number, -1))
    if _has_own_dev(entries):
        devices.populate(root_fd, plan.linux.get("devices") or (), bind=plan.namespaces.has("user"))
    return root_fd


def _attach_root(plan: Plan) -> int:
    if plan.host_root:
        return os.open(plan.root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    rootfs.isolate(plan.root_path, plan.linux.get("rootfsPropagation") or "")
    return rootfs.attach(plan.root_path, plan.rootfs_fds or rootfs.open_mounts(plan.rootfs, in_own_namespace=True))


def _has_own_dev(entries: Sequence[dict[str, Any]]) -> bool:
    """Is /dev the container's to fill? A host directory bound there is not."""
    return not any(
        os.path.normpath(entry["destination"]) == "/dev"
        and (entry.get("type") == "bind" or {"bind", "rbind"} & set(entry.get("options") or ()))
        for entry in entries
    )


def _enter_root(plan: Plan, root_fd: int) -> None:
    try:
        if plan.no_pivot:
            rootfs.move_and_chroot(root_fd, inroot.path_of(root_fd))
        elif plan.namespaces.has("mount"):
            rootfs.pivot(root_fd)
        else:
            rootfs.chroot(root_fd)
    except OSError as error:
        text = f"error jailing process inside rootfs: {describe(error)}"
        raise RuntimeFailure("internal", text, error.errno or 0) from error
    os.close(root_fd)
    if plan.linux.get("rootfsPropagation"):
        rootfs.set_propagation(plan.linux["rootfsPropagation"])
    if plan.namespaces.has("mount") and _has_own_dev(plan.spec.get("mounts") or ()):
        devices.reopen_null()


def _make_read_only(plan: Plan) -> None:
    """What had to be filled first becomes read-only now, as its options ask."""
    for entry in plan.spec.get("mounts") or ():
        filled = entry.get("type") == "tmpfs" or os.path.normpath(entry["destination"]) == "/dev"
        if filled and "ro" in (entry.get("options") or ()):
            rootfs.remount_read_only(entry["destination"])
    if plan.spec["root"].get("readonly"):
        rootfs.remount_read_only("/")


def _wait_for_start(plan: Plan, master: int) -> socket.socket:
    """Report that all is done, and wait for the word to execute; an end without it means that nobody wants us."""
    trace.note("took on user, capabilities and seccomp filter")
    channel.send(plan.sock, "ready", argument=trace.take(), fd=master)
    if master >= 0:
        os.close(master)
    sock = plan.sock
    if plan.listener is not None:
        # Created and left alone: the word comes from a later command, or a signal that is to end us all the same,
        # though the first process of a pid namespace is safe from those that it does not handle.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, lambda received, _frame: os._exit(128 + received))
        sock.close()
        sock, _ = plan.listener.accept()
    name, _, _ = channel.receive(sock)
    if name != "start":
        os._exit(255)
    return sock


def _state(plan: Plan) -> dict[str, Any]:
    return {**plan.state, "status": "created", "pid": os.getpid()}
