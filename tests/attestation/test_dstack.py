"""The client of dstack's guest agent, against servers on unix sockets that answer as it does, or badly."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sharekeeper.adapters.dstack import MAX_ANSWER_BYTES, SOCKET_PATHS, GuestAgent
from sharekeeper.errors import AttestationUnavailable
from sharekeeper.secret import Secret
from sharekeeper.spec import MAX_EVENTS

DATA = bytes(range(64))
DIGEST = "ab" * 48
BOOT = {"imr": 0, "event_type": 2147483659, "digest": DIGEST, "event": "", "event_payload": "0954"}
READY = {"imr": 3, "event_type": 134217729, "digest": DIGEST, "event": "system-ready", "event_payload": ""}
IMAGE = {"imr": 3, "event_type": 134217729, "digest": DIGEST, "event": "mpc-image-digest", "event_payload": "aa" * 32}
LOG = [BOOT, READY, IMAGE]
INFO = {"tcb_info": json.dumps({"app_compose": '{"name":"x"}', "event_log": LOG}, indent=2), "app_name": "x"}
QUOTE = {"quote": "0400", "event_log": json.dumps(LOG), "report_data": DATA.hex(), "vm_config": "{}"}


@asynccontextmanager
async def guest_agent(path, answer):
    """A server at the socket; `answer` is given as JSON, or called with the request. Yields the requests it saw."""
    seen = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path, json.loads(await request.read())))
        return await answer(request) if callable(answer) else web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{method}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield seen
    finally:
        await runner.cleanup()


def saying(status=200, body=b""):
    async def answer(_request):
        return web.Response(status=status, body=body)

    return answer


@pytest.fixture
def socket(tmp_path):
    return tmp_path / "dstack.sock"


def agent(*paths, **deadlines):
    return GuestAgent(paths, **{"answer_seconds": 5.0, **deadlines})


# --- answers --------------------------------------------------------------------------------------


async def test_a_quote_is_asked_for_over_the_whole_report_data(socket):
    async with guest_agent(socket, QUOTE) as seen:
        quoted = await agent(socket).quote(DATA)
    assert seen == [("POST", "/GetQuote", {"report_data": DATA.hex()})]
    assert quoted.quote == b"\x04\x00"
    assert [(event.name, event.payload) for event in quoted.events] == [
        ("system-ready", ""),
        ("mpc-image-digest", "aa" * 32),
    ]


async def test_report_data_of_another_length_is_never_sent(socket):
    async with guest_agent(socket, QUOTE) as seen:
        with pytest.raises(ValueError, match="64 bytes"):
            await agent(socket).quote(DATA[:-1])
    assert seen == []


async def test_the_app_compose_is_the_text_the_machine_was_started_with(socket):
    async with guest_agent(socket, INFO) as seen:
        info = await agent(socket).info()
    assert seen == [("POST", "/Info", {})]
    assert info.app_compose == '{"name":"x"}'
    assert [event.name for event in info.events] == ["system-ready", "mpc-image-digest"]


async def test_a_key_is_asked_for_by_its_path_alone_and_hidden(socket):
    async with guest_agent(socket, {"key": "11" * 32, "signature_chain": []}) as seen:
        key = await agent(socket).key("sharekeeper/v1/x")
    assert key == Secret(b"\x11" * 32)
    assert "11" not in repr(key)
    [(_, path, request)] = seen
    assert (path, request["path"], request["purpose"]) == ("/GetKey", "sharekeeper/v1/x", "")


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
async def test_an_event_is_emitted(socket, body):
    async with guest_agent(socket, saying(body=body)) as seen:
        await agent(socket).emit_event("x-image-digest", b"\x01\x02")
    assert seen == [("POST", "/EmitEvent", {"event": "x-image-digest", "payload": "0102"})]


# --- which socket -------------------------------------------------------------------------------


def test_the_sockets_of_dstack_are_tried_in_its_order():
    assert [str(path) for path in SOCKET_PATHS] == [
        "/var/run/dstack.sock",
        "/run/dstack.sock",
        "/var/run/dstack/dstack.sock",
        "/run/dstack/dstack.sock",
    ]


async def test_the_first_socket_that_is_there_is_used(tmp_path):
    paths = [tmp_path / name for name in "abcd"]
    paths[1].write_text("a file, no socket")
    async with guest_agent(paths[2], INFO) as third, guest_agent(paths[3], INFO) as fourth:
        await agent(*paths).info()
    assert (len(third), len(fourth)) == (1, 0)


async def test_a_socket_that_appears_later_is_found_by_the_next_call(tmp_path):
    found = agent(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AttestationUnavailable, match=r"no socket at .*/a, .*/b"):
        await found.info()
    async with guest_agent(tmp_path / "b", INFO):
        assert (await found.info()).app_compose


async def test_a_socket_nobody_listens_at_is_named(socket):
    async with guest_agent(socket, INFO):
        os.link(socket, socket.with_name("left"))
    with pytest.raises(AttestationUnavailable, match=r"left: Connection refused; check that dstack's guest agent runs"):
        await agent(socket.with_name("left")).info()


# --- bad answers ----------------------------------------------------------------------------------


async def test_a_guest_agent_that_hangs_costs_its_deadline_and_no_more(socket):
    async def hang(_request):
        await asyncio.sleep(60)

    async with guest_agent(socket, hang):
        begun = time.monotonic()
        with pytest.raises(AttestationUnavailable, match=r"did not answer GetQuote within 0\.2 s"):
            await agent(socket, answer_seconds=0.2).quote(DATA)
    assert time.monotonic() - begun < 2


async def test_an_answer_without_end_is_cut(socket):
    sent = 0

    async def flood(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    async with guest_agent(socket, flood):
        with pytest.raises(AttestationUnavailable, match=f"more than {MAX_ANSWER_BYTES} bytes"):
            await agent(socket).info()
    assert sent < 8 * MAX_ANSWER_BYTES


async def test_a_refusal_carries_the_guest_agents_own_words_in_one_line(socket):
    words = "Failed to get quote\n\x1b[31m" + "x" * 5000
    async with guest_agent(socket, saying(400, json.dumps({"error": words}).encode())):
        with pytest.raises(AttestationUnavailable, match="refused GetQuote with HTTP 400: Failed to get quote") as told:
            await agent(socket).quote(DATA)
    assert len(str(told.value)) < 400
    assert str(told.value).isprintable()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 7}', b"\xff" * 9])
async def test_a_refusal_without_words_is_still_one(socket, body):
    async with guest_agent(socket, saying(502, body)):
        with pytest.raises(AttestationUnavailable, match="HTTP 502"):
            await agent(socket).info()


async def test_a_guest_agent_without_events_is_named_by_its_version(socket):
    async with guest_agent(socket, saying(404)):
        with pytest.raises(AttestationUnavailable, match=r"dstack 0\.6 dropped: use dstack 0\.5\.x"):
            await agent(socket).emit_event("x", b"")


async def test_a_connection_that_breaks_is_no_answer(socket):
    async def cut(request):
        request.transport.abort()
        return web.Response()

    async with guest_agent(socket, cut):
        with pytest.raises(AttestationUnavailable, match="no answer to Info"):
            await agent(socket).info()


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        QUOTE | {"quote": 4},
        QUOTE | {"quote": "xx"},
        QUOTE | {"event_log": LOG},
        QUOTE | {"event_log": "{"},
        QUOTE | {"event_log": "{}"},
        QUOTE | {"event_log": json.dumps([{**READY, "imr": "3"}])},
        QUOTE | {"event_log": json.dumps([{**READY, "digest": "short"}])},
        QUOTE | {"event_log": json.dumps([{**READY, "event_payload": "0"}])},
        QUOTE | {"event_log": json.dumps([READY] * (MAX_EVENTS + 1))},
    ],
)
async def test_an_answer_of_another_form_is_refused(socket, answer):
    async with guest_agent(socket, answer):
        with pytest.raises(AttestationUnavailable, match=r"GetQuote is not that of dstack 0\.5\.x"):
            await agent(socket).quote(DATA)


async def test_an_empty_quote_is_no_quote(socket):
    async with guest_agent(socket, QUOTE | {"quote": ""}):
        with pytest.raises(AttestationUnavailable, match="no TDX guest"):
            await agent(socket).quote(DATA)


async def test_a_guest_agent_that_cannot_quote_shows_no_tcb_info(socket):
    async with guest_agent(socket, {"tcb_info": ""}):
        with pytest.raises(AttestationUnavailable, match="quoting service"):
            await agent(socket).info()


async def test_no_json_is_refused(socket):
    async with guest_agent(socket, saying(body=b"not json")):
        with pytest.raises(AttestationUnavailable, match="not valid JSON"):
            await agent(socket).info()


@pytest.mark.parametrize("key", ["", "11" * 31, "11" * 33, "zz" * 32, 5])
async def test_a_key_of_another_form_is_refused_and_never_quoted(socket, key):
    async with guest_agent(socket, {"key": key}):
        with pytest.raises(AttestationUnavailable) as told:
            await agent(socket).key("path")
    assert "zz" not in str(told.value)
    assert "1111" not in str(told.value)
