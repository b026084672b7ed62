"""What the contract stores: one storage key per entity, each a JSON text or lines of text.

| storage key                       | entity                                                                         |
|-----------------------------------|--------------------------------------------------------------------------------|
| header                            | protocol state, threshold, counters, keyset digest, configuration              |
| participants                      | a line for each: near/mpc's triple, in the order of their participant ids      |
| prospective                       | accounts with a candidate that are no participants                             |
| account/<account>                 | its key pairs, cooldown, waiver votes                                          |
| key/<key>                         | what this signer or TLS key stands for, for ever                               |
| founding_keys                     | the same for the keys `init` was given: lines `signer key, TLS key, account`   |
| domains                           | a line for each domain: its registry entry; in Initializing the new ones too   |
| keyset                            | a line for each domain: its keyset entry; in Initializing those generated      |
| canonical                         | the same as the lines of the canonical keyset                                  |
| votes/<kind>                      | open votes: [choice, voters, ...]                                              |
| proposal/<place>                  | the proposal first voted for by the participant of that place in the order     |
| recovery                          | the Recovery in progress                                                       |
| key_event                         | the key event under way in Initializing and Resharing                          |
| cancel_keygen                     | participant ids that want the key generation cancelled                         |
| resharing                         | the parameters proposed, and who wants the resharing cancelled                 |
| resharing/participants            | the participant set that takes over, lines as above                            |
| resharing/keyset                  | keyset entries of the domains reshared so far, a line each                     |
| resharing/canonical               | the same as the lines of the canonical keyset                                  |
| ephemeral/<role>/<slot>/<account> | the last ephemeral key record of that role for that slot                       |
| allowed/<kind>                    | lines of height:value, what code may run and the height at which that ends     |
| code-votes/<kind>                 | lines of account:proposal, the open votes on that                              |
| requests                          | open signature requests: [id, height at which it expires]                      |
| request/<place>                   | a signature request, place = id modulo the number remembered                   |
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from contract.codec import Json

    class Store(Protocol):
        """Storage as NEAR offers it: texts under keys."""

        def get(self, key: str) -> str | None: ...
        def set(self, key: str, value: str) -> None: ...
        def remove(self, key: str) -> None: ...


# Protocol states. An expired Recovery is a state of its own, never stored (logic.py).
NOT_INITIALIZED = "NotInitialized"
INITIALIZING = "Initializing"
RUNNING = "Running"
RESHARING = "Resharing"
RECOVERY = "Recovery"
EXPIRED = "Expired"

NODE = "node"
BACKUP_SERVICE = "backup-service"
SIGNER = "signer"
TLS = "tls"
SLOTS = (0, 1)
"""An account has a backup service in each of its slots, or none."""


def load(store: "Store", key: str) -> "Any":  # noqa: ANN401 - each reader knows the shape of what it wrote
    """The value under `key`, or None."""
    stored = store.get(key)
    return None if stored is None else json.loads(stored)


def save(store: "Store", key: str, value: "Json") -> None:
    store.set(key, json.dumps(value))


def remove(store: "Store", key: str) -> None:
    if store.get(key) is not None:
        store.remove(key)


class Pair:
    """The two keys of one machine, for a node its url, and [digest, time] of its evidence if it has named any."""

    def __init__(self, signer: str, tls: str, url: str = "", evidence: "list[Any] | None" = None) -> None:
        self.signer = signer
        self.tls = tls
        self.url = url
        self.evidence = evidence


def pair_from(stored: "list[Any] | None") -> Pair | None:
    return None if stored is None else Pair(stored[0], stored[1], stored[2], stored[3:] or None)


def pair_to(pair: Pair | None) -> "list[Any] | None":
    return None if pair is None else [pair.signer, pair.tls, pair.url] + (pair.evidence or [])


class Header:
    """Everything every call looks at. `state` is what is stored; an expired Recovery still reads Recovery here."""

    def __init__(self, store: "Store") -> None:
        self.loaded = store.get("header")
        stored = {} if self.loaded is None else json.loads(self.loaded)
        self.state: str = stored.get("state", NOT_INITIALIZED)
        self.threshold: int = stored.get("threshold", 0)
        self.next_participant_id: int = stored.get("next_participant_id", 0)
        self.epoch_id: int = stored.get("epoch_id", 0)
        self.keyset_digest: str = stored.get("keyset_digest", "")
        self.next_domain_id: int = stored.get("next_domain_id", 0)
        self.previously_cancelled_epoch_id: int | None = stored.get("previously_cancelled_epoch_id")
        self.last_recovery_id: int = stored.get("last_recovery_id", 0)
        self.last_request_id: int = stored.get("last_request_id", 0)
        self.config: dict[str, int] = stored.get("config", {})

    def save(self, store: "Store") -> None:
        """Written only when it changed, since a write costs more than anything else a call does."""
        stored = json.dumps(
            {
                "state": self.state,
                "threshold": self.threshold,
                "next_participant_id": self.next_participant_id,
                "epoch_id": self.epoch_id,
                "keyset_digest": self.keyset_digest,
                "next_domain_id": self.next_domain_id,
                "previously_cancelled_epoch_id": self.previously_cancelled_epoch_id,
                "last_recovery_id": self.last_recovery_id,
                "last_request_id": self.last_request_id,
                "config": self.config,
            }
        )
        if stored != self.loaded:
            store.set("header", stored)


class Account:
    """One account's machines. An account never seen before is one without any; without a store it is such a one."""

    def __init__(self, store: "Store | None", account_id: str) -> None:
        stored = {} if store is None else load(store, f"account/{account_id}") or {}
        self.account_id = account_id
        self.participant_id: int | None = stored.get("participant_id")
        self.node = pair_from(stored.get("node"))
        self.candidate = pair_from(stored.get("candidate"))
        self.backup_services = [pair_from(pair) for pair in stored.get("backup_services", [None, None])]
        self.cooldown_until: int = stored.get("cooldown_until", 0)
        self.waived_by: list[str] = stored.get("waived_by", [])
        self.pairs_recorded: int = stored.get("pairs_recorded", 0)

    def save(self, store: "Store") -> None:
        save(
            store,
            f"account/{self.account_id}",
            {
                "participant_id": self.participant_id,
                "node": pair_to(self.node),
                "candidate": pair_to(self.candidate),
                "backup_services": [pair_to(pair) for pair in self.backup_services],
                "cooldown_until": self.cooldown_until,
                "waived_by": self.waived_by,
                "pairs_recorded": self.pairs_recorded,
            },
        )

    def is_participant(self) -> bool:
        return self.participant_id is not None

    def slot_of(self, signer: str) -> int | None:
        """The slot whose backup service in force has this signer key, or None."""
        for slot in SLOTS:
            pair = self.backup_services[slot]
            if pair is not None and pair.signer == signer:
                return slot
        return None

    def begin_cooldown(self, height: int, config: dict[str, int]) -> None:
        """The account waits from `height` on; waiver votes of an earlier wait no longer count."""
        self.cooldown_until = height + config["recovery_cooldown_blocks"]
        self.waived_by = []


