"""The classic builder's messages, made of the progress of a build: `Step 2/5 : RUN make`, ` ---> Using cache`.

Steps run side by side and are told in the order of the Dockerfile: what comes early waits. There are no intermediate
images; the id after an arrow is that of the step, and the last one the image's.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...images.progress import Message, layer_progress, stream
from ..dockerfile import instructions as typed
from ..dockerfile.convert import Converted
from ..dockerfile.state import StageState
from ..progress import Log, Status, Told, Vertex

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"


@dataclass(slots=True)
class Line:
    """An instruction as it is told. `step_name` is empty where nothing is run for it."""

    text: str
    stage: int
    step_name: str = ""
    image_id: str = ""
    is_from: bool = False
    is_run: bool = False
    triggers: int = 0
    is_begun: bool = False
    is_running: bool = False


@dataclass(slots=True)
class _Seen:
    """What was told of a vertex; `logs` wait until it is its turn."""

    vertex: Vertex
    logs: list[Log] = field(default_factory=list)


class Narrator:
    def __init__(self, send: Callable[[Message], None], *, keeps_containers: bool) -> None:
        self._send, self._keeps_containers = send, keeps_containers
        self._lines: list[Line] = []
        self._at = 0
        self._was_cached: dict[int, bool] = {}
        self._last_id = ""
        self._seen: dict[str, _Seen] = {}
        self._names: dict[str, str] = {}
        self._decoders: dict[tuple[str, int], codecs.IncrementalDecoder] = {}

    def begin(self, converted: Converted, labels: Sequence[str]) -> None:
        """Take what is to be told, once the Dockerfile is understood."""
        stages = [state for state in converted.stages if state.is_listed]
        self._lines = [line for at, state in enumerate(stages) for line in _lines_of(state, at)]
        if labels:
            self._lines.append(Line(f"LABEL {' '.join(labels)}", len(stages) - 1))
        self._advance()

    def hear(self, told: Told) -> None:
        if isinstance(told, Vertex):
            name = self._names[told.digest] = told.name
            self._seen.setdefault(name, _Seen(told)).vertex = told
            self._advance()
        elif isinstance(told, Log) and (seen := self._seen.get(self._names.get(told.vertex, ""))):
            seen.logs.append(told)
            self._advance()
        elif isinstance(told, Status):
            self._tell_pull(told)

    def begin_only(self, text: str, number: int, total: int) -> None:
        """Tell the instruction that failed before anything was run."""
        self._header(text, number, total)

    def fail(self, step_name: str) -> Line | None:
        """Tell what the step that failed wrote, whatever stands before it; return its line."""
        for at, line in enumerate(self._lines):
            if step_name and line.step_name == step_name:
                self._at = at
                self._begin(line)
                self._begin_running(line)
                return line
        return None

    def finish(self, image_id: str) -> None:
        """Tell all that is left, with the image's id at the end."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._begin(line)
            self._end(line, is_cached=self._is_cached(line), id=image_id[7:19] if line is self._lines[-1] else "")

    def _advance(self) -> None:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._begin(line)
            if line is self._lines[-1]:
                self._begin_running(line)
                return
            if line.is_from or not line.step_name:
                if not self._is_past(line):
                    return
            else:
                self._begin_running(line)
                seen = self._seen.get(line.step_name)
                if seen is None or seen.vertex.completed_ns is None or seen.vertex.error:
                    return
            self._end(line, is_cached=self._is_cached(line))

    def _is_past(self, line: Line) -> bool:
        """Tell whether a line that is not waited for is over: its image is there, or the stage has gone on."""
        own = self._seen.get(line.step_name) if line.step_name else None
        if own is not None and own.vertex.completed_ns is not None:
            return True
        later = [other for other in self._lines[self._at + 1 :] if other.stage == line.stage and other.step_name]
        return (not later and line.stage != self._lines[-1].stage) or any(
            other.step_name in self._seen for other in later
        )

    def _is_cached(self, line: Line) -> bool:
        """A line that only configures is as cached as what was run last in its stage, the first as what is next."""
        if line.is_from:
            return False
        if not line.step_name and line.stage in self._was_cached:
            return self._was_cached[line.stage]
        here = [line] if line.step_name else self._lines[self._at + 1 :]
        for other in here:
            if other.stage == line.stage and other.step_name:
                seen = self._seen.get(other.step_name)
                return seen is None or seen.vertex.is_cached
        return False

    def _begin(self, line: Line) -> None:
        if not line.is_begun:
            line.is_begun = True
            if line.text:
                self._header(line.text, self._number(line), sum(bool(each.text) for each in self._lines))

    def _number(self, line: Line) -> int:
        return 1 + sum(bool(each.text) for each in self._lines[: self._lines.index(line)])

    def _header(self, text: str, number: int, total: int) -> None:
        self._send(stream(f"Step {number}/{total} : {text}"))
        self._send(stream("\n"))

    def _begin_running(self, line: Line) -> None:
        """Tell that a command runs, and what it has written so far."""
        seen = self._seen.get(line.step_name) if line.step_name else None
        if seen is None or not line.is_run or seen.vertex.is_cached or seen.vertex.started_ns is None:
            return
        if not line.is_running:
            line.is_running = True
            self._send(stream(f" ---> Running in {_short(seen.vertex.digest)}\n"))
        for log in seen.logs:
            self._tell_output(log)
        seen.logs.clear()

    def _end(self, line: Line, *, is_cached: bool, id: str = "") -> None:
        seen = self._seen.get(line.step_name) if line.step_name else None
        if is_cached:
            self._send(stream(" ---> Using cache\n"))
        elif line.is_running and not self._keeps_containers and seen is not None:
            self._send(stream(f" ---> Removed intermediate container {_short(seen.vertex.digest)}\n"))
        if line.step_name and not line.is_from:
            self._was_cached[line.stage] = is_cached
        self._last_id = id or _short(line.image_id or (seen.vertex.digest if seen else "")) or self._last_id
        self._send(stream(f" ---> {self._last_id}\n"))
        if line.triggers:
            self._send(stream(f"# Executing {line.triggers} build trigger{'s' if line.triggers > 1 else ''}\n"))
        self._at += 1

    def _tell_output(self, log: Log) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        decoder = self._decoders.setdefault((log.vertex, log.stream), make(errors="replace"))
        if text := decoder.decode(log.data):
            self._send(stream(f"{_RED}{text}{_PLAIN}" if log.stream == 2 else text))

    def _tell_pull(self, status: Status) -> None:
        """Tell how far the layers of a base image are."""
        line = self._lines[self._at] if self._at < len(self._lines) else None
        if line is None or not line.is_from or self._names.get(status.vertex) != line.step_name:
            return
        id = status.id.removeprefix("extracting ")
        action = "Extracting" if id != status.id else "Downloading"
        if status.completed_ns is not None:
            action = "Pull complete" if action == "Extracting" else "Download complete"
        self._send(layer_progress(action, _short(id), current=status.current, total=status.total))


def _lines_of(state: StageState, stage: int) -> list[Line]:
    triggers = sum(command.is_onbuild for command in state.commands)
    from_ = Line(
        state.start.source, stage, state.base_step_name, state.base_image_id, is_from=True, triggers=triggers
    )  # fmt: skip
    commands = [
        Line(
            "" if command.is_onbuild else command.instruction.source,
            stage,
            command.step_name,
            is_run=isinstance(command.instruction, typed.Run),
        )
        for command in state.commands
    ]
    return [from_, *commands]


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
