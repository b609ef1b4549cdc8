"""Marks the notebooks that ship with the course as trusted.

JupyterLab shows the saved widgets of a notebook only if it trusts the notebook.
Otherwise a text such as `explore(children=(FloatSlider(...` stands in their place until
the cells are run. JupyterLab trusts a notebook that was signed on this machine.

The rule: a notebook is signed only if its content has the SHA-256 that stands beside
its name in LIST. LIST ships with the course. So a notebook that somebody else wrote or
changed is not signed, also if it has the name of a shipped one, and also if it was
committed. The rule needs no git, so it holds in an unpacked zip, too. A notebook that
you run and save is signed by JupyterLab itself.

    python -m course_lib.trust      writes LIST for the notebooks as they are now
"""

import hashlib
from pathlib import Path

from course_lib.files import ROOT, write_whole

LIST = "tools/lab/sha256.txt"
SHIPPED = ("START.ipynb", "notebooks/*.ipynb", "exercises/*.ipynb")


def digest(content: bytes) -> str:
    """Returns the SHA-256 of a text file. It does not depend on the ends of lines,
    which git may change on Windows."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def listing(contents: dict[str, bytes]) -> str:
    """Returns the text of LIST for notebooks (name -> content), in the format of
    `sha256sum`."""
    rows = sorted(contents.items())
    return "".join(f"{digest(content)}  {name}\n" for name, content in rows)


def listed(root: Path = ROOT) -> str:
    """Returns the text of LIST for the notebooks of a clone as they are now."""
    paths = [path for pattern in SHIPPED for path in root.glob(pattern)]
    return listing({p.relative_to(root).as_posix(): p.read_bytes() for p in paths})


def write_list(root: Path = ROOT):
    """Writes LIST for the notebooks of a clone as they are now."""
    write_whole(root / LIST, listed(root).encode())


def unchanged(root: Path = ROOT) -> dict[str, bytes]:
    """Returns name -> content of the notebooks that are as they shipped; none if LIST
    is missing."""
    found, file = {}, root / LIST
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        expected, name = line.split(maxsplit=1)
        content = (root / name).read_bytes() if (root / name).is_file() else b""
        if digest(content) == expected:
            found[name] = content
    return found


def trust(root: Path = ROOT) -> list[str]:
    """Signs the notebooks that are as they shipped, for this user on this machine.
    Returns the names of those that were not signed before."""
    import nbformat
    from nbformat.sign import NotebookNotary

    notary, signed = NotebookNotary(), []
    for name, content in unchanged(root).items():
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
        if not notary.check_signature(notebook):
            notary.sign(notebook)
            signed.append(name)
    return signed


if __name__ == "__main__":
    write_list()
