"""`jaxadv demo`: the main job, on embedded pictures."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, print_table, progress_bar

VICTIMS = ("scenes-show-attend-tell", "scenes-scst", "scenes-show-tell")
PICTURES = 24
LEARNING_RATE, ROUNDS = 5e-3, 100


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and figure.")] = Path(
        "adversarial"
    ),
) -> None:
    """Fool three captioners with three attacks on two dozen embedded pictures."""
    import numpy as np

    from jaxadv.attacks.methods import Settings, prepare
    from jaxadv.data import scenes
    from jaxadv.data.images import write_png
    from jaxadv.figures.captions import Panel, draw, save
    from jaxadv.objectives.target import write_target
    from jaxadv.sweeps.captions import (
        Outcome,
        Setting,
        attack_all,
        choose_targets,
        say,
        tabulate,
    )
    from jaxadv.training.recipes import HELD_OUT_SEED
    from jaxadv.victims import zoo

    pictures = [e.picture for e in scenes.examples(HELD_OUT_SEED, PICTURES)]
    gaps = (Setting("complete", latent=0), Setting("2 latent", latent=2))
    attacks = (
        Settings("gem", learning_rate=LEARNING_RATE, rounds=ROUNDS),
        Settings("ssvm", learning_rate=LEARNING_RATE, rounds=ROUNDS),
        Settings("show-and-fool", learning_rate=0.02, rounds=60, tries=2, constant=1.0),
    )
    rows, panels = [], []
    with progress_bar() as bar:
        task = bar.add_task("demo", total=len(VICTIMS) * len(attacks) * PICTURES)
        done = 0
        for name in VICTIMS:
            victim = zoo.load(name)
            captioner, params = victim.captioner, victim.params
            captions = say(captioner, params, pictures, PICTURES)
            for settings in attacks:
                bar.update(task, description=f"{settings.method} on {name}: compiling")
                method = prepare(captioner, settings)
                # every second target has gaps, where the method allows them
                both = choose_targets(
                    captions,
                    gaps if method.gaps else gaps[:1],
                    1,
                    range(PICTURES),
                    captioner.max_length,
                )
                requests = [
                    next(
                        r
                        for r in both
                        if r.image == i
                        and (len(gaps) == 1 or not method.gaps or r.setting == gaps[i % 2].name)
                    )
                    for i in range(PICTURES)
                ]
                outcomes: list[Outcome] = []
                seconds = 0.0
                for news in attack_all(captioner, params, pictures, requests, method, PICTURES):
                    outcomes += news.outcomes
                    seconds += news.seconds
                done += PICTURES
                bar.update(task, completed=done)
                for row in tabulate(outcomes, seconds):
                    rows.append(
                        [
                            name.removeprefix("scenes-"),
                            settings.method,
                            row.setting,
                            row.attempts,
                            row.success,
                            row.precision,
                            row.recall,
                            row.norm,
                            row.seconds,
                        ]
                    )
                for outcome in outcomes:
                    path = out / name / settings.method / f"{outcome.request.image:02d}.png"
                    write_png(path, outcome.image)
                fooled = [o for o in outcomes if o.success and o.success_8bit]
                shown = [o for o in fooled if o.request.setting != "complete"] or fooled
                for outcome in shown[:1]:
                    i = outcome.request.image
                    panels.append(
                        Panel(
                            f"{name.removeprefix('scenes-')} · {settings.method}",
                            np.asarray(pictures[i]),
                            outcome.image,
                            captioner.vocabulary.decode(captions[i]),
                            write_target(outcome.request.target, captioner.vocabulary),
                            outcome.said,
                            True,
                        )
                    )
    print_table(
        "Targeted captions, predicted on other pictures",
        ["victim", "method", "target", "n", "SR", "Prec", "Rec", "‖ε‖₂", "s/image"],
        rows,
    )
    if panels:
        save(draw(panels), out / "figure.png")
    console.print(f"adversarial pictures and figure.png: {out}/", highlight=False)
