"""Attacks on version 2 between a real client and a real server: what crosses the wire, and who owns the keys."""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.adapters.http_signatures import sign_request, sign_response
from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    PeerNotAuthenticated,
    PeerRefused,
    PinChanged,
    ProtocolViolation,
    RecordExpired,
    Reflected,
    SealBroken,
    SharesRefused,
    UnknownExchange,
)
from sharekeeper.protocol.messages import KeyShares, Receipt, encode_message
from sharekeeper.spec import MAX_CLOCK_SKEW_SECONDS
from tests.protocol.exchange_values import BACKUP_SERVICE, KEYSET, NODE, SHARES, STRANGER, keyset, shares_of
from tests.protocol.web_values import changed

from .web_rig import PRIVATE, RECOVERY, RUNNING, exchange_raw, header, published, with_body, with_header

NONCE = bytes(24)


def shares_message(shares=SHARES) -> bytes:
    return encode_message(KeyShares(shares=shares))


# --- what must work ---------------------------------------------------------------------------------


async def test_a_backup_and_a_recovery_travel_and_no_share_or_secret_is_on_the_wire(net):
    assert (await net.fetch()).keyset == KEYSET
    await net.hand_out()
    assert await net.store.staged() == RECOVERY.recovery_id
    assert net.released == 1
    seen = net.on_the_wire()
    secrets = [secret for secret in net.entropy.given if len(secret) == 32]
    assert len(secrets) == 4, "each side made one pair for each exchange"
    for secret in (*PRIVATE, *secrets):
        assert secret not in seen
        assert secret.hex().encode() not in seen.lower()
    assert net.ended == [("backup", "durable"), ("recovery", "durable")]


async def test_each_exchange_has_its_own_id_and_keys(net):
    await net.fetch()
    await net.fetch()
    assert len({record.record.exchange_id for record in net.chain.taken}) == 2
    assert len({record.record.public_key for record in net.chain.taken}) == 4


async def test_a_key_that_is_not_known_any_more_costs_one_refusal_and_one_new_exchange(net):
    def restart(request):
        net.relay.change_request = lambda again: again
        net.web = net.new_node()
        return request

    net.relay.change_request = restart
    assert (await net.fetch()).keyset == KEYSET
    assert len(net.relay.requests) == 2
    assert b"unknown_exchange" in net.relay.responses[0]
    assert header(net.relay.responses[0], "signature") is not None


async def test_a_node_that_never_knows_its_key_is_not_asked_for_ever(net):
    def restart(request):
        net.web = net.new_node()
        return request

    net.relay.change_request = restart
    with pytest.raises(UnknownExchange):
        await net.fetch()
    assert len(net.relay.requests) == 2
    assert net.stored() == 0


# --- replay -------------------------------------------------------------------------------------------


async def test_replay_of_a_request_is_refused(net):
    await net.fetch()
    again = await exchange_raw(net.server.port, net.relay.requests[0])
    assert again.startswith(b"HTTP/1.1 401")
    assert b"replayed" in again
    net.web = net.new_node()
    net.server._nonces = type(net.server._nonces)()
    assert b"unknown_exchange" in await exchange_raw(net.server.port, net.relay.requests[0]), "after a restart too"


async def test_replay_of_an_old_request_is_refused_by_its_time(net):
    late = net.clock.wall_ns() - int((MAX_CLOCK_SKEW_SECONDS + 2) * 1e9)
    request = sign_request(
        "GET", "/shares_backup", ExchangeId("ab" * 16), b"", identity=BACKUP_SERVICE, nonce=bytes(16), now_ns=late
    )
    answer = await exchange_raw(net.server.port, raw(request))
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"replayed" in answer


