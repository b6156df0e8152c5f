"""What can go wrong in the engine, by what the caller can do about it.

The API maps each class to an HTTP status in `lightship.api.errors`; nothing here knows of HTTP. Messages are the
user's: Docker's own text where a client parses it, else lower-case with the object named.
"""

from __future__ import annotations


class Error(Exception):
    """Base of every error that may be shown to a user."""


class InvalidArgument(Error):
    """The request can never work as it is."""


class Unauthorized(Error):
    """Credentials are missing or wrong."""


class Forbidden(Error):
    """The caller is known and may not do this."""


class NotFound(Error):
    """The named thing does not exist."""


class NotModified(Error):
    """The thing is already in the wanted state."""


class Conflict(Error):
    """The thing's present state does not allow this."""


class AlreadyExists(Conflict):
    """The name is taken."""


class Unavailable(Error):
    """A service that this needs is not there now."""


class NotImplemented(Error):  # noqa: A001 - the API's own word for status 501
    """Lightship cannot do this yet."""


class Internal(Error):
    """The host or the engine failed."""


KINDS: dict[str, type[Error]] = {
    "invalid_argument": InvalidArgument,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "not_modified": NotModified,
    "conflict": Conflict,
    "already_exists": AlreadyExists,
    "unavailable": Unavailable,
    "not_implemented": NotImplemented,
    "internal": Internal,
}
"""The name that each class has in messages between processes."""
