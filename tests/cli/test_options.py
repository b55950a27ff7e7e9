"""Every option of every command, in every mode: it is read, or refused; never passed over.

`COMMANDS` names what each command reads, a mode a line. A new option without an entry fails.
"""

import ast
import inspect
import textwrap
from importlib import import_module

import pytest
from helpers.command_table import COMMANDS, ELSEWHERE, LEAVES, parameters
from helpers.commands import call

# with these the mode is another one
SELECTORS = ("backbone_weights", "backbone_from", "fine_tune", "adversarial", "text",
             "scenes", "image")  # fmt: skip
VALUES = {
    "pairs": "64", "side": "64",
    "detections": "d.json", "image": "q.png", "picture": "p.png", "images": "5", "victim": "nobody",
    "modality": "image", "method": None, "loss": None, "trigger": None, "parts": None,
    "target": "a", "text": "red", "posterior": "joint", "aim": "keywords", "place": "centre",
    "pattern": "noise", "space": "tanh", "inner": "gradient", "data": None, "out": None,
    "json": None, "name": None, "files": None,
    "arithmetic": "tf32", "judged": "tf32", "norm": "l2", "optimiser": "sign", "codes": "signs",
    "epsilon": "0.1", "dropout": "0.1", "stored": "float32",
}  # fmt: skip


def test_every_command_and_option_has_an_entry():
    assert set(LEAVES) == set(COMMANDS) - {"bench stream"} | set(ELSEWHERE)
    for command in LEAVES:
        if command in ELSEWHERE:
            named = set(ELSEWHERE[command].split())
        else:
            _, every, modes = COMMANDS[command]
            named = set(" ".join((every, *modes.values())).split())
        assert named == set(parameters(command)), command


@pytest.mark.parametrize("command", LEAVES)
def test_every_parameter_is_used_by_the_command(command):
    function = inspect.unwrap(LEAVES[command].callback)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    used = {
        node.id
        for statement in tree.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert {p.name for p in LEAVES[command].params} - {"help"} <= used


def words_of(parameter):
    """How the parameter is given on a command line; None for what a mode fixes."""
    value = VALUES.get(parameter.name, "3")
    if value is None or not parameter.opts[0].startswith("-"):
        return None
    is_flag = getattr(parameter, "is_flag", False)
    return [parameter.opts[0]] if is_flag else [parameter.opts[0], value]


CASES = [
    (command, mode) for command, (base, _, modes) in COMMANDS.items() if base for mode in modes
]


@pytest.mark.parametrize(("command", "mode"), CASES)
def test_an_option_is_read_or_refused(command, mode):
    base, every, modes = COMMANDS[command]
    read = set(f"{every} {modes[mode]}".split())
    given = {word for word in mode.split() if word.startswith("-")}
    for name, parameter in parameters(command.replace("bench stream", "bench")).items():
        words = words_of(parameter)
        if words is None or words[0] in given or (name in read and words[0] in base.split()):
            continue
        code, _, err = call(*command.split(), *mode.split(), *base.split(), *words)
        assert code == 2 and err.count("\n") == 1, err
        if name in read:
            assert "is not read with" not in err, (name, err)
        elif name not in SELECTORS:
            assert f"{words[0]}: is not read with" in err, (name, err)


@pytest.mark.parametrize("command", ["attack caption", "evaluate caption"])
def test_an_old_spelling_works_and_names_the_new(command):
    """For one version: what is wrong with the value is said of the new one."""
    base = {"attack caption": "--victim nobody p.png", "evaluate caption": "--victim nobody"}
    words = *command.split(), *base[command].split(), "--out", "/proc/nowhere/out"
    code, _, err = call(*words, "--rounds", "-3")
    first, second = err.splitlines()
    assert code == 2 and first == "--rounds: is called --iterations now"
    assert "iterations -3: must be a whole number" in second


@pytest.mark.parametrize("family", ["captions", "labels", "hashing"])
@pytest.mark.parametrize("verb", ["attack", "evaluate"])
def test_the_help_of_method_names_every_method(verb, family):
    """It is written out, since the declarations import JAX."""
    word = {"captions": "caption", "labels": "labels", "hashing": "retrieval"}[family]
    told = parameters(f"{verb} {word}")["method"].help
    for method in import_module(f"jaxadv.{family}.methods").METHODS:
        assert method.name in told
