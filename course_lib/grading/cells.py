"""Reads the code cells of a notebook file, and parses a cell as IPython does.

IPython's own transformer turns a cell into Python. What it makes of commands (lines
with % or !, and cells with %%) is not executed.
"""

import ast
import json
import linecache

# %% magics whose cell is Python and whose names stay: IPython's, and memory_profiler's.
# The names of a cell with %%timeit do not stay.
PYTHON_CELLS = ("time", "prun", "capture", "memit")
# % magics that are followed by a Python statement whose names stay
PYTHON_LINES = ("time", "prun", "memit")
# The methods of get_ipython() that the transformer calls for commands
COMMANDS = ("run_line_magic", "run_cell_magic", "magic", "system", "getoutput")
# Why a file is unreadable, in fixed words: the grader shows no text from the sandbox.
NOT = "not a Jupyter notebook"
EMPTY = f"{NOT}: the file is empty"
CONFLICT = (
    f"{NOT}: the file contains the marks of a merge conflict (<<<<<<< and >>>>>>>)"
)
WEB_PAGE = f"{NOT}: the file is a web page (download the notebook itself)"
ARCHIVE = f"{NOT}: the file is a zip file with another ending"
BROKEN = f"{NOT}: the file is not valid JSON, for example because it was cut off"
NO_CELLS = f"{NOT}: the file is JSON without a list of cells"
NO_CODE = "the notebook has no code cells"
LANGUAGE = "a notebook in a language other than Python"
TOO_LARGE = "the notebook needs more memory than an answer may use"
REASONS = (
    EMPTY, CONFLICT, WEB_PAGE, ARCHIVE, BROKEN, NO_CELLS, NO_CODE, LANGUAGE, TOO_LARGE,
)  # fmt: skip


class Unreadable(ValueError):
    """The file is not a Python notebook; the message is one of REASONS."""


def code_cells(notebook: bytes) -> list[str]:
    """Returns the sources of a notebook's code cells (nbformat 3 and 4, in UTF-8 or
    UTF-16). Raises Unreadable if the bytes are not a Python notebook."""
    try:
        content = _json(notebook)
        try:
            sources = _sources(content)
        except (TypeError, KeyError, AttributeError, ValueError):
            raise Unreadable(NO_CELLS) from None
        if not sources:
            raise Unreadable(NO_CODE)
        # What is written there matters only if it is not Python that stands in the
        # cells: some programs write "plaintext".
        if not _is_python(_language(content)) and not any(map(_defines, sources)):
            raise Unreadable(LANGUAGE)
    except MemoryError:
        raise Unreadable(TOO_LARGE) from None
    return sources


def _json(notebook: bytes):
    """Returns the content of a JSON file."""
    try:
        return json.loads(notebook)  # it recognises UTF-8, UTF-16 and UTF-32
    except UnicodeDecodeError:
        # An editor of Windows may have saved it in a code page. Only the letters
        # outside ASCII, which are in texts, can then be wrong.
        text = notebook.decode("latin-1")
    except (ValueError, RecursionError):
        text = notebook.replace(b"\0", b"").decode("utf-8-sig", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    start = text.lstrip()[:20].lower()
    if not start:
        raise Unreadable(EMPTY)
    if start.startswith(("<!doctype", "<html")):
        raise Unreadable(WEB_PAGE)
    if start.startswith("pk\3\4"):
        raise Unreadable(ARCHIVE)
    lines = f"\n{text}"
    if "\n<<<<<<<" in lines and "\n>>>>>>>" in lines:
        raise Unreadable(CONFLICT)
    raise Unreadable(BROKEN)


def _sources(content) -> list[str]:
    sheets = content["worksheets"] if "worksheets" in content else [content]
    cells = [
        cell
        for sheet in sheets
        for cell in sheet["cells"]
        if cell["cell_type"] == "code"
    ]
    texts = [cell["source" if "source" in cell else "input"] for cell in cells]
    return [text if isinstance(text, str) else "".join(text) for text in texts]


def _language(content: dict) -> str:
    """Returns the language that the notebook's metadata names, "" if there is none."""

    def part(of, name: str):
        return of.get(name) if isinstance(of, dict) else None

    metadata = part(content, "metadata")
    language = part(part(metadata, "kernelspec"), "language")
    language = language or part(part(metadata, "language_info"), "name")
    return str(language or "")


def _is_python(language: str) -> bool:
    return not language or "python" in language.lower()


def _defines(cell: str) -> bool:
    """Tests whether the cell is Python that defines a function or a class."""
    try:
        nodes = parse(cell, "cell")
    except SyntaxError:
        return False
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in nodes)


