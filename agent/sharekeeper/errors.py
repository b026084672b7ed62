"""Every error an operator can meet, in families by whose fault it is (docs/cli.md lists the exit statuses).

Each class has a stable `code` (for `--json`, logs and metrics), the exit status of a command that ends
with it, and whether trying again later can help. Messages carry facts and the cure, never secrets.
Errors know nothing of the command line; `cli/main.py` and the service loops turn them into exits.
"""

from typing import ClassVar


class SharekeeperError(Exception):
    """Root of all expected errors."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


# --- the operator's: configuration, keys, decisions (10-29) ------------------------------------


class OperatorFault(SharekeeperError):
    """Something the operator must change."""

    code = "operator_fault"
    exit_status = 10


class ConfigInvalid(OperatorFault):
    """The configuration does not say what is needed; the message lists every mistake."""

    code = "config_invalid"
    exit_status = 11


class KeysMissing(OperatorFault):
    """A key file is absent, unreadable, malformed or readable by others."""

    code = "keys_missing"
    exit_status = 12


class KeysExist(OperatorFault):
    """Keys are already there; they are never overwritten."""

    code = "keys_exist"
    exit_status = 13


class PolicyRefused(OperatorFault):
    """The hand-out policy does not allow this recovery."""

    code = "policy_refused"
    exit_status = 14


class NotRegistered(OperatorFault):
    """The contract has no key for this machine, or another one than it holds."""

    code = "not_registered"
    exit_status = 15


class KeyRetired(OperatorFault):
    """This machine's key was retired on the contract; a machine that comes back makes new keys."""

    code = "key_retired"
    exit_status = 16


class NoBackup(OperatorFault):
    """The vault holds no backup of the keyset asked for."""

    code = "no_backup"
    exit_status = 17


class AlreadyRunning(OperatorFault):
    """Another process holds the same home or vault."""

    code = "already_running"
    exit_status = 18


class WaitTimedOut(OperatorFault):
    """`wait` saw its deadline before its condition."""

    code = "wait_timed_out"
    exit_status = 19
    retryable = True


# --- the chain's: RPC, contract, transactions (30-49) ------------------------------------------


class ChainFault(SharekeeperError):
    """The chain or an endpoint of it."""

    code = "chain_fault"
    exit_status = 30
    retryable = True


class ChainUnavailable(ChainFault):
    """No endpoint answered in time."""

    code = "chain_unavailable"
    exit_status = 31


class ChainStale(ChainFault):
    """The newest final block is too old to act on."""

    code = "chain_stale"
    exit_status = 32


class ChainContradiction(ChainFault):
    """The chain went backwards, or a final block changed: an alarm, never a command."""

    code = "chain_contradiction"
    exit_status = 33
    retryable = False


class ChainAnswerInvalid(ChainFault):
    """An answer lacks a field we need or has it in a form we do not know."""

    code = "chain_answer_invalid"
    exit_status = 34
    retryable = False


class UnknownAccount(ChainFault):
    """The account, its access key or its contract does not exist at that block."""

    code = "unknown_account"
    exit_status = 35


class TransactionFailed(ChainFault):
    """The transaction was executed and refused by the contract, or can never be executed."""

    code = "transaction_failed"
    exit_status = 36
    retryable = False


class TransactionUnknown(ChainFault):
    """The fate of a sent transaction is not known yet; sending the same bytes again is safe."""

    code = "transaction_unknown"
    exit_status = 37


class WrongNetwork(ChainFault):
    """The endpoint serves another chain than the configured one."""

    code = "wrong_network"
    exit_status = 38
    retryable = False


class NoQuorum(ChainFault):
    """No quorum of endpoints confirms what the own node shows, so no share is released and no backup destroyed."""

    code = "no_quorum"
    exit_status = 39


# --- the peer's: the other side of a channel (50-69) -------------------------------------------


class PeerFault(SharekeeperError):
    """The other side of a channel; it costs one connection."""

    code = "peer_fault"
    exit_status = 50
    retryable = True


class PeerUnreachable(PeerFault):
    """No TCP connection to the peer."""

    code = "peer_unreachable"
    exit_status = 51


class PeerNotAuthenticated(PeerFault):
    """The peer did not prove the key the contract pins, or did not accept ours."""

    code = "peer_not_authenticated"
    exit_status = 52


class PinChanged(PeerFault):
    """The contract pinned another key while the channel was open."""

    code = "pin_changed"
    exit_status = 53


class PeerStalled(PeerFault):
    """The peer sent nothing, or took nothing, before the deadline."""

    code = "peer_stalled"
    exit_status = 54


class PeerClosed(PeerFault):
    """The peer closed the channel before the exchange was complete."""

    code = "peer_closed"
    exit_status = 55


