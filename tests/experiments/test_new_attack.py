"""A new attack is a file and a line; a new family a value and a line: in all that there is."""

import dataclasses
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv.cli.engine import attack_job
from jaxadv.core.attack import Appraisal, Objective, Verdict, descend
from jaxadv.core.constraints import clip
from jaxadv.core.method import AttackOptions, Method, option, steps
from jaxadv.experiments import sweep as engine
from jaxadv.experiments.cells import Design
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.family import Family, column
from jaxadv.experiments.job import Job, Planned
from jaxadv.experiments.make import make_sweep, read_records
from jaxadv.experiments.paper_tables import PaperRow, PaperTable
from jaxadv.experiments.plan import plan
from jaxadv.experiments.record_tables import own_tables, table_of

ROOT = Path(__file__).parents[2]
FILE = '''
"""Nudge: a few signed steps toward a caption."""

import dataclasses

import optax

from jaxadv.captions.gem import gem
from jaxadv.captions.options import CAPTION
from jaxadv.core.constraints import ball
from jaxadv.core.method import AttackOptions, Method, option, steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class NudgeOptions(AttackOptions):
    """What it can be told."""

    iterations: int = option(3, "signed steps", check=steps)
    reach: float = option(0.02, "how far it may go", symbol="ρ")


METHOD = Method(
    name="nudge",
    options=NudgeOptions,
    make=lambda victim, options: gem(
        victim,
        tradeoff=0.0,
        constraint=ball(options.reach),
        optimiser=optax.sign_sgd(options.reach / 2),
    ),
    iterations=lambda options: options.iterations,
    aims_at=lambda options: CAPTION,
)
'''
LINE = "METHODS: tuple[Method, ...] = (GEM, SSVM, SHOW_AND_FOOL, UNTARGETED"
SWEEP = """
[[captions]]
victim = "scenes-scst"
method = "nudge"
reach = [0.01, 0.02]
images = 2
targets = 1
settings = "0 latent"
"""


def test_an_attack_is_a_file_and_a_line(tmp_path):
    """Reachable from the command line, sweeps and tables of a copy that has both."""
    shutil.copytree(ROOT / "jaxadv", tmp_path / "jaxadv", copy_function=os.link)
    (tmp_path / "ported_weights").symlink_to(ROOT / "ported_weights")
    (tmp_path / "jaxadv/captions/nudge.py").write_text(FILE)
    methods = tmp_path / "jaxadv/captions/methods.py"
    text = methods.read_text()
    assert LINE in text
    methods.unlink()  # it is linked to the original
    imported = "from jaxadv.captions.nudge import METHOD as NUDGE\n"
    methods.write_text(
        text.replace(
            "from jaxadv.captions.show", f"{imported}from jaxadv.captions.show", 1
        ).replace(LINE, f"{LINE}, NUDGE")
    )
    (tmp_path / "mine.toml").write_text(SWEEP)

    def jaxadv(*words):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
        command = [sys.executable, "-m", "jaxadv", *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    helped = jaxadv("attack", "caption", "--help")
    assert "--reach" in helped and "nudge: ρ, how far it may go [0.02]" in " ".join(helped.split())
    jaxadv("sweep", "mine.toml", "--out", "out", "--batch", "2")
    table = jaxadv("table", "exact-caption-1", "out")
    assert table.count("nudge") >= 2 and "reach" in table


# ---------------------------------------------------------------- a family of its own output type


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrightenOptions(AttackOptions):
    """What the toy attack can be told."""

    iterations: int = option(4, "steps", check=steps)
    rate: float = option(0.1, "of a step")


@dataclasses.dataclass(frozen=True)
class Patches(Design):
    """What it attacks."""

    pictures: int = 3

    @property
    def attacks(self):
        return self.pictures


def brighten(victim, rate):
    """Make a network that reads a picture's mean say more than a threshold."""

    def loss(params, image, adversarial, target, latent):
        value = victim(params, adversarial)
        return -value, Appraisal(latent, value > target, {})

    def judge(params, image, target):
        value = victim(params, image)
        return Verdict(value > target, value)

    objective = Objective(lambda params, image, target, key: (), loss)
    return descend(objective, judge, constraint=clip(), optimiser=optax.sign_sgd(rate))


def toy_job(cell, victim, shared):
    def load(number):
        picture = jax.random.uniform(jax.random.key(number), (4, 4, 3), maxval=0.2)
        return np.asarray(picture), np.float32(0.3)

    method = cell.method
    return Job(
        attack=brighten(lambda params, image: params * image.mean(), method.value("rate")),
        params=jnp.ones(()),
        iterations=method.iterations,
        planned=[
            Planned(i, {"image": f"noise {i}", "setting": "bright"}, partial(load, i))
            for i in range(cell.design.pictures)
        ],
        together=False,
        picture=lambda result: np.asarray(result.final.image),
        describe=lambda planned, request, result: {
            "success": bool(result.final.success),
            "brightness": float(result.final.output),
        },
    )


BRIGHTEN = Method(
    "brighten", BrightenOptions, lambda victim, options: None, lambda options: options.iterations
)
TOY = Family(
    "brightness",
    (BRIGHTEN,),
    Patches,
    toy_job,
    {"SR": column("success"), "brightness": column("brightness")},
)
TABLE = PaperTable(
    name="toy-1", title="Toy: Table 1", caption="brightness", task="brightness", data="noise",
    victim="a mean", named=(), keys=("method", "rate"), where={}, settings={},
    measures=("SR", "brightness"), curve="", notes=(),
    rows=(PaperRow({"method": "brighten", "rate": 0.1}, {"SR": 1.0, "brightness": 0.5}),),
)  # fmt: skip


def test_a_family_is_a_value_and_a_line(tmp_path, monkeypatch):
    """Swept, gone on with, and tabulated beside a paper's numbers, with an output of its own."""
    monkeypatch.setitem(FAMILIES, "brightness", TOY)
    grid = {"victim": "scenes-tagger", "rate": [0.01, 0.1], "pictures": 3}
    for _ in range(2):  # the second makes nothing
        news = make_sweep({"brightness": [grid]}, tmp_path / "out", batch=2)
        assert (news.done, news.total, news.failed) == (6, 6, 0)
    rows = read_records(tmp_path / "out")
    assert len(rows) == 6 and {row["rate"] for row in rows} == {0.01, 0.1}
    assert all(row["success"] == (row["brightness"] > 0.3) for row in rows)
    table = table_of(TABLE, tmp_path / "out")
    found = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    ours = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    strong, paper, weak = ours
    assert strong["SR"] == 1.0 and weak["SR"] == 0.0 and paper["victim"] == "paper"
    assert strong["brightness"] > weak["brightness"] and len(found) == 2
    prepared = engine.prepare(plan({"brightness": [grid]}))
    assert engine.complete(prepared, tmp_path / "out")
    attacked = attack_job(prepared[-1].job, "attack brightness", 2)  # what `jaxadv attack` runs
    assert [done.columns["success"] for done in attacked] == [True] * 3
    (own,) = own_tables("brightness", tmp_path / "out")
    assert own.columns[-2:] == ("SR", "brightness") and len(own.rows) == 2
