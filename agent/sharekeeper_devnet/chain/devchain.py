"""A dev chain in this process: blocks, state on disk, RPC on a port."""

from pathlib import Path
from typing import Self

from sharekeeper_devnet.chain.driver import Driver
from sharekeeper_devnet.chain.genesis import Genesis
from sharekeeper_devnet.chain.ledger import Tip
from sharekeeper_devnet.chain.rpc.methods import Methods
from sharekeeper_devnet.chain.rpc.server import Server
from sharekeeper_devnet.chain.rpc.views import NodeIdentity

DEFAULT_BLOCK_TIME_MS = 600
DEFAULT_POLLING_TIMEOUT_S = 10.0


class DevChain:
    """A single-node NEAR chain with JSON-RPC on `rpc_url`.

    For example::

    alice = GenesisAccount.with_full_access_key("alice.test.near", "ed25519:...")
    genesis = Genesis(chain_id="dev", genesis_time_ns=time.time_ns(), accounts=(alice,))
    async with DevChain(tmp_path, genesis, block_time_ms=20) as chain:
        ...  # any NEAR client on chain.rpc_url
    """

    def __init__(
        self,
        data_directory: Path,
        genesis: Genesis,
        *,
        block_time_ms: int | None = DEFAULT_BLOCK_TIME_MS,
        host: str = "127.0.0.1",
        port: int = 0,
        polling_timeout_s: float = DEFAULT_POLLING_TIMEOUT_S,
        identity: NodeIdentity | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            data_directory: where the chain lies; made when it is not there. One process at a time.
            genesis: what the chain starts with; must be the same at every start on one directory.
            block_time_ms: milliseconds between blocks; None leaves blocks to `produce_block` and `skip_to`.
            host: the only address the RPC listens on.
            port: its port; 0 takes a free one.
            polling_timeout_s: how long a request waits for a transaction before it answers 408.
            identity: who the node says it is in `status`.
        """
        self._driver = Driver(data_directory, genesis, block_time_ms)
        self._host, self._port = host, port
        self._polling_timeout_s = polling_timeout_s
        self._identity = identity or NodeIdentity()
        self._server: Server | None = None

    async def start(self) -> None:
        """The chain runs and `rpc_url` answers.

        Raises:
            StoreLockedError: another process runs on the directory.
            GenesisMismatchError: the directory holds a chain with another genesis.
            OSError: the address cannot be bound.
        """
        await self._driver.start()
        address = f"{self._host}:{self._port}"
        self._server = Server(Methods(self._driver, self._identity, address, self._polling_timeout_s))
        try:
            self._port = await self._server.start(self._host, self._port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Nothing runs; another process may use the directory."""
        if self._server is not None:
            await self._server.stop()
        await self._driver.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    @property
    def rpc_url(self) -> str:
        """Where clients connect, once started."""
        return f"http://{self._host}:{self._port}"

    @property
    def tip(self) -> Tip:
        """The newest blocks: head, and newest final one."""
        return self._driver.tip

    async def produce_block(self) -> None:
        """One more block is the head."""
        await self._driver.produce_block()

    async def skip_to(self, height: int) -> None:
        """One more block is the head, and its height is `height`; the heights before it have no block.

        Raises:
            ValueError: `height` is not above the head's.
        """
        await self._driver.produce_block(height)
