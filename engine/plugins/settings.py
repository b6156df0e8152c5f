"""What a user may set of a plugin: `docker plugin set NAME KEY[.FIELD]=VALUE`, as far as its config allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from ...openapi.types.plugins import PluginConfig, PluginSettings
from ..errors import InvalidArgument


@dataclass(frozen=True)
class _Wish:
    """`field` is empty where the user left it to the config to say which one is meant."""

    name: str
    field: str
    value: str

    @property
    def shown(self) -> str:
        return f"{self.name}.{self.field}" if self.field else self.name

    def check(self, allowed: str, settable: Sequence[str] | None) -> None:
        """Raise unless the config lets this field be set, which is the only one of its kind that can be."""
        if not self.field and len(settable or ()) > 1:
            raise InvalidArgument("multiple fields are settable, one must be specified")
        field = self.field or "".join(settable or ())
        if field != allowed or allowed not in (settable or ()):
            raise InvalidArgument(f'"{self.shown}" is not settable')


def initial(config: PluginConfig) -> PluginSettings:
    """Return the settings that a config begins with."""
    return PluginSettings(
        mounts=[replace(mount) for mount in config.mounts or ()],
        env=[f"{variable.name}={variable.value}" for variable in config.env or () if variable.value is not None],
        args=list(config.args.value or ()),
        devices=[replace(device) for device in config.linux.devices or ()],
    )


def changed(config: PluginConfig, settings: PluginSettings, wishes: Sequence[str]) -> PluginSettings:
    """Return the settings with the wishes fulfilled, in order."""
    made = PluginSettings(
        mounts=[replace(mount) for mount in settings.mounts or ()],
        env=list(settings.env or ()),
        args=list(settings.args or ()),
        devices=[replace(device) for device in settings.devices or ()],
    )
    for wish in map(_parsed, wishes):
        _fulfil(config, made, wish)
    return made


def _parsed(text: str) -> _Wish:
    key, _, value = text.partition("=")
    if not key:
        raise InvalidArgument("invalid format, must be <name>[.<field>][=<value>]")
    name, dot, field = key.rpartition(".")
    return _Wish(name, field, value) if dot and name else _Wish(key, "", value)


def _fulfil(config: PluginConfig, settings: PluginSettings, wish: _Wish) -> None:
    for variable in config.env or ():
        if variable.name == wish.name:
            wish.check("value", variable.settable)
            _set_variable(settings, wish)
            return
    for mount in settings.mounts or ():
        if mount.name == wish.name:
            wish.check("source", mount.settable)
            mount.source = wish.value
            return
    for device in settings.devices or ():
        if device.name == wish.name:
            wish.check("path", device.settable)
            device.path = wish.value
            return
    if config.args.name == wish.name:
        wish.check("value", config.args.settable)
        settings.args = wish.value.split(" ")
        return
    raise InvalidArgument(f'setting "{wish.name}" not found in the plugin configuration')


def _set_variable(settings: PluginSettings, wish: _Wish) -> None:
    others = [variable for variable in settings.env or () if variable.partition("=")[0] != wish.name]
    settings.env = [*others, f"{wish.name}={wish.value}"]
