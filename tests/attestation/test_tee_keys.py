"""Keys that the TEE derives: the same after a restart, others for every account, contract, network and use.

And what becomes of a sealed vault: exactly the mishaps of `decide_survival` keep it or lose it.
"""

from dataclasses import replace

import pytest

from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.adapters.tee_keys import vault_identity, vault_signing_key
from sharekeeper.adapters.vault import AgeVault
from sharekeeper.adapters.vault_writer import SealedTo
from sharekeeper.crypto.sealing import recipient_of
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.identity import AccountId
from sharekeeper.errors import AttestationUnavailable, VaultCorrupt
from sharekeeper.protocol.survival import Mishap, SiblingCopy, decide_survival
from sharekeeper_devnet.tee.guest import Guest, GuestShape
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer
from tests.attestation.test_dstack import guest_agent, saying
from tests.unit.protocol_values import ALICE, BOB, NETWORK
from tests.unit.vault_values import SOURCE, SteppingClock, keyset, shares_of

K5 = keyset(5)
COMPOSE = '{"name":"backup service"}'


class Tee:
    """A CVM whose guest may be exchanged, and its guest agent's socket."""

    def __init__(self, intel, directory):
        self.intel, self.directory = intel, directory
        self.facts = {"host": "host", "shape": GuestShape(), "app_compose": COMPOSE}
        self.guest = self.started()
        self.agent = GuestAgent((directory / "dstack.sock",))

    def started(self, **changed):
        return Guest(intel=self.intel, **self.facts | changed)

    async def vault(self, directory):
        identity = await vault_identity(self.agent, NETWORK, ALICE)
        return AgeVault(
            directory / "vault",
            state_dir=directory / "state",
            network=NETWORK,
            account_id=ALICE,
            recipients=(recipient_of(identity),),
            identity=identity,
            signing_key=await vault_signing_key(self.agent, NETWORK, ALICE),
            clock=SteppingClock(),
            sealed_to=SealedTo.TEE_ALONE,
        )


@pytest.fixture
async def tee(intel, tmp_path):
    made = Tee(intel, tmp_path)
    server = GuestAgentServer(tmp_path / "dstack.sock", lambda: made.guest)
    await server.start()
    yield made
    await server.stop()


async def test_no_two_accounts_contracts_or_networks_have_a_key_in_common(tee):
    owners = [
        (NETWORK, ALICE),
        (NETWORK, BOB),
        (replace(NETWORK, contract_id=AccountId("other.test.near")), ALICE),
        (replace(NETWORK, chain_id="other"), ALICE),
        (replace(NETWORK, genesis_hash="4" * 44), ALICE),
    ]
    found = set()
    for network, account_id in owners:
        found.add((await vault_identity(tee.agent, network, account_id)).reveal())
        found.add((await vault_signing_key(tee.agent, network, account_id)).seed.reveal())
    assert len(found) == 2 * len(owners)


async def test_the_vault_does_not_open_without_the_guest_agent(tmp_path):
    socket = tmp_path / "dstack.sock"
    async with guest_agent(socket, saying(500, b'{"error": "no key provider"}')):
        with pytest.raises(AttestationUnavailable, match="no key provider"):
            await vault_identity(GuestAgent((socket,)), NETWORK, ALICE)


# --- what a sealed vault survives -------------------------------------------------------------------


async def after(tee, tmp_path, **changed):
    """A sealed vault with one backup, whose machine comes up anew, on the same disk, with these changes."""
    vault = await tee.vault(tmp_path)
    stored = await vault.store(K5, shares_of(K5), SOURCE)
    vault.close()
    tee.guest = tee.started(**changed)
    return stored, await tee.vault(tmp_path)


async def test_a_sealed_vault_opens_after_a_restart(tee, tmp_path):
    stored, later = await after(tee, tmp_path)
    assert await later.open(stored.backup_id) == shares_of(K5)


CHANGES = {
    Mishap.HOST_LOST: {"host": "another host"},
    Mishap.CPU_REPLACED: {"host": "another processor"},
    Mishap.OS_IMAGE_CHANGED: {"shape": GuestShape(image="dstack-0.5.9")},
    Mishap.SHAPE_CHANGED: {"shape": GuestShape(vcpus=16)},
    Mishap.COMPOSE_CHANGED: {"app_compose": COMPOSE + " "},
}
MEMORY_CHANGED = {"shape": GuestShape(memory_gb=128)}


@pytest.mark.parametrize("changed", [*CHANGES.values(), MEMORY_CHANGED], ids=[*CHANGES, "memory_changed"])
async def test_a_sealed_vault_whose_tee_changed_opens_for_nobody_and_says_so(tee, tmp_path, changed):
    stored, later = await after(tee, tmp_path, **changed)
    with pytest.raises(VaultCorrupt):
        await later.open(stored.backup_id)


def test_the_survival_table_says_the_same():
    lost = {each.mishap for each in decide_survival(VaultKind.SEALED, SiblingCopy.NONE) if not each.survives}
    assert lost >= set(CHANGES)
    assert Mishap.RESTARTED not in lost
