"""Which OCI runtime makes a task's container: lightship's own, which is a library, or another one by its command line.

Called in the shim and by the daemon where a shim has died. Another runtime's bundle has a directory `oci`, made by the
daemon; `command.py` says what is in it. Shims of lightship's own runtime never load that module.
"""

from __future__ import annotations

import os

from ..runtime import container as own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Runtime(Protocol):
        """What both can do with a container that is made; a bundle is a state directory too."""

        def start(self, state_dir: str, /) -> None:
            """Have a container that was created execute its program."""

        def kill(self, state_dir: str, signal_number: int, /, *, all: bool = False) -> None:
            """Signal the first process, or all of them."""

        def pause(self, state_dir: str, /) -> None: ...

        def resume(self, state_dir: str, /) -> None: ...

        def pids(self, state_dir: str, /) -> list[int]: ...

        def update(self, state_dir: str, resources: dict[str, Any], /) -> None:
            """Apply an OCI linux.resources object."""

        def delete(self, state_dir: str, /, *, force: bool = False) -> object:
            """Remove what is left; with `force` also what still runs."""

        def exec_process(
            self,
            state_dir: str,
            process: dict[str, Any],
            /,
            *,
            stdio: own.Stdio,
            seccomp: bytes | None = None,
        ) -> own.Process:
            """Run one more process; on return it has been executed."""


DIRECTORY = "oci"
OWN_EXEC_FAILED = "exec failed: "
"""What runc says before its reasons, and others have words of their own for."""


def is_other(bundle: str) -> bool:
    return os.path.isdir(f"{bundle}/{DIRECTORY}")


def runtime_of(bundle: str) -> Runtime:
    if not is_other(bundle):
        return own
    from . import command

    return command


def exec_failed(bundle: str) -> str:
    """Return what comes before a runtime's own words where a process could not be executed."""
    return f"OCI runtime exec failed: {'' if is_other(bundle) else OWN_EXEC_FAILED}"
