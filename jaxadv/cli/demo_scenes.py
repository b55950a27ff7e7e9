"""`jaxadv demo --scenes`: the papers' attacks on captioners of generated scenes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxadv.cli.console import console, note, print_table, progress_bar

if TYPE_CHECKING:
    from jaxadv.core.method import Chosen
    from jaxadv.experiments.job import Done, Job
    from jaxadv.reports.captions import Panel
    from jaxadv.victims.zoo import Victim

VICTIMS = ("scenes-show-attend-tell", "scenes-scst", "scenes-show-tell")
PICTURES = 24
RELIABLE, BUDGET = 8, 400  # pictures and passes of the attack that fools what the others do not
LEARNING_RATE, STEPS = 5e-3, 60  # scenes need more than the paper's 1e-3 and 50


class _Part(NamedTuple):
    """One method on one victim."""

    victim: "Victim"
    method: "Chosen"
    job: "Job"


def demo_scenes(out: Path) -> None:
    """Fool three captioners with the papers' attacks, and the hardest one with `reliable`, too.

    Args:
      out: folder for the pictures and the figure.
    """
    import jax

    from jaxadv import loading
    from jaxadv.captions.methods import METHODS
    from jaxadv.core.method import choose
    from jaxadv.data import scenes
    from jaxadv.data.images import write_png
    from jaxadv.experiments.captions import say
    from jaxadv.experiments.job import at_once
    from jaxadv.reports.captions import draw
    from jaxadv.reports.files import save

    pictures = [e.picture for e in scenes.examples(scenes.HELD_OUT_SEED, PICTURES)]
    methods = (
        choose(METHODS, "gem", learning_rate=LEARNING_RATE, iterations=STEPS),
        choose(METHODS, "ssvm", learning_rate=LEARNING_RATE, iterations=STEPS),
        choose(METHODS, "show-and-fool", learning_rate=0.02, iterations=60, tries=2),
    )
    reliable = choose(METHODS, "reliable", budget=BUDGET)
    parts = []
    for name in VICTIMS:
        victim = loading.load(name)
        captions = say(victim.captioner, victim.params, pictures, PICTURES)
        runs = (*methods, reliable) if name == VICTIMS[-1] else methods
        parts += [_Part(victim, run, _job(victim, run, pictures, captions)) for run in runs]

    def attack(part: _Part) -> "list[Done]":
        made = at_once(part.job, jax.random.key(0))
        bar.advance(attacking, len(made))
        return made

    note(f"{len(parts)} attacks: compiling ...")
    rows: list[list[Any]] = []
    panels = []
    with progress_bar() as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        total = sum(len(part.job.planned) for part in parts)
        attacking = bar.add_task("attacking", total=total)
        for part, made in zip(parts, pool.map(attack, parts), strict=True):
            who = part.victim.name.removeprefix("scenes-")
            rows += _rows(who, part.method.name, made)
            folder = out / part.victim.name / part.method.name
            for done in made:
                assert done.image is not None  # the embedded victims' losses are finite
                write_png(folder / f"{done.planned.id:02d}.png", done.image)
            panels.append(_best_panel(f"{who} · {part.method.name}", made, pictures))
    save(draw(panels), out / "figure.png")
    print_table(
        "Targets: captions predicted on other pictures",
        ["victim", "method", "target", "n", "SR", "Prec", "Rec", "‖ε‖₂", "SR 8-bit"],
        rows,
    )
    console.print(f"adversarial pictures and figure.png are in {out}/")


def _job(
    victim: "Victim", method: "Chosen", pictures: Sequence[Any], captions: Sequence[list[int]]
) -> "Job":
    """One target a picture; every second one has gaps, where the method allows them."""
    from jaxadv.captions.options import CAPTION
    from jaxadv.experiments.banks import params_with_bank
    from jaxadv.experiments.caption_jobs import caption_attacks
    from jaxadv.experiments.captions import Setting, choose_targets, wanted
    from jaxadv.experiments.job import at_hand

    complete, gaps = Setting("complete", latent=0), Setting("2 latent", latent=2)
    captioner = victim.captioner
    planned = []
    for image in range(RELIABLE if method.name == "reliable" else len(captions)):
        some = [gaps if method.aims_at == CAPTION and image % 2 else complete]
        for request in choose_targets(
            captions, some, 1, [image], captioner.max_length, captioner.vocabulary
        ):
            about = {"setting": request.setting, "target": wanted(request.target, captioner)}
            planned.append(at_hand(image, about, pictures[image], request.target))
    return caption_attacks(captioner, params_with_bank(method, victim), method, planned)


def _rows(who: str, method: str, made: Sequence["Done"]) -> list[list[Any]]:
    """Average over all attempts of each kind of target."""
    rows = []
    for setting in dict.fromkeys(done.planned.about["setting"] for done in made):
        some = [done.columns for done in made if done.planned.about["setting"] == setting]
        names = ("success", "precision", "recall", "norm", "success_8bit")
        means = [sum(float(told[name]) for told in some) / len(some) for name in names]
        rows.append([who, method, setting, len(some), *means])
    return rows


def _best_panel(title: str, made: Sequence["Done"], pictures: Sequence[Any]) -> "Panel":
    """Show the fooled picture of least noise, one with gaps if there is one."""
    from jaxadv.reports.captions import Panel

    fooled = [d for d in made if d.columns["success"] and d.columns["success_8bit"]] or made
    shown = min(fooled, key=lambda d: (d.planned.about["setting"] == "complete", d.columns["norm"]))
    told, about = shown.columns, shown.planned.about
    assert shown.image is not None  # it has an outcome
    pair = pictures[shown.planned.id], shown.image
    said = (told["benign"], about["target"], told["said_8bit"], told["success_8bit"])
    return Panel(title, *pair, *said)
