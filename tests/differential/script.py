"""The scenarios: text files of steps, one a line.

    == name of a scenario           everything that it made is removed afterwards
    $ run --rm busybox true         a command of the stock CLI
    GET /containers/json?all=1      a request, with its body behind it where it has one
    POST /containers/x/exec {...} -> E    the answer's Id is {E} in later lines
    ! $ rm -f x                     a step whose answer is not compared
    % {"debug": 1} -- --mtu x       the daemon's --validate, with this daemon.json and these flags

Empty lines and lines that begin with # say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "scenarios"
_REQUEST = re.compile(r"(GET|HEAD|POST|PUT|DELETE) (\S+)(?: (.*?))?(?: -> (\w+))?")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the CLI where there is no method, else a request."""

    text: str
    method: str = ""
    path: str = ""
    body: str = ""
    keep: str = ""
    is_compared: bool = True


@dataclass(slots=True)
class Scenario:
    name: str
    steps: list[Step] = field(default_factory=list)


def scenarios() -> list[Scenario]:
    found: list[Scenario] = []
    for path in sorted(FOLDER.glob("*.txt")):
        for line in path.read_text().splitlines():
            if line.startswith("== "):
                found.append(Scenario(f"{path.stem}: {line[3:]}"))
            elif line and not line.startswith("#"):
                found[-1].steps.append(_step(line))
    return found


def _step(line: str) -> Step:
    is_compared = not line.startswith("! ")
    text = line.removeprefix("! ")
    if text.startswith(("$ ", "% ")):
        return Step(text, is_compared=is_compared)
    match = _REQUEST.fullmatch(text)
    if match is None:
        raise ValueError(f"neither a command nor a request: {line}")
    method, path, body, keep = match.groups(default="")
    return Step(text, method, path, body, keep, is_compared)
