"""What participants vote for, as the arguments of the contract's calls, made from its state as it is now.

`sharekeeper operator vote` sends them; all operators vote with the same file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import NodeKeys
from sharekeeper.errors import ChainAnswerInvalid, OperatorFault
from sharekeeper.protocol.codec import DecodeError, array, field, integer
from sharekeeper_devnet.network.dealer import DOMAIN_KINDS

PURPOSES: Final[Mapping[str, str]] = {kind.protocol: kind.purpose for kind in DOMAIN_KINDS}
"""What a domain of each protocol is for."""


async def add_domains_arguments(rpc: NearRpc, protocols: Sequence[str], threshold: int) -> dict[str, Any]:
    """Arguments of `vote_add_domains`: one new domain per protocol, each with that reconstruction threshold.

    Raises:
        OperatorFault: the contract is not in Running.
        ChainFault: as every read.
    """
    running = await _running(rpc, from_recovery=False)
    first = _decoded(lambda: integer(field(running, "domains"), "next_domain_id"))
    domains = [
        {"id": number, "protocol": protocol, "reconstruction_threshold": threshold, "purpose": PURPOSES[protocol]}
        for number, protocol in enumerate(protocols, first)
    ]
    return {"domains": domains}


async def new_parameters_arguments(
    rpc: NearRpc, members: Sequence[AccountId], threshold: int, domain_thresholds: Mapping[int, int]
) -> dict[str, Any]:
    """Arguments of `vote_new_parameters`: the network is to consist of `members`, with that governance threshold.

    Participants keep their id and info; the others join as the candidates that the contract has recorded.
    `domain_thresholds`: new reconstruction thresholds by domain id; the other domains keep theirs.

    Raises:
        OperatorFault: the contract is neither in Running nor in Recovery, or a new member has no candidate.
        ChainFault: as every read.
    """
    running = await _running(rpc, from_recovery=True)
    participants = _decoded(lambda: field(field(running, "parameters"), "participants"))
    current = {entry[0]: entry for entry in _decoded(lambda: array(participants, "participants"))}
    next_id = _decoded(lambda: integer(participants, "next_id"))
    entries = [entry for account_id, entry in current.items() if account_id in members]
    for account_id in members:
        if account_id not in current:
            entries.append([account_id, next_id, _info(await _candidate(rpc, account_id))])
            next_id += 1
    return {
        "prospective_epoch_id": _decoded(lambda: _next_epoch(running)),
        "proposal": {
            "parameters": {"participants": {"next_id": next_id, "participants": entries}, "threshold": threshold},
            "per_domain_thresholds": {str(number): n for number, n in domain_thresholds.items()},
        },
    }


async def _running(rpc: NearRpc, *, from_recovery: bool) -> object:
    state = await rpc.view("state", {}, await rpc.head())
    if isinstance(state, dict) and "Running" in state:
        return state["Running"]
    if from_recovery and isinstance(state, dict) and "Recovery" in state:
        return _decoded(lambda: field(state["Recovery"], "previous_running_state"))
    name = next(iter(state)) if isinstance(state, dict) and state else state
    raise OperatorFault(f"{rpc.contract_id} is in {name}; wait until it is in Running")


async def _candidate(rpc: NearRpc, account_id: AccountId) -> NodeKeys:
    candidate = (await rpc.account(account_id, await rpc.head())).node_candidate
    if candidate is None:
        raise OperatorFault(f"{account_id} has announced no node; start its node agent, which does")
    return candidate


def _info(candidate: NodeKeys) -> dict[str, str]:
    return {"url": candidate.info.url, "tls_public_key": str(candidate.info.tls_public_key)}


def _next_epoch(running: object) -> int:
    cancelled = field(running, "previously_cancelled_resharing_epoch_id") or 0
    return 1 + max(integer(field(running, "keyset"), "epoch_id"), integer({"epoch_id": cancelled}, "epoch_id"))


def _decoded(read: Callable[[], Any]) -> Any:  # noqa: ANN401  # JSON
    try:
        return read()
    except DecodeError as error:
        raise ChainAnswerInvalid(f"view state: {error}") from None
