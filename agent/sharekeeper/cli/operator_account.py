"""Who signs an operator's own calls: the options that say so, and what they lead to."""

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.cli.common import ACCOUNT_ID, FILE
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config_values import NearConfig
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId
from sharekeeper.keys import read_operator_key

_OPTIONS = (
    click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account."),
    click.option(
        "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAccount:
    """The operator's account on a chain, with his full-access key."""

    near: NearConfig
    account_id: AccountId
    key: KeyPair

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[NearRpc, NearCaller]]:
        """A reader of the chain and a caller of the contract. Raises `WrongNetwork`, `ChainUnavailable`."""
        async with connected(self.near) as (rpc, _):
            yield (
                rpc,
                NearCaller(
                    rpc=rpc,
                    account_id=self.account_id,
                    key=self.key,
                    contract_id=self.near.contract_id,
                    clock=SystemClock(),
                ),
            )


def operator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options above and those of the chain; passes `operator`, an `OperatorAccount`."""

    @functools.wraps(command)
    def wrapped(
        *,
        near: NearConfig,
        config_path: object,
        account_id: AccountId,
        key_file: Path,
        **others: Any,  # noqa: ANN401  # the command's own
    ) -> Any:  # noqa: ANN401  # the command's own
        del config_path
        operator = OperatorAccount(near=near, account_id=account_id, key=read_operator_key(key_file))
        return command(operator=operator, **others)

    taken = near_options(wrapped)
    for option in reversed(_OPTIONS):
        taken = option(taken)
    return taken
