"""`make lab`, `make test` and setup_course.py on machines that lack something; tests
have no network.

Shell scripts take the place of Python. They run setup_course.py by the real one, which
then finds only the scripts.
"""

import ast
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys

import pytest
from build_notebooks import PROJECT, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import trust

# A Python interpreter, as far as the set-up uses one. The files in its folder say what it
# lacks. It writes its calls to the file `calls`.
STUB = """\
#!/bin/sh
here=@HERE@
case "$*" in
    "setup_course.py lab --here"*) echo "$*" >> "$here/calls" ;;
    setup_course.py*) exec @REAL@ -I -S -c @RUN@ "$0" "$@" ;;
    *sys.version_info*) echo @VERSION@ ;;
    *ensurepip*) [ ! -e "$here/no-venv" ] ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip --version") ;;
    "-m pip "*)
        echo "$*" >> "$here/calls"
        case "$*" in *colab*) lost=colab-network ;; *) lost=network ;; esac
        if [ -e "$here/no-$lost" ]; then
            echo "WARNING: Retrying (Retry(total=4)) after connection broken by NewConnectionError" >&2
            echo "ERROR: No matching distribution found for setuptools" >&2
            exit 1
        fi
        case "$*" in *--no-build-isolation*)
            [ ! -e "$here/conflict" ] || { echo "ERROR: Cannot install these packages" >&2; exit 1; }
            [ ! -e "$here/killed" ] || kill -9 $PPID ;;
        esac ;;
    *)
        echo "$*" >> "$here/calls"
        case "$*" in "-m venv --without-pip"*) [ ! -e "$here/no-colab" ] || { echo "no space"; exit 1; } ;; esac
        case "$*" in tools/share_torch.py) [ ! -e "$here/no-torch" ] || { echo "no torch"; exit 1; } ;; esac ;;
esac
"""
# Runs a file as if the Python sys.argv[1] did.
RUN = """\
import runpy, sys
_, sys.executable, *sys.argv = sys.argv
runpy.run_path(sys.argv[0], run_name="__main__")
"""
STUB = STUB.replace("@REAL@", shlex.quote(sys.executable))
STUB = STUB.replace("@RUN@", shlex.quote(RUN))
LAB = "setup_course.py lab --here"
TOOLS = ("make", "sh", "cp", "mkdir")


class Machine:
    """A fresh clone with the files that the set-up needs.

    The PATH of the machine has TOOLS and the programs that a test adds.
    """

    def __init__(self, folder: pathlib.Path):
        self.bin, self.clone = folder / "bin", folder / "a clone"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name in (
            "Makefile",
            "pyproject.toml",
            "constraints.txt",
            "setup_course.py",
            "tools/colab-requirements.txt",
            "tools/share_torch.py",
        ):
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.clone / name)

    def add(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script.replace("@HERE@", str(self.bin)))
        (self.bin / name).chmod(0o755)

    def python(self, name: str, version: str) -> None:
        self.add(name, STUB.replace("@VERSION@", version))

    def run(self, *command: str) -> subprocess.CompletedProcess:
        environment = {"PATH": str(self.bin)}
        captured = {"capture_output": True, "text": True}
        command = (str(self.bin / command[0]), *command[1:])
        return subprocess.run(command, cwd=self.clone, env=environment, **captured)

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.run("make", *arguments)

    def calls(self) -> list[str]:
        """Returns the calls of interpreters since the last call of this method."""
        path = self.bin / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def sentence(self, *arguments: str) -> str:
        """Returns the one sentence that a failing make prints.

        make's own lines, which begin with "make: ***", may follow it.
        """
        result = self.make(*arguments)
        assert result.returncode != 0
        said, *rest = result.stderr.splitlines()
        assert all(line.startswith("make: ***") for line in rest), result.stderr
        assert not any(path.exists() for path in (self.clone / ".venv").glob("*.ready"))
        return said


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    "found, named",
    [
        ({}, "found none"),
        ({"python3": "3.9"}, "found 3.9 (python3)"),
        ({"python3": "3.14"}, "found 3.14 (python3)"),
        (
            {"python3": "3.14", "python3.13": "3.8"},
            "found 3.14 (python3), 3.8 (python3.13)",
        ),
    ],
)
def test_make_without_a_suitable_python_prints_one_sentence(machine, found, named):
    for name, version in found.items():
        machine.python(name, version)
    for target in ("lab", "test"):
        said = machine.sentence(target)
        assert "needs Python 3.10, 3.11, 3.12 or 3.13" in said and named in said
        assert f"make {target} PYTHON=" in said


def test_make_without_venv_module_prints_one_sentence(machine):
    machine.python("python3", "3.11")
    (machine.bin / "no-venv").touch()
    said = (
        "Python 3.11 has no venv module: install it (Debian, Ubuntu: python3.11-venv)"
    )
    assert said in machine.sentence("lab")


