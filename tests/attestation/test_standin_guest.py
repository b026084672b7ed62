"""The stand-in's CVMs: registers, events and keys behave as a TDX guest under dstack 0.5.8 does."""

import hashlib
import json

import aiohttp
import dcap_qvl
import pytest

from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper_devnet.tee.guest import Guest, GuestShape, event_of, replayed
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer
from sharekeeper_devnet.tee.pki import MockIntel

_NOW_S = 1_790_000_000
_COMPOSE = json.dumps({"name": "a-machine", "docker_compose_file": "services: {}"})
_BOOT = [
    "system-preparing",
    "app-id",
    "compose-hash",
    "instance-id",
    "boot-mr-done",
    "key-provider",
    "storage-fs",
    "system-ready",
]


@pytest.fixture(scope="module")
def intel():
    return MockIntel.create(_NOW_S, seed=b"guests")


@pytest.fixture
def guest(intel):
    return a_guest(intel)


def a_guest(intel, *, host="one", shape=None, app_compose=_COMPOSE):
    return Guest(intel=intel, host=host, shape=shape or GuestShape(), app_compose=app_compose)


@pytest.fixture
async def socket(tmp_path, guest):
    path = tmp_path / "dstack.sock"
    server = GuestAgentServer(path, lambda: guest)
    await server.start()
    yield path
    await server.stop()


async def call(socket, method, arguments=None, *, query=None):
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        verb = "POST" if query is None else "GET"
        async with session.request(verb, f"http://dstack/{method}", json=arguments, params=query) as response:
            body = await response.read()
            return response.status, json.loads(body) if body else None


def report_of(quote):
    return dcap_qvl.Quote.parse(quote).report


# --- registers and events -------------------------------------------------------------------------


def test_an_event_extends_the_register_as_dstack_extends_it():
    """Against two events of a real machine's log."""
    image = bytes.fromhex("564a5aebc33495d5610626d23cb9e3da8e9d531d0edff9e38aa1ccaf059c15d3")
    assert event_of("mpc-image-digest", image).digest.startswith("0405a57067")
    assert event_of("system-preparing", b"").digest.startswith("f9974020ef")


def test_the_key_provider_event_is_that_of_the_real_key_provider():
    assert GuestShape().measurements.key_provider_event_digest == (
        "61ce56b6be756a9e45af7715b13c15040a4e6090cc740be24e2cc02e33b4fb53ae4e3c945c9af83e2a26c6d5efa414a8"
    )


def test_a_machine_starts_with_the_events_of_dstack_in_its_order(guest):
    assert [event.name for event in guest.events] == _BOOT
    payloads = {event.name: event.payload for event in guest.events}
    assert payloads["compose-hash"] == hashlib.sha256(_COMPOSE.encode()).hexdigest()
    assert payloads["app-id"] == payloads["compose-hash"][:40]


def test_the_quote_says_what_the_event_log_replays_to(guest):
    guest.emit("mpc-image-digest", b"\x01" * 32)
    assert report_of(guest.quote(bytes(64))).rt_mr3 == replayed(guest.events) == guest.rtmr3


def test_a_reboot_leaves_the_boots_events_alone(guest):
    before = guest.rtmr3
    guest.emit("mpc-image-digest", b"\x01" * 32)
    assert guest.rtmr3 != before
    guest.reboot()
    assert guest.rtmr3 == before


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        (GuestShape(image="other"), {"mrtd", "rtmr0", "rtmr1", "rtmr2"}),
        (GuestShape(vcpus=4), {"rtmr0"}),
        (GuestShape(memory_gb=32), {"rtmr0"}),
        (GuestShape(key_provider_id="00"), {"key_provider_event_digest"}),
    ],
)
def test_each_part_of_the_shape_changes_the_measurements_it_changes_in_a_real_machine(shape, changed):
    usual, other = GuestShape().measurements, shape.measurements
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")
    assert {name for name in names if getattr(usual, name) != getattr(other, name)} == changed


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_the_same_after_a_reboot_and_another_for_another_path(guest):
    key = guest.key("a")
    guest.emit("anything", b"")
    guest.reboot()
    assert guest.key("a") == key
    assert guest.key("b") != key


