"""What the backup service of one slot, or whoever stole its keys, can do to the exchange of the other: nothing."""

from dataclasses import replace

import pytest

from sharekeeper.adapters.web_client import WebClient
from sharekeeper.domain.ephemeral import EphemeralKeys, ExchangeId
from sharekeeper.domain.identity import SignerKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import PeerNotAuthenticated, UnknownExchange
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, STRANGER
from tests.protocol.web_values import client, published

from .web_rig import RECORD, Rig


@pytest.fixture
def two(net: Rig) -> Rig:
    """The same, with a second backup service in slot 1."""
    second = BackupServiceKeys(tls_public_key=STRANGER.tls_key, signer_key=SignerKey(b"c" * 32))
    net.chain.record = replace(RECORD, backup_services=(RECORD.backup_services[0], second))
    net.pinned = (BACKUP_SERVICE.tls_key, STRANGER.tls_key)
    return net


async def test_the_service_of_one_slot_cannot_use_up_the_exchange_of_the_other(two, monkeypatch):
    """Exchange ids are public, and both services may ask: but each only for its own exchange."""
    real, other, tried = WebClient.request, two.client(STRANGER), []

    async def request(self, *asked):
        with pytest.raises(UnknownExchange):
            await real(other, *asked)
        tried.append(asked)
        return await real(self, *asked)

    monkeypatch.setattr(WebClient, "request", request)
    await two.fetch()
    await two.hand_out()
    assert len(tried) == 2
    assert two.stored() == 1


async def test_a_record_in_slot_1_that_its_service_did_not_sign_does_not_hold_up_slot_0(two):
    exchange = replace(two.exchange(), backup_service_tls_key=STRANGER.tls_key)
    forged = published(client(exchange, exchange_id=ExchangeId("cc" * 16)))
    two.chain.second = EphemeralKeys(backup_service=forged, node=None)
    await two.fetch()
    assert two.stored() == 1
    assert {fault.code for fault in two.faults.current()} == {"record_forged"}
    assert "cc" * 16 not in {taken.record.exchange_id for taken in two.chain.taken}


async def test_a_service_that_is_no_longer_in_force_is_let_in_no_more_while_the_other_is(two):
    two.pinned = (STRANGER.tls_key,)
    two.chain.record = replace(two.chain.record, backup_services=(None, two.chain.record.backup_services[1]))
    asked = (f"http://127.0.0.1:{two.server.port}", Purpose.BACKUP, ExchangeId("cc" * 16), b"", NODE.tls_key)
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await two.client().request(*asked)
    with pytest.raises(UnknownExchange):
        await two.client(STRANGER).request(*asked)
