"""The examples of the commands' help: every command has one, and it runs."""

import shlex
import shutil

import pytest
from helpers import layouts
from helpers.commands import call

import jaxadv as ja
from jaxadv.cli.examples import EXAMPLES
from jaxadv.cli.main import build

MINE = """
[[labels]]
victim = "scenes-tagger"
method = "tkmia"
images = 4
specified = 1
iterations = 3
"""
CHAINS = (  # each command reads what those before it made
    *(["caption"], ["label"], ["retrieve"], ["victims"], ["doctor"]),
    ["sweep run", "sweep status", "sweep merge", "table", "report"],
    ["data list", "data prepare", "data show"],
)
SLOW = (
    *(["demo"], ["attack caption"], ["attack labels"], ["attack retrieval"]),
    *(["evaluate caption"], ["evaluate understanding"], ["evaluate labels"]),
    *(["evaluate retrieval"], ["train classifier"], ["train hasher"]),
    ["poison", "train captioner", "evaluate backdoor", "evaluate defences"],
)
PARSED = ("port", "bench")  # and not run: a checkpoint of that size, another process


def leaves(command, words=()):
    """Yield the commands that have no commands of their own, by their words."""
    inside = getattr(command, "commands", {})
    for name, one in inside.items():
        yield from leaves(one, (*words, name))
    if not inside:
        yield " ".join(words), command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples need: a photograph, a sweep file, the archives of Flickr8k."""
    found = tmp_path_factory.mktemp("examples")
    shutil.copy(ja.photographs.path("cat"), found / "photo.jpg")
    (found / "mine.toml").write_text(MINE)
    layouts.flickr8k(found / "Flickr8k")
    return found


def run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, out, err = call(*shlex.split(EXAMPLES[name])[1:])
    assert code == 0 and out, err
    if name == "sweep run":
        shutil.copytree("records", "more")


def test_every_command_has_one():
    assert {name for name, _ in leaves(build())} == EXAMPLES.keys()
    run_here = {name for chain in (*CHAINS, *SLOW) for name in chain}
    assert run_here | set(PARSED) == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_in_the_help(name):
    code, out, _ = call(*name.split(), "--help")
    assert code == 0 and " ".join(EXAMPLES[name].split()) in " ".join(out.split())


@pytest.mark.parametrize("name", PARSED)
def test_its_words_are_understood(name):
    words = shlex.split(EXAMPLES[name].removeprefix("python -m "), comments=True)[1:]
    command = build().commands[words[0]]
    context = command.make_context(name, words[1:], resilient_parsing=True)
    assert not context.args


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_they_run(chain, folder, monkeypatch):
    for name in chain:
        run(name, folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("chain", SLOW, ids=" ".join)
def test_they_run_in_minutes(chain, folder, monkeypatch):
    for name in chain:
        run(name, folder, monkeypatch)
