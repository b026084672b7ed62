"""What becomes of a backup when something happens to its host (docs/runbooks/hard-launch-keys.md has the reasons).

A key that a TEE derives follows from the CPU and its microcode, the host's key provider, the hypervisor, the OS image,
vCPU and RAM, and the app-compose. When one of these changes, the encrypted disk and everything sealed on it is gone for good; what a second
backup service holds is not. Memory is gone after every restart.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sharekeeper.domain.attestation import VaultKind


class Mishap(StrEnum):
    """What can happen to the machine that holds a backup."""

    RESTARTED = "restarted"
    HOST_LOST = "host_lost"
    CPU_REPLACED = "cpu_replaced"
    FIRMWARE_UPDATED = "firmware_updated"
    KEY_PROVIDER_CHANGED = "key_provider_changed"
    HYPERVISOR_CHANGED = "hypervisor_changed"
    OS_IMAGE_CHANGED = "os_image_changed"
    SHAPE_CHANGED = "shape_changed"
    COMPOSE_CHANGED = "compose_changed"


WORDS: Final = {
    Mishap.RESTARTED: "service, CVM or host restarted",
    Mishap.HOST_LOST: "host or its disk lost",
    Mishap.CPU_REPLACED: "CPU or mainboard replaced",
    Mishap.FIRMWARE_UPDATED: "microcode or BIOS updated",
    Mishap.KEY_PROVIDER_CHANGED: "SGX key provider changed",
    Mishap.HYPERVISOR_CHANGED: "QEMU or its firmware changed",
    Mishap.OS_IMAGE_CHANGED: "OS image of the CVM changed",
    Mishap.SHAPE_CHANGED: "vCPU or RAM of the CVM changed",
    Mishap.COMPOSE_CHANGED: "compose file or image changed",
}


class SiblingCopy(StrEnum):
    """What is known of the account's other backup service."""

    NONE = "none"
    """There is none, or its address is not known."""
    UNCONFIRMED = "unconfirmed"
    """There is one, and whether it holds the keyset in force is not known."""
    CONFIRMED = "confirmed"
    """It holds the keyset in force, verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """`own_copy`: what this machine holds is still there. `survives`: the shares are, outside the node; None: perhaps."""

    mishap: Mishap
    own_copy: bool
    survives: bool | None
    by: str


def decide_survival(vault: VaultKind | None, sibling: SiblingCopy) -> tuple[Survival, ...]:
    """What each mishap leaves of a backup. `vault` None: soft launch, a directory that the operator's key opens too."""
    return tuple(_survival(mishap, vault, sibling) for mishap in Mishap)


def _survival(mishap: Mishap, vault: VaultKind | None, sibling: SiblingCopy) -> Survival:
    if _keeps(mishap, vault):
        return Survival(mishap=mishap, own_copy=True, survives=True, by="this copy")
    survives, by = _BY_SIBLING[sibling]
    return Survival(mishap=mishap, own_copy=False, survives=survives, by=by)


def _keeps(mishap: Mishap, vault: VaultKind | None) -> bool:
    match vault:
        case None:
            return mishap is not Mishap.HOST_LOST
        case VaultKind.SEALED:
            return mishap is Mishap.RESTARTED
        case VaultKind.MEMORY:
            return False


_BY_SIBLING: Final[dict[SiblingCopy, tuple[bool | None, str]]] = {
    SiblingCopy.CONFIRMED: (True, "the sibling's copy"),
    SiblingCopy.UNCONFIRMED: (None, "the sibling's copy, if it is confirmed"),
    SiblingCopy.NONE: (False, "nothing: only the node has the shares then"),
}
