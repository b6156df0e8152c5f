"""What a container writes: to the log and to each client, whole, in order, and then the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

from harness.http import frames
from lightship.engine.shim.messages import Attach, Detached, Exited

MEBIBYTE = 1 << 20


def streams(data: bytes) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    for stream, payload in frames(data):
        found[stream] += payload
    return found


def log_of(path: Path) -> bytes:
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines()).encode()


def test_attached_before_start_loses_nothing(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            await there.run("echo out; echo err >&2; exit 3", clients=[one.attach(framed=True)])
            one.given()
            assert streams(await one.receive_all()) == {1: b"out\n", 2: b"err\n"}
            assert await there.exit_code() == 3
            records = [json.loads(line) for line in there.log_path("c1").read_text().splitlines()]
            assert {(record["stream"], record["log"]) for record in records} == {
                ("stdout", "out\n"),
                ("stderr", "err\n"),
            }
            assert there.log_path("c1").stat().st_mode & 0o777 == 0o640

    asyncio.run(scenario())


def test_several_clients_each_take_what_they_asked_for(lab, client):
    async def scenario():
        async with lab() as there:
            both, out, raw = client(), client(), client()
            given = [both.attach(framed=True), out.attach(framed=True, stderr=False), raw.attach(stdout=False)]
            await there.run("seq 1 20000; seq 1 20000 >&2", clients=given)
            for one in (both, out, raw):
                one.given()
            received = await asyncio.gather(both.receive_all(), out.receive_all(), raw.receive_all())
            whole = b"".join(b"%d\n" % number for number in range(1, 20001))
            assert streams(received[0]) == {1: whole, 2: whole}
            assert streams(received[1]) == {1: whole, 2: b""}
            assert received[2] == whole
            assert log_of(there.log_path("c1")).count(b"\n") == 40000

    asyncio.run(scenario())


def test_a_slow_client_holds_the_container_back_and_gets_everything(lab, client):
    async def scenario():
        for log in (True, False):
            async with lab() as there:
                slow = client()
                script = "yes 0123456789abcde | head -c 8388608; echo done >&2"
                task = await there.run(script, log=log, clients=[slow.attach(framed=True)])
                slow.given()
                await asyncio.sleep(0.3)
                assert (await task.state()).status == "running", "nobody takes the output, so it cannot have ended"
                assert resident_kib(task.shim_pid) < 40_000
                received = streams(await slow.receive_all())
                assert received[1] == b"0123456789abcde\n" * (MEBIBYTE // 2)
                assert received[2] == b"done\n"
                assert await there.exit_code() == 0

    asyncio.run(scenario())


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_exit_is_told_though_a_client_does_not_read(lab, client):
    async def scenario():
        async with lab() as there:
            stuck = client()
            await there.run("head -c 250000 /dev/zero | tr '\\0' x", clients=[stuck.attach()])
            stuck.given()
            # More than the client's socket takes; less than that and what one read and the pipe hold
            assert await there.exit_code() == 0
            await there.supervisor.delete("c1")
            assert len(log_of(there.log_path("c1"))) == 250_000
            await there.run("exit 4")
            assert await there.exit_code() == 4
            assert await stuck.receive_all() == b"x" * 250_000

    asyncio.run(scenario())


def test_a_client_that_hung_up_is_let_go_at_once(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            task = await there.run("while :; do echo x; done", clients=[one.attach()])
            one.given()
            await one.receive()
            one.close()

            async def let_go():
                return not (await task.state()).attached

            await there.until(let_go)
            before = there.log_path("c1").stat().st_size

            async def goes_on():
                return there.log_path("c1").stat().st_size > before

            await there.until(goes_on)
            await task.kill(9)
            assert await there.exit_code() == 137

    asyncio.run(scenario())


def test_without_a_log_bulk_output_is_exact(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            script = "head -c 30000000 /dev/urandom > /dev/copy; cat /dev/copy; md5sum < /dev/copy >&2"
            await there.run(script, log=False, clients=[one.attach(framed=True)])
            one.given()
            received = streams(await one.receive_all())
            assert len(received[1]) == 30_000_000
            assert received[2].split()[0].decode() == hashlib.md5(received[1]).hexdigest()
            assert await there.exit_code() == 0

    asyncio.run(scenario())


def test_history_then_the_stream_without_a_gap(lab, client):
    async def scenario():
        async with lab() as there:
            script = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; printf tail"
            task = await there.run(script)

            async def begun():
                return there.log_path("c1").stat().st_size > 0

            await there.until(begun)
            one = client()
            attached = await task.attach(*one.attach(hold=True))
            one.given()
            position = attached.log_position
            with open(position.path, "rb") as log:
                history = b"".join(json.loads(line)["log"].encode() for line in log.read(position.offset).splitlines())
            await task.attach_release(attached.attach_id)
            followed = await one.receive_all()
            assert history + followed == b"".join(b"line %d\n" % number for number in range(30000)) + b"tail"

    asyncio.run(scenario())


def test_leftover_writers_of_a_shared_pid_namespace_are_killed(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            spec = there.spec("sleep 100 & echo started; exit 5")
            spec["linux"]["namespaces"] = [kind for kind in spec["linux"]["namespaces"] if kind["type"] != "pid"]
            await there.run("", spec=spec, clients=[one.attach()])
            one.given()
            assert await one.receive_all() == b"started\n"
            assert await there.exit_code() == 5

    asyncio.run(scenario())


def test_rotation_and_attrs(lab):
    async def scenario():
        async with lab() as there:
            options = {"max_size": 1000, "max_file": 3, "attrs": {"tag": "t<1>"}}
            await there.run("seq 1 60", log_options=options)
            await there.exit_code()
            directory = there.log_path("c1").parent
            assert sorted(path.name for path in directory.glob("*.log*")) == [
                "c1-json.log",
                "c1-json.log.1",
                "c1-json.log.2",
            ]
            text = "".join((directory / f"c1-json.log{suffix}").read_text() for suffix in (".2", ".1", ""))
            numbers = [int(json.loads(line)["log"]) for line in text.splitlines()]
            assert numbers == list(range(numbers[0], 61))
            assert '"attrs":{"tag":"t\\u003c1\\u003e"},"time":' in text

    asyncio.run(scenario())


def test_held_descriptors_outlive_the_daemon(lab):
    async def scenario():
        async with lab() as there:
            read_fd, write_fd = os.pipe()
            await there.run("sleep 100", fds={"port tcp 80": write_fd})
            os.close(write_fd)
            await there.supervisor.stop()
            os.set_blocking(read_fd, False)
            try:
                os.read(read_fd, 1)
                raise AssertionError("the other end was closed")
            except BlockingIOError:
                pass
            await there.supervisor.start()
            ((task, _),) = (await there.supervisor.load()).values()
            await task.listen()
            await task.kill(9)
            await there.event(Exited)
            await there.supervisor.delete("c1")
            assert os.read(read_fd, 1) == b""
            os.close(read_fd)

    asyncio.run(scenario())


def test_a_client_gone_by_its_detach_keys_leaves_the_container(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            spec = there.spec("cat", tty=True)
            task = await there.run("", spec=spec, open_stdin=True, clients=[one.attach(stdin=True)])
            one.given()
            await one.send(b"a\x10b\n")
            assert b"a^Pb" in await one.receive_until(b"b\r\n")
            await one.send(b"\x10")
            await one.send(b"\x11")
            assert isinstance(await there.event(Detached), Detached)
            assert await one.receive_all() is not None
            two = client()
            await task.attach(two.theirs.fileno(), Attach(stdin=True, stdout=True, detach_keys="ctrl-a,x"))
            two.given()
            await two.send(b"again\n")
            await two.receive_until(b"again\r\n")
            await two.send(b"\x01x")
            await there.event(Detached)
            assert (await task.state()).status == "running"

    asyncio.run(scenario())
