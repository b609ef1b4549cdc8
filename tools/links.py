"""Makes links of the references in a notebook's text.

Sources say `notebook 08, section 7`, `section 4 of notebook 03`, `section 7` (of the
same notebook; in a sheet of its lecture) or `sections 2 and 3`. A section of a paper is
not linked: `section 3.1`, `section 3 of the paper`, `Hinton et al., section 6`.
"""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LECTURES = ROOT / "notebooks" / "src"
SHEETS = ROOT / "solutions"
NUMBER = r"\d+(?!\.?\d)"
NUMBERS = rf"{NUMBER}(?:(?:,\s+(?:and\s+)?|\s+(?:and|or|to)\s+){NUMBER})*"
SECTIONS = rf"(?:sections\s+{NUMBERS}|section\s+{NUMBER})"
TWO = NUMBERS.replace(r"\d+", r"\d\d")
NOTEBOOKS = rf"(?:notebooks\s+{TWO}|notebook\s+\d\d(?!\.?\d))"
# What stays as it is: code, formulas, headings, links, tags, and sections of papers.
OTHER = r"""
    ```.*?``` | (?P<ticks>`+).+?(?P=ticks) | \\\$ | \$\$.+?\$\$ |
    \$(?:[^$\n]|\n(?!\n))+\$ | ^\#+\ [^\n]* |
    !?\[(?:[^][]|\[[^][]*\](?:\([^)]*\))?)*\]\((?:[^()]|\([^()]*\))*\) |
    <[a-zA-Z/!][^>]*> | https?://\S+ |
    et\ al\.(?:\s+\d{4})?,\s+sections?\s+[\d.]+ |
    sections?\s+[\d.]+\s+of\s+(?:the|that|their|its)\s+paper
"""
REFERENCE = rf"""
    (?P<notebooks>{NOTEBOOKS})(?:(?:,|'s)\s+(?P<its>{SECTIONS}))? |
    (?P<own>{SECTIONS})(?:\s+of\s+(?:the\s+lecture|notebook\s+(?P<of>\d\d)))?
"""
PATTERN = re.compile(
    rf"(?P<other>{OTHER}) | \b(?:{REFERENCE})",
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
# The characters of a heading that a link to it keeps as they are in every viewer.
LINKED = re.compile(r"[\w .,:;?!'()/+*@~-]*", re.ASCII)


def lecture(number: str) -> Path | None:
    """Returns the source of the notebook with this number, None if there is none."""
    return next(LECTURES.glob(f"{number}_*.py"), None)


@cache
def _headings(text: str) -> dict[int, str]:
    found = re.findall(r"^# ## ((\d+)\. .*)$", text, re.MULTILINE)
    return {int(number): heading for heading, number in found}


def anchor(heading: str) -> str:
    """Returns JupyterLab's anchor of a heading.

    Raises ValueError if the heading has a formula or a character that a link to it
    would have to encode; JupyterLab does not find an encoded one in its own notebook.
    """
    text = re.sub(r"[*`]", "", heading)
    if not LINKED.fullmatch(text):
        raise ValueError(f"no link can lead to the heading `{heading}`: simplify it")
    return text.replace(" ", "-")


def linked(text: str, source: Path, folder: str) -> str:
    """Returns a markdown text with links in place of its references.

    source: the file that has the text; folder: notebooks or exercises, where the built
    notebook stands. A notebook that does not exist is not linked. Raises ValueError if
    a section does not exist.
    """
    is_sheet = folder == "exercises"

    def place(number: str, section: str | None = None) -> str:
        """Returns where a notebook or its section is, or "" if it does not exist."""
        own = not is_sheet and source.name.startswith(number)
        target = source if own else lecture(number)
        path = f"{'../notebooks/' * is_sheet}{target.stem}.ipynb" if target else ""
        if section is None or not target:
            return "" if own else path
        heading = _headings(target.read_text(encoding="utf-8")).get(int(section))
        return f"{path * (not own)}#{anchor(heading)}" if heading else ""

    def link(found: re.Match) -> str:
        if found["other"]:
            return found[0]
        words, sections = " ".join(found[0].split()), found["its"] or found["own"]
        books = re.findall(r"\d+", found["notebooks"] or found["of"] or source.name[:2])
        numbers = re.findall(r"\d+", sections or found["notebooks"])
        try:
            if sections:
                places = {number: place(books[-1], number) for number in numbers}
            else:
                places = {number: place(number) for number in numbers}
        except ValueError as error:
            raise ValueError(f"{source.name}: `{words}`: {error}") from None
        if missing := [n for n in numbers if sections and not places[n]]:
            raise ValueError(
                f"{source.name}: `{words}`: notebook {books[-1]} has no section "
                f"{' and no section '.join(missing)}"
            )
        if len(numbers) == 1:
            return (
                f"[{found[0]}]({there})" if (there := places[numbers[0]]) else found[0]
            )
        listed = sections or found["notebooks"]
        each = re.sub(
            r"\d+",
            lambda n: f"[{n[0]}]({places[n[0]]})" if places[n[0]] else n[0],
            listed,
        )
        return found[0].replace(listed, each)

    return PATTERN.sub(link, text)
