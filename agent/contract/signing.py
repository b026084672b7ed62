"""Signature requests: a bounded ring of them, answered by signatures the contract verifies itself."""

import json

from contract import codec, domains, records
from contract.codec import ContractError
from contract.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.records import Store
    from contract.views import Reader

MOST_OPEN = 32
REMEMBERED = 64
LARGEST_PAYLOAD_BYTES = 1024
SIGNATURE_BYTES = 64


def slot(request_id: int) -> str:
    return f"request/{request_id % REMEMBERED}"


def load_request(store: "Store", request_id: int) -> "dict[str, Any] | None":
    """The request, or None when it is unknown or forgotten."""
    request: dict[str, Any] | None = records.load(store, slot(request_id))
    return request if request is not None and request["request_id"] == request_id else None


def open_requests(store: "Store", height: int) -> list[list[int]]:
    """[id, height at which it expires] of the requests open at `height`, oldest first."""
    return [entry for entry in records.load(store, "requests") or [] if height < entry[1]]


def sign(session: Session, arguments: "Json") -> dict[str, int]:
    """Stores a request for a signature by a Frost domain's key."""
    given = codec.fields(arguments, "arguments", ("request",))
    request = codec.fields(given["request"], "request", ("domain_id", "payload"))
    domain_id = codec.integer(request["domain_id"], "request.domain_id")
    codec.hexadecimal(request["payload"], "request.payload", 1, LARGEST_PAYLOAD_BYTES)
    domain_public_key(session, domain_id)
    header = session.header
    header.last_request_id += 1
    request_id = header.last_request_id
    entries = open_requests(session.store, session.height)
    if len(entries) >= MOST_OPEN or (entries and entries[0][0] <= request_id - REMEMBERED):
        raise ContractError(f"too many signature requests are open; call again from block {entries[0][1]}")
    expires_on = session.height + session.config["request_timeout_blocks"]
    entries.append([request_id, expires_on])
    records.save(session.store, "requests", entries)
    stored = {
        "request_id": request_id,
        "domain_id": domain_id,
        "payload": request["payload"],
        "signature": None,
        "requested_in": session.height,
        "expires_on": expires_on,
    }
    records.save(session.store, slot(request_id), stored)
    return {"request_id": request_id}


def domain_public_key(session: Session, domain_id: int) -> bytes:
    """The Ed25519 key of a Frost domain; other domains are refused by name."""
    line = domains.registry_line(session.store.get("domains") or "", domain_id)
    if line == "":
        raise ContractError(f"there is no domain {domain_id}; read the view state")
    protocol = json.loads(line)["protocol"]
    if protocol != "Frost":
        raise ContractError(f"domain {domain_id} is of {protocol}; this contract signs for Frost domains only")
    entry = json.loads(domains.keyset_entry(session.store.get("keyset") or "", domain_id))
    return codec.ed25519_bytes(domains.key_text(entry["key"]))


def respond(session: Session, arguments: "Json") -> None:
    """Stores the signature of a request once the domain's key verifies it; a repeat changes nothing."""
    given = codec.fields(arguments, "arguments", ("request_id", "signature"))
    request_id = codec.integer(given["request_id"], "request_id")
    signature = codec.hexadecimal(given["signature"], "signature", SIGNATURE_BYTES, SIGNATURE_BYTES)
    session.require_participant()
    request = load_request(session.store, request_id)
    if request is None:
        raise ContractError(f"signature request {request_id} is unknown or forgotten; see open_signature_requests")
    payload = codec.hexadecimal(request["payload"], "payload", 1, LARGEST_PAYLOAD_BYTES)
    if not session.chain.ed25519_verify(signature, payload, domain_public_key(session, request["domain_id"])):
        raise ContractError("the signature does not verify under the domain's public key; sign the payload again")
    if request["signature"] is not None:
        return
    if session.height >= request["expires_on"]:
        raise ContractError(f"signature request {request_id} expired at block {request['expires_on']}; ask for another")
    request["signature"] = given["signature"]
    records.save(session.store, slot(request_id), request)
    entries = open_requests(session.store, session.height)
    records.save(session.store, "requests", [entry for entry in entries if entry[0] != request_id])


def signature_request(reader: "Reader", arguments: "Json") -> str:
    given = codec.fields(arguments, "arguments", ("request_id",))
    return json.dumps(load_request(reader.store, codec.integer(given["request_id"], "request_id")))


def open_signature_requests(reader: "Reader", arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    requests = [reader.store.get(slot(entry[0])) or "null" for entry in open_requests(reader.store, reader.height)]
    return f"[{','.join(requests)}]"
