"""The daemon's settings: flags and `daemon.json` merged, checked as dockerd checks them.

`main` starts with them and reads the file again on SIGHUP.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ..engine.config import DEFAULT_HOST, NO_SLICE, BridgeConfig, EngineConfig, RegistryConfig, Ulimit, is_slice
from ..engine.host import cgroup_version
from ..openapi.syntax import problem
from . import flags, networks, runtimes
from .flags import Given, UsageError
from .options import (
    BY_KEY,
    BY_NAME,
    CHOICES,
    NOT_NEGATIVE,
    NOT_YET,
    OPTIONS,
    Option,
    check_feature,
    read_boolean,
    read_integer,
)

DEFAULT_CONFIG_FILE = "/etc/docker/daemon.json"
_JSON_TYPES = {bool: "bool", dict: "object", float: "number", int: "number", list: "array", str: "string"}
_GO_TYPES = {bool: "bool", dict: "map[string]string", int: "int", list: "[]string", str: "string"}
_NO_CHOICE = {
    "default-cgroupns-mode": 'invalid default cgroup namespace ({}): use "host" or "private"',
    "default-ipc-mode": 'default IPC mode setting ({}) is invalid; use "shareable" or "private"',
    "firewall-backend": 'invalid firewall-backend "{}"',
    "log-format": "invalid log format: {}",
    "log-level": "invalid logging level: {}",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What `lightshipd` was told."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    group: str = ""
    config_file: str = DEFAULT_CONFIG_FILE
    pidfile: str = ""
    log_level: str = "info"
    log_format: str = "text"
    validate: bool = False
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    allow_unauthenticated_tcp: bool = False

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.tlsverify


def load(arguments: Sequence[str]) -> Settings:
    """Read the command line and the configuration file; raise UsageError for what cannot be followed."""
    given = flags.parse(arguments)
    path = given.get("config-file", DEFAULT_CONFIG_FILE)
    try:
        values = _read_file(Path(path), must_exist="config-file" in given)
        _check_conflicts(given, values)
        merged = given | {BY_KEY[key].name: value for key, value in values.items()}
        if "add-runtime" in merged:
            merged["add-runtime"] = {**given.get("add-runtime", {}), **merged["add-runtime"]}
        _check_values(merged)
    except (ValueError, OSError) as error:
        raise UsageError(f"unable to configure the Docker daemon with file {path}: {error}") from error
    return _build(merged)


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if must_exist:
            raise ValueError(f"open {path}: no such file or directory") from None
        return {}
    if not content.strip():
        return {}
    try:
        raw = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"invalid JSON: {problem(content) or error}") from error
    unknown = [key for key in raw if key not in BY_KEY]
    if not_yet := [key for key in unknown if key in NOT_YET]:
        raise ValueError(f"the following directives are not supported yet: {', '.join(not_yet)}")
    if unknown:
        raise ValueError(f"the following directives don't match any configuration option: {', '.join(unknown)}")
    return {key: _from_file(BY_KEY[key], value) for key, value in raw.items()}


def _from_file(option: Option, value: Any) -> Any:
    if option.document is not None:
        return option.document(value)
    if option.many:
        return [option.read(item) for item in _expect(option, value, list)]
    if option.name == "default-ulimit":
        limits = _expect(option, value, dict)
        return {name: Ulimit(name, limit["Soft"], limit["Hard"]) for name, limit in limits.items()}
    if option.name == "add-runtime":
        return runtimes.read_file(value)
    if option.name == "default-network-opt":
        return networks.default_options(_expect(option, value, dict))
    if option.name == "feature":
        features = _expect(option, value, dict).items()
        return dict(check_feature(name, _expect(option, item, bool, member=name)) for name, item in features)
    if option.map:
        return {name: _expect(option, item, str, member=name) for name, item in _expect(option, value, dict).items()}
    if option.read is read_boolean:
        return _expect(option, value, bool)
    if option.read is read_integer:
        return _expect(option, value, int)
    if type(value) is int and option.name == "default-shm-size":
        return value
    return option.read(_expect(option, value, str))


def _expect(option: Option, value: Any, kind: type[Any], *, member: str = "") -> Any:
    if type(value) is not kind:
        field_name = f"Config.{option.file_key}{member and '.' + member}"
        found, wanted = _JSON_TYPES.get(type(value), "null"), _GO_TYPES[kind]
        raise ValueError(
            f"invalid JSON: json: cannot unmarshal {found} into Go struct field {field_name} of type {wanted}"
        )
    return value


def _check_conflicts(given: Given, values: Mapping[str, Any]) -> None:
    filed = {**values, **{name.replace("_", "-"): value for name, value in values.get("proxies", {}).items()}}
    shown = [
        f"{option.file_key}: (from flag: {_shown(given[option.name])}, from file: {_shown(filed[option.file_key])})"
        for option in OPTIONS
        if option.name in given and option.file_key in filed and option.name != "add-runtime"
    ]
    if shown:
        raise ValueError(
            f"the following directives are specified both as a flag and in the configuration file: {', '.join(shown)}"
        )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{' '.join(map(str, value))}]" if isinstance(value, (list, dict)) else str(value)


def _check_values(merged: Given) -> None:
    for name, value in merged.items():
        try:
            _check_value(BY_NAME[name], value)
        except ValueError as error:
            reason = "merged configuration validation from file and command line flags failed"
            raise ValueError(f"{reason}: {error}") from error
    labels: dict[str, str] = {}
    for label in merged.get("label", ()):
        known = labels.setdefault(label.partition("=")[0], label)
        if known != label:
            raise UsageError(f"conflict labels for {label} and {known}")


def _check_value(option: Option, value: Any) -> None:
    if option.name in NOT_NEGATIVE and value < 0:
        raise ValueError(f"invalid {option.name.replace('-', ' ')}: {value}")
    if option.name in CHOICES and value not in CHOICES[option.name]:
        raise ValueError(_NO_CHOICE[option.name].format(value))
    if option.only and value not in option.only:
        supported = ", ".join(map(_shown, option.only))
        raise ValueError(f"{option.name}: {_shown(value)} is not supported, only {supported}")


def _build(merged: Given) -> Settings:
    parts: dict[str, dict[str, Any]] = {"": {}, "engine": {}, "bridge": {}, "registry": {}}
    for name, value in merged.items():
        group, _, attribute = BY_NAME[name].target.rpartition(".")
        if BY_NAME[name].document is not None:
            parts[group].update(value)
        elif attribute:
            parts[group][attribute] = tuple(value) if isinstance(value, list) else value
    engine, bridge = parts["engine"], parts["bridge"]
    if bridge.get("name") == "none":
        engine["bridge_disabled"] = True
        del bridge["name"]
    if "default_ulimits" in engine:
        engine["default_ulimits"] = tuple(engine["default_ulimits"].values())
    if "default_runtime" in engine:
        _check_default_runtime(engine)
    try:
        bridge_config = BridgeConfig(**bridge)
        networks.check(bridge_config)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if engine.get("cdi_spec_dirs") == ("",):
        engine["cdi_spec_dirs"] = ()
    engine["firewall_backend"] = engine.get("firewall_backend") or "auto"
    settings = Settings(
        engine=EngineConfig(bridge=bridge_config, registry=RegistryConfig(**parts["registry"]), **engine),
        **parts[""],
    )
    _check_cgroups(settings.engine)
    return _with_certificates(settings)


def _check_cgroups(engine: EngineConfig) -> None:
    if engine.cgroup_driver != "systemd":
        return
    if engine.cgroup_parent and not is_slice(engine.cgroup_parent):
        raise UsageError(NO_SLICE)
    if cgroup_version() != "2" or not os.path.isdir("/run/systemd/system"):
        raise UsageError("native.cgroupdriver=systemd needs a host that systemd has booted, with cgroup v2")


def _check_default_runtime(engine: dict[str, Any]) -> None:
    engine["default_runtime"] = engine["default_runtime"] or runtimes.RESERVED
    try:
        runtimes.check_default(engine["default_runtime"], engine.get("runtimes", {}))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _with_certificates(settings: Settings) -> Settings:
    """Where TLS is used and no file was named, they are in `$DOCKER_CERT_PATH` or `~/.docker`, as for dockerd."""
    if not settings.uses_tls:
        return settings
    directory = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    return replace(
        settings,
        tlscacert=settings.tlscacert or str(directory / "ca.pem"),
        tlscert=settings.tlscert or str(directory / "cert.pem"),
        tlskey=settings.tlskey or str(directory / "key.pem"),
    )


_RELOADABLE_OF_REGISTRIES = (
    "hub_mirrors",
    "insecure",
    "max_concurrent_downloads",
    "max_concurrent_uploads",
    "max_download_attempts",
    "mirrors",
)
RELOADABLE = (
    "authorization_plugins",
    "debug",
    "default_cgroupns_mode",
    "default_ipc_mode",
    "default_runtime",
    "default_shm_size",
    "default_stop_timeout_s",
    "labels",
    "live_restore",
    "runtimes",
    "shutdown_timeout_s",
)
"""What SIGHUP changes in a running engine; everything else needs a restart, as in dockerd."""


def reloaded(current: Settings, fresh: Settings) -> Settings:
    """Return the current settings with what may change while running taken from `fresh`."""
    changed = {name: getattr(fresh.engine, name) for name in RELOADABLE}
    of_registries = {name: getattr(fresh.engine.registry, name) for name in _RELOADABLE_OF_REGISTRIES}
    registry = replace(current.engine.registry, **of_registries)
    engine = replace(current.engine, **changed, registry=registry)
    return replace(current, engine=engine, log_level=fresh.log_level)