class KeyRecord:
    """What a key was first used for; never removed, and changed only if it signs after a stranger named it as TLS key."""

    def __init__(self, account_id: str, role: str, kind: str, partner: str) -> None:
        self.account_id = account_id
        self.role = role
        self.kind = kind
        self.partner = partner


def key_record(store: "Store", key: str) -> KeyRecord | None:
    stored = load(store, f"key/{key}")
    return founding_key_record(store, key) if stored is None else KeyRecord(stored[0], stored[1], stored[2], stored[3])


def founding_key_record(store: "Store", key: str) -> KeyRecord | None:
    """The record of a key that `init` put in force."""
    lines = store.get("founding_keys") or ""
    place = lines.find(f"{key} ")
    if place < 0:
        return None
    signer, tls, account_id = lines[lines.rfind("\n", 0, place) + 1 : lines.find("\n", place)].split(" ")
    return KeyRecord(account_id, NODE, SIGNER, tls) if key == signer else KeyRecord(account_id, NODE, TLS, signer)


def record_pair(store: "Store", account_id: str, role: str, pair: Pair) -> None:
    save(store, f"key/{pair.signer}", [account_id, role, SIGNER, pair.tls])
    save(store, f"key/{pair.tls}", [account_id, role, TLS, pair.signer])


class Recovery:
    """The Recovery in progress; heights in blocks."""

    def __init__(self, recovery_id: int, account_id: str, pair: Pair, started_in: int, expires_on: int) -> None:
        self.recovery_id = recovery_id
        self.account_id = account_id
        self.pair = pair
        self.started_in = started_in
        self.expires_on = expires_on
        self.shares_confirmed = False
        self.cancel_votes: list[str] = []

    def save(self, store: "Store") -> None:
        save(
            store,
            "recovery",
            {
                "recovery_id": self.recovery_id,
                "account_id": self.account_id,
                "pair": pair_to(self.pair),
                "started_in": self.started_in,
                "expires_on": self.expires_on,
                "shares_confirmed": self.shares_confirmed,
                "cancel_votes": self.cancel_votes,
            },
        )


