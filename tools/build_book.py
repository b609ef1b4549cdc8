"""`make book`: builds a static site from the committed notebooks, the index of concepts
and the library's API.

The pages also need MathJax and a viewer for widgets. Both are downloaded once from npm.
The finished site, build/book/, needs no network.
"""

import base64
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import nbformat
from build_notebooks import NOTEBOOKS, ROOT
from build_readme import SYLLABUS, decks, lectures, systems
from dress import HOW, NAVIGATION_ID

BUILD = ROOT / "build"
FETCHED = BUILD / "book_static"
PACKAGES = {
    # One file that contains its fonts. MathJax 4 would load some letters later.
    "mathjax@3.2.2": r"es5/tex-svg\.js|LICENSE",
    "@jupyter-widgets/html-manager@1.0.15": (
        r"dist/(embed\.js(\.LICENSE\.txt)?|\w+\.woff2)"
    ),
}
# The pictures of the front page: number of the notebook, first words of the picture's
# alternative text.
GALLERY = [
    ("00", "Scenes; true masks;"),
    ("00", "Three scenes, changed in five ways"),
    ("01", "Six scenes; their lightness"),
    ("01", "76 bins in the plane"),
    ("03", "Eight scenes (first row)"),
    ("03", "Nearest training scenes of four test scenes: shipped"),
    ("08", "Scenes; where the shipped DINO"),
    ("11", "Left: a 15 by 15 grid"),
    ("11", "Six hands (rows)"),
    ("12", "colourisation: with a discriminator"),
    ("14", "100 steps there, 100 back"),
    ("15", "One emoji of each category"),
]


def fetch() -> None:
    """Downloads the missing PACKAGES into build/book_static/.

    Exits with a one-sentence message if npm is missing or the download fails.
    """
    for package, wanted in PACKAGES.items():
        name = package.rpartition("@")[0].rpartition("/")[2]
        if (FETCHED / name).is_dir():
            continue
        FETCHED.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--pack-destination", str(FETCHED)]
        command.append(package)
        try:
            packed = subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            sys.exit(
                "The book needs npm (it brings MathJax): install it (Debian, Ubuntu: "
                "apt install npm)."
            )
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"npm could not download {package}: look at the network (or its "
                f"proxy), then run the same command again. {error.stderr.strip()}"
            )
        archive, unpacked = (
            FETCHED / packed.stdout.split()[-1],
            FETCHED / f"{name}.part",
        )
        unpacked.mkdir(exist_ok=True)
        with tarfile.open(archive) as files:
            for member in files:
                path = member.name.partition("/")[2]
                if re.fullmatch(wanted, path):
                    content = files.extractfile(member).read()
                    (unpacked / pathlib.Path(path).name).write_bytes(content)
        archive.unlink()
        # Renamed last, so an interrupted download is repeated.
        unpacked.rename(FETCHED / name)


def page(path: pathlib.Path) -> str:
    """Returns the text of a notebook (JSON) for the book.

    A text link replaces the picture of the badge. Cells that are folded in JupyterLab
    are folded here, too. The lines for work in JupyterLab (how to work, previous and
    next notebook) are left out. Links to sections get the book's anchors.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != NAVIGATION_ID]
    title = notebook.cells[0]
    why = (
        "to run this notebook and to move its controls"
        if path.parent == NOTEBOOKS
        else "to solve these"
    )
    title.source = re.sub(
        r"\[!\[Open in Colab\]\(.*?\)\]", f"[Open in Colab {why}]", title.source
    )
    paragraphs = title.source.split("\n\n")
    title.source = "\n\n".join(
        part for part in paragraphs if part != HOW and "](../START.ipynb)" not in part
    )
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "hide-input"]
        if cell.cell_type == "markdown":
            cell.source = re.sub(
                r"(?<=\]\()([\w./]*)#((?:[^()\s]|\([^()\s]*\))+)(?=\))",
                lambda link: f"{link[1]}#{slug(link[2])}",
                cell.source,
            )
    return nbformat.writes(notebook)


def slug(title: str) -> str:
    """Returns the anchor that MyST gives to a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def picture(number: str, begins: str) -> tuple[str, bytes, str]:
    """Returns a picture of the gallery: file name, PNG bytes, and Markdown.

    The Markdown shows the picture and links to its section. Raises ValueError if not
    exactly one picture of the notebook has an alternative text that begins with
    `begins`.
    """
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    found, heading = [], ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.*)", cell.source, re.MULTILINE)
            heading = (headings or [heading])[-1]
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if alt.startswith(begins):
                found.append((alt, heading, base64.b64decode(output.data["image/png"])))
    if len(found) != 1:
        raise ValueError(
            f"{path.name} shows {len(found)} pictures that begin `{begins}`: mend "
            "GALLERY"
        )
    alt, heading, png = found[0]
    name = f"gallery/{number}-{slug(begins)}.png"
    title = SYLLABUS["notebooks"][path.stem]["title"]
    alt = re.sub(r"([][*_$`])", r"\\\1", alt)
    target = f"notebooks/{path.name}#{slug(heading)}"
    return name, png, f"[![{alt}]({name}) {number}. {title}]({target})"


