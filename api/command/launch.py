"""Starting `lightshipd` in the background, and waiting until it serves as systemd does: by sd_notify."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ...engine.errors import Unavailable

_START_S = 60.0
_SHOWN_LINES = 15


def launch(flags: Sequence[str], log: Path) -> int:
    """Start an engine in a session of its own; return its pid once it serves. Unavailable has its last words."""
    with (
        tempfile.TemporaryDirectory(prefix="lightship-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
        log.open("ab") as output,
    ):
        notified.bind(f"{folder}/notify")
        began = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "lightship.api.main", *flags],
            cwd="/",
            env={**os.environ, "NOTIFY_SOCKET": f"{folder}/notify"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        if not _is_ready(process.pid, notified):
            process.kill()
            process.wait()
            raise Unavailable(f"the engine did not start; {log} ends with:\n{_last_words(log, began)}")
        # It outlives us: nobody here waits for it
        process.returncode = 0
        return process.pid


def _is_ready(pid: int, notified: socket.socket) -> bool:
    deadline = time.monotonic() + _START_S
    pidfd = os.pidfd_open(pid)
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([pidfd, notified.fileno()], [], [], left_s)
            if notified.fileno() in readable and b"READY=1" in notified.recv(4096).split(b"\n"):
                return True
            if pidfd in readable:
                return False
        return False
    finally:
        os.close(pidfd)


def _last_words(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])
