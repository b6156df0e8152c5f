"""What init and exec processes have in common: how a forked copy of the shim becomes the container's program.

Everything here runs in the child. The order of the last steps (`become`) is runc's and matters for safety; each step
says why. Nothing may be imported from here on: the interpreter's files are not in the container.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat

from . import capabilities, channel, linux, users
from .constants import (
    AT_EACCESS,
    AT_FDCWD,
    CLONE_PARENT,
    CLOSE_RANGE_CLOEXEC,
    PER_LINUX,
    PER_LINUX32,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PROC_SUPER_MAGIC,
)
from .errors import RuntimeFailure, describe, reason
from .scheduling import set_io_priority, set_scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from .container import Stdio

_MAX_FD = 0xFFFFFFFF
_NOT_EXECUTED = 1
_INIT_ERROR = "error during container init: "
PREFIX = "unable to start container process: "
AS_THEY_ARE = ("unable to find ", "uids and gids must be in range")
"""Messages about users, which clients know without a prefix."""


class Confinement:
    """A compiled seccomp filter and the flags it is installed with."""

    __slots__ = ("flags", "program")

    def __init__(self, program: bytes | None, flags: int) -> None:
        self.program = program
        self.flags = flags

    def install(self) -> None:
        if self.program:
            linux.seccomp_set_filter(self.program, self.flags)


def run_child(sock: socket.socket, steps: Callable[[list[str]], NoReturn]) -> NoReturn:
    """Run the steps and report their failure to the parent; never return into the copied stack.

    `steps` gets a one-element list that holds the prefix of error messages and may change it as it gets on.
    """
    prefix = [_INIT_ERROR]
    try:
        steps(prefix)
    except RuntimeFailure as failure:
        message = failure.message
        if failure.kind != "invalid_argument" or not message.startswith(AS_THEY_ARE):
            message = PREFIX + prefix[0] + message
        _report(sock, RuntimeFailure(failure.kind, message, failure.errno))
    except OSError as error:
        _report(sock, RuntimeFailure("internal", PREFIX + prefix[0] + describe(error), error.errno or 0))
    except BaseException as error:
        _report(sock, RuntimeFailure("internal", f"{PREFIX}{prefix[0]}{type(error).__name__}: {error}"))
    finally:
        os._exit(255)


def _report(sock: socket.socket, failure: RuntimeFailure) -> None:
    try:
        channel.send_failure(sock, failure)
    except OSError:
        pass  # nobody listens any more; the exit status is all that is left


def begin(name: str, keep_fds: Iterable[int], *, preserve_fds: int, stdio: Stdio) -> None:
    """The child's first acts: default signals, its own session, standard descriptors, nothing else of the parent's.

    The parent is not dumpable when it forks, so that no process of the container can look into this copy of it
    through /proc before execve (CVE-2016-9962, CVE-2019-5736).
    """
    linux.prctl(PR_SET_DUMPABLE, 0)
    linux.set_name(name)
    signal.set_wakeup_fd(-1)  # its number may soon be another file's
    for number in range(1, signal.SIGSYS + 1):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    _place_stdio(stdio)
    first = 3 + preserve_fds
    for fd in sorted({fd for fd in keep_fds if fd >= first}):
        if fd > first:
            linux.close_range(first, fd - 1)
        first = fd + 1
    linux.close_range(first, _MAX_FD)


def _place_stdio(stdio: Stdio) -> None:
    """Make the given descriptors 0, 1 and 2, even where they are each other's numbers already."""
    given = (stdio.stdin_fd, stdio.stdout_fd, stdio.stderr_fd)
    null_fd = -1
    copies = []
    for fd in given:
        if fd < 0:
            null_fd = null_fd if null_fd >= 0 else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            fd = null_fd
        copies.append(os.dup(fd))
    while any(fd < 3 for fd in copies):
        copies = [os.dup(fd) if fd < 3 else fd for fd in copies]
    for standard, fd in enumerate(copies):
        os.dup2(fd, standard)


def fork_again(sock: socket.socket) -> None:
    """Go on in a child that becomes the caller's by CLONE_PARENT; pid namespaces take nobody but newcomers."""
    pid, pidfd = linux.clone3(CLONE_PARENT, exit_signal=0)
    if pid:
        channel.send(sock, "forked", argument=pid, fd=pidfd)
        os._exit(0)
    # Nothing may overtake that message: the parent could not reap a child that it does not know.
    channel.expect(sock, "known")
    os.setsid()