def test_make_prints_one_sentence_if_the_venv_cannot_be_made(machine):
    script = STUB.replace("@VERSION@", "3.12")
    script = script.replace("mkdir -p .venv/bin &&", "echo no space; false &&")
    machine.add("python3", script)
    assert machine.sentence("lab") == "python3 could not make .venv: no space"


def test_make_without_network_prints_one_sentence_and_recovers(machine):
    machine.python("python3", "3.13")
    (machine.bin / "no-network").touch()
    said = machine.sentence("lab")
    assert said.startswith("The packages cannot be downloaded: look at the network")
    assert ".venv/setup.log" in said
    assert "NewConnectionError" in (machine.clone / ".venv" / "setup.log").read_text()
    (machine.bin / "no-network").unlink()
    assert machine.make("lab").returncode == 0


def test_make_prints_one_sentence_with_the_reason_of_a_pip_failure(machine):
    machine.python("python3", "3.13")
    (machine.bin / "conflict").touch()
    said = "pip could not install the packages: ERROR: Cannot install these packages ("
    assert said in machine.sentence("test")


def test_make_skips_a_failing_python_shim_silently(machine):
    message = "pyenv: python3: command not found"
    machine.add("python3", f"#!/bin/sh\necho '{message}' >&2\nexit 127\n")
    machine.python("python3.12", "3.12")
    result = machine.make("lab")
    assert result.returncode == 0 and result.stderr == ""
    assert "with Python 3.12 (python3.12)" in result.stdout


def test_make_with_python_option_tries_that_one_only(machine):
    machine.python("python3", "3.12")
    machine.python("mine", "3.10")
    machine.python("old", "3.7")
    assert "found 3.7 (old)" in machine.sentence("lab", "PYTHON=old")
    assert "with Python 3.10 (mine)" in machine.make("lab", "PYTHON=mine").stdout


def test_make_lab_installs_with_constraints_without_test_extra_and_once(machine):
    machine.python("python3", "3.11")
    assert machine.make("lab", "LAB_ARGS=--no-browser").returncode == 0
    tools, course, lab = machine.calls()
    assert all(" install -c constraints.txt " in call for call in (tools, course))
    assert tools.endswith("pip setuptools>=77")
    assert course.endswith("--no-build-isolation -e .[lab]")
    assert lab == f"{LAB} --no-browser"
    assert machine.make("lab").returncode == 0
    assert machine.calls() == [LAB]


def test_make_test_adds_its_extra_and_make_lab_then_installs_nothing(machine):
    machine.python("python3", "3.11")
    assert machine.make("test").returncode == 0
    _, course, *colab, ruff_format, ruff_check, pytest_call = machine.calls()
    pip = "-m pip --disable-pip-version-check --python .venv/colab/bin/python install"
    assert colab == [
        "-m venv --without-pip .venv/colab",
        f"{pip} --quiet -r tools/colab-requirements.txt",
        "tools/share_torch.py",
    ]
    assert course.endswith("-e .[lab,test]")
    ruff = ["-m ruff format --check .", "-m ruff check ."]
    assert [ruff_format, ruff_check] == ruff
    assert pytest_call.startswith("-m pytest tests notebooks ")
    assert pytest_call.endswith(" -m not slow")
    assert {"--nbval-lax", "--nbval-current-env"} <= set(pytest_call.split())
    assert machine.make("test-all").returncode == 0
    _, course, *colab, ruff_format, ruff_check, book, pytest_call = machine.calls()
    assert course.endswith("-e .[lab,test,book]") and len(colab) == 3
    assert [ruff_format, ruff_check] == ruff and book == "tools/build_book.py"
    assert " -m " not in pytest_call.removeprefix("-m ")
    assert machine.make("book").returncode == 0
    assert machine.calls() == ["tools/build_book.py"]
    assert machine.make("test").returncode == 0 and len(machine.calls()) == 3
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 1


@pytest.mark.parametrize(
    "lacks, said",
    [
        ("no-colab", "python could not make .venv/colab: no space"),
        ("no-colab-network", "The packages cannot be downloaded: look at the network"),
        ("no-torch", "torch could not be linked into .venv/colab: no torch"),
    ],
)
def test_make_test_without_colabs_versions_prints_a_sentence_and_lab_works(
    machine, lacks, said
):
    machine.python("python3", "3.11")
    (machine.bin / lacks).touch()
    assert machine.sentence("test").startswith(said)
    assert machine.make("lab").returncode == 0
    (machine.bin / lacks).unlink()
    assert machine.make("test").returncode == 0


