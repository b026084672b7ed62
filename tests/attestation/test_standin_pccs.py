"""The stand-in's PCCS: dcap-qvl's own client asks it, and each mood is met for what it is."""

import asyncio
import time

import dcap_qvl
import pytest

from sharekeeper.domain.attestation import Measurements
from sharekeeper_devnet.tee.pccs import Mood, Pccs
from sharekeeper_devnet.tee.pki import MockIntel

_MEASUREMENTS = Measurements(
    mrtd="a1" * 48, rtmr0="b2" * 48, rtmr1="c3" * 48, rtmr2="d4" * 48, key_provider_event_digest="e5" * 48
)


@pytest.fixture(scope="module")
def intel():
    return MockIntel.create(int(time.time()), seed=b"pccs")


@pytest.fixture(scope="module")
def quote(intel):
    return intel.quote(bytes(64), _MEASUREMENTS, bytes(48))


@pytest.fixture
async def pccs(intel):
    service = Pccs(intel)
    service.url = await service.start()
    yield service
    await service.stop()


async def fetched(pccs, quote, seconds=10.0):
    return await asyncio.wait_for(dcap_qvl.get_collateral(pccs.url, quote), seconds)


def verify(intel, quote, collateral):
    return dcap_qvl.verify_with_root_ca(quote, collateral, intel.root_ca, int(time.time()))


async def test_an_honest_pccs_gives_collateral_that_verifies(intel, pccs, quote):
    collateral = await fetched(pccs, quote)
    assert verify(intel, quote, collateral).status == "UpToDate"
    assert pccs.asked == 4


async def test_a_host_can_be_revoked_while_it_runs(intel, pccs, quote):
    pccs.revoked_hosts = ("host",)
    with pytest.raises(ValueError, match="CertRevoked"):
        verify(intel, quote, await fetched(pccs, quote))


@pytest.mark.parametrize("mood", [Mood.DOWN, Mood.GARBAGE])
async def test_no_collateral_comes_from_one_that_is_down_or_talks_nonsense(pccs, quote, mood):
    pccs.mood = mood
    with pytest.raises(ValueError, match=r"503|Chain"):
        await fetched(pccs, quote)


async def test_one_that_hangs_never_answers(pccs, quote):
    pccs.mood = Mood.HANGS
    with pytest.raises(TimeoutError):
        await fetched(pccs, quote, seconds=0.3)
    assert pccs.asked == 1


@pytest.mark.parametrize(("mood", "reason"), [(Mood.STALE, "Expired"), (Mood.LIES, "InvalidSignature|InvalidCrl")])
async def test_what_is_stale_or_signed_by_somebody_else_does_not_verify(intel, pccs, quote, mood, reason):
    pccs.mood = mood
    collateral = await fetched(pccs, quote)
    with pytest.raises(ValueError, match=reason):
        verify(intel, quote, collateral)
