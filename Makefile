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

.PHONY: lab test test-all book notebooks exercises release grade results zoo bench readme clean

lab: .venv/lab.ready
	@echo "JupyterLab opens in the browser; if it does not, open the address that it prints below. Ctrl-C twice ends it."
	@$(PY) -m jupyterlab --ServerApp.root_dir=. --ServerApp.preferred_dir=notebooks $(LAB_ARGS)

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

exercises: .venv/test.ready
	$(PY) tools/build_exercises.py $(NAMES) $(ARGS)

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

# Writes the tables of README.md and docs/concepts.md, and START.ipynb, from syllabus/.
readme: .venv/test.ready
	$(PY) tools/build_readme.py
	$(PY) tools/build_start.py

# Keeps runs/, the checkpoints of unfinished training runs: they took hours.
clean:
	rm -rf .venv build dist *.egg-info .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The set-up writes .venv/*.ready last, with the path of this folder. It is repeated if it was interrupted, or if the
# folder was moved, because an editable install refers to the old path.
ifneq ($(shell cat .venv/*.ready 2>/dev/null | grep -vxF '$(CURDIR)'),)
.PHONY: .venv/lab.ready .venv/test.ready .venv/book.ready
endif
.venv/test.ready .venv/book.ready: tools/colab-requirements.txt tools/share_torch.py
.venv/lab.ready .venv/test.ready .venv/book.ready: .venv/%.ready: pyproject.toml constraints.txt tools/setup_env.sh
	@PYTHON='$(PYTHON)' sh tools/setup_env.sh $*
