"""`lightship-runtime`: the OCI runtime as a command that containerd, podman or dockerd can use in place of runc.

Flags and texts are runc's, for its callers parse both. This module is the command line: options, where errors go, exit
codes. What the commands do is in `commands.py` and `reports.py`.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from . import commands, log, reports, selfexe, state
from .errors import RuntimeFailure, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction["_Parser"]

# Words before an error's message, which runc's callers show to users.
_CONTEXT = {"create": "create failed: ", "run": "run failed: ", "exec": "exec failed: "}


def main() -> None:
    """Run one command and exit with its code; errors go to the log, and to stderr where that is not the log."""
    parser = _parser()
    options, unknown = parser.parse_known_args()
    if unknown and options.function is not commands.refuse:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command in ("create", "run", "exec"):
        selfexe.protect()
    try:
        command: Callable[[argparse.Namespace], int] = options.function
        code = command(options)
    except RuntimeFailure as failure:
        code = _fail(options, failure.message)
    except OSError as error:  # files that an option names
        code = _fail(options, describe(error))
    sys.exit(code)


def _fail(options: argparse.Namespace, message: str) -> int:
    context = _CONTEXT.get(options.command, "")
    name = "lightship-runtime " if options.command in ("create", "run") else ""
    _report(options, f"{name}{context}{message}")
    return 255 if options.command == "exec" else 1


def _report(options: argparse.Namespace, message: str) -> None:
    if options.debug:
        traceback.print_exc()
    log.write(options, "error", message)
    if options.log:
        print(message, file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Help that begins as that of runc's library does."""

    def format_help(self) -> str:
        return f"NAME:\n   {self.prog} - {self.description}\n\n{super().format_help()}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "lightship-runtime",
        description="An OCI container runtime.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # keeps the lines of --version apart
    )
    parser.add_argument("--root", default=commands.DEFAULT_ROOT, help="directory for the containers' state")
    parser.add_argument("--log", help="file for errors (stderr without it)")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--debug", action="store_true", help="accepted for runc's callers: errors are all that is logged"
    )
    parser.add_argument(
        "--systemd-cgroup", action="store_true", help="have systemd make the groups: cgroupsPath is slice:prefix:name"
    )
    parser.add_argument("--rootless", choices=("auto", "false"), default="auto")
    parser.add_argument("--version", "-v", action="version", version=_version())
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_making(subparsers)
    _add_changing(subparsers)
    _add_telling(subparsers)
    return parser


def _command(
    subparsers: Subparsers,
    name: str,
    function: Callable[[argparse.Namespace], int],
    help: str,
    *,
    id: bool = True,
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=help, description=help, allow_abbrev=False)
    parser.set_defaults(function=function)
    if id:
        parser.add_argument("id", metavar="CONTAINER")
    return parser


def _add_making(subparsers: Subparsers) -> None:
    create = _command(subparsers, "create", commands.create, "create a container")
    run = _command(subparsers, "run", commands.run, "create and run a container")
    for parser in (create, run):
        parser.add_argument("--bundle", "-b", default=".", help="the bundle's directory")
        parser.add_argument("--no-pivot", action="store_true", help="move the root instead of pivot_root")
        parser.add_argument("--no-new-keyring", action="store_true", help="keep the caller's session keyring")
    run.add_argument("--detach", "-d", action="store_true", help="do not wait for the container")
    run.add_argument("--keep", action="store_true", help="do not delete the container when it has exited")
    run.add_argument("--no-subreaper", action="store_true", help="do not reap orphans of the container")
    _command(subparsers, "start", commands.start, "start a created container")
    execute = _command(subparsers, "exec", commands.execute, "run one more process in a container")
    execute.add_argument("args", nargs=argparse.REMAINDER, metavar="COMMAND")
    execute.add_argument("--process", "-p", help="a file with an OCI process object")
    execute.add_argument("--cwd", help="working directory")
    execute.add_argument("--env", "-e", action="append", default=[], help="environment variable")
    execute.add_argument("--tty", "-t", action="store_true", help="give the process a terminal")
    execute.add_argument("--user", "-u", help="uid[:gid]")
    execute.add_argument("--additional-gids", "-g", action="append", type=int, default=[])
    execute.add_argument("--detach", "-d", action="store_true", help="do not wait for the process")
    execute.add_argument("--apparmor", help="AppArmor profile")
    execute.add_argument("--process-label", help="refused: there is no SELinux")
    execute.add_argument("--no-new-privs", action="store_true")
    execute.add_argument("--cgroup", action="append", default=[], help="[CONTROLLER:]GROUP below the container's")
    execute.add_argument("--cap", "-c", action="append", default=[], help="add a capability")
    execute.add_argument("--ignore-paused", action="store_true")
    for parser in (create, run, execute):
        parser.add_argument("--console-socket", help="socket that receives the terminal")
        parser.add_argument("--pidfd-socket", help="socket that receives a pidfd of the process")
        parser.add_argument("--pid-file", help="file for the process id")
        parser.add_argument("--preserve-fds", type=int, default=0, help="pass on this many descriptors after stderr")


def _add_changing(subparsers: Subparsers) -> None:
    kill = _command(subparsers, "kill", commands.kill, "send a signal to a container")
    kill.add_argument("signal", nargs="?", default="SIGTERM")
    kill.add_argument("--all", "-a", action="store_true", help="to all of its processes")
    delete = _command(subparsers, "delete", commands.delete, "remove a container")
    delete.add_argument("--force", "-f", action="store_true", help="also one that runs")
    _command(subparsers, "pause", commands.pause, "suspend a container's processes")
    _command(subparsers, "resume", commands.resume, "resume a container's processes")
    for name, help in (("checkpoint", "refused: there is no CRIU"), ("restore", "refused: there is no CRIU")):
        _command(subparsers, name, commands.refuse, help)
    update = _command(subparsers, "update", commands.update, "change a container's limits")
    update.add_argument("--resources", "-r", help='file with an OCI linux.resources object, "-" for stdin')
    for name in commands.UPDATE_NUMBERS:
        update.add_argument(f"--{name}", type=commands.parse_size)
    for name in ("cpuset-cpus", "cpuset-mems"):
        update.add_argument(f"--{name}")


def _add_telling(subparsers: Subparsers) -> None:
    _command(subparsers, "state", reports.show_state, "tell a container's state")
    list_ = _command(subparsers, "list", reports.list_containers, "list containers", id=False)
    list_.add_argument("--format", "-f", choices=("table", "json"), default="table")
    list_.add_argument("--quiet", "-q", action="store_true", help="ids only")
    ps = _command(subparsers, "ps", reports.show_processes, "list a container's processes")
    ps.add_argument("--format", "-f", choices=("table", "json"), default="table")
    ps.add_argument("ps_options", nargs=argparse.REMAINDER, metavar="PS-OPTIONS")
    events = _command(subparsers, "events", reports.show_events, "show statistics and out-of-memory events")
    events.add_argument("--interval", default="5s", help="between statistics")
    events.add_argument("--stats", action="store_true", help="statistics once")
    spec = _command(subparsers, "spec", reports.write_spec, "write an example config.json", id=False)
    spec.add_argument("--bundle", "-b", default=".")
    _command(subparsers, "features", reports.show_features, "tell what this runtime can do", id=False)


def _version() -> str:
    try:
        own = version("lightship")
    except PackageNotFoundError:
        own = "unknown"
    return f"lightship-runtime version {own}\nspec: {state.OCI_VERSION}"
