"""The shim's event loop: one epoll with callbacks, and deadlines.

A descriptor that must not be looked at is taken out altogether: epoll reports EPOLLHUP and EPOLLERR whether asked for
or not, and a peer that hung up would keep the loop spinning.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
EXCEPTIONAL = select.EPOLLPRI
HUNG_UP = select.EPOLLHUP | select.EPOLLERR


QUIET_S = 2.0
"""How long nothing has happened where nothing much is to be expected."""


class Loop:
    """`on_error` gets what a callback raised; the loop goes on, for the container depends on it. `on_quiet` is called
    when for a while nothing has happened."""

    def __init__(self, *, on_error: Callable[[Exception], None], on_quiet: Callable[[], None] | None = None) -> None:
        self._on_error = on_error
        self._on_quiet = on_quiet
        self._quiet: tuple[float, Callable[[], None]] | None = None
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._deadlines: list[tuple[float, Callable[[], None]]] = []
        self.stopped = False

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` when `fd` has one of the events or hung up; replaces an earlier watch."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; to be called before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> tuple[float, Callable[[], None]]:
        deadline = (time.monotonic() + delay_s, callback)
        self._deadlines.append(deadline)
        return deadline

    def cancel(self, deadline: tuple[float, Callable[[], None]] | None) -> None:
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)

    def run(self) -> None:
        """Serve until `stopped` is set."""
        while not self.stopped:
            happened = self._epoll.poll(self._timeout_s(), 16)
            if happened and self._on_quiet is not None:
                self.cancel(self._quiet)
                self._quiet = self.call_later(QUIET_S, self._on_quiet)
            for fd, events in happened:
                # An earlier callback of this round may have dropped the descriptor
                callback = self._callbacks.get(fd)
                if callback is None:
                    continue
                try:
                    callback(events)
                except Exception as error:
                    self.forget(fd)
                    self._on_error(error)
            self._run_due()

    def close(self) -> None:
        self._epoll.close()

    def _timeout_s(self) -> float | None:
        if not self._deadlines:
            return None
        return max(0.0, min(when for when, _ in self._deadlines) - time.monotonic())

    def _run_due(self) -> None:
        now = time.monotonic()
        for deadline in [deadline for deadline in self._deadlines if deadline[0] <= now]:
            self.cancel(deadline)
            try:
                deadline[1]()
            except Exception as error:
                self._on_error(error)
