"""A project of several services on several networks: they find each other, are published, and go without trace."""

from __future__ import annotations

import pytest
from harness import host
from harness.compose import Compose
from harness.engine import HOST_ADDRESS, Engine
from harness.waiting import wait_for
from harness.web import fetch

PROJECT = """
    version: "2.4"
    services:
      proxy:
        image: busybox
        init: true
        command: [httpd, -f, -p, "80", -h, /etc]
        ports: ["127.0.0.1:18600:80", "18601:80"]
        networks: [front, back]
      app:
        image: busybox
        init: true
        command: [sh, -c, "mkdir /www; hostname >/www/name; exec httpd -f -p 80 -h /www"]
        networks: {back: {aliases: [api]}}
      store: {image: busybox, init: true, command: [sleep, "1000"], networks: [deep]}
      worker: {image: busybox, init: true, command: [sleep, "1000"], networks: [back, deep]}
    networks:
      front: {}
      back: {driver_opts: {com.docker.network.driver.mtu: "1400"}}
      deep: {internal: true}
    """
GREETING = "root:x:0:"


def test_a_project_of_several_services(compose_v2: Compose, engine: Engine) -> None:
    before, compose = host.snapshot(engine), compose_v2
    compose.write(PROJECT)
    compose.ok("up", "-d", "--scale", "app=3", "--wait")
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18600) == GREETING)
    assert fetch(engine.outside, HOST_ADDRESS, 18601) == GREETING
    with pytest.raises(OSError):
        fetch(engine.outside, HOST_ADDRESS, 18600, timeout_s=1)
    wait_for(lambda: len(asked(compose, "proxy")) == 3, timeout_s=30)
    assert compose("exec", "-T", "worker", "nslookup", "store").code == 0
    for stranger in ("proxy", "app"):
        assert compose("exec", "-T", stranger, "nslookup", "store").code != 0
    assert "1400" in compose.ok("exec", "-T", "app", "cat", "/sys/class/net/eth0/mtu")
    assert "default" not in compose.ok("exec", "-T", "store", "ip", "route")
    assert "default" in compose.ok("exec", "-T", "worker", "ip", "route")
    compose.ok("restart", "-t", "0", "proxy")
    wait_for(lambda: fetch(engine.netns, "127.0.0.1", 18600) == GREETING)
    assert asked(compose, "worker")
    compose.ok("down", "-t", "0")
    assert not host.leaks(before, engine)


def asked(compose: Compose, service: str) -> set[str]:
    """Which of the app's containers answer a service that asks for it by its alias again and again."""
    script = "for i in $(seq 20); do wget -qO- http://api/name; done"
    return set(compose("exec", "-T", service, "sh", "-c", script).out.split())
