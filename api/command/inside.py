"""The first process of `lightship run`'s pid namespace: makes the engine's world, starts engine and command, reaps.

When it ends, the kernel ends everything in the namespace.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ...engine import host
from ...engine.runtime import linux
from ...engine.runtime.constants import CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, PR_SET_PDEATHSIG
from . import netns
from .client import Client
from .ephemeral import Ephemeral
from .launch import launch
from .place import Place
from .terminal import Progress, complain, tell

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_CHUNK = 1 << 20
_CLIENT_SETTINGS = ("DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")


def become_first(asked: Ephemeral, place: Place, parent: socket.socket) -> int:
    """Return the command's exit status; the caller then ends, and everything with it."""
    linux.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.unshare(CLONE_NEWNS)
    linux.mount("none", "/", "", MS_REC | MS_SLAVE)
    linux.mount("proc", "/proc", "proc", 0)
    has_way_out = _make_network(asked, place, parent)
    _make_room(place)
    dns = ["--dns", netns.SLIRP_DNS] if has_way_out and "--dns" not in " ".join(asked.flags) else []
    launch([*place.flags(), *dns, *asked.flags], place.log)
    for archive in asked.archives:
        _load(place, archive)
    return _run(asked, place)


def _make_network(asked: Ephemeral, place: Place, parent: socket.socket) -> bool:
    """Tell the parent of the new network and wait for its way out; an end without an answer means that it is dead."""
    if not asked.private:
        if not parent.recv(16):
            raise OSError("the parent has ended")
        return False
    netns.make_here()
    parent.send(b"network")
    answer = parent.recv(16)
    if not answer:
        raise OSError("the parent has ended")
    has_way_out = answer == b"out"
    if has_way_out:
        # The host's may name a server on its loopback, or one that only the host may ask
        own = Path(place.log).with_name("resolv.conf")
        own.write_text(f"nameserver {netns.SLIRP_DNS}\n")
        linux.mount(str(own), os.path.realpath("/etc/resolv.conf"), "", MS_BIND)
    elif not asked.quiet:
        tell(f"lightship: no way out of the engine's network: install {netns.SLIRP}, or use --network host")
    return has_way_out


def _make_room(place: Place) -> None:
    """Containers' layers are overlays, which cannot lie on another overlay: there they are kept in memory."""
    place.data_root.mkdir(mode=0o711)
    if host.filesystem_type(place.data_root) == "overlay":
        linux.mount("lightship", str(place.data_root), "tmpfs", 0, "mode=711")


def _load(place: Place, archive: str) -> None:
    with open(archive, "rb") as file, Progress(f"loading {archive}", os.fstat(file.fileno()).st_size) as progress:

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(_CHUNK):
                progress.advance(len(chunk))
                yield chunk

        Client(str(place.socket)).send("/images/load?quiet=1", chunks())


def _run(asked: Ephemeral, place: Place) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in _CLIENT_SETTINGS}
    try:
        # It is as if it were started by the caller: with the same terminal, and the descriptors that it has inherited
        command = subprocess.Popen(asked.command, env={**environment, "DOCKER_HOST": place.host}, close_fds=False)
    except OSError as error:
        complain(f"{asked.command[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    for number in _FORWARDED:
        signal.signal(number, lambda number, _frame: os.kill(command.pid, number))
    while True:
        pid, status = os.wait()
        if pid == command.pid:
            command.returncode = 0
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
