"""`lightship run`: an engine around one command, and nothing of it afterwards.

Three processes. Ours waits, and ends as the command does. `inside` is the first process of a pid namespace that holds
engine, containers and command: the kernel ends them all when it ends, and ends it when we do. The sweeper is outside of
it and waits for its end, whatever the reason; then it removes what processes do not take with them: cgroups and files.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from ...engine.runtime import linux
from ...engine.runtime.constants import CLONE_NEWPID
from . import inside, netns
from .ephemeral import Ephemeral
from .place import Place
from .terminal import complain

_PREFIX = "lightship-run-"
_MARK = "ephemeral"
"""A file in the root of an engine that may be removed once nobody locks it."""
FAILED = 125
"""The exit status where the command was never started, as for `docker run`."""
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_SWEEPS, _SWEEP_PAUSE_S = 50, 0.1


def run(asked: Ephemeral) -> int:
    """Run the command beside an engine; return its exit status."""
    _sweep_stale()
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    (root / _MARK).touch()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sweeper = os.fork()
    if sweeper == 0:
        _leave(lambda: _sweep_after(theirs.fileno(), lock_fd, Place(root)))
    theirs.close()
    os.close(lock_fd)
    try:
        return _run_beside(asked, Place(root), ours)
    finally:
        ours.close()
        os.waitpid(sweeper, 0)


def _run_beside(asked: Ephemeral, place: Place, sweeper: socket.socket) -> int:
    alive, ours = os.pipe()
    ready, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    linux.unshare(CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        ready.close()
        sweeper.close()
        _leave(lambda: inside.become_first(asked, place, told))
    told.close()
    pidfd = os.pidfd_open(pid)
    socket.send_fds(sweeper, [b"first"], [pidfd])
    os.close(pidfd)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _frame: os.kill(pid, number))
    # The terminal tells the command as well, which may have its own idea of ^C
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if asked.private and ready.recv(16) == b"network":
        has_way_out = netns.open_way_out(f"/proc/{pid}/ns/net", exit_fd=alive) is not None
        ready.send(b"out" if has_way_out else b"alone")
    elif not asked.private:
        ready.send(b"go")
    # Its way out is our child and in its namespace, which ends only when all in it are reaped
    ended, status = os.wait()
    while ended != pid:
        ended, status = os.wait()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _leave(work: Callable[[], int]) -> NoReturn:
    """Do the work of a forked process, which never returns into what its parent was doing."""
    code = FAILED
    try:
        code = work()
    except Exception as error:
        complain(str(error))
    finally:
        sys.stdout.flush()
        os._exit(code)


def _sweep_after(told_fd: int, lock_fd: int, place: Place) -> int:
    """In the sweeper: wait until everything has ended, then remove what is left."""
    os.setsid()
    linux.set_name("lightship-sweep")
    # The caller may wait for the end of a stream that we have inherited
    for first, last in pairwise(sorted({-1, 2, told_fd, lock_fd, 1 << 20})):
        if first + 1 < last:
            os.closerange(max(first + 1, 3), last)
    told = socket.socket(fileno=told_fd)
    _, fds, _, _ = socket.recv_fds(told, 16, 1)
    for pidfd in fds:
        # Readable when the namespace's first process has ended, and then all others in it have
        select.select([pidfd], [], [])
    _sweep(place)
    return 0


def _sweep(place: Place) -> None:
    """Remove the cgroups and the files of an engine that has ended."""
    assert place.root
    for _ in range(_SWEEPS):
        left = [folder for folder in _cgroups(place.cgroup_parent) if not _is_removed(folder)]
        if not left:
            break
        time.sleep(_SWEEP_PAUSE_S)  # the kernel tells nobody when a cgroup's last zombie is gone
    shutil.rmtree(place.root, ignore_errors=True)


def _sweep_stale() -> None:
    """Remove what earlier runs left whose sweeper was killed too, or that a power cut ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_uid == os.geteuid() and (folder / _MARK).exists():
                _sweep(Place(folder))
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def _cgroups(parent: str) -> list[str]:
    """The directories of a cgroup in every hierarchy, the innermost first."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [line[4] for line in lines if line[line.index("-") + 1].startswith("cgroup")]
    return [folder for root in roots for folder, _, _ in os.walk(root + parent, topdown=False)]


def _is_removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
