"""Version 2 in hard launch, real client and real server: no share before both sides have shown their evidence."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sharekeeper.adapters.http_signatures import sign_request
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    AttestationUnavailable,
    EvidenceExpired,
    PeerFault,
    PeerNotAttested,
    PeerNotAuthenticated,
    PeerRefused,
    ProtocolViolation,
    UnknownExchange,
)
from sharekeeper.protocol.messages import (
    MAX_EVIDENCE_FRAME_BYTES,
    KeyShares,
    ShownEvidence,
    decode_message,
    encode_message,
)
from sharekeeper.protocol.session import Nonces, WebBackupClient, WebRecoveryClient
from sharekeeper.spec import ATTESTATION_PATH
from tests.protocol.attestation_values import CODE, STRANGER, evidence, stamped, verdict
from tests.protocol.exchange_values import BACKUP_SERVICE, KEYSET, NODE, RECOVERY_ID, SHARES, facts

from .evidence_rig import HAND_OUT
from .web_rig import FETCH, PRIVATE, RECOVERY, Rig, exchange_raw, header, rig, with_body

KINDS = pytest.mark.parametrize("kind", ["fetch", "hand_out"])


@pytest.fixture
async def hard(tmp_path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, attested=True) as made:
        yield made


async def run(net, kind):
    return await getattr(net, kind)()


def paths(net):
    return [request.split(b" ")[1].decode() for request in net.relay.requests]


def shows(net, role, **settings):
    """That machine's evidence is bad from now on, and it would not notice."""
    net.tees[role].shows = lambda report_data: evidence(role, report_data, **settings)
    net.tees[role].check = _blind


async def _blind(_evidence, **_settings):
    return verdict()


async def nothing_moved(net):
    """No sealed body travelled."""
    bodies = [message.partition(b"\r\n\r\n")[2] for message in net.relay.requests + net.relay.responses]
    return await net.store.staged() is None and all(not body or body[:1] in b"\4\5" for body in bodies)


# --- what must work -----------------------------------------------------------------------------


async def test_a_backup_travels_after_both_sides_have_shown_evidence(hard):
    assert (await hard.fetch()).keyset == KEYSET
    assert paths(hard) == [ATTESTATION_PATH, "/shares_backup"]
    assert [len(tee.made) for tee in hard.tees.values()] == [1, 1]
    assert not any(secret in hard.on_the_wire() for secret in PRIVATE)


async def test_a_recovery_is_released_with_the_verdict_on_the_nodes_evidence(hard):
    await hard.hand_out()
    assert paths(hard) == [ATTESTATION_PATH, "/shares_recover"]
    assert [peer.code_hash for peer in hard.verdicts] == [CODE[Role.NODE]]
    assert await hard.store.staged() == RECOVERY_ID
    assert hard.ended == [("recovery", "durable")]


async def test_the_ephemeral_keys_of_the_exchange_are_the_nonces(hard):
    await hard.fetch()
    opening, answer = (published.record.public_key.raw for published in hard.chain.taken)
    session = WebBackupClient(**facts(), nonces=Nonces(own=opening, peer=answer))
    for side, machine in ((Role.BACKUP_SERVICE, Role.NODE), (Role.NODE, Role.BACKUP_SERVICE)):
        assert (side, session.report_data(side)) in [asked[:2] for asked in hard.tees[machine].checked]


async def test_evidence_on_the_wire_is_signed_by_the_pinned_keys_of_both_sides(hard):
    await hard.fetch()
    assert f'keyid="{BACKUP_SERVICE.tls_key}"' in header(hard.relay.requests[0], "signature-input")
    assert f'keyid="{NODE.tls_key}"' in header(hard.relay.responses[0], "signature-input")


# --- evidence that a check refuses --------------------------------------------------------------

BAD = {"quote": {"vendor": STRANGER}, "image digest": {"code": CODE[Role.NODE].replace("a1", "cc")}}