def join_keyring(container_id: str, *, user_namespace: bool, new: bool) -> None:
    """Leave the parent's session keyring for one of the container's own, and make a new one searchable."""
    try:
        key = linux.keyctl_join_session_keyring(f"_ses.{container_id}")
        if new:
            current = int(linux.keyctl_describe(key).split(";")[3], 16)
            linux.keyctl_setperm(key, current | (0x8 if user_namespace else 0x80000))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            message = f"unable to join session keyring: {reason(error)}"
            raise RuntimeFailure("internal", message, error.errno or 0) from error


def resolve_user(process: dict[str, Any]) -> users.User:
    """Return the process's user; `username` ("name:group") and `additionalGroups` (names) are lightship's extension.

    Names can be resolved only here, inside the container's root. Numbers are the OCI spec's.
    """
    user = process.get("user") or {}
    root_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if "username" in user or "additionalGroups" in user:
            name = user.get("username") or f"{user.get('uid', 0)}:{user.get('gid', 0)}"
            return users.lookup_user(root_fd, name, user.get("additionalGroups") or ())
        uid = user.get("uid") or 0
        given = [item for item in process.get("env") or () if item.startswith("HOME=")]
        needs_home = not given or given[-1] == "HOME="
        home = users.home_of(root_fd, uid) if needs_home else "/"
        return users.User(uid, user.get("gid") or 0, list(user.get("additionalGids") or ()), home)
    finally:
        os.close(root_fd)


def prepare_environment(env: Iterable[str], home: str) -> list[str]:
    """Check the variables, keep the last of each name, and add HOME where it is missing or empty."""
    last: dict[str, str] = {}
    for item in env:
        name, equals, value = item.partition("=")
        if not equals:
            raise RuntimeFailure("invalid_argument", "invalid environment variable: missing '='")
        if not name:
            raise RuntimeFailure("invalid_argument", "invalid environment variable: name cannot be empty")
        if "\0" in item:
            text = f'invalid environment variable "{item}": contains nul byte (\\x00)'
            raise RuntimeFailure("invalid_argument", text)
        last.pop(name, None)
        last[name] = value
    if not last.get("HOME"):
        last.pop("HOME", None)
        last["HOME"] = home
    return [f"{name}={value}" for name, value in last.items()]


def find_executable(name: str, env: Iterable[str]) -> str:
    """Find the program as Go's exec.LookPath does, with its error texts: Docker's clients derive 126 and 127."""
    if "/" in name:
        problem = _not_executable(name)
        if problem:
            raise RuntimeFailure("invalid_argument", f'exec: "{name}": {problem[1]}', problem[0])
        return name
    path = next((item[5:] for item in reversed(list(env)) if item.startswith("PATH=")), "")
    for directory in path.split(":") if path else ():
        candidate = os.path.join(directory or ".", name)
        if _not_executable(candidate) is None:
            if not candidate.startswith("/"):
                text = f'exec: "{name}": cannot run executable found relative to current directory'
                raise RuntimeFailure("invalid_argument", text, errno.ENOENT)
            return candidate
    raise RuntimeFailure("invalid_argument", f'exec: "{name}": executable file not found in $PATH', errno.ENOENT)


def _not_executable(path: str) -> tuple[int, str] | None:
    try:
        info = os.stat(path)
    except OSError as error:
        return error.errno or 0, f"stat {path}: {reason(error)}"
    if stat.S_ISDIR(info.st_mode):
        return errno.EISDIR, "is a directory"
    try:
        linux.faccessat2(AT_FDCWD, path, os.X_OK, AT_EACCESS)
    except OSError as error:
        # Kernel or filter do not know the call: the mode has to tell, and execve has the last word.
        if error.errno not in (errno.ENOSYS, errno.EPERM) or not info.st_mode & 0o111:
            return errno.EACCES, "permission denied"
    return None


def become(
    process: dict[str, Any],
    *,
    confinement: Confinement,
    preserve_fds: int,
    prefix: list[str],
    wait: Callable[[], socket.socket],
    before_exec: Callable[[list[str]], None],
) -> NoReturn:
    """Take on the process's user and confinement, wait for the word, and execute its program."""
    user = resolve_user(process)
    no_new_privileges = bool(process.get("noNewPrivileges"))
    if no_new_privileges:
        linux.prctl(PR_SET_NO_NEW_PRIVS, 1)
    set_scheduler(process.get("scheduler"))
    set_io_priority(process.get("ioPriority"))
    prefix[0] = ""  # from here on runc reports errors without naming container init
    _close_on_exec(preserve_fds)
    # Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the capabilities go; otherwise last of all.
    if not no_new_privileges:
        confinement.install()
    # As root first (a directory that only root can enter), later as the user (one that only the user can, on NFS).
    entered = _change_directory(process.get("cwd") or "/", last_try=False)
    environment = prepare_environment(process.get("env") or (), user.home)
    _set_user(process, user)
    if not entered:
        _change_directory(process.get("cwd") or "/", last_try=True)
    _verify_directory()
    capabilities.apply(process.get("capabilities"))
    arguments = process["args"]
    path = find_executable(arguments[0], environment)
    sock = wait()
    if no_new_privileges:
        confinement.install()
    before_exec(environment)
    try:
        os.execve(path, arguments, dict(item.split("=", 1) for item in environment))
    except OSError as error:
        # As under runc, which is gone by now: the process has started, says why it ends, and that is all of it.
        sock.close()
        os.write(2, f"exec {path}: {reason(error)}\n".encode())
        os._exit(_NOT_EXECUTED)


