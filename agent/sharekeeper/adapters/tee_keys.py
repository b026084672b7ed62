"""Keys that only this TEE derives, for the vault kind `sealed` (docs/runbooks/hard-launch-keys.md).

They are never written down: the guest agent derives the same 32 bytes again after each restart, as long as CPU,
OS image, vCPU, RAM and app-compose stay the same, and no other machine or code ever does. Keys are separated by
their path alone, since dstack's purpose and algorithm do not change the bytes; the account is part of the path.
"""

from typing import Final

from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.sealing import identity_of
from sharekeeper.domain.identity import NetworkId
from sharekeeper.secret import Secret

KEY_PATHS: Final = "sharekeeper/v1"
VAULT_IDENTITY: Final = "vault-identity"
VAULT_SIGNING_KEY: Final = "vault-signing-key"


def key_path(name: str, network: NetworkId, account_id: str) -> str:
    """Where the key of that name lies: one path for each network, contract and account."""
    return f"{KEY_PATHS}/{name}/{network.chain_id}/{network.genesis_hash}/{network.contract_id}/{account_id}"


async def vault_identity(guest: GuestAgent, network: NetworkId, account_id: str) -> Secret:
    """The age identity the vault is sealed to: a line AGE-SECRET-KEY-1... Raises `AttestationUnavailable`."""
    return identity_of(await guest.key(key_path(VAULT_IDENTITY, network, account_id)))


async def vault_signing_key(guest: GuestAgent, network: NetworkId, account_id: str) -> KeyPair:
    """The key that signs manifests and the head record. Raises `AttestationUnavailable`."""
    return KeyPair(seed=await guest.key(key_path(VAULT_SIGNING_KEY, network, account_id)))
