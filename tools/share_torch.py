"""Links this environment's torch and torchvision, and what only they want, into its
folder `colab`: gigabytes less."""

import importlib.metadata
import os
import re
import sys
import sysconfig
from pathlib import Path

SHARED = (
    "torch|torchvision|triton|(nvidia|cuda)-.*|sympy|mpmath|networkx|filelock|fsspec"
)

here = Path(sysconfig.get_path("purelib"))
colab = Path(sys.prefix) / "colab" / here.relative_to(sys.prefix)
for old in [path for path in colab.iterdir() if path.is_symlink()]:
    old.unlink()
for distribution in importlib.metadata.distributions(path=[str(here)]):
    if re.fullmatch(SHARED, distribution.name):
        for name in {file.parts[0] for file in distribution.files} - {
            "..",
            "__pycache__",
        }:
            if not (colab / name).exists():  # several share the folder `nvidia`
                (colab / name).symlink_to(os.path.relpath(here / name, colab))
