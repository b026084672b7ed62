"""The one docker-compose text of each role in hard launch, byte for byte (docs/attestation.md, "Compose file").

A TEE measures this text, so everything that decides is in it: the images by digest, and the measured configuration.
Whoever verifies evidence writes the text himself and compares. It is for Compose 2.23 or later, which writes
`configs` with `content` into a container, though into none with `read_only`, which is why that is not said.
"""

import re
from dataclasses import dataclass
from typing import Final

from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.protocol.policy import is_public_network
from sharekeeper.spec import (
    EVIDENCE_VALIDITY_SECONDS,
    NODE_AGENT_PORT,
    NODE_WEB_PORT,
    REATTEST_SECONDS,
    SLOTS,
)

AGENT_IMAGE: Final = "sharekeeper/sharekeeper"
NEAR_IMAGE: Final = "nearprotocol/nearcore"
MPC_IMAGE: Final = "nearone/mpc-node"
"""Repositories of the images; only the digest beside each decides what runs."""

MEASURED_PATH: Final = "/etc/sharekeeper/measured.toml"
"""Where the agent reads its measured configuration."""

ADDRESSES_PATH: Final = "/etc/sharekeeper/addresses.toml"
"""Where the agent finds the user-config, which nobody measures."""

STATE_PATH: Final = "/var/lib/sharekeeper"
"""The agent's directory on the encrypted disk."""

NEAR_ADDRESS: Final = "172.29.77.2"
"""The NEAR node's address between the containers, which no other container gets (`_CONTAINERS`).

An address, since the name of a container that is down would be asked outside, where the host answers.
"""

NEAR_RPC_URL: Final = f"http://{NEAR_ADDRESS}:3030"
"""The NEAR node beside the agent."""

