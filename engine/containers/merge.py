"""A container's configuration: what the client asked for, completed by what the image says.

Pure functions on the API's types; called once, when a container is created. The rules are those of moby's
`daemon/commit.go` (merge) and `mergeAndVerifyConfig`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ...openapi.types.config import Config, HealthConfig
from ...openapi.types.images import ImageConfig
from ...openapi.types.model import given
from ..errors import InvalidArgument

T = TypeVar("T")


def merge(config: Config, image_config: ImageConfig | None) -> Config:
    """Return the container's config; raise InvalidArgument where neither side names a command.

    An entrypoint that was given, even an empty one, keeps the image's command out; no entrypoint at all takes the
    image's, and its command too unless one was given.
    """
    image = image_config or ImageConfig()
    entrypoint, cmd = config.entrypoint, config.cmd
    if not entrypoint:
        cmd = cmd or given(image.cmd, None)
        entrypoint = given(image.entrypoint, None) if entrypoint is None else entrypoint
    if entrypoint == [""]:
        entrypoint = None
    if not entrypoint and not cmd:
        raise InvalidArgument("no command specified")
    return Config(
        hostname=config.hostname,
        domainname=config.domainname,
        user=config.user or given(image.user, ""),
        attach_stdin=config.attach_stdin,
        attach_stdout=config.attach_stdout,
        attach_stderr=config.attach_stderr,
        exposed_ports=_unless_empty({**given(image.exposed_ports, {}), **given(config.exposed_ports, {})}),
        tty=config.tty,
        open_stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        env=_merge_env(config.env or [], given(image.env, [])),
        cmd=cmd,
        healthcheck=_merge_healthcheck(config.healthcheck, image.healthcheck),
        image=config.image,
        volumes={**given(image.volumes, {}), **(config.volumes or {})} or None,
        working_dir=config.working_dir or given(image.working_dir, ""),
        entrypoint=entrypoint,
        network_disabled=config.network_disabled,
        on_build=UNSET,
        labels={**given(image.labels, {}), **(config.labels or {})},
        stop_signal=given(config.stop_signal, "") or image.stop_signal or UNSET,
        stop_timeout=config.stop_timeout,
        shell=config.shell,
    )


def command(config: Config) -> tuple[str, list[str]]:
    """Return the program and its arguments (`Path` and `Args` of inspect)."""
    words = [*(config.entrypoint or ()), *(config.cmd or ())]
    return words[0], words[1:]


def _merge_env(own: list[str], image: list[str]) -> list[str]:
    """Keep the client's variables first, then the image's that it did not name."""
    names = {variable.partition("=")[0] for variable in own}
    return own + [variable for variable in image if variable.partition("=")[0] not in names]


def _merge_healthcheck(own: HealthConfig | UnsetType, image: HealthConfig | UnsetType) -> HealthConfig | UnsetType:
    """Fill each field that was not given (0 and empty count as not given) from the image."""
    if own is UNSET or image is UNSET:
        return image if own is UNSET else own
    merged = HealthConfig()
    for field in msgspec.structs.fields(HealthConfig):
        value = getattr(own, field.name) or getattr(image, field.name)
        setattr(merged, field.name, value or UNSET)
    return merged


def _unless_empty(values: dict[str, T]) -> dict[str, T] | UnsetType:
    return values or UNSET
