"""System calls that Python does not have, one thin function each, by ctypes.

Used by the runtime and the shim. Functions are named and ordered as in their man pages, return the int or descriptor
that the kernel gives, raise OSError with the call's name and retry EINTR. There is no policy here and no logging.
Python's own `os`, `signal` and `fcntl` functions are used directly by callers where they exist. Linux 5.12 or newer.
"""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import c_char_p, c_int, c_long, c_uint, c_uint32, c_uint64, c_ulong, c_void_p

from .constants import (
    AT_EMPTY_PATH,
    CLONE_PIDFD,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    KEYCTL_DESCRIBE,
    KEYCTL_JOIN_SESSION_KEYRING,
    KEYCTL_SETPERM,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
    PR_SET_NAME,
    SECCOMP_SET_MODE_FILTER,
)

# Numbers from 424 on are the same everywhere (<asm-generic/unistd.h>); the older ones differ.
_OLD_NUMBERS = {
    "x86_64": {
        "bpf": 321, "ioprio_set": 251, "keyctl": 250, "pivot_root": 155, "sched_setattr": 314, "seccomp": 317,
        "set_mempolicy": 238, "setgroups": 116, "setresgid": 119, "setresuid": 117,
    },
    "aarch64": {
        "bpf": 280, "ioprio_set": 30, "keyctl": 219, "pivot_root": 41, "sched_setattr": 274, "seccomp": 277,
        "set_mempolicy": 237, "setgroups": 159, "setresgid": 149, "setresuid": 147,
    },
}  # fmt: skip
_NUMBERS = {
    "clone3": 435, "close_range": 436, "faccessat2": 439, "fsconfig": 431, "fsmount": 432, "fsopen": 430,
    "mount_setattr": 442, "move_mount": 429, "open_tree": 428, "openat2": 437,
    **_OLD_NUMBERS.get(os.uname().machine, {}),
}  # fmt: skip


class CloneArgs(ctypes.Structure):
    """struct clone_args, <linux/sched.h>."""

    _fields_ = [
        ("flags", c_uint64),
        ("pidfd", c_uint64),
        ("child_tid", c_uint64),
        ("parent_tid", c_uint64),
        ("exit_signal", c_uint64),
        ("stack", c_uint64),
        ("stack_size", c_uint64),
        ("tls", c_uint64),
        ("set_tid", c_uint64),
        ("set_tid_size", c_uint64),
        ("cgroup", c_uint64),
    ]


