"""`lightship`: reads the command line and calls the command. What a command needs is imported when it is called."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...engine.config import DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT
from ...engine.errors import Error
from ...engine.version import VERSION
from ..flags import UsageError
from .terminal import complain

_EXAMPLES = """\
examples:
  lightship doctor                        what this host lacks, and the fix
  eval "$(lightship up)"                  an engine in the background, and DOCKER_HOST for this shell
  lightship up --root ~/lab -D            a second one, apart from the host; further flags are lightshipd's
  lightship status                        the engines of this host
  lightship down --root ~/lab --containers
  lightship run -- pytest tests           an engine for one command, and nothing of it afterwards
  lightship run --load app.tar -- docker compose up --exit-code-from test
  lightship explain web                   what made the container `web`: every mount, rule and file

More is in contrib/docs/lightship.md; lightshipd --help has the engine's own flags."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, command = _split(given)
    options, more = parser().parse_known_args(own)
    if more and options.command not in ("up", "run"):
        parser().error(f"unrecognized arguments: {' '.join(more)}")
    options.words, options.more = command, more
    try:
        return _call(options)
    except (Error, UsageError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and behind the first `--`."""
    if "--" not in given:
        return given, []
    place = given.index("--")
    return given[:place], given[place + 1 :]


def _call(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "explain":
        from .explain import explain

        return explain(options)
    from . import background

    if options.command == "status":
        return background.status(options)
    if os.geteuid() != 0:
        raise Error(f"`lightship {options.command}` needs root")
    if options.command == "up":
        return background.up(options, [*options.more, *options.words])
    if options.command == "down":
        return background.down(options)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from .. import flags
    from .ephemeral import Ephemeral
    from .run import run

    flags.parse(options.more)
    command = options.words or [os.environ.get("SHELL", "/bin/sh")]
    private = options.network == "private"
    return run(Ephemeral(tuple(command), tuple(options.more), tuple(options.load), private, options.quiet))


def _doctor(options: argparse.Namespace) -> int:
    if options.images or options.repair:
        from .stored import check_images

        return asyncio.run(check_images(options.data_root, options.exec_root, repair=options.repair))
    from .doctor import doctor

    return doctor(options)


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="lightship",
        description="Starts, stops, checks and explains engines.",
        epilog=_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    top.add_argument("-v", "--version", action="version", version=f"lightship version {VERSION}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name: str, text: str, more: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=more, formatter_class=raw, allow_abbrev=False)

    _describe_up(add("up", "start an engine in the background", _UP))
    _describe_run(add("run", "run a command beside an engine of its own", _RUN))
    _describe_doctor(add("doctor", "say what this host lacks, and the fix", _DOCTOR))
    down = add("down", "stop an engine", _DOWN)
    down.add_argument("--root", metavar="DIR", help="the private engine below this directory")
    down.add_argument("--containers", action="store_true", help="stop its containers first")
    status = add(
        "status", "show the engines of this host", "Show the engines of this host. The status is 3 if none runs."
    )
    status.add_argument("--json", action="store_true", help="for programs")
    explain = add("explain", "say what made a container", _EXPLAIN)
    explain.add_argument("container", metavar="CONTAINER", help="name or id")
    explain.add_argument("--root", metavar="DIR", help="of the private engine below this directory")
    explain.add_argument("--json", action="store_true", help="for programs")
    return top


def _describe_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--root", metavar="DIR", help="a private engine: data, socket, pidfile and log are below DIR")
    up.add_argument(
        "--network",
        choices=("host", "private"),
        help="which network it is in; private (a namespace of its own) with --root, else host",
    )
    up.add_argument("--context", metavar="NAME", help="make docker's context NAME, and use it")


def _describe_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--load", action="append", default=[], metavar="FILE", help="load images from an archive first")
    run.add_argument(
        "--network", choices=("host", "private"), default="private", help="which network engine and command are in"
    )
    run.add_argument("-q", "--quiet", action="store_true", help="do not tell what is missing")


def _describe_doctor(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--images", action="store_true", help="check every blob and layer instead; no daemon may run")
    doctor.add_argument("--repair", action="store_true", help="with --images: unpack damaged layers anew")
    doctor.add_argument("--data-root", type=Path, default=DEFAULT_DATA_ROOT, metavar="DIR", help="the engine's")
    doctor.add_argument("--exec-root", type=Path, default=DEFAULT_EXEC_ROOT, metavar="DIR", help="the engine's")


_UP = """\
Start an engine in the background, wait until it serves, and print the line that points clients to it.

With --root it is a private one: its data, socket, pidfile, log and cgroups are its own, and so is its network, so that
nothing of the host's changes. Options that are not listed here are given to lightshipd.

  eval "$(lightship up)"
  lightship up --root /srv/lab --context lab --dns 9.9.9.9"""
_DOWN = """\
Stop an engine that `lightship up` has started. Its containers go on, and the next `up` finds them, unless
--containers stops them first.

  lightship down --root /srv/lab --containers"""
_RUN = """\
Run a command beside an engine of its own, with DOCKER_HOST set; the exit status is the command's. Afterwards nothing
of the engine is left, also where this command or the other is killed by SIGKILL.

Command and engine are in a network namespace of their own, so the command reaches published ports on localhost, and
two runs never get into each other's way. Options that are not listed here are given to lightshipd; without a command it
is your shell.

  lightship run -- docker compose up
  lightship run --load images.tar --dns 9.9.9.9 -- pytest tests"""
_DOCTOR = """\
Say what this host has and lacks for an engine: what is missing, what that costs, and the exact fix. The status is 1
where an engine cannot work. With --images, check what is stored instead.

  lightship doctor
  lightship doctor --repair --data-root /srv/lab/data"""
_EXPLAIN = """\
Say what made a running container: its namespaces, mounts, control groups, addresses, firewall rules and files, and when
each step of its start was done.

  lightship explain web
  lightship explain --json web | jq '.timeline[-1].ms'"""


if __name__ == "__main__":
    sys.exit(main())
