"""Health checks in the shim: results, statuses, what a late or flooding probe leaves, and a daemon that is away."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.shim.messages import (
    Exited,
    HealthChanged,
    HealthCheck,
    Probed,
    ProbeStarted,
    Restart,
    Started,
    UnhealthyRestart,
)


def check(script: str, **fields: Any) -> HealthCheck:
    defaults: dict[str, Any] = {
        "interval_s": 0.1,
        "timeout_s": 10.0,
        "timeout_text": "10s",
        "start_period_s": 0.0,
        "start_interval_s": 5.0,
        "retries": 3,
    }
    return HealthCheck(args=["/bin/sh", "-c", script], **(defaults | fields))


async def probed(there) -> Probed:
    await there.event(ProbeStarted)
    result: Probed = await there.event(Probed)
    return result


def test_the_first_success_is_healthy(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", health=check("echo fine; echo too >&2; pwd"))
            assert (await task.state()).health.status == "starting"
            told = await probed(there)
            assert (told.result.exit_code, told.exec_exit_code) == (0, 0)
            assert told.result.output == "fine\ntoo\n/\n"
            assert told.result.start_ns < told.result.end_ns
            assert (told.status, told.failing_streak) == ("healthy", 0)
            changed = await there.event(HealthChanged)
            assert (changed.status, changed.time_ns) == ("healthy", told.result.end_ns)
            for _ in range(6):
                await probed(there)
            health = (await task.state()).health
            assert (health.status, len(health.log)) == ("healthy", 5)

    asyncio.run(scenario())


def test_failures_in_a_row_are_unhealthy(lab):
    async def scenario():
        async with lab() as there:
            await there.run("sleep 1000", health=check("exit 7", retries=2))
            first = await probed(there)
            assert (first.status, first.failing_streak, first.result.exit_code) == ("starting", 1, 7)
            second = await probed(there)
            assert (second.status, second.failing_streak) == ("unhealthy", 2)
            assert (await there.event(HealthChanged)).status == "unhealthy"
            assert (await probed(there)).failing_streak == 3

    asyncio.run(scenario())


def test_failures_within_the_start_period_do_not_count(lab):
    async def scenario():
        async with lab() as there:
            health = check("exit 1", retries=1, start_period_s=0.6, interval_s=0.3, start_interval_s=0.05)
            await there.run("sleep 1000", health=health)
            streaks = []
            while not streaks or streaks[-1] == 0:
                streaks.append((await probed(there)).failing_streak)
            assert len(streaks) >= 3
            assert (await there.event(HealthChanged)).status == "unhealthy"

    asyncio.run(scenario())


def test_what_cannot_be_executed_fails(lab):
    async def scenario():
        async with lab() as there:
            health = check("")
            await there.run("sleep 1000", health=HealthCheck(**{**as_dict(health), "args": ["/nosuch"]}))
            told = await probed(there)
            assert (told.result.exit_code, told.exec_exit_code) == (-1, None)
            assert told.result.output == (
                "OCI runtime exec failed: exec failed: unable to start container process: "
                'exec: "/nosuch": stat /nosuch: no such file or directory'
            )

    asyncio.run(scenario())


def as_dict(health: HealthCheck) -> dict[str, Any]:
    return {name: getattr(health, name) for name in health.__struct_fields__}


@pytest.mark.parametrize(
    "script",
    [
        "echo begun; sleep 1001 & (setsid sleep 1002 &) ; (sh -c 'sleep 1003; true') ; sleep 1004",
        "echo begun; setsid sh -c 'sleep 1001 &' & sleep 1002",
        "echo begun; (setsid sh -c '(setsid sh -c \"sleep 1001; true\" &) &' &) & exec sleep 1002",
        "echo begun; trap '' TERM HUP; while :; do (setsid sleep 1001 &) ; sleep 0.01; done",
    ],
)
def test_a_late_probe_is_killed_with_all_that_it_started(lab, script):
    async def scenario():
        async with lab() as there:
            own = "(setsid sleep 1010 &); sleep 1011 & sleep 1012"
            task = await there.run(own, health=check(script, timeout_s=1.5, timeout_text="1.5s", interval_s=0.3))
            told = await probed(there)
            assert told.result.exit_code == -1
            assert told.result.output == "Health check exceeded timeout (1.5s): begun\n"

            async def only_its_own_live_on() -> bool:
                left = [arguments for pid in await task.pids() if b"sleep" in (arguments := command_of(pid))]
                return sorted(left) == [[b"sleep", b"1010"], [b"sleep", b"1011"], [b"sleep", b"1012"]]

            await there.until(only_its_own_live_on)  # the last may still be dying

    asyncio.run(scenario())


def command_of(pid: int) -> list[bytes]:
    """What it executes; nothing where it is dead."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_a_flood_is_read_and_cut(lab):
    async def scenario():
        async with lab() as there:
            await there.run("sleep 1000", health=check("head -c 10000000 /dev/zero | tr '\\0' x"))
            told = await probed(there)
            assert told.result.exit_code == 0
            assert told.result.output == "x" * 4096 + "..."

    asyncio.run(scenario())


