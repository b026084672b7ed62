"""The evidence that `sharekeeper attestation` reads, in its three forms (docs/cli.md)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from sharekeeper.attestation.evidence import decode_event, decode_evidence
from sharekeeper.attestation.report_data import registration_report_data
from sharekeeper.domain.attestation import Evidence
from sharekeeper.domain.identity import SignerKey, TlsKey
from sharekeeper.errors import AttestationUnavailable, ConfigInvalid
from sharekeeper.protocol.codec import DecodeError, array, canonical_json, field, parse_json, text
from sharekeeper.spec import MAX_EVENTS, PUBLIC_DATA_PATH

MAX_INPUT_BYTES: Final = 1024 * 1024
"""Largest file or answer that is read: near/mpc prints each byte of a quote as a number."""

_DEADLINE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a machine shows: its evidence, and the keys it says are its own, if it says so."""

    evidence: Evidence
    keys: tuple[TlsKey, SignerKey] | None

    @property
    def report_data(self) -> bytes | None:
        """What the evidence of a registration with those keys is made for."""
        return None if self.keys is None else registration_report_data(*self.keys)


def read_shown(path: Path) -> Shown:
    """The evidence in a file. Raises `ConfigInvalid`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    return decode_shown(data, str(path))


def fetch_shown(url: str) -> Shown:
    """The evidence that a machine shows at `url`, its base url. Raises `AttestationUnavailable`, `ConfigInvalid`."""
    return decode_shown(asyncio.run(_fetch(url.rstrip("/") + PUBLIC_DATA_PATH)), url)


async def _fetch(url: str) -> bytes:
    import aiohttp  # noqa: PLC0415  # slow to import, and files need none

    timeout = aiohttp.ClientTimeout(total=_DEADLINE_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as answer:
            if answer.status != HTTPStatus.OK:
                raise AttestationUnavailable(f"{url} answers with status {answer.status}")
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > MAX_INPUT_BYTES:
                    break
            return bytes(data)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AttestationUnavailable(f"{url} cannot be read: {error or 'no answer in time'}") from None


def decode_shown(data: bytes, source: str) -> Shown:
    """Evidence as we write it, a page /public_data of our daemons, or one of near/mpc's. Raises `ConfigInvalid`."""
    try:
        if len(data) > MAX_INPUT_BYTES:
            raise DecodeError(f"more than {MAX_INPUT_BYTES} bytes")
        value = parse_json(data)
        if not isinstance(value, dict):
            raise DecodeError("not a JSON object")
        if "tee_participant_info" in value:
            return _near_mpc(value)
        if "evidence" in value:
            return _own_page(value)
        return Shown(evidence=decode_evidence(canonical_json(value)), keys=None)
    except ValueError as error:
        raise ConfigInvalid(f"{source} shows no evidence: {error}") from None


def _own_page(value: Mapping[str, Any]) -> Shown:
    if value["evidence"] is None:
        raise DecodeError("the machine has none just now")
    keys = TlsKey.parse(text(value, "tls_public_key")), SignerKey.parse(text(value, "account_public_key"))
    return Shown(evidence=decode_evidence(canonical_json(value["evidence"])), keys=keys)


def _near_mpc(value: Mapping[str, Any]) -> Shown:
    attestation = field(value, "tee_participant_info")
    if not isinstance(attestation, dict) or "Dstack" not in attestation:
        raise DecodeError("its attestation is a mock: only Dstack's comes from a TEE")
    shown = attestation["Dstack"]
    info = field(shown, "tcb_info")
    evidence = Evidence(
        quote=_bytes(field(shown, "quote")),
        events=tuple(decode_event(entry) for entry in array(info, "event_log", maximum=MAX_EVENTS)),
        app_compose=text(info, "app_compose"),
        collateral=_near_mpc_collateral(field(shown, "collateral")),
    )
    keys = TlsKey.parse(text(value, "near_p2p_public_key")), SignerKey.parse(text(value, "near_signer_public_key"))
    return Shown(evidence=evidence, keys=keys)


def _near_mpc_collateral(value: object) -> str:
    if not isinstance(value, dict):
        raise DecodeError("the collateral is not an object")
    return json.dumps({name: _bytes(one).hex() if isinstance(one, list) else one for name, one in value.items()})


def _bytes(value: object) -> bytes:
    """Bytes as near/mpc prints them (a list of numbers), or hex."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise DecodeError("bytes are written as a list of numbers, or hex")
    return bytes(value)
