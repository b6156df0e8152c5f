"""Why a process could not be started, as dockerd says it: the exit code, the status and the text, from the runtime's.

The CLI takes its own exit code from the text (126 and 127), so the wording matters. Used for containers and execs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Error, Internal, InvalidArgument
from .runtimes import is_own

_CREATE_PREFIX = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_EXEC_PREFIX = "OCI runtime exec failed: "
PERMISSION_DENIED, NOT_FOUND, UNKNOWN = 126, 127, 128
_NO_SUCH_COMMAND = ("executable file not found", "no such file or directory")
_NO_LOG = "failed to initialize logging driver: "
_NO_SUCH_USER = ("unable to find user", "unable to find group", "uids and gids must be in range")
_MOUNT_HINT = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is "
    "the expected type"
)


@dataclass(frozen=True, slots=True)
class StartFailure:
    """What a failed start leaves: the container's or exec's exit code, and the error to raise."""

    exit_code: int
    error: Error


def create_prefix(runtime: str) -> str:
    """Return what stands before a runtime's own words; those that begin runc's are not lightship's own runtime's."""
    return f"{_CREATE_PREFIX}runc create failed: " if is_own(runtime) else _CREATE_PREFIX


def exec_prefix(runtime: str) -> str:
    return f"{_EXEC_PREFIX}exec failed: " if is_own(runtime) else _EXEC_PREFIX


def of_process(error: Error, prefix: str) -> StartFailure:
    """Judge an error of the shim or the runtime; moby's `setExitCodeFromError`."""
    if str(error).startswith(_NO_SUCH_USER):
        # dockerd looks users up itself, before it calls the runtime.
        return StartFailure(UNKNOWN, Internal(str(error)))
    if str(error).startswith(_NO_LOG):
        return StartFailure(UNKNOWN, Internal(f"failed to create task for container: {error}"))
    text = f"{prefix}{error}"
    lowered = text.lower()
    if "permission denied" in lowered:
        return StartFailure(PERMISSION_DENIED, InvalidArgument(text))
    if "is a directory" in lowered:
        return StartFailure(PERMISSION_DENIED, InvalidArgument(f"{text}: permission denied"))
    if "not a directory" in lowered:
        return StartFailure(NOT_FOUND, InvalidArgument(text.removesuffix(_MOUNT_HINT) + _MOUNT_HINT))
    if any(words in lowered for words in _NO_SUCH_COMMAND):
        return StartFailure(NOT_FOUND, InvalidArgument(text))
    return StartFailure(UNKNOWN, Internal(text))
