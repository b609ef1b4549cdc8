"""`list`: recipes, trained weights, data sets."""

from dataclasses import asdict

from course_lib import zoo
from course_lib.commands.as_json import as_json
from course_lib.data import names
from course_lib.experiments import results
from course_lib.recipe import Recipe, Size, build, recipes
from course_lib.train import Method


def kind_of(recipe: Recipe) -> type:
    """Returns the class of a recipe's method, as its builder declares it. A builder of
    one's own that declares nothing is called."""
    builder = getattr(recipe.build, "func", recipe.build)
    kind = getattr(builder, "__annotations__", {}).get("return")
    return kind if isinstance(kind, type) else type(build(recipe, seed=0))


def run(args):
    known = {**recipes(), **results.own_recipes()}
    rows = [about(name, recipe) for name, recipe in known.items()]
    if args.json:
        print(as_json({"recipes": rows, "data_sets": names()}))
        return
    first = max(len(row["name"]) for row in rows) + 2
    second = max(len(row["data"]) for row in rows) + 1

    def show(name, data, cpu, gpu, zoo, measured, code):
        print(
            f"{name:{first}}{data:{second}}{cpu:>17}{gpu:>18}  "
            f"{zoo:4}{measured:9}{code}"
        )

    sizes = ("cpu: steps, batch", "gpu: steps, batch")
    show("recipe", "data", *sizes, "zoo", "measured", "code")
    for row in rows:
        sizes = (size(row["cpu"]), size(row["gpu"]))
        marks = ("yes" if row[key] else "-" for key in ("zoo", "measured"))
        show(row["name"], row["data"], *sizes, *marks, row["code"])
        if row["published"]:
            print(f"{'':{first}}published: {row['published']}")
    print(f"data sets: {', '.join(names())}")


def about(name: str, recipe: Recipe) -> dict:
    """Returns the row of a recipe. `code` names the class of its method, as in
    docs/concepts.md."""
    kind = kind_of(recipe)
    return {
        "name": name,
        "data": recipe.data,
        "cpu": numbers(recipe.cpu),
        "gpu": numbers(recipe.gpu),
        "zoo": name in zoo.manifest(),
        "measured": results.file_of(name).exists(),
        "generates": kind.sample is not Method.sample,
        "code": f"{kind.__module__.removeprefix('course_lib.')}.{kind.__name__}",
        "published": recipe.published,
    }


def numbers(size: Size | None) -> dict | None:
    return asdict(size) if size else None


def size(numbers: dict | None) -> str:
    return f"{numbers['steps']:>6} x {numbers['batch_size']}" if numbers else "-"