class ProtocolViolation(PeerFault):
    """Bytes that are not the protocol: truncated, oversized, malformed, out of order."""

    code = "protocol_violation"
    exit_status = 56
    retryable = False


class PeerRefused(PeerFault):
    """The peer answered with a refusal; the message carries its code and text."""

    code = "peer_refused"
    exit_status = 57


class SharesRefused(PeerFault):
    """The peer's shares are not those of the keyset on the contract."""

    code = "shares_refused"
    exit_status = 58
    retryable = False


class ViewsDiffer(PeerFault):
    """The peer acts on another keyset or recovery than this side sees on the contract: one of them is behind."""

    code = "views_differ"
    exit_status = 59


class UnknownExchange(PeerFault):
    """The node has no key of this exchange any more: it was used, replaced, or the node restarted; open a new one."""

    code = "unknown_exchange"
    exit_status = 60


class RecordForged(PeerFault):
    """The TLS key its owner is pinned to did not sign this record of an ephemeral key."""

    code = "record_forged"
    exit_status = 61
    retryable = False


class RecordForeign(PeerFault):
    """An ephemeral key's record is of another account or role."""

    code = "record_foreign"
    exit_status = 62
    retryable = False


class RecordExpired(PeerFault):
    """An ephemeral key's time was over before it was used."""

    code = "record_expired"
    exit_status = 63


class RecordReplaced(PeerFault):
    """The contract shows other records than this exchange was opened and answered with."""

    code = "record_replaced"
    exit_status = 64


class PurposeDiffers(PeerFault):
    """A key or a request of another purpose or recovery than this exchange has."""

    code = "purpose_differs"
    exit_status = 65
    retryable = False


class Reflected(PeerFault):
    """The peer gave this side's own ephemeral key back."""

    code = "reflected"
    exit_status = 66
    retryable = False


class WeakKey(PeerFault):
    """The peer's ephemeral key contributes nothing: the shared secret would be all zero."""

    code = "weak_key"
    exit_status = 67
    retryable = False


class Replayed(PeerFault):
    """A request was seen before, or too long ago to tell."""

    code = "replayed"
    exit_status = 68


class SealBroken(PeerFault):
    """A sealed body does not open under this exchange's key and transcript."""

    code = "seal_broken"
    exit_status = 69
    retryable = False


# --- this host's: disk, processes (70-89) -------------------------------------------------------


class HostFault(SharekeeperError):
    """This machine."""

    code = "host_fault"
    exit_status = 70


class StoreFailed(HostFault):
    """The disk refused a write (full, read-only, failing); what was stored before is untouched."""

    code = "store_failed"
    exit_status = 71
    retryable = True


class VaultCorrupt(HostFault):
    """A file of the vault is damaged, missing, planted or rolled back; it was not used."""

    code = "vault_corrupt"
    exit_status = 72


class ShareStoreCorrupt(HostFault):
    """The node's key-share directory does not hold what it says; it was not used."""

    code = "share_store_corrupt"
    exit_status = 73


class SupervisorFailed(HostFault):
    """The node could not be started or stopped."""

    code = "supervisor_failed"
    exit_status = 74
    retryable = True


class AddressInUse(HostFault):
    """A listening address is taken or not on this machine."""

    code = "address_in_use"
    exit_status = 75


class DaemonNotRunning(HostFault):
    """The daemon asked about does not answer on its health address."""

    code = "daemon_not_running"
    exit_status = 76
    retryable = True


# --- attestation (90-99) ----------------------------------------------------------------------


class AttestationRefused(SharekeeperError):
    """Evidence does not satisfy a check; the message has its number, its name and what was found."""

    code = "attestation_refused"
    exit_status = 90

    def __init__(self, message: str, *, check: str | None = None) -> None:
        """`check`: the name of the check that failed."""
        super().__init__(message)
        self.check = check


class AttestationUnavailable(SharekeeperError):
    """No guest agent, no quote or no collateral can be had just now."""

    code = "attestation_unavailable"
    exit_status = 91
    retryable = True


class EvidenceMissing(SharekeeperError):
    """The contract shows no evidence of this machine that is still valid."""

    code = "evidence_missing"
    exit_status = 92
    retryable = True


class PeerNotAttested(PeerFault):
    """The peer showed no evidence, or evidence that a check refused, or the contract has none of it that is valid."""

    code = "peer_not_attested"
    exit_status = 93

    def __init__(self, message: str, *, check: str | None = None) -> None:
        """`check`: the name of the check that failed, which the peer is told; None where no check was reached."""
        super().__init__(message)
        self.check = check


class EvidenceExpired(PeerFault):
    """Evidence shown in this exchange expired before the shares could leave or be kept; a new exchange makes new."""

    code = "evidence_expired"
    exit_status = 94