@pytest.mark.parametrize("check", list(BAD))
@KINDS
async def test_a_backup_service_whose_evidence_fails_gets_no_quote_and_no_share(hard, kind, check):
    shows(hard, Role.BACKUP_SERVICE, **BAD[check])
    with pytest.raises(PeerRefused, match=rf"check \d+ \({check}\).*not_attested_{check.replace(' ', '_')}"):
        await run(hard, kind)
    assert hard.tees[Role.NODE].made == []
    assert paths(hard) == [ATTESTATION_PATH]
    assert await nothing_moved(hard)
    assert hard.ended == [("backup" if kind == "fetch" else "recovery", "peer_not_attested")]
    assert [fault.alarm for fault in hard.faults.current()] == [True]


@pytest.mark.parametrize("check", list(BAD))
@KINDS
async def test_a_node_whose_evidence_fails_gets_no_share_and_learns_which_check(hard, kind, check):
    shows(hard, Role.NODE, **BAD[check])
    with pytest.raises(PeerNotAttested, match=rf"\({check}\)"):
        await run(hard, kind)
    assert paths(hard) == [ATTESTATION_PATH, ATTESTATION_PATH]
    told = decode_message(hard.relay.requests[1].partition(b"\r\n\r\n")[2])
    assert told.code == f"not_attested_{check.replace(' ', '_')}"
    assert hard.ended == [("backup" if kind == "fetch" else "recovery", "peer_refused")]
    assert hard.released == 0
    assert await nothing_moved(hard)


@pytest.mark.parametrize("missing", list(Role))
@KINDS
async def test_without_a_valid_stamp_on_the_contract_a_good_quote_is_worth_nothing(hard, kind, missing):
    left = BACKUP_SERVICE if missing is Role.NODE else NODE
    hard.chain.record = replace(hard.chain.record, evidence=stamped(left.tls_key))
    with pytest.raises(PeerFault, match=f"no valid evidence of .*: the {missing} there must register its own"):
        await run(hard, kind)
    assert await nothing_moved(hard)


# --- the order ------------------------------------------------------------------------------------


async def opened(net, kind="fetch"):
    """The id of an exchange that both sides agreed on, and the client that would go on with it."""
    ids = []

    class Silent(Exception):
        pass

    exchanges = net.exchanges()
    web = exchanges.ports.web
    real = web.attest

    async def stop(_url, exchange_id, frame, _peer):
        ids.append((exchange_id, frame))
        raise Silent

    web.attest = stop
    with contextlib.suppress(Silent):
        if kind == "fetch":
            await exchanges.fetch(FETCH)
        else:
            net.chain.state = RECOVERY
            await net.vault.store(KEYSET, SHARES, NODE.tls_key)
            await exchanges.hand_out(HAND_OUT, net.release)
    web.attest = real
    return web, f"http://127.0.0.1:{net.relay.port}", *ids[0]


@pytest.mark.parametrize(("kind", "purpose"), [("fetch", Purpose.BACKUP), ("hand_out", Purpose.RECOVERY)])
async def test_shares_asked_or_sent_without_evidence_are_refused(hard, kind, purpose):
    web, url, exchange_id, _ = await opened(hard, kind)
    reads = []
    hard.store.read = reads.append
    with pytest.raises(PeerRefused, match="no share travels before both sides have shown their evidence"):
        await web.request(url, purpose, exchange_id, b"" if kind == "fetch" else b"x" * 100, NODE.tls_key)
    assert reads == []
    assert await nothing_moved(hard) or kind == "hand_out"
    assert await hard.store.staged() is None


