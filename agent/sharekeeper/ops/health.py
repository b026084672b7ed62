"""The daemon's own pages on the loopback: `/health`, `/metrics`, `/status`. They show public facts only."""

from collections.abc import Awaitable, Callable
from typing import Final, Self

from aiohttp import web

from sharekeeper.config import NetAddress
from sharekeeper.errors import AddressInUse
from sharekeeper.ops.report import Report, metrics_text

_HEALTHY: Final = 200
_UNHEALTHY: Final = 503
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """Serves what `report` returns at the moment of each request."""

    def __init__(self, runner: web.AppRunner, site: web.TCPSite) -> None:
        self._runner = runner
        self._site = site

    @classmethod
    async def start(cls, address: NetAddress, report: Callable[[], Report]) -> Self:
        """The pages are served at `address`. Raises `AddressInUse`."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/health", _page(report, _health))
        app.router.add_get("/metrics", _page(report, _metrics))
        app.router.add_get("/status", _page(report, _status))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise AddressInUse(
                f"cannot serve health at {address.host}:{address.port} ({error.strerror}): free it or set health_address"
            ) from None
        return cls(runner, site)

    @property
    def port(self) -> int:
        """The port served, the one the system chose when the address had port 0."""
        host_and_port: tuple[str, int] = self._runner.addresses[0]
        return host_and_port[1]

    async def stop(self) -> None:
        """The pages are gone."""
        await self._runner.cleanup()


def _page(
    report: Callable[[], Report], render: Callable[[Report], web.Response]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return render(report())

    return handle


def _health(report: Report) -> web.Response:
    status = _UNHEALTHY if report.reasons else _HEALTHY
    return web.json_response({"healthy": not report.reasons, "reasons": list(report.reasons)}, status=status)


def _metrics(report: Report) -> web.Response:
    return web.Response(body=metrics_text(report.metrics).encode(), headers={"Content-Type": _METRICS_TYPE})


def _status(report: Report) -> web.Response:
    return web.json_response(dict(report.status))