def raw(request, body=b"") -> bytes:
    lines = [f"{request.method} {request.path} HTTP/1.1", "host: node", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_replay_of_a_response_is_refused(net):
    await net.fetch()
    first = net.relay.responses[0]
    net.relay.change_response = lambda _: first
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
    assert net.stored() == 1


async def test_replay_of_a_sealed_body_is_refused_even_when_the_node_signs_it_again(net):
    await net.fetch()
    old = net.relay.responses[0].partition(b"\r\n\r\n")[2]
    net.as_evil(lambda bodies, body: old)
    with pytest.raises(SealBroken):
        await net.fetch()


# --- reflection -----------------------------------------------------------------------------------------


async def test_reflection_of_the_ephemeral_key_is_refused(net):
    evil = net.as_evil(lambda bodies, body: b"")
    evil.publish = lambda side: changed(published(side), NODE, public_key=side.opening.public_key)
    with pytest.raises(Reflected):
        await net.fetch()


async def test_reflection_of_the_sealed_body_is_refused(net):
    net.as_evil(lambda bodies, body: body)
    with pytest.raises(SealBroken):
        await net.hand_out()


async def test_reflection_of_the_request_is_no_response(net):
    net.relay.change_response = lambda _: with_body(
        with_header(b"HTTP/1.1 200 OK\r\n" + net.relay.requests[0].partition(b"\r\n")[2], "host", None), b"x" * 80
    )
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()


# --- purpose ------------------------------------------------------------------------------------------------


async def test_swap_of_purpose_a_backup_answer_fed_to_a_recovery_is_refused(net):
    await net.fetch()
    backup = net.relay.responses[0].partition(b"\r\n\r\n")[2]
    net.as_evil(lambda bodies, body: backup)
    with pytest.raises(SealBroken):
        await net.hand_out()


async def test_shares_in_place_of_a_receipt_are_refused(net):
    net.as_evil(lambda bodies, body: bodies.seal(shares_message(), NONCE))
    with pytest.raises(ProtocolViolation):
        await net.hand_out()


async def test_swap_of_purpose_a_backup_exchange_takes_no_recovery_request(net):
    net.relay.change_request = lambda request: raw(
        sign_request(
            "POST",
            "/shares_recover",
            ExchangeId(header(request, "sharekeeper-exchange")),
            b"x" * 100,
            identity=BACKUP_SERVICE,
            nonce=bytes(16),
            now_ns=net.clock.wall_ns(),
        ),
        b"x" * 100,
    )
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
    assert b"purpose_differs" in net.relay.responses[0]
    assert await net.store.staged() is None


async def test_an_opening_record_for_a_recovery_is_not_answered_in_running(net):
    net.service_caller.before = lambda args: setattr(net.chain, "state", RUNNING)
    with pytest.raises(RecordExpired):
        await until_expired(net, net.hand_out())
    assert {fault.code for fault in net.faults.current()} == {"purpose_differs"}
    assert not net.released


async def until_expired(net, work):
    """`work`, while the chain goes on until the exchange's time is over."""
    task = asyncio.ensure_future(work)
    for _ in range(200):
        await asyncio.sleep(0.01)
        if task.done():
            break
        net.chain.height += 5
    return await task


# --- the header -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["signature", "signature-input", "content-digest", "sharekeeper-exchange", "authorization and all"]
)
async def test_a_request_whose_header_was_stripped_is_turned_away(net, name):
    names = [name] if name != "authorization and all" else ["signature", "signature-input"]

    def strip(request):
        for each in names:
            request = with_header(request, each, None)
        return request

    net.relay.change_request = strip
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.fetch()
    assert net.ended == []


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
async def test_a_response_whose_header_was_stripped_is_not_believed(net, name):
    net.relay.change_response = lambda response: with_header(response, name, None)
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
    assert net.stored() == 0


@pytest.mark.parametrize("thief", [STRANGER, NODE], ids=["unregistered key", "the node's own key"])
async def test_a_request_signed_by_an_unregistered_key_is_turned_away(net, thief):
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.client(thief).request(
            f"http://127.0.0.1:{net.server.port}", Purpose.BACKUP, ExchangeId("ab" * 16), b"", NODE.tls_key
        )


async def test_a_response_signed_by_an_unregistered_key_is_not_believed(net):
    net.server._identity = STRANGER
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
    assert net.stored() == 0


async def test_a_status_changed_on_the_way_is_noticed(net):
    net.relay.change_response = lambda response: response.replace(b"200 OK", b"409 Conflict")
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()


async def test_an_exchange_id_changed_on_the_way_is_noticed(net):
    net.relay.change_request = lambda request: with_header(request, "sharekeeper-exchange", "ab" * 16)
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.fetch()


async def test_a_second_signature_or_a_second_field_does_not_help(net):
    net.relay.change_request = lambda request: request.replace(b"\r\n\r\n", b"\r\nsharekeeper-exchange: x\r\n\r\n", 1)
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.fetch()


async def test_a_signature_of_another_protocol_with_the_same_key_is_no_request(net):
    net.relay.change_request = lambda request: request.replace(b'tag="sharekeeper-v2"', b'tag="sharekeeper-v1"')
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.fetch()


async def test_no_unregistered_backup_service_is_served_any_more(net):
    net.pinned = ()
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await net.fetch()


async def test_a_pin_that_changes_before_the_first_share_byte_ends_the_exchange(net):
    def change(request):
        net.server._pinned = (net.clock.monotonic(), (BACKUP_SERVICE.tls_key,))
        net.pinned = (STRANGER.tls_key,)
        return request

    net.relay.change_request = change
    with pytest.raises(PeerRefused, match=PinChanged.code):
        await net.fetch()


# --- bodies ------------------------------------------------------------------------------------------------------


async def test_a_request_body_swapped_under_a_good_header_is_refused(net):
    net.relay.change_request = lambda request: request[:-1] + bytes([request[-1] ^ 1])
    with pytest.raises(PeerRefused, match="peer_not_authenticated"):
        await net.hand_out()
    assert await net.store.staged() is None


