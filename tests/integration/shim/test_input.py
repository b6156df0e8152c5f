"""What clients send: stdin, its end, terminals and their size."""

from __future__ import annotations

import asyncio
import hashlib
import os

MEBIBYTE = 1 << 20


def test_half_close_is_the_end_of_stdin_and_not_of_output(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            script = "cat; sleep 0.2; echo after"
            await there.run(
                script, open_stdin=True, stdin_once=True, clients=[one.attach(stdin=True, prefix=b"early ")]
            )
            one.given()
            await one.send(b"input\n")
            one.half_close()
            assert await one.receive_all() == b"early input\nafter\n"
            assert await there.exit_code() == 0

    asyncio.run(scenario())


def test_stdin_stays_open_where_it_is_not_once(lab, client):
    async def scenario():
        async with lab() as there:
            one, two = client(), client()
            task = await there.run("cat", open_stdin=True, clients=[one.attach(stdin=True)])
            one.given()
            await one.send(b"first\n")
            assert await one.receive_until(b"first\n")
            one.half_close()
            await task.attach(*two.attach(stdin=True))
            two.given()
            await two.send(b"second\n")
            assert await one.receive_until(b"second\n")
            assert await two.receive_until(b"second\n")
            await task.kill(9)
            assert await there.exit_code() == 137

    asyncio.run(scenario())


def test_bulk_input_is_exact_and_held_back_by_a_slow_reader(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            data = os.urandom(16 * MEBIBYTE)
            given = [one.attach(stdin=True, prefix=data[:1000])]
            spec = there.spec("until [ -e /tmp/go ]; do usleep 20000; done; md5sum")
            mount = {"destination": "/tmp", "type": "bind", "source": str(there.root), "options": ["rbind"]}
            spec["mounts"].append(mount)
            task = await there.run("", spec=spec, open_stdin=True, stdin_once=True, clients=given)
            one.given()
            sending = asyncio.create_task(one.send(data[1000:]))
            await asyncio.sleep(0.1)
            assert not sending.done()
            assert (await task.state()).status == "running"
            (there.root / "go").touch()
            await sending
            one.half_close()
            assert (await one.receive_all()).split()[0].decode() == hashlib.md5(data).hexdigest()

    asyncio.run(scenario())


def test_input_that_nobody_reads_does_no_harm(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            script = "exec <&-; sleep 0.2; echo done; exit 6"
            await there.run(script, open_stdin=True, stdin_once=True, clients=[one.attach(stdin=True)])
            one.given()
            await one.send(b"x" * 100_000)
            assert await one.receive_all() == b"done\n"
            assert await there.exit_code() == 6

    asyncio.run(scenario())


def test_a_terminal_has_its_size_and_hears_of_changes(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            spec = there.spec("trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done", tty=True)
            task = await there.run(
                "", spec=spec, open_stdin=True, start=False, clients=[one.attach(stdin=True, framed=True)]
            )
            one.given()
            await task.resize(height=33, width=111)
            await task.start()
            assert await one.receive_until(b"\n") == b"33 111\r\n"
            await task.resize(height=20, width=50)
            assert await one.receive_until(b"\n") == b"20 50\r\n"
            assert await there.exit_code() == 0
            assert await one.receive_all() == b""
            assert '{"log":"33 111\\r\\n","stream":"stdout"' in there.log_path("c1").read_text()

    asyncio.run(scenario())


def test_without_open_stdin_it_is_empty(lab, client):
    async def scenario():
        async with lab() as there:
            one = client()
            await one.send(b"ignored")
            await there.run("cat; echo end", clients=[one.attach(stdin=True)])
            one.given()
            assert await one.receive_all() == b"end\n"
            assert await there.exit_code() == 0

    asyncio.run(scenario())
