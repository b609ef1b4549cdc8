"""Merges the tables of all families of methods. Each family is a folder of course_lib
and has its own tables."""

import importlib
import pkgutil

import course_lib


def merged(kind: str) -> dict:
    """Returns the entries of all tables of one kind, "recipes" or "experiments".

    The tables of recipes are the dictionaries RECIPES in the modules
    course_lib.FAMILY.recipes and in all modules of a family whose name ends in
    "recipes". (A family with two notebooks has two such modules.) Likewise for
    experiments. Raises ValueError if two tables have an entry of the same name.
    """
    found, owner = {}, {}
    for package in pkgutil.iter_modules(course_lib.__path__, "course_lib."):
        if not package.ispkg:
            continue
        folder = importlib.import_module(package.name).__path__
        modules = pkgutil.iter_modules(folder, f"{package.name}.")
        # FAMILY.recipes comes before FAMILY.NAME_recipes; otherwise in alphabetic order
        for module in sorted(modules, key=lambda m: m.name != f"{package.name}.{kind}"):
            if not module.name.endswith(kind):
                continue
            table = getattr(importlib.import_module(module.name), kind.upper())
            for name, entry in table.items():
                if name in found:
                    raise ValueError(
                        f"{name!r} is both in {owner[name]} and in {module.name}: "
                        "rename one of them"
                    )
                found[name], owner[name] = entry, module.name
    return found
