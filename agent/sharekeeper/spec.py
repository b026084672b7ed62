"""Every constant and every limit of the protocol, with its unit and its clause.

`spec` stands for `docs/spec-map.md`; "near/mpc" facts are those of near/mpc 3.14.
"""

from typing import Final

SPEC_REVISION: Final = "2025-08"
"""The revision of the spec both sides must speak (near/mpc TEE.md of August 2025)."""

WIRE_VERSION: Final = 1
"""Version of the p2p wire format and of the messages in it (docs/wire-format.md). Spec: "Version 1"."""

# --- TLS (near/mpc interop, section 1) ---------------------------------------------------------
TLS_SERVER_NAME: Final = "dummy"
"""SNI every client sends; the server does not look at it."""

HANDSHAKE_TIMEOUT_SECONDS: Final = 10.0
"""A peer that has not finished the TLS handshake by then is dropped."""

NODE_AGENT_PORT: Final = 8079
"""TCP port of the node agent unless configured; the host comes from the participant's url."""

# --- Frames and messages (docs/wire-format.md) ------------------------------------------------
FRAME_HEADER_BYTES: Final = 4
"""Big-endian length of the message that follows."""

MAX_CONTROL_FRAME_BYTES: Final = 4 * 1024
"""Largest hello, receipt or refusal."""

MAX_SHARES_FRAME_BYTES: Final = 16 * 1024 * 1024
"""Largest message that carries key shares: 10,000 domains need about 4 MB."""

MAX_DOMAINS: Final = 10_000
"""Largest number of domains in one keyset."""

SESSION_TIMEOUT_SECONDS: Final = 60.0
"""One exchange, from handshake to receipt."""

STALL_TIMEOUT_SECONDS: Final = 15.0
"""A peer that moves no byte for so long loses its connection."""

MAX_SESSIONS: Final = 8
"""Connections the node agent serves at the same time; more are closed at once."""

MAX_PENDING_HANDSHAKES: Final = 32
"""Unauthenticated connections held at the same time; one more costs the oldest its place."""

# --- Web endpoints and ephemeral keys (docs/wire-format.md; spec: "Version 2") ----------------
WIRE_VERSION_WEB: Final = 2
"""Version of the transfer over web endpoints."""

SIGNATURE_TAG: Final = "sharekeeper-v2"
"""The `tag` of every RFC 9421 signature of this protocol: no other protocol's signature is taken for one."""

SHARES_BACKUP_PATH: Final = "/shares_backup"
SHARES_RECOVER_PATH: Final = "/shares_recover"
"""The node's endpoints (spec: "Version 2", "Node")."""

ATTESTATION_PATH: Final = "/attestation"
"""In hard launch both sides show their evidence here, before one of the two above is asked."""

PUBLIC_DATA_PATH: Final = "/public_data"
"""Shows the node's account key and TLS key to its operator; proves nothing."""

EXCHANGE_HEADER: Final = "sharekeeper-exchange"
"""HTTP field of a request: the exchange's id."""

NODE_WEB_PORT: Final = 8080
"""TCP port of the node agent's web endpoints unless configured; the host comes from the participant's url."""

MAX_CLOCK_SKEW_SECONDS: Final = 30.0
"""A signature's `created` lies at most this far from the reader's clock, either way."""

MAX_REMEMBERED_NONCES: Final = 1024
"""Requests of the last two skew windows that are remembered; when full, further ones are refused."""

EPHEMERAL_KEY_BLOCKS: Final = 150
"""A record of an ephemeral key expires this many blocks past the block decided on (the contract allows 200)."""

MAX_SEALED_BODY_BYTES: Final = MAX_SHARES_FRAME_BYTES + 40
"""Largest HTTP body: a message, the nonce before it (24) and the tag after it (16)."""

MAX_WEB_CONNECTIONS: Final = 128
"""Connections to the web endpoints; one more costs one of the busiest address that has not asked its place."""

# --- Identifiers ---------------------------------------------------------------------------------
ACCOUNT_ID_MIN_BYTES: Final = 2
ACCOUNT_ID_MAX_BYTES: Final = 64
"""NEAR account ids, in bytes (nearcore account rules)."""

MAX_URL_BYTES: Final = 256
"""Participant url (near/mpc 3.15 sets the same limit)."""

MAX_KEY_TEXT_CHARS: Final = 160
"""Longest written public key (BLS12-381 needs 143): base58 is quadratic, so longer text is refused unread."""

SLOTS: Final = 2
"""Backup services an account can have in force at the same time: slot 0 and slot 1."""

