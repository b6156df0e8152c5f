"""The life of a container: states, events, waiters and what is undone, over a shim that is played."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from lightship.engine import errors
from lightship.engine.containers.attach import AttachOptions
from lightship.engine.containers.failures import create_prefix
from lightship.engine.filters import Filters
from lightship.engine.times import rfc3339
from lightship.openapi.types.hostconfig import HostConfig, RestartPolicy
from lightship.openapi.types.requests import ContainerCreateRequest, ExecCreateRequest, ExecStartRequest

With = Callable[[Callable[[Any], Any]], None]
RM = {"host_config": HostConfig(auto_remove=True)}


def test_start_and_exit(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        container_id = await engine.create(labels={"a": "b"})
        waiting = await engine.containers.wait("box", "next-exit")
        await engine.containers.start("box")
        state = await engine.state()
        assert (state.status, state.running, state.exit_code) == ("running", True, 0)
        assert state.started_at == "2023-11-14T22:13:20Z"
        assert engine.networks.held == {container_id}
        engine.shim.exit(3, ns=1_700_000_005_000_000_000)
        assert (await waiting).status_code == 3
        state = await engine.state()
        assert (state.status, state.exit_code, state.pid) == ("exited", 3, 0)
        assert state.finished_at == rfc3339(1_700_000_005_000_000_000)
        assert engine.networks.held == set()
        assert engine.actions() == ["create", "start", "die"]
        assert engine.told("die") == {
            "a": "b", "image": "busybox", "name": "box", "exitCode": "3", "execDuration": "5",
        }  # fmt: skip

    with_engine(body)


def test_a_program_that_ends_at_once(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        engine.fork_server.prepare = lambda shim: setattr(shim, "exit_at_start", 0)
        await engine.create()
        waiting = await engine.containers.wait("box", "next-exit")
        await engine.containers.start("box")
        assert (await waiting).status_code == 0
        assert engine.actions() == ["create", "start", "die"]

    with_engine(body)


@pytest.mark.parametrize(
    ("text", "error", "code", "shown"),
    [
        ('exec: "x": executable file not found in $PATH', errors.InvalidArgument, 127, ""),
        ('exec: "/x": stat /x: no such file or directory', errors.InvalidArgument, 127, ""),
        ('exec: "/x": permission denied', errors.InvalidArgument, 126, ""),
        ('exec: "/etc": is a directory', errors.InvalidArgument, 126, ": permission denied"),
        ("something else", errors.Internal, 128, ""),
    ],
)
def test_a_failed_start(with_engine: With, text: str, error: type[errors.Error], code: int, shown: str) -> None:
    async def body(engine: Any) -> None:
        engine.fork_server.errors = {"create": ("invalid_argument", text)}
        ours, client = socket.socketpair()
        container_id = await engine.create()
        attachment = await engine.containers.attach("box", AttachOptions(stdout=True, stream=True))
        await attachment.hand_over(client, b"")
        with pytest.raises(error) as caught:
            await engine.containers.start("box")
        assert type(caught.value) is error and str(caught.value) == create_prefix("runc") + text + shown
        state = await engine.state()
        assert (state.status, state.exit_code, state.error) == ("created", code, str(caught.value))
        answer = await (await engine.containers.wait("box", ""))
        assert (answer.status_code, answer.error.message) == (code, str(caught.value))
        assert ours.recv(1) == b"", "the client is let go"
        ours.close()
        assert engine.networks.held == set() and not (engine.config.tasks_dir / container_id).exists()
        engine.fork_server.errors = {}
        await engine.containers.start("box")
        assert (await engine.state()).error == ""

    with_engine(body)


def test_a_failed_start_with_rm(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        engine.fork_server.errors = {"create": ("invalid_argument", "no such file or directory")}
        await engine.create(**RM)
        removed = await engine.containers.wait("box", "removed")
        with pytest.raises(errors.InvalidArgument):
            await engine.containers.start("box")
        assert (await removed).status_code == 127
        assert engine.actions() == ["create", "destroy"]
        assert len(engine.containers.context.registry) == 0 and not engine.snapshots.keys

    with_engine(body)


def test_a_start_that_fails_in_a_way_nobody_thought_of(with_engine: With) -> None:
    """Whoever waits for the container is told, as of any failure, and nothing is held."""

    async def body(engine: Any) -> None:
        async def full(*_args: Any, **_kwargs: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "hosts")

        await engine.create(**RM)
        removed = await engine.containers.wait("box", "removed")
        engine.supervisor.create_task = full
        with pytest.raises(errors.Internal, match="No space left on device"):
            await engine.containers.start("box")
        assert (await removed).status_code == 128
        assert engine.networks.held == set() and len(engine.containers.context.registry) == 0

    with_engine(body)


def test_p32_rm_tells_the_true_exit_code(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        container_id = await engine.create(**RM)
        removed = await engine.containers.wait("box", "removed")
        await engine.containers.start("box")
        engine.shim.exit(42)
        assert (await removed).status_code == 42
        assert engine.actions() == ["create", "start", "die", "destroy"]
        with pytest.raises(errors.NotFound):
            await engine.containers.inspect(container_id)
        assert not (engine.config.containers_dir / container_id).exists()

    with_engine(body)


def test_stop_waits_and_then_kills(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create(stop_signal="SIGUSR1")
        await engine.containers.start("box")
        engine.shim.ignored_signals = {signal.SIGUSR1}
        await engine.containers.stop("box", timeout_s=0)
        assert (await engine.state()).exit_code == 137
        assert engine.actions() == ["create", "start", "kill", "kill", "die", "stop"]
        sent = [message["signal"] for message in engine.shim.asked if message["op"] == "kill"]
        assert sent == [signal.SIGUSR1, signal.SIGKILL]
        with pytest.raises(errors.NotModified):
            await engine.containers.stop("box")

    with_engine(body)


def test_stop_without_limit(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        await engine.containers.start("box")
        engine.shim.ignored_signals = {signal.SIGINT}
        stopping = asyncio.create_task(engine.containers.stop("box", signal="int", timeout_s=-1))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        engine.shim.exit(0)
        await stopping
        assert engine.told("kill")["signal"] == "2"

    with_engine(body)


def test_restart_keeps_a_container_with_rm(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create(**RM)
        await engine.containers.start("box")
        await engine.containers.restart("box", timeout_s=1)
        assert engine.actions() == ["create", "start", "kill", "die", "stop", "start", "restart"]
        assert (await engine.state()).running
        await engine.containers.kill("box")
        await engine.containers.context.finish()
        assert engine.actions()[-2:] == ["die", "destroy"]

    with_engine(body)


def test_refusals(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        container_id = await engine.create()
        containers = engine.containers
        not_running = f"container {container_id} is not running"

        async def refused(call: Any, kind: type[errors.Error], text: str) -> None:
            with pytest.raises(errors.Error) as caught:
                await call
            assert (type(caught.value), str(caught.value)) == (kind, text)

        await refused(containers.kill("box"), errors.Conflict, f"cannot kill container: box: {not_running}")
        await refused(
            containers.kill("box", signal="FOO"),
            errors.InvalidArgument,
            "cannot kill container: box: invalid signal: FOO",
        )
        await refused(containers.kill("none"), errors.NotFound, "cannot kill container: none: No such container: none")
        await refused(containers.pause("box"), errors.Conflict, not_running)
        await refused(containers.unpause("box"), errors.Conflict, f"Container {container_id} is not paused")
        await refused(containers.resize("box", 1, 1), errors.Conflict, not_running)
        await refused(containers.top("box", ""), errors.Conflict, not_running)
        await refused(engine.execs.create("box", ExecCreateRequest(cmd=["ls"])), errors.Conflict, not_running)
        await refused(engine.execs.inspect("x"), errors.NotFound, "No such exec instance: x")
        await refused(
            engine.create(
                "box2", host_config=HostConfig(auto_remove=True, restart_policy=RestartPolicy(name="always"))
            ),
            errors.InvalidArgument,
            "can't create 'AutoRemove' container with restart policy",
        )
        await refused(
            containers.create(ContainerCreateRequest(image="nope"), name="x1"),
            errors.NotFound,
            "No such image: nope:latest",
        )
        await containers.start("box")
        await refused(containers.start("box"), errors.NotModified, "container is already running")
        await refused(
            containers.stop("box", signal="FOO"), errors.Internal, "cannot stop container: box: invalid signal: FOO"
        )
        await refused(
            containers.remove("box"),
            errors.Conflict,
            'cannot remove container "box": container is running: stop the container before removing or force remove',
        )
        await containers.pause("box")
        await refused(containers.pause("box"), errors.Conflict, f"Container {container_id} is already paused")
        await refused(containers.start("box"), errors.Conflict, "cannot start a paused container, try unpause instead")
        await refused(
            containers.remove("box"),
            errors.Conflict,
            'cannot remove container "box": container is paused and must be unpaused first',
        )
        await refused(
            containers.attach("box", AttachOptions()),
            errors.Conflict,
            "container box is paused, unpause the container before attach",
        )
        await refused(
            engine.execs.create("box", ExecCreateRequest(cmd=["ls"])),
            errors.Conflict,
            "Container box is paused, unpause the container before exec",
        )
        await containers.remove("box", force=True)
        assert engine.actions()[-4:] == ["kill", "unpause", "die", "destroy"]

    with_engine(body)


def test_nothing_is_left_of_a_create_that_failed(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        def fail(key: str, layers: list[str]) -> None:
            raise errors.Internal("no space")

        engine.snapshots.prepare = fail
        with pytest.raises(errors.Internal):
            await engine.create(volumes={"/data": {}})
        assert len(engine.containers.context.registry) == 0
        volumes, _ = await engine.volumes.list(Filters())
        assert volumes == []
        del engine.snapshots.prepare
        await engine.create()

    with_engine(body)


def test_attached_before_the_start(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create(open_stdin=True)
        ours, client = socket.socketpair()
        gone, client_that_goes = socket.socketpair()
        options = AttachOptions(stdin=True, stdout=True, stream=True)
        for end, prefix in ((client_that_goes, b""), (client, b"early")):
            attachment = await engine.containers.attach("box", options)
            await attachment.hand_over(end, prefix)
            if end is client_that_goes:
                gone.close()
        await engine.containers.start("box")
        (attach,) = engine.shim.asked[0]["attach"]
        assert (attach["stdin"], attach["stdout"], attach["stderr"], attach["prefix"]) == (
            True,
            True,
            False,
            "ZWFybHk=",
        )
        engine.shim.clients[0].sendall(b"output")
        assert ours.recv(100) == b"output"
        engine.shim.clients.pop().close()
        assert ours.recv(1) == b"", "nobody else has the connection"
        ours.close()
        assert engine.actions() == ["create", "attach", "attach", "start"]

    with_engine(body)


def test_a_client_that_goes_away_stops_nothing(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        request = asyncio.create_task(engine.containers.start("box"))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await engine.containers.context.finish()
        assert (await engine.state()).running

    with_engine(body)


def test_several_at_once(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        await asyncio.gather(*(engine.containers.start("box") for _ in range(5)))
        assert engine.actions().count("start") == 1
        results = await asyncio.gather(
            *(engine.containers.remove("box", force=True) for _ in range(5)), return_exceptions=True
        )
        refused = [str(result) for result in results if isinstance(result, errors.Conflict)]
        assert refused == ["removal of container box is already in progress"] * 4
        assert engine.actions().count("destroy") == 1

    with_engine(body)


def test_removal_during_a_start(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        starting = asyncio.create_task(engine.containers.start("box"))
        await asyncio.sleep(0)
        await engine.containers.remove("box", force=True)
        await starting
        assert engine.actions() == ["create", "start", "kill", "die", "destroy"]

    with_engine(body)


def test_exec(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        container_id = await engine.create(env=["A=1"], user="", working_dir="/w")
        await engine.containers.start("box")
        request = ExecCreateRequest(cmd=["ls", "-l"], attach_stdout=True, env=["B=2"], detach_keys="ctrl-a")
        exec_id = await engine.execs.create("box", request)
        assert (await engine.containers.inspect("box")).exec_ids == [exec_id]
        ours, client = socket.socketpair()
        attachment = await engine.execs.prepare(exec_id, ExecStartRequest())
        await attachment.hand_over(client, b"")
        asked = engine.shim.asked[-1]
        assert (asked["process"]["args"], asked["process"]["cwd"]) == (["ls", "-l"], "/w")
        assert {"A=1", "B=2"} <= set(asked["process"]["env"])
        assert (await engine.execs.inspect(exec_id)).running
        told = engine.events.subscribe(Filters({"event": ["exec_die"]}))
        engine.shim.tell({"event": "exec_exit", "exec_id": exec_id, "exit_code": 4, "exited_ns": 1})
        await anext(told)
        told.close()
        found = await engine.execs.inspect(exec_id)
        assert (found.exit_code, found.pid, found.detach_keys, found.container_id) == (4, 77, "AQ==", container_id)
        assert engine.actions()[2:] == ["exec_create: ls -l", "exec_start: ls -l", "exec_die"]
        assert engine.told("exec_die") == {"execID": exec_id, "exitCode": "4", "image": "busybox", "name": "box"}
        assert (await engine.containers.inspect("box")).exec_ids is None
        with pytest.raises(errors.Conflict, match=f"^exec command {exec_id} has already run$"):
            await engine.execs.start_detached(exec_id, ExecStartRequest(detach=True))
        ours.close()
        never_started = await engine.execs.create("box", ExecCreateRequest(cmd=["ls"]))
        await engine.containers.kill("box")
        with pytest.raises(errors.NotFound):
            await engine.execs.inspect(never_started)
        assert (await engine.execs.inspect(exec_id)).exit_code == 4, "its client may be about to ask"

    with_engine(body)


def test_an_exec_that_cannot_start(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        await engine.containers.start("box")
        text = 'exec: "x": executable file not found in $PATH'
        engine.fork_server.errors["exec"] = ("invalid_argument", text)
        exec_id = await engine.execs.create("box", ExecCreateRequest(cmd=["x"], attach_stdout=True))
        ours, client = socket.socketpair()
        await (await engine.execs.prepare(exec_id, ExecStartRequest())).hand_over(client, b"")
        shown = f"OCI runtime exec failed: exec failed: {text}\r\n".encode()
        assert ours.recv(1000) == b"\x01\0\0\0" + len(shown).to_bytes(4, "big") + shown
        assert (await engine.execs.inspect(exec_id)).exit_code == 127
        ours.close()

    with_engine(body)


def test_rename_and_prune(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create("one", labels={"keep": "yes"})
        two = await engine.create("two")
        await engine.containers.rename("one", "first")
        assert await engine.listed() == ["two", "first"]
        assert engine.told("rename")["oldName"] == "/one"
        assert await engine.containers.prune(Filters({"label!": ["keep"]})) == ([two], 10)
        assert await engine.listed() == ["first"]
        assert engine.actions()[-2:] == ["destroy", "prune"]

    with_engine(body)


def test_the_shim_was_killed(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        await engine.create()
        await engine.containers.start("box")
        waiting = await engine.containers.wait("box", "not-running")
        engine.shim.close()
        assert (await waiting).status_code == 137
        assert (await engine.state()).status == "exited"

    with_engine(body)
