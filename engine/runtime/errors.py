"""What the runtime raises: one exception that travels between processes.

The shim sends it on as `{"error": {"kind", "message", "errno"}}`, the command line prints it. The kinds are the
snake-case names of the classes in `lightship.engine.errors`; this module does not import them, since the zygote
loads it.
"""

from __future__ import annotations

import os


class RuntimeFailure(Exception):
    """A container or process could not be made or changed; `message` is worded as runc words it."""

    def __init__(self, kind: str, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.errno = errno


def reason(error: OSError) -> str:
    """Return the kernel's reason in the words that Docker's clients know: "no such file or directory"."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def describe(error: OSError) -> str:
    """Word a failed call as Go does: "open /x: no such file or directory"."""
    name, colon, _ = str(error.strerror).partition(":")
    operation = name if colon else "open"
    return f"{operation} {error.filename}: {reason(error)}" if error.filename else f"{operation}: {reason(error)}"