async def test_shares_asked_while_the_evidence_is_still_being_checked_are_refused(hard):
    web, url, exchange_id, frame = await opened(hard)
    checking, go_on = asyncio.Event(), asyncio.Event()
    check = hard.tees[Role.NODE].check

    async def slow(*args, **settings):
        checking.set()
        await go_on.wait()
        return await check(*args, **settings)

    hard.tees[Role.NODE].check = slow
    attesting = asyncio.create_task(web.attest(url, exchange_id, frame, NODE.tls_key))
    await asyncio.wait_for(checking.wait(), 5)
    with pytest.raises(PeerRefused, match="no share travels before"):
        await web.request(url, Purpose.BACKUP, exchange_id, b"", NODE.tls_key)
    go_on.set()
    assert isinstance(decode_message(await attesting), ShownEvidence)


async def test_evidence_is_shown_once_in_an_exchange(hard):
    web, url, exchange_id, frame = await opened(hard)
    await web.attest(url, exchange_id, frame, NODE.tls_key)
    with pytest.raises(PeerRefused, match="a ShownEvidence out of order"):
        await web.attest(url, exchange_id, frame, NODE.tls_key)
    with pytest.raises(UnknownExchange):
        await web.request(url, Purpose.BACKUP, exchange_id, b"", NODE.tls_key)
    assert len(hard.tees[Role.NODE].made) == 1


async def test_evidence_shown_in_an_earlier_exchange_lets_no_share_leave_in_the_next(hard):
    web, url, earlier, frame = await opened(hard)
    await web.attest(url, earlier, frame, NODE.tls_key)
    web, url, exchange_id, _ = await opened(hard)
    assert exchange_id != earlier
    with pytest.raises(PeerRefused, match="no share travels before both sides have shown their evidence"):
        await web.request(url, Purpose.BACKUP, exchange_id, b"", NODE.tls_key)
    assert await nothing_moved(hard)


async def test_an_exchange_whose_time_is_over_is_shown_no_evidence(hard):
    web, url, exchange_id, frame = await opened(hard)
    attest = hard.web.attest

    async def late(*args):
        hard.turning = False
        hard.chain.height += 10_000
        return await attest(*args)

    hard.web.attest = late
    with pytest.raises(PeerRefused, match="record_expired"):
        await web.attest(url, exchange_id, frame, NODE.tls_key)
    assert hard.tees[Role.NODE].made == []


async def test_evidence_of_an_earlier_exchange_replayed_into_a_new_one_is_refused(hard):
    await hard.fetch()
    old = hard.relay.requests[0].partition(b"\r\n\r\n")[2]
    web, url, exchange_id, frame = await opened(hard)
    assert frame != old
    with pytest.raises(PeerRefused, match="not_attested_report_data"):
        await web.attest(url, exchange_id, old, NODE.tls_key)


async def test_evidence_that_comes_twice_at_once_is_answered_once_at_most(hard):
    web, url, exchange_id, frame = await opened(hard)
    at_once = hard.chain.ephemeral_keys

    async def slowly(*asked):
        await asyncio.sleep(0.05)
        return await at_once(*asked)

    hard.chain.ephemeral_keys = slowly
    twice = (client.attest(url, exchange_id, frame, NODE.tls_key) for client in (web, hard.client()))
    answers = await asyncio.gather(*twice, return_exceptions=True)
    assert any(isinstance(answer, PeerRefused | UnknownExchange) for answer in answers)
    assert len(hard.tees[Role.NODE].made) <= 1


async def test_a_request_with_evidence_captured_and_sent_again_is_refused(hard):
    await hard.fetch()
    answer = await exchange_raw(hard.server.port, hard.relay.requests[0])
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"replayed" in answer


async def test_shares_in_the_place_of_evidence_are_refused_and_kept_nowhere(hard):
    web, url, exchange_id, frame = await opened(hard, "hand_out")
    with pytest.raises(PeerRefused, match="a KeyShares out of order"):
        await web.attest(url, exchange_id, encode_message(KeyShares(shares=SHARES)), NODE.tls_key)
    web, url, exchange_id, frame = await opened(hard, "hand_out")
    await web.attest(url, exchange_id, frame, NODE.tls_key)
    with pytest.raises(PeerRefused, match="something else than its evidence"):
        await web.attest(url, exchange_id, encode_message(KeyShares(shares=SHARES)), NODE.tls_key)
    assert await hard.store.staged() is None


