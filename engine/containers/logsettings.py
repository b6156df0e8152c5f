"""What the shim is told about a container's log: where it goes, how it is rotated, what each record carries.

Made at each start from the log options, which `logconfig` checked when the container was created.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from .. import booleans
from ..errors import InvalidArgument
from ..ids import short_id
from ..shim.messages import LogConfig
from ..volumes.local import parse_size
from . import logconfig, logremote
from .inspect import log_path

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

_ACTION = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_TAG_FIELDS: dict[str, Callable[[Container], str]] = {
    ".ID": lambda container: short_id(container.id),
    ".FullID": lambda container: container.id,
    ".Name": lambda container: container.name,
    ".Command": lambda container: " ".join([container.record.path, *container.record.args]),
    ".ImageID": lambda container: short_id(container.record.image_id),
    ".ImageFullID": lambda container: container.record.image_id,
    ".ImageName": lambda container: container.record.config.image,
    ".Hostname": lambda container: os.uname().nodename,
    ".DaemonName": lambda container: "docker",
}
"""What a tag's template may say."""


def log_settings(context: Context, container: Container) -> LogConfig | None:
    """Return the shim's log settings; None where nothing is to be logged."""
    log_config = container.record.host_config.log_config
    if log_config.type == "none":
        return None
    driver, options = log_config.type, log_config.config or {}
    rotation = logconfig.rotation(driver, options)
    path = log_path(context, container)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    found = LogConfig(
        driver=driver,
        path=str(path) if logconfig.keeps_copy(log_config) else "",
        max_size=parse_size(rotation["max-size"]) if "max-size" in rotation else -1,
        max_file=int(rotation.get("max-file", "1")),
        compress=booleans.parse(rotation.get("compress", "false")),
        attrs=_attributes(container, options) if driver != "local" else {},
    )
    if driver in logremote.DRIVERS:
        tag = found.attrs.get("tag") or short_id(container.id)
        extra = {name: value for name, value in found.attrs.items() if name != "tag"}
        remote = logremote.remote(container, options, tag=tag, extra=extra)
        found = msgspec.structs.replace(found, remote=remote)
    return found


def _attributes(container: Container, options: dict[str, str]) -> dict[str, str]:
    """Return the labels, variables and the tag that each record is to carry."""
    labels = container.record.config.labels or {}
    variables = dict(entry.split("=", 1) for entry in container.record.config.env or () if "=" in entry)
    found = {
        **_chosen(labels, options.get("labels", ""), options.get("labels-regex", "")),
        **_chosen(variables, options.get("env", ""), options.get("env-regex", "")),
    }
    if tag := _ACTION.sub(lambda action: _tag_field(container, action[1]), options.get("tag", "")):
        found["tag"] = tag
    return found


def _chosen(values: dict[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = set(names.split(","))
    return {name: value for name, value in values.items() if name in wanted or (pattern and re.search(pattern, name))}


def _tag_field(container: Container, name: str) -> str:
    if name not in _TAG_FIELDS:
        raise InvalidArgument(f"log tag: {{{{{name}}}}} is not known")
    return _TAG_FIELDS[name](container)