def parse(cell: str, name: str) -> list[ast.stmt]:
    """Returns a cell's statements, without IPython's commands.

    A command that is a statement becomes `pass`, and so does `x = !command`: the name
    stays undefined. A cell of a %% magic has its statements if IPython runs them as
    Python and keeps their names, as with %%time; a cell with %%bash has none. Raises
    SyntaxError.
    """
    text = cell
    try:
        nodes = _statements(cell, name)
    except SyntaxError:
        text, nodes = _transformed(cell, name)
    # tracebacks read the source lines from here
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    if "get_ipython()" not in text:
        return nodes
    try:
        return _Commands(name).visit(ast.Module(nodes, [])).body
    except RecursionError as error:
        raise SyntaxError(str(error)) from None


def _statements(text: str, name: str) -> list[ast.stmt]:
    try:
        return ast.parse(text, name).body
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from None


def _transformed(cell: str, name: str) -> tuple[str, list[ast.stmt]]:
    """Returns the cell as IPython's transformer writes it, and its statements."""
    # Only here: most notebooks have no commands. It is installed with ipywidgets.
    from IPython.core.inputtransformer2 import TransformerManager

    # IPython 9 removes the indentation that all lines have, IPython 7 (Colab) that of
    # the first line.
    lines = cell.lstrip("\n").splitlines(keepends=True)
    first = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))] if lines else ""
    candidates = [cell]
    if first:
        candidates.append("".join(line.removeprefix(first) for line in lines))
    for candidate in candidates:
        try:
            text = TransformerManager().transform_cell(candidate)
            return text, _statements(text, name)
        except SyntaxError as error:
            failure = error
        except Exception as error:  # the transformer has no list of what it raises
            failure = SyntaxError(str(error))
    raise failure


class _Commands(ast.NodeTransformer):
    """Removes the calls that IPython's transformer writes for commands."""

    def __init__(self, name: str):
        self.name = name

    def visit_Expr(self, node: ast.Expr):
        method, words = _command(node.value)
        if method == "run_cell_magic" and words[0] in PYTHON_CELLS:
            return parse(words[-1], self.name)
        if method == "run_line_magic" and words[0] in PYTHON_LINES:
            return self._after_options(words[-1], node) or _nothing(node)
        return _nothing(node) if method else node

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign):
        return _nothing(node) if _command(node.value)[0] else node

    visit_AnnAssign = visit_Assign

    def _after_options(self, line: str, node: ast.stmt) -> list[ast.stmt]:
        """Returns the statements of `line`, which may begin with options of a magic,
        such as -s cumulative."""
        options = line.lstrip().startswith("-")
        while line:
            try:
                nodes = _statements(line, self.name)
            except SyntaxError:
                line = line.lstrip().partition(" ")[2] if options else ""
                continue
            for inner in nodes:
                ast.increment_lineno(inner, node.lineno - 1)
            return nodes
        return []


def _command(value) -> tuple[str, list]:
    """Returns the method and the constant arguments if the expression is
    `get_ipython().METHOD(...)` for a command, else ("", [])."""
    match value:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Call(func=ast.Name(id="get_ipython")), attr=method
            ),
            args=[ast.Constant(), *_] as args,
        ) if method in COMMANDS:
            words = [str(arg.value) for arg in args if isinstance(arg, ast.Constant)]
            return method, words
    return "", []


def _nothing(node: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Pass(), node)
