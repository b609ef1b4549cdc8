"""Sets up the course and opens it: python setup_course.py lab

The first run makes the folder .venv and installs the course in it. This needs only
Python 3.10 to 3.13, on Linux, macOS or Windows. Every run of `lab` then marks the
notebooks that ship with the course as trusted (course_lib/trust.py has the rule), and
opens JupyterLab at START.ipynb. The settings in tools/lab are for this JupyterLab only:
no pop-ups, full file names, no code that is cut at the right. `make` calls this file.

With --here nothing is installed: `lab` uses the environment of the running Python.
"""

import argparse
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

NEEDS = "This course needs Python 3.10, 3.11, 3.12 or 3.13"
# This file also runs on some Pythons that are too old for the course, to look for
# another one.
if sys.version_info < (3, 7):  # noqa: UP036
    sys.exit(f"{NEEDS} and found {sys.version.split()[0]}")

SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = {"lab": ["lab"], "test": ["lab", "test"], "book": ["lab", "test", "book"]}
# The set-up is repeated if one of these files is newer than the marker .venv/*.ready.
SOURCES = ["pyproject.toml", "constraints.txt", "setup_course.py"]
SOURCES_OF_TESTS = ["tools/colab-requirements.txt", "tools/share_torch.py"]
LOG = os.path.join(".venv", "setup.log")
NETWORK = (
    "connection|name resolution|getaddrinfo|timed out|unreachable|proxy|SSL|max retries"
)
ROOT = os.path.dirname(os.path.realpath(__file__))


def python_of(folder, system=os.name):
    """Returns the path of the Python of the virtual environment `folder`."""
    parts = ("Scripts", "python.exe") if system == "nt" else ("bin", "python")
    return os.path.join(folder, *parts)


VENV = python_of(os.path.join(ROOT, ".venv"))


def run(*command):
    """Runs a command silently. Returns whether it succeeded, and its last line of
    output."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        return False, str(error)
    lines = done.stdout.decode(errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return done.returncode == 0, lines[-1] if lines else ""


def version(*python):
    """Returns the version of a Python, such as "3.12"; "" if it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    works, line = run(*python, "-c", code)
    return line if works else ""


def names(own=sys.executable, system=os.name):
    """Returns the names of the Pythons to try: this one, then others on PATH. make
    gives the one that its user has named."""
    if os.environ.get("MAKE_PYTHON"):
        return [os.environ["MAKE_PYTHON"]]
    newest = SUPPORTED[::-1]
    if system == "nt":
        others = [f"py -{number}" for number in newest]
    else:
        others = ["python3", *(f"python{number}" for number in newest)]
    if os.path.abspath(own) == VENV:  # it is broken, and will be deleted
        return others
    same = [name for name in others if shutil.which(name) == own]
    return [*(same or [own]), *(name for name in others if name not in same)]


def suitable_python(what):
    """Returns name, version and command of the Python for .venv. It is found by
    running it, because some programs of these names, such as pyenv's, only print that
    there is no Python."""
    other = "or run this file with another one: /path/to/python3.12 setup_course.py "
    if "MAKE_PYTHON" in os.environ:
        other = f"or name another one: make {what} PYTHON=/path/to/python3.12"
    else:
        other += what
    found, bare = [], ""
    for name in names():
        command = name.split() if name.startswith("py -") else [name]
        has = version(*command)
        if has:
            found.append(f"{has} ({name})")
        if has in SUPPORTED:
            if run(*command, "-c", "import ensurepip, venv")[0]:
                return name, has, command
            bare = bare or has
    if not bare:
        sys.exit(
            f"{NEEDS} and found {', '.join(found) or 'none'}: install one, {other}"
        )
    sys.exit(
        f"Python {bare} has no venv module: install it (Debian, Ubuntu: "
        f"python{bare}-venv), {other}"
    )


def pip(*arguments):
    command = [VENV, "-m", "pip", "--disable-pip-version-check", *arguments]
    with open(LOG, "wb") as log:
        if subprocess.call(command, stderr=log) == 0:
            return
    with open(LOG, encoding="utf-8", errors="replace") as log:
        text = log.read()
    if re.search(NETWORK, text, re.IGNORECASE):
        sys.exit(
            "The packages cannot be downloaded: look at the network (or its proxy), "
            f"then run the same command again. What pip said is in {LOG}."
        )
    errors = [line for line in text.splitlines() if "ERROR" in line]
    sys.exit(
        f"pip could not install the packages: {errors[-1] if errors else ''} (the rest "
        f"is in {LOG})"
    )


