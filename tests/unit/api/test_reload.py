"""SIGHUP: what the file says now reaches those who act on it."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest
from lightship.api import main
from lightship.api.settings import load
from lightship.engine.authorization import Authorization
from lightship.engine.containers.containers import Containers
from lightship.engine.containers.host import Host
from lightship.engine.engine import Engine
from lightship.engine.events import Events
from lightship.engine.filters import Filters


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def bare_engine(config):
    """An engine without its services: what `reload` touches."""
    engine = Engine.__new__(Engine)
    engine.config, engine.id, engine.events = config, "id", Events()
    engine.containers = Containers.__new__(Containers)
    engine.containers.context = SimpleNamespace(config=config, host=Host())
    engine.plugins = SimpleNamespace(authorization_plugin=lambda name: None)
    engine.authorization = Authorization(config.authorization_plugins, engine.plugins)
    engine.networks = SimpleNamespace(reload=lambda: None)
    engine.images = SimpleNamespace(reload=lambda registry: setattr(engine.images, "registry", registry))
    return engine


def test_live_restore_reaches_the_containers_and_the_rest_stays(tmp_path):
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    arguments = ["--config-file", str(file), "--data-root", "/data"]
    settings = load(arguments)
    engine = bare_engine(settings.engine)
    subscription = engine.events.subscribe(Filters())
    file.write_text(json.dumps({"live-restore": False, "labels": ["a=b"], "debug": True, "mtu": 1000}))
    asyncio.run(main._reload(engine, settings, arguments))
    for config in (engine.config, engine.containers.context.config):
        assert (config.live_restore, config.labels, config.debug) == (False, ("a=b",), True)
        assert config.bridge.mtu == settings.engine.bridge.mtu
    assert subscription._queue.get_nowait().action == "reload"


def test_runtimes_are_reloaded(tmp_path):
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({"runtimes": {"crun": {"path": "crun", "runtimeArgs": ["--debug"]}}}))
    arguments = ["--config-file", str(file), "--add-runtime", "other=/other"]
    settings = load(arguments)
    engine = bare_engine(settings.engine)
    file.write_text(json.dumps({"runtimes": {"new": {"path": "/new"}}, "default-runtime": "new"}))
    asyncio.run(main._reload(engine, settings, arguments))
    host = engine.containers.context.host
    assert (set(host.runtimes), host.default_runtime) == ({"other", "new"}, "new")


def test_registries_are_reached_as_the_file_says_now(tmp_path):
    """And the event has dockerd's attributes."""
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    arguments = ["--config-file", str(file)]
    settings = load(arguments)
    engine = bare_engine(settings.engine)
    subscription = engine.events.subscribe(Filters())
    file.write_text(
        json.dumps({"registry-mirrors": ["http://m"], "max-concurrent-uploads": 9, "http-proxy": "http://p"})
    )
    asyncio.run(main._reload(engine, settings, arguments))
    registry = engine.images.registry
    assert (registry.hub_mirrors, registry.max_concurrent_uploads, registry.http_proxy) == (("http://m/",), 9, "")
    told = subscription._queue.get_nowait().actor.attributes
    assert (told["registry-mirrors"], told["max-concurrent-uploads"]) == ('["http://m/"]', "9")
    assert (told["labels"], told["debug"]) == ("[]", "false")


def test_a_bad_file_changes_nothing(tmp_path, caplog):
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    arguments = ["--config-file", str(file)]
    settings = load(arguments)
    engine = bare_engine(settings.engine)
    file.write_text('{"nope": 1}')
    asyncio.run(main._reload(engine, settings, arguments))
    assert engine.config is settings.engine
    assert "configuration not reloaded" in caplog.text
