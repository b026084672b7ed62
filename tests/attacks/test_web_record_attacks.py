"""Attacks on version 2's records: what a stolen account key, or a node that lies, can put on the contract."""

import asyncio

import pytest

from sharekeeper.domain.ephemeral import X25519Key
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    PeerNotAuthenticated,
    PeerRefused,
    RecordExpired,
    RecordForeign,
    RecordForged,
    RecordReplaced,
    UnknownExchange,
    WeakKey,
)
from sharekeeper.protocol.key_exchange import KeyExchange, KeyExchangeClient, KeyExchangeServer
from sharekeeper.protocol.sealed_body import SealedBodies
from sharekeeper.spec import EPHEMERAL_KEY_BLOCKS
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, STRANGER
from tests.protocol.web_values import changed, signed

from .web_rig import PRIVATE, published


def published_by_thief(change):
    """The honest record, rewritten and signed anew by a thief's key: he holds the account key, not the TLS key."""

    def publish(side):
        return changed(published(side), STRANGER, **change(side))

    return publish


@pytest.mark.parametrize(
    ("publish", "fault"),
    [
        (published_by_thief(lambda side: {"public_key": X25519Key(b"t" * 32)}), RecordForged),
        (lambda side: signed(side.record, None, signature=bytes(64)), RecordForged),
        (lambda side: changed(published(side), NODE, account_id=AccountId("bob.test.near")), RecordForeign),
        (lambda side: changed(published(side), NODE, expires_on=900), RecordExpired),
        (lambda side: changed(published(side), NODE, answers=Sha256Hex.of(b"before")), RecordReplaced),
    ],
    ids=["thief's key", "unsigned", "another account", "expired", "reused for another opening"],
)
async def test_an_answer_on_the_contract_that_is_not_the_nodes_to_this_exchange_is_refused(net, publish, fault):
    evil = net.as_evil(lambda bodies, body: b"")
    evil.publish = publish
    with pytest.raises(fault):
        await net.fetch()
    with pytest.raises(fault):
        await net.hand_out()
    assert net.relay.requests == []
    assert net.released == 0


@pytest.mark.parametrize("how", ["thief", "unsigned", "another account"])
async def test_an_opening_record_that_is_not_the_backup_services_is_never_answered(net, how):
    net.turning = False
    fetching = asyncio.ensure_future(net.fetch())
    while net.chain.ephemeral.backup_service is None:
        await asyncio.sleep(0.005)
    opening = net.chain.ephemeral.backup_service
    match how:
        case "thief":
            net.chain.put(changed(opening, STRANGER, public_key=X25519Key(b"t" * 32)))
        case "unsigned":
            net.chain.put(signed(opening.record, None, signature=bytes(64)))
        case _:
            net.chain.put(changed(opening, BACKUP_SERVICE, account_id=AccountId("bob.test.near")))
    net.turning = True
    while not net.faults.current():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert net.chain.ephemeral.node is None
    assert {fault.code for fault in net.faults.current()} <= {"record_forged", "record_foreign"}
    fetching.cancel()
    await asyncio.wait({fetching})


async def test_an_opening_record_replaced_between_the_two_halves_ends_the_exchange(net):
    def replace_opening(_args):
        thief = changed(net.chain.ephemeral.backup_service, STRANGER, public_key=X25519Key(b"t" * 32))
        net.chain.put(thief)

    net.node_caller.before = replace_opening
    with pytest.raises(RecordReplaced):
        await net.fetch()
    assert net.stored() == 0
    assert net.relay.requests == []


async def test_an_answer_replaced_after_it_was_final_ends_the_exchange_at_the_node(net):
    def replace_answer(request):
        net.chain.put(changed(net.chain.ephemeral.node, STRANGER, public_key=X25519Key(b"t" * 32)))
        return request

    net.relay.change_request = replace_answer
    with pytest.raises(PeerRefused, match="record_replaced"):
        await net.fetch()
    assert not any(secret in net.on_the_wire() for secret in PRIVATE)


async def test_an_expired_key_serves_nothing(net):
    def late(request):
        net.turning = False
        net.chain.height += EPHEMERAL_KEY_BLOCKS
        return request

    net.relay.change_request = late
    with pytest.raises((PeerRefused, RecordExpired), match=r"expired|time of exchange"):
        await net.fetch()
    assert net.stored() == 0


async def test_a_used_key_serves_nothing_more(net):
    await net.fetch()
    exchange_id = net.chain.ephemeral.backup_service.record.exchange_id
    with pytest.raises(UnknownExchange):
        await net.client().request(
            f"http://127.0.0.1:{net.server.port}", Purpose.BACKUP, exchange_id, b"", NODE.tls_key
        )


async def test_an_all_zero_shared_secret_is_refused(net):
    evil = net.as_evil(lambda bodies, body: b"")
    evil.publish = lambda side: changed(published(side), NODE, public_key=X25519Key(bytes(32)))
    with pytest.raises(WeakKey):
        await net.fetch()


async def test_the_keys_of_both_directions_are_forgotten_at_the_end_of_each_exchange(net, monkeypatch):
    derived = []
    real = SealedBodies.__init__

    def remembering(bodies, *given, **keys):
        derived.append(bodies)
        real(bodies, *given, **keys)

    monkeypatch.setattr(SealedBodies, "__init__", remembering)
    await net.fetch()
    net.relay.change_response = lambda response: response[:-1] + bytes([response[-1] ^ 1])
    with pytest.raises(PeerNotAuthenticated):
        await net.hand_out()
    assert len(derived) == 4
    assert all((bodies._receive, bodies._send) == (None, None) for bodies in derived)


async def test_every_pair_is_forgotten_whether_its_exchange_succeeded_or_not(net, monkeypatch):
    sides = []
    real = KeyExchange.__init__

    def remembering(side, exchange, **given):
        sides.append(side)
        real(side, exchange, **given)

    monkeypatch.setattr(KeyExchange, "__init__", remembering)
    await net.fetch()

    def replace_answer(request):
        net.chain.put(changed(net.chain.ephemeral.node, STRANGER, public_key=X25519Key(b"t" * 32)))
        return request

    net.relay.change_request = replace_answer
    with pytest.raises(PeerRefused):
        await net.fetch()
    honest = [side for side in sides if isinstance(side, KeyExchangeServer)]
    net.as_evil(lambda bodies, body: b"").publish = lambda side: signed(side.record, STRANGER)
    with pytest.raises(RecordForged):
        await net.fetch()
    opened = [side for side in sides if isinstance(side, KeyExchangeClient)]
    assert (len(opened), len(honest)) == (3, 2)
    assert all(side.forgotten for side in (*opened, *honest))
