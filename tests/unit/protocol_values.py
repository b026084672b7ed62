"""Values of one small network for the tests of decisions: alice, bob and carol, epoch 5, two domains."""

from dataclasses import replace

from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, Keyset, Sha256Hex
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BackupServiceKeys,
    NodeKeys,
    Participant,
    ParticipantInfo,
    Participants,
    Recovering,
    Recovery,
    Running,
)

ALICE, BOB, CAROL = AccountId("alice.test.near"), AccountId("bob.test.near"), AccountId("carol.test.near")
NETWORK = NetworkId(chain_id="devnet", genesis_hash="3" * 44, contract_id=AccountId("mpc.test.near"))
NOW_NS = 1_800_000_000 * 10**9


def tls(number: int) -> TlsKey:
    return TlsKey(number.to_bytes(32, "big"))


def signer(number: int) -> SignerKey:
    return SignerKey((1000 + number).to_bytes(32, "big"))


def info(number: int) -> ParticipantInfo:
    return ParticipantInfo(url=f"http://127.90.0.{number}:8090", tls_public_key=tls(number))


def node_keys(number: int) -> NodeKeys:
    return NodeKeys(info=info(number), signer_key=signer(number))


OLD, NEW = node_keys(1), node_keys(11)
"""Alice's machine in force, and her replacement."""


def keyset(epoch: int = 5, *, domains: int = 2, attempt: int = 0) -> Keyset:
    keys = (
        DomainKey(domain_id=i, attempt=attempt, public_key=DomainPublicKey(Curve.ED25519, bytes([i + 1]) * 32))
        for i in range(domains)
    )
    return Keyset(epoch_id=epoch, domains=tuple(keys))


PARTICIPANTS = Participants(
    members=(
        Participant(account_id=ALICE, participant_id=0, info=OLD.info),
        Participant(account_id=BOB, participant_id=1, info=info(2)),
        Participant(account_id=CAROL, participant_id=2, info=info(3)),
    )
)
RUNNING = Running(keyset=keyset(), participants=PARTICIPANTS, threshold=2)


def with_info(participants: Participants, account_id: AccountId, new: ParticipantInfo) -> Participants:
    return Participants(
        members=tuple(replace(m, info=new) if m.account_id == account_id else m for m in participants.members)
    )


def recovery(
    *,
    account_id: AccountId = ALICE,
    new: NodeKeys = NEW,
    recovery_id: int = 7,
    confirmed: bool = False,
    previous: Running = RUNNING,
) -> Recovery:
    return Recovery(
        recovery_id=recovery_id,
        previous=previous,
        prospective=with_info(previous.participants, account_id, new.info),
        recovering=Recovering(account_id=account_id, info=new.info, signer_key=new.signer_key),
        started_in=1200,
        expires_on=7200,
        shares_confirmed=confirmed,
    )


RECOVERED = replace(RUNNING, participants=with_info(PARTICIPANTS, ALICE, NEW.info))
"""The Running state after Alice's recovery."""


def record(
    *,
    node: NodeKeys | None = OLD,
    candidate: NodeKeys | None = None,
    backup_service: BackupServiceKeys | None = None,
    cooldown_until: int = 0,
    is_participant: bool = True,
) -> AccountRecord:
    return AccountRecord(
        account_id=ALICE,
        is_participant=is_participant,
        node=node,
        node_candidate=candidate,
        backup_service=backup_service,
        cooldown_until=cooldown_until,
    )


def stored(of: Keyset, *, at_ns: int = NOW_NS) -> StoredBackup:
    return StoredBackup(
        backup_id=of.backup_id(NETWORK, ALICE),
        keyset=of,
        digest=of.digest(),
        source_tls_key=tls(1),
        stored_at_ns=at_ns,
        ciphertext_sha256=Sha256Hex.of(b""),
        ciphertext_bytes=100,
    )
