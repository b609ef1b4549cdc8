"""The pages of the finished book need no network, and each of their links leads to an
existing place."""

import contextlib
import functools
import html
import http.server
import json
import posixpath
import re
import threading
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import build_book
import pytest
from build_notebooks import NOTEBOOKS, REPOSITORY, ROOT
from build_readme import SYLLABUS

from course_lib.grading.library import definition

BOOK = build_book.BUILD / "book"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


class Page(HTMLParser):
    """ids: what one can link to; links: of <a>; loads: what the page fetches; widgets:
    models shown, models saved."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loads, self.pictures, self.shown, self.saved = (
            {""},
            [],
            [],
            [],
            [],
            {},
        )
        self.script = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id", ""))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in (
            "stylesheet",
            "preload",
            "icon",
            "modulepreload",
        ):
            self.loads.append(attributes["href"])
        self.loads += [attributes["src"]] if "src" in attributes else []
        self.pictures += [attributes] if tag == "img" else []
        self.script = attributes.get("type", "") if tag == "script" else None

    def handle_data(self, data):
        if self.script == "application/vnd.jupyter.widget-state+json":
            self.saved |= json.loads(data)["state"]
        elif self.script == "application/vnd.jupyter.widget-view+json":
            self.shown.append(json.loads(data)["model_id"])

    def handle_endtag(self, tag):
        self.script = None


def problems(pages: dict[str, Page], files: set[str]) -> list[str]:
    """What is wrong with the links of a site of these pages and other files, named by
    their paths."""
    found = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme == "data" or link.startswith("https:"):
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{name}: neither https nor inside the book: {link}")
                continue
            path = posixpath.join(posixpath.dirname(name), unquote(parts.path))
            target = posixpath.normpath(path) if parts.path else name
            if target not in pages and target not in files:
                found.append(f"{name}: no such file: {link}")
            elif target in pages and unquote(parts.fragment) not in pages[target].ids:
                found.append(f"{name}: no such place in {target}: {link}")
        found += [
            f"{name}: fetched from elsewhere: {link}"
            for link in page.loads
            if urlsplit(link).netloc
        ]
        found += [
            f"{name}: a picture without alternative text: {picture['src'][:80]}"
            for picture in page.pictures
            if not picture.get("alt")
        ]
        found += [
            f"{name}: a widget without its state: {model}"
            for model in page.shown
            if model not in page.saved
        ]
    return found


@pytest.fixture(scope="module")
def pages():
    pytest.importorskip("sphinx")
    if not build_book.FETCHED.is_dir():
        pytest.skip("`make book` has not fetched MathJax and the widgets' viewer")
    build_book.build(build_book.BUILD)
    # there are the theme's templates
    paths = [path for path in BOOK.rglob("*.html") if "_static" not in path.parts]
    return {
        path.relative_to(BOOK).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in paths
    }


@pytest.mark.slow
def test_book_has_no_dead_link_and_loads_nothing_from_the_network(
    pages,
):
    files = {
        path.relative_to(BOOK).as_posix() for path in BOOK.rglob("*") if path.is_file()
    }
    assert len(pages) > 100 and sum(len(page.links) for page in pages.values()) > 10_000
    assert problems(pages, files) == []


@pytest.mark.parametrize(
    "body, said",
    [
        ('<a href="b.html#there">', None),
        ('<a href="../a.html"><a href="#here"><b id="here">', None),
        ('<img src="x.png" alt="x">', None),
        ('<a href="https://arxiv.org/abs/1">', None),
        ('<img src="data:image/png;base64," alt="x">', None),
        ('<img src="x.png">', "alternative text"),
        ('<a href="b.html#nowhere">', "no such place"),
        ('<a href="#gone">', "no such place"),
        ('<a href="c.html">', "no such file"),
        ('<img src="c.png" alt="c">', "no such file"),
        ('<a href="http://arxiv.org">', "neither https"),
        ('<a href="//cdn.org/x">', "neither https"),
        ('<script src="https://cdn.org/x.js"></script>', "fetched from elsewhere"),
        (
            '<link rel="stylesheet" href="https://cdn.org/x.css">',
            "fetched from elsewhere",
        ),
        (
            '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "m"}</script>',
            "without its state",
        ),
    ],
)
def test_problems_reports_a_bad_link_picture_or_widget(body, said):
    found = problems(
        {
            "f/a.html": Page(body),
            "f/b.html": Page('<p id="there">'),
            "a.html": Page(""),
        },
        {"f/x.png"},
    )
    assert [said in problem for problem in found] == [True] * bool(said)


@pytest.mark.slow
def test_book_links_to_the_repository_use_its_address(pages):
    links = {link for page in pages.values() for link in page.links if "github" in link}
    hosts = "https://github.com", "https://colab.research.google.com/github"
    own = tuple(f"{host}/{REPOSITORY}" for host in hosts)
    assert len(links) > len(NAMES) if REPOSITORY else not links
    assert [link for link in links if not link.startswith(own)] == []


@pytest.mark.slow
def test_book_has_every_notebook_and_exercise_with_widgets_and_local_mathjax(
    pages,
):
    exercises = [path.stem for path in (ROOT / "exercises").glob("*.ipynb")]
    assert NAMES and exercises
    for name in [f"notebooks/{name}.html" for name in NAMES] + [
        f"exercises/{name}.html" for name in exercises
    ]:
        assert "../_static/mathjax/tex-svg.js" in [
            load.partition("?")[0] for load in pages[name].loads
        ], name
    for name in NAMES:
        notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
        shown = [
            output.get("data", {})
            for cell in notebook["cells"]
            for output in cell.get("outputs", [])
        ]
        page = pages[f"notebooks/{name}.html"]
        assert (
            len(page.shown)
            == sum("application/vnd.jupyter.widget-view+json" in data for data in shown)
            > 0
        ), name
        pictures = [
            picture for picture in page.pictures if "/_images/" in picture["src"]
        ]
        assert len(pictures) == sum("image/png" in data for data in shown) > 0, name


@pytest.mark.slow
def test_book_front_page_has_the_gallery_and_concepts_link_to_the_api(pages):
    pictures = [
        picture
        for picture in pages["index.html"].pictures
        if picture["src"].startswith("_images/")
    ]
    assert len(pictures) == len(build_book.GALLERY) > 8
    places = [
        definition(system["symbol"], ROOT) for system in SYLLABUS["systems"].values()
    ]
    modules = [
        (".".join(path.relative_to(ROOT).with_suffix("").parts), name)
        for path, name in places
    ]
    symbols = {f"{module.removesuffix('.__init__')}.{name}" for module, name in modules}
    linked = {urlsplit(link).fragment for link in pages["concepts.html"].links}
    assert symbols and symbols - linked == set()
    entries = re.findall(
        r">([^<]*)</a>", (BOOK / "genindex.html").read_text(encoding="utf-8")
    )
    assert set(SYLLABUS["systems"]) - set(map(html.unescape, entries)) == set()


@pytest.mark.slow
def test_book_api_has_every_public_module_with_its_source(pages):
    files = [
        path.relative_to(ROOT).with_suffix("")
        for path in (ROOT / "course_lib").rglob("[!_]*.py")
    ]
    modules = [".".join(path.parts) for path in files]
    ids = set().union(
        *(page.ids for name, page in pages.items() if name.startswith("api/"))
    )
    assert {f"module-{module}" for module in modules} - ids == set()
    assert [
        module
        for module in modules
        if f"_modules/{module.replace('.', '/')}.html" not in pages
    ] == []


def test_gallery_pictures_are_in_the_notebooks_and_a_missing_one_is_an_error():
    pictures = [build_book.picture(*wanted) for wanted in build_book.GALLERY]
    assert all(
        png.startswith(b"\x89PNG") and "#" in markdown for _, png, markdown in pictures
    )
    with pytest.raises(
        ValueError, match="03_contrastive.ipynb shows 0 pictures that begin `No such"
    ):
        build_book.picture("03", "No such picture")


def test_build_book_fetch_without_npm_or_network_exits_with_a_sentence(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(build_book, "FETCHED", tmp_path / "static")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="needs npm"):
        build_book.fetch()
    (tmp_path / "npm").write_text("#!/bin/sh\necho ENOTFOUND >&2; exit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(SystemExit, match=r"could not download mathjax.*\. ENOTFOUND"):
        build_book.fetch()
    assert list(tmp_path.glob("static/*")) == []


@contextlib.contextmanager
def served():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=BOOK)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "http"])
def test_book_in_a_browser_without_network_shows_formulas_widgets_and_search(
    pages, way
):
    pytest.importorskip("playwright")
    from browser import CHROMIUM, chromium

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with served() as address, chromium() as browser:
        page, said = browser.new_page(), []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda request: (
                said.append(request.url) if request.url.startswith("https:") else None
            ),
        )
        root = address if way == "http" else BOOK.as_uri()
        page.goto(f"{root}/notebooks/03_contrastive.html")
        page.locator("mjx-container svg").first.wait_for()
        box = page.locator(".widget-vbox:has(img)").first
        box.locator(".noUi-handle").first.wait_for()
        page.wait_for_function(
            "image => image.naturalWidth > 100", arg=box.locator("img").element_handle()
        )
        page.goto(f"{root}/search.html?q=reparameterise")
        page.locator("#search-results a[href*='11_vae']").first.wait_for()
        assert said == []
