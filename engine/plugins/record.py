"""What is kept of a plugin."""

from __future__ import annotations

import msgspec

from ...openapi.types.plugins import Plugin, PluginConfig, PluginSettings


class PluginRecord(msgspec.Struct):
    """`config_digest`, `manifest_digest` and `layers` are its blobs; `reference` is where it was pulled from.

    `timeout_s` is what a call of it may take, as it was last enabled; 0 for each call's own limit.
    """

    id: str
    name: str
    config: PluginConfig
    settings: PluginSettings
    config_digest: str
    manifest_digest: str
    layers: list[str]
    reference: str = ""
    enabled: bool = False
    timeout_s: int = 0

    @property
    def blobs(self) -> list[str]:
        return [self.config_digest, self.manifest_digest, *self.layers]

    def implements(self, capability: str) -> bool:
        """Tell whether it has one of Docker's capabilities, such as `volumedriver`."""
        return any(name == capability for prefix, name in self.capabilities() if prefix == "docker")

    def capabilities(self) -> list[tuple[str, str]]:
        """Return prefix and name of each: `docker.volumedriver/1.0` is `("docker", "volumedriver")`."""
        parted = [each.partition("/")[0].partition(".") for each in self.config.interface.types or ()]
        return [(prefix, name.lower()) for prefix, _, name in parted]

    def described(self) -> Plugin:
        return Plugin(
            id=self.id,
            name=self.name,
            enabled=self.enabled,
            settings=self.settings,
            plugin_reference=self.reference,
            config=self.config,
        )
