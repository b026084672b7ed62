"""Crash tests make thousands of small files: in memory where the machine has a memory file system."""

import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


def memory_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="sharekeeper-crash-", dir=MEMORY if MEMORY.is_dir() else None))


@pytest.fixture
def root():
    directory = memory_directory()
    yield directory / "root"
    shutil.rmtree(directory)
