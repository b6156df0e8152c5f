"""Log drivers that send to a server: their options, checked with dockerd's sentences, and what the shim's sender needs.

syslog, journald, gelf and fluentd.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import booleans, errors
from ..errors import InvalidArgument
from ..ids import short_id
from ..times import SECOND_NS, parse_duration, rfc3339
from ..volumes.local import parse_size

if TYPE_CHECKING:
    from .container import Container

Address = str | tuple[str, int]

_OPTIONS = {
    "syslog": (
        "syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert",
        "syslog-tls-key", "syslog-tls-skip-verify",
    ),
    "journald": (),
    "gelf": (
        "gelf-address", "gelf-compression-level", "gelf-compression-type", "gelf-tcp-max-reconnect",
        "gelf-tcp-reconnect-delay",
    ),
    "fluentd": (
        "fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
        "fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision",
        "fluentd-write-timeout", "fluentd-read-timeout",
    ),
}  # fmt: skip
DRIVERS = tuple(_OPTIONS)
JOURNAL = "/run/systemd/journal/socket"
_SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
_TCP_TLS = "tcp+tls"
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
_DAEMON = 3
_BUFFER_BYTES = 1024 * 1024
_FOR_EVER = 2**31 - 1


def check(driver: str, options: Mapping[str, str], *, common: Collection[str]) -> None:
    """Raise InvalidArgument for what can never work."""
    if driver == "gelf":
        _gelf_address(options)
    for option in options:
        if option not in _OPTIONS[driver] and option not in common:
            name = f'"{option}"' if driver == "gelf" else f"'{option}'"
            raise InvalidArgument(f"unknown log opt {name} for {driver} log driver")
    if driver == "syslog":
        _syslog(options)
    elif driver == "gelf":
        _check_gelf(options)
    elif driver == "fluentd":
        _fluentd(options)


def remote(container: Container, options: Mapping[str, str], *, tag: str, extra: Mapping[str, str]) -> dict[str, Any]:
    """Return what the sender is told; the options were checked."""
    driver = container.record.host_config.log_config.type
    made = {"syslog": _syslog, "journald": _journald, "gelf": _gelf, "fluentd": _fluentd}[driver](options)
    made["fields"] |= _fields(driver, container, tag=tag, extra=extra)
    limit = options.get("max-buffer-size")
    if limit:
        made["buffer_bytes"] = parse_size(limit)
    made["blocking"] = options.get("mode") != "non-blocking"
    return {"driver": driver, **made}


def _fields(driver: str, container: Container, *, tag: str, extra: Mapping[str, str]) -> dict[str, Any]:
    """What each record says of the container."""
    record, hostname = container.record, os.uname().nodename
    if driver == "syslog":
        return {"tag": tag, "hostname": hostname}
    if driver == "fluentd":
        constant = {"container_id": record.id, "container_name": record.name, **extra}
        return {"tag": tag, "record": constant}
    if driver == "gelf":
        described = {
            "_container_id": record.id,
            "_container_name": container.name,
            "_image_id": record.image_id,
            "_image_name": record.config.image,
            "_command": " ".join([record.path, *record.args]),
            "_tag": tag,
            "_created": rfc3339(record.created_ns),
        }
        return {
            "hostname": hostname,
            "extra": described | {f"_{name.removeprefix('_')}": extra[name] for name in extra},
        }
    return {
        "CONTAINER_ID": short_id(record.id),
        "CONTAINER_ID_FULL": record.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": record.config.image,
        "SYSLOG_IDENTIFIER": tag,
        "CONTAINER_LOG_EPOCH": os.urandom(32).hex(),
        **{_journal_name(name): value for name, value in extra.items()},
    }


def _journal_name(name: str) -> str:
    """Journald's fields are of capitals, digits and underscores, and do not begin with one of the last."""
    upper = "".join(char if char.isascii() and char.isalnum() else "_" for char in name.upper())
    return upper.lstrip("_")


def _made(network: str, address: Address, fields: dict[str, Any], **differing: Any) -> dict[str, Any]:
    return {
        "network": network,
        "address": address,
        "fields": fields,
        "required": True,
        "prefix": "",
        "buffer_bytes": _BUFFER_BYTES,
        "retry_s": 1.0,
        "max_retries": _FOR_EVER,
        "tls": None,
        "acknowledged": False,
        "ack_limit_s": 0.0,
        **differing,
    }


def _syslog(options: Mapping[str, str]) -> dict[str, Any]:
    network, address = _syslog_address(options.get("syslog-address", ""))
    style = options.get("syslog-format", "")
    facility = _facility(options.get("syslog-facility", ""))
    if style not in _FORMATS:
        raise InvalidArgument("Invalid syslog format")
    fields = {"facility": facility << 3, "format": style, "is_tls": network == _TCP_TLS}
    if network != _TCP_TLS:
        return _made(network, address, fields)
    tls = _tls(
        ca=options.get("syslog-tls-ca-cert", ""),
        cert=options.get("syslog-tls-cert", ""),
        key=options.get("syslog-tls-key", ""),
        # As dockerd has it, whatever the value
        verified="syslog-tls-skip-verify" not in options,
    )
    return _made("tcp", address, fields, tls=tls)


def _tls(*, ca: str = "", cert: str = "", key: str = "", verified: bool = True) -> dict[str, Any]:
    return {"ca": ca, "cert": cert, "key": key, "verified": verified}


