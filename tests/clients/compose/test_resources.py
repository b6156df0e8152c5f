"""What services are given: networks, volumes, configs, secrets, limits, pieces of other files."""

from __future__ import annotations

from harness.compose import Compose
from harness.docker import Docker


def test_networks_aliases_and_addresses(compose: Compose) -> None:
    compose.write("""
        version: "2.4"
        services:
          web:
            image: busybox
            init: true
            command: [sleep, "1000"]
            networks:
              front: {ipv4_address: 10.77.5.9, aliases: [www]}
              back:
          database: {image: busybox, init: true, command: [sleep, "1000"], networks: {back: {aliases: [db]}}}
          other: {image: busybox, init: true, command: [sleep, "1000"], networks: [front]}
        networks:
          front: {ipam: {config: [{subnet: 10.77.5.0/24, gateway: 10.77.5.1}]}}
          back: {internal: true}
        """)
    compose.ok("up", "-d")
    assert "10.77.5.9" in compose.ok("exec", "-T", "other", "nslookup", "www")
    assert compose("exec", "-T", "web", "nslookup", "db").code == 0
    assert compose("exec", "-T", "other", "nslookup", "database").code != 0
    web = compose.container("web")["NetworkSettings"]["Networks"]
    assert web[f"{compose.name}_front"]["IPAddress"] == "10.77.5.9" and f"{compose.name}_back" in web
    assert compose("exec", "-T", "database", "ip", "route").out.count("default") == 0


def test_an_external_network(compose: Compose, docker: Docker) -> None:
    docker.ok("network", "create", "outer")
    compose.write("""
        version: "3.8"
        services:
          web: {image: busybox, init: true, command: [sleep, "1000"], networks: [outer]}
        networks:
          outer: {external: true}
        """)
    compose.ok("up", "-d")
    assert list(compose.container("web")["NetworkSettings"]["Networks"]) == ["outer"]
    compose.ok("down", "-t", "0")
    assert docker.ok("network", "ls", "-q", "--filter", "name=outer") != ""


def test_volumes_outlive_containers(compose: Compose, docker: Docker) -> None:
    compose.write("""
        version: "3.8"
        services:
          writer:
            image: busybox
            init: true
            command: [sleep, "1000"]
            volumes: ["kept:/data", "./here:/here:ro", {type: tmpfs, target: /scratch}]
        volumes:
          kept: {labels: {of: project}}
        """)
    (compose.directory / "here").mkdir()
    (compose.directory / "here" / "file").write_text("bound\n")
    compose.ok("up", "-d")
    compose.ok("exec", "-T", "writer", "sh", "-c", "echo kept > /data/file")
    assert compose.ok("exec", "-T", "writer", "cat", "/here/file") == "bound"
    assert compose("exec", "-T", "writer", "touch", "/here/no").code == 1
    assert "tmpfs" in compose.ok("exec", "-T", "writer", "grep", "/scratch", "/proc/mounts")
    compose.ok("down", "-t", "0")
    compose.ok("up", "-d")
    assert compose.ok("exec", "-T", "writer", "cat", "/data/file") == "kept"
    assert docker.ok("volume", "ls", "-q", "--filter", "label=of=project") == f"{compose.name}_kept"
    compose.ok("down", "-v", "-t", "0")
    assert docker.ok("volume", "ls", "-q", "--filter", "label=of=project") == ""


def test_configs_and_secrets(compose_v2: Compose) -> None:
    compose_v2.write("""
        services:
          web:
            image: busybox
            init: true
            command: [sleep, "1000"]
            configs: [{source: settings, target: /etc/settings}, inline]
            secrets: [password]
        configs:
          settings: {file: ./settings}
          inline: {content: "said in the file"}
        secrets:
          password: {file: ./password}
        """)
    (compose_v2.directory / "settings").write_text("of a file\n")
    (compose_v2.directory / "password").write_text("secret\n")
    compose_v2.ok("up", "-d")
    shown = compose_v2.ok("exec", "-T", "web", "cat", "/etc/settings", "/inline", "/run/secrets/password")
    assert shown == "of a file\nsaid in the filesecret"


