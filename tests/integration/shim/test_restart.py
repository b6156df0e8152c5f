"""Restart policies: what the shim does by itself, with a daemon, without one, and against its will."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest
from lightship.engine import errors
from lightship.engine.shim.messages import Exited, GivenUp, Restart, Started

ALWAYS = Restart("always")
SLOW_CRASH = "sleep 0.2; exit 3"


def test_a_container_is_restarted_until_its_count_is_reached(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            task = await there.run(
                "echo run; exit 3", restart=Restart("on-failure", 2), clients=[one.attach(framed=False)]
            )
            one.given()
            seen = [await there.event(kind) for kind in (Exited, Started, Exited, Started, Exited)]
            ends, starts = seen[::2], seen[1::2]
            assert [(end.exit_code, end.restarting, end.restart_count) for end in ends] == [
                (3, True, 1),
                (3, True, 2),
                (3, False, 2),
            ]
            assert [start.restart_count for start in starts] == [1, 2]
            assert task.pid == starts[1].pid
            delays = [(start.started_ns - end.exited_ns) / 1e9 for end, start in zip(ends[:2], starts, strict=True)]
            assert delays[0] >= 0.1 and delays[1] >= 0.2
            assert await one.receive_all() == b"run\n", "a client goes with the run that it was attached to"
            lines = there.log_path("c1").read_text().splitlines()
            assert [json.loads(line)["log"] for line in lines] == ["run\n"] * 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [
        (Restart("on-failure"), 0, False),
        (Restart("unless-stopped"), 0, True),
        (Restart("always"), 0, True),
        (Restart("no"), 1, False),
    ],
)
def test_policies(lab, policy, code, restarts):
    async def scenario():
        async with lab() as there:
            await there.run(f"exit {code}", restart=policy)
            assert (await there.event(Exited)).restarting is restarts

    asyncio.run(scenario())


def test_a_stop_by_hand_is_final(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", restart=ALWAYS)
            await task.kill(signal.SIGKILL, by_user=True, final=True)
            end = await there.event(Exited)
            assert (end.exit_code, end.restarting) == (137, False)

    asyncio.run(scenario())


def test_a_signal_of_the_users_counts_for_unless_stopped_alone(lab):
    async def scenario():
        async with lab() as there:
            for name, restarts in (("unless-stopped", False), ("always", True)):
                task = await there.run("sleep 1000", id=name, restart=Restart(name))
                await task.kill(signal.SIGKILL, by_user=True)
                assert (await there.event(Exited)).restarting is restarts
                await there.supervisor.delete(name)
                if restarts:
                    await there.event(GivenUp)

    asyncio.run(scenario())


def test_a_stop_while_it_waits(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("exit 4", restart=ALWAYS)
            for _ in range(3):
                end = await there.event(Exited)
                if end.restart_count < 3:
                    await there.event(Started)
            state = await task.state()
            assert (state.status, state.pid, state.exit_code, state.restart_count) == ("restarting", 0, 4, 3)
            with pytest.raises(errors.Conflict, match="restarting"):
                await task.pids()
            await task.kill(signal.SIGTERM, by_user=True, final=True)
            assert (await there.event(GivenUp)).error is None
            record = json.loads((there.root / "containers/c1/exit.json").read_text())
            assert (record["status"], record["exit_code"], record["restart_count"]) == ("exited", 4, 3)

    asyncio.run(scenario())


def test_a_policy_can_be_changed(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000")
            await task.set_restart(ALWAYS)
            await task.kill(signal.SIGKILL)
            assert (await there.event(Exited)).restarting
            await there.event(Started)
            await task.set_restart(Restart("no"))
            await task.kill(signal.SIGKILL)
            assert not (await there.event(Exited)).restarting

    asyncio.run(scenario())


def test_changed_limits_hold_after_a_restart(lab):
    async def scenario():
        async with lab() as there:
            spec = there.spec("sleep 1000", memory={"limit": 64 << 20})
            task = await there.run("", spec=spec, restart=ALWAYS)
            await task.update({"memory": {"limit": 128 << 20}, "pids": {"limit": 77}})
            await task.kill(signal.SIGKILL)
            await there.event(Exited)
            await there.event(Started)
            stats = await task.stats()
            assert (stats["memory"]["limit"], stats["pids"]["limit"]) == (128 << 20, 77)

    asyncio.run(scenario())


def test_a_restart_that_fails_is_told(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", restart=ALWAYS)
            (there.root / "tasks/c1/config.json").write_text(
                json.dumps(there.spec("", args=["/nosuch"]) | {"root": {"path": "rootfs"}})
            )
            await task.kill(signal.SIGKILL)
            await there.event(Exited)
            failed = await there.event(GivenUp)
            assert "/nosuch" in str(failed.error)

    asyncio.run(scenario())


def test_the_network_and_the_ports_stay(lab):
    async def scenario():
        async with lab() as there:
            netns_fd = os.open("/proc/self/ns/net", os.O_RDONLY)
            read_fd, write_fd = os.pipe()
            os.set_blocking(read_fd, False)
            await there.run(SLOW_CRASH, restart=Restart("on-failure", 1), fds={"netns": netns_fd, "port0": write_fd})
            os.close(write_fd)
            await there.event(Exited)
            started = await there.event(Started)
            assert os.readlink(f"/proc/{started.pid}/ns/net") == os.readlink("/proc/self/ns/net")
            with pytest.raises(BlockingIOError):
                os.read(read_fd, 1)
            await there.event(Exited)
            assert os.read(read_fd, 1) == b""
            os.close(read_fd)
            os.close(netns_fd)

    asyncio.run(scenario())


def test_another_containers_namespaces_are_found_again(lab):
    async def scenario():
        async with lab() as there:
            donor = await there.run("sleep 1000", id="donor", restart=ALWAYS)
            spec = there.spec("sleep 1000")
            spec["linux"]["namespaces"] = [
                space | ({"path": "/nowhere"} if space["type"] == "network" else {})
                for space in spec["linux"]["namespaces"]
            ]
            task = await there.run("", id="guest", spec=spec, joins={"network": "donor"}, restart=ALWAYS)
            assert network_of(task.pid) == network_of(donor.pid)
            await donor.kill(signal.SIGKILL)
            await there.event(Exited)
            await there.event(Started)
            await task.kill(signal.SIGKILL)
            await there.event(Exited)
            await there.event(Started)
            assert network_of(task.pid) == network_of(donor.pid)
            await there.supervisor.delete("donor")
            await there.event(Exited)
            await task.kill(signal.SIGKILL)
            await there.event(Exited)
            assert "non running container: container donor" in str((await there.event(GivenUp)).error)

    asyncio.run(scenario())


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def test_it_goes_on_without_a_daemon(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run(SLOW_CRASH, restart=ALWAYS)
            await there.supervisor.stop()
            first = task.pid

            def restarts() -> int:
                record = there.root / "containers/c1/exit.json"
                try:
                    return int(json.loads(record.read_text())["restart_count"])
                except FileNotFoundError:
                    return 0

            await there.until(lambda: asyncio.sleep(0, restarts() >= 2))
            await there.supervisor.start()
            ((found, state),) = (await there.supervisor.load()).values()
            assert state.restart_count >= 2
            assert there.events.empty(), "nothing is told before anyone listens"
            await found.listen()
            told = []
            while not there.events.empty():
                told.append(there.events.get_nowait())
            assert [type(event) for event in told[:4]] == [Exited, Started, Exited, Started] or len(told) == 3
            times = [event.exited_ns if isinstance(event, Exited) else event.started_ns for event in told]
            assert times == sorted(times)
            assert told[0].restart_count == 1
            assert first not in (found.pid, state.pid)

    asyncio.run(scenario())


def test_an_end_without_a_daemon_says_what_came_before(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run(SLOW_CRASH, restart=Restart("on-failure", 1))
            shim = os.pidfd_open(task.shim_pid)
            await there.supervisor.stop()
            deadline = time.monotonic() + 60
            while (there.root / "tasks/c1/shim.sock").exists():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            os.close(shim)
            await there.supervisor.start()
            assert await there.supervisor.load() == {}
            told = there.supervisor.end_of("c1")
            assert [type(event) for event in told] == [Exited, Started, Exited]
            assert [event.restart_count for event in told] == [1, 1, 1]

    asyncio.run(scenario())


def test_a_shim_killed_while_it_waits(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("exit 4", restart=ALWAYS)
            for kind in (Exited, Started, Exited, Started, Exited):
                await there.event(kind)
            os.kill(task.shim_pid, signal.SIGKILL)
            assert (await there.event(Exited)).exit_code == 137
            await there.supervisor.delete("c1")

    asyncio.run(scenario())
