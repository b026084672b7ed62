"""Key files: made once, never overwritten, read only when nobody else can read them."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from sharekeeper import keys
from sharekeeper.domain.identity import Role
from sharekeeper.errors import KeysExist, KeysMissing

ROLES = list(Role)
NAMES = {
    Role.NODE: {"tls_key", "account_key"},
    Role.BACKUP_SERVICE: {"tls_key", "account_key", "vault_identity", "vault_signing_key"},
}


@pytest.fixture(params=ROLES)
def role(request):
    return request.param


@pytest.fixture
def directory(tmp_path, role):
    path = tmp_path / "new" / "keys"
    assert keys.generate(path, role) is True
    return path


def test_a_new_directory_holds_the_complete_set_for_its_owner_only(directory, role):
    assert {path.name for path in directory.iterdir()} == NAMES[role]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes().count(b"\n") == 1


def test_a_directory_made_beforehand_is_filled_and_closed(tmp_path, role):
    tmp_path.chmod(0o755)
    assert keys.generate(tmp_path, role)
    assert {path.name for path in tmp_path.iterdir()} == NAMES[role]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_directory_above_keeps_its_mode(tmp_path, role):
    tmp_path.chmod(0o755)
    keys.generate(tmp_path / "keys", role)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_generating_again_changes_nothing(directory, role):
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert keys.generate(directory, role) is False
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_an_incomplete_set_is_neither_completed_nor_overwritten(directory, role):
    (directory / "tls_key").unlink()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(KeysExist, match="account_key"):
        keys.generate(directory, role)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_the_other_roles_keys_are_not_taken_for_ours(directory, role):
    other = next(candidate for candidate in ROLES if candidate is not role)
    with pytest.raises(KeysExist, match=other):
        keys.generate(directory, other)


def test_a_complete_set_that_cannot_be_used_is_told(directory, role):
    (directory / "account_key").write_text("scribble\n")
    with pytest.raises(KeysMissing, match="account_key"):
        keys.generate(directory, role)


def test_public_keys_are_those_of_the_files(directory, role):
    shown = keys.public_keys(directory)
    assert shown.role is role
    assert shown.tls_public_key == keys.read_key(directory / "tls_key").tls_key
    assert shown.account_public_key == keys.read_key(directory / "account_key").signer_key
    if role is Role.NODE:
        assert (shown.vault_recipient, shown.vault_signing_public_key) == (None, None)
    else:
        assert shown.vault_recipient is not None
        assert shown.vault_recipient.startswith("age1")
        assert shown.vault_signing_public_key is not None


def test_every_key_is_another(tmp_path):
    keys.generate(tmp_path / "a", Role.BACKUP_SERVICE)
    keys.generate(tmp_path / "b", Role.BACKUP_SERVICE)
    lines = [path.read_bytes() for path in tmp_path.glob("*/*")]
    assert len(set(lines)) == len(lines) == 8


def test_the_same_entropy_makes_the_same_keys(tmp_path):
    for name in ("a", "b"):
        keys.generate(tmp_path / name, Role.NODE, entropy=bytes)
    assert keys.public_keys(tmp_path / "a") == keys.public_keys(tmp_path / "b")


def test_keys_load_for_their_daemon(tmp_path):
    keys.generate(tmp_path / "n", Role.NODE)
    keys.generate(tmp_path / "b", Role.BACKUP_SERVICE)
    assert keys.load_node_keys(tmp_path / "n").tls.sign(b"x")
    service = keys.load_backup_service_keys(tmp_path / "b")
    assert service.vault_identity.reveal().startswith(b"AGE-SECRET-KEY-1")
    with pytest.raises(KeysMissing, match="vault_identity does not exist"):
        keys.load_backup_service_keys(tmp_path / "n")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_open_to_others_is_refused_with_the_cure(tmp_path, mode):
    keys.generate(tmp_path / "k", Role.NODE)
    path = tmp_path / "k" / "tls_key"
    path.chmod(mode)
    with pytest.raises(KeysMissing, match="chmod 600"):
        keys.read_key(path)


def test_a_credential_granted_by_an_access_list_is_read(tmp_path, monkeypatch):
    keys.generate(tmp_path / "k", Role.NODE)
    path = tmp_path / "k" / "tls_key"
    path.chmod(0o440)
    if os.geteuid() != 0:
        pytest.skip("only root can own the file as systemd does")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert keys.read_key(path).public_raw
    path.chmod(0o444)
    with pytest.raises(KeysMissing):
        keys.read_key(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"ed25519:", b"ed25519:3LtGxvDvVLBLXyKpjVLu8Nz\n", b"\xff\xfe\n", b"secp256k1:abc\n", b"x" * 100_000],
)
def test_a_file_that_holds_no_key_is_refused_without_quoting_it(tmp_path, content):
    for read in (keys.read_key, keys.read_identity):
        path = tmp_path / read.__name__
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeysMissing) as caught:
            read(path)
        assert path.name in str(caught.value)
        assert "3LtGxvDvVLBLXyKpjVLu8Nz" not in str(caught.value)


def test_a_link_or_a_directory_is_no_key_file(tmp_path):
    keys.generate(tmp_path / "k", Role.NODE)
    (tmp_path / "link").symlink_to(tmp_path / "k" / "tls_key")
    (tmp_path / "dir").mkdir()
    for name in ("link", "dir"):
        with pytest.raises(KeysMissing, match=name):
            keys.read_key(tmp_path / name)


class StandardInput:
    """What a process reads when something is piped into it."""

    def __init__(self, data):
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("form", ["{}\n", '{{"public_key": "ed25519:x", "private_key": "{}"}}'])
def test_the_operators_key_is_read_from_standard_input_in_both_forms(directory, monkeypatch, form):
    line = (directory / "account_key").read_text().strip()
    monkeypatch.setattr(sys, "stdin", StandardInput(form.format(line).encode()))
    assert keys.read_operator_key(Path("-")).signer_key == keys.public_keys(directory).account_public_key


@pytest.mark.parametrize("data", [b"", b"ed25519:secret", b'{"private_key": "secret"}', b"\xff" * 600])
def test_standard_input_that_holds_no_key_is_refused_and_not_quoted(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", StandardInput(data))
    with pytest.raises(KeysMissing) as refused:
        keys.read_operator_key(Path("-"))
    assert "secret" not in str(refused.value)