def test_limits_and_process_settings(compose: Compose) -> None:
    compose.write("""
        version: "2.4"
        services:
          small:
            image: busybox
            init: true
            command: [sleep, "1000"]
            mem_limit: 64m
            pids_limit: 40
            cpus: 0.5
            ulimits: {nofile: {soft: 100, hard: 200}}
            sysctls: {net.core.somaxconn: 100}
            cap_drop: [ALL]
            user: "1000:50"
            working_dir: /tmp
            environment: {A: b, EMPTY: ""}
            extra_hosts: ["elsewhere:10.1.2.3"]
            hostname: small-one
            tmpfs: ["/t:size=1m"]
            read_only: true
            logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
        """)
    compose.ok("up", "-d")
    host_config = compose.container("small")["HostConfig"]
    assert (host_config["Memory"], host_config["PidsLimit"], host_config["NanoCpus"]) == (64 << 20, 40, 500_000_000)
    assert host_config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    shown = compose.ok(
        "exec", "-T", "small", "sh", "-c", "id -u; id -g; pwd; echo $A; hostname; ulimit -Sn; ulimit -Hn"
    )
    assert shown.split() == ["1000", "50", "/tmp", "b", "small-one", "100", "200"]
    assert compose.ok("exec", "-T", "small", "cat", "/proc/sys/net/core/somaxconn") == "100"
    assert "10.1.2.3" in compose.ok("exec", "-T", "small", "cat", "/etc/hosts")
    assert compose("exec", "-T", "small", "touch", "/no").code == 1


def test_deploy_resources_and_replicas(compose_v2: Compose) -> None:
    compose_v2.write("""
        services:
          many:
            image: busybox
            init: true
            command: [sleep, "1000"]
            deploy: {replicas: 2, resources: {limits: {cpus: "0.25", memory: 32M}, reservations: {memory: 16M}}}
        """)
    compose_v2.ok("up", "-d")
    assert len(compose_v2.ids("many")) == 2
    found = compose_v2.docker.ok("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", *compose_v2.ids())
    assert set(found.splitlines()) == {f"{32 << 20} 250000000"}


def test_extends_include_and_overrides(compose_v2: Compose) -> None:
    sleeps = "image: busybox, init: true, command: [sleep, '1000']"
    compose_v2.write(f"services: {{base: {{{sleeps}, environment: {{A: a}}}}}}", "base.yml")
    compose_v2.write(f"services: {{inner: {{{sleeps}}}}}", "part/compose.yml")
    compose_v2.write("""
        include: [part/compose.yml]
        services:
          web: {extends: {file: base.yml, service: base}, environment: {B: "${FROM_ENV}"}, depends_on: [inner]}
        """)
    compose_v2.write("services: {web: {environment: {C: c}}}", "docker-compose.override.yml")
    (compose_v2.directory / ".env").write_text("FROM_ENV=b\n")
    compose_v2.ok("up", "-d")
    assert len(compose_v2.ids()) == 2
    assert {"A=a", "B=b", "C=c"} <= set(compose_v2.ok("exec", "-T", "web", "env").split())


def test_pull_and_push(compose_v2: Compose, docker: Docker, registry_host: str) -> None:
    docker.ok("tag", "busybox", f"{registry_host}/box:1")
    compose_v2.write(f"""
        services:
          box: {{image: "{registry_host}/box:1", init: true, command: [sleep, "1000"], build: .}}
        """)
    compose_v2.ok("push")
    docker.ok("rmi", f"{registry_host}/box:1")
    compose_v2.ok("pull")
    compose_v2.ok("up", "-d")
    assert compose_v2.container("box")["Config"]["Image"] == f"{registry_host}/box:1"