def _syslog_address(text: str) -> tuple[str, Address]:
    if not text:
        return "unixgram", next((path for path in _SYSLOG_SOCKETS if os.path.exists(path)), _SYSLOG_SOCKETS[0])
    parts = urlsplit(text)
    if parts.scheme in ("unix", "unixgram"):
        if not os.path.exists(parts.path):
            raise InvalidArgument(f"stat {parts.path}: no such file or directory")
        return parts.scheme, parts.path
    if parts.scheme not in ("udp", "tcp", _TCP_TLS):
        raise InvalidArgument(f"unsupported scheme: '{parts.scheme}'")
    return parts.scheme, (parts.hostname or "localhost", _port(text) or 514)


def _facility(text: str) -> int:
    if not text:
        return _DAEMON
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if text.isdecimal() and int(text) < len(_FACILITIES):
        return int(text)
    raise InvalidArgument("invalid syslog facility")


def _journald(_options: Mapping[str, str]) -> dict[str, Any]:
    if not os.path.exists(JOURNAL):
        raise errors.Internal(
            "failed to create task for container: failed to initialize logging driver: "
            "journald is not enabled on this host"
        )
    return _made("unixgram", JOURNAL, {})


def _gelf_address(options: Mapping[str, str]) -> tuple[str, tuple[str, int]]:
    text = options.get("gelf-address", "")
    if not text:
        raise InvalidArgument("gelf-address is a required parameter")
    parts = urlsplit(text)
    if parts.scheme not in ("udp", "tcp"):
        raise InvalidArgument("gelf: endpoint needs to be TCP or UDP")
    port = _port(text)
    if port is None:
        raise InvalidArgument("gelf: please provide gelf-address as proto://host:port")
    return parts.scheme, (parts.hostname or "localhost", port)


def _check_gelf(options: Mapping[str, str]) -> None:
    network, _ = _gelf_address(options)
    for option, value in options.items():
        if option.startswith("gelf-compression"):
            if network != "udp":
                raise InvalidArgument("compression is only supported on UDP")
            allowed = [str(level) for level in range(-1, 10)] if option.endswith("level") else ["gzip", "zlib", "none"]
            if value not in allowed:
                raise InvalidArgument(f'unknown value "{value}" for log opt "{option}" for gelf log driver')
        elif option.startswith("gelf-tcp"):
            if network != "tcp":
                raise InvalidArgument(f'"{option}" is only valid for TCP')
            if not value.isdecimal():
                raise InvalidArgument(f'"{option}" must be a positive integer')


def _gelf(options: Mapping[str, str]) -> dict[str, Any]:
    network, address = _gelf_address(options)
    host, port = address
    fields = {
        "network": network,
        "compression": options.get("gelf-compression-type", "gzip"),
        "level": int(options.get("gelf-compression-level", "1")),
    }
    return _made(
        network,
        address,
        fields,
        prefix=f"gelf: cannot connect to GELF endpoint: {host}:{port} ",
        retry_s=float(options.get("gelf-tcp-reconnect-delay", "1")),
        max_retries=int(options.get("gelf-tcp-max-reconnect", "3")),
    )


def _fluentd(options: Mapping[str, str]) -> dict[str, Any]:
    text = options.get("fluentd-address", "")
    try:
        network, address = _fluentd_address(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid fluentd-address ({text}): {error}") from error
    try:
        acknowledged = booleans.parse(options.get("fluentd-request-ack", "false"))
        is_async = booleans.parse(options.get("fluentd-async", "false"))
        sub_second = booleans.parse(options.get("fluentd-sub-second-precision", "false"))
        retry_s = _seconds(options.get("fluentd-retry-wait", "1s"))
        interval_s = _seconds(options.get("fluentd-async-reconnect-interval", "0s"))
        for option in ("fluentd-write-timeout", "fluentd-read-timeout"):
            if _seconds(options.get(option, "0s")) < 0:
                raise InvalidArgument(f"invalid value for {option}: value must be a duration that is non-negative")
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if interval_s and not 0.1 <= interval_s <= 10:
        raise InvalidArgument("invalid value for fluentd-async-reconnect-interval: value must be between 100ms and 10s")
    retries = options.get("fluentd-max-retries", "") or str(_FOR_EVER)
    if not retries.isdecimal():
        raise InvalidArgument(f'strconv.ParseUint: parsing "{retries}": invalid syntax')
    return _made(
        "tcp" if network == "tls" else network,
        address,
        {"sub_second": sub_second, "acknowledged": acknowledged},
        tls=_tls() if network == "tls" else None,
        acknowledged=acknowledged,
        ack_limit_s=_seconds(options.get("fluentd-read-timeout", "0s")),
        required=not is_async,
        retry_s=retry_s,
        max_retries=int(retries),
        buffer_bytes=parse_size(options.get("fluentd-buffer-limit", "1m")),
    )


def _fluentd_address(text: str) -> tuple[str, Address]:
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise InvalidArgument("path is empty")
        return "unix", parts.path
    if parts.scheme not in ("tcp", "tls"):
        raise InvalidArgument(f"unsupported scheme: '{parts.scheme}'")
    if parts.path:
        raise InvalidArgument("should not contain a path element")
    return parts.scheme, (parts.hostname or "127.0.0.1", _port(parts.geturl()) or 24224)


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise InvalidArgument(f'parse "{url}": invalid port') from None


def _seconds(text: str) -> float:
    return parse_duration(text) / SECOND_NS
