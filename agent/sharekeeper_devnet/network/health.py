"""`GET /health` of the reference node: always 200 while the process lives, with what it does.

`{"signing": true, "reason": null, "height": 17}`, or `false` and the sentence why it does not. `height` is the
final block that this was decided at, null before the first.
"""

from collections.abc import Callable

from aiohttp import web

from sharekeeper.config_values import NetAddress
from sharekeeper.errors import AddressInUse
from sharekeeper_devnet.network.standing import Signing, Standing


class HealthServer:
    """Serves the standing that `standing()` returns at the moment of the request."""

    def __init__(self, address: NetAddress, standing: Callable[[], Standing]) -> None:
        self._address = address
        self._standing = standing
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The TCP port listened on; the one chosen by the kernel when 0 was asked for."""
        if self._runner is None or not self._runner.addresses:
            return self._address.port
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self) -> None:
        """The port answers. Raises `AddressInUse`."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._address.host, self._address.port).start()
        except OSError as error:
            await self.stop()
            raise AddressInUse(
                f"cannot listen on {self._address.host}:{self._address.port}: {error.strerror or error}"
            ) from None

    async def stop(self) -> None:
        """The port is closed."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _request: web.Request) -> web.Response:
        standing = self._standing()
        reason = None if isinstance(standing, Signing) else standing.reason
        height = standing.block.height if standing.block is not None else None
        return web.json_response({"signing": reason is None, "reason": reason, "height": height})
