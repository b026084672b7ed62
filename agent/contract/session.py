"""One call: who makes it, what is stored, and the rules every call shares (docs/contract.md, "Keys")."""

from contract import codec, records
from contract.codec import ContractError
from contract.records import BACKUP_SERVICE, NODE, Account, Header, KeyRecord, Pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.codec import Json
    from contract.records import Store

# What the signer key of a call stands for.
UNRECORDED = "an unrecorded access key"
NODE_IN_FORCE = "the node in force"
CANDIDATE = "a candidate node"
BACKUP_SERVICE_IN_FORCE = "the backup service in force"

MOST_PARTICIPANTS = 400
MOST_PAIRS_OF_AN_ACCOUNT = 250  # bounds what one account can make the contract remember


class Chain:
    """What NEAR says about the call; account ids as text, the signer key as NEAR's bytes.

    `height` is in blocks, `now` the block's time in seconds since 1970, UTC.
    """

    def __init__(
        self,
        *,
        store: "Store",
        height: int,
        now: int,
        contract_id: str,
        signer_id: str,
        predecessor_id: str,
        signer_key: bytes,
        deposit: int,
        sha256: "Callable[[bytes], bytes]",
        ed25519_verify: "Callable[[bytes, bytes, bytes], bool]",
    ) -> None:
        self.store = store
        self.height = height
        self.now = now
        self.contract_id = contract_id
        self.signer_id = signer_id
        self.predecessor_id = predecessor_id
        self.signer_key = signer_key
        self.deposit = deposit
        self.sha256 = sha256
        self.ed25519_verify = ed25519_verify


class Session:
    """A call under way. `outcome` names the row of the transition table the call takes when it ends."""

    def __init__(self, chain: Chain, header: Header, method: str) -> None:
        if chain.signer_id != chain.predecessor_id:
            raise ContractError("the signer is not the caller; call the contract directly, not through another one")
        if chain.deposit:
            raise ContractError("a deposit is attached, which this contract does not keep; call without one")
        self.chain = chain
        self.store = chain.store
        self.height = chain.height
        self.now = chain.now
        self.header = header
        self.config = header.config
        self.outcome = method
        self.account = Account(chain.store, chain.signer_id)
        self.signer_key = codec.signer_key(chain.signer_key)
        self.signs_as = standing(records.key_record(chain.store, self.signer_key), self.account, self.signer_key)

    def require(self, allowed: tuple[str, ...]) -> None:
        """Refuses a signer key that stands for none of `allowed`."""
        if self.signs_as not in allowed:
            raise ContractError(f"the access key is that of {self.signs_as}; this call is for {' or '.join(allowed)}")

    def require_participant(self) -> None:
        if not self.account.is_participant():
            raise ContractError(f"{self.account.account_id} is no participant; only participants make this call")

    def require_governing(self) -> None:
        """Refuses all but a participant's node in force and an unrecorded key of the account, its operator's."""
        self.require_participant()
        self.require((NODE_IN_FORCE, UNRECORDED))

    def record_new_pair(self, role: str, pair: Pair) -> None:
        """Key rules 2 and 3: a new TLS key comes only with a new signer key; both are recorded for ever."""
        self.require((UNRECORDED,))
        if not pair.signer.startswith(codec.ED25519):
            raise ContractError("the access key is no ed25519 key; add an ed25519 access key and sign with it")
        if pair.signer == pair.tls:
            raise ContractError("the TLS key is the access key; make a TLS key of its own")
        if records.key_record(self.store, pair.tls) is not None:
            raise ContractError("the TLS key has been recorded before; make a new TLS key")
        if self.account.pairs_recorded >= MOST_PAIRS_OF_AN_ACCOUNT:
            raise ContractError(f"the account has recorded {MOST_PAIRS_OF_AN_ACCOUNT} pairs, the most there may be")
        self.account.pairs_recorded += 1
        records.record_pair(self.store, self.account.account_id, role, pair)


def standing(record: KeyRecord | None, account: Account, key: str) -> str:
    """What `key`, which signed a call of `account`, stands for. Refuses retired and misused keys (rules 2 and 5).

    An access key is public before its first use: that a stranger named it as his TLS key proves nothing.
    """
    if record is None or (record.kind == records.TLS and record.account_id != account.account_id):
        return UNRECORDED
    if record.kind == records.TLS:
        raise ContractError("the access key is recorded as a TLS key; make a new access key")
    if record.account_id != account.account_id:
        raise ContractError("the access key is recorded for another account; make a new access key")
    if record.role == BACKUP_SERVICE and account.slot_of(key) is not None:
        return BACKUP_SERVICE_IN_FORCE
    if record.role == NODE and account.node and account.node.signer == key:
        return NODE_IN_FORCE
    if record.role == NODE and account.candidate and account.candidate.signer == key:
        return CANDIDATE
    raise ContractError("the access key is retired; make new keys and have the operator add the access key")


def participant_info(value: "Json", config: dict[str, int], where: str = "participant_info") -> tuple[str, str]:
    """The url and the TLS key of a participant info."""
    info = codec.fields(value, where, ("url", "tls_public_key"))
    return (
        codec.url(info["url"], f"{where}.url", config["max_url_bytes"]),
        codec.ed25519_key(info["tls_public_key"], f"{where}.tls_public_key"),
    )
