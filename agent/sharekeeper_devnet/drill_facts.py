"""What a drill report consists of: values without behaviour, all of them public facts."""

from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharekeeper.domain.identity import Ed25519Key
from sharekeeper_devnet.drill_plan import Change, Launch


class Verdict(StrEnum):
    """Whether the drill showed what it set out to show."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened. `at`: seconds since 1970, UTC; `height`: block height where the chain shows it."""

    title: str
    at: float
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the drill, or a time in which something was so. `start` and `end`: seconds since 1970, UTC."""

    title: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureProof:
    """A signature of the network over `message` (UTF-8), verified by whoever reads this, and by the report's builder.

    `signature`: 64 bytes as hex; `public_key`: `ed25519:<base58>`; `seconds`: from request to signature.
    """

    message: str
    signature: str
    public_key: str
    request_id: int
    seconds: float
    at: float

    def holds(self) -> bool:
        """Whether `signature` is the Ed25519 signature of `message` under `public_key`."""
        try:
            key = Ed25519PublicKey.from_public_bytes(Ed25519Key.parse(self.public_key).raw)
            key.verify(bytes.fromhex(self.signature), self.message.encode())
        except (ValueError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEventRun:
    """How one domain got its key, or its new shares, as the chain tells it.

    Attributes:
        attempts: attempts that were started; the last one succeeded.
        participants: how many had to take part.
        threshold: of their votes.
        begun, done: the first block that names the domain as the one in progress, the first that has its key.
        blocks, seconds: between the two.
    """

    domain_id: int
    protocol: str
    epoch_id: int
    attempts: int
    participants: int
    threshold: int
    begun: Moment
    done: Moment
    blocks: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBackup:
    """What one operator's backup service held of the keyset in force when it was asked.

    `stored_at` and `verified_at`: seconds since 1970, UTC; `older_epochs`: those of other backups it still held.
    """

    account_id: str
    epoch_id: int
    domains: int
    stored_at: float
    verified_at: float
    older_epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecovery:
    """One operator's way back, as the chain tells it.

    Attributes:
        entered, delivered, running: entering Recovery, shares confirmed, Running with the new machine's TLS key.
        new_tls_key: the replacement's.
        transfer: how the shares came: `web` if the contract had ephemeral keys for it, else `p2p`.
        rto_seconds: from the loss to Running.
        backup_epoch_lag: epochs by which the operator's last verified backup was behind the chain at the loss.
        backup_age_seconds: time from that verification to the loss.
    """

    account_id: str
    recovery_id: int
    entered: Moment
    delivered: Moment
    running: Moment
    new_tls_key: str
    transfer: str
    rto_seconds: float
    backup_epoch_lag: int
    backup_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A loss of machines and the way back.

    Attributes:
        loss: the moment the first machine was lost.
        lost: whose machines.
        impossible: when it was shown that nobody signs; None if it was not.
        rto_seconds: from `loss` to the first valid signature after it.
        rpo_epochs: the largest epoch lag of any operator's backup; 0 means no key share was lost.
        rpo_seconds: the longest time since a verified backup, at the loss.
    """

    loss: Moment
    lost: tuple[str, ...]
    impossible: Moment | None
    recoveries: tuple[OperatorRecovery, ...]
    rto_seconds: float | None
    rpo_epochs: int | None
    rpo_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage, and the network at its end.

    Attributes:
        started: seconds since 1970, UTC; 0 for a stage that the drill did not come to.
        participants, threshold, epoch_id: of the contract at the end of the stage.
        signature: the network's at the end of the stage.
        outage: of a stage that loses machines.
    """

    change: Change
    title: str
    started: float
    participants: tuple[str, ...]
    threshold: int | None
    epoch_id: int | None
    signature: SignatureProof | None
    key_events: tuple[KeyEventRun, ...]
    backups: tuple[HeldBackup, ...]
    outage: Outage | None
    timeline: tuple[Moment, ...]

    @property
    def origin(self) -> float:
        """The moment from which the times of the stage are told: the loss, or its start."""
        return self.started if self.outage is None else self.outage.loss.at


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedMachine:
    """What one machine's evidence proved to its operator, who checked it before he admitted the machine (hard launch).

    Attributes:
        host: its name in the inventory.
        role: `node` or `backup-service`.
        tls_public_key: the key that the evidence is bound to.
        digest: of the evidence, as the machine shows it; hex.
        checks: how many numbered checks it satisfied.
        image: digest of the code, which the operators voted for; hex.
        measurements: name and value (hex) of the five that are voted for as one entry.
        tcb_status: Intel's word on the platform; here that of the stand-in.
        expires_at, at: until when the evidence counts, and when it was checked; seconds since 1970, UTC.
    """

    host: str
    account_id: str
    role: str
    tls_public_key: str
    digest: str
    checks: int
    image: str
    measurements: tuple[tuple[str, str], ...]
    tcb_status: str
    expires_at: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a reader of a drill needs to judge it; no secret is among it.

    Attributes:
        drill_id: names the drill: the UTC time of its start.
        drill: which drill it was, by its name.
        launch: `soft` or `hard`.
        findings: why the verdict is not `passed`; empty when it is.
        public_key: the one under which all signatures hold; None when that was not shown.
        transfer: how key shares travelled in the recoveries, `p2p` or `web`, as the chain tells it; None without any.
        states: the protocol state from its first block to the last, as the chain tells it.
        machines: what each machine proved; none in soft launch.
        versions: tool names and versions.
    """

    drill_id: str
    drill: str
    launch: Launch
    verdict: Verdict
    findings: tuple[str, ...]
    started: float
    finished: float
    public_key: str | None
    transfer: str | None
    stages: tuple[Stage, ...]
    states: tuple[Phase, ...]
    phases: tuple[Phase, ...]
    machines: tuple[AttestedMachine, ...]
    versions: tuple[tuple[str, str], ...]
