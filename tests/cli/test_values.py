"""Hostile values for every parameter of every command: one line, exit code 2, nothing started."""

import pytest
from helpers.command_table import COMMANDS, NOWHERE, kind_of, parameters
from helpers.commands import call

BASES = {
    **{command: base for command, (base, _, _) in COMMANDS.items() if base},
    "evaluate caption": f"--victim nobody --out {NOWHERE}",
    "evaluate labels": f"--victim nobody --out {NOWHERE}",
    "evaluate retrieval": f"--victim nobody --out {NOWHERE}",
    "evaluate understanding": f"--victim nobody --out {NOWHERE}",
    "port": f"/nowhere.pth --architecture resnet20-cifar --name x --out {NOWHERE}",
    "sweep run": f"/nowhere.toml --out {NOWHERE}",
    "sweep merge": f"/nowhere --out {NOWHERE}",
    "table": "nothing",
}
del BASES["bench stream"]
TEXTS = ["", "\0", "[/x]\x1b[2J\n\u202e", "x" * 5000, "/".join(["y" * 300] * 3), "\udc80", "..."]
NUMBERS = ["nan", "inf", "-inf", "1e400", "-1", "3000000000", "1e30", str(2**64), "9" * 5000, ""]


def values_for(command, name):
    if kind_of(command, name) is not str:
        return NUMBERS
    return TEXTS[:2] + TEXTS[3:5] if name in ("out", "to", "json", "picture") else TEXTS


@pytest.mark.parametrize("command", BASES)
def test_one_line_and_code_2(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for parameter in parameters(command).values():
        option = parameter.opts[0]
        if not option.startswith("-") or getattr(parameter, "is_flag", False):
            continue
        for value in values_for(command, parameter.name):
            code, _, err = call(*command.split(), *BASES[command].split(), option, value)
            where = (option, value[:20], err[-300:])
            assert code in (0, 2), where
            if code == 2:
                assert err.count("\n") == 1 and err.startswith("error: "), where
                assert "\x1b" not in err and "\u202e" not in err and len(err) < 2100, where
