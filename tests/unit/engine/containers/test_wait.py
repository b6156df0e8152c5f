"""Waiting for containers: the three conditions, and what is answered."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable

import pytest
from lightship.engine.containers.container import Container
from lightship.engine.containers.record import ContainerRecord, State
from lightship.engine.containers.wait import wait
from lightship.engine.errors import InvalidArgument
from lightship.openapi.types.config import Config
from lightship.openapi.types.containers import ContainerWaitExitError, ContainerWaitResponse
from lightship.openapi.types.hostconfig import HostConfig


def make(state: State) -> Container:
    record = ContainerRecord(
        id="a" * 64,
        name="/a1",
        created_ns=1,
        path="sh",
        args=[],
        config=Config(),
        host_config=HostConfig(),
        state=state,
    )
    return Container(record)


async def settled(awaitable: Awaitable[ContainerWaitResponse]) -> ContainerWaitResponse | None:
    future = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    return future.result() if future.done() else None


def test_conditions() -> None:
    async def body() -> None:
        container = make(State(running=True, started_ns=1))
        stopped, default, next_exit = (wait(container, name) for name in ("not-running", "", "next-exit"))
        removed = wait(container, "removed")
        assert await settled(stopped) is None
        container.set_exited(3, finished_ns=2)
        container.tell_exit()
        assert [await answer for answer in (stopped, default, next_exit)] == [ContainerWaitResponse(status_code=3)] * 3
        assert await settled(removed) is None
        assert await settled(wait(container, "not-running")) == ContainerWaitResponse(status_code=3)
        assert await settled(wait(container, "next-exit")) is None
        container.tell_removal()
        assert await removed == ContainerWaitResponse(status_code=3)

    asyncio.run(body())


def test_removal_ends_a_wait_for_the_next_exit() -> None:
    async def body() -> None:
        container = make(State())
        next_exit = wait(container, "next-exit")
        container.tell_removal()
        assert await next_exit == ContainerWaitResponse(status_code=0)

    asyncio.run(body())


def test_a_failed_start_is_told() -> None:
    async def body() -> None:
        answer = await wait(make(State(exit_code=127, error="no such file")), "not-running")
        assert answer == ContainerWaitResponse(status_code=127, error=ContainerWaitExitError(message="no such file"))

    asyncio.run(body())


def test_a_client_that_goes_away_is_forgotten() -> None:
    async def body() -> None:
        container = make(State(running=True, started_ns=1))
        for condition in ("not-running", "removed"):
            future = asyncio.ensure_future(wait(container, condition))
            waiter = weakref.ref(future)
            future.cancel()
            await asyncio.sleep(0)
            assert future.cancelled()
            del future
            assert waiter() is None, "nothing of the container holds it any more"
        container.set_exited(0, finished_ns=2)
        container.tell_exit()
        container.tell_removal()

    asyncio.run(body())


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='^invalid condition: "bla"$'):
        wait(make(State()), "bla")