async def test_evidence_for_an_exchange_that_is_not_under_way_is_refused(hard):
    web, url, exchange_id, frame = await opened(hard)
    other = type(exchange_id)("ab" * 16)
    with pytest.raises(UnknownExchange):
        await web.attest(url, other, frame, NODE.tls_key)


async def test_evidence_from_somebody_the_contract_does_not_name_is_not_read(hard):
    _, url, exchange_id, frame = await opened(hard)
    with pytest.raises(PeerNotAuthenticated, match="401"):
        await hard.client(STRANGER).attest(url, exchange_id, frame, NODE.tls_key)
    assert hard.tees[Role.NODE].checked == []


# --- sizes ------------------------------------------------------------------------------------------


async def test_evidence_that_announces_too_many_bytes_is_refused_unread(hard):
    _, _, exchange_id, _ = await opened(hard)
    body = b"\5" + b" " * MAX_EVIDENCE_FRAME_BYTES
    signed = sign_request(
        "POST",
        ATTESTATION_PATH,
        exchange_id,
        body,
        identity=BACKUP_SERVICE,
        nonce=bytes(16),
        now_ns=hard.clock.wall_ns(),
    )
    lines = [f"POST {ATTESTATION_PATH} HTTP/1.1", "Host: node", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in signed.headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode()
    answer = await exchange_raw(hard.server.port, head)
    assert answer.startswith(b"HTTP/1.1 409")
    assert f"announced a body of {len(body)} bytes; {MAX_EVIDENCE_FRAME_BYTES} are allowed".encode() in answer


async def test_an_answer_of_too_many_bytes_is_given_up(hard):
    evil = hard.as_evil(lambda bodies, body: b"")
    evil.shows = lambda body: b"\5" + b" " * MAX_EVIDENCE_FRAME_BYTES
    with pytest.raises(ProtocolViolation, match=f"more than {MAX_EVIDENCE_FRAME_BYTES} bytes"):
        await hard.fetch()


# --- nodes that lie ---------------------------------------------------------------------------------


async def test_a_node_that_sends_our_own_quote_back_gets_no_share(hard):
    hard.as_evil(lambda bodies, body: b"")
    with pytest.raises(PeerNotAttested, match="report data"):
        await hard.hand_out()
    assert hard.released == 0
    assert not any("recover" in path for path in paths(hard))


async def test_a_node_that_answers_evidence_with_shares_is_refused(hard):
    evil = hard.as_evil(lambda bodies, body: b"")
    evil.shows = lambda body: encode_message(KeyShares(shares=SHARES))
    with pytest.raises(ProtocolViolation, match="a KeyShares out of order"):
        await hard.fetch()
    assert hard.stored() == 0


async def test_a_node_without_evidence_is_refused_whatever_it_would_serve(hard):
    """The client never asks for shares where the evidence was not answered with evidence."""
    evil = hard.as_evil(lambda bodies, body: b"")

    def refuse(_body):
        raise ProtocolViolation("this node shows no evidence")

    evil.shows = refuse
    with pytest.raises(PeerRefused, match="shows no evidence"):
        await hard.fetch()
    assert set(paths(hard)) == {ATTESTATION_PATH}


async def test_evidence_changed_on_the_way_is_not_believed(hard):
    hard.relay.change_response = lambda message: with_body(message, message.partition(b"\r\n\r\n")[2][:-2] + b"1}")
    with pytest.raises(PeerNotAuthenticated):
        await hard.fetch()
    assert json.loads(encode_message(ShownEvidence(evidence=hard.tees[Role.NODE].made[0]))[1:])


@pytest.mark.parametrize("soft", list(Role))
@KINDS
async def test_launches_do_not_mix(tmp_path, kind, soft):
    async with rig(tmp_path, attested=True) as net:
        net.mutual[soft] = None
        net.web = net.new_node()
        with pytest.raises(PeerRefused, match=r"one side is attested, the other is not|no share travels before both"):
            await run(net, kind)
        assert await net.store.staged() is None
        assert net.vault.index() == () or kind == "hand_out"


# --- time and trouble -------------------------------------------------------------------------------


async def test_evidence_that_expires_before_the_release_is_over_lets_no_share_leave(hard):
    hard.tees[Role.BACKUP_SERVICE].valid_seconds = 0
    with pytest.raises(EvidenceExpired):
        await hard.hand_out()
    assert "/shares_recover" not in paths(hard)


@pytest.mark.parametrize("kind", ["fetch", "hand_out"])
async def test_evidence_that_expired_at_the_node_lets_no_share_leave_and_none_be_staged(hard, kind):
    hard.tees[Role.NODE].valid_seconds = 0
    with pytest.raises(PeerRefused, match="evidence_expired"):
        await run(hard, kind)
    assert await hard.store.staged() is None
    assert not any(len(response) > 20_000 for response in hard.relay.responses)


async def test_evidence_that_expires_while_the_node_reads_its_shares_lets_none_leave(hard):
    read, wall_ns = hard.store.read, hard.clock.wall_ns

    async def an_hour_long(keyset):
        found = await read(keyset)
        hard.clock.wall_ns = lambda: wall_ns() + 3600 * 10**9
        return found

    hard.store.read = an_hour_long
    with pytest.raises(PeerFault):
        await hard.fetch()
    assert hard.ended == [("backup", "evidence_expired")]
    assert await nothing_moved(hard)


@KINDS
async def test_a_node_that_cannot_attest_says_no_more_than_that(hard, kind):
    hard.tees[Role.NODE].fault = AttestationUnavailable("no guest agent at /run/dstack.sock")
    with pytest.raises(PeerRefused, match=r"a fault of its own.*attestation_unavailable"):
        await run(hard, kind)
    assert b"dstack" not in hard.on_the_wire()
    assert [fault.topic for fault in hard.faults.current()] == ["exchange"]


async def test_a_restart_between_evidence_and_shares_makes_the_exchange_unknown(hard):
    web, url, exchange_id, frame = await opened(hard)
    await web.attest(url, exchange_id, frame, NODE.tls_key)
    hard.web = hard.new_node()
    with pytest.raises(UnknownExchange):
        await web.request(url, Purpose.BACKUP, exchange_id, b"", NODE.tls_key)


async def test_a_pin_that_changed_since_the_evidence_stops_the_shares(hard):
    web, url, exchange_id, frame = await opened(hard)
    await web.attest(url, exchange_id, frame, NODE.tls_key)
    serve = hard.web.serve

    async def unpinned(*args):
        hard.pinned = ()
        return await serve(*args)

    hard.web.serve = unpinned
    with pytest.raises(PeerRefused, match="pin_changed"):
        await web.request(url, Purpose.BACKUP, exchange_id, b"", NODE.tls_key)


async def test_a_pin_that_changed_since_the_request_began_is_shown_no_evidence(hard):
    web, url, exchange_id, frame = await opened(hard)
    attest = hard.web.attest

    async def unpinned(*args):
        hard.pinned = ()
        return await attest(*args)

    hard.web.attest = unpinned
    with pytest.raises(PeerRefused, match="pin_changed"):
        await web.attest(url, exchange_id, frame, NODE.tls_key)
    assert hard.tees[Role.NODE].made == []


def test_a_session_of_version_2_in_hard_launch_does_not_begin_ready():
    session = WebRecoveryClient(**facts(recovery_id=RECOVERY_ID), nonces=Nonces(own=b"a" * 32, peer=b"b" * 32))
    with pytest.raises(RuntimeError, match="does not send a KeyShares"):
        session.send_shares(SHARES)