def api() -> dict[str, str]:
    """Returns the pages of the API by name.

    Each folder of course_lib has one page with the members of its public modules.
    """
    pages = {}
    for init in sorted((ROOT / "course_lib").rglob("__init__.py")):
        family = ".".join(init.parent.relative_to(ROOT).parts)
        lines = [family, "=" * len(family), "", f".. automodule:: {family}", ""]
        for path in sorted(init.parent.glob("[!_]*.py")):
            module = f"{family}.{path.stem}"
            lines += [module, "-" * len(module), "", f".. automodule:: {module}", ""]
        pages[f"api/{family}.rst"] = "\n".join(lines)
    return pages


def module(path: str) -> str:
    """Returns the Python name of course_lib/a/b or course_lib/a/__init__."""
    return path.removesuffix("/__init__").replace("/", ".")


def sources() -> dict[str, str | bytes]:
    """Returns every file that Sphinx reads, by its path in the book's source folder."""
    pictures = [picture(*wanted) for wanted in GALLERY]
    tables = {
        "gallery": "\n\n".join(markdown for _, _, markdown in pictures),
        "notebooks": lectures(),
        "decks": decks(),
        "systems": re.sub(
            r"^\| (.*?) \| \[`(.*?(\w+))`\]\((.*?)\.py\)",
            lambda row: (
                f"| {{index}}`{row[1]}` | {{py:obj}}`{row[2]} "
                f"<{module(row[4])}.{row[3]}>`"
            ),
            systems(),
            flags=re.M,
        ),
    }
    written = {
        path.name: re.sub(
            r"<!-- (\w+) -->",
            lambda word: tables[word[1]],
            path.read_text(encoding="utf-8"),
        )
        for path in (ROOT / "book").glob("*.md")
    }
    pages = {
        f"{folder}/{path.name}": page(path)
        for folder in ("notebooks", "exercises")
        for path in (ROOT / folder).glob("*.ipynb")
    }
    return {**written, **pages, **api(), **{name: png for name, png, _ in pictures}}


def build(folder: pathlib.Path) -> None:
    """Builds the book into folder/book. A second call builds only what has changed.

    Raises CalledProcessError if Sphinx gives a warning.
    """
    source, wanted = folder / "book_source", sources()
    for path in [path for path in source.rglob("*") if path.is_file()]:
        if path.relative_to(source).as_posix() not in wanted:
            path.unlink()
            # removes the built page of this file, too
            shutil.rmtree(folder / "book", ignore_errors=True)
    for name, content in wanted.items():
        path = source / name
        if isinstance(content, str):
            content = content.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    command += ["-c", ROOT / "book", "-d", folder / "book_doctrees"]
    try:
        subprocess.run([*command, source, folder / "book"], check=True)
    except subprocess.CalledProcessError:
        # Otherwise the next build would not repeat the warnings.
        shutil.rmtree(folder / "book_doctrees", ignore_errors=True)
        raise


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit(
            "The book needs Python 3.11 or newer, because Sphinx does. Everything else "
            "works with this Python."
        )
    fetch()
    try:
        build(BUILD)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(f"The book: {BUILD / 'book' / 'index.html'}")
