"""How a step's course is told, in BuildKit's order: started, its output, completed, or at once that it was cached."""

from __future__ import annotations

import time
from dataclasses import replace

from .. import errors
from .graph import Step
from .progress import Log, Progress, Status, Vertex


class StepError(errors.Internal):
    """A step has failed; `cause` says how, `exit_code` is that of its command where there was one.

    `str()` is what BuildKit answers to the build; `shown` what it tells of the vertex.
    """

    def __init__(self, cause: errors.Error, step: Step) -> None:
        super().__init__(str(cause))
        self.cause, self.step = cause, step
        self.shown = cause.shown if isinstance(cause, KeyFailure) else str(cause)
        self.exit_code = cause.exit_code if isinstance(cause, CommandFailure) else None


class CommandFailure(errors.Internal):
    """A command did not complete successfully."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class KeyFailure(errors.NotFound):
    """What a step copies could not be digested."""

    def __init__(self, shown: str) -> None:
        super().__init__(f"failed to compute cache key: {shown}")
        self.shown = shown


class Told:
    """One step's vertex in one build."""

    def __init__(self, step: Step, progress: Progress) -> None:
        self._progress = progress
        inputs = tuple(dict.fromkeys(each.digest for each in step.inputs))
        self._vertex = Vertex(step.digest, step.name, inputs, locations=step.locations)
        self.is_over = False

    def start(self) -> None:
        if self._vertex.started_ns is None:
            self._tell(replace(self._vertex, started_ns=time.time_ns()))

    def complete(self) -> None:
        self.start()
        self._end(replace(self._vertex, completed_ns=time.time_ns()))

    def cached(self) -> None:
        now = time.time_ns()
        self._end(replace(self._vertex, is_cached=True, started_ns=self._vertex.started_ns or now, completed_ns=now))

    def fail(self, text: str) -> None:
        self.start()
        self._end(replace(self._vertex, completed_ns=time.time_ns(), error=text))

    def hear(self, told: Log | Status) -> None:
        """Pass on what was told of the same step, by whatever digest another build knows it."""
        self._progress(replace(told, vertex=self._vertex.digest))

    def _end(self, vertex: Vertex) -> None:
        if not self.is_over:
            self.is_over = True
            self._tell(vertex)

    def _tell(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._progress(vertex)
