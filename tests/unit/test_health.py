"""The pages, the log lines, the report: what operators look at."""

import io
import json
import logging
import re
import socket
from pathlib import Path

import aiohttp
import pytest

import sharekeeper
from sharekeeper.config import NetAddress
from sharekeeper.errors import AddressInUse
from sharekeeper.ops.health import HealthServer
from sharekeeper.ops.logs import configure_logs, log_event
from sharekeeper.ops.report import Report, counter, gauge, metrics_text
from sharekeeper.ops.status import utc
from sharekeeper.secret import Secret

LOOPBACK = NetAddress(host="127.0.0.1", port=0)


@pytest.fixture
async def pages():
    reports = [Report(reasons=(), metrics=[gauge("up", "Up.", 1)], status={"schema": 1})]
    server = await HealthServer.start(LOOPBACK, lambda: reports[-1])

    async def get(page):
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{server.port}/{page}") as answer:
            return answer.status, answer.content_type, await answer.text()

    yield get, reports
    await server.stop()


async def test_a_healthy_daemon_answers_200_and_one_with_reasons_503(pages):
    get, reports = pages
    assert await get("health") == (200, "application/json", '{"healthy": true, "reasons": []}')
    reports.append(Report(reasons=("backup: none",), metrics=(), status={}))
    status, _, text = await get("health")
    assert (status, json.loads(text)) == (503, {"healthy": False, "reasons": ["backup: none"]})


async def test_metrics_and_status_have_pages_and_nothing_else_has(pages):
    get, _ = pages
    assert await get("metrics") == (200, "text/plain", "# HELP up Up.\n# TYPE up gauge\nup 1.0\n")
    assert await get("status") == (200, "application/json", '{"schema": 1}')
    assert (await get("other"))[0] == 404


async def test_a_taken_address_is_named_with_the_cure():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = NetAddress(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(AddressInUse, match="set health_address"):
            await HealthServer.start(address, lambda: None)


def test_metrics_have_the_text_format_of_prometheus():
    text = metrics_text(
        [
            gauge("age_seconds", "Age.", None),
            counter("done_total", "Done.", [({"result": 'a"b\\c\nd'}, 2), ({"result": "ok"}, 3)]),
        ]
    )
    assert text == (
        "# HELP age_seconds Age.\n# TYPE age_seconds gauge\n"
        "# HELP done_total Done.\n# TYPE done_total counter\n"
        'done_total{result="a\\"b\\\\c\\nd"} 2.0\ndone_total{result="ok"} 3.0\n'
    )


def test_times_are_utc_without_fractions():
    assert utc(None) is None
    assert utc(1_800_000_000 * 10**9 + 5) == "2027-01-15T08:00:00Z"


@pytest.fixture
def lines():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()

    def logged(*, as_json, message="it happened", **facts):
        configure_logs(as_json=as_json, stream=stream)
        log_event(logging.getLogger("test"), logging.INFO, message, **facts)
        return stream.getvalue().splitlines()

    yield logged
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_plain_line_has_time_level_sentence_and_facts(lines):
    (line,) = lines(as_json=False, epoch=5, ok=True, who="a b", nothing=None)
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'INFO it happened epoch=5 ok=true who="a b" nothing=none'


def test_a_json_line_has_the_same_as_fields(lines):
    (line,) = lines(as_json=True, epoch=5, nothing=None)
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "info", "logger": "test", "message": "it happened", "epoch": 5, "nothing": None}


@pytest.mark.parametrize("as_json", [True, False])
def test_an_event_is_one_line_whatever_its_text(lines, as_json):
    assert len(lines(as_json=as_json, message="a\nb\r\nc")) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_cannot_be_logged(lines, as_json):
    text = "\n".join(lines(as_json=as_json, key=Secret(b"hunter2"), raw=b"hunter2"))
    assert "hunter2" not in text
    assert "Secret" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_stays_on_the_line_of_its_event(lines, as_json):
    lines(as_json=as_json)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("test").exception("unexpected")
    found = logging.getLogger().handlers[0].stream.getvalue().splitlines()
    assert len(found) == 2
    assert "division by zero" in found[1]


def test_every_metric_is_documented_and_every_documented_metric_exists():
    root = Path(sharekeeper.__file__).parent
    code = "".join(path.read_text() for path in root.rglob("*.py"))
    documented = (root.parent.parent / "docs" / "observability.md").read_text()
    assert set(re.findall(r'"(sharekeeper_\w+)"', code)) == set(
        re.findall(r"^\| `(sharekeeper_\w+)`", documented, re.MULTILINE)
    )
