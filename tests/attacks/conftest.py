"""A fresh pair of both sides for each attack on version 2."""

import pytest

from .web_rig import rig


@pytest.fixture
async def net(tmp_path):
    """A node that holds its shares and a backup service with an empty vault, a relay between them."""
    async with rig(tmp_path) as made:
        yield made
