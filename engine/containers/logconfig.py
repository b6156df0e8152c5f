"""Which log driver a container has and with which options: the engine's default merged in, and checked.

dockerd looks at the values only when the container starts; here they are refused when it is created, with the same
sentences, so that no container exists that can never start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...openapi.types.hostconfig import LogConfig
from .. import booleans, errors
from ..errors import InvalidArgument
from ..volumes.local import parse_size
from . import logremote
from .host import Host

_COMMON = ("labels", "labels-regex", "env", "env-regex", "tag")
_ROTATION = ("max-file", "max-size", "compress")
_BUILT_IN_OPTIONS = ("mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
_MODES = ("", "blocking", "non-blocking")
_FILE_DRIVERS = {"json-file": (*_ROTATION, *_COMMON), "local": _ROTATION}
DRIVERS = tuple(sorted((*_FILE_DRIVERS, *logremote.DRIVERS, "none")))
_FOREIGN_DRIVERS = ("awslogs", "splunk", "gcplogs", "logentries", "etwlogs")
_LOCAL_ROTATION = {"max-size": "20m", "max-file": "5", "compress": "true"}
_AT_START = "failed to create task for container: failed to initialize logging driver: "


def merge(log_config: LogConfig, host: Host) -> LogConfig:
    """Return the driver and options with the engine's defaults; raise InvalidArgument where they cannot work."""
    driver = log_config.type or host.log_driver
    options = dict(log_config.config or {})
    if driver == host.log_driver:
        options = {**host.log_opts, **options}
    check(driver, options)
    return LogConfig(type=driver, config=options)


def check(driver: str, options: Mapping[str, str]) -> None:
    """Refuse a driver that there is not, an option it does not know and a value that it could not use."""
    if driver == "none":
        return
    _check_delivery(options)
    if driver in _FOREIGN_DRIVERS:
        raise errors.NotImplemented(f'the log driver "{driver}" is not supported yet')
    own = {option: value for option, value in options.items() if option not in _BUILT_IN_OPTIONS}
    if driver in logremote.DRIVERS:
        logremote.check(driver, own, common=_COMMON)
    elif driver not in _FILE_DRIVERS:
        raise InvalidArgument(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    else:
        for option in own:
            if option not in _FILE_DRIVERS[driver]:
                tail = "log driver local" if driver == "local" else "json-file log driver"
                raise InvalidArgument(f"unknown log opt '{option}' for {tail}")
    try:
        _check_rotation(rotation(driver, options))
        for option in ("labels-regex", "env-regex"):
            _check_pattern(options.get(option, ""))
    except InvalidArgument as error:
        raise InvalidArgument(f"{_AT_START}{error}") from error


def rotation(driver: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return max-size, max-file and compress of the container's file: of its log, or of its copy of one."""
    if driver == "json-file":
        return {option: options[option] for option in _ROTATION if option in options}
    prefix = "" if driver == "local" else "cache-"
    given = {option: options[prefix + option] for option in _ROTATION if prefix + option in options}
    rotated = {**_LOCAL_ROTATION, **given}
    if "compress" not in given and rotated["max-file"] == "1":
        rotated["compress"] = "false"
    return rotated


def keeps_copy(log_config: LogConfig) -> bool:
    """Whether there is a file of the log that can be read."""
    if log_config.type in _FILE_DRIVERS:
        return True
    return not booleans.parse((log_config.config or {}).get("cache-disabled", "false"))


def _check_delivery(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in _MODES:
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            parse_size(options["max-buffer-size"])
        except InvalidArgument as error:
            raise InvalidArgument(f"error parsing option max-buffer-size: {error}") from error
    try:
        booleans.parse(options.get("cache-disabled", "false"))
    except ValueError:
        text = options["cache-disabled"]
        raise InvalidArgument(f"invalid value for option cache-disabled: {text}") from None


def _check_rotation(options: Mapping[str, str]) -> None:
    size_bytes = -1
    if "max-size" in options:
        size_bytes = parse_size(options["max-size"])
        if size_bytes <= 0:
            raise InvalidArgument("max-size must be a positive number")
    files_text = options.get("max-file", "1")
    if not re.fullmatch(r"[+-]?\d+", files_text):
        raise InvalidArgument(f'strconv.Atoi: parsing "{files_text}": invalid syntax')
    if int(files_text) < 1:
        raise InvalidArgument("max-file cannot be less than 1")
    try:
        compress = booleans.parse(options.get("compress", "false"))
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if compress and (int(files_text) == 1 or size_bytes == -1):
        raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(f"error parsing regexp: {error}: `{pattern}`") from error
