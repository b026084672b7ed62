"""Key generation and resharing by reference nodes over real TLS, on a real dev chain, against the real contract."""

import asyncio
import logging
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sharekeeper.adapters import keyshare_store
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import DomainKey, KeyEventId, Sha256Hex
from sharekeeper.domain.keyshare import ORDER
from sharekeeper.domain.protocol_state import Initializing, Resharing, Running, running_part
from sharekeeper.errors import PeerFault, PeerRefused
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.channels import PeerLine, RequestRefused
from sharekeeper_devnet.network.curves import GROUPS, lagrange, scalar_from_bytes
from sharekeeper_devnet.network.dealer import deal
from sharekeeper_devnet.network.messages import (
    AgreementRequest,
    DealingReply,
    DealingRequest,
    Message,
    Refusal,
    ShareReply,
    ShareRequest,
    encode,
)
from sharekeeper_devnet.network.sharing import check_dealing
from sharekeeper_devnet.network.standing import decide_attempt
from tests.network.making_keys import (
    NodeProcess,
    add_domains,
    announce,
    files_of,
    participant,
    processes,
    propose,
    start_process,
    state_of,
    until_state,
    vote,
)
from tests.network.rehearsal import Operator, Rehearsal, rehearsal

NAMES = ("alice", "bob", "carol")
NEW_SET = {"alice": 0, "bob": 1, "carol": 2, "dave": 3}
PACKAGE = "sharekeeper_devnet.network"


