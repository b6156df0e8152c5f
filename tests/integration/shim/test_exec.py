"""Processes executed in a running container."""

from __future__ import annotations

import asyncio
import time

import pytest
from harness.http import frames
from lightship.engine import errors
from lightship.engine.shim.messages import Detached, ExecExited, Exited


async def execute(there, task, exec_id, script, client=None, *, tty=False, args=None, **how):
    given = client.attach(**how) if client else None
    pid = await task.exec(
        exec_id, there.process(script, tty=tty, args=args), open_stdin=how.get("stdin", False), client=given
    )
    if client:
        client.given()
    return pid


def test_streams_and_exit_code(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            await execute(there, task, "e1", "cat; echo err >&2; exit 9", one, stdin=True, framed=True)
            await one.send(b"through\n")
            one.half_close()
            assert sorted(frames(await one.receive_all())) == [(1, b"through\n"), (2, b"err\n")]
            assert (await there.event(ExecExited)).exit_code == 9
            assert (await task.state()).execs == {}, "what the daemon has noted is not kept"

    asyncio.run(scenario())


def test_the_exit_code_is_known_before_the_stream_ends(lab, client):
    async def scenario():
        async with lab() as there:
            noted = asyncio.Event()

            async def slowly(task, event):
                await asyncio.sleep(0.3)
                noted.set()

            task = await there.run("sleep 100")
            there.supervisor.listen(slowly)
            one = client()
            await execute(there, task, "e1", "exit 9", one)
            assert await one.receive_all() == b""
            assert noted.is_set()
            there.supervisor.listen(there.hear)

    asyncio.run(scenario())


def test_children_that_keep_the_streams_do_not_hang_it(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            began = time.monotonic()
            await execute(there, task, "e1", "sleep 100 & echo hi; exit 3", one)
            assert await one.receive_all() == b"hi\n"
            assert time.monotonic() - began > 1.5, "dockerd waits two seconds"
            assert (await there.event(ExecExited)).exit_code == 3

    asyncio.run(scenario())


def test_a_terminal_with_resize_and_detach_keys(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            await execute(there, task, "e1", "sh", one, tty=True, stdin=True, detach_keys="ctrl-p,ctrl-q")
            await task.resize(height=44, width=99, exec_id="e1")
            await one.send(b"stty size\n")
            await one.receive_until(b"44 99\r\n")
            await one.send(b"\x10\x11")
            assert (await there.event(Detached)).exec_id == "e1"
            await one.receive_all()
            state = await task.state()
            assert state.execs["e1"].exit_code is None
            await task.kill(9, exec_id="e1")
            assert (await there.event(ExecExited)).exit_code == 137

    asyncio.run(scenario())


def test_several_at_once_and_detached_ones(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            clients = [client() for _ in range(8)]
            names = [f"e{number}" for number in range(8)]
            await asyncio.gather(
                *(
                    execute(there, task, name, f"seq 1 5000; echo {name}", one)
                    for name, one in zip(names, clients, strict=True)
                )
            )
            for name, data in zip(names, await asyncio.gather(*(one.receive_all() for one in clients)), strict=True):
                assert data.count(b"\n") == 5001
                assert data.endswith(b"5000\n" + name.encode() + b"\n")
            await execute(there, task, "detached", "seq 1 100000; exit 12")
            codes = {event.exec_id: event.exit_code for event in [await there.event(ExecExited) for _ in range(9)]}
            assert codes == dict.fromkeys(names, 0) | {"detached": 12}

    asyncio.run(scenario())


def test_what_cannot_be_executed_leaves_the_client_to_the_caller(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            with pytest.raises(errors.Error, match='exec: "nosuch": executable file not found in \\$PATH'):
                await task.exec("e1", there.process("", args=["nosuch"]), client=one.attach())
            one.theirs.sendall(b"the reason")
            one.given()
            assert await one.receive_all() == b"the reason"
            assert (await task.state()).execs == {}

    asyncio.run(scenario())


def test_the_container_takes_its_execs_with_it(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            await execute(there, task, "e1", "echo here; sleep 100", one)
            await one.receive_until(b"here\n")
            await task.kill(9)
            assert (await there.event(ExecExited)).exit_code == 137
            assert (await there.event(Exited)).exit_code == 137
            assert await one.receive_all() == b""

    asyncio.run(scenario())


def test_a_long_command_line(lab, client):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            one = client()
            words = ["x" * 1000] * 200
            await execute(there, task, "e1", "", one, args=["/bin/echo", *words])
            assert await one.receive_all() == " ".join(words).encode() + b"\n"

    asyncio.run(scenario())


def test_not_while_paused(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            await task.pause()
            assert (await task.state()).status == "paused"
            with pytest.raises(errors.Conflict):
                await task.exec("e1", there.process("true"))
            await task.resume()
            await task.exec("e2", there.process("true"))
            assert (await there.event(ExecExited)).exit_code == 0

    asyncio.run(scenario())
