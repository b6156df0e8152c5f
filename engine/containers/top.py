"""`docker top`: the host's `ps` over a container's processes, its columns as Docker returns them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

from ...openapi.types.containers import ContainerTopResponse
from ..errors import Internal, InvalidArgument

_RENAMED_PID = re.compile(r"\s+([^\s]*)=\s*(PID[^\s]*)")
_TIME_LIMIT_S = 10.0
_ASCII_SPACE = re.compile(r"[\t\n\f\r ]+")


async def top(pids: Collection[int], ps_args: str) -> ContainerTopResponse:
    """Run ps with the user's arguments (`-ef` without) and keep the rows of `pids`."""
    check_args(ps_args)
    args = (ps_args or "-ef").split(" ")
    status, output, _ = await _ps(*args, "-q" + ",".join(map(str, pids)))
    if status != 0:
        # Some options, such as f, do not go with -q.
        status, output, error = await _ps(*args)
        if status != 0:
            raise Internal(f"ps: {error.splitlines()[0] if error else f'exit status {status}'}")
    return parse(output, pids)


def check_args(ps_args: str) -> None:
    """Refuse to let another column be called PID, for the rows are chosen by it, and what no argument can hold."""
    if "\0" in ps_args:
        raise InvalidArgument("invalid null byte in ps arguments")
    for column, title in _RENAMED_PID.findall(ps_args):
        if column != "pid":
            raise Internal(f'specifying "{column}={title}" is not allowed')


def parse(output: str, pids: Collection[int]) -> ContainerTopResponse:
    """Split ps's table; threads (`-` for a pid) belong to the process above them."""
    header, *lines = output.split("\n")
    titles = _fields(header)
    if "PID" not in titles:
        raise Internal("Couldn't find PID field in ps output")
    pid_column, last = titles.index("PID"), len(titles) - 1
    rows: list[list[str]] = []
    is_ours = False
    for line in filter(None, lines):
        fields = _fields(line)
        pid = fields[pid_column]
        if pid != "-":
            if not pid.isdecimal():
                raise Internal(f"Unexpected pid '{pid}'")
            is_ours = int(pid) in pids
        if is_ours:
            rows.append([*fields[:last], " ".join(fields[last:])])
    return ContainerTopResponse(titles=titles, processes=rows)


def _fields(line: str) -> list[str]:
    return [field for field in _ASCII_SPACE.split(line) if field]


async def _ps(*args: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "ps", *args, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, error = await asyncio.wait_for(process.communicate(), _TIME_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Internal("ps: no answer") from None
    return process.returncode or 0, output.decode(errors="replace"), error.decode(errors="replace")
