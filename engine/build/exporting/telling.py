"""How work that is no step is told (an export, a look-up): a vertex of its own, with a status for its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ... import errors
from ..keys import key_of
from ..progress import Progress, Status, Vertex


class Telling:
    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._digest = key_of("export", name, time.time_ns())
        self._started_ns = time.time_ns()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the beginning and the end."""
        self._progress(Vertex(self._digest, self._name, started_ns=self._started_ns))
        error = ""
        try:
            yield
        except errors.Error as failure:
            error = str(failure)
            raise
        except BaseException:
            error = "context canceled"
            raise
        finally:
            ended_ns = time.time_ns()
            ended = Vertex(self._digest, self._name, started_ns=self._started_ns, completed_ns=ended_ns, error=error)
            self._progress(ended)

    @contextmanager
    def part(self, id: str) -> Iterator[None]:
        """Tell a part of the work; it has no end where it fails."""
        started_ns = time.time_ns()
        self._progress(Status(self._digest, id, started_ns=started_ns))
        yield
        self._progress(Status(self._digest, id, started_ns=started_ns, completed_ns=time.time_ns()))
