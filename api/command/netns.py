"""A network namespace for a private engine: made, kept as a file, entered; and its way out.

An engine in a namespace of its own touches no link, route or firewall rule of the host. Its way out is a user-space
network stack, slirp4netns, where the host has it; without it the engine has no outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ...engine.runtime import linux
from ...engine.runtime.constants import CLONE_NEWNET, MNT_DETACH, MS_BIND

SLIRP = "slirp4netns"
SLIRP_DNS = "10.0.2.3"
_THIS = "/proc/thread-self/ns/net"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h


def make_here() -> None:
    """Give the calling thread a new network namespace with its loopback up."""
    linux.unshare(CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


@contextlib.contextmanager
def home() -> Iterator[None]:
    """Bring the calling thread back to where it was."""
    fd = os.open(_THIS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        linux.setns(fd, CLONE_NEWNET)
        os.close(fd)


def keep(path: Path) -> bool:
    """Have a namespace that lives as long as the file is there; return whether it is a new one."""
    if is_kept(path):
        return False
    path.touch(mode=0o600)
    with home():
        make_here()
        linux.mount(_THIS, str(path), "", MS_BIND)
    return True


def is_kept(path: Path) -> bool:
    return path.is_file() and any(
        line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )


def release(path: Path) -> None:
    """Let go of it: it ends with its last process."""
    if is_kept(path):
        linux.umount2(str(path), MNT_DETACH)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def entered(path: Path) -> Iterator[None]:
    """What the calling thread does and starts is in the namespace of the file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with home():
            linux.setns(fd, CLONE_NEWNET)
            yield
    finally:
        os.close(fd)


def open_way_out(path: str, *, exit_fd: int = -1) -> subprocess.Popen[bytes] | None:
    """Connect a namespace with the outside, and wait until it is; None where the host has no slirp4netns.

    It ends when the other end of `exit_fd` is closed.
    """
    program = shutil.which(SLIRP)
    if program is None:
        return None
    ready, told = os.pipe()
    watch = ["--exit-fd", str(exit_fd)] if exit_fd >= 0 else []
    flags = ["--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd", str(told), *watch]
    try:
        process = subprocess.Popen(
            [program, *flags, "--netns-type=path", path, "tap0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[told, *([exit_fd] if exit_fd >= 0 else [])],
            start_new_session=True,
        )
        os.close(told)
        told = -1
        if os.read(ready, 1):
            return process
        process.wait()
        return None
    finally:
        os.close(ready)
        if told >= 0:
            os.close(told)
