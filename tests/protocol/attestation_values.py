"""A TEE that exists in tests alone: its quotes are JSON signed with an Ed25519 key, its checks are three.

What the product does with evidence can be tested with it; what evidence must prove is tested elsewhere.
"""

import json
from dataclasses import replace

from sharekeeper.attestation.report_data import exchange_report_data
from sharekeeper.crypto.keypair import KeyPair, signed_by
from sharekeeper.domain.attestation import Check, CodeHash, Evidence, EvidenceStamp, Measurements, Verdict
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.protocol_state import RecordedEvidence
from sharekeeper.errors import AttestationRefused
from sharekeeper.ports import Attestation, Clock
from sharekeeper.protocol.session import (
    BackupClient,
    BackupServer,
    Nonces,
    RecoveryClient,
    RecoveryServer,
    Session,
    WebBackupClient,
    WebBackupServer,
    WebRecoveryClient,
    WebRecoveryServer,
)

from .exchange_values import RECOVERY_ID, facts

VENDOR = KeyPair.generate(b"the vendor of the tests' TEEs ..")
STRANGER = KeyPair.generate(b"a vendor whom nobody has heard..")
CODE = {Role.NODE: CodeHash("a1" * 32), Role.BACKUP_SERVICE: CodeHash("b2" * 32)}
MEASUREMENTS = Measurements(
    mrtd="00" * 48, rtmr0="11" * 48, rtmr1="22" * 48, rtmr2="33" * 48, key_provider_event_digest="44" * 48
)
NODE_NONCE, BACKUP_SERVICE_NONCE = b"n" * 32, b"s" * 32
NONCES = {Role.NODE: NODE_NONCE, Role.BACKUP_SERVICE: BACKUP_SERVICE_NONCE}
NOW_S = 1_800_000_000
WEB = {BackupClient: WebBackupClient, BackupServer: WebBackupServer}
WEB |= {RecoveryClient: WebRecoveryClient, RecoveryServer: WebRecoveryServer}


def quote(role: Role, report_data: bytes, *, vendor: KeyPair = VENDOR, code: CodeHash | None = None) -> bytes:
    """What a machine of `role` is given for `report_data`."""
    body = json.dumps({"code": code or CODE[role], "report_data": report_data.hex()}).encode()
    return vendor.sign(body) + body


def evidence(role: Role, report_data: bytes, **settings) -> Evidence:
    return Evidence(quote=quote(role, report_data, **settings), events=(), app_compose="{}", collateral=None)


def verdict(role: Role = Role.NODE, *, expires_at_s: int = NOW_S + 600) -> Verdict:
    return Verdict(
        checks=(Check(number=1, name="quote", ok=True, detail="signed"),),
        measurements=MEASUREMENTS,
        code_hash=CODE[role],
        tcb_status="UpToDate",
        advisories=frozenset(),
        expires_at_s=expires_at_s,
    )


def check(shown: Evidence, *, role: Role, report_data: bytes, expires_at_s: int = NOW_S + 600) -> Verdict:
    """The verdict. Raises `AttestationRefused` as the verifier does."""
    signature, body = shown.quote[:64], shown.quote[64:]
    if not signed_by(VENDOR.tls_key, signature, body):
        raise AttestationRefused("check 1 (quote): no TEE signed it", check="quote")
    says = json.loads(body)
    if says["report_data"] != report_data.hex():
        raise AttestationRefused("check 6 (report data): other keys or another exchange", check="report data")
    if says["code"] != CODE[role]:
        raise AttestationRefused(f"check 12 (image digest): not allowed for {role}", check="image digest")
    return verdict(role, expires_at_s=expires_at_s)


class TestTee(Attestation):
    """One machine's TEE by that measure. `valid_seconds`: how long its verdicts last."""

    __test__ = False

    def __init__(self, role: Role, clock: Clock) -> None:
        self.role, self.clock = role, clock
        self.valid_seconds = 600
        self.made: list[Evidence] = []
        self.checked: list[tuple[Role, bytes, int]] = []
        self.fault: Exception | None = None
        self.check_fault: Exception | None = None
        self.shows = lambda report_data: evidence(self.role, report_data)

    async def prove(self, report_data):
        if self.fault is not None:
            raise self.fault
        self.made.append(self.shows(report_data))
        return self.made[-1]

    async def check(self, evidence, *, role, report_data, at):
        self.checked.append((role, report_data, at.height))
        if self.check_fault is not None:
            raise self.check_fault
        expires = self.clock.wall_ns() // 10**9 + self.valid_seconds
        return check(evidence, role=role, report_data=report_data, expires_at_s=expires)


def stamped(*keys, valid_until: int = 10**12) -> tuple[RecordedEvidence, ...]:
    """The contract's word that machines with these TLS keys have valid evidence."""
    stamp = EvidenceStamp(digest=Sha256Hex.of(b"registered"), attested_at=NOW_S - 60)
    return tuple(RecordedEvidence(tls_public_key=key, stamp=stamp, valid_until=valid_until) for key in keys)


def attested(session_class, *, web: bool = False, **changes) -> Session:
    """A session of the hard launch, with its side's nonce; in version 2 it knows both."""
    recovery = {"recovery_id": RECOVERY_ID} if session_class.purpose == "recovery" else {}
    role = session_class.role
    other = Role.NODE if role is Role.BACKUP_SERVICE else Role.BACKUP_SERVICE
    nonces = Nonces(own=NONCES[role], peer=NONCES[other] if web else None)
    made = WEB[session_class] if web else session_class
    return made(**(facts() | recovery | {"nonces": nonces} | changes))


def attested_pair(kind: str, *, web: bool = False) -> tuple[Session, Session]:
    """Client and server of a "backup" or "recovery"."""
    classes = (BackupClient, BackupServer) if kind == "backup" else (RecoveryClient, RecoveryServer)
    return attested(classes[0], web=web), attested(classes[1], web=web)


def show(session: Session, **settings) -> bytes:
    """The frame of the session's own, good evidence."""
    made = evidence(session.role, session.report_data(session.role), **settings)
    return session.send_evidence(made, verdict(session.role))


def accept(session: Session, frame: bytes) -> None:
    """What the product does with the peer's evidence. Raises `AttestationRefused`."""
    shown = session.receive(frame).evidence
    role = session.peer_role
    session.accept_evidence(check(shown, role=session.code_of(role), report_data=session.report_data(role)))


def meet(client: Session, server: Session, *, web: bool = False) -> None:
    """Hellos, where there are some, and evidence."""
    if not web:
        server.receive(client.send_hello())
        client.receive(server.send_hello())
    accept(server, show(client))
    accept(client, show(server))


def report_data(session: Session, side: Role, **changes) -> bytes:
    """Report data of that side of an exchange that differs in `changes`."""
    other = Role.NODE if side is Role.BACKUP_SERVICE else Role.BACKUP_SERVICE
    nonces = {"own_nonce": NONCES[side], "peer_nonce": NONCES[other]}
    nonces |= {name: changes.pop(name) for name in tuple(changes) if name in nonces}
    side = changes.pop("side", side)
    return exchange_report_data(replace(session.exchange, **changes), side, **nonces)
