"""What a test may need from the machine, and what happens when it is absent; which tests may run side by side.

`needs("age")` skips and names the Debian package; `--require=age,gcc` turns such skips into failures,
so that CI never passes by skipping.
"""

import shutil
import signal
import sys
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

PACKAGES = {
    "age": "age",
    "gcc": "gcc",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "patch": "patch",
    "setpriv": "util-linux",
}
ONE_LOCALNET = ("tests/drills/", "tests/roles/")
"""Directories whose tests use the addresses of localnet: one of them at a time."""


def find_tool(name: str) -> str | None:
    """Where a tool of the machine is: beside this Python, where a wheel may have put it, or on PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require", default="", help="comma-separated tools whose absence fails instead of skipping")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(tool, ...): tools of the machine the test runs; absent means skipped")
    config.addinivalue_line("markers", "drill: runs the whole localnet drill (about two minutes)")


class ByFile(LoadScopeScheduling):
    """Shares tests out by file; those that use localnet's addresses all go to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "localnet" if file.startswith(ONE_LOCALNET) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = set(filter(None, item.config.getoption("--require").split(",")))
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if find_tool(tool) is None:
                message = f"{tool} is not installed (Debian package: {PACKAGES.get(tool, tool)})"
                (pytest.fail if tool in required else pytest.skip)(message)