def marker(name):
    """Returns the path of the file that says that .venv is ready. It is written last,
    with the path of the clone, because an editable install refers to this path."""
    return os.path.join(".venv", f"{name}.ready")


def is_ready(what):
    if not os.path.exists(marker(what)) or not os.path.exists(VENV):
        return False
    with open(marker(what), encoding="utf-8") as file:
        if file.read().strip() != ROOT:
            return False
    sources = SOURCES if what == "lab" else SOURCES + SOURCES_OF_TESTS
    times = [os.path.getmtime(path) for path in sources if os.path.exists(path)]
    return max(times) <= os.path.getmtime(marker(what))


def install(what):
    if version(VENV) not in SUPPORTED or not run(VENV, "-m", "pip", "--version")[0]:
        name, has, command = suitable_python(what)
        print(
            f"Setting up .venv with Python {has} ({name}): this happens once and takes "
            "minutes, PyTorch is large.",
            flush=True,
        )
        shutil.rmtree(".venv", ignore_errors=True)
        works, line = run(*command, "-m", "venv", ".venv")
        if not works:
            sys.exit(f"{name} could not make .venv: {line}")
    for name in EXTRAS:
        if os.path.exists(marker(name)):
            os.remove(marker(name))
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    pinned = ["install", "-c", "constraints.txt"]
    # The build's own tools come first, from the same constraints: the second step then
    # needs no hidden environment of its own.
    pip(*pinned, "--quiet", "--retries", "2", "pip", "setuptools>=77")
    course = f".[{','.join(EXTRAS[what])}]"
    pip(*pinned, *quiet, "--no-build-isolation", "-e", course)
    if what != "lab":
        add_colab()
    for name in EXTRAS[what]:
        with open(marker(name), "w", encoding="utf-8") as file:
            file.write(ROOT + "\n")


def add_colab():
    """Makes .venv/colab: the checks also run the notebooks with Colab's versions, and
    with this torch."""
    colab = os.path.join(".venv", "colab")
    works, line = run(VENV, "-m", "venv", "--without-pip", colab)
    if not works:
        sys.exit(f"python could not make {colab}: {line}")
    wanted = ["install", "--quiet", "-r", "tools/colab-requirements.txt"]
    pip("--python", python_of(colab), *wanted)
    works, line = run(VENV, "tools/share_torch.py")
    if not works:
        sys.exit(f"torch could not be linked into {colab}: {line}")


def lab_here(no_open, arguments):
    """Marks the shipped notebooks as trusted and opens JupyterLab, both with the
    running Python."""
    if sys.path[0] == ROOT:
        del sys.path[0]  # course_lib has to be installed, not only to lie there
    for name in ("course_lib", "jupyterlab"):
        if importlib.util.find_spec(name) is None:
            install_it = 'python -m pip install -e ".[lab]"'
            sys.exit(f"{name} is not installed in {sys.prefix}: run {install_it} first")
    from course_lib.trust import trust

    try:
        trust(pathlib.Path(ROOT))
    except Exception as error:  # JupyterLab opens without it, too
        print(
            f"The notebooks could not be marked as trusted ({error}): their widgets "
            "appear when you run the cells."
        )
    if no_open:
        return
    print(
        "JupyterLab opens in the browser; if it does not, open the address that it "
        "prints below. Ctrl-C twice ends it."
    )
    settings = [
        os.path.join(ROOT, "tools", "lab"),
        os.environ.get("JUPYTER_CONFIG_PATH"),
    ]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, settings))
    start = ["--ServerApp.root_dir=.", "--LabApp.default_url=/lab/tree/START.ipynb"]
    become(sys.executable, "-m", "jupyterlab", *start, *arguments)


def become(*command):
    """Runs a command in place of this process, as far as the system can do this."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:  # the command got it, too, and decides
            pass


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="`lab` gives all other arguments to JupyterLab.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="lab",
        choices=list(EXTRAS),
        help="lab (the default) opens the course; test, book: only install what `make` "
        "needs for these",
    )
    parser.add_argument("--no-open", action="store_true", help="do not open JupyterLab")
    parser.add_argument("--here", action="store_true", help="use the running Python")
    options, arguments = parser.parse_known_args()
    if options.what != "lab" and (arguments or options.here):
        parser.error(f"{options.what} takes no other arguments")
    os.chdir(ROOT)
    if options.here:
        return lab_here(options.no_open, arguments)
    if not is_ready(options.what):
        install(options.what)
    if options.what == "lab":
        no_open = ["--no-open"] if options.no_open else []
        become(VENV, "setup_course.py", "lab", "--here", *no_open, *arguments)


if __name__ == "__main__":
    main()
