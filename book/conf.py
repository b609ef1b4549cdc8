"""Sphinx's settings for `make book`; tools/build_book.py writes the pages and says what
is fetched."""

import re
import sys
from pathlib import Path

from myst_nb.core.render import NbElementRenderer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from build_notebooks import REPOSITORY  # noqa: E402

project = "Learning without labels"
author = ""
html_title = project
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]

nb_execution_mode = "off"
nb_ipywidgets_js = {"html-manager/embed.js": {}}
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
mathjax_path = "mathjax/tex-svg.js"
mathjax_config_path = "mathjax.js"
myst_update_mathjax = False  # mathjax.js says all of it

autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "ignore-module-all": True,
    "show-inheritance": True,
    "exclude-members": "set",  # matplotlib writes it into its subclasses, a page long
}
autodoc_inherit_docstrings = False  # torch's forward says nothing of ours
autodoc_member_order = "bysource"
# sources would link back to names that are only imported
viewcode_follow_imported_members = False
autodoc_preserve_defaults = True
default_role = "code"
# every page's navigation would hold all names of the library
toc_object_entries = False
python_maximum_signature_line_length = 120

html_theme = "sphinx_book_theme"
html_theme_options = {
    "repository_url": f"https://github.com/{REPOSITORY}" if REPOSITORY else "",
    "use_repository_button": bool(REPOSITORY),
    "use_download_button": False,
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}
html_static_path = ["static", str(ROOT / "build" / "book_static")]
html_css_files = ["book.css"]
html_copy_source = False
# the search would fetch each page for it, which a browser refuses to a file
html_show_search_summary = False


def with_alternative_text(render):
    """myst-nb leaves out the alternative text that an output's metadata hold."""

    def render_image(self, data):
        (image,) = render(self, data)
        image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return [image]

    return render_image


NbElementRenderer.render_image = with_alternative_text(NbElementRenderer.render_image)


def as_restructured_text(app, what, name, symbol, options, lines):
    """Docstrings are plain text: a paragraph with hanging lines is a list of items, a
    star or a bar only itself."""
    paragraphs = "\n".join(lines).split("\n\n")
    for k, paragraph in enumerate(paragraphs):
        if re.search(r"^\S.*\n +\S", paragraph, re.S):
            paragraphs[k] = re.sub(
                r"^ +",
                "  ",
                re.sub(r"^(?=\S)", "- ", paragraph, flags=re.M),
                flags=re.M,
            )
    text = "\n\n".join(paragraphs)
    lines[:] = re.sub(
        r"(`[^`]*`)|([*|])", lambda found: found[1] or f"\\{found[2]}", text
    ).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text)
