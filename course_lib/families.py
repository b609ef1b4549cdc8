"""What the families of methods bring: each has tables of its own, and here they are
one."""

import importlib
import pkgutil

import course_lib


def merged(kind: str) -> dict:
    """The entries of all tables of a kind, "recipes" or "experiments".

    They stand in the modules course_lib.FAMILY.recipes, and others whose name ends so
    (a second notebook of a family has a module of its own), as RECIPES. Raises
    ValueError for a name that two tables have.
    """
    found, owner = {}, {}
    for package in pkgutil.iter_modules(course_lib.__path__, "course_lib."):
        if not package.ispkg:
            continue
        folder = importlib.import_module(package.name).__path__
        for module in pkgutil.iter_modules(folder, f"{package.name}."):
            if not module.name.endswith(kind):
                continue
            for name, entry in getattr(
                importlib.import_module(module.name), kind.upper()
            ).items():
                if name in found:
                    raise ValueError(
                        f"{name!r} stands in {owner[name]} and in {module.name}: "
                        "rename one of them"
                    )
                found[name], owner[name] = entry, module.name
    return found
