"""`jaxadv demo`: the main job, on embedded pictures."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jaxadv.cli.console import console, note, print_table, progress_bar

if TYPE_CHECKING:
    from jaxadv.core.method import Chosen
    from jaxadv.experiments.captions import Outcome, Request
    from jaxadv.reports.captions import Panel
    from jaxadv.victims.zoo import Victim
    from jaxadv.vocabulary import Vocabulary

VICTIMS = ("scenes-show-attend-tell", "scenes-scst", "scenes-show-tell")
PICTURES = 24
LEARNING_RATE, STEPS = 5e-3, 60  # scenes need more than the paper's 1e-3 and 50: see the README


class _Job(NamedTuple):
    """One method on one victim."""

    name: str
    victim: "Victim"
    captions: list[list[int]]
    method_name: str
    method: "Chosen"
    requests: list["Request"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and figure.")] = Path(
        "adversarial"
    ),
) -> None:
    """Fool three captioners with three attacks on two dozen embedded pictures."""
    from jaxadv.captions.methods import METHODS
    from jaxadv.cli.inputs import writable
    from jaxadv.core.method import choose
    from jaxadv.data import scenes
    from jaxadv.data.images import write_png
    from jaxadv.experiments.captions import attack_all, compile_attacks, say, tabulate
    from jaxadv.reports.captions import draw
    from jaxadv.reports.files import save
    from jaxadv.victims import zoo

    writable(out)
    pictures = [e.picture for e in scenes.examples(scenes.HELD_OUT_SEED, PICTURES)]
    attacks = (
        choose(METHODS, "gem", learning_rate=LEARNING_RATE, iterations=STEPS),
        choose(METHODS, "ssvm", learning_rate=LEARNING_RATE, iterations=STEPS),
        choose(METHODS, "show-and-fool", learning_rate=0.02, iterations=60, tries=2),
    )
    jobs = []
    for name in VICTIMS:
        victim = zoo.load(name)
        captions = say(victim.captioner, victim.params, pictures, PICTURES)
        for method in attacks:
            requests = _requests(method, captions, victim.captioner.max_length)
            jobs.append(_Job(name, victim, captions, method.name, method, requests))

    def ready(job: _Job) -> Any:
        return compile_attacks(
            job.victim.captioner, job.victim.params, pictures, job.requests, job.method, PICTURES
        )

    note("compiling nine attacks ...")
    rows, panels = [], []
    with progress_bar() as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        compiling = bar.add_task("compiling", total=len(jobs))
        compiled = []
        for attack_batch in pool.map(ready, jobs):  # XLA compiles on one core a program
            compiled.append(attack_batch)
            bar.advance(compiling)
        attacking = bar.add_task("attacking", total=len(jobs) * PICTURES)
        for job, attack_batch in zip(jobs, compiled, strict=True):
            who = job.name.removeprefix("scenes-")
            bar.update(attacking, description=f"{job.method_name} on {who}")
            captioner, params = job.victim.captioner, job.victim.params
            (news,) = attack_all(
                captioner,
                params,
                pictures,
                job.requests,
                job.method,
                PICTURES,
                attack_batch=attack_batch,
            )
            bar.advance(attacking, PICTURES)
            rows += [
                [who, job.method_name, *row[:-3], row.seconds]
                for row in tabulate(news.outcomes, news.seconds)
            ]
            folder = out / job.name / job.method_name
            for o in news.outcomes:
                write_png(folder / f"{o.request.image:02d}.png", o.image)
            said = [captioner.vocabulary.decode(c) for c in job.captions]
            title = f"{who} · {job.method_name}"
            panels += _best_panel(title, news.outcomes, pictures, said, captioner.vocabulary)
    save(draw(panels), out / "figure.png")
    print_table(
        "Targets: captions predicted on other pictures",
        ["victim", "method", "target", "n", "SR", "Prec", "Rec", "‖ε‖₂", "s/image"],
        rows,
    )
    console.print(f"adversarial pictures and figure.png are in {out}/")


def _requests(method: "Chosen", captions: Sequence[list[int]], max_length: int) -> list["Request"]:
    """One target a picture; every second one has gaps, where the method allows them."""
    from jaxadv.captions.options import CAPTION
    from jaxadv.experiments.captions import Setting, choose_targets

    complete, gaps = Setting("complete", latent=0), Setting("2 latent", latent=2)
    return [
        request
        for image in range(len(captions))
        for request in choose_targets(
            captions,
            [gaps if method.aims_at == CAPTION and image % 2 else complete],
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
    from jaxadv.captions.target import write_target
    from jaxadv.reports.captions import Panel

    fooled = [o for o in outcomes if o.success and o.success_8bit] or list(outcomes)
    shown = min(fooled, key=lambda o: (o.request.setting == "complete", o.norm))
    image = shown.request.image
    target = write_target(shown.request.target, vocabulary)
    pair = pictures[image], shown.image
    return [Panel(title, *pair, said[image], target, shown.said_8bit, shown.success_8bit)]
