"""Reading and writing the small files of a cgroup directory."""

from __future__ import annotations

import errno
import os
import time

from .. import trace
from ..errors import RuntimeFailure, reason

_REMOVE_ATTEMPTS = 12


def write(directory: str, name: str, *values: str | int) -> None:
    """Write the values, each by a call of its own; a refusal is told with file and value, as runc does."""
    path = f"{directory}/{name}"
    value: str | int = values[0]
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, str(value).encode())
        finally:
            os.close(fd)
        trace.note("wrote", f"{path} = {value}")
    except OSError as error:
        action = "open" if error.errno == errno.ENOENT else "write"
        message = f"failed to write {value!r} to {path!r}: {action} {path}: {reason(error)}".replace("'", '"')
        raise RuntimeFailure("invalid_argument", message, error.errno or 0) from error


def read(directory: str, name: str) -> str:
    """Return a file's text without the last newline."""
    fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode().rstrip("\n")
    finally:
        os.close(fd)


def exists(directory: str, name: str) -> bool:
    return os.path.exists(f"{directory}/{name}")


def number(directory: str, name: str, default: int = 0) -> int:
    """Return a file's number; `default` where the file is missing, 2**64 - 1 for "max"."""
    try:
        text = read(directory, name)
    except OSError:
        return default
    return 2**64 - 1 if text == "max" else int(text)


def table(directory: str, name: str) -> dict[str, int]:
    """Return a flat keyed file ("key value" lines); empty where the file is missing."""
    try:
        text = read(directory, name)
    except OSError:
        return {}
    rows: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.lstrip("-").isdigit():
            rows[key] = int(value)
    return rows


def pids(directory: str) -> list[int]:
    """Return the processes of a group and of those below it."""
    found: list[int] = []
    for path in tree(directory):
        try:
            found.extend(int(line) for line in read(path, "cgroup.procs").split())
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return found


def tree(directory: str) -> list[str]:
    """Return the group's directory and those below it, parents first."""
    paths = [directory]
    for path in paths:
        try:
            with os.scandir(path) as entries:
                paths.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
    return paths


def below(directory: str, part: str) -> str:
    """Return the path of a group below another one; ".." does not lead out of it."""
    path = os.path.normpath(f"{directory}/{part}")
    if path != directory and not path.startswith(f"{directory}/"):
        raise RuntimeFailure("invalid_argument", f"bad sub cgroup path: {part}")
    return path


def remove(directory: str) -> None:
    """Remove a group and those below it; the kernel says EBUSY while killed processes are still on their way out."""
    delay_s = 0.001
    for attempt in range(_REMOVE_ATTEMPTS):
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or attempt == _REMOVE_ATTEMPTS - 1:
                message = f"unable to remove cgroup {directory}: {reason(error)}"
                raise RuntimeFailure("internal", message, error.errno or 0) from error
        for path in reversed(tree(directory)[1:]):
            try:
                os.rmdir(path)
            except OSError:
                continue  # its turn comes again
        time.sleep(delay_s)
        delay_s = min(delay_s * 2, 0.2)