async def test_a_response_body_swapped_under_a_good_header_is_refused(net):
    net.relay.change_response = lambda response: response[:-1] + bytes([response[-1] ^ 1])
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
    assert net.stored() == 0


async def test_a_sealed_body_of_another_key_signed_by_the_node_is_refused(net):
    net.as_evil(lambda bodies, body: bytes(24) + shares_message())
    with pytest.raises(SealBroken):
        await net.fetch()


async def test_a_receipt_that_names_other_bytes_is_refused(net):
    def lie(bodies, body):
        bodies.open(body)
        receipt = Receipt(role=Role.NODE, exchange=net.exchange(), payload_digest=Sha256Hex.of(b"other"))
        return bodies.seal(encode_message(receipt), NONCE)

    net.as_evil(lie)
    with pytest.raises(ProtocolViolation, match="other bytes"):
        await net.hand_out()


# --- superseded attempts ------------------------------------------------------------------------------------------


async def test_a_node_that_serves_a_superseded_attempt_is_refused(net):
    superseded = keyset(attempt=1)
    net.as_evil(lambda bodies, body: bodies.seal(shares_message(shares_of(superseded)), NONCE))
    with pytest.raises(SharesRefused):
        await net.fetch()
    assert net.stored() == 0


async def test_a_node_that_seals_for_a_superseded_keyset_is_refused(net):
    def behind(bodies, body):
        bodies.transcript = replace(
            bodies.transcript,
            exchange=replace(bodies.transcript.exchange, keyset_digest=keyset(attempt=1).digest()),
        )
        return bodies.seal(shares_message(), NONCE)

    net.as_evil(behind)
    with pytest.raises(SealBroken):
        await net.fetch()


async def test_a_keyset_that_changes_after_the_answer_ends_the_exchange(net):
    def reshared(request):
        net.chain.state = replace(RUNNING, keyset=keyset(epoch=6))
        net.chain.height += 1
        return request

    net.relay.change_request = reshared
    with pytest.raises(PeerRefused, match="views_differ"):
        await net.fetch()


async def test_no_other_keyset_is_sealed_for_an_exchange_than_it_was_opened_for(net):
    newer = keyset(epoch=6)
    await net.store.store_permanent(newer, shares_of(newer))

    def reshared(request):
        net.chain.state = replace(RUNNING, keyset=newer)
        net.chain.height += 1
        return request

    net.relay.change_request = reshared
    with pytest.raises(PeerRefused, match="views_differ"):
        await net.fetch()


async def test_shares_for_one_recovery_are_not_staged_for_the_next(net):
    def next_recovery(request):
        net.chain.state = replace(RECOVERY, recovery_id=RECOVERY.recovery_id + 1)
        net.chain.height += 1
        return request

    net.relay.change_request = next_recovery
    with pytest.raises(PeerRefused, match="views_differ"):
        await net.hand_out()
    assert await net.store.staged() is None


async def test_a_recovery_that_ends_after_the_answer_stages_nothing(net):
    def cancelled(request):
        net.chain.state = RUNNING
        net.chain.height += 1
        return request

    net.relay.change_request = cancelled
    with pytest.raises(PeerRefused, match="views_differ"):
        await net.hand_out()
    assert await net.store.staged() is None


async def test_nothing_leaves_when_the_release_is_refused(net):
    async def refuse(_peer):
        raise PinChanged("the recovery changed")

    net.release = refuse
    with pytest.raises(PinChanged):
        await net.hand_out()
    assert net.relay.requests == []


async def test_a_fault_of_the_nodes_own_is_told_without_its_details(net):
    for path in (net.directory / "keyshares").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.raises(PeerRefused, match="a fault of its own") as error:
        await net.fetch()
    assert "keyshares" not in str(error.value)
    assert {fault.topic for fault in net.faults.current()} == {"exchange"}


async def test_a_response_of_the_right_key_to_another_request_is_not_believed(net):
    """The node signs honestly, for a request of the attacker's own making."""
    other = sign_request(
        "GET",
        "/shares_backup",
        ExchangeId("ab" * 16),
        b"",
        identity=BACKUP_SERVICE,
        nonce=bytes(16),
        now_ns=net.clock.wall_ns(),
    )

    def swap(response):
        body = response.partition(b"\r\n\r\n")[2]
        made = sign_response(200, body, other, identity=NODE, now_ns=net.clock.wall_ns())
        for name in ("signature", "signature-input"):
            value = next(value for key, value in made.headers.items() if key.lower() == name)
            response = with_header(response, name, value)
        return response

    net.relay.change_response = swap
    with pytest.raises(PeerNotAuthenticated):
        await net.fetch()
