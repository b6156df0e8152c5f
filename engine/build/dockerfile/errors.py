"""What is wrong with a Dockerfile, or went wrong on behalf of a line of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import Error, InvalidArgument

if TYPE_CHECKING:
    from ..graph import Location


class DockerfileError(InvalidArgument):
    """An error with its place. The frontend adds `filename` and `source`, for clients that show the lines."""

    def __init__(self, message: str, *locations: Location) -> None:
        super().__init__(message)
        self.locations = locations
        self.filename = ""
        self.source = b""


@contextmanager
def located(location: Location, *, prefix: str = "") -> Iterator[None]:
    """Give the errors raised inside a place, unless they have one, and the prefix in any case."""
    try:
        yield
    except Error as error:
        has_place = isinstance(error, DockerfileError) and error.locations
        if has_place and not prefix:
            raise
        places = error.locations if isinstance(error, DockerfileError) and has_place else (location,)
        raise DockerfileError(f"{prefix}{error}", *places) from error
