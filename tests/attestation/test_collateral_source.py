"""Collateral from PCCSs that answer, hang, lie, flood or are down; kept until it expires, never longer."""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import dcap_qvl
import pytest
from aiohttp import web

from sharekeeper.adapters.collateral import MAX_PLATFORMS, RETRY_SECONDS, CollateralSource
from sharekeeper.adapters.pccs import Pccs as PccsClient
from sharekeeper.attestation.collateral_check import Platform, check_collateral
from sharekeeper.domain.attestation import Measurements
from sharekeeper.errors import AttestationUnavailable
from sharekeeper.ports import Clock
from sharekeeper_devnet.tee.pccs import Mood, Pccs
from sharekeeper_devnet.tee.pki import COLLATERAL_SECONDS, MockIntel
from tests.ports import free_port

NOW = 1_800_000_000
INTEL = MockIntel.create(NOW, seed=b"i" * 32)
PLATFORM = Platform(fmspc="B0C06F000000", ca="platform")
DIGEST = "a1" * 48
MEASURED = Measurements(mrtd=DIGEST, rtmr0=DIGEST, rtmr1=DIGEST, rtmr2=DIGEST, key_provider_event_digest=DIGEST)
QUOTE = INTEL.quote(bytes(64), MEASURED, bytes(48))


class MovableClock(Clock):
    """Wall and monotonic time of a test, which moves them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wall_ns(self):
        return int((NOW + self.seconds) * 1e9)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        await asyncio.sleep(0)


class World:
    """PCCSs and sources of one test, on one clock."""

    def __init__(self, stack, root) -> None:
        self._stack, self._root = stack, root
        self.clock = MovableClock()
        self.now_s = lambda: NOW + self.clock.seconds

    async def pccs(self, mood=Mood.HONEST, intel=INTEL):
        made = Pccs(intel, mood=mood, now_s=self.now_s)
        made.url = await made.start()
        self._stack.push_async_callback(made.stop)
        return made

    def source(self, *pccs, **deadlines):
        urls = [each if isinstance(each, str) else each.url for each in pccs]
        given = {"pccs_seconds": 0.5, "list_seconds": 2.0, **deadlines}
        return CollateralSource(urls, self._root / "collateral", clock=self.clock, root_ca=INTEL.root_ca, **given)


@pytest.fixture
async def world(tmp_path):
    async with AsyncExitStack() as stack:
        yield World(stack, tmp_path)


@asynccontextmanager
async def server(handle):
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def valid(text, at_s):
    return check_collateral(text, PLATFORM, now_s=int(at_s), root_ca=INTEL.root_ca)


async def unavailable(source, offered=None):
    with pytest.raises(AttestationUnavailable) as told:
        await source.of(QUOTE, offered=offered)
    return str(told.value)


# --- one PCCS -----------------------------------------------------------------------------------


def publishing(der=False):
    """A PCCS that serves one set of documents for ever; root CRL in hex as PCCSs have it, or in DER."""
    published = INTEL.publish()

    async def answer(request):
        body, header, chain = {
            "pckcrl": (published.pck_crl, "SGX-PCK-CRL-Issuer-Chain", published.pck_crl_issuer_chain),
            "rootcacrl": (published.root_ca_crl if der else published.root_ca_crl.hex().encode(), "X-None", ""),
            "tcb": (
                f'{{"tcbInfo":{published.tcb_info},"signature":"{published.tcb_info_signature.hex()}"}}'.encode(),
                "TCB-Info-Issuer-Chain",
                published.signing_chain,
            ),
            "identity": (
                f'{{"enclaveIdentity":{published.qe_identity},'
                f'"signature":"{published.qe_identity_signature.hex()}"}}'.encode(),
                "SGX-Enclave-Identity-Issuer-Chain",
                published.signing_chain,
            ),
        }[request.path.rpartition("/")[2]]
        return web.Response(body=body, headers={header: quote(chain)})

    return answer


@pytest.mark.parametrize("suffix", ["", "/", "/sgx/certification/v4", "/tdx/certification/v4/"])
async def test_what_a_pccs_answers_is_what_dcap_qvl_would_fetch_itself(suffix):
    async with server(publishing()) as url:
        fetched = json.loads(await PccsClient(url + suffix).fetch(PLATFORM, timeout_seconds=5))
        theirs = json.loads((await dcap_qvl.get_collateral(url, QUOTE)).to_json())
    assert fetched == {name: value for name, value in theirs.items() if name != "pck_certificate_chain"}


async def test_revocation_lists_are_read_in_der_as_in_hex():
    async with server(publishing(der=True)) as url:
        assert valid(await PccsClient(url).fetch(PLATFORM, timeout_seconds=5), NOW)


async def test_what_a_pccs_answers_verifies_the_quote(world):
    text = await PccsClient((await world.pccs()).url).fetch(PLATFORM, timeout_seconds=5)
    collateral = dcap_qvl.QuoteCollateralV3.from_json(text)
    assert dcap_qvl.verify_with_root_ca(QUOTE, collateral, INTEL.root_ca, NOW).status == "UpToDate"


async def test_a_pccs_that_never_stops_sending_is_cut():
    sent = 0

    async def flood(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with server(flood) as url:
        with pytest.raises(AttestationUnavailable, match="more than"):
            await PccsClient(url).fetch(PLATFORM, timeout_seconds=5)
    assert sent < 16 * 1024 * 1024


async def test_a_redirect_is_not_followed():
    async def elsewhere(_request):
        raise web.HTTPFound("http://192.0.2.1/")

    async with server(elsewhere) as url:
        with pytest.raises(AttestationUnavailable, match="HTTP 302"):
            await PccsClient(url).fetch(PLATFORM, timeout_seconds=5)


async def test_a_message_names_the_host_and_no_key_in_its_url():
    client = PccsClient(f"http://user:secret@127.0.0.1:{free_port()}/sgx/certification/v4")
    with pytest.raises(AttestationUnavailable, match=r"^127\.0\.0\.1:\d+: no answer") as told:
        await client.fetch(PLATFORM, timeout_seconds=5)
    assert "secret" not in str(told.value)


def test_a_request_that_was_cancelled_keeps_no_process_from_ending():
    """A thread of a library that waits for its own deadline would."""
    program = """
