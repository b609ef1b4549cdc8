"""`make book`: the committed notebooks as they are, the index of concepts and the
library's API as a static site.

What its pages load beside text and pictures (MathJax, the viewer of widgets) comes once
from npm; the finished site, build/book/, asks the network for nothing.
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

BUILD = ROOT / "build"
FETCHED = BUILD / "book_static"
PACKAGES = {
    # one file, its fonts inside; MathJax 4 loads some letters later
    "mathjax@3.2.2": r"es5/tex-svg\.js|LICENSE",
    "@jupyter-widgets/html-manager@1.0.15": r"dist/(embed\.js(\.LICENSE\.txt)?|\w+\.woff2)",
}
# The front page's pictures: the notebook, and how the picture's alternative text
# begins.
GALLERY = [
    ("00", "Scenes; true masks;"),
    ("00", "Three scenes, changed in five ways"),
    ("01", "Six scenes; their lightness"),
    ("01", "76 bins in the plane"),
    ("03", "Eight scenes (first row)"),
    ("03", "Nearest training scenes of four unseen ones: shipped"),
    ("08", "Scenes; where the shipped DINO"),
    ("11", "Left: a 15 by 15 grid"),
    ("11", "Six hands (rows)"),
    ("12", "colourisation: with a judge"),
    ("14", "100 steps there, 100 back"),
    ("15", "One emoji of each category"),
]


def fetch() -> None:
    """Puts what the pages load into build/book_static/, where it is missing. Ends in
    one sentence where it cannot."""
    for package, wanted in PACKAGES.items():
        name = package.rpartition("@")[0].rpartition("/")[2]
        if (FETCHED / name).is_dir():
            continue
        FETCHED.mkdir(parents=True, exist_ok=True)
        try:
            pack = [
                "npm",
                "pack",
                "--silent",
                "--pack-destination",
                str(FETCHED),
                package,
            ]
            said = subprocess.run(pack, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            sys.exit(
                "The book needs npm (it brings MathJax): install it (Debian, Ubuntu: "
                "apt install npm)."
            )
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"npm could not download {package}: look at the network (or its "
                "proxy), then run the same command "
                f"again. {error.stderr.strip()}"
            )
        archive, unpacked = FETCHED / said.stdout.split()[-1], FETCHED / f"{name}.part"
        unpacked.mkdir(exist_ok=True)
        with tarfile.open(archive) as files:
            for member in files:
                path = member.name.partition("/")[2]
                if re.fullmatch(wanted, path):
                    (unpacked / pathlib.Path(path).name).write_bytes(
                        files.extractfile(member).read()
                    )
        archive.unlink()
        unpacked.rename(FETCHED / name)  # last: what was interrupted is fetched again


def page(path: pathlib.Path) -> str:
    """A notebook as the book shows it: words in place of the badge's picture, the
    set-up cell folded."""
    notebook = nbformat.read(path, as_version=4)
    title, set_up = notebook.cells[:2]
    why = (
        "to run this notebook and to move its controls"
        if path.parent == NOTEBOOKS
        else "to solve these"
    )
    title.source = re.sub(
        r"\[!\[Open in Colab\]\(.*?\)\]", f"[Open in Colab {why}]", title.source
    )
    set_up.metadata["tags"] = ["hide-cell"]
    return nbformat.writes(notebook)


def slug(title: str) -> str:
    """The anchor that myst gives to a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def picture(number: str, begins: str) -> tuple[str, bytes, str]:
    """A picture of the gallery: its file's name, its PNG, and Markdown that shows it
    and links to its section.

    Raises ValueError where the notebook shows no picture, or more than one, whose
    alternative text begins so.
    """
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    found, heading = [], ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.*)", cell.source, re.MULTILINE) or [heading])[
                -1
            ]
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
    title, alt = (
        SYLLABUS["notebooks"][path.stem]["title"],
        re.sub(r"([][*_$`])", r"\\\1", alt),
    )
    return (
        name,
        png,
        f"[![{alt}]({name}) {number}. {title}](notebooks/{path.name}#{slug(heading)})",
    )


def api() -> dict[str, str]:
    """The pages of the API by name: one for each folder of course_lib, with all public
    modules' members."""
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
    """course_lib/a/b or course_lib/a/__init__ as Python names it."""
    return path.removesuffix("/__init__").replace("/", ".")


def sources() -> dict[str, str | bytes]:
    """Every file that Sphinx reads, by its path in the book's source folder."""
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
    """Builds the book into folder/book; a second time only what changed. Raises
    CalledProcessError for any warning."""
    source, wanted = folder / "book_source", sources()
    for path in [path for path in source.rglob("*") if path.is_file()]:
        if path.relative_to(source).as_posix() not in wanted:
            path.unlink()
            shutil.rmtree(folder / "book", ignore_errors=True)  # its page, too
    for name, content in wanted.items():
        path, content = (
            source / name,
            content.encode() if isinstance(content, str) else content,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    command = [
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        ROOT / "book",
        "-d",
        folder / "book_doctrees",
    ]
    try:
        subprocess.run([sys.executable, *command, source, folder / "book"], check=True)
    except subprocess.CalledProcessError:
        # or the next build would not repeat its warnings
        shutil.rmtree(folder / "book_doctrees", ignore_errors=True)
        raise


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit(
            "The book needs Python 3.11 or newer, as Sphinx does; all else works with "
            "this one."
        )
    fetch()
    try:
        build(BUILD)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(f"The book: {BUILD / 'book' / 'index.html'}")
