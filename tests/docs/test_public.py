"""Notebooks, README and documentation use the public names alone, and a page lists all of these."""

import ast
import importlib.util
import inspect
import pkgutil
import re
from doctest import DocTestParser
from pathlib import Path

import nbformat
import pytest

import jaxadv as ja
import jaxadv.training

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^ *```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SPACES = {name: value for name in ja.__all__ if inspect.ismodule(value := getattr(ja, name))}


def blocks(page):
    """The programs on a page, without prompts."""
    for code in FENCE.findall(page.read_text(encoding="utf-8")):
        if code.startswith(">>>"):
            yield "".join(example.source for example in DocTestParser().get_examples(code))
        else:
            yield code


def cells(path):
    """The code of a notebook, without magics."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            yield re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE)


def is_public(names):
    """Whether `ja.NAMES` is public; what comes behind a public class or function is its own."""
    first, *rest = names
    if first not in ja.__all__:
        return False
    return first not in SPACES or not rest or rest[0] in SPACES[first].__all__


def chain(node):
    """The names behind `ja`, outermost last; None where that is not the root."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return names[::-1] if isinstance(node, ast.Name) and node.id == "ja" and names else None


def faults(source):
    """What a program uses of `jaxadv` that is not public."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                f"import {alias.name}"
                for alias in node.names
                if alias.name.split(".")[0] == "jaxadv"
                and (alias.name, alias.asname) != ("jaxadv", "ja")
            ]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxadv":
            found.append(f"from {node.module} import")
        elif (names := chain(node)) and not is_public(names):
            found.append(".".join(["ja", *names]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_use_public_names(page):
    assert [fault for code in blocks(page) for fault in faults(code)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_public_names(path):
    assert [fault for code in cells(path) for fault in faults(code)] == []
    assert any("import jaxadv as ja" in code for code in cells(path))


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.name)
def test_prose_names_what_is_public(page):
    mentioned = re.findall(r"`ja((?:\.\w+)+)", page.read_text(encoding="utf-8"))
    assert [name for name in mentioned if not is_public(name[1:].split("."))] == []


def test_faults_are_found():
    """A check that could not fail would say nothing."""
    for source in (
        "from jaxadv.core.run import run",
        "import jaxadv",
        "import jaxadv.core as ja",
        "ja.core.run.run(attack)",
        "f(ja.captions.methods.Settings())",
    ):
        assert faults(source), source
    fine = "import numpy as np\nimport jaxadv as ja\nja.captions.gem(ja.load(name).model)"
    assert faults(fine) == []


def test_every_public_name_exists():
    for name, space in {"": ja, **SPACES}.items():
        assert list(space.__all__) == sorted(space.__all__), name
        for public in space.__all__:
            assert getattr(space, public) is not None, (name, public)


@pytest.mark.parametrize("package", [ja, jaxadv.training], ids=lambda package: package.__name__)
def test_lists_agree(package):
    """What is imported when used, what `__all__` says, and what type checkers see."""
    assert list(package._PUBLIC) == package.__all__
    (checked,) = (
        node
        for node in ast.parse(inspect.getsource(package)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {}
    for node in checked.body:
        for alias in node.names:
            places = (f"{node.module}:{alias.name}", f"{node.module}.{alias.name}")
            seen[alias.asname or alias.name] = places
    assert seen.keys() == package._PUBLIC.keys()
    for name, place in package._PUBLIC.items():
        assert place in seen[name], name


@pytest.mark.parametrize("package", [ja, jaxadv.training], ids=lambda package: package.__name__)
def test_no_submodule_hides_a_name(package):
    """Importing a submodule sets it in its package: a public name of that name would be lost."""
    inside = {module.name for module in pkgutil.iter_modules(package.__path__)}
    for name in inside & set(package.__all__):
        assert package._PUBLIC[name] == f"{package.__name__}.{name}"


@pytest.mark.parametrize("script", ["public_names", "method_tables"])
def test_page_is_what_its_script_makes(script):
    """Of the public names, and of the methods' options."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


def test_results_are_those_of_their_records():
    """On every page that shows a record; and every record is shown."""
    spec = importlib.util.spec_from_file_location("result_tables", ROOT / "docs/result_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = set()
    for page in module.pages():
        text = page.read_text(encoding="utf-8")
        assert module.filled(text) == text, f"{page}: python docs/result_tables.py writes it again"
        shown |= {found[1] for found in module.BLOCK.finditer(text)}
    assert shown == {path.stem for path in module.RECORDS.glob("*.json")}


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "results").glob("*.md")), ids=str)
def test_results_are_generated(page):
    """No table of figures is written by hand."""
    text = re.sub(r"<!-- record: .*?<!-- end of record -->", "", page.read_text(), flags=re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert not [table for table in tables if re.search(r"\| *\d[\d.,]* *\|", table)]


def test_the_picture_of_the_house_is_drawn_from_the_imports():
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PICTURE.read_text(encoding="utf-8") == module.picture()
