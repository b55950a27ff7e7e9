"""`jaxadv demo`: the main job, on embedded pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxadv.cli.console import console, print_table, progress_bar

if TYPE_CHECKING:
    from jaxadv.attacks.methods import Method
    from jaxadv.data.vocabulary import Vocabulary
    from jaxadv.figures.captions import Panel
    from jaxadv.sweeps.captions import Outcome, Request

VICTIMS = ("scenes-show-attend-tell", "scenes-scst", "scenes-show-tell")
PICTURES = 24
LEARNING_RATE, ROUNDS = 5e-3, 60  # scenes need more than the paper's 1e-3 and 50: see the README


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and figure.")] = Path(
        "adversarial"
    ),
) -> None:
    """Fool three captioners with three attacks on two dozen embedded pictures."""
    from jaxadv.attacks.methods import Settings, prepare
    from jaxadv.cli.inputs import writable
    from jaxadv.data import scenes
    from jaxadv.data.images import write_png
    from jaxadv.figures.captions import draw, save
    from jaxadv.sweeps.captions import Outcome, attack_all, say, tabulate
    from jaxadv.victims import zoo

    writable(out)
    pictures = [e.picture for e in scenes.examples(scenes.HELD_OUT_SEED, PICTURES)]
    attacks = (
        Settings("gem", learning_rate=LEARNING_RATE, rounds=ROUNDS),
        Settings("ssvm", learning_rate=LEARNING_RATE, rounds=ROUNDS),
        Settings("show-and-fool", learning_rate=0.02, rounds=60, tries=2),
    )
    rows, panels = [], []
    with progress_bar() as bar:
        task = bar.add_task("demo", total=len(VICTIMS) * len(attacks) * PICTURES)
        for name in VICTIMS:
            victim = zoo.load(name)
            captions = say(victim.captioner, victim.params, pictures, PICTURES)
            for settings in attacks:
                bar.update(task, description=f"{settings.method} on {name}")
                method = prepare(victim.captioner, settings)
                requests = _requests(method, captions, victim.captioner.max_length)
                outcomes: list[Outcome] = []
                seconds = 0.0
                for news in attack_all(
                    victim.captioner, victim.params, pictures, requests, method, PICTURES
                ):
                    outcomes += news.outcomes
                    seconds += news.seconds
                bar.advance(task, PICTURES)
                who = name.removeprefix("scenes-")
                rows += [
                    [who, settings.method, *row[:-3], row.seconds]
                    for row in tabulate(outcomes, seconds)
                ]
                for o in outcomes:
                    write_png(out / name / settings.method / f"{o.request.image:02d}.png", o.image)
                said = [victim.captioner.vocabulary.decode(c) for c in captions]
                title = f"{who} · {settings.method}"
                panels += _best_panel(title, outcomes, pictures, said, victim.captioner.vocabulary)
    print_table(
        "Targets: captions predicted on other pictures",
        ["victim", "method", "target", "n", "SR", "Prec", "Rec", "‖ε‖₂", "s/image"],
        rows,
    )
    save(draw(panels), out / "figure.png")
    console.print(f"adversarial pictures and figure.png are in {out}/", highlight=False)


def _requests(method: "Method", captions: Sequence[list[int]], max_length: int) -> list["Request"]:
    """One target a picture; every second one has gaps, where the method allows them."""
    from jaxadv.sweeps.captions import Setting, choose_targets

    complete, gaps = Setting("complete", latent=0), Setting("2 latent", latent=2)
    return [
        request
        for image in range(len(captions))
        for request in choose_targets(
            captions,
            [gaps if method.gaps and image % 2 else complete],
            1,
            [image],
            max_length,
        )
    ]


def _best_panel(
    title: str,
    outcomes: Sequence["Outcome"],
    pictures: Sequence,
    said: Sequence[str],
    vocabulary: "Vocabulary",
) -> list["Panel"]:
    """Show the fooled picture of least noise, one with gaps if there is one."""
    from jaxadv.figures.captions import Panel
    from jaxadv.objectives.target import write_target

    fooled = [o for o in outcomes if o.success and o.success_8bit] or list(outcomes)
    shown = min(fooled, key=lambda o: (o.request.setting == "complete", o.norm))
    image = shown.request.image
    target = write_target(shown.request.target, vocabulary)
    return [
        Panel(title, pictures[image], shown.image, said[image], target, shown.said, shown.success)
    ]
