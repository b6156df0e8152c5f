"""The solver with real steps: order, sharing, cache, failure, and what is left of it all."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

from harness.builds import HERE, Client, Machine, Site, context, run
from lightship.engine.build.graph import (
    BindMount,
    CacheMount,
    Copy,
    MakeDirectory,
    Run,
    SecretMount,
    SshMount,
    Step,
    TmpfsMount,
)
from lightship.engine.build.vertices import StepError
from lightship.engine.errors import Error


def test_independent_stages_run_side_by_side_and_unused_ones_never(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        def stages(base: Step) -> Step:
            run(base, "echo unused")
            one, two = (run(base, command, mounts=(CacheMount("/c", "meeting"),)) for command in commands)
            return Copy(one, two, ("/two",), "/", name="COPY")

        meet = "touch /c/{}; until [ -e /c/{} ]; do usleep 20000; done; echo > /{}"
        commands = (meet.format(1, 2, "one"), meet.format(2, 1, "two"))
        _, heard = await site.build(stages)
        told = [vertex for vertex in heard.told if getattr(vertex, "name", "").startswith("RUN")]
        one, two = (heard.vertices(f"RUN {command}")[-1] for command in commands)
        assert one.started_ns and one.completed_ns and two.started_ns and two.completed_ns
        assert max(one.started_ns, two.started_ns) < min(one.completed_ns, two.completed_ns)
        assert not heard.vertices("RUN echo unused")
        assert len(told) == 4
        image = site.engine.images.get_image("made")
        assert len(image.diff_ids) == 3
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_cached_build_is_the_same_image_also_after_a_restart(machine: Machine) -> None:
    ids = []
    (machine.context / "file").write_text("content")

    def steps(base: Step) -> Step:
        step: Step = Copy(base, context(str(len(ids))), ("/file",), "/copied/", name="COPY")
        return MakeDirectory(run(step, "cat /copied/file > /made"), "/work/deep", name="WORKDIR")

    async def scenario(site: Site) -> None:
        outcome, heard = await site.build(steps)
        for name in ("COPY", "RUN cat /copied/file > /made", "WORKDIR"):
            assert heard.is_cached(name) == bool(ids), name
        ids.append(outcome.image_id)

    machine.run(scenario)
    os.utime(machine.context / "file", (1, 1))  # times do not count
    for _ in range(2):
        machine.run(scenario)
    assert len(set(ids)) == 1


def test_content_decides(machine: Machine) -> None:
    (machine.context / "used").write_text("1")
    (machine.context / "unused").write_text("1")

    def steps(base: Step) -> Step:
        return run(Copy(base, context(), ("/used",), "/", name="COPY"), "cat /used")

    async def scenario(site: Site) -> None:
        assert not (await site.solve(steps)).is_cached("COPY")
        (machine.context / "unused").write_text("2")
        heard = await site.solve(steps)
        assert heard.is_cached("COPY") and heard.is_cached("RUN cat /used")
        (machine.context / "used").write_text("2")
        heard = await site.solve(steps)
        assert not heard.is_cached("COPY") and heard.output("RUN cat /used") == b"2"
        (machine.context / "used").chmod(0o755)
        assert not (await site.solve(steps)).is_cached("COPY")

    machine.run(scenario)


def test_a_stage_that_results_in_the_same_is_not_copied_again(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        def steps(base: Step, command: str) -> Step:
            return run(Copy(base, run(base, command), ("/out",), "/", name="COPY"), "cat /out")

        assert not (await site.solve(lambda base: steps(base, "echo same > /out"))).is_cached("COPY")
        heard = await site.solve(lambda base: steps(base, "printf 'same\\n' > /out"))
        assert heard.is_cached("COPY") and heard.is_cached("RUN cat /out")
        heard = await site.solve(lambda base: steps(base, "printf 'same\\n' > /out"))
        assert heard.is_cached("RUN printf 'same\\n' > /out")

    machine.run(scenario)


def test_no_cache_runs_a_step_again_and_what_stands_on_it(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        def steps(base: Step, *, is_cacheless: bool) -> Step:
            first = run(base, "cat /proc/sys/kernel/random/uuid > /id", is_cacheless=is_cacheless)
            return run(first, "cat /id")

        first = (await site.solve(lambda base: steps(base, is_cacheless=False))).output("RUN cat /id")
        heard = await site.solve(lambda base: steps(base, is_cacheless=True))
        assert heard.output("RUN cat /id") not in (b"", first)
        assert (await site.solve(lambda base: steps(base, is_cacheless=False))).is_cached("RUN cat /id")
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_concurrent_builds_share_a_step(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        def steps(base: Step) -> Step:
            return run(base, "sleep 0.5; cat /proc/sys/kernel/random/uuid")

        name = "RUN sleep 0.5; cat /proc/sys/kernel/random/uuid"
        one, two = await asyncio.gather(site.solve(steps), site.solve(steps))
        assert one.output(name) == two.output(name) != b""

    machine.run(scenario)


def test_one_of_two_builds_that_share_a_step_may_go(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        def steps(base: Step) -> Step:
            return run(base, "sleep 1; echo done")

        one, two = (asyncio.create_task(site.solve(steps)) for _ in range(2))
        await asyncio.sleep(0.5)
        one.cancel()
        assert (await two).output("RUN sleep 1; echo done") == b"done\n"
        await asyncio.gather(one, return_exceptions=True)
        assert one.cancelled()
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_command_that_fails(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        error, heard = await site.fail(lambda base: run(base, 'echo "out"; echo err >&2; exit 3'))
        text = r'process "/bin/sh -c echo \"out\"; echo err >&2; exit 3" did not complete successfully: exit code: 3'
        assert str(error) == text
        assert isinstance(error, StepError) and error.exit_code == 3
        assert heard.vertices(error.step.name)[-1].error == text
        assert sorted(heard.output(error.step.name).split()) == [b"err", b"out"]
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_command_that_there_is_not_and_a_user_unknown(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        error, heard = await site.fail(lambda base: Run(base, ("/nope",), (), "/", "", HERE, name="RUN"))
        assert str(error) == 'process "/nope" did not complete successfully: exit code: 1'
        assert b'unable to start container process: exec: "/nope": stat /nope: no such file' in heard.output("RUN")
        error, _ = await site.fail(lambda base: replace(run(base, "id"), user="nobody-knows"))
        assert "unable to find user nobody-knows: no matching entries in passwd file" in str(error)
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_file_that_is_missing_is_told_of_the_copy(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        error, heard = await site.fail(lambda base: Copy(base, context(), ("/missing",), "/", name="COPY"))
        assert str(error).startswith("failed to compute cache key: failed to calculate checksum of ref ")
        assert str(error).endswith(': "/missing": not found')
        told = heard.vertices("COPY")
        assert told[0].started_ns and not told[0].completed_ns
        assert told[-1].error.startswith("failed to calculate checksum of ref ")
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_cancelled_build_leaves_nothing(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        for command in ("sleep 100", "trap '' TERM; sleep 100 & sleep 100"):
            building = asyncio.create_task(site.solve(lambda base, command=command: run(base, command)))
            for _ in range(2):  # when it runs, and at some moment before that
                await asyncio.sleep(0.2)
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            assert building.cancelled()
            assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_processes_that_a_command_leaves_behind_end_with_it(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        started = time.monotonic()
        heard = await site.solve(lambda base: run(base, "sleep 50 & echo $! > /pid; echo left"))
        assert heard.output("RUN sleep 50 & echo $! > /pid; echo left") == b"left\n"
        assert time.monotonic() - started < 40
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_confinement_and_environment(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        command = "grep -E 'CapEff|Seccomp:' /proc/self/status; hostname; env | sort; cat /etc/hosts; touch /etc/hosts"
        step_error, heard = await site.fail(
            lambda base: replace(run(base, command), env=("A=b",), extra_hosts=(("db", "10.0.0.7"),), cwd="/tmp")
        )
        output = heard.output(f"RUN {command}").decode()
        assert "CapEff:\t00000000a80425fb" in output and "Seccomp:\t2" in output
        assert "\nbuildkitsandbox\n" in output and "10.0.0.7\tdb" in output
        assert "A=b\n" in output and "HOSTNAME" not in output and "PWD=/tmp" in output
        assert "Read-only file system" in output and "exit code: 1" in str(step_error)

    machine.run(scenario)


def test_host_network_and_insecure_want_entitlements(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        error, _ = await site.fail(lambda base: replace(run(base, "true"), network="host"))
        assert "network.host is not allowed" in str(error)
        error, _ = await site.fail(lambda base: replace(run(base, "true"), is_insecure=True))
        assert "security.insecure is not allowed" in str(error)
        command = "ls /sys/class/net"
        allowed = frozenset(("network.host",))
        for network, links in (("none", b"lo\n"), ("default", b"eth0\nlo\n")):
            heard = await site.solve(lambda base, network=network: replace(run(base, command), network=network))
            assert heard.output(f"RUN {command}") == links
        heard = await site.solve(lambda base: replace(run(base, command), network="host"), entitlements=allowed)
        assert b"docker0" in heard.output(f"RUN {command}")

    machine.run(scenario)


def test_mounts(machine: Machine) -> None:
    (machine.context / "deep").mkdir()
    (machine.context / "deep" / "file").write_text("of the context\n")

    async def scenario(site: Site) -> None:
        def steps(base: Step) -> Step:
            other = run(base, "echo other > /other")
            mounts = (
                BindMount("/context", context(), "/deep"),
                BindMount("/stage", other, "/", is_readonly=False),
                CacheMount("/cache", "id"),
                TmpfsMount("/scratch"),
                SecretMount("token", target="/run/secrets/token", env="TOKEN"),
                SecretMount("missing", target="/run/secrets/missing"),
                SshMount("default", target="/run/buildkit/agent"),
            )
            command = (
                "cat /context/file /stage/other /run/secrets/token; echo $TOKEN; touch /stage/new /cache/kept;"
                "touch /scratch/x; ls /run/secrets; test -S $SSH_AUTH_SOCK && echo socket;"
                "touch /context/new 2>/dev/null || echo read-only"
            )
            return replace(run(base, command), name="RUN", mounts=mounts)

        client = Client(site.context, {"token": b"secret"})
        outcome, heard = await site.build(steps, client=client)
        lines = heard.output("RUN").decode().splitlines()
        assert lines[:5] == ["of the context", "other", "secretsecret", "token", "socket"]
        assert lines[-1] == "read-only"
        layer = site.engine.images.get_image(outcome.image_id).diff_ids[-1]
        made = [path.name for path in site.engine.snapshots.layer_path(layer).rglob("*")]
        assert made == [], "mount points and what is mounted are in no layer"
        heard = await site.solve(lambda base: replace(run(base, "ls /c"), mounts=(CacheMount("/c", "id"),)))
        assert heard.output("RUN ls /c") == b"kept\n"
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_a_secret_that_is_required(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        mount = SecretMount("token", target="/token", is_required=True)
        error, _ = await site.fail(lambda base: replace(run(base, "true"), mounts=(mount,)))
        assert isinstance(error, Error) and "secret token: not found" in str(error)
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_locked_caches_are_used_one_after_another(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        async def used(sharing: str, command: str, stages: int) -> list[bytes]:
            """What each told of what it found."""
            mounts = (CacheMount("/c", sharing, sharing=sharing), CacheMount("/all", "all"))
            steps = [replace(run(None, command.format(n)), mounts=mounts) for n in range(stages)]
            each = [site.solve(lambda base, step=step: replace(step, base=base)) for step in steps]
            told = zip(steps, await asyncio.gather(*each), strict=True)
            return sorted(heard.output(step.name) for step, heard in told)

        alone = "test ! -e /c/busy && touch /c/busy && sleep 0.3 && ls /c | wc -l; touch /c/{} && rm /c/busy"
        assert await used("locked", alone, 3) == [b"1\n", b"2\n", b"3\n"]
        met = "touch /all/{0}; until [ $(ls /all | wc -l) = 2 ]; do usleep 20000; done"
        together = f"{met}; touch /c/{{0}}; ls /c | wc -l"
        assert await used("private", together, 2) == [b"1\n", b"1\n"]

    machine.run(scenario)


def test_a_platform_without_emulator(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        other = type(HERE)("linux", "s390x")
        error, _ = await site.fail(lambda base: replace(run(base, "true"), platform=other))
        assert "cannot run a step for linux/s390x" in str(error)

    machine.run(scenario)
