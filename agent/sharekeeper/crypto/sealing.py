"""age encryption (pyrage): what a stock `age` opens with any one of the recipients' identities.

age keeps content secret and whole, but does not say who wrote it: the vault's signed manifest does.
"""

from typing import Any, Final

import pyrage

from sharekeeper.crypto.bech32 import bech32
from sharekeeper.errors import ConfigInvalid, KeysMissing
from sharekeeper.secret import Secret

IDENTITY_BYTES: Final = 32
_IDENTITY_PREFIX: Final = "age-secret-key-"
_AGE: Final[Any] = pyrage
"""The compiled module carries no types."""


class Unopenable(ValueError):
    """The ciphertext does not open: damaged, cut short, or sealed to other recipients."""


def identity_of(key: Secret) -> Secret:
    """The age X25519 identity whose secret scalar is these 32 bytes: the line AGE-SECRET-KEY-1..., always the same.

    Raises:
        ValueError: another length.
    """
    if len(key) != IDENTITY_BYTES:
        raise ValueError(f"an age identity is made from {IDENTITY_BYTES} bytes, not {len(key)}")
    return Secret(bech32(_IDENTITY_PREFIX, key.reveal()).upper().encode("ascii"))


def recipient_of(identity: Secret) -> str:
    """The recipient (`age1...`) of an identity. Raises `KeysMissing` if it is no age X25519 identity."""
    return str(_identity(identity).to_public())


def check_recipients(recipients: tuple[str, ...]) -> None:
    """Returns when every one is an age X25519 recipient. Raises `ConfigInvalid` that names all which are not."""
    wrong = [text for text in recipients if _recipient(text) is None]
    if wrong:
        named = ", ".join(repr(text[:80]) for text in wrong)
        raise ConfigInvalid(f"not an age recipient: {named}; a recipient starts with age1, as age-keygen -y prints it")


def seal(plaintext: Secret, recipients: tuple[str, ...]) -> bytes:
    """An age file that each of `recipients` can open. Raises `ConfigInvalid` on no or malformed recipients."""
    if not recipients:
        raise ConfigInvalid("nothing can be sealed without an age recipient; configure one")
    check_recipients(recipients)
    sealed: bytes = _AGE.encrypt(plaintext.reveal(), [_recipient(text) for text in recipients])
    return sealed


def unseal(ciphertext: bytes, identity: Secret) -> Secret:
    """The plaintext of an age file, whole.

    Raises:
        Unopenable: any byte changed or missing, or `identity` is none of the recipients.
        KeysMissing: `identity` is no age X25519 identity.
    """
    key = _identity(identity)
    try:
        return Secret(_AGE.decrypt(ciphertext, [key]))
    except _AGE.DecryptError as error:
        raise Unopenable(f"age does not open it: {' '.join(str(error).split())}") from None


def _identity(identity: Secret) -> Any:  # noqa: ANN401  # pyrage has no types
    try:
        return _AGE.x25519.Identity.from_str(identity.reveal().decode("ascii").strip())
    except (_AGE.IdentityError, UnicodeDecodeError):
        raise KeysMissing("the vault identity is not a line AGE-SECRET-KEY-1...; restore that key file") from None


def _recipient(text: str) -> Any:  # noqa: ANN401  # pyrage has no types
    try:
        return _AGE.x25519.Recipient.from_str(text)
    except (_AGE.RecipientError, UnicodeEncodeError):
        return None
