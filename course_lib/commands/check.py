"""`check`: checks the answers of an exercise notebook on the public cases."""

from course_lib.commands.as_json import as_json
from course_lib.files import SHIPPED
from course_lib.notebook import checks


def run(args):
    if not args.notebook.is_file():
        fault = "is a folder" if args.notebook.is_dir() else "does not exist"
        raise ValueError(
            "argument `notebook`: expected the file of an exercise notebook, got "
            f"{args.notebook}, which {fault}"
        )
    name = args.notebook.name  # perhaps "Copy of 03_contrastive.ipynb"
    folder = SHIPPED / "exercises" / "checks"
    known = [path.stem for path in folder.glob("*.json") if path.stem in name]
    known += [name[:2]] if name[:2].isdecimal() else []
    if not args.exercise and not known:
        raise ValueError(
            "the file's name does not contain the name of its exercise sheet, nor "
            "begin with its number: give the number, for example --exercise 03"
        )
    panels = checks(args.exercise or known[0]).file(args.notebook)
    solved = sum(panel.solved for panel in panels)
    if args.json:
        rows = [as_row(panel) for panel in panels]
        print(as_json({"solved": solved, "of": len(panels), "exercises": rows}))
        return
    print(*panels, f"{solved} of {len(panels)} solved", sep="\n\n")


def as_row(panel) -> dict:
    """Returns the result of one exercise. `lines` has the kind and text of each line
    that the panel shows."""
    return {
        "exercise": panel.verdict.exercise,
        "solved": panel.solved,
        "points": panel.points,
        "lines": panel.lines,
    }