class OpenHow(ctypes.Structure):
    """struct open_how, <linux/openat2.h>."""

    _fields_ = [("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64)]


class MountAttr(ctypes.Structure):
    """struct mount_attr, <linux/mount.h>."""

    _fields_ = [("attr_set", c_uint64), ("attr_clr", c_uint64), ("propagation", c_uint64), ("userns_fd", c_uint64)]


class SchedAttr(ctypes.Structure):
    """struct sched_attr, <linux/sched/types.h>."""

    _fields_ = [
        ("size", c_uint32),
        ("sched_policy", c_uint32),
        ("sched_flags", c_uint64),
        ("sched_nice", ctypes.c_int32),
        ("sched_priority", c_uint32),
        ("sched_runtime", c_uint64),
        ("sched_deadline", c_uint64),
        ("sched_period", c_uint64),
    ]


class SockFprog(ctypes.Structure):
    """struct sock_fprog, <linux/filter.h>."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", c_void_p)]


class CapHeader(ctypes.Structure):
    """struct __user_cap_header_struct, <linux/capability.h>."""

    _fields_ = [("version", c_uint32), ("pid", c_int)]


_LIBC = ctypes.CDLL(None, use_errno=True)
# A PyDLL call keeps the interpreter lock, so that the child of a raw clone3 owns it as the parent does.
_clone_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_clone_syscall.restype = c_long
_clone_syscall.argtypes = [c_long, c_void_p, c_ulong]

_LIBC.mount.argtypes = [c_char_p, c_char_p, c_char_p, c_ulong, c_char_p]
_LIBC.umount2.argtypes = [c_char_p, c_int]
_LIBC.unshare.argtypes = [c_int]
_LIBC.setns.argtypes = [c_int, c_int]
_LIBC.prctl.argtypes = [c_int, c_ulong, c_ulong, c_ulong, c_ulong]
_LIBC.capset.argtypes = [c_void_p, c_void_p]
_LIBC.capget.argtypes = [c_void_p, c_void_p]
_LIBC.sethostname.argtypes = [c_char_p, ctypes.c_size_t]
_LIBC.setdomainname.argtypes = [c_char_p, ctypes.c_size_t]
_LIBC.personality.argtypes = [c_ulong]
_LIBC.inotify_init1.argtypes = [c_int]
_LIBC.inotify_add_watch.argtypes = [c_int, c_char_p, c_uint32]
_LIBC.fstatfs.argtypes = [c_int, c_void_p]
_LIBC.syncfs.argtypes = [c_int]


def check(result: int, name: str, target: str | None = None) -> int:
    """Return a call's result, or raise OSError with the call's name and, where there is one, its object."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}", target)
    return result


class Call:
    """A system call by its number, with declared argument types (ctypes converts ints and bytes by them)."""

    __slots__ = ("_function", "_name", "_number")

    def __init__(self, name: str, *argtypes: type) -> None:
        self._name = name
        self._number = _NUMBERS.get(name, -1)
        self._function = _LIBC["syscall"]
        self._function.restype = c_long
        self._function.argtypes = [c_long, *argtypes]

    def __call__(self, *args: object, target: str | None = None) -> int:
        while True:
            result: int = self._function(self._number, *args)
            if result >= 0:
                return result
            if ctypes.get_errno() != errno.EINTR:
                return check(result, self._name, target)


_close_range = Call("close_range", c_uint, c_uint, c_uint)
_faccessat2 = Call("faccessat2", c_int, c_char_p, c_int, c_int)
_fsconfig = Call("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = Call("fsmount", c_int, c_uint, c_uint)
_fsopen = Call("fsopen", c_char_p, c_uint)
_ioprio_set = Call("ioprio_set", c_int, c_int, c_int)
_keyctl_describe = Call("keyctl", c_int, c_int, c_char_p, c_ulong)
_keyctl_join = Call("keyctl", c_int, c_char_p)
_keyctl_setperm = Call("keyctl", c_int, c_int, c_uint32)
_mount_setattr = Call("mount_setattr", c_int, c_char_p, c_uint, c_void_p, c_ulong)
_move_mount = Call("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)
_open_tree = Call("open_tree", c_int, c_char_p, c_uint)
_openat2 = Call("openat2", c_int, c_char_p, c_void_p, c_ulong)
_pivot_root = Call("pivot_root", c_char_p, c_char_p)
_sched_setattr = Call("sched_setattr", c_int, c_void_p, c_uint)
_seccomp = Call("seccomp", c_uint, c_uint, c_void_p)
_set_mempolicy = Call("set_mempolicy", c_int, c_void_p, c_ulong)
_prctl_name = _LIBC["prctl"]
_prctl_name.argtypes = [c_int, c_char_p]


def _path(path: str) -> bytes:
    return os.fsencode(path)


# Mounts


def mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    check(_LIBC.mount(_path(source), _path(target), _path(fstype), flags, _path(data)), "mount", target)


def umount2(target: str, flags: int) -> None:
    check(_LIBC.umount2(_path(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    _pivot_root(_path(new_root), _path(put_old), target=new_root)


def fsopen(fstype: str) -> int:
    return _fsopen(_path(fstype), FSOPEN_CLOEXEC, target=fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    _fsconfig(fd, FSCONFIG_SET_STRING, _path(key), _path(value), 0, target=f"{key}={value}")


def fsconfig_flag(fd: int, key: str) -> None:
    _fsconfig(fd, FSCONFIG_SET_FLAG, _path(key), None, 0, target=key)


def fsconfig_create(fd: int) -> None:
    _fsconfig(fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int, attributes: int) -> int:
    return _fsmount(fd, FSMOUNT_CLOEXEC, attributes)


def move_mount(from_fd: int, to_fd: int, *, target: str | None = None) -> None:
    """Attach the detached mount `from_fd` on what `to_fd` refers to."""
    _move_mount(from_fd, b"", to_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH, target=target)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    return _open_tree(dir_fd, _path(path), flags | OPEN_TREE_CLOEXEC, target=path or None)


def mount_setattr(
    fd: int, flags: int, *, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0, userns_fd: int = 0
) -> None:
    """Change the mount that `fd` refers to; with AT_RECURSIVE in `flags` also those below it."""
    attr = MountAttr(attr_set, attr_clr, propagation, userns_fd)
    _mount_setattr(fd, b"", flags | AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))


def fstatfs_type(fd: int) -> int:
    """Return `f_type` of fstatfs(2), which os.fstatvfs does not tell."""
    buffer = (c_long * 32)()
    check(_LIBC.fstatfs(fd, buffer), "fstatfs")
    return int(buffer[0])


def syncfs(fd: int) -> None:
    check(_LIBC.syncfs(fd), "syncfs")


def openat2(dir_fd: int, path: str, *, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open a path; EAGAIN (a rename raced with the resolution) is tried again, as its man page advises."""
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(128):
        try:
            return _openat2(dir_fd, _path(path), ctypes.byref(how), ctypes.sizeof(how), target=path)
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, f"openat2: {os.strerror(errno.EAGAIN)}", path)


def faccessat2(dir_fd: int, path: str, mode: int, flags: int) -> None:
    _faccessat2(dir_fd, _path(path), mode, flags, target=path)


def close_range(first: int, last: int, flags: int = 0) -> None:
    _close_range(first, last, flags)


def inotify_init1(flags: int) -> int:
    return check(_LIBC.inotify_init1(flags), "inotify_init1")


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    return check(_LIBC.inotify_add_watch(fd, _path(path), mask), "inotify_add_watch", path)


# Processes and namespaces


def clone3(flags: int, *, exit_signal: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork with clone flags; return (pid, pidfd) in the parent and (0, -1) in the child.

    Must be called with a single thread. The child has a sound interpreter: what os.fork() does around its call is done.
    """
    pidfd = c_int(-1)
    args = CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal)
    if cgroup_fd >= 0:
        args.cgroup = cgroup_fd
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _clone_syscall(_NUMBERS["clone3"], ctypes.addressof(args), ctypes.sizeof(args))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, f"clone3: {os.strerror(code)}")
    return pid, pidfd.value


def unshare(flags: int) -> None:
    check(_LIBC.unshare(flags), "unshare")


def setns(fd: int, nstype: int) -> None:
    check(_LIBC.setns(fd, nstype), "setns")


def sethostname(name: str) -> None:
    raw = name.encode()
    check(_LIBC.sethostname(raw, len(raw)), "sethostname", name)


def setdomainname(name: str) -> None:
    raw = name.encode()
    check(_LIBC.setdomainname(raw, len(raw)), "setdomainname", name)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    return check(_LIBC.prctl(option, arg2, arg3, arg4, arg5), "prctl")


def set_name(name: str) -> None:
    """prctl(PR_SET_NAME): what ps shows as the command's name, 15 bytes at most."""
    check(_prctl_name(PR_SET_NAME, name.encode()[:15]), "prctl", name)


def personality(persona: int) -> None:
    check(_LIBC.personality(persona), "personality")


def sched_setattr(attr: SchedAttr) -> None:
    attr.size = ctypes.sizeof(attr)
    _sched_setattr(0, ctypes.byref(attr), 0)


def ioprio_set(which: int, who: int, priority: int) -> None:
    _ioprio_set(which, who, priority)


def set_mempolicy(mode: int, nodes: set[int]) -> None:
    bits = 64 * (max(nodes, default=0) // 64 + 1)
    mask = (c_uint64 * (bits // 64))()
    for node in nodes:
        mask[node // 64] |= 1 << (node % 64)
    _set_mempolicy(mode, mask if nodes else None, bits + 1 if nodes else 0)


# Privileges

_CAPABILITY_VERSION_3 = 0x20080522


def capget() -> tuple[int, int, int]:
    """Return (effective, permitted, inheritable) of the calling thread as bit masks."""
    header = CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (c_uint32 * 6)()
    check(_LIBC.capget(ctypes.byref(header), data), "capget")
    effective, permitted, inheritable = (data[i] | data[i + 3] << 32 for i in range(3))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    header = CapHeader(_CAPABILITY_VERSION_3, 0)
    masks = effective, permitted, inheritable
    data = (c_uint32 * 6)(*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    check(_LIBC.capset(ctypes.byref(header), data), "capset")


def keyctl_join_session_keyring(name: str) -> int:
    return _keyctl_join(KEYCTL_JOIN_SESSION_KEYRING, name.encode())


def keyctl_describe(key: int) -> str:
    """Return a key's description: type;uid;gid;permissions;name."""
    buffer = ctypes.create_string_buffer(256)
    _keyctl_describe(KEYCTL_DESCRIBE, key, buffer, len(buffer))
    return buffer.value.decode()


def keyctl_setperm(key: int, permissions: int) -> None:
    _keyctl_setperm(KEYCTL_SETPERM, key, permissions)


def seccomp_set_filter(program: bytes, flags: int) -> None:
    """Install a classic BPF program (an array of struct sock_filter) as the thread's seccomp filter."""
    fprog = SockFprog(len(program) // 8, ctypes.cast(c_char_p(program), c_void_p))
    _seccomp(SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(fprog))
