"""What is inside the image of the hard launch, what is not, and that building it again gives the same bytes."""

import ast
import hashlib
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from .values import BACKUP_SERVICE_ADDRESSES, addresses_toml, measured_toml

CHECKOUT = Path(__file__).parents[2]
AGENT = CHECKOUT / "agent"
LOADED = runpy.run_path(str(CHECKOUT / "agent/image/build.py"))
modules, oci = LOADED["modules"], LOADED["oci"]
agent_files, unpacked, SITE = LOADED["agent_files"], LOADED["unpacked"], LOADED["SITE"]

SOFT_LAUNCH = [
    "sharekeeper/config.py",
    "sharekeeper/app.py",
    "sharekeeper/cli/main.py",
    "sharekeeper/cli/vault.py",
    "sharekeeper/adapters/approvals.py",
    "sharekeeper/adapters/supervisor.py",
    "sharekeeper/adapters/vault_operator.py",
    "sharekeeper/deployment.py",
    "sharekeeper_devnet/tee/pki.py",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The agent as the image has it."""
    root = tmp_path_factory.mktemp("image")
    for name, data in agent_files().items():
        path = root / name.removeprefix(f"{SITE}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def start(tree, *arguments, program="sharekeeper.hard_launch"):
    """The program from the tree alone: no other module of this checkout can be found."""
    script = (
        f"import sys, runpy; sys.path[:0] = [{str(tree)!r}, {sysconfig.get_paths()['purelib']!r}]; "
        f"sys.argv = ['x', *{[str(argument) for argument in arguments]!r}]; "
        f"runpy.run_module({program!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("name", SOFT_LAUNCH)
def test_the_image_has_none_of_the_soft_launch(tree, name):
    assert (AGENT / name).exists()
    assert not (tree / name).exists()


def test_the_image_has_the_modules_that_the_program_imports_and_no_others(tree):
    listed = "import sys; sys.stdout.write('\\n'.join(n for n in sys.modules if n.split('.')[0] == 'sharekeeper'))"
    (tree / "names.py").write_text(f"import sharekeeper.hard_launch.__main__\n{listed}\n")
    imported = start(tree, program="names")
    (tree / "names.py").unlink()
    assert imported.returncode == 0, imported.stderr
    assert set(imported.stdout.split()) <= set(modules.closure(AGENT))
    assert all(name == "sharekeeper" or name.startswith("sharekeeper.") for name in modules.closure(AGENT))


def test_every_module_of_the_image_can_be_imported_without_the_rest(tree):
    names = [name for name in modules.closure(AGENT) if not name.endswith("__main__")]
    (tree / "all_of_it.py").write_text("".join(f"import {name}\n" for name in names))
    ended = start(tree, program="all_of_it")
    (tree / "all_of_it.py").unlink()
    assert ended.returncode == 0, ended.stderr


def test_the_program_says_how_it_is_started(tree):
    ended = start(tree, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "--measured" in ended.stdout
    assert "--addresses" in ended.stdout
    assert "root" not in ended.stdout


def test_the_program_refuses_a_configuration_of_the_soft_launch(tree, tmp_path):
    (tmp_path / "measured.toml").write_text("unsafe_no_attestation = true\n" + measured_toml())
    (tmp_path / "addresses.toml").write_text(addresses_toml(BACKUP_SERVICE_ADDRESSES))
    ended = start(tree, "--measured", tmp_path / "measured.toml", "--addresses", tmp_path / "addresses.toml")
    assert ended.returncode == 11
    assert "unsafe_no_attestation: is refused" in ended.stderr


def test_the_program_refuses_addresses_that_decide(tree, tmp_path):
    (tmp_path / "measured.toml").write_text(measured_toml())
    (tmp_path / "addresses.toml").write_text('root_ca = "mine.der"\n' + addresses_toml(BACKUP_SERVICE_ADDRESSES))
    ended = start(tree, "--measured", tmp_path / "measured.toml", "--addresses", tmp_path / "addresses.toml")
    assert ended.returncode == 11
    assert "root_ca: is unknown; nobody measures this file" in ended.stderr


def test_nothing_in_the_image_names_another_root_than_intel_s(tree):
    """A root is handed on, as a parameter that is None unless somebody outside the image passes another."""
    named = []
    for path in tree.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                named += [(path, keyword.value) for keyword in node.keywords if keyword.arg == "root_ca"]
            if isinstance(node, ast.arguments):
                defaults = dict(zip([one.arg for one in node.kwonlyargs], node.kw_defaults, strict=True))
                default = defaults.get("root_ca")
                assert default is None or (isinstance(default, ast.Constant) and default.value is None), path
    assert named
    for path, value in named:
        assert ast.unparse(value).split(".")[-1] in {"root_ca", "_root_ca"}, path
    program = ast.parse((tree / "sharekeeper/hard_launch/__main__.py").read_text())
    calls = [node for node in ast.walk(program) if isinstance(node, ast.Call) and ast.unparse(node.func) == "run"]
    assert [ast.unparse(call) for call in calls] == ["run(options.measured, options.addresses)"]


def test_nothing_in_the_image_reads_its_orders_from_the_environment(tree):
    named = {
        (path.name, node.attr)
        for path in tree.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.environb", "os.getenv"}
    }
    assert named == set()


@pytest.mark.parametrize("statement", ["import sharekeeper.config", "from sharekeeper import cli, errors"])
def test_a_forbidden_import_ends_the_build(tmp_path, statement):
    package = tmp_path / "sharekeeper"
    for name in ("hard_launch/__init__.py", "hard_launch/__main__.py", "config.py", "cli/__init__.py", "errors.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    (package / "hard_launch/__main__.py").write_text("import sharekeeper.hard_launch\n")
    assert set(modules.closure(tmp_path)) == {"sharekeeper.hard_launch", "sharekeeper.hard_launch.__main__"}
    (package / "hard_launch/__main__.py").write_text(f"def later():\n    {statement}\n")
    with pytest.raises(modules.ForbiddenModule, match=r"sharekeeper\.hard_launch\.__main__ imports sharekeeper\."):
        modules.closure(tmp_path)


def test_an_import_for_type_checkers_alone_is_not_followed(tmp_path):
    (tmp_path / "sharekeeper/hard_launch").mkdir(parents=True)
    (tmp_path / "sharekeeper/config.py").write_text("")
    program = tmp_path / "sharekeeper/hard_launch/__main__.py"
    program.write_text("if TYPE_CHECKING:\n    import sharekeeper.config\n")
    assert set(modules.closure(tmp_path)) == {"sharekeeper.hard_launch.__main__"}
    program.write_text("if TYPE_CHECKING:\n    pass\nelse:\n    import sharekeeper.config\n")
    with pytest.raises(modules.ForbiddenModule):
        modules.closure(tmp_path)


# --- the bytes ---------------------------------------------------------------------------------------


def wheel(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_wheels_are_unpacked_without_commands(tmp_path):
    one = wheel(
        tmp_path / "one-1-py3-none-any.whl",
        *("one/__init__.py", "one-1.dist-info/RECORD", "one-1.data/scripts/one", "one-1.data/platlib/two.so"),
    )
    assert set(unpacked([one])) == {
        f"{SITE}/{name}" for name in ("one/__init__.py", "one-1.dist-info/RECORD", "two.so")
    }


def test_a_layer_depends_on_nothing_but_its_files(tmp_path):
    files = agent_files()
    oci.write_layer(tmp_path / "a.tar", files)
    os.umask(os.umask(0) ^ 0o077)
    oci.write_layer(tmp_path / "b.tar", dict(reversed(files.items())))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in members} == {(0, 0, "", oci.EPOCH)}
    assert [one.name for one in members] == sorted(one.name for one in members)


def rootfs(directory, *, mtime, names):
    """A root file system's tar as a package manager might leave it."""
    path = directory / "rootfs.tar"
    with tarfile.open(path, "w") as archive:
        for name in names:
            (directory / "file").write_text(name)
            member = archive.gettarinfo(directory / "file", arcname=f"./{name}")
            member.mtime, member.uname = mtime, f"user-{mtime}"
            with (directory / "file").open("rb") as content:
                archive.addfile(member, content)
        link = tarfile.TarInfo("./bin/sh")
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "./dash", mtime
        archive.addfile(link)
    return path


def test_the_first_layer_has_neither_times_nor_traces_of_its_making(tmp_path):
    names = ["etc/passwd", "usr/bin/python3", "var/log/dpkg.log", "etc/machine-id", "usr/lib/x.pyc"]
    for number, order in enumerate((names, names[::-1])):
        (tmp_path / str(number)).mkdir()
        made = rootfs(tmp_path / str(number), mtime=1_700_000_000 + number, names=order)
        oci.normalize_layer(made, tmp_path / f"{number}.tar", without=LOADED["_LEFT_BEHIND"])
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert archive.getnames() == ["bin/sh", "etc/passwd", "usr/bin/python3"]
        assert archive.getmember("bin/sh").linkname == "./dash"


def test_the_digest_is_that_of_the_manifest_and_all_blobs_are_there(tmp_path):
    program = oci.Program(architecture="amd64", entrypoint=("/bin/x",), environment=("A=b",))
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        oci.write_layer(tmp_path / name / "layer.tar", {"a/b": b"c"})
        digests.append(oci.write_image(tmp_path / name / "image.tar", [tmp_path / name / "layer.tar"], program))
    assert digests[0] == digests[1]
    assert (tmp_path / "first/image.tar").read_bytes() == (tmp_path / "second/image.tar").read_bytes()
    with tarfile.open(tmp_path / "first/image.tar") as archive:
        blobs = {one: archive.extractfile(one).read() for one in archive.getnames()}
    index = json.loads(blobs.pop("index.json"))
    assert json.loads(blobs.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert [one["digest"] for one in index["manifests"]] == [digests[0]]
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    manifest = json.loads(blobs[f"blobs/{digests[0].replace(':', '/')}"])
    config = json.loads(blobs[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["Entrypoint"] == ["/bin/x"]


def test_the_image_starts_the_hard_launch_and_listens_to_no_environment():
    assert LOADED["_ENTRYPOINT"] == ("/usr/bin/python3", "-I", "-B", "-m", "sharekeeper.hard_launch")
