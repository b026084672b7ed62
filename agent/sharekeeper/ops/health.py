"""The daemon's own pages on the loopback: `/health`, `/metrics`, `/status`. They show public facts only."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self

from aiohttp import web

from sharekeeper.config_values import NetAddress
from sharekeeper.errors import AddressInUse
from sharekeeper.ops.report import Report, metrics_text

_HEALTHY: Final = 200
_UNHEALTHY: Final = 503
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""What is served at one path."""


class HealthServer:
    """Serves what `report` returns at the moment of each request."""

    def __init__(self, runner: web.AppRunner, site: web.TCPSite) -> None:
        self._runner = runner
        self._site = site

    @classmethod
    async def start(cls, address: NetAddress, report: Callable[[], Report]) -> Self:
        """The pages are served at `address`. Raises `AddressInUse`."""
        app = web.Application(client_max_size=1024)
        for path, page in {**public_pages(report), "/status": _page(report, _status)}.items():
            app.router.add_get(path, page)
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


def public_pages(report: Callable[[], Report]) -> dict[str, Page]:
    """The pages that may be served to other machines too, by path."""
    return {"/health": _page(report, _health), "/metrics": _page(report, _metrics)}


def public_data_page(public_data: Callable[[], Mapping[str, Any]]) -> Page:
    """The page that shows what `public_data` returns: public keys, which nobody may take from it without another proof.

    In hard launch the proof stands beside them: evidence over both keys.
    """

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(dict(public_data()))

    return handle


def _page(report: Callable[[], Report], render: Callable[[Report], web.Response]) -> Page:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return render(report())

    return handle


def _health(report: Report) -> web.Response:
    status = _UNHEALTHY if report.reasons else _HEALTHY
    found = {"healthy": not report.reasons, "reasons": list(report.reasons)}
    return web.json_response(found | ({"warnings": list(report.warnings)} if report.warnings else {}), status=status)


def _metrics(report: Report) -> web.Response:
    return web.Response(body=metrics_text(report.metrics).encode(), headers={"Content-Type": _METRICS_TYPE})


def _status(report: Report) -> web.Response:
    return web.json_response(dict(report.status))
