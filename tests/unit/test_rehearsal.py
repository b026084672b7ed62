"""The steps that only a rehearsal needs: is there room, offline keys, the history of the protocol state."""

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from sharekeeper.domain.identity import AccountId
from sharekeeper.errors import AddressInUse, KeysMissing, StoreFailed
from sharekeeper_devnet.rehearsal import check_host, lose, main, offline_keys


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_computer_with_room_and_free_addresses_passes(tmp_path, capsys):
    assert main(["check", "--dir", str(tmp_path), "--free-mb", "1", "--listen", "127.90.0.99:1", "127.90.0.98:0"]) == 0
    line = printed(capsys)
    assert (line["schema"], line["type"], line["addresses"]) == (1, "host", 2)
    assert line["free_mb"] >= 1


def test_a_full_disk_is_told_with_the_numbers(tmp_path, capsys):
    with pytest.raises(StoreFailed, match="MB free and the drill needs 999999999"):
        check_host(tmp_path, 999_999_999, [])
    assert main(["check", "--dir", str(tmp_path), "--free-mb", "999999999"]) == StoreFailed.exit_status
    assert printed(capsys)["code"] == "store_failed"


def test_every_address_that_cannot_be_listened_on_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressInUse) as caught:
            check_host(tmp_path, 1, [address, "127.90.0.99:0", "203.0.113.7:80"])
    assert f"{address} (taken)" in str(caught.value)
    assert "203.0.113.7:80" in str(caught.value)
    assert "127.90.0.99" not in str(caught.value)


def test_offline_keys_are_made_once_and_only_their_owner_reads_them(tmp_path, capsys):
    words = ["offline-keys", "--dir", str(tmp_path / "keys"), "--operator", "alice", "bob"]
    assert main(words) == 0
    first = printed(capsys)
    assert (first["changed"], sorted(first["recipients"])) == (True, ["alice", "bob"])
    assert main(words) == 0
    assert printed(capsys) == {**first, "changed": False}
    path = tmp_path / "keys" / "alice.age"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sealed = pyrage.encrypt(b"share", [pyrage.x25519.Recipient.from_str(first["recipients"]["alice"])])
    assert pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(path.read_text().strip())]) == b"share"


def test_a_file_that_is_no_offline_key_is_never_replaced(tmp_path):
    path = tmp_path / "alice.age"
    path.write_text("a letter\n")
    path.chmod(0o600)
    with pytest.raises(KeysMissing):
        offline_keys(tmp_path, ["alice"])
    assert path.read_text() == "a letter\n"


def test_a_lost_machine_leaves_no_process_and_no_file(tmp_path, capsys):
    machine = tmp_path / "alice_mpc"
    start = ["start", "sleeper", "--dir", str(machine / "processes"), "--", "sleep", "60"]
    started = subprocess.run(
        [sys.executable, "-m", "sharekeeper_devnet.supervise", *start], check=True, capture_output=True
    )
    words = ["lose", "--account-id", "alice.test.near", "--dir", str(machine)]
    assert main(words) == 0
    line = printed(capsys)
    assert (line["changed"], line["account_id"], line["stopped"]) == (True, "alice.test.near", ["sleeper"])
    assert not machine.exists()
    assert _state_of(json.loads(started.stdout)["pid"]) in {"gone", "Z"}
    assert main(words) == 0
    assert printed(capsys)["changed"] is False


def test_a_process_on_its_way_to_become_a_daemon_is_lost_with_its_machine(tmp_path):
    machine = tmp_path / "alice_mpc"
    machine.mkdir()
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        subprocess.Popen([*words, f"{machine}/agent.toml"]) as straggler,
        subprocess.Popen([*words, f"{machine}2/agent.toml"]) as other,
    ):
        lose(AccountId("alice.test.near"), machine)
        assert straggler.wait(timeout=5) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
    assert not machine.exists()


def _state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"
