"""Writes the tables of README.md and docs/concepts.md, what is between `<!-- begin NAME
-->` and `<!-- end NAME -->`, from syllabus/: decks.toml (tag = title) and one file for
each notebook, NN_topic.toml, with its title, its topics, the decks it expands and a row
for each system that it uses and explains:

    [systems."NT-Xent"]
    symbol = "course_lib.losses:nt_xent"       # where its code is
    exercise = true                            # absent where no exercise practises it
    lecture = "GT19: A formulation of ..."     # deck and title of the slide; absent where no slide shows it
    paper = "arXiv:2002.05709"                 # or "doi:..."
"""

import re
from pathlib import Path

from build_notebooks import ROOT, colab, tomllib

from course_lib.grading.library import definition

README = ROOT / "README.md"
CONCEPTS = ROOT / "docs" / "concepts.md"


def read(folder: Path = ROOT / "syllabus") -> dict[str, dict]:
    """The files of `folder` merged: {"decks": tag -> title, "notebooks": name -> row,
    "systems": concept -> row}.

    A system's row has the notebook whose file it stands in, and the name of its sheet
    as `exercise` where it has one. Raises ValueError where two files have a row for the
    same concept.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    files = {
        name: tomllib.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
    }
    decks, systems = files.pop("decks"), {}
    for name, file in files.items():
        for concept, row in file.pop("systems", {}).items():
            if concept in systems:
                raise ValueError(
                    f"syllabus/{name}.toml: {systems[concept]['notebook']}.toml has "
                    f"`{concept}`, too"
                )
            systems[concept] = {
                **row,
                "notebook": name,
                **({"exercise": name} if row.get("exercise") else {}),
            }
    return {"decks": decks, "notebooks": files, "systems": systems}


SYLLABUS = read()


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def exists(folder: str, name: str) -> bool:
    return (ROOT / folder / f"{name}.ipynb").exists()


def links(name: str) -> str:
    """A notebook's title with links to it and to its exercises, as far as they
    exist."""
    title = SYLLABUS["notebooks"][name]["title"]
    if not exists("notebooks", name):
        return f"{title} (planned)"
    sheet = (
        f", [exercises](exercises/{name}.ipynb)" if exists("exercises", name) else ""
    )
    return f"[{title}](notebooks/{name}.ipynb){sheet}"


def notebooks() -> str:
    """README's table: one short row for each of the course's notebooks."""
    lines = [row("no.", "notebook", "what it teaches", "Colab"), row(*4 * ["---"])]
    for name, notebook in SYLLABUS["notebooks"].items():
        opened = f"[open]({colab(name)})" if exists("notebooks", name) else ""
        lines.append(row(name[:2], links(name), notebook["topics"], opened))
    return "\n".join(lines)


def lectures() -> str:
    """The book's table: the notebooks and the decks that they expand."""
    lines = [row("no.", "notebook", "what it teaches", "lectures"), row(*4 * ["---"])]
    for name, notebook in SYLLABUS["notebooks"].items():
        lines.append(
            row(name[:2], links(name), notebook["topics"], ", ".join(notebook["decks"]))
        )
    return "\n".join(lines)


def decks() -> str:
    return "\n".join(
        f"- **{tag}**: {title}" for tag, title in SYLLABUS["decks"].items()
    )


def systems() -> str:
    """A section for each notebook: its decks, and where code, slide and paper of each
    of its systems are."""
    return "\n\n".join(map(section, SYLLABUS["notebooks"]))


def section(name: str) -> str:
    """The heading of a notebook, what leads to it, and a table of its systems where it
    has any."""
    notebook, lines = SYLLABUS["notebooks"][name], []
    for concept, system in SYLLABUS["systems"].items():
        if system["notebook"] == name:
            module, symbol = system["symbol"].split(":")
            file = definition(system["symbol"], ROOT)[0].relative_to(ROOT).as_posix()
            code = f"[`{module.removeprefix('course_lib.')}.{symbol}`]({file})"
            practised = (
                f"[{name[:2]}](exercises/{name}.ipynb)" if "exercise" in system else ""
            )
            kind, _, number = system.get("paper", "").partition(":")
            address = {"arXiv": "arxiv.org/abs", "doi": "doi.org", "": ""}[kind]
            paper = f"[{kind} {number}](https://{address}/{number})" if number else ""
            lines.append(
                row(concept, code, practised, system.get("lecture", ""), paper)
            )
    if lines:
        lines = [
            "",
            row("concept", "code", "exercise", "lecture: slide", "paper"),
            row(*5 * ["---"]),
            *lines,
        ]
    decks = ", ".join(f"**{tag}**" for tag in notebook["decks"])
    head = [
        f"## {name[:2]}. {notebook['title']}",
        "",
        f"{links(name)}; lectures {decks}.",
    ]
    return "\n".join(head + lines)


def from_docs(text: str) -> str:
    """The links of a text at the root, as a page in docs/ needs them."""
    return re.sub(r"\]\((?!https://)", "](../", text)


PAGES = {README: (notebooks,), CONCEPTS: (decks, systems)}


def filled(page: Path, text: str | None = None) -> str:
    """The text of a page of PAGES, as it lies there by default, with every table made
    anew."""
    text = page.read_text(encoding="utf-8") if text is None else text
    for table in PAGES[page]:
        begin, end = (f"<!-- {word} {table.__name__} -->" for word in ("begin", "end"))
        content = table() if page.parent == ROOT else from_docs(table())
        block = f"{begin}\n{content}\n{end}"
        text, count = re.subn(
            f"{begin}.*?{end}", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(
                f"{page.name}: expected the lines `{begin}` and `{end}` once, found "
                f"them {count} times"
            )
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page), encoding="utf-8")
