"""A provisioning certificate caching service: the four questions that collateral is made of, over HTTP.

Its mood is what a rehearsal sets: an honest service, or one that is down, hangs, or publishes what is not true.
"""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from aiohttp import web

from sharekeeper.config_values import NetAddress
from sharekeeper_devnet.tee.pki import COLLATERAL_SECONDS, Collateral, MockIntel
from sharekeeper_devnet.tee.tcb import FMSPC

_ANY_PORT: Final = NetAddress(host="127.0.0.1", port=0)
_ISSUED_BEFORE_SECONDS: Final = 3600
_STALE_SECONDS: Final = COLLATERAL_SECONDS + 86_400
_SHUTDOWN_SECONDS: Final = 0.2
_PCK_CRL_CHAIN: Final = "SGX-PCK-CRL-Issuer-Chain"
_TCB_INFO_CHAIN: Final = "TCB-Info-Issuer-Chain"
_QE_IDENTITY_CHAIN: Final = "SGX-Enclave-Identity-Issuer-Chain"


class Mood(StrEnum):
    """How a PCCS answers."""

    HONEST = "honest"
    DOWN = "down"  # status 503
    HANGS = "hangs"  # takes the request and never answers
    STALE = "stale"  # what was true once and has expired
    LIES = "lies"  # well formed, all of it signed by somebody else
    GARBAGE = "garbage"  # status 200 and no collateral


class Pccs:
    """A PCCS of that Intel. `mood` may be changed at any time; `asked` counts the requests it got."""

    def __init__(
        self,
        intel: MockIntel,
        *,
        mood: Mood = Mood.HONEST,
        now_s: Callable[[], float] = time.time,
        listen: NetAddress = _ANY_PORT,
    ) -> None:
        self.mood = mood
        self.asked = 0
        self.revoked_hosts: tuple[str, ...] = ()
        self._intel = intel
        self._impostor = MockIntel.create(intel.now_s)
        self._now_s = now_s
        self._listen = listen
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """It listens; its URL, as a list of PCCS names it."""
        application = web.Application()
        application.router.add_get("/sgx/certification/v4/pckcrl", self._pck_crl)
        application.router.add_get("/sgx/certification/v4/rootcacrl", self._root_ca_crl)
        application.router.add_get("/tdx/certification/v4/tcb", self._tcb)
        application.router.add_get("/tdx/certification/v4/qe/identity", self._qe_identity)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._listen.host, self._listen.port).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """It no longer listens; a request that hangs is dropped."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _pck_crl(self, request: web.Request) -> web.Response:
        def answer(collateral: Collateral) -> web.Response:
            der = request.query.get("encoding") == "der"
            body = collateral.pck_crl if der else collateral.pck_crl.hex().encode()
            return _chained(body, _PCK_CRL_CHAIN, collateral.pck_crl_issuer_chain)

        return await self._answer(answer)

    async def _root_ca_crl(self, _request: web.Request) -> web.Response:
        return await self._answer(lambda collateral: web.Response(text=collateral.root_ca_crl.hex()))

    async def _tcb(self, request: web.Request) -> web.Response:
        if request.query.get("fmspc", "").upper() != FMSPC.hex().upper():
            raise web.HTTPNotFound
        return await self._answer(
            lambda collateral: _chained(
                _signed("tcbInfo", collateral.tcb_info, collateral.tcb_info_signature),
                _TCB_INFO_CHAIN,
                collateral.signing_chain,
            )
        )

    async def _qe_identity(self, _request: web.Request) -> web.Response:
        return await self._answer(
            lambda collateral: _chained(
                _signed("enclaveIdentity", collateral.qe_identity, collateral.qe_identity_signature),
                _QE_IDENTITY_CHAIN,
                collateral.signing_chain,
            )
        )

    async def _answer(self, answer: Callable[[Collateral], web.Response]) -> web.Response:
        self.asked += 1
        now_s = int(self._now_s())
        issuer, issued_at_s = self._intel, now_s - _ISSUED_BEFORE_SECONDS
        match self.mood:
            case Mood.DOWN:
                raise web.HTTPServiceUnavailable
            case Mood.HANGS:
                await asyncio.Event().wait()
            case Mood.GARBAGE:
                return web.Response(text="<html>maintenance</html>")
            case Mood.STALE:
                issued_at_s = now_s - _STALE_SECONDS
            case Mood.LIES:
                issuer = self._impostor
            case Mood.HONEST:
                pass
        return answer(issuer.publish(issued_at_s=issued_at_s, revoked_hosts=self.revoked_hosts))


def _signed(name: str, text: str, signature: bytes) -> bytes:
    return f'{{"{name}":{text},"signature":"{signature.hex()}"}}'.encode()


def _chained(body: bytes, header: str, chain: str) -> web.Response:
    return web.Response(body=body, headers={header: quote(chain)})
