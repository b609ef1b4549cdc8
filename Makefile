# `make lab` opens the course, `make test` checks it. Every target sets up .venv if it is missing.
#   make lab PYTHON=/path/to/python3.12      uses this Python, not the first suitable one on PATH
#   make lab LAB_ARGS="--no-browser"         gives more arguments to JupyterLab
#   make notebooks NAMES="03_contrastive"    builds only these notebooks; so does make exercises
#   make grade ARGS="SUBMISSIONS --exercise 03 --seed 7 --out RESULTS"    grades a class; without ARGS the samples
PY := .venv/bin/python
WORKERS := 2
# Each worker has one thread. This is twice as fast as several threads per worker, which compete for the cores.
# --no-loadscope-reorder keeps the order of the files: the last ones, the notebooks, are short. Otherwise files with few
# tests come last, and one worker is idle.
CHECK = COURSE_BUDGET=smoke OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest tests notebooks exercises \
	-n $(WORKERS) --dist loadfile --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-cell-timeout=120 --durations=10
# Runs setup_course.py, which installs and opens JupyterLab, by the first Python that starts; it then looks for a
# suitable one.
define SETUP
@set -- $(if $(PYTHON),'$(PYTHON)',python3 python3.13 python3.12 python3.11 python3.10 $(PY)); \
for python; do \
	"$$python" -c 'import sys; assert sys.version_info >= (3, 7)' >/dev/null 2>&1 || continue; \
	MAKE_PYTHON='$(PYTHON)' exec "$$python" setup_course.py $(1); \
done; \
echo "This course needs Python 3.10, 3.11, 3.12 or 3.13 and found none: install one, or name another one:" \
	"make $(firstword $(1)) PYTHON=/path/to/python3.12" >&2; exit 1
endef

.PHONY: lab test test-all book notebooks exercises release grade results zoo bench readme clean

lab:
	$(call SETUP,lab $(LAB_ARGS))

test: .venv/test.ready
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(CHECK) -m "not slow"

test-all: .venv/book.ready
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	-$(PY) tools/build_book.py
	$(CHECK)

book: .venv/book.ready
	$(PY) tools/build_book.py

notebooks: .venv/test.ready
	$(PY) tools/build_notebooks.py $(NAMES) $(ARGS)
	$(PY) -m course_lib.trust

exercises: .venv/test.ready
	$(PY) tools/build_exercises.py $(NAMES) $(ARGS)
	$(PY) -m course_lib.trust

release: .venv/test.ready
	$(PY) tools/build_release.py $(ARGS)

grade: .venv/lab.ready
	$(PY) -m course_lib grade $(or $(ARGS),solutions/samples/03_contrastive --exercise 03 --seed 1 --out runs/marks)

results: .venv/test.ready
	$(PY) -m course_lib.experiments $(ARGS)

zoo: .venv/test.ready
	$(PY) tools/train_zoo.py $(ARGS)

bench: .venv/test.ready
	$(PY) benchmarks/ssl_step.py $(ARGS)
	$(PY) benchmarks/sampling.py
	$(PY) benchmarks/grading.py
	$(PY) benchmarks/widgets.py

# Writes the tables of README.md and docs/concepts.md, and START.ipynb, from syllabus/, and tools/lab/sha256.txt.
readme: .venv/test.ready
	$(PY) tools/build_readme.py
	$(PY) tools/build_start.py
	$(PY) -m course_lib.trust

# Keeps runs/, the checkpoints of unfinished training runs: they took hours.
clean:
	rm -rf .venv build dist *.egg-info .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# setup_course.py does nothing if .venv is ready.
.PHONY: .venv/lab.ready .venv/test.ready .venv/book.ready
.venv/lab.ready .venv/test.ready .venv/book.ready: .venv/%.ready:
	$(call SETUP,$* --no-open)
