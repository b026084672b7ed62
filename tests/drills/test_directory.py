"""The drill takes a run directory of its own, and no directory that holds something else."""

import pytest

from sharekeeper.errors import ConfigInvalid
from sharekeeper_devnet.drill import Drill


def test_a_directory_with_other_things_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "run" / "photos").mkdir(parents=True)
    with pytest.raises(ConfigInvalid, match="photos"), Drill(tmp_path, tmp_path / "run").held():
        pass
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["photos"]


def test_what_another_playbook_left_there_does_not_hinder_a_drill(tmp_path):
    (tmp_path / "run" / ".ansible" / "tmp").mkdir(parents=True)
    with Drill(tmp_path, tmp_path / "run").held():
        assert (tmp_path / "run" / ".drill.lock").exists()
