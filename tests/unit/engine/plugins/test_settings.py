"""What may be set of a plugin, and what it has to be allowed."""

from __future__ import annotations

import pytest
from lightship.engine.errors import InvalidArgument
from lightship.engine.plugins import privileges, settings
from lightship.openapi.types.plugins import (
    PluginArgs,
    PluginConfig,
    PluginDevice,
    PluginEnv,
    PluginLinux,
    PluginMount,
    PluginNetwork,
    PluginPrivilege,
)

CONFIG = PluginConfig(
    env=[
        PluginEnv(name="DEBUG", value="0", settable=["value"]),
        PluginEnv(name="FIXED", value="1"),
        PluginEnv(name="OPEN", settable=["value"]),
    ],
    mounts=[
        PluginMount(name="state", source="/var/state", destination="/state", type="bind", settable=["source"]),
        PluginMount(name="both", source="/x", destination="/y", type="bind", settable=["source", "options"]),
    ],
    linux=PluginLinux(
        capabilities=["CAP_SYS_ADMIN"], devices=[PluginDevice(name="disk", path="/dev/null", settable=["path"])]
    ),
    network=PluginNetwork(type="host"),
    args=PluginArgs(name="args", value=["-v"], settable=["value"]),
)


def test_the_config_says_how_settings_begin() -> None:
    made = settings.initial(CONFIG)
    assert made.env == ["DEBUG=0", "FIXED=1"] and made.args == ["-v"]
    assert [mount.source for mount in made.mounts or ()] == ["/var/state", "/x"]


def test_what_is_set() -> None:
    began = settings.initial(CONFIG)
    wishes = ["DEBUG=1", "OPEN=a=b", "state.source=/other", "both.source=/z", "disk=/dev/zero", "args=one two"]
    made = settings.changed(CONFIG, began, wishes)
    assert made.env == ["FIXED=1", "DEBUG=1", "OPEN=a=b"] and made.args == ["one", "two"]
    assert [mount.source for mount in made.mounts or ()] == ["/other", "/z"]
    assert [device.path for device in made.devices or ()] == ["/dev/zero"]
    assert [mount.source for mount in began.mounts or ()] == ["/var/state", "/x"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("=x", "invalid format, must be <name>[.<field>][=<value>]"),
        ("FIXED=2", '"FIXED" is not settable'),
        ("DEBUG.name=2", '"DEBUG.name" is not settable'),
        ("state.options=ro", '"state.options" is not settable'),
        ("both=/z", "multiple fields are settable, one must be specified"),
        ("other=1", 'setting "other" not found in the plugin configuration'),
    ],
)
def test_what_may_not_be_set(wish: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        settings.changed(CONFIG, settings.initial(CONFIG), [wish])
    assert str(raised.value) == message


def test_privileges() -> None:
    required = privileges.required(CONFIG)
    assert [(each.name, each.value) for each in required] == [
        ("network", ["host"]),
        ("mount", ["/var/state"]),
        ("mount", ["/x"]),
        ("device", ["/dev/null"]),
        ("capabilities", ["CAP_SYS_ADMIN"]),
    ]
    privileges.check(CONFIG, required[::-1])
    for accepted in (required[1:], [*required, required[0]], [PluginPrivilege(name="network"), *required[1:]]):
        with pytest.raises(InvalidArgument, match="incorrect privileges"):
            privileges.check(CONFIG, accepted)
