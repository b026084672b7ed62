"""The disk fails at each system call of each change, and a real small disk runs full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharekeeper.errors import StoreFailed
from tests.crash.scenarios import SCENARIOS, calls_of
from tests.unit.vault_values import BROKEN, FULL, SOURCE, Counter, SteppedDisk, backup_id, keyset, shares_of, vault_at

REPOSITORY = Path(__file__).resolve().parents[2]


def disk_that(fails, at):
    return SteppedDisk(Counter(at, fails))


def fails_with(code):
    def fail():
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("name", SCENARIOS)
def test_after_a_full_disk_at_any_call_the_old_state_or_the_new_one_holds_and_a_retry_succeeds(root, name):
    scenario = SCENARIOS[name]
    for at in range(len(calls_of(scenario, root.with_name("count")))):
        place = root.with_name(f"root{at}")
        scenario.prepare(place)
        with pytest.raises(StoreFailed):
            scenario.act(place, disk_that(fails_with(FULL), at))
        scenario.check(place)


class DyingDisk(SteppedDisk):
    """From call number `at` on, everything that changes the disk fails: read-only after an error."""

    def __init__(self, at):
        self._left = at
        super().__init__(self._count)

    def _count(self, call, what):
        self._left -= 1
        if self._left < 0:
            raise OSError(30, os.strerror(30))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_disk_that_stays_read_only_loses_nothing(root, name):
    scenario = SCENARIOS[name]
    for at in range(len(calls_of(scenario, root.with_name("count")))):
        place = root.with_name(f"root{at}")
        scenario.prepare(place)
        with pytest.raises(StoreFailed, match="read-write"):
            scenario.act(place, DyingDisk(at))
        scenario.check(place)


@pytest.mark.parametrize("code", [FULL, BROKEN], ids=["ENOSPC", "EIO"])
def test_the_same_process_goes_on_after_a_failed_call(root, code):
    """The daemon does not restart after a full disk: the same vault object settles what it left open."""
    k5, k6 = keyset(5), keyset(6)

    def change(vault):
        vault.store_now(k5, shares_of(k5), SOURCE)
        for path in (vault.directory / "keysets").rglob("shares.age"):
            path.write_bytes(b"damaged")
        vault.verify(deep=False)
        vault.store_now(k6, shares_of(k6), SOURCE)
        vault.destroy_older_now(backup_id(k6))

    counter = Counter()
    counted = vault_at(root.with_name("count"), disk=SteppedDisk(counter))
    change(counted)
    counted.close()
    for at in range(len(counter.calls)):
        vault = vault_at(root.with_name(str(at)), disk=disk_that(fails_with(code), at))
        with pytest.raises(StoreFailed):
            change(vault)
        vault.store_now(k6, shares_of(k6), SOURCE)
        vault.destroy_older_now(backup_id(k6))
        assert vault.open_now(backup_id(k6)) == shares_of(k6)
        assert vault.verify(deep=True).ok
        assert list((vault.directory / "quarantine").iterdir()) == []
        assert [path.name for path in (vault.directory / "keysets").iterdir()] == [f"6-{k6.digest()}"]
        vault.close()


# --- a disk that is really full -----------------------------------------------------------------

SMALL_DISK = """
import os, sys
from pathlib import Path
from sharekeeper.errors import StoreFailed
from tests.unit.vault_values import SOURCE, backup_id, keyset, leftovers, shares_of, vault_at

root = Path(sys.argv[1])
vault = vault_at(root)
held = keyset(5, domains=20)
vault.store_now(held, shares_of(held), SOURCE)
filler = root / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(b"x" * 4096) == 4096:
            pass
    except OSError:
        pass
large = keyset(6, domains=100)
refused = 0
while True:
    try:
        vault.store_now(large, shares_of(large), SOURCE)
        break
    except StoreFailed as error:
        assert "No space left on device" in str(error) and "free space" in str(error), error
        refused += 1
    assert vault.open_now(backup_id(held)) == shares_of(held)
    assert [stored.keyset for stored in vault.index()] == [held]
    assert leftovers(root) == [], leftovers(root)
    os.truncate(filler, filler.stat().st_size - 4096)
filler.unlink()
vault.store_now(large, shares_of(large), SOURCE)
assert vault.open_now(backup_id(large)) == shares_of(large)
assert vault.verify(deep=True).ok
print("refused", refused)
"""


def namespaces_work() -> bool:
    try:
        return subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not namespaces_work(), reason="this kernel gives no user namespaces: no small disk can be mounted")
def test_a_small_disk_that_runs_full_refuses_and_keeps_what_it_holds(tmp_path):
    script = f'mount -t tmpfs -o size=512k,mode=0700 tmpfs "$1" && exec "{sys.executable}" -c "$2" "$1"'
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", tmp_path, SMALL_DISK],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[1]) > 5
