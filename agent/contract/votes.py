"""Open votes on a choice: one for each participant, a newer one in place of the older.

Entering Initializing or Resharing, and a change of the participant set, drop all of them.
"""

from contract import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.records import Account, Store

ADD_DOMAINS = "add_domains"
PARAMETERS = "parameters"


class OpenVotes:
    """The votes of one kind: entries [choice, voters, ...], what follows being the kind's own."""

    def __init__(self, store: "Store", kind: str) -> None:
        self.store = store
        self.key = f"votes/{kind}"
        self.entries: list[list[Any]] = records.load(store, self.key) or []

    def cast(self, choice: str, voter: "int | str") -> "list[Any]":
        """The entry of `choice`, with the vote of `voter` in it and in no other. Not saved."""
        chosen: list[Any] = [choice, []]
        kept = []
        for entry in self.entries:
            if entry[0] == choice:
                chosen = entry
            elif voter in entry[1]:
                entry[1].remove(voter)
            if entry[0] != choice and entry[1]:
                kept.append(entry)
        if voter not in chosen[1]:
            chosen[1].append(voter)
        kept.append(chosen)
        self.entries = kept
        return chosen

    def save(self) -> None:
        records.save(self.store, self.key, self.entries)


def drop_all(store: "Store") -> None:
    for kind in (ADD_DOMAINS, PARAMETERS):
        records.remove(store, f"votes/{kind}")


def drop_carrying(store: "Store", account: "Account") -> None:
    """Drops the votes for parameters that hold the info this participant has had so far.

    That is all but those that remove the participant: their entries say which participant ids they remove.
    """
    votes = OpenVotes(store, PARAMETERS)
    kept = [entry for entry in votes.entries if account.participant_id in entry[2]]
    if len(kept) < len(votes.entries):
        votes.entries = kept
        votes.save()
