"""The contract keeps to what its MicroPython does right: see the head of codec.py."""

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "agent" / "contract"
MODULES = sorted(FOLDER.glob("*.py"))
PURE = [module for module in MODULES if module.name != "contract.py"]
BUILTIN_BASES = {"dict", "list", "tuple", "str", "int", "bytes", "set"}


def nodes(module: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(module.read_text())))


def imported(module: Path) -> set[str]:
    """Modules imported at run time, which leaves out those under `if TYPE_CHECKING`."""
    tree = ast.parse(module.read_text())
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in guarded for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("module", PURE, ids=lambda module: module.name)
def test_pure_modules_import_nothing_but_themselves_and_two_c_modules(module: Path) -> None:
    allowed = {"json", "binascii", "contract"} | {f"contract.{pure.stem}" for pure in PURE}
    assert imported(module) <= allowed


def test_exceptions_are_caught_only_at_the_entry_and_only_the_contracts_own() -> None:
    for module in MODULES:
        handlers = [node for node in nodes(module) if isinstance(node, ast.ExceptHandler)]
        if module.name == "contract.py":
            assert [ast.unparse(handler.type) for handler in handlers] == ["ContractError"] * 2
        else:
            assert handlers == [], module.name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_no_generators_coroutines_or_prints(module: Path) -> None:
    forbidden = (ast.Yield, ast.YieldFrom, ast.GeneratorExp, ast.AsyncFunctionDef, ast.Await, ast.Match, ast.NamedExpr)
    for node in nodes(module):
        assert not isinstance(node, forbidden), f"{module.name}:{getattr(node, 'lineno', 0)}"
        called = node.func if isinstance(node, ast.Call) else None
        assert not (isinstance(called, ast.Name) and called.id in ("print", "open", "eval", "exec"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_no_builtin_is_subclassed_but_exception_once(module: Path) -> None:
    for node in nodes(module):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            assert not bases & BUILTIN_BASES
            assert "Exception" not in bases or node.name == "ContractError"


@pytest.mark.parametrize("module", PURE, ids=lambda module: module.name)
def test_nothing_is_unpacked_with_a_star(module: Path) -> None:
    assert not [node for node in nodes(module) if isinstance(node, ast.Starred)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_modules_stay_short(module: Path) -> None:
    assert len(module.read_text().splitlines()) < 500
