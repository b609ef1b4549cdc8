"""Links torch and torchvision of this environment into its folder `colab`.

Packages that only they need are linked, too. This saves gigabytes of disk space.
"""

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
        names = {file.parts[0] for file in distribution.files}
        for name in names - {"..", "__pycache__"}:
            if not (
                colab / name
            ).exists():  # several packages share the folder `nvidia`
                (colab / name).symlink_to(os.path.relpath(here / name, colab))
