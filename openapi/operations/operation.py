"""What an operation is: its method, path, parameters, body and answers.

The tables beside this module are made of it; `lightship.api.app` registers its routes from them and
`lightship.openapi.document` writes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..types.answers import ErrorResponse

JSON = "application/json"
OCTETS = "application/octet-stream"
PLAIN = "text/plain"
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
TAR = "application/x-tar"

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path, the query or a header."""

    name: str
    type: str = "string"
    place: str = "query"
    default: Any = None
    required: bool = False
    enum: tuple[str, ...] = ()
    since: Version = ()
    """The version that brought it; requests of older ones are read as if it was not there."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body: a type that is decoded, or a stream."""

    type: Any
    name: str = "body"
    required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path."""

    id: str
    method: str
    path: str
    summary: str
    responses: Mapping[int, Any]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    produces: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    since: Version = ()
    newer: Mapping[str, Version] = field(init=False)
    """The query parameters that some versions do not have."""

    def __post_init__(self) -> None:
        newer = {parameter.name: parameter.since for parameter in self.parameters if parameter.since}
        object.__setattr__(self, "newer", newer)


def answers(*errors: int, **successes: Any) -> dict[int, Any]:
    """Write `answers(404, 500, ok=Type)`-like tables short: `_200=Type` is a success, numbers are errors."""
    found = {int(name.removeprefix("_")): kind for name, kind in successes.items()}
    return found | dict.fromkeys(errors, ErrorResponse)


def path(name: str) -> Parameter:
    return Parameter(name, place="path", required=True)


def flag(name: str, *, default: bool | None = False, since: Version = ()) -> Parameter:
    return Parameter(name, "boolean", default=default, since=since)


def integer(name: str, *, default: int | None = None, required: bool = False, since: Version = ()) -> Parameter:
    return Parameter(name, "integer", default=default, required=required, since=since)


def text(
    name: str,
    *,
    default: str | None = None,
    required: bool = False,
    enum: tuple[str, ...] = (),
    since: Version = (),
) -> Parameter:
    return Parameter(name, default=default, required=required, enum=enum, since=since)


def texts(name: str, *, since: Version = ()) -> Parameter:
    """A parameter that may be given several times."""
    return Parameter(name, "array", since=since)


FILTERS = text("filters")
