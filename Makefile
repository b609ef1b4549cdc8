# `make lab` opens the course, `make test` checks all of it. Every target sets up .venv by itself.
#   make lab PYTHON=/path/to/python3.12      another Python than the first on PATH that will do
#   make lab LAB_ARGS="--no-browser"         more arguments for JupyterLab
#   make notebooks NAMES="03_contrastive"    only these; make exercises, too
#   make grade ARGS="SUBMISSIONS --exercise 03 --seed 7 --out RESULTS"    a class; without ARGS the samples
PY := .venv/bin/python
WORKERS := 2
# One thread for each of the workers: twice as fast as the threads of one fighting with those of the other. Files in
# their order, as the last ones, notebooks, are short: else those of few tests come last, and one worker has nothing to do.
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
	$(PY) tools/build_notebooks.py $(NAMES)

exercises: .venv/test.ready
	$(PY) tools/build_exercises.py $(NAMES) $(ARGS)

release: .venv/test.ready
	$(PY) tools/build_release.py $(ARGS)

grade: .venv/lab.ready
	$(PY) -m course_lib grade $(or $(ARGS),solutions/samples/03_contrastive --exercise 03 --seed 1 --out runs/marks)

results: .venv/test.ready
	$(PY) tools/run_results.py $(ARGS)

zoo: .venv/test.ready
	$(PY) tools/train_zoo.py $(ARGS)

bench: .venv/test.ready
	$(PY) benchmarks/ssl_step.py $(ARGS)
	$(PY) benchmarks/sampling.py
	$(PY) benchmarks/grading.py

# The tables of README.md and docs/concepts.md, from syllabus/.
readme: .venv/test.ready
	$(PY) tools/build_readme.py

# Keeps runs/ (unfinished training), which cost hours.
clean:
	rm -rf .venv build dist *.egg-info .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last and holds this folder's path: a set-up that was interrupted, or whose folder has been moved
# since (an editable install points at the old place), is done again.
ifneq ($(shell cat .venv/*.ready 2>/dev/null | grep -vxF '$(CURDIR)'),)
.PHONY: .venv/lab.ready .venv/test.ready .venv/book.ready
endif
.venv/test.ready .venv/book.ready: tools/colab-requirements.txt tools/share_torch.py
.venv/lab.ready .venv/test.ready .venv/book.ready: .venv/%.ready: pyproject.toml constraints.txt tools/setup_env.sh
	@PYTHON='$(PYTHON)' sh tools/setup_env.sh $*