def test_a_child_that_keeps_the_output_open(lab):
    async def scenario():
        async with lab() as there:
            await there.run("sleep 1000", health=check("sleep 1001 & echo done", timeout_s=50, interval_s=0.3))
            told = await probed(there)
            assert (told.result.exit_code, told.result.output) == (0, "done\n")
            assert (told.result.end_ns - told.result.start_ns) / 1e9 < 40

    asyncio.run(scenario())


def test_nothing_is_checked_while_paused(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", health=check("exit 0"))
            await probed(there)
            await there.event(HealthChanged)
            await task.pause()
            assert (await task.state()).health.status == "unhealthy"
            await asyncio.sleep(0.3)
            while not there.events.empty():
                there.events.get_nowait()
            await asyncio.sleep(0.3)
            assert there.events.empty()
            await task.resume()
            await probed(there)
            assert (await there.event(HealthChanged)).status == "healthy"

    asyncio.run(scenario())


def test_a_stop_ends_it(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", health=check("sleep 1001"))
            await there.event(ProbeStarted)
            await task.kill(signal.SIGKILL)
            assert (await there.event(Exited)).exit_code == 137
            await task.delete()
            assert there.events.empty()

    asyncio.run(scenario())


def test_a_restart_begins_anew(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000", health=check("exit 0"), restart=Restart("always"))
            await probed(there)
            await there.event(HealthChanged)
            await task.kill(signal.SIGKILL)
            await there.event(Exited)
            await there.event(Started)
            assert (await task.state()).health.status == "starting"
            await probed(there)
            assert (await there.event(HealthChanged)).status == "healthy"

    asyncio.run(scenario())


@pytest.mark.parametrize("script", ["sleep 1000", "trap '' TERM; while :; do sleep 0.1; done"])
def test_an_unhealthy_container_is_restarted_where_it_is_asked_for(lab, script):
    async def scenario():
        async with lab() as there:
            restart = UnhealthyRestart(stop_signal=signal.SIGTERM, limit_s=0.2)
            await there.run(script, health=check("exit 1", retries=1, restart=restart))
            for count in (1, 2):
                await probed(there)
                assert (await there.event(HealthChanged)).status == "unhealthy"
                while not isinstance(end := await asyncio.wait_for(there.events.get(), 60), Exited):
                    pass
                assert (end.restarting, end.restart_count) == (True, count)
                await there.event(Started)

    asyncio.run(scenario())


def test_it_goes_on_without_a_daemon(lab):
    async def scenario():
        async with lab() as there:
            flag = there.root / "flag"
            spec = there.spec("sleep 1000")
            spec["mounts"].append(
                {"destination": "/tmp", "type": "bind", "source": str(there.root), "options": ["rbind"]}
            )
            await there.run("", spec=spec, health=check("echo round >>/tmp/rounds; test -e /tmp/flag", retries=1))
            await probed(there)
            assert (await there.event(HealthChanged)).status == "unhealthy"
            await there.supervisor.stop()
            while not there.events.empty():
                there.events.get_nowait()
            flag.touch()
            rounds = there.root / "rounds"
            before = rounds.stat().st_size
            await there.until(lambda: asyncio.sleep(0, rounds.stat().st_size >= before + 18))
            await there.supervisor.start()
            ((task, state),) = (await there.supervisor.load()).values()
            assert state.health.status == "healthy"
            assert state.health.log[-1].exit_code == 0
            await task.listen()
            told = [there.events.get_nowait() for _ in range(there.events.qsize())]
            assert [event.status for event in told if isinstance(event, HealthChanged)] == ["healthy"]
            os.unlink(flag)

    asyncio.run(scenario())
