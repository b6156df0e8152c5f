"""`docker wait`: who waits for a container's exit or removal, and what they are told.

The conditions are the API's. `notify_*` are called by whatever changes the container's state, in the same step of the
event loop, so that an exit cannot fall between two looks at the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ...openapi.types.containers import ContainerWaitExitError, ContainerWaitResponse
from ..errors import InvalidArgument

if TYPE_CHECKING:
    from .container import Container

NOT_RUNNING, NEXT_EXIT, REMOVED = "not-running", "next-exit", "removed"


class Waiters:
    """The futures of those who wait for one container."""

    __slots__ = ("_for_exit", "_for_removal")

    def __init__(self) -> None:
        self._for_exit: set[asyncio.Future[ContainerWaitResponse]] = set()
        self._for_removal: set[asyncio.Future[ContainerWaitResponse]] = set()

    def add(self, *, removal: bool = False) -> asyncio.Future[ContainerWaitResponse]:
        """Return what will be set at the next exit, or at the removal; cancelling it forgets it."""
        waiters = self._for_removal if removal else self._for_exit
        future: asyncio.Future[ContainerWaitResponse] = asyncio.get_running_loop().create_future()
        waiters.add(future)
        future.add_done_callback(waiters.discard)
        return future

    def notify_exit(self, response: ContainerWaitResponse) -> None:
        _set_all(self._for_exit, response)

    def notify_removal(self, response: ContainerWaitResponse) -> None:
        """Tell everyone: a container can be removed without ever having run."""
        _set_all(self._for_exit, response)
        _set_all(self._for_removal, response)


def wait(container: Container, condition: str) -> Awaitable[ContainerWaitResponse]:
    """Register now for `condition` (empty means not-running); awaiting the result waits."""
    if condition not in ("", NOT_RUNNING, NEXT_EXIT, REMOVED):
        raise InvalidArgument(f'invalid condition: "{condition}"')
    if condition in ("", NOT_RUNNING) and not container.state.running:
        future: asyncio.Future[ContainerWaitResponse] = asyncio.get_running_loop().create_future()
        future.set_result(outcome(container))
        return future
    return container.waiters.add(removal=condition == REMOVED)


def outcome(container: Container) -> ContainerWaitResponse:
    """What a waiter is told of the container as it is now."""
    response = ContainerWaitResponse(status_code=container.state.exit_code)
    if container.state.error:
        response.error = ContainerWaitExitError(message=container.state.error)
    return response


def _set_all(waiters: set[asyncio.Future[ContainerWaitResponse]], response: ContainerWaitResponse) -> None:
    for future in tuple(waiters):
        if not future.done():
            future.set_result(response)
