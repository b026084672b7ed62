"""What a test may need from the machine, and what happens when it is absent; which tests may run side by side.

`needs("age")` skips and names the Debian package; `--require=age,gcc` turns such skips into failures,
so that CI never passes by skipping.
"""

import shutil

import pytest

PACKAGES = {"age": "age", "gcc": "gcc", "openssl": "openssl", "patch": "patch", "setpriv": "util-linux"}
ONE_LOCALNET = {"drills", "roles"}
"""Directories whose tests use the addresses of localnet: one of them at a time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require", default="", help="comma-separated tools whose absence fails instead of skipping")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(tool, ...): tools of the machine the test runs; absent means skipped")
    config.addinivalue_line("markers", "drill: runs the whole localnet drill (about two minutes)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = "localnet" if item.path.parent.name in ONE_LOCALNET else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = set(filter(None, item.config.getoption("--require").split(",")))
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if shutil.which(tool) is None:
                message = f"{tool} is not installed (Debian package: {PACKAGES.get(tool, tool)})"
                (pytest.fail if tool in required else pytest.skip)(message)