import asyncio
from sharekeeper.adapters.pccs import Pccs
from sharekeeper.attestation.collateral_check import Platform
async def main():
    server = await asyncio.start_server(lambda *_: asyncio.sleep(0), "127.0.0.1", 0)
    pccs = Pccs(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    task = asyncio.ensure_future(pccs.fetch(Platform(fmspc="B0C06F000000", ca="platform"), timeout_seconds=60))
    await asyncio.sleep(0.2)
    task.cancel()
asyncio.run(main())
"""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "agent")}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30, env=environment, capture_output=True)
    assert time.monotonic() - begun < 15


# --- the list -------------------------------------------------------------------------------------


async def test_the_first_pccs_that_gives_what_intel_signed_is_enough(world):
    first, second = await world.pccs(), await world.pccs()
    source = world.source(first, second)
    assert valid(await source.of(QUOTE, offered=None), NOW)
    assert source.fault is None
    assert second.asked == 0


@pytest.mark.parametrize("mood", [Mood.DOWN, Mood.HANGS, Mood.STALE, Mood.LIES, Mood.GARBAGE])
async def test_a_pccs_that_fails_or_lies_is_passed_over(world, mood):
    bad, good = await world.pccs(mood), await world.pccs()
    source = world.source(bad, good)
    assert valid(await source.of(QUOTE, offered=None), NOW)
    assert bad.asked > 0
    assert source.fault is None


async def test_hanging_pccss_together_cost_no_more_than_the_lists_deadline(world):
    hanging = [await world.pccs(Mood.HANGS) for _ in range(3)]
    source = CollateralSource(
        [each.url for each in hanging],
        Path("/nonexistent"),
        clock=RunningClock(),
        root_ca=INTEL.root_ca,
        pccs_seconds=0.3,
        list_seconds=0.5,
    )
    begun = time.monotonic()
    message = await unavailable(source)
    assert time.monotonic() - begun < 1.5
    assert "not asked, the others took all the time" in message


class RunningClock(MovableClock):
    def monotonic(self):
        return time.monotonic()


async def test_when_none_gives_any_every_reason_is_said(world):
    source = world.source(await world.pccs(Mood.LIES), await world.pccs(Mood.STALE), await world.pccs(Mood.DOWN))
    message = await unavailable(source)
    assert "root is not Intel's" in message
    assert "counts from" in message
    assert "HTTP 503" in message
    assert str(source.fault) == message


async def test_without_a_list_there_is_nothing_to_ask(world):
    assert "no PCCS is configured" in await unavailable(world.source())


async def test_what_is_no_quote_is_nobodys_outage(world):
    source = world.source()
    with pytest.raises(ValueError, match="quote"):
        await source.of(b"no quote", offered=None)
    assert source.fault is None


# --- what is held -----------------------------------------------------------------------------


async def test_what_is_held_is_given_without_asking(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    text = await source.of(QUOTE, offered=None)
    asked = pccs.asked
    world.clock.seconds += 86_400
    assert await source.of(QUOTE, offered=None) == text
    assert pccs.asked == asked


async def test_an_outage_keeps_what_is_held_until_it_expires_and_says_so(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    text = await source.of(QUOTE, offered=None)
    expires = valid(text, NOW).expires_at_s
    assert source.expires_at_s() == expires
    pccs.mood = Mood.DOWN
    await source.refresh()
    assert "HTTP 503" in str(source.fault)
    world.clock.seconds = expires - NOW - 1
    assert await source.of(QUOTE, offered=None) == text
    world.clock.seconds += 1 + RETRY_SECONDS
    assert "no PCCS gives collateral" in await unavailable(source)
    pccs.mood = Mood.HONEST
    world.clock.seconds += RETRY_SECONDS
    assert await source.of(QUOTE, offered=None) != text
    assert source.fault is None


async def test_newer_collateral_replaces_what_is_held(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    old = await source.of(QUOTE, offered=None)
    world.clock.seconds += 3600
    await source.refresh()
    new = await source.of(QUOTE, offered=None)
    assert valid(old, world.now_s()).older_than(valid(new, world.now_s()))


async def test_a_revocation_that_intel_published_replaces_what_is_held(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    await source.of(QUOTE, offered=None)
    pccs.revoked_hosts = ("host",)
    world.clock.seconds += 3600
    await source.refresh()
    collateral = dcap_qvl.QuoteCollateralV3.from_json(await source.of(QUOTE, offered=None))
    with pytest.raises(ValueError, match=r"(?i)revoked"):
        dcap_qvl.verify_with_root_ca(QUOTE, collateral, INTEL.root_ca, int(world.now_s()))


async def test_documents_that_were_replaced_already_are_not_followed(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    world.clock.seconds += 7200
    text = await source.of(QUOTE, offered=None)
    pccs._now_s = lambda: world.now_s() - 3600
    await source.refresh()
    assert await source.of(QUOTE, offered=None) == text
    assert "replaced already" in str(source.fault)


async def test_a_failed_list_is_not_asked_again_at_once(world):
    pccs = await world.pccs(Mood.DOWN)
    source = world.source(pccs)
    first = await unavailable(source)
    asked = pccs.asked
    assert await unavailable(source) == first
    assert pccs.asked == asked
    world.clock.seconds += RETRY_SECONDS
    await unavailable(source)
    assert pccs.asked > asked


async def test_many_who_ask_at_once_make_one_request(world):
    pccs = await world.pccs()
    source = world.source(pccs)
    texts = await asyncio.gather(*(source.of(QUOTE, offered=None) for _ in range(5)))
    assert len(set(texts)) == 1
    assert pccs.asked == 4


async def test_what_is_held_is_known_by_the_platform_of_a_quote_and_while_it_is_valid(world):
    source = world.source(await world.pccs())
    assert not source.holds(QUOTE)
    await source.of(QUOTE, offered=None)
    assert source.holds(QUOTE)
    world.clock.seconds += COLLATERAL_SECONDS
    assert not source.holds(QUOTE)


async def test_what_is_held_is_bounded(world):
    source = world.source()
    found = valid(INTEL.collateral(), NOW)
    for number in range(3 * MAX_PLATFORMS):
        source._hold(Platform(fmspc=f"{number:012X}", ca="platform"), found)
    assert len(source._held) == MAX_PLATFORMS


async def test_platforms_that_somebody_makes_up_are_forgotten_again(world):
    source = world.source()
    for number in range(3 * MAX_PLATFORMS):
        with pytest.raises(AttestationUnavailable):
            await source._fetched(Platform(fmspc=f"{number:012X}", ca="platform"), patience=1)
        assert 0 < len(source._failed) <= MAX_PLATFORMS
    assert len(source._failed) > 1


async def test_what_is_held_counts_to_the_second_in_which_it_expires(world):
    source = world.source()
    source._hold(PLATFORM, valid(INTEL.collateral(), NOW))
    world.clock.seconds = COLLATERAL_SECONDS - 1
    assert source.holds(QUOTE)
    world.clock.seconds = COLLATERAL_SECONDS
    assert not source.holds(QUOTE)


# --- on disk ----------------------------------------------------------------------------------


async def test_a_later_process_finds_what_was_kept(world):
    pccs = await world.pccs()
    text = await world.source(pccs).of(QUOTE, offered=None)
    pccs.mood = Mood.DOWN
    assert await world.source(pccs).of(QUOTE, offered=None) == text


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", MockIntel.create(NOW).collateral().encode()])
async def test_what_was_changed_on_disk_is_not_used(world, tmp_path, content):
    pccs = await world.pccs()
    await world.source(pccs).of(QUOTE, offered=None)
    [kept] = (tmp_path / "collateral").iterdir()
    kept.write_bytes(content)
    assert valid(await world.source(pccs).of(QUOTE, offered=None), NOW)
    assert valid(kept.read_text(), NOW)


async def test_what_expired_on_disk_is_not_used(world):
    await world.source(await world.pccs()).of(QUOTE, offered=None)
    world.clock.seconds += COLLATERAL_SECONDS
    assert "no PCCS is configured" in await unavailable(world.source())


async def test_a_disk_that_refuses_costs_only_the_next_start(world, tmp_path):
    (tmp_path / "collateral").write_text("a file where the directory belongs")
    source = world.source(await world.pccs())
    text = await source.of(QUOTE, offered=None)
    assert await source.of(QUOTE, offered=None) == text


# --- the prover's own -------------------------------------------------------------------------


async def test_the_provers_collateral_is_taken_when_no_pccs_answers(world):
    offered = INTEL.collateral()
    source = world.source(await world.pccs(Mood.DOWN))
    assert await source.of(QUOTE, offered=offered) == offered
    assert source.fault is not None
    assert source._held == {}


async def test_the_provers_collateral_is_never_preferred(world):
    offered = INTEL.collateral()
    source = world.source(await world.pccs())
    assert await source.of(QUOTE, offered=offered) != offered
    assert await source.of(QUOTE, offered=offered) != offered


@pytest.mark.parametrize("at", [-1, COLLATERAL_SECONDS])
async def test_the_provers_collateral_counts_only_while_it_is_valid(world, at):
    world.clock.seconds = at
    assert "the prover's own collateral is not used either" in await unavailable(world.source(), INTEL.collateral())


async def test_collateral_that_the_prover_made_up_is_not_used(world):
    offered = MockIntel.create(NOW).collateral()
    assert "root is not Intel's" in await unavailable(world.source(), offered)
