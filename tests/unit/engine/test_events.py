from __future__ import annotations

import asyncio
import time

import pytest
from lightship.engine.events import HISTORY, UNREAD_LIMIT, Events
from lightship.engine.filters import Filters


def actions(events: Events, filters: dict[str, list[str]], **bounds: int) -> list[str]:
    async def read() -> list[str]:
        return [event.action async for event in events.subscribe(Filters(filters), **bounds)]

    return asyncio.run(asyncio.wait_for(read(), 60))


def now() -> int:
    return time.time_ns()


def test_history_until_the_past_ends_at_once() -> None:
    """P20"""
    events = Events()
    for number in range(HISTORY + 10):
        events.publish("container", f"a{number}", "id")
    assert len(actions(events, {}, since_ns=1, until_ns=now())) == HISTORY
    assert events.listeners == 0


def test_live_events_follow_history_without_a_gap() -> None:
    async def scenario() -> list[str]:
        events = Events()
        events.publish("container", "create", "id")
        subscription = events.subscribe(Filters(), since_ns=1)
        events.publish("container", "start", "id")
        return [(await anext(subscription)).action, (await anext(subscription)).action]

    assert asyncio.run(scenario()) == ["create", "start"]


def test_until_in_the_future_waits_for_it() -> None:
    async def scenario() -> list[str]:
        events = Events()
        subscription = events.subscribe(Filters(), until_ns=now() + 50_000_000)
        events.publish("container", "start", "id")
        return [event.action async for event in subscription]

    assert asyncio.run(scenario()) == ["start"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["image"]}, ["tag"]),
        ({"event": ["start", "tag"]}, ["start", "tag"]),
        ({"event": ["exec_create"]}, ["exec_create: sh"]),
        ({"container": ["web"]}, ["start", "exec_create: sh"]),
        ({"container": ["c1"]}, ["start", "exec_create: sh"]),
        ({"image": ["busybox"]}, ["start", "exec_create: sh", "tag"]),
        ({"label": ["tier=front"]}, ["start", "exec_create: sh"]),
        ({"label": ["tier=back"]}, []),
        ({"scope": ["swarm"]}, []),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[str]) -> None:
    events = Events()
    container = {"name": "web", "image": "busybox:latest", "tier": "front"}
    events.publish("container", "start", "c1", container)
    events.publish("container", "exec_create: sh", "c1", container)
    events.publish("image", "tag", "sha256:" + "0" * 64, {"name": "busybox:1"})
    assert actions(events, filters, since_ns=1, until_ns=now()) == expected


def test_a_subscriber_that_does_not_read_is_cut_off() -> None:
    async def scenario() -> int:
        events = Events()
        subscription = events.subscribe(Filters())
        for _ in range(UNREAD_LIMIT + 5):
            events.publish("container", "start", "id")
        assert events.listeners == 0
        return len([event async for event in subscription])

    assert asyncio.run(scenario()) == UNREAD_LIMIT