@pytest.fixture
async def nothing(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    """A contract without domains, three participants and one candidate-to-be."""
    async with rehearsal(
        tmp_path, domains=0, candidates=("dave",), config={"key_event_timeout_blocks": 100}
    ) as running:
        yield running


async def test_a_network_starts_from_nothing_reshapes_and_signs_with_the_same_key(nothing: Rehearsal) -> None:
    await nothing.start(*NAMES)
    await add_domains(nothing, ("alice", "bob"))
    running = await until_state(nothing, Running, where=lambda state: state.keyset.domains)
    assert [domain.public_key.curve for domain in running.keyset.domains] == ["Secp256k1", "Ed25519", "Bls12381"]
    first = await nothing.sign(b"generated")
    for name in NAMES:
        await nothing.wait_for(lambda name=name: only_files(nothing, name, f"5-{running.keyset.digest()}.json"))

    await nothing.start("dave")
    await announce(nothing, "dave")
    await propose(nothing, ("alice", "bob"), NEW_SET, 3, {"0": 3, "1": 3, "2": 3})
    new = await until_state(nothing, Running, where=lambda state: state.keyset.epoch_id == 6)
    assert [domain.public_key for domain in new.keyset.domains] == [
        domain.public_key for domain in running.keyset.domains
    ]
    assert len(new.participants.members) == 4
    for name in NEW_SET:
        await nothing.wait_for(lambda name=name: only_files(nothing, name, f"6-{new.keyset.digest()}.json"))
    await nothing.kill("alice")
    assert (await nothing.sign(b"reshared")).public_key == first.public_key


def only_files(network: Rehearsal, name: str, *permanent: str) -> bool:
    """That operator's shares are those in use, and none is held besides."""
    return files_of(network, name, "permanent") == [*permanent] and files_of(network, name, "temporary") == []


async def test_nodes_killed_in_a_key_generation_cost_one_attempt_at_most(nothing: Rehearsal) -> None:
    async with processes(nothing, *NAMES) as nodes:
        await nodes["alice"].until_logged(" signing ")
        await add_domains(nothing, ("alice", "bob"), kinds=("CaitSith", "Frost"))
        await nodes["alice"].until_logged("attempt started")
        await nodes["carol"].kill()  # before it can have voted for domain 0, or right after
        most = [1 + await restarted(nothing, nodes, "carol", domain_id=0)]
        await nodes["bob"].until_logged("share held epoch_id=5 domain_id=1")
        await nodes["bob"].kill()  # its share is on disk, its vote may be on the way
        most.append(1 + await restarted(nothing, nodes, "bob", domain_id=1))
        running = await until_state(nothing, Running, where=lambda state: state.keyset.domains)
        assert all(domain.attempt <= limit for domain, limit in zip(running.keyset.domains, most, strict=True))
        assert len((await nothing.sign(b"after kills")).signature) == 64
        assert "Traceback" not in "".join(node.log() for node in nodes.values())


async def restarted(network: Rehearsal, nodes: dict[str, NodeProcess], name: str, *, domain_id: int) -> int:
    """The node takes part again; returns the attempt at that domain then in progress, or that made its key."""
    nodes[name] = await start_process(network, name)
    await nodes[name].until_logged(" height=", " making keys ")
    state = await state_of(network)
    if isinstance(state, Initializing) and state.generating.domain.domain_id == domain_id:
        return max(0, state.generating.next_attempt_id - 1)
    keyset = running_part(state).keyset
    return next(domain.attempt for domain in keyset.domains if domain.domain_id == domain_id)


async def test_a_dead_holder_and_a_killed_newcomer_do_not_stop_a_resharing(tmp_path: Path) -> None:
    settings = {"key_event_timeout_blocks": 100}
    async with rehearsal(tmp_path, candidates=("dave",), config=settings) as network:
        before = await until_state(network, Running)
        await network.start("alice", "bob")
        await announce(network, "dave")
        async with processes(network, "dave") as nodes:
            members = {"alice": 0, "bob": 1, "dave": 3}
            await propose(network, ("alice", "bob"), members, 2, {})
            await nodes["dave"].until_logged("making keys")
            await nodes["dave"].kill()
            nodes["dave"] = await start_process(network, "dave")
            after = await until_state(network, Running, where=lambda state: state.keyset.epoch_id == 6)
            assert [key.public_key for key in after.keyset.domains] == [key.public_key for key in before.keyset.domains]
            await network.kill("bob")
            assert len((await network.sign(b"alice and dave")).signature) == 64
        old = files_of(network, "carol", "permanent")
        assert old == [f"5-{before.keyset.digest()}.json"]
        await network.start("carol")  # it was dead, and is no participant any more
        async with asyncio.timeout(10):
            while files_of(network, "carol", "permanent"):
                await asyncio.sleep(0.05)


async def test_a_holder_that_leaves_deals_for_one_that_lost_its_share(tmp_path: Path) -> None:
    async with rehearsal(tmp_path, candidates=("dave",)) as network:
        before = await until_state(network, Running)
        shutil.rmtree(network.operators["bob"].keyshares_dir)
        await network.start(*NEW_SET)
        await announce(network, "dave")
        await propose(network, ("alice", "bob"), {"alice": 0, "bob": 1, "dave": 3}, 2, {"1": 3})
        after = await until_state(network, Running, where=lambda state: state.keyset.epoch_id == 6)
        assert [key.public_key for key in after.keyset.domains] == [key.public_key for key in before.keyset.domains]
        assert len((await network.sign(b"all three")).signature) == 64
        await network.wait_for(lambda: not files_of(network, "carol", "permanent"))


def lie_in_first_attempt(network: Rehearsal, liar: str) -> None:
    """The node of `liar` sends wrong shares while attempt 0 lasts."""
    events = network.operators[liar].node._key_events
    honest = events.answer

    def answer(peer, question):
        reply = honest(peer, question)
        if isinstance(reply, ShareReply) and events._attempt.key_event.attempt_id == 0:
            return ShareReply(share=Secret(b"\x05" + bytes(31)))
        return reply

    events.answer = answer


async def test_a_lying_node_is_named_and_the_next_attempt_goes_on_without_the_lie(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=PACKAGE)
    settings = {"key_event_timeout_blocks": 35}
    async with rehearsal(tmp_path, domains=0, config=settings) as network:
        await network.start(*NAMES)
        lie_in_first_attempt(network, "bob")
        await add_domains(network, ("alice", "bob"), kinds=("Frost",))
        running = await until_state(network, Running, where=lambda state: state.keyset.domains)
        assert running.keyset.domains[0].attempt >= 1
        lost = [record.facts for record in caplog.records if record.getMessage() == "attempt lost"]
        assert {facts["peer"] for facts in lost} == {"bob.test.near"}
        assert "sent a share that does not fit its commitments" in lost[0]["reason"]
        assert len((await network.sign(b"no lie")).signature) == 64


async def test_a_cancelled_key_generation_and_resharing_leave_the_old_shares_and_no_others(tmp_path: Path) -> None:
    async with rehearsal(tmp_path, candidates=("dave",)) as network:
        before = await until_state(network, Running)
        held = [f"5-{before.keyset.digest()}.json"]
        await network.start("alice", "bob")
        await add_domains(network, ("alice", "bob"), first=2, kinds=("Frost",))
        await until_state(network, Initializing, where=lambda state: state.generating.instance is not None)
        await vote(network, ("alice", "bob"), "vote_cancel_keygen", {"next_domain_id": 3})
        assert (await until_state(network, Running)).keyset == before.keyset

        await announce(network, "dave")
        await propose(network, ("alice", "bob"), {"alice": 0, "bob": 1, "dave": 3}, 2, {})
        await until_state(network, Resharing, where=lambda state: state.resharing.instance is not None)
        await vote(network, ("alice", "bob"), "vote_cancel_resharing", {})
        assert (await until_state(network, Running)).keyset == before.keyset
        assert len((await network.sign(b"as before")).signature) == 64
        for name in ("alice", "bob"):
            await network.wait_for(lambda name=name: only_files(network, name, *held))


async def test_nothing_a_node_receives_or_writes_in_a_resharing_is_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, written = record(monkeypatch)
    async with rehearsal(tmp_path, candidates=("dave",)) as network:
        before = await until_state(network, Running)
        keys = [await private_key(network, before, domain) for domain in before.keyset.domains]
        written.clear()  # the dealer's work
        await network.start(*NEW_SET)
        await announce(network, "dave")
        await propose(network, ("alice", "bob"), NEW_SET, 3, {"0": 3, "1": 3})
        await until_state(network, Running, where=lambda state: state.keyset.epoch_id == 6)
        await network.wait_for(lambda: all(files_of(network, name, "permanent")[0][0] == "6" for name in NEW_SET))
    for operator in network.operators.values():
        told = received[operator.tls.tls_key]
        assert len([reply for reply in told if isinstance(reply, ShareReply)]) >= 2  # of each domain, at least one
        on_disk = b"".join(data for path, data in written if path.is_relative_to(operator.keyshares_dir))
        assert on_disk.count(b"private_share") >= 2 * len(keys)  # held, then in use
        everything = b"".join(encode(reply) for reply in told) + on_disk
        for key in keys:
            for order in ("big", "little"):
                assert key.to_bytes(32, order).hex().encode() not in everything


def record(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[TlsKey, list[Message]], list[tuple[Path, bytes]]]:
    """Every answer each node gets, by its TLS key, and every key-share file anyone writes, by path."""
    received: dict[TlsKey, list[Message]] = {}
    written: list[tuple[Path, bytes]] = []
    honest_ask, honest_write = PeerLine.ask, keyshare_store.write_file

    async def ask(line, question, kind):
        reply = await honest_ask(line, question, kind)
        received.setdefault(line._identity.tls_key, []).append(reply)
        return reply

    def write_file(path, data, **options):
        written.append((path, data))
        honest_write(path, data, **options)

    monkeypatch.setattr(PeerLine, "ask", ask)
    monkeypatch.setattr(keyshare_store, "write_file", write_file)
    return received, written


async def private_key(network: Rehearsal, running: Running, domain: DomainKey) -> int:
    """The private key of the domain, put together from two dealt shares as nobody in the network ever does."""
    curve, total = domain.public_key.curve, 0
    for index, name in enumerate(("alice", "bob")):
        shares = await DirectoryKeyShareStore(network.operators[name].keyshares_dir).read(running.keyset)
        share = next(share for share in shares if share.key_id.domain_id == domain.domain_id)
        total += scalar_from_bytes(curve, share.private_share.reveal()) * lagrange(curve, index + 1, [1, 2])
    key = total % ORDER[curve]
    assert GROUPS[curve].base_multiple(key) == domain.public_key.share_form()
    return key


async def test_only_recipients_of_the_attempt_in_progress_get_answers(nothing: Rehearsal) -> None:
    await nothing.start("alice", "bob")  # carol is missing: the attempt stays in progress
    await add_domains(nothing, ("alice", "bob"), kinds=("Frost",))
    state = await until_state(nothing, Initializing, where=lambda state: state.generating.instance is not None)
    network_id = await (await nothing.rpc()).network()
    attempt = decide_attempt(state, state.generating, network_id, state.generating.instance.started_in)
    alice, carol, dave = (nothing.operators[name] for name in ("alice", "carol", "dave"))

    async def asked(who: Operator, question: Message, kind: type[Message]) -> Message:
        line = PeerLine(who.tls, participant(alice, 0))
        try:
            return await line.ask(question, kind)
        finally:
            line.close()

    await nothing.wait_for(lambda: alice.node._key_events._session is not None)
    reply = await asked(carol, DealingRequest(attempt=attempt.digest()), DealingReply)
    check_dealing(attempt, 0, reply.dealing)
    for question, reason in [
        (DealingRequest(attempt=Sha256Hex("00" * 32)), "not at that attempt"),
        (AgreementRequest(attempt=attempt.digest()), "not yet: this node waits for dealings"),
        (ShareRequest(attempt=attempt.digest()), "not yet: this node waits for dealings"),
    ]:
        with pytest.raises(PeerRefused, match=reason):
            await asked(carol, question, DealingReply)
    with pytest.raises(PeerFault):
        await asked(dave, DealingRequest(attempt=attempt.digest()), DealingReply)
    with pytest.raises(RequestRefused, match="no recipient with your TLS key"):
        alice.node._key_events.answer(dave.tls.tls_key, DealingRequest(attempt=attempt.digest()))


async def test_a_node_that_holds_its_share_already_votes_and_deals_no_more(tmp_path: Path) -> None:
    """As after a crash between storing and voting: the attempt must not be dealt anew under the same name."""
    async with rehearsal(tmp_path, domains=0) as network:
        bob = network.operators["bob"]
        key = deal(epoch_id=5, domains=2, threshold=2, participant_ids=(0, 1, 2), random_below=secrets.randbelow)
        share = replace(key.shares[1][1], key_id=KeyEventId(epoch_id=5, domain_id=0, attempt_id=0))
        await DirectoryKeyShareStore(bob.keyshares_dir).hold(share, height=10**6)
        await network.start("alice", "bob")
        await add_domains(network, ("alice", "bob"), kinds=("Frost",))

        def voted(state: Initializing) -> bool:
            return state.generating.instance is not None and state.generating.instance.completed == (1,)

        state = await until_state(network, Initializing, where=voted)
        assert state.generating.instance.public_key.share_form() == share.public_key
        assert bob.node._key_events._session is None
        refusal = bob.node._key_events.answer(TlsKey(bytes(32)), DealingRequest(attempt=Sha256Hex("00" * 32)))
        assert refusal == Refusal(reason="this node is not at that attempt")
