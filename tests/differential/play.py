"""Plays scenarios against one engine and notes every answer as plain data, with what must differ made equal."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.engine import Engine

from .script import Scenario, Step

VERSION = "1.51"
"""The newest that both speak: dockerd's own."""
HEADERS = ("content-type", "docker-experimental", "ostype", "builder-version", "swarm", "location")
Answer = dict[str, Any]

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
_ZERO_TIME = "0001-01-01T00:00:00Z"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), shown)
    for pattern, shown in (
        (rf"(?!{_ZERO_TIME}){_TIME}", "<time>"),
        (r"\b\d{10}\.\d{9}\b", "<time>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC", "<time>"),
        (r"(About )?(an?|\d+) (second|minute|hour)s?( ago)?|Less than a second( ago)?", "<ago>"),
        (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "<mac>"),
        (r"\b(172\.(1[89]|2\d|3[01])|192\.168|10\.\d+)\.\d+\.\d+(/\d+)?", "<address>"),
        (r"\bfe80::[0-9a-f:]+|\bfd[0-9a-f]{2}:[0-9a-f:]+(/\d+)?", "<address6>"),
        (r"\b(3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|4\d{4}|5\d{4}|60\d{3}|61000)\b(?=->|$)", "<port>"),
        (r"\b(eth\d)@if\d+", r"\1@<link>"),
        (r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d(?= )", "<time>"),
        (r"lookup (\S+?)(:| on ).*", r"lookup \1: <failure>"),
        (r"\b(name=)?[a-z]+_[a-z]+(?=[ )]|$)", "<generated>"),
    )
)
_LONG_ID, _SHORT_ID = re.compile(r"\b[0-9a-f]{64}\b"), re.compile(r"\b[0-9a-f]{12}\b")
_PID_KEYS = ("Pid", "pid")
_UNORDERED = ("Images", "Mounts", "Ports", "/networks", "/images/json", "/containers/to/changes")
"""What dockerd lists in the order of a Go map: members of this name, and bodies of requests of this path."""


class Player:
    """One engine, and the names of what its answers gave."""

    def __init__(self, engine: Engine, known_ids: Iterable[str], clean: Callable[[], None]) -> None:
        self._engine, self._clean = engine, clean
        self._known = set(known_ids)
        self._kept: dict[str, str] = {}

    def play(self, scenario: Scenario) -> list[Answer]:
        """The answer to each step that is compared, and last the events of it all."""
        began = time.time()
        answers = []
        for step in scenario.steps:
            answer = self._take(step)
            if step.is_compared:
                answers.append(answer)
        answers.append({"events": self._events(began)})
        self._clean()
        return answers

    def _take(self, step: Step) -> Answer:
        text = step.text
        for name, value in self._kept.items():
            text = text.replace("{" + name + "}", value)
        if text.startswith("% "):
            return self._validation(text.removeprefix("% "))
        if not step.method:
            return self._command(text.removeprefix("$ "))
        return self._request(step, text.split(" ", 2)[1])

    def _command(self, text: str) -> Answer:
        environment = {"DOCKER_API_VERSION": VERSION, "COLUMNS": "200"}
        result = self._engine.docker(*shlex.split(text), env=environment)
        return {"code": result.code, "out": self._lines(result.out), "err": self._lines(result.err)}

    def _validation(self, text: str) -> Answer:
        """What the daemon says of its configuration, without the time and without how it is used."""
        document, _, flags = text.partition(" -- ")
        file = self._engine.root / "validated.json"
        file.write_text(document)
        program, *_ = self._engine.command()
        # dockerd looks for its proxy even where it only validates
        own = ["--userland-proxy-path", "/bin/true"] if Path(program).name == "dockerd" else []
        done = subprocess.run(
            [program, "--validate", "--config-file", str(file), *own, *shlex.split(flags)],
            capture_output=True,
            text=True,
        )
        told = re.sub(
            r'^time="[^"]*" |^Status: |\n*(See |\n*Usage:).*', "", done.stdout + done.stderr, flags=re.S | re.M
        )
        return {"code": done.returncode, "told": self._text(told).strip().splitlines()}

    def _lines(self, text: str) -> list[str]:
        # Columns are as wide as what they hold
        return [re.sub(r"  +", "  ", self._equal(line)).rstrip() for line in text.splitlines()]

    def _request(self, step: Step, path: str) -> Answer:
        body = step.body.encode() if step.body else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        versioned = path if path.startswith("/v1.") else f"/v{VERSION}{path}"
        response = self._engine.api.request(step.method, versioned, raw=body, headers=headers)
        content = response.body.decode(errors="replace")
        shown: Any
        try:
            shown = json.loads(content)
        except ValueError:
            try:
                shown = [json.loads(line) for line in content.splitlines()]
            except ValueError:
                shown = content
        if step.keep:
            self._kept[step.keep] = shown["Id"]
        told = {name: response.headers[name] for name in HEADERS if name in response.headers}
        return {
            "status": response.status,
            "headers": self._equal(told),
            "body": self._equal(shown, path.partition("?")[0]),
        }

    def _events(self, began: float) -> dict[str, int]:
        """How often each event was told: dockerd's order is not fixed."""
        response = self._engine.api.get(f"/v{VERSION}/events?since={began:.9f}&until={time.time():.9f}")
        found = [self._equal(json.loads(line)) for line in response.body.splitlines()]
        for event in found:
            event.pop("time", None)
            event.pop("timeNano", None)
        return dict(Counter(_event_name(event) for event in found))

    def _equal(self, value: Any, key: str = "") -> Any:
        """What is chance (ids, times, processes, addresses) by a name instead of its value."""
        if isinstance(value, dict):
            return {self._text(name): self._equal(item, name) for name, item in value.items()}
        if isinstance(value, list):
            items = [self._equal(item, key) for item in value]
            return sorted(items, key=_sorting_key) if key in _UNORDERED else items
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if key in _PID_KEYS and value:
            return "<pid>"
        return "<time>" if value > 1_600_000_000 and key.lower().startswith(("created", "time")) else value

    def _text(self, text: str) -> str:
        text = text.replace(str(self._engine.root), "<root>").replace(self._engine.root.name, "<root>")
        text = _LONG_ID.sub(lambda match: match[0] if match[0] in self._known else "<id>", text)
        short = {known[:12] for known in self._known}
        text = _SHORT_ID.sub(lambda match: match[0] if match[0] in short else "<id>", text)
        for pattern, shown in _RULES:
            text = pattern.sub(shown, text)
        return text


def _sorting_key(item: object) -> str:
    return json.dumps(item, sort_keys=True)


def _event_name(event: dict[str, Any]) -> str:
    actor = event.pop("Actor")
    actor["Attributes"].pop("execDuration", None)  # in seconds, and so chance
    attributes = " ".join(f"{name}={value}" for name, value in sorted(actor["Attributes"].items()))
    kind, action = event.pop("Type"), event.pop("Action")
    rest = " ".join(f"{name}={value}" for name, value in sorted(event.items()) if name not in ("id", "from", "status"))
    return f"{kind} {action} {actor['ID']} ({attributes}) {rest}"