# --- Chain (design: "Chain truth", "Transactions") --------------------------------------------
MAX_BLOCK_AGE_SECONDS: Final = 60.0
"""A final block older than this is no basis for releasing shares."""

TRANSACTION_GAS: Final = 300 * 10**12
"""Gas attached to each contract call: all that NEAR allows (300 Tgas), since the deciding vote of 400 participants takes
up to 215 (docs/contract.md, "Gas"). What a call does not burn is refunded."""

RPC_TIMEOUT_SECONDS: Final = 5.0
"""One read from a NEAR endpoint, all its attempts included."""

MAX_RPC_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Largest answer of a NEAR endpoint: the state of 10,000 domains, as a view's list of integers, needs about 20 MB."""

TRANSACTION_TIMEOUT_SECONDS: Final = 60.0
"""A transaction that is not final by then has an unknown fate."""

TRANSACTION_VALID_BLOCKS: Final = 86_400
"""A transaction can be executed until this many blocks past the block it names (NEAR protocol config)."""

RECOVERY_CALL_VALID_BLOCKS: Final = 600
"""`valid_until_block` of `submit_participant_recovery_info`: this many blocks past the block decided on."""

FINALITY_BLOCKS: Final = 2
"""Distance of the final block from the head (NEAR doomslug finality)."""

MAINNET_GENESIS_HASH: Final = "EPnLgE7iEq9s7yTkos96M3cWymH5avBAPm3qx3NXqR8H"
TESTNET_GENESIS_HASH: Final = "FWJ9kR6KFWoyMoNjpLXXGHeuiy7tEY6GmoFeCA5yuc6b"
"""Genesis block hashes of the two public networks: the `automatic` hand-out policy is refused there."""

# --- Vault (docs/vault-format.md) -------------------------------------------------------------
VAULT_FORMAT: Final = 1
MAX_VAULT_FILE_BYTES: Final = 32 * 1024 * 1024
"""Largest file of the vault that is read: the backup of 10,000 domains needs about 6 MB."""
MAX_KEYSHARE_FILE_BYTES: Final = 32 * 1024 * 1024
"""Largest file of the node's key-share directory that is read."""
OLD_KEYSET_GRACE_SECONDS: Final = 3600.0
"""A newer final keyset must have been held and verified this long before older ones are destroyed."""

# --- Attestation (docs/attestation.md; spec: "hard launch") -----------------------------------
REPORT_DATA_BYTES: Final = 64
"""What a TDX quote binds: version, SHA3-384, zero bytes."""

ATTESTATION_NONCE_BYTES: Final = 32
"""Each side's contribution to the report data of an exchange."""

MAX_EVIDENCE_BYTES: Final = 128 * 1024
"""Largest evidence that is read: a real one has about 50 KB, collateral included."""

EVIDENCE_TIMEOUT_SECONDS: Final = 5.0
"""In an exchange, evidence is made in this time, and checked in this time; the peer waits for both."""

MAX_EVENTS: Final = 256
"""Longest event log that is read: a real one has 29 entries."""

EVIDENCE_VALIDITY_SECONDS: Final = 7 * 86_400
"""Evidence counts for so long after it was made (near/mpc: 7 days)."""

REATTEST_SECONDS: Final = 3600
"""A machine makes new evidence this often (near/mpc: hourly)."""

MAX_COLLATERAL_AGE_SECONDS: Final = 31 * 86_400
"""Intel's collateral is used for so long after its issue, whatever its own date of expiry says."""

MAX_COLLATERAL_BYTES: Final = 96 * 1024
"""Largest collateral that is read: a real one has about 25 KB, most of it the revocation list of PCKs."""

MAX_EVIDENCE_AHEAD_SECONDS: Final = 300
"""Evidence dated later than this after the block that records it is refused."""

# --- Access keys (spec: Todo #946; design decision 10) ----------------------------------------
NODE_METHODS: Final = (
    "submit_participant_info",
    "submit_participant_recovery_info",
    "conclude_recovery",
    "cancel_recovery",
    "expire_recovery",
    "submit_ephemeral_key",
    "vote_pk",
    "start_keygen_instance",
    "vote_reshared",
    "start_reshare_instance",
    "respond",
)
"""Contract methods the node's access key may call."""

BACKUP_SERVICE_METHODS: Final = (
    "register_backup_service",
    "confirm_key_share_delivery",
    "expire_recovery",
    "submit_ephemeral_key",
)
"""Contract methods the backup service's access key may call."""
