"""Writes the tables of README.md and docs/concepts.md from the files in syllabus/.

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. The file
decks.toml has the titles of the lecture decks: tag = title. Each notebook has a file
NN_topic.toml with its title, its topics, its lecture decks, and a row for each system
(a concept and its code) that it explains:

    [systems."NT-Xent"]
    symbol = "course_lib.losses:nt_xent"       # where its code is
    exercise = true                            # left out if there is no exercise
    lecture = "GT19: A formulation of ..."     # deck and title of the slide; optional
    paper = "arXiv:2002.05709"                 # or "doi:..."; optional
"""

import re
from pathlib import Path

from build_notebooks import REPOSITORY, ROOT, tomllib

from course_lib.grading.library import definition
from course_lib.stamp import with_colab_column

README = ROOT / "README.md"
CONCEPTS = ROOT / "docs" / "concepts.md"


def read(folder: Path = ROOT / "syllabus") -> dict[str, dict]:
    """Returns the merged files of `folder`: {"decks": tag -> title, "notebooks": name
    -> row, "systems": concept -> row}.

    To a system's row it adds the name of its notebook. A row with `exercise = true`
    gets the name of its exercise sheet instead of `true`. Raises ValueError if two
    files have a row for the same concept.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    files = {name: tomllib.loads(text) for name, text in texts.items()}
    decks, systems = files.pop("decks"), {}
    for name, file in files.items():
        for concept, row in file.pop("systems", {}).items():
            if concept in systems:
                raise ValueError(
                    f"syllabus/{name}.toml: {systems[concept]['notebook']}.toml has "
                    f"`{concept}`, too"
                )
            sheet = {"exercise": name} if row.get("exercise") else {}
            systems[concept] = {**row, "notebook": name, **sheet}
    return {"decks": decks, "notebooks": files, "systems": systems}


SYLLABUS = read()


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def exists(folder: str, name: str) -> bool:
    return (ROOT / folder / f"{name}.ipynb").exists()


def links(name: str) -> str:
    """Returns a notebook's title, with links to the notebook and its exercises.

    A notebook without a file is called planned.
    """
    title = SYLLABUS["notebooks"][name]["title"]
    if not exists("notebooks", name):
        return f"{title} (planned)"
    link = f"[{title}](notebooks/{name}.ipynb)"
    if exists("exercises", name):
        link += f", [exercises](exercises/{name}.ipynb)"
    return link


def notebooks() -> str:
    """Returns README's table: one short row for each notebook."""
    lines = [row("no.", "notebook", "what it teaches"), row(*3 * ["---"])]
    for name, notebook in SYLLABUS["notebooks"].items():
        lines.append(row(name[:2], links(name), notebook["topics"]))
    return with_colab_column("\n".join(lines), REPOSITORY)


def lectures() -> str:
    """Returns the book's table: the notebooks and their lecture decks."""
    lines = [row("no.", "notebook", "what it teaches", "lectures"), row(*4 * ["---"])]
    for name, notebook in SYLLABUS["notebooks"].items():
        decks = ", ".join(notebook["decks"])
        lines.append(row(name[:2], links(name), notebook["topics"], decks))
    return "\n".join(lines)


def decks() -> str:
    """Returns the list of the lecture decks: tag and title."""
    titles = SYLLABUS["decks"].items()
    return "\n".join(f"- **{tag}**: {title}" for tag, title in titles)


def systems() -> str:
    """Returns a section for each notebook: its decks and the table of its systems."""
    return "\n\n".join(map(section, SYLLABUS["notebooks"]))


def section(name: str) -> str:
    """Returns a notebook's heading, links and decks, and the table of its systems.

    A notebook without systems has no table.
    """
    notebook, lines = SYLLABUS["notebooks"][name], []
    for concept, system in SYLLABUS["systems"].items():
        if system["notebook"] == name:
            module, symbol = system["symbol"].split(":")
            file = definition(system["symbol"], ROOT)[0].relative_to(ROOT).as_posix()
            code = f"[`{module.removeprefix('course_lib.')}.{symbol}`]({file})"
            exercise = f"[{name[:2]}](exercises/{name}.ipynb)"
            exercise = exercise if "exercise" in system else ""
            kind, _, number = system.get("paper", "").partition(":")
            address = {"arXiv": "arxiv.org/abs", "doi": "doi.org", "": ""}[kind]
            paper = f"[{kind} {number}](https://{address}/{number})" if number else ""
            lecture = system.get("lecture", "")
            lines.append(row(concept, code, exercise, lecture, paper))
    if lines:
        head = row("concept", "code", "exercise", "lecture: slide", "paper")
        lines = ["", head, row(*5 * ["---"]), *lines]
    decks = ", ".join(f"**{tag}**" for tag in notebook["decks"])
    heading = f"## {name[:2]}. {notebook['title']}"
    return "\n".join([heading, "", f"{links(name)}; lectures {decks}.", *lines])


def from_docs(text: str) -> str:
    """Returns a text whose links start at the root with links that start in docs/."""
    return re.sub(r"\]\((?!https://)", "](../", text)


PAGES = {README: (notebooks,), CONCEPTS: (decks, systems)}


def filled(page: Path, text: str | None = None) -> str:
    """Returns the text of a page of PAGES, by default its file's, with new tables.

    Raises ValueError if the marks of a table are not there exactly once.
    """
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
