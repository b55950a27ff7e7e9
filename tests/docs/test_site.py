"""The documentation: it builds without a warning, and what it says of the code is so."""

import ast
import functools
import importlib.util
import inspect
import re
import shlex
from doctest import DocTestParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

import jaxadv

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(language):
    """Every block of code of that language, with the page that it is on."""
    fence = re.compile(rf"^ *```{language}\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
    return [(page.name, code) for page in PAGES for code in fence.findall(text_of(page))]


def resolve(name):
    """What a dotted name stands for; what begins with `ja` is read from there, as a user would."""
    parts = name.split(".")
    if parts[0] == "ja":
        return functools.reduce(getattr, parts[1:], jaxadv)
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def exists(name):
    try:
        resolve(name)
    except AttributeError:
        return False
    return True


def test_site_is_whole(site):
    """Every page is there, and the reference holds what the docstrings say."""
    for page in PAGES:
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page
    reference = (site / "reference" / "captions.html").read_text(encoding="utf-8")
    assert 'id="jaxadv.captions.gem.gem"' in reference
    assert "<blockquote>" not in reference, "an example that is not fenced"


def test_site_fetches_nothing(site):
    """Neither to be built nor to be read: no page loads anything from elsewhere."""
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text("utf-8")
        )
        assert loaded == [], page


def test_links_to_elsewhere():
    """Each has a form that a browser can follow, and is encrypted."""
    link = re.compile(r"\]\((https?:[^)\s]*)|<(https?:[^>]*)>|\bhref=\"(https?:[^\"]*)\"")
    pages = [ROOT / "README.md", *PAGES]
    found = [("".join(one), page) for page in pages for one in link.findall(text_of(page))]
    assert found
    for address, page in found:
        parts = urlsplit(address)
        assert parts.scheme == "https" and "." in parts.netloc, (page, address)
        assert not re.search(r"[\s<>\"{}|\\^`]", address), (page, address)
        if parts.netloc == "arxiv.org":
            assert re.fullmatch(r"/(abs|pdf)/\d{4}\.\d{4,5}(v\d+)?", parts.path), (page, address)


def test_names_exist():
    """What the reference documents, and each name of ours that a page mentions."""
    names = {name for page in PAGES for name in re.findall(r"^::: (\S+)$", text_of(page), re.M)}
    assert len(names) > 50
    mentioned = re.compile(r"`((?:ja|jaxadv)(?:\.\w+)+)[(`]")
    names |= {name for page in PAGES for name in mentioned.findall(text_of(page))}
    assert [name for name in sorted(names) if not exists(name)] == []


def test_files_exist():
    """Files of the repository that a page mentions."""
    known = re.compile(r"`((?:tests|jaxadv|docs|notebooks)/[\w/.-]+\.\w+)`")
    named = {(page.name, name) for page in PAGES for name in known.findall(text_of(page))}
    assert [which for which in sorted(named) if not (ROOT / which[1]).exists()] == []


def test_options_are_those_of_the_functions():
    """A table whose head is a name of ours lists parameters of it, with their defaults."""
    of_options = re.compile(r"^\| `(ja[\w.]+)`.*\n\|[-|: ]+\n((?:\|.*\n)+)", re.MULTILINE)
    checked = 0
    for page in PAGES:
        for name, rows in of_options.findall(text_of(page)):
            parameters = inspect.signature(resolve(name)).parameters
            for row in rows.splitlines():
                option, _, default = (cell.strip() for cell in row.split("|")[1:4])
                known = parameters[option.strip("`")].default
                assert default.strip("`").replace('"', "'") == repr(known), (page.name, row)
                checked += 1
    assert checked > 30


def test_sweep_files_are_named():
    """Every sweep file that ships, and no other."""
    files = {path.stem for path in (ROOT / "jaxadv" / "experiments" / "files").glob("*.toml")}
    page = text_of(ROOT / "docs" / "sweeps.md")
    (told,) = re.findall(r"Sweep files ship for (.*?), each", page, re.DOTALL)
    sizes = ("scenes", "small", "paper")
    named = {f"{name}-{size}" for name in re.findall(r"`(.*?)`", told) for size in sizes}
    times, deeper = "exact-caption-run-times", "exact-caption-resnet101"
    assert f"`{times}` and\n`{deeper}`" in page or f"`{times}` and `{deeper}`" in page
    named |= {f"{times}-scenes", f"{times}-paper", f"{deeper}-small", f"{deeper}-paper"}
    reliable = {"reliable-captions-scenes", "reliable-labels-scenes"}
    assert all(f"`{name}`" in page for name in reliable)
    named |= reliable
    assert files == named


def test_messages_are_those_of_the_code():
    """What the first column of the troubleshooting page quotes is said somewhere."""
    said = "\n".join(
        node.value
        for path in sorted((ROOT / "jaxadv").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    page = text_of(ROOT / "docs" / "troubleshooting.md")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 40
    missing = [
        (message, part)
        for message in messages
        for part in message.split("…")
        if part.strip() not in said
    ]
    assert missing == []


def test_python_blocks():
    """Each is run as the README's are, with prompts, or (without) imports only what there is."""
    for page, code in blocks("python"):
        if code.startswith(">>>"):
            assert DocTestParser().get_examples(code), page
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxadv"):
                for alias in node.names:
                    assert exists(f"{node.module}.{alias.name}"), (page, alias.name)


def test_first_attack_is_the_readmes():
    """The README's first program, which is run, without its prompts."""
    (page,) = (code for page, code in blocks("python") if page == "index.md")
    first = re.search(r"^```python\n(.*?)^```$", text_of(ROOT / "README.md"), re.DOTALL | re.M)
    source = "".join(example.source for example in DocTestParser().get_examples(first[1]))
    assert ast.dump(ast.parse(page)) == ast.dump(ast.parse(source))


def test_commands_exist():
    """Each command of a block is one of ours, with options that it has."""
    from jaxadv.cli.main import app

    checked = 0
    for page, code in blocks("bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["jaxadv"]:
                continue
            command = get_command(app)
            rest = words[1:]
            while rest and rest[0] in getattr(command, "commands", {}):
                command = command.commands[rest.pop(0)]
            command = getattr(command, "commands", {}).get("run", command)  # `jaxadv sweep FILE`
            assert command.name is not None, (page, line)
            context = command.make_context(command.name, [], resilient_parsing=True)
            parameters = command.get_params(context)
            options = {name for parameter in parameters for name in parameter.opts}
            options |= {name for parameter in parameters for name in parameter.secondary_opts}
            given = {word for word in rest if word.startswith("--")}
            assert given <= options | {"--help"}, (page, line)
            checked += 1
    assert checked > 20


def test_fenced_examples():
    pytest.importorskip("griffe", reason="documentation is built with mkdocs (extra `docs`)")
    path = ROOT / "docs" / "fence_doctests.py"
    spec = importlib.util.spec_from_file_location("fence_doctests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fenced = module.fenced("Add.\n\n>>> 1 + 1\n2\n\nMore.\n\n>>> 2\n2")
    assert fenced == "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore.\n\n```pycon\n>>> 2\n2\n```"
