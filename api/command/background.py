"""`lightship up`, `down` and `status`: engines in the background."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...engine.errors import Error, InvalidArgument, Unavailable
from .. import flags as daemon_flags
from . import netns
from .client import Client
from .launch import launch
from .place import Place, forget, known, note, place_of
from .terminal import Progress, coloured, table, tell

_STOP_S = 60.0
_STOPPED_AT_ONCE = 16


def up(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Start an engine unless it runs already, and print how clients reach it."""
    place = place_of(options.root)
    daemon_flags.parse(more)
    if place.is_too_long:
        raise InvalidArgument(f"the path of the socket, {place.socket}, is too long for a unix socket")
    if place.pid() is None:
        _start(place, more, private=options.network == "private" if options.network else place.root is not None)
    else:
        tell(f"an engine runs already in {place.name}")
    print(f"export DOCKER_HOST={place.host}")
    if options.context:
        _use_context(options.context, place.host)
    return 0


def _start(place: Place, more: Sequence[str], *, private: bool) -> None:
    if Client(str(place.socket)).answers():
        raise InvalidArgument(f"another engine serves {place.socket}: stop it first, or give this one a --root")
    if private and place.root is None:
        raise InvalidArgument("--network private needs a --root: the host's usual engine is in the host's network")
    place.pidfile.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not private:
        launch([*place.flags(), *more], place.log)
    else:
        netns.keep(place.netns)
        has_way_out = _open_way_out(place)
        with netns.entered(place.netns):
            launch([*place.flags(), *_dns(more, has_way_out), *more], place.log)
        tell(f"its network is its own; to reach what it publishes: nsenter --net={place.netns} COMMAND")
        if not has_way_out:
            tell(f"it has no way out: install {netns.SLIRP}, or start it with --network host")
    note(place)
    tell(f"the engine in {place.name} is up; its log is {place.log}")


def _open_way_out(place: Place) -> bool:
    pidfile = place.netns.with_suffix(".out")
    with contextlib.suppress(OSError, ValueError):
        if netns.SLIRP in os.readlink(f"/proc/{int(pidfile.read_text())}/exe"):
            return True
    process = netns.open_way_out(str(place.netns))
    if process is None:
        return False
    pidfile.write_text(str(process.pid))
    process.returncode = 0  # it stays until `down` ends it
    return True


def _dns(more: Sequence[str], has_way_out: bool) -> list[str]:
    """The host's own resolver may be one on its loopback, which is another one in the namespace."""
    return ["--dns", netns.SLIRP_DNS] if has_way_out and "--dns" not in " ".join(more) else []


def _use_context(name: str, host: str) -> None:
    docker = shutil.which("docker")
    if docker is None:
        raise Unavailable("there is no docker on PATH to make a context with")
    known_names = subprocess.run([docker, "context", "ls", "-q"], capture_output=True, text=True).stdout.split()
    verb = "update" if name in known_names else "create"
    for command in ([verb, name, "--docker", f"host={host}"], ["use", name]):
        done = subprocess.run([docker, "context", *command], capture_output=True, text=True)
        if done.returncode:
            raise Error(f"docker context {command[0]}: {done.stderr.strip()}")
    tell(f"docker's context is {name}")


def down(options: argparse.Namespace) -> int:
    """Stop an engine; its containers go on unless they are to end too."""
    place = place_of(options.root)
    pid = place.pid()
    if pid is None:
        if Client(str(place.socket)).answers():
            raise InvalidArgument(f"the engine on {place.socket} was not started by `lightship up`")
        tell(f"no engine runs in {place.name}")
    else:
        if options.containers:
            _stop_containers(Client(str(place.socket)))
        left = _running(place)
        _end(pid)
        tell(f"the engine in {place.name} has stopped{f'; {left} containers go on' if left else ''}")
    if place.root and not _has_tasks(place):
        _let_go(place)
    return 0


def _stop_containers(client: Client) -> None:
    containers = client.get("/containers/json")
    with Progress("stopping containers", len(containers)) as progress, ThreadPoolExecutor(_STOPPED_AT_ONCE) as pool:
        # Each has its own time to stop, which may be long
        for _ in pool.map(lambda each: client.post(f"/containers/{each['Id']}/stop", timeout_s=None), containers):
            progress.advance()


def _running(place: Place) -> int:
    try:
        return int(Client(str(place.socket)).get("/info")["ContainersRunning"])
    except Error:
        return 0


def _end(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], _STOP_S)[0]:
            raise Unavailable(f"the engine (pid {pid}) has not stopped after {_STOP_S:.0f} seconds")
    finally:
        os.close(pidfd)


def _has_tasks(place: Place) -> bool:
    tasks = place.exec_root / "tasks"
    return tasks.is_dir() and any(tasks.iterdir())


def _let_go(place: Place) -> None:
    """Nothing runs in a private engine's namespace any more."""
    pidfile = place.netns.with_suffix(".out")
    with contextlib.suppress(OSError, ValueError):
        pid = int(pidfile.read_text())
        if netns.SLIRP in os.readlink(f"/proc/{pid}/exe"):
            os.kill(pid, signal.SIGTERM)
    pidfile.unlink(missing_ok=True)
    netns.release(place.netns)
    forget(place)


def status(options: argparse.Namespace) -> int:
    """Show the engines of this host; 3 where none runs, as systemctl has it."""
    found = [_state_of(place) for place in known()]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        rows = [
            (
                each["root"],
                coloured("running", "green") if each["running"] else "stopped",
                each["version"] or "-",
                f"{each['containers_running']}/{each['containers']}" if each["running"] else "-",
                each["host"],
            )
            for each in found
        ]
        print(table(("ROOT", "STATE", "VERSION", "CONTAINERS", "HOST"), rows))
    return 0 if any(each["running"] for each in found) else 3


def _state_of(place: Place) -> dict[str, Any]:
    client = Client(str(place.socket))
    known_state: dict[str, Any] = {"root": place.name, "host": place.host, "pid": place.pid(), "log": str(place.log)}
    try:
        version, info = client.get("/version"), client.get("/info")
    except Error:
        return {**known_state, "running": False, "version": "", "containers": 0, "containers_running": 0}
    return {
        **known_state,
        "running": True,
        "version": f"{version['Platform']['Name']} {version['Version']}".strip(),
        "containers": info["Containers"],
        "containers_running": info["ContainersRunning"],
    }
