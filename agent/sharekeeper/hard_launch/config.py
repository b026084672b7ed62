"""The two configuration files of a machine in hard launch (design decision 9; docs/hard-launch.md).

`measured.toml` is part of the compose file, which the TEE measures and every peer writes again and compares: it holds
all that decides. `addresses.toml` is the user-config, which nobody measures: whoever runs the host writes it, so it
may hold only addresses, and a wrong one can keep shares from moving but never move one elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.config_values import (
    EndpointConfig,
    NearConfig,
    NetAddress,
    Transfer,
    address,
    base_url,
    check_genesis,
    http_url,
    loopback_address,
    natural,
    outside_endpoints,
    participant_url,
    port_number,
    transfer_version,
)
from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.spec import NODE_AGENT_PORT, NODE_WEB_PORT
from sharekeeper.toml_tables import ConfigRoot, open_config, plain_text

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  # the compose file publishes the ports of the container
_NOT_MEASURED: Final = "nobody measures this file: what is no address must be measured, so remove it here"
_SOFT_ONLY: Final = "is refused: in hard launch nothing is done without attestation; remove it"
_MAX_PCCS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredConfig:
    """What the TEE measured: which machine this is, of which account, on which network, under which policy.

    `image`: digest of the image this code came in, as the compose file pins it.
    """

    role: Role
    image: CodeHash
    parameters: ComposeParameters

    @property
    def transfer(self) -> Transfer:
        """How key shares travel."""
        return Transfer(self.parameters.transfer)

    @property
    def near(self) -> NearConfig:
        """The NEAR node inside the TEE, which alone decides."""
        return NearConfig(
            rpc_url=self.parameters.near_rpc_url,
            chain_id=self.parameters.network.chain_id,
            genesis_hash=self.parameters.network.genesis_hash,
            contract_id=self.parameters.network.contract_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddresses:
    """Addresses of a node. `url`: its own, as the contract gets it.

    `listen`: where the backup service meets it; `public_listen`: where its public data is shown, with version 2 the
    same as `listen`.
    """

    pccs: tuple[str, ...]
    health_address: NetAddress
    public_listen: NetAddress
    url: str
    listen: NetAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServiceAddresses:
    """Addresses of a backup service. `endpoints`: NEAR endpoints outside, which may only veto.

    `node_agent_port`, `node_web_port`: the node's, at the host of the url on the contract; `node_web_url`: instead of
    both. `sibling`: where the account's other backup service listens; `listen`: where this one does.
    """

    pccs: tuple[str, ...]
    health_address: NetAddress
    public_listen: NetAddress
    endpoints: tuple[EndpointConfig, ...]
    node_agent_port: int
    node_web_port: int
    node_web_url: str | None
    sibling: NetAddress | None
    listen: NetAddress


def load_measured(path: Path) -> MeasuredConfig:
    """The measured configuration. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    _refuse_soft_launch(root)
    role = root.take("role", _role)
    network = {
        "chain_id": root.take("chain_id", plain_text),
        "genesis_hash": root.take("genesis_hash", plain_text),
        "contract_id": root.take("contract_id", AccountId),
    }
    values: dict[str, Any] = {
        "account_id": root.take("account_id", AccountId),
        "near_rpc_url": root.take("near_rpc_url", http_url),
        "transfer": root.take("transfer", transfer_version),
        "vault": root.take("vault", _vault, default=None),
        "slot": root.take("slot", _whole, default=None),
        "evidence_validity_seconds": root.take("evidence_validity_seconds", natural),
        "reattest_seconds": root.take("reattest_seconds", natural),
        "accepted_advisories": root.take("accepted_advisories", _words),
    }
    image = root.take("image", CodeHash)
    check_genesis(root, network["chain_id"], network["genesis_hash"])
    parameters = None if root.mistakes else _parameters(root, role, image, NetworkId(**network), values)
    root.finish()
    return MeasuredConfig(role=role, image=image, parameters=parameters)  # type: ignore[arg-type]  # a mistake was raised


def load_node_addresses(path: Path, transfer: Transfer) -> NodeAddresses:
    """The addresses of a node. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    common = _common(root)
    web = transfer is Transfer.WEB
    listen = root.take("listen", address, default=_published(NODE_WEB_PORT if web else NODE_AGENT_PORT))
    if web:
        common["public_listen"] = listen
    values = {"url": root.take("url", participant_url), "listen": listen}
    root.finish(rule=_NOT_MEASURED)
    return NodeAddresses(**common, **values)


def load_backup_service_addresses(path: Path, measured: MeasuredConfig) -> BackupServiceAddresses:
    """The addresses of a backup service. Raises `ConfigInvalid` with every mistake, one per line.

    `vault = "memory"` needs the sibling's address: a restart leaves the shares nowhere else.
    """
    root = open_config(path)
    values = {
        **_common(root),
        "endpoints": outside_endpoints(root, measured.parameters.near_rpc_url),
        "node_agent_port": root.take("node_agent_port", port_number, default=NODE_AGENT_PORT),
        "node_web_port": root.take("node_web_port", port_number, default=NODE_WEB_PORT),
        "node_web_url": root.take("node_web_url", base_url, default=None),
        "sibling": root.take("sibling", address, default=None),
        "listen": root.take("listen", address, default=_published(NODE_AGENT_PORT)),
    }
    if measured.parameters.vault is VaultKind.MEMORY and values["sibling"] is None:
        root.mistake("sibling", 'is missing: vault "memory" needs a second backup service, on another site')
    root.finish(rule=_NOT_MEASURED)
    return BackupServiceAddresses(**values)


def _common(root: ConfigRoot) -> dict[str, Any]:
    _refuse_soft_launch(root)
    return {
        "pccs": root.take("pccs", _pccs),
        "health_address": root.take(
            "health_address", loopback_address, default=NetAddress(host="127.0.0.1", port=9310)
        ),
        "public_listen": root.take("public_listen", address, default=_published(NODE_WEB_PORT)),
    }


def _refuse_soft_launch(root: ConfigRoot) -> None:
    root.take("unsafe_no_attestation", _soft_only, default=None)


def _parameters(
    root: ConfigRoot, role: Role, image: CodeHash, network: NetworkId, values: dict[str, Any]
) -> ComposeParameters | None:
    try:
        parameters = ComposeParameters(network=network, **values)
        parameters.measured_toml(role, image)
    except ValueError as error:
        name, colon, sentence = str(error).partition(": ")
        root.mistake(*((name, sentence) if colon else ("vault", str(error))))
        return None
    return parameters


def _published(port: int) -> NetAddress:
    return NetAddress(host=_EVERYWHERE, port=port)


# --- values ------------------------------------------------------------------------------------------


def _role(value: object) -> Role:
    try:
        return Role(plain_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(role.value for role in Role)}") from None


def _vault(value: object) -> VaultKind:
    try:
        return VaultKind(plain_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(VaultKind)}") from None


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # as all parsers of the tables
    return value


def _words(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("must be a list of texts")
    return frozenset(value)


def _pccs(value: object) -> tuple[str, ...]:
    urls = value if isinstance(value, list) else []
    if not 1 <= len(urls) <= _MAX_PCCS:
        raise ValueError(f'must be a list of 1 to {_MAX_PCCS} urls, like ["https://pccs.example:8081"]')
    found = tuple(http_url(url) for url in urls)
    if any(urlsplit(url).username for url in found):
        raise ValueError("must be urls without a name or password")
    return found


def _soft_only(_value: object) -> None:
    raise ValueError(_SOFT_ONLY)