def load_recovery(store: "Store") -> Recovery | None:
    stored = load(store, "recovery")
    if stored is None:
        return None
    pair = pair_from(stored["pair"])
    if pair is None:
        return None
    recovery = Recovery(stored["recovery_id"], stored["account_id"], pair, stored["started_in"], stored["expires_on"])
    recovery.shares_confirmed = stored["shares_confirmed"]
    recovery.cancel_votes = stored["cancel_votes"]
    return recovery


def entry_line(account_id: str, participant_id: int, url: str, tls: str) -> str:
    """near/mpc's triple. Account ids, urls and keys need no escaping: the characters allowed in them need none."""
    return f'["{account_id}",{participant_id},{{"url":"{url}","tls_public_key":"{tls}"}}]'


def node_line(account_id: str, participant_id: int, pair: Pair) -> str:
    return entry_line(account_id, participant_id, pair.url, pair.tls)


def participant_lines(store: "Store") -> str:
    return store.get("participants") or ""


def participants(store: "Store") -> "list[list[Any]]":
    """near/mpc's triples, in the order of their participant ids."""
    entries: list[list[Any]] = json.loads("[" + participant_lines(store).replace("\n", ",") + "]")
    return entries


def number_of_participants(lines: str) -> int:
    return lines.count("\n") + 1


def participant_id_in(lines: str, account_id: str) -> int | None:
    """The participant id of an account in a participant set; None when it is not of the set."""
    start = f'["{account_id}",'
    place = lines.find(start)
    if place < 0:
        return None
    place += len(start)
    return int(lines[place : lines.find(",", place)])


def place_in(lines: str, account_id: str) -> int:
    """How many participants come before that one."""
    return lines[: lines.find(f'["{account_id}",')].count("\n")


def set_node(store: "Store", account: "Account", pair: Pair) -> None:
    """The participant's node in force is `pair` from now on; the caller saves the account."""
    if account.node is not None and account.participant_id is not None:
        before = node_line(account.account_id, account.participant_id, account.node)
        after = node_line(account.account_id, account.participant_id, pair)
        store.set("participants", participant_lines(store).replace(before, after))
    account.node = pair


def prospective_accounts(store: "Store") -> list[str]:
    return load(store, "prospective") or []


def votes_of_participants(store: "Store", votes: list[str]) -> int:
    """How many of `votes` are by accounts that are participants now."""
    names = {line[2 : line.find('"', 2)]: True for line in participant_lines(store).split("\n")}
    return len([account_id for account_id in votes if account_id in names])
