"""Writes README.md's tables, what is between `<!-- begin NAME -->` and `<!-- end NAME -->`, from syllabus.toml."""
import re

from build_notebooks import NOTEBOOKS, ROOT, colab, tomllib

from course_lib.grading.library import definition

README = ROOT / "README.md"
SYLLABUS = tomllib.loads((ROOT / "syllabus.toml").read_text(encoding="utf-8"))


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def link(name: str, text: str) -> str:
    return f"[{text}](notebooks/{name}.ipynb)" if (NOTEBOOKS / f"{name}.ipynb").exists() else text


def notebooks() -> str:
    """One row for each of the course's notebooks, a link where it exists and the systems that are in it today."""
    lines = [row("no.", "notebook", "what it is to teach", "lectures", "in it today"), row(*5 * ["---"])]
    for name, notebook in SYLLABUS["notebooks"].items():
        systems = [system for system, about in SYLLABUS["systems"].items() if about.get("notebook") == name]
        there = (NOTEBOOKS / f"{name}.ipynb").exists()
        today = f"{', '.join(systems)} ([Colab]({colab(name)}))" if there else "planned"
        title, decks = link(name, notebook["title"]), ", ".join(notebook["decks"])
        if (ROOT / "exercises" / f"{name}.ipynb").exists():
            title += f", [exercises](exercises/{name}.ipynb)"
        lines.append(row(name[:2], title, notebook["topics"], decks, today))
    return "\n".join(lines)


def systems() -> str:
    """One row for each system that works today: where its code, notebook, exercise, slide and paper are."""
    lines = [row("concept", "code", "notebook", "exercise", "lecture: slide", "paper"), row(*6 * ["---"])]
    for name, system in SYLLABUS["systems"].items():
        module, symbol = system["symbol"].split(":")
        file = definition(system["symbol"], ROOT)[0].relative_to(ROOT).as_posix()
        code = f"[`{module.removeprefix('course_lib.')}.{symbol}`]({file})"
        notebook = link(system["notebook"], system["notebook"][:2]) if "notebook" in system else ""
        practised = f"[{system['exercise'][:2]}](exercises/{system['exercise']}.ipynb)" if "exercise" in system else ""
        kind, _, number = system.get("paper", "").partition(":")
        address = {"arXiv": "arxiv.org/abs", "doi": "doi.org", "": ""}[kind]
        paper = f"[{kind} {number}](https://{address}/{number})" if number else ""
        lines.append(row(name, code, notebook, practised, system.get("lecture", ""), paper))
    return "\n".join(lines)


def decks() -> str:
    return "\n".join(f"- **{tag}**: {title}" for tag, title in SYLLABUS["decks"].items())


def filled(text: str) -> str:
    """README's text with every table made anew."""
    for table in (notebooks, systems, decks):
        begin, end = (f"<!-- {word} {table.__name__} -->" for word in ("begin", "end"))
        block = f"{begin}\n{table()}\n{end}"
        text, count = re.subn(f"{begin}.*?{end}", lambda _, block=block: block, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"README.md: expected the lines `{begin}` and `{end}` once, found them {count} times")
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