TRANSFERS: Final = ("p2p", "web")
_NEAR_NETWORK_PORT: Final = 24567
_MPC_NETWORK_PORT: Final = 80
_CHAIN_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_GENESIS_HASH: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}", re.ASCII)
_RPC_URL: Final = re.compile(r"http://[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5}", re.ASCII)
_ADVISORY: Final = re.compile(r"(?:INTEL-SA-[0-9]{5}|CVE-[0-9]{4}-[0-9]{4,7})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What runs in the TEE, by digest: the agent, the NEAR node, and on a node the MPC node if the agent starts it."""

    agent: CodeHash
    near: CodeHash
    mpc: CodeHash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeParameters:
    """The measured configuration of one account's machines. Raises `ValueError` when it contradicts itself.

    Both machines of an account have the same, but for what only a backup service has: `vault`, and `slot`, its slot
    on the contract; both are None for a node. Durations in seconds. `near_rpc_url` is the NEAR node inside the TEE: on a
    public network there is no other, whoever measured it.
    """

    account_id: AccountId
    network: NetworkId
    transfer: str
    vault: VaultKind | None = None
    slot: int | None = None
    evidence_validity_seconds: int = EVIDENCE_VALIDITY_SECONDS
    reattest_seconds: int = REATTEST_SECONDS
    accepted_advisories: frozenset[str] = frozenset()
    near_rpc_url: str = NEAR_RPC_URL

    def __post_init__(self) -> None:
        for name, text, form in (
            ("chain_id", self.network.chain_id, _CHAIN_ID),
            ("genesis_hash", self.network.genesis_hash, _GENESIS_HASH),
            ("near_rpc_url", self.near_rpc_url, _RPC_URL),
            *(("accepted_advisories", advisory, _ADVISORY) for advisory in self.accepted_advisories),
        ):
            if not form.fullmatch(text):
                raise ValueError(f"{name}: {text[:80]!r} cannot stand in a measured configuration")
        if is_public_network(self.network) and self.near_rpc_url != NEAR_RPC_URL:
            raise ValueError(f"near_rpc_url: on {self.network.chain_id} the NEAR node inside the TEE, {NEAR_RPC_URL}")
        if self.transfer not in TRANSFERS:
            raise ValueError(f"transfer: must be one of {', '.join(TRANSFERS)}, not {self.transfer[:80]!r}")
        if not 0 < self.reattest_seconds < self.evidence_validity_seconds:
            raise ValueError("reattest_seconds: must be above 0 and below evidence_validity_seconds")
        if (self.vault is None) is not (self.slot is None) or self.slot not in (None, *range(SLOTS)):
            raise ValueError(f"a backup service has a vault and a slot of 0..{SLOTS - 1}, a node has neither")

    def measured_toml(self, role: Role, image: CodeHash) -> str:
        """The measured configuration of that machine as TOML. `image`: the digest of the agent's own image.

        Raises:
            ValueError: a backup service without vault and slot, or a node with them.
        """
        if (role is Role.NODE) is not (self.vault is None):
            raise ValueError("a backup service needs a vault and a slot, a node has neither")
        values = {
            "role": f'"{role.value}"',
            "account_id": f'"{self.account_id}"',
            "chain_id": f'"{self.network.chain_id}"',
            "genesis_hash": f'"{self.network.genesis_hash}"',
            "contract_id": f'"{self.network.contract_id}"',
            "near_rpc_url": f'"{self.near_rpc_url}"',
            "transfer": f'"{self.transfer}"',
            "vault": None if self.vault is None else f'"{self.vault.value}"',
            "slot": self.slot,
            "image": f'"{image}"',
            "evidence_validity_seconds": self.evidence_validity_seconds,
            "reattest_seconds": self.reattest_seconds,
            "accepted_advisories": "[" + ", ".join(f'"{one}"' for one in sorted(self.accepted_advisories)) + "]",
        }
        return "".join(f"{name} = {value}\n" for name, value in values.items() if value is not None)


def render_compose_file(role: Role, parameters: ComposeParameters, images: Images) -> str:
    """The docker-compose file of that machine; the same arguments give the same bytes.

    Raises:
        ValueError: the parameters or images are not those of this role.
    """
    if role is Role.BACKUP_SERVICE and images.mpc is not None:
        raise ValueError("a backup service runs no MPC node")
    measured = parameters.measured_toml(role, images.agent)
    services = _agent(images) + _near(parameters, images.near)
    volumes = ["near", "state"]
    if images.mpc is not None:
        services += _mpc(parameters, images.mpc)
        volumes.append("mpc")
    content = "".join(f"      {line}\n" for line in measured.splitlines())
    named = "".join(f"  {name}:\n" for name in volumes)
    return f"services:\n{services}configs:\n  measured:\n    content: |\n{content}{_CONTAINERS}volumes:\n{named}"


def _agent(images: Images) -> str:
    mounts = (
        "/var/run/dstack.sock:/var/run/dstack.sock",
        f"/tapp/user_config:{ADDRESSES_PATH}:ro",
        f"state:{STATE_PATH}",
        *(("/var/run/docker.sock:/var/run/docker.sock", f"mpc:{STATE_PATH}/mpc") if images.mpc else ()),
    )
    return (
        "  agent:\n"
        f"    image: {_pinned(AGENT_IMAGE, images.agent)}\n"
        "    configs:\n"
        "      - source: measured\n"
        f"        target: {MEASURED_PATH}\n"
        + _list("volumes", mounts)
        + _list("ports", _published(NODE_AGENT_PORT, NODE_WEB_PORT))
        + _list("cap_drop", ("ALL",))
        + _UNPRIVILEGED
    )


def _near(parameters: ComposeParameters, image: CodeHash) -> str:
    home = "neard --home /srv/near"
    initialise = f"{home} init --chain-id {parameters.network.chain_id} --download-genesis --download-config rpc"
    script = f"(test -f /srv/near/config.json || {initialise}) && exec {home} run"
    return (
        "  near:\n"
        f"    image: {_pinned(NEAR_IMAGE, image)}\n"
        f'    entrypoint: ["/bin/sh", "-c", "{script}"]\n'
        f"    networks:\n      default:\n        ipv4_address: {NEAR_ADDRESS}\n"
        + _list("volumes", ("near:/srv/near",))
        + _list("ports", _published(_NEAR_NETWORK_PORT))
        + _UNPRIVILEGED
    )


def _mpc(parameters: ComposeParameters, image: CodeHash) -> str:
    network = parameters.network
    named = (
        f"MPC_ACCOUNT_ID={parameters.account_id}",
        f"MPC_CONTRACT_ID={network.contract_id}",
        f"MPC_ENV={network.chain_id}",
        "MPC_HOME_DIR=/data",
    )
    return (
        "  mpc:\n"
        f"    image: {_pinned(MPC_IMAGE, image)}\n"
        + _list("environment", named)
        + _list("volumes", ("mpc:/data",))
        + _list("ports", _published(_MPC_NETWORK_PORT))
        + _UNPRIVILEGED
    )


_CONTAINERS: Final = (
    "networks:\n  default:\n    ipam:\n      config:\n"
    "        - subnet: 172.29.77.0/28\n          ip_range: 172.29.77.8/29\n"
)
"""The network between the containers. Those without an address of their own get one of `ip_range`."""

_UNPRIVILEGED: Final = "    security_opt:\n      - no-new-privileges:true\n    restart: unless-stopped\n"


def _pinned(repository: str, image: CodeHash) -> str:
    return f"{repository}@sha256:{image}"


def _published(*ports: int) -> tuple[str, ...]:
    return tuple(f'"{port}:{port}"' for port in ports)


def _list(name: str, entries: tuple[str, ...]) -> str:
    return f"    {name}:\n" + "".join(f"      - {entry}\n" for entry in entries)
