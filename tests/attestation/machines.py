"""Machines on the TEE host stand-in, whose evidence is complete, and the policy and votes it satisfies."""

import hashlib
from dataclasses import dataclass, field, replace

from sharekeeper.attestation.app_compose import build_app_compose
from sharekeeper.attestation.compose_file import ComposeParameters, Images, render_compose_file
from sharekeeper.attestation.events import IMAGE_DIGEST
from sharekeeper.attestation.report_data import registration_report_data
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.attestation import AllowedCode, CodeHash, Event, Evidence, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper_devnet.tee.guest import Guest, GuestShape
from sharekeeper_devnet.tee.pki import MockIntel

NOW_S = 1_790_000_000
DAY_S = 86_400
NETWORK = NetworkId(
    chain_id="devnet",
    genesis_hash="9rRrLXNGpEEuhJ2YF1TxG8ZzFX2VnDQSvCvHsYn8sX1m",
    contract_id=AccountId("mpc.test.near"),
)
ACCOUNT = AccountId("alice.test.near")


def code_hash(name):
    return CodeHash(hashlib.sha256(name.encode()).hexdigest())


AGENT_IMAGE = code_hash("agent image")
NEAR_IMAGE = code_hash("near image")
MPC_IMAGE = code_hash("mpc image")


@dataclass
class Machine:
    """A CVM of the stand-in that runs one of our compose files. `shape`, `debug`, `tcb`: as of `Guest`."""

    intel: MockIntel
    role: Role = Role.BACKUP_SERVICE
    account_id: AccountId = ACCOUNT
    name: str = "machine"
    image: CodeHash = AGENT_IMAGE
    shape: GuestShape = field(default_factory=GuestShape)
    network: NetworkId = NETWORK
    transfer: str = "p2p"
    debug: bool = False
    tcb: str = "UpToDate"

    def __post_init__(self):
        self.tls = KeyPair.generate(self.intel.secret(f"tls {self.name}"))
        self.account = KeyPair.generate(self.intel.secret(f"account {self.name}"))
        self.guest = self.started(self.compose_file)

    def started(self, compose_file, *, app_compose=None):
        """The machine's CVM from another compose file or app-compose, its image event emitted."""
        guest = Guest(
            intel=self.intel,
            host=self.name,
            shape=self.shape,
            app_compose=app_compose or build_app_compose(self.name, compose_file),
            debug=self.debug,
            tcb=self.tcb,
        )
        guest.emit(IMAGE_DIGEST[self.role], bytes.fromhex(self.image))
        return guest

    @property
    def parameters(self):
        """What is measured of this machine, whatever its image."""
        common = ComposeParameters(account_id=self.account_id, network=self.network, transfer=self.transfer)
        return common if self.role is Role.NODE else replace(common, vault=VaultKind.SEALED, slot=0)

    @property
    def images(self):
        mpc = MPC_IMAGE if self.role is Role.NODE else None
        return Images(agent=self.image, near=NEAR_IMAGE, mpc=mpc)

    @property
    def compose_file(self):
        return render_compose_file(self.role, self.parameters, self.images)

    @property
    def report_data(self):
        """What its registration is bound to."""
        return registration_report_data(self.tls.tls_key, self.account.signer_key)

    def evidence(self, report_data=None, *, collateral=None, guest=None):
        """Evidence made now, over the registration's report data unless told."""
        shown = guest or self.guest
        return Evidence(
            quote=shown.quote(self.report_data if report_data is None else report_data),
            events=shown.events,
            app_compose=shown.app_compose,
            collateral=collateral,
        )


def allowed_code(*machines):
    """What the contract shows after the votes for these machines."""
    hashes = {role: set() for role in Role}
    for machine in machines:
        images = machine.images
        hashes[machine.role] |= {images.agent, images.near} | ({images.mpc} if images.mpc else set())
    return AllowedCode(
        node=frozenset(hashes[Role.NODE]),
        backup_service=frozenset(hashes[Role.BACKUP_SERVICE]),
        measurements=frozenset(machine.guest.measurements for machine in machines),
    )


def with_events(evidence, *events):
    """The evidence with another event log; its quote still says what it said."""
    return replace(evidence, events=tuple(events))


def event_named(evidence, name):
    return next(event for event in evidence.events if event.name == name)


def quoted_over(machine, *events):
    """Evidence whose quote agrees with this event log: what a machine would show whose start went like this."""
    guest = machine.started(machine.compose_file)
    guest.replace_events(*events)
    return machine.evidence(guest=guest)


def renamed(event: Event, name):
    return replace(event, name=name)
