# ruff: noqa: INP001  # beside the build script
"""Which modules a program can import, read from its source, and which of them the hard launch must not have."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROGRAM: Final = "sharekeeper.hard_launch.__main__"

FORBIDDEN: Final = (
    "sharekeeper.config",
    "sharekeeper.app",
    "sharekeeper.cli",
    "sharekeeper.deployment",
    "sharekeeper.adapters.approvals",
    "sharekeeper.adapters.supervisor",
    "sharekeeper.adapters.vault_operator",
    "sharekeeper_devnet",
)
"""Soft launch, consent by hand, export, alternative root: none of it is in an image that a TEE attests."""


class ForbiddenModule(Exception):
    """The program can import what it must not."""


def closure(root: Path, program: str = PROGRAM) -> dict[str, Path]:
    """The modules under `root` that `program` can import, itself and all packages above them included, by name.

    Every `import` statement counts, wherever it stands, but those that only a type checker reads.

    Raises:
        ForbiddenModule: one of them is in `FORBIDDEN`, or below it; the message names who imports it.
    """
    found: dict[str, Path] = {}
    wanted = [(program, "the build")]
    while wanted:
        name, by = wanted.pop()
        path = _file(root, name)
        if path is None or name in found:
            continue
        if any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN):
            raise ForbiddenModule(f"{by} imports {name}, which the image of the hard launch must not have")
        found[name] = path
        above = name.rpartition(".")[0]
        wanted += [(imported, name) for imported in (*filter(None, [above]), *_imports(path))]
    return dict(sorted(found.items()))


def _file(root: Path, name: str) -> Path | None:
    """Where the module is, None if it is none of ours."""
    path = root.joinpath(*name.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Names that may be modules: `from a import b` names `a` and `a.b`."""
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ForbiddenModule(f"{path} has a relative import, which this build does not follow")
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but the bodies of `if TYPE_CHECKING`."""
    yield node
    typing_only = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    for child in node.orelse if typing_only and isinstance(node, ast.If) else ast.iter_child_nodes(node):
        yield from _executed(child)
