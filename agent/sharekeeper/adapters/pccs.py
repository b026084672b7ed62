"""One PCCS (or Intel's own PCS), asked for the collateral of a platform.

Plain HTTP(S) with a limit on every answer: a service that never stops sending must not fill the TEE's memory.
Certificates of the transport are not checked, since a PCCS beside the host has none worth checking: what counts
is Intel's signature on each document, and `check_collateral` checks it.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from sharekeeper.attestation.collateral_check import Platform
from sharekeeper.errors import AttestationUnavailable
from sharekeeper.protocol.codec import DecodeError, field, parse_json, text
from sharekeeper.spec import MAX_COLLATERAL_BYTES

INTEL_HOST: Final = "api.trustedservices.intel.com"
INTEL_ROOT_CRL_URL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
"""Intel's own service does not serve the root's revocation list; this is where the root certificate says it is."""

_SGX: Final = "/sgx/certification/v4"
_TDX: Final = "/tdx/certification/v4"
_MAX_HEADER_BYTES: Final = 32 * 1024
_OK: Final = 200
_DER: Final = b"\x30"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    body: bytes
    headers: dict[str, str]

    def chain(self, *names: str) -> str:
        """The PEM chain in the first header of `names` that is there."""
        for name in names:
            if name.lower() in self.headers:
                return unquote(self.headers[name.lower()])
        raise DecodeError(f"an answer lacks the header {names[0]}")


class Pccs:
    """A PCCS by its url, `https://host:port` with or without the path of its API."""

    def __init__(self, url: str) -> None:
        self._base = url.rstrip("/").removesuffix(_SGX).removesuffix(_TDX)
        self.host: Final = urlsplit(self._base).netloc.rpartition("@")[2]
        """What messages call it: a url may carry a key."""

    async def fetch(self, platform: Platform, *, timeout_seconds: float) -> str:
        """What it publishes for that platform, as dcap-qvl's JSON text. Not checked.

        Raises:
            AttestationUnavailable: no whole answer before the deadline; the message names the host and the reason.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            max_field_size=_MAX_HEADER_BYTES,
        )
        try:
            async with asyncio.timeout(timeout_seconds), session:
                return await self._collateral(session, platform)
        except TimeoutError:
            reason = f"no answer within {timeout_seconds:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = f"no answer ({type(error).__name__})"
        except ValueError as error:
            reason = f"no collateral ({error})"
        raise AttestationUnavailable(f"{self.host}: {reason}")

    async def _collateral(self, session: aiohttp.ClientSession, platform: Platform) -> str:
        intel = self.host.partition(":")[0] == INTEL_HOST
        urls = (
            f"{self._base}{_SGX}/pckcrl?ca={platform.ca}&encoding=der",
            f"{self._base}{_TDX}/tcb?fmspc={platform.fmspc}",
            f"{self._base}{_TDX}/qe/identity?update=standard",
            INTEL_ROOT_CRL_URL if intel else f"{self._base}{_SGX}/rootcacrl",
        )
        pck_crl, tcb_info, qe_identity, root_crl = await asyncio.gather(*(_get(session, url) for url in urls))
        fields = {
            "pck_crl_issuer_chain": pck_crl.chain("SGX-PCK-CRL-Issuer-Chain"),
            "root_ca_crl": _revocation_list(root_crl.body),
            "pck_crl": _revocation_list(pck_crl.body),
            "tcb_info_issuer_chain": tcb_info.chain("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
            "qe_identity_issuer_chain": qe_identity.chain("SGX-Enclave-Identity-Issuer-Chain"),
            **_signed(tcb_info.body, "tcbInfo", "tcb_info"),
            **_signed(qe_identity.body, "enclaveIdentity", "qe_identity"),
        }
        return json.dumps(fields)


async def _get(session: aiohttp.ClientSession, url: str) -> _Answer:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != _OK:
            raise DecodeError(f"HTTP {response.status} to {urlsplit(url).path}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_COLLATERAL_BYTES:
                raise DecodeError(f"more than {MAX_COLLATERAL_BYTES} bytes to {urlsplit(url).path}")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return _Answer(body=bytes(body), headers=headers)


def _revocation_list(body: bytes) -> str:
    """In hex; PCCSs answer in hex, Intel in DER."""
    return body.hex() if body.startswith(_DER) else bytes.fromhex(body.decode("ascii").strip()).hex()


def _signed(body: bytes, name: str, to: str) -> dict[str, Any]:
    """The document and its signature. The document is written again as Intel wrote it: in its order, without spaces."""
    answer = parse_json(body)
    document = json.dumps(field(answer, name), separators=(",", ":"), ensure_ascii=False)
    return {to: document, f"{to}_signature": text(answer, "signature")}
