"""The call sequences, written once and run against every form of the contract (steps.py says how)."""

from tests.contract.account_sequences import ACCOUNT_SEQUENCES
from tests.contract.code_hash_sequences import CODE_HASH_SEQUENCES
from tests.contract.ephemeral_sequences import EPHEMERAL_SEQUENCES
from tests.contract.evidence_sequences import EVIDENCE_SEQUENCES
from tests.contract.key_event_sequences import KEY_EVENT_SEQUENCES
from tests.contract.recovery_sequences import RECOVERY_SEQUENCES
from tests.contract.signature_sequences import SIGNATURE_SEQUENCES
from tests.contract.slot_sequences import SLOT_SEQUENCES

SEQUENCES = (
    *RECOVERY_SEQUENCES,
    *ACCOUNT_SEQUENCES,
    *SIGNATURE_SEQUENCES,
    *EPHEMERAL_SEQUENCES,
    *KEY_EVENT_SEQUENCES,
    *SLOT_SEQUENCES,
    *CODE_HASH_SEQUENCES,
    *EVIDENCE_SEQUENCES,
)