@pytest.mark.parametrize(
    "other",
    [
        {"host": "two"},
        {"shape": GuestShape(image="other")},
        {"shape": GuestShape(vcpus=4)},
        {"shape": GuestShape(memory_gb=32)},
        {"app_compose": "{}"},
    ],
)
def test_a_key_is_lost_with_the_host_the_image_the_machine_and_the_compose_file(intel, guest, other):
    assert a_guest(intel, **other).key("a") != guest.key("a")


# --- the socket -----------------------------------------------------------------------------------


async def test_the_agents_client_gets_a_quote_with_its_log(socket, guest):
    quoted = await GuestAgent((socket,)).quote(bytes(range(64)))
    assert report_of(quoted.quote).report_data == bytes(range(64))
    assert quoted.events == guest.events


async def test_the_agents_client_emits_events_and_reads_what_the_machine_started_with(socket, guest):
    client = GuestAgent((socket,))
    await client.emit_event("mpc-image-digest", b"\x02" * 32)
    info = await client.info()
    assert info.app_compose == _COMPOSE
    assert info.events[-1] == event_of("mpc-image-digest", b"\x02" * 32)
    assert guest.events == info.events


async def test_the_agents_client_gets_the_key_of_a_path(socket, guest):
    assert (await GuestAgent((socket,)).key("a/b")).reveal() == guest.key("a/b")


async def test_short_report_data_is_padded_with_zeros_and_long_is_refused(socket):
    _, answer = await call(socket, "GetQuote", {"report_data": "aabb"})
    assert answer["report_data"] == "aabb" + "00" * 62
    assert await call(socket, "GetQuote", {"report_data": "00" * 65}) == (400, {"error": "Report data is too long"})


async def test_the_log_shows_the_boot_registers_before_rtmr3(socket):
    _, answer = await call(socket, "GetQuote", query={"report_data": "00"})
    log = json.loads(answer["event_log"])
    assert [entry["imr"] for entry in log] == [0, 1, 2] + [3] * len(_BOOT)
    assert set(log[0]) == {"imr", "event_type", "digest", "event", "event_payload"}
    assert json.loads(answer["vm_config"])["cpu_count"] == 8


async def test_neither_purpose_nor_algorithm_separates_keys(socket):
    answers = [
        await call(socket, "GetKey", {"path": "a", "purpose": purpose, "algorithm": algorithm})
        for purpose, algorithm in [("", ""), ("signing", "secp256k1"), ("x", "ed25519")]
    ]
    assert len({answer["key"] for _, answer in answers}) == 1


async def test_every_tls_key_is_another(socket):
    answers = [await call(socket, "GetTlsKey", {"subject": "x"}) for _ in range(2)]
    assert answers[0][1]["key"] != answers[1][1]["key"]


async def test_the_version_is_that_of_the_wire_it_speaks(socket):
    assert (await call(socket, "Version"))[1]["version"] == "0.5.8"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("GetQuote", {"report_data": "no hex"}),
        ("GetKey", {"path": 1}),
        ("GetKey", {"path": "a", "algorithm": "rsa"}),
        ("EmitEvent", {"event": "x", "payload": "0"}),
        ("GetQuote", ["a list"]),
    ],
)
async def test_a_bad_request_is_status_400_with_an_error(socket, guest, method, arguments):
    status, answer = await call(socket, method, arguments)
    assert (status, list(answer)) == (400, ["error"])
    assert [event.name for event in guest.events] == _BOOT


async def test_a_method_that_dstack_does_not_have_is_not_found(socket):
    assert await call(socket, "Nothing") == (404, {"error": "Service not found: Nothing"})
