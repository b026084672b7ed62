"""Public keys in NEAR's text form."""

import pytest

from sharekeeper_devnet.runtime import InvalidPublicKeyError, PublicKey

ALICE_KEY = "ed25519:AefQKyip38jWdWyX1zwgbx3rRjNJB1U9Cj5oxzFih3nX"


def test_a_public_key_reads_back_as_written():
    assert str(PublicKey.from_text(ALICE_KEY)) == ALICE_KEY
    assert PublicKey.from_text(ALICE_KEY.removeprefix("ed25519:")) == PublicKey.from_text(ALICE_KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "ed25519:abc",
        "rsa:AefQKyip38jWdWyX1zwgbx3rRjNJB1U9Cj5oxzFih3nX",
        "ed25519:0OIl",
        "1" * 9999,
        "ed25519:ü",
    ],
)
def test_a_text_that_is_no_key_is_refused(text):
    with pytest.raises(InvalidPublicKeyError):
        PublicKey.from_text(text)