def test_make_test_reinstalls_changed_versions_of_colab_and_lab_does_not(machine):
    machine.python("python3", "3.11")
    assert machine.make("test").returncode == 0 and len(machine.calls()) == 8
    newer = (machine.clone / ".venv" / "test.ready").stat().st_mtime + 1
    os.utime(machine.clone / "tools" / "colab-requirements.txt", (newer, newer))
    assert machine.make("lab").returncode == 0 and machine.calls() == [LAB]
    assert machine.make("test").returncode == 0 and len(machine.calls()) == 8


def test_make_lab_continues_a_setup_that_was_killed(machine):
    machine.python("python3", "3.11")
    (machine.bin / "killed").touch()
    assert machine.make("lab").returncode != 0
    assert (machine.clone / ".venv" / "bin" / "python").exists()
    assert len(machine.calls()) == 2
    (machine.bin / "killed").unlink()
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 3


def test_make_lab_recreates_a_broken_venv(machine):
    machine.python("python3", "3.11")
    assert machine.make("lab").returncode == 0
    (machine.clone / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (machine.clone / ".venv" / "lab.ready").unlink()
    result = machine.make("lab")
    assert result.returncode == 0 and "Setting up .venv" in result.stdout


def test_make_lab_reinstalls_for_changed_requirements_or_a_moved_folder(machine):
    machine.python("python3", "3.11")
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 3
    stamp = machine.clone / ".venv" / "lab.ready"
    os.utime(machine.clone / "constraints.txt", (stamp.stat().st_mtime + 1,) * 2)
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 3
    os.utime(machine.clone / "constraints.txt", (stamp.stat().st_mtime - 1,) * 2)
    machine.clone = machine.clone.rename(machine.clone.parent / "moved")
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 3
    assert machine.make("lab").returncode == 0 and len(machine.calls()) == 1


def run_setup(*arguments, before=""):
    """Runs setup_course.py with the real Python, after the statement `before`."""
    file = str(ROOT / "setup_course.py")
    code = f"{before}\nimport runpy; runpy.run_path({file!r}, run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_setup_course_starts_on_a_python_that_is_too_old_for_the_course():
    text = (ROOT / "setup_course.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    old = "import sys; sys.version_info = (3, 6); sys.version = '3.6.9 (default)'"
    done = run_setup("lab", before=old)
    said = "This course needs Python 3.10, 3.11, 3.12 or 3.13 and found 3.6.9\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_setup_course_without_make_says_how_to_name_another_python(machine):
    machine.python("python3", "3.14")
    done = machine.run("python3", "setup_course.py", "lab")
    assert done.returncode == 1 and done.stderr == (
        "This course needs Python 3.10, 3.11, 3.12 or 3.13 and found 3.14 (python3): "
        "install one, or run this file with another one: /path/to/python3.12 "
        "setup_course.py lab\n"
    )
    machine.python("python3.13", "3.13")
    done = machine.run("python3", "setup_course.py", "lab", "--no-open")
    assert done.returncode == 0 and "Python 3.13 (python3.13)" in done.stdout
    assert machine.calls()[-1] == f"{LAB} --no-open"


@pytest.fixture(scope="module")
def setup_course():
    found = importlib.util.spec_from_file_location("_setup", ROOT / "setup_course.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_setup_course_looks_for_python_on_windows_by_its_launcher(
    setup_course, monkeypatch
):
    assert setup_course.python_of(".venv", "nt").endswith("python.exe")
    assert "Scripts" in setup_course.python_of(".venv", "nt")
    own, launched = r"C:\Python\python.exe", ["3.13", "3.12", "3.11", "3.10"]
    expected = [f"py -{number}" for number in launched]
    assert setup_course.names(own, "nt") == [own, *expected]
    assert setup_course.names(setup_course.VENV, "nt") == expected
    monkeypatch.setenv("MAKE_PYTHON", "mine")
    assert setup_course.names(own, "nt") == ["mine"]


@pytest.mark.parametrize("arguments", [["test", "--no-browser"], ["course"]])
def test_setup_course_rejects_unknown_arguments(arguments):
    done = run_setup(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr


@pytest.fixture
def become(setup_course, monkeypatch):
    """The command that takes the place of setup_course.py."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "mine")
    command = []
    monkeypatch.setattr(setup_course, "become", lambda *words: command.extend(words))
    return command


def test_lab_here_opens_the_start_page_with_the_courses_settings(
    setup_course, become, monkeypatch
):
    trusted = []
    monkeypatch.setattr(trust, "trust", trusted.append)
    setup_course.lab_here(True, [])
    assert trusted == [ROOT] and not become
    setup_course.lab_here(False, ["--no-browser"])
    assert become == [
        *(sys.executable, "-m", "jupyterlab", "--ServerApp.root_dir=."),
        *("--LabApp.default_url=/lab/tree/START.ipynb", "--no-browser"),
    ]
    first, second = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert pathlib.Path(first) == ROOT / "tools" / "lab" and second == "mine"


def test_lab_here_says_what_is_not_installed(setup_course, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        SystemExit, match=r'course_lib is .* install -e "\.\[lab\]" first'
    ):
        setup_course.lab_here(True, [])


def test_lab_here_opens_jupyterlab_if_nothing_can_be_signed(
    setup_course, become, monkeypatch, capsys
):
    def full(root):
        raise OSError("disk full")

    monkeypatch.setattr(trust, "trust", full)
    setup_course.lab_here(False, [])
    assert "could not be marked as trusted (disk full)" in capsys.readouterr().out
    assert become[1:3] == ["-m", "jupyterlab"]


def test_settings_of_jupyterlab_exist():
    """JupyterLab ignores a setting that it does not know."""
    file = ROOT / "tools" / "lab" / "labconfig" / "default_setting_overrides.json"
    schemas = pathlib.Path(sys.prefix, "share", "jupyter", "lab", "schemas")
    overrides = json.loads(file.read_text(encoding="utf-8"))
    for plugin, settings in overrides.items():
        path = schemas.joinpath(*plugin.split(":")).with_suffix(".json")
        known = json.loads(path.read_text(encoding="utf-8"))["properties"]
        for name, value in settings.items():
            kind = {"boolean": bool, "string": str, "object": dict}[known[name]["type"]]
            assert isinstance(value, kind) and value != known[name]["default"], name


def pins(file: str) -> dict[str, list[Requirement]]:
    """Returns name -> requirements of a file with pinned versions."""
    lines = (ROOT / file).read_text().splitlines()
    found = {}
    for pin in [Requirement(line) for line in lines if line and line[0] != "#"]:
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


@pytest.mark.parametrize("file", ["constraints.txt", "tools/colab-requirements.txt"])
def test_every_constraint_is_one_exact_version_on_every_python(file):
    for name, constraints in pins(file).items():
        for pin in constraints:
            assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), name
        for version in ("3.10", "3.11", "3.12", "3.13"):
            fits = [
                pin
                for pin in constraints
                if not pin.marker or pin.marker.evaluate({"python_version": version})
            ]
            assert len(fits) == 1, (name, version)


def test_constraints_fit_the_ranges_and_cover_all_installed_packages():
    pinned, seen = pins("constraints.txt"), set()
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *extras["lab"], *extras["test"]]
    # only `make book` and `make test-all` install it
    if importlib.util.find_spec("sphinx"):
        texts += extras["book"]
    wanted = map(Requirement, texts)
    queue = [each for each in wanted if not each.marker or each.marker.evaluate()]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        for pin in pinned.get(name, []):
            if not pin.marker or pin.marker.evaluate():
                assert wanted.specifier.contains(str(pin.specifier)[2:]), (
                    f"{wanted} against {pin}"
                )
        if (name, str(wanted.extras)) in seen:
            continue
        seen.add((name, str(wanted.extras)))
        assert name in pinned, f"{name} is not in constraints.txt"
        for text in importlib.metadata.requires(name) or ():
            deeper, extras = Requirement(text), {"", *wanted.extras}
            if not deeper.marker or any(
                deeper.marker.evaluate({"extra": extra}) for extra in extras
            ):
                queue.append(deeper)
    assert len(seen) > 100


REACH = """\
import socket
for reach in (lambda: socket.create_connection(("example.com", 80)), lambda: socket.socket().connect(("192.0.2.1", 80)),
              lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 80)),
              lambda: socket.gethostbyname("example.com")):
    try:
        reach()
    except ConnectionRefusedError as error:
        assert "tests run without a network" in str(error), error
    else:
        raise SystemExit("reached the network")
"""


def test_tests_and_their_subprocesses_cannot_reach_the_network():
    exec(REACH, {})
    subprocess.run([sys.executable, "-c", REACH], check=True)


def test_tests_can_reach_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1])).close()


SKIPS = """\
import pytest
def test_passes(): pass
@pytest.mark.skipif(True, reason="needs CUDA")
def test_cuda(): pass
"""


@pytest.mark.parametrize(
    "more, ci, code",
    [
        ("", "true", 0),
        ("def test_skipped(): pytest.skip('some reason')\n", "", 0),
        ("def test_skipped(): pytest.skip('some reason')\n", "true", 1),
        ("pytest.importorskip('no_such_module')\n", "true", 1),
    ],
)
def test_ci_run_fails_for_any_skip_but_cuda(tmp_path, more, ci, code):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    shutil.copytree(
        ROOT / "tests" / "offline",
        tmp_path / "offline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "test_more.py").write_text("import pytest\n" + more)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    captured = {"capture_output": True, "text": True}
    result = subprocess.run(command, env=environment, cwd=tmp_path, **captured)
    assert result.returncode == code, result.stdout
    assert ("this fails the run" in result.stdout) == bool(code)
