"""The rack as a process: several machines, one Intel that outlives it, and descriptions that cannot be."""

import json
import subprocess
import sys
from contextlib import contextmanager

import dcap_qvl
import pytest

from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.errors import AttestationUnavailable, ConfigInvalid
from sharekeeper_devnet.tee.guest import GuestShape
from sharekeeper_devnet.tee.rack import load_rack

_RACK = """
seed_file = "seed"
root_ca_file = "root-ca.der"
pccs_listen = "127.0.0.1:0"

[[machine]]
socket = "a.sock"
host = "one"
app_compose_file = "a.json"

[[machine]]
socket = "b.sock"
host = "two"
app_compose_file = "b.json"
vcpus = 4
memory_gb = 16
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "rack.toml").write_text(_RACK)
    return tmp_path


@contextmanager
def running(directory):
    """The rack's process; yields the URL of its PCCS."""
    command = [sys.executable, "-m", "sharekeeper_devnet.cli", "tee-rack", "--config", "rack.toml", "--json"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["pccs"]
        finally:
            process.terminate()
            process.wait(10)
    assert process.returncode == 0


async def test_machines_of_the_rack_verify_under_its_root_with_collateral_of_its_pccs(directory):
    (directory / "a.json").write_text('{"name":"a"}')
    with running(directory) as url:
        quoted = await GuestAgent((directory / "a.sock",)).quote(bytes(64))
        collateral = await dcap_qvl.get_collateral(url, quoted.quote)
    now_s = int((directory / "a.json").stat().st_mtime) + 1
    verified = dcap_qvl.verify_with_root_ca(quoted.quote, collateral, (directory / "root-ca.der").read_bytes(), now_s)
    assert verified.status == "UpToDate"


async def test_a_machine_starts_once_its_app_compose_is_there_and_anew_when_it_changes(directory):
    agent = GuestAgent((directory / "b.sock",))
    with running(directory):
        with pytest.raises(AttestationUnavailable, match=r"b\.json cannot be read"):
            await agent.info()
        (directory / "b.json").write_text('{"name":"b"}')
        await agent.emit_event("x", b"")
        assert [event.name for event in (await agent.info()).events][-1] == "x"
        (directory / "b.json").write_text('{"name":"b2"}')
        info = await agent.info()
    assert info.app_compose == '{"name":"b2"}'
    assert [event.name for event in info.events][-1] == "system-ready"


async def test_a_rack_that_starts_again_is_the_same_hardware(directory):
    (directory / "a.json").write_text('{"name":"a"}')
    agent = GuestAgent((directory / "a.sock",))
    found = []
    for _ in range(2):
        with running(directory):
            found.append(((await agent.key("k")).reveal(), (directory / "root-ca.der").read_bytes()))
    assert found[0] == found[1]
    assert (directory / "seed").stat().st_mode & 0o077 == 0


def test_every_mistake_of_a_description_is_told(directory):
    path = directory / "rack.toml"
    path.write_text(_RACK.replace('host = "one"', "vcpus = 0").replace('127.0.0.1:0"', 'x"\nmode = 1'))
    with pytest.raises(ConfigInvalid) as fault:
        load_rack(path)
    for part in ("pccs_listen", "mode: is unknown", "machine[1].host: is missing", "machine[1].vcpus"):
        assert part in str(fault.value)


def test_a_socket_path_that_unix_cannot_take_is_refused(directory):
    path = directory / "rack.toml"
    path.write_text(_RACK.replace("a.sock", "a" * 120))
    with pytest.raises(ConfigInvalid, match="too long for a unix socket"):
        load_rack(path)


def test_the_measurements_to_vote_for_are_printed():
    command = [sys.executable, "-m", "sharekeeper_devnet.cli", "tee-measurements", "--vcpus", "4", "--json"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)
    assert printed["rtmr0"] == GuestShape(vcpus=4).measurements.rtmr0
    assert printed["mrtd"] == GuestShape().measurements.mrtd
