"""Most laptops have a processor with AVX2 and without AVX-512. `fit` computes the right
gradients with AVX2 kernels."""

import json
import os
import subprocess
import sys
from pathlib import Path

from course_lib.recipe import recipes


def test_gradients_with_avx2_kernels_equal_those_without_onednn():
    """Of every recipe and of networks as students build them. Before `fit` left narrow
    ones contiguous, it died here.

    MALLOC_CHECK_ (with glibc's library for it; elsewhere it is ignored) ends the
    process as soon as a block is freed that something wrote past. 1e-3 of the norm:
    kernels add in different orders; 3e-4 was the most that was seen, where LeakyReLU
    has a kink.
    """
    malloc = (
        {"MALLOC_CHECK_": "3", "LD_PRELOAD": "libc_malloc_debug.so.0"}
        if sys.platform == "linux"
        else {}
    )
    avx2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    script = Path(__file__).with_name("kernels.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        env=os.environ | avx2 | malloc,
        capture_output=True,
        text=True,
    )
    rows = {
        name: (apart, same)
        for name, apart, same in map(json.loads, ran.stdout.splitlines())
    }
    assert ran.returncode == 0, f"died after {list(rows)[-1:]}: {ran.stderr[-2000:]}"
    assert {
        name: row for name, row in rows.items() if not row[0] < 1e-3 or not row[1]
    } == {}
    on_cpu = {name for name, recipe in recipes().items() if recipe.cpu}
    assert on_cpu < rows.keys() and len(rows) - len(on_cpu) >= 12
