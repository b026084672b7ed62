"""The build program: what it compares, what it exports, how it translates the compiler's arguments."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from contract.logic import CALLS, VIEWS

FOLDER = Path(__file__).resolve().parents[2] / "agent" / "contract" / "build"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with a tree of its own to compare with."""
    module = program("build")
    monkeypatch.setattr(module, "WASM", tmp_path / "mpc_contract.wasm")
    monkeypatch.setattr(module, "DIGEST", tmp_path / "mpc_contract.wasm.sha256")
    return module


def write(build: ModuleType, code: bytes, digest_of: bytes) -> None:
    build.WASM.write_bytes(code)
    build.DIGEST.write_text(f"{hashlib.sha256(digest_of).hexdigest()}  mpc_contract.wasm\n")


def test_a_tree_that_is_what_the_sources_compile_to_passes(build: ModuleType) -> None:
    write(build, b"code", b"code")
    build.check(b"code")


@pytest.mark.parametrize(
    ("code", "digest_of", "named"), [(b"old", b"code", "wasm is"), (b"code", b"old", "sha256 does")]
)
def test_a_tree_that_is_not_is_named_with_the_cure(
    build: ModuleType, code: bytes, digest_of: bytes, named: str
) -> None:
    write(build, code, digest_of)
    with pytest.raises(build.BuildError, match=rf"mpc_contract.*{named}.*run `make contract`"):
        build.check(b"code")


def test_a_tree_without_wasm_fails(build: ModuleType) -> None:
    with pytest.raises(build.BuildError, match="run `make contract`"):
        build.check(b"code")


def test_every_method_is_exported(build: ModuleType) -> None:
    assert build.exported_methods(build.CONTRACT / "contract.py") == sorted([*CALLS, *VIEWS, "version"])


def test_a_missing_tool_is_named_with_its_package(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.BuildError, match="the program `make` is missing; install the system package `make`"):
        build.require_tools()


def test_a_failing_step_shows_its_output(build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(build.BuildError, match="failed; its output is above"):
        build.run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], directory=tmp_path)
    assert "why" in capsys.readouterr().err


def test_the_lock_pins_every_package_by_hash() -> None:
    lock = (FOLDER / "requirements.txt").read_text()
    wanted = [line for line in (FOLDER / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    for requirement in wanted:
        assert f"{requirement} \\\n    --hash=sha256:" in lock
    assert "://" not in lock


@pytest.mark.parametrize(
    ("argument", "translated"),
    [
        ('-sEXPORTED_FUNCTIONS="_init,_sign"', ["-Wl,--export=init", "-Wl,--export=sign"]),
        ("-sSTANDALONE_WASM=1", []),
        ("-Werror", []),
        ("-std=c99", ["-std=c99"]),
        ("-O2", ["-O2"]),
    ],
)
def test_arguments_of_the_other_compiler_are_translated(argument: str, translated: list[str]) -> None:
    assert program("zigcc").translate(argument) == translated


def test_several_files_are_preprocessed_one_after_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    assert program("zigcc").run(command, ["-E", "a.c", "-DX", "b.c"]) == 0
    assert capfd.readouterr().out == "['-E', '-DX', 'a.c']\n['-E', '-DX', 'b.c']\n"
