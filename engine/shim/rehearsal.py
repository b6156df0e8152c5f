"""What each shim does first, done once in the zygote with nothing behind it.

CPython writes into code and caches when things run for the first times. Written before the fork, these pages stay
shared between all shims; it saves each of them a quarter of a megabyte. Called by the zygote alone.
"""

from __future__ import annotations

import os
import socket

from ..runtime import linux
from . import main, protocol, worker
from .attach import Client
from .exec import Pipes
from .log import JsonFile
from .loop import READABLE, Loop
from .stdio import Stdio

_MESSAGE = {
    "seq": 1,
    "op": "create",
    "id": "rehearsal",
    "log": {"path": os.devnull, "max_size": 1 << 20, "max_file": 5},
    "restart": {"name": "always", "maximum": 0},
    "health": {"args": ["true"], "start_period_s": 0.0, "interval_s": 30.0},
    "start": True,
}
ROUNDS = 24
"""Enough for the interpreter to take a function for a busy one."""
LIVES = 12
"""Of whole shims, which take longer."""


def rehearse() -> None:
    for _ in range(ROUNDS):
        loop = Loop(on_error=_ignore)
        _exchange_messages(loop)
        _pump_streams(loop)
        loop.close()
    filesystem_fd = linux.fsopen("tmpfs")
    linux.fsconfig_create(filesystem_fd)
    # Mounted nowhere, so that it is gone with us
    mount_fd = linux.fsmount(filesystem_fd, 0)
    for _ in range(LIVES):
        _fail_to_create(f"/proc/self/fd/{mount_fd}")
    os.close(mount_fd)
    os.close(filesystem_fd)
    worker.run(lambda: ({}, {}))
    os.wait()


def _fail_to_create(bundle: str) -> None:
    """The whole of a shim's life, for a container that cannot be made: there is no bundle."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, open(os.devnull, "rb") as netns:
        protocol.send(ours, {**_MESSAGE, "exit_path": f"{bundle}/exit.json"}, {"netns": netns.fileno()})
        main.serve(theirs, bundle)
        os.wait()


def _exchange_messages(loop: Loop) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        loop.watch(ours.fileno(), READABLE, _ignore)
        protocol.send(theirs, {"seq": 1, "op": "state", "unused": [None, True, "text"]}, {"fd": ours.fileno()})
        if received := protocol.receive(ours):
            received[1].close()
        loop.forget(ours.fileno())


def _pump_streams(loop: Loop) -> None:
    log = JsonFile(os.devnull)
    stdio = Stdio(loop, tty=False, log=log, close_stdin=False, stay=False)
    pipes = Pipes(stdin=True)
    os.write(pipes.stdout_fd, b"output\n")
    pipes.open(stdio)
    ours, theirs = socket.socketpair()
    with theirs:
        stdio.add(
            Client(stdio, ours.detach(), streams=frozenset(("stdout",)), framed=True, stdin=True, on_detach=_nothing)
        )
        theirs.send(b"input\n")

        def stop() -> None:
            loop.stopped = True

        stdio.on_drained = stop
        loop.run()
    stdio.finish()
    log.close()


def _ignore(_: object) -> None:
    pass


def _nothing() -> None:
    pass