def _close_on_exec(preserve_fds: int) -> None:
    """Whatever is open beyond what is meant to be passed on ends at execve (CVE-2024-21626)."""
    linux.close_range(3 + preserve_fds, _MAX_FD, CLOSE_RANGE_CLOEXEC)
    for fd in range(3, 3 + preserve_fds):
        os.set_inheritable(fd, True)


def _change_directory(path: str, *, last_try: bool) -> bool:
    try:
        os.chdir(path)
    except OSError as error:
        if isinstance(error, PermissionError) and not last_try:
            return False
        message = f'chdir to cwd ("{path}") set in config.json failed: {reason(error)}'
        raise RuntimeFailure("invalid_argument", message, error.errno or 0) from error
    return True


def _verify_directory() -> None:
    """A working directory outside the root has no path: someone got a descriptor of the host in (CVE-2024-21626)."""
    outside = "current working directory is outside of container mount namespace root -- possible container breakout"
    try:
        path = os.getcwd()
    except FileNotFoundError as error:
        raise RuntimeFailure("internal", f"{outside} detected", errno.ENOENT) from error
    except OSError:
        if not _is_below_root():  # a filter that refuses the call
            raise RuntimeFailure("internal", f"{outside} detected", errno.ENOENT) from None
        return
    if not path.startswith("/"):
        raise RuntimeFailure("internal", f"{outside} detected: cwd is {path!r}")


def _is_below_root() -> bool:
    """Do the working directory's parents lead to the root?"""
    parent, root = os.stat("."), os.stat("/")
    path = "."
    while not os.path.samestat(parent, root):
        path += "/.."
        child, parent = parent, os.stat(path)
        if os.path.samestat(child, parent):
            return False
    return True


def _set_user(process: dict[str, Any], user: users.User) -> None:
    """Change to the user with the capabilities kept; the bounding set shrinks while CAP_SETPCAP is still there."""
    capabilities.drop_bounding(process.get("capabilities"))
    linux.prctl(PR_SET_KEEPCAPS, 1)
    _own_stdio(user.uid)
    try:
        if not _setgroups_denied():
            os.setgroups(user.additional_gids)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        message = f"unable to setup user: {reason(error)}"
        if error.errno == errno.EINVAL:
            message = f"unable to setup user: cannot set uid {user.uid}, gid {user.gid}: unmapped in user namespace"
        raise RuntimeFailure("invalid_argument", message, error.errno or 0) from error
    linux.prctl(PR_SET_KEEPCAPS, 0)


def _setgroups_denied() -> bool:
    try:
        fd = os.open("/proc/self/setgroups", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, 16).strip() == b"deny"
    finally:
        os.close(fd)


def _own_stdio(uid: int) -> None:
    """Give the user its own standard streams, so that it can reopen /dev/stdout; others' refusals do not matter."""
    null = os.makedev(1, 3)
    for standard in range(3):
        info = os.fstat(standard)
        if info.st_uid == uid or (stat.S_ISCHR(info.st_mode) and info.st_rdev == null):
            continue
        try:
            os.fchown(standard, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL):
                raise


def set_personality(linux_spec: dict[str, Any]) -> None:
    domain = (linux_spec.get("personality") or {}).get("domain")
    if domain is None:
        return
    personas = {"LINUX": PER_LINUX, "LINUX32": PER_LINUX32}
    if domain not in personas:
        raise RuntimeFailure("invalid_argument", f"invalid personality domain {domain}")
    linux.personality(personas[domain])


def set_apparmor_profile(profile: str | None) -> None:
    """Change to an AppArmor profile at the next execve; asking for one on a host without AppArmor is an error."""
    if not profile:
        return
    text = f"exec {profile}".encode()
    for path in ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if linux.fstatfs_type(fd) != PROC_SUPER_MAGIC:
                raise RuntimeFailure("internal", f"{path} is not on a procfs")
            os.write(fd, text)
            return
        except OSError as error:
            message = f"unable to apply apparmor profile: {reason(error)}"
            raise RuntimeFailure("internal", message, error.errno or 0) from error
        finally:
            os.close(fd)
    raise RuntimeFailure("internal", "unable to apply apparmor profile: apparmor not enabled on the host")
