"""Work that several want is done once, and goes on as long as one of them waits."""

from __future__ import annotations

import asyncio

import pytest
from lightship.engine.build.flights import Flights, Heard
from lightship.engine.build.progress import Log


def test_the_second_hears_what_was_said_before() -> None:
    async def scenario() -> None:
        flights, said, done = Flights(), asyncio.Event(), asyncio.Event()
        runs = 0

        async def work(heard: Heard) -> None:
            nonlocal runs
            runs += 1
            heard(Log("", 1, b"first"))
            said.set()
            await done.wait()
            heard(Log("", 1, b"last"))

        heard: tuple[list[bytes], list[bytes]] = ([], [])
        one = asyncio.create_task(flights.join("key", work, lambda told: heard[0].append(told.data)))  # type: ignore[union-attr]
        await said.wait()
        two = asyncio.create_task(flights.join("key", work, lambda told: heard[1].append(told.data)))  # type: ignore[union-attr]
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        done.set()
        await two
        assert runs == 1
        assert heard == ([b"first"], [b"first", b"last"])

    asyncio.run(scenario())


def test_what_nobody_wants_any_more_ends() -> None:
    async def scenario() -> None:
        flights = Flights()
        ended = asyncio.Event()

        async def work(heard: Heard) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.set()

        task = asyncio.create_task(flights.join("key", work, lambda told: None))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scenario())


def test_a_failure_reaches_all_and_the_next_tries_again() -> None:
    async def scenario() -> None:
        flights = Flights()

        async def fail(heard: Heard) -> None:
            await asyncio.sleep(0.01)
            raise ValueError("no")

        async def succeed(heard: Heard) -> None:
            heard(Log("", 1, b"yes"))

        results = await asyncio.gather(
            *(flights.join("key", fail, lambda told: None) for _ in range(2)), return_exceptions=True
        )
        assert [str(result) for result in results] == ["no", "no"]
        await flights.join("key", succeed, lambda told: None)

    asyncio.run(scenario())
