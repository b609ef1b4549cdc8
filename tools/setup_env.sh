# sh tools/setup_env.sh lab|test|book: makes .venv where it is missing or broken, installs course_lib with JupyterLab (for
# test with what the checks need, for book with Sphinx, too), and writes .venv/lab.ready (and test.ready, book.ready)
# last. What goes wrong ends in one sentence.
set -u
what=$1
case $what in lab) extras=lab ;; test) extras=lab,test ;; *) extras=lab,test,book ;; esac
log=.venv/setup.log

stop() { echo "$*" >&2; exit 1; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
supported() { case $1 in 3.10 | 3.11 | 3.12 | 3.13) ;; *) false ;; esac; }
pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@" 2>"$log" && return
    offline='connection|name resolution|getaddrinfo|timed out|unreachable|proxy|SSL|max retries|versions: none'
    grep -qiE "$offline" "$log" && stop "The packages cannot be downloaded: look at the network (or its proxy)," \
        "then run the same command again. What pip said is in $log."
    stop "pip could not install the packages: $(grep ERROR "$log" | tail -n 1) (the rest is in $log)"
}

if ! supported "$(version .venv/bin/python)" || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11 python3.10; fi
    python='' bare='' found=''
    for candidate; do  # tried by running it: a pyenv shim may exist and fail
        has=$(version "$candidate") || continue
        found="${found:+$found, }$has ($candidate)"
        supported "$has" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$candidate && break; fi
        bare=${bare:-$has}
    done
    other="or name another one: make $what PYTHON=/path/to/python3.12"
    [ -n "$python$bare" ] ||
        stop "This course needs Python 3.10, 3.11, 3.12 or 3.13 and found ${found:-none}: install one, $other"
    [ -n "$python" ] || stop "Python $bare has no venv module: install it (Debian, Ubuntu: python$bare-venv), $other"
    echo "Setting up .venv with Python $has ($python): this happens once and takes minutes, PyTorch is large."
    rm -rf .venv
    said=$("$python" -m venv .venv 2>&1) || stop "$python could not make .venv: $(echo "$said" | tail -n 1)"
fi

rm -f .venv/*.ready
[ -t 1 ] && quiet='' || quiet=--quiet
# The build's own tools first, from the same constraints: the second step then needs no hidden environment of its own.
pip install -c constraints.txt --quiet --retries 2 pip 'setuptools>=77'
pip install -c constraints.txt $quiet --no-build-isolation -e ".[$extras]"
case ,$extras, in *,test,*)  # the checks run the notebooks with Colab's versions, too, and with this torch
    said=$(.venv/bin/python -m venv --without-pip .venv/colab 2>&1) ||
        stop "python could not make .venv/colab: $(echo "$said" | tail -n 1)"
    pip --python .venv/colab/bin/python install --quiet -r tools/colab-requirements.txt
    said=$(.venv/bin/python tools/share_torch.py 2>&1) ||
        stop "torch could not be linked into .venv/colab: $(echo "$said" | tail -n 1)" ;;
esac
for name in lab test book; do case ,$extras, in *,$name,*) pwd -P >".venv/$name.ready" ;; esac; done
