"""The command line of `lightshipd`, read as dockerd's (pflag) is: `--name value`, `--name=value`, `-n value`.

A boolean takes a value only after `=`. The texts of errors are pflag's. What the options mean is `options`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .options import BY_NAME, BY_SHORT, NOT_YET, OPTIONS, Option

Given = dict[str, Any]
"""Values by option name; lists and maps are whole."""


class UsageError(Exception):
    """The command line or the configuration file cannot be followed."""


def parse(arguments: Sequence[str]) -> Given:
    """Read the arguments; raise UsageError with pflag's text."""
    given: Given = {}
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if not argument.startswith("-") or argument == "-":
            raise UsageError(f'"lightshipd" accepts no arguments: {argument}')
        option, shown, value = _split(argument)
        if value is None:
            if option.is_boolean:
                value = "true"
            elif left:
                value = left.pop(0)
            else:
                raise UsageError(f"flag needs an argument: {argument}")
        try:
            _store(given, option, option.read(value))
        except ValueError as error:
            raise UsageError(f'invalid argument "{value}" for "{shown}" flag: {error}') from error
    return given


def _split(argument: str) -> tuple[Option, str, str | None]:
    if argument.startswith("--"):
        name, has_value, text = argument[2:].partition("=")
        option, value = BY_NAME.get(name), text if has_value else None
    else:
        name, text = argument[1:2], argument[2:]
        option, value = BY_SHORT.get(name), text.removeprefix("=") or None
    if option is None or option.document is not None:
        if name in NOT_YET:
            raise UsageError(f"flag --{name} is not supported yet")
        if not argument.startswith("--"):
            raise UsageError(f"unknown shorthand flag: '{name}' in {argument}")
        raise UsageError(f"unknown flag: {argument.partition('=')[0]}")
    return option, f"-{option.short}, --{option.name}" if option.short else f"--{option.name}", value


def _store(given: Given, option: Option, value: Any) -> None:
    if option.many:
        given.setdefault(option.name, []).append(value)
    elif option.map:
        name, item = value
        if option.name == "add-runtime" and name in given.get(option.name, {}):
            raise ValueError(f"runtime '{name}' was already defined")
        known = given.setdefault(option.name, {})
        known[name] = {**known.get(name, {}), **item} if isinstance(item, dict) else item
    else:
        given[option.name] = value


def usage() -> str:
    """Return the text of `--help`."""
    lines = ["Usage:  lightshipd [OPTIONS]", "", "A Docker Engine in Python.", "", "Options:"]
    for option in sorted((option for option in OPTIONS if not option.document), key=lambda option: option.name):
        short = f"-{option.short}, " if option.short else "    "
        kind = "" if option.is_boolean else " list" if option.many or option.map else " value"
        lines.append(f"  {short}--{option.name + kind:<32} {option.help}")
    lines.append(f"  -v, --{'version':<32} Print version information and quit")
    return "\n".join(lines)
