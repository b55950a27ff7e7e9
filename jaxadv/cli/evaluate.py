"""`jaxadv evaluate`: a paper's table."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, print_table, watch
from jaxadv.cli.outputs import write_json

app = typer.Typer(no_args_is_help=True, help="Print a paper's table.")

COLUMNS = ["setting", "attempts", "SR", "Prec", "Rec", "‖ε‖₂", "‖ε‖₂ succ.", "SR 8-bit", "s/attack"]


@app.callback()
def _main() -> None:
    pass


@app.command("caption")
def caption(
    victim: Annotated[str, typer.Option(help="A victim's name or folder; see jaxadv doctor.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the records.")],
    method: Annotated[
        list[str] | None, typer.Option(help="gem, ssvm or show-and-fool; repeatable.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help='all, or some of Table 1\'s: "0 latent,3 latent,1 obser".')
    ] = "all",
    images: Annotated[int, typer.Option(min=2, help="Pictures attacked.")] = 100,
    targets: Annotated[int, typer.Option(min=1, help="Targets a picture.")] = 5,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or folders of photographs: the victim's held-out ones."),
    ] = None,
    tradeoff: Annotated[
        list[float] | None, typer.Option(help="λ; repeat for a row each, as in Table 2.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's (paper: 0.001).")] = None,
    rounds: Annotated[int | None, typer.Option(help="Steps; a try's for show-and-fool.")] = None,
    posterior: Annotated[str, typer.Option(help="gem: factorised or joint.")] = "factorised",
    tail: Annotated[
        bool, typer.Option(help="gem: keep eq. 10's terms after the last observed word.")
    ] = True,
    loss: Annotated[str, typer.Option(help="show-and-fool: margin or logits.")] = "margin",
    tries: Annotated[int, typer.Option(help="show-and-fool: tries of the constant.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Attacks at once.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Run Table 1's settings with targets predicted on other pictures; print the table."""
    from jaxadv.attacks.methods import Settings, prepare
    from jaxadv.cli.inputs import writable
    from jaxadv.errors import InputError
    from jaxadv.sweeps.captions import Outcome, attack_all, choose_targets, record, say, tabulate
    from jaxadv.victims import zoo

    loaded = zoo.load(victim)
    captioner, params = loaded.captioner, loaded.params
    chosen = _settings(settings)
    tradeoffs: list[float | None] = [*tradeoff] if tradeoff else [None]
    combinations = [
        Settings(
            method=m,
            tradeoff=t,
            learning_rate=learning_rate,
            rounds=rounds,
            posterior=posterior,  # type: ignore[arg-type]  # checked by prepare
            tail=tail,
            loss=loss,  # type: ignore[arg-type]
            tries=tries,
        )
        for m in method or ["gem"]
        for t in tradeoffs
    ]
    methods = [prepare(captioner, c) for c in combinations]
    for combination, prepared in zip(combinations, methods, strict=True):
        if prepared.aims_at != "caption":
            raise InputError(f"method {combination.method!r}: the table is of targeted captions")
    pictures = _pictures(loaded, data or ["scenes"], images)
    writable(out)
    captions = say(captioner, params, pictures, batch)
    rows: list[list[Any]] = []
    table: list[dict[str, Any]] = []
    for combination, prepared in zip(combinations, methods, strict=True):
        columns = [s for s in chosen if prepared.gaps or s.latent == 0]
        requests = choose_targets(
            captions, columns, targets, range(images), captioner.max_length, seed
        )
        outcomes: list[Outcome] = []
        seconds = 0.0
        title = _title(combination)
        job = attack_all(captioner, params, pictures, requests, prepared, batch, seed)
        for news in watch(job, title):
            outcomes += news.outcomes
            seconds += news.seconds
        for row in tabulate(outcomes, seconds):
            rows.append([f"{title}, {row.setting}", *row[1:]])
            table.append({**dataclasses.asdict(combination), **row._asdict()})
        entries = [record(o, captioner) for o in outcomes]
        _append(out / "records.jsonl", dataclasses.asdict(combination), entries)
        print_table(f"{title} on {loaded.name}", COLUMNS, rows[-len(columns) :])
    write_json(out / "table.json", {"victim": loaded.name, "rows": table})
    console.print(f"written to {out}/", highlight=False)


def _title(combination: Any) -> str:
    extra = "" if combination.tradeoff is None else f" λ={combination.tradeoff:g}"
    joint = " joint" if combination.posterior == "joint" else ""
    cut = "" if combination.tail else " without tail"
    return f"{combination.method}{joint}{cut}{extra}"


def _settings(text: str) -> list[Any]:
    from jaxadv.errors import InputError
    from jaxadv.sweeps.captions import TABLE_1

    if text == "all":
        return list(TABLE_1)
    known = {s.name: s for s in TABLE_1}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f"--settings {name!r}: must be all, or among {', '.join(known)}")
    return [known[name] for name in names]


def _pictures(victim: Any, data: list[str], images: int) -> list[Any]:
    """Return pictures the victim was not trained on, at its resolution; those to attack first."""
    from jaxadv.data import scenes
    from jaxadv.data.images import read_image, resize
    from jaxadv.data.photos import FolderError, captioned, read_photos

    shape = victim.captioner.image_shape[:2]
    if data == ["scenes"]:
        drawn = scenes.examples(scenes.HELD_OUT_SEED, max(2 * images, 200))
        return [resize(e.picture, shape) for e in drawn]
    photos = captioned([p for folder in data for p in read_photos(Path(folder))])
    held_out = victim.record.get("held_out")
    if held_out is not None:
        photos = [p for p in photos if p.id in set(held_out)]
    if len(photos) < images:
        raise FolderError(f"--images {images}: there are {len(photos)} held-out photographs")
    return [resize(read_image(p.path), shape) for p in photos]


def _append(path: Path, settings: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps({**settings, **entry}) + "\n")


LABEL_COLUMNS = [
    "method", "ΔTkAcc", "ΔP@k", "ΔmAP@k", "ΔNDCG@k", "Δl", "APer", "·255", "SR", "SR 8-bit",
    "s/attack",
]  # fmt: skip


@app.command("labels")
def labels(
    victim: Annotated[str, typer.Option(help="A classifier's name or folder; jaxadv victims.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the records.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="tkmia, ml-cw-u, tkml-ap-u or kfool; repeatable; all if not given."),
    ] = None,
    selection: Annotated[
        str, typer.Option(help="global: the labels of a type everywhere; random: some of each.")
    ] = "random",
    types: Annotated[
        str, typer.Option(help="global: types of labels, or words in them, such as red,circle.")
    ] = "red,circle",
    specified: Annotated[int, typer.Option(min=1, help="random: labels a picture, |S|.")] = 2,
    k: Annotated[str, typer.Option(help="How many labels are said: 3,5,10.")] = "2,3,5",
    delta: Annotated[
        int | None, typer.Option(min=1, help="random: δ, labels that must leave; all by default.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Pictures to choose from.")] = 100,
    iterations: Annotated[int, typer.Option(min=1, help="Most steps (paper: 300).")] = 300,
    tradeoff: Annotated[float, typer.Option(help="α (paper: 1e-3 to 5e-5).")] = 1e-4,
    learning_rate: Annotated[float, typer.Option(help="SGD's (paper: 1e-3 to 5e-5).")] = 5e-4,
    inner: Annotated[
        str, typer.Option(help="tkmia: λ minimised exactly, or by a gradient step (Algorithm 1).")
    ] = "exact",
    space: Annotated[
        str, typer.Option(help="signed as in the paper, or tanh as in the released code.")
    ] = "signed",
    form: Annotated[
        str, typer.Option(help="Of TkAcc and AP@k: as the paper prints them, or as released.")
    ] = "paper",
    batch: Annotated[int, typer.Option(min=1, help="Attacks at once.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the choice of labels.")] = 0,
) -> None:
    """Suppress labels of held-out crowded scenes; print the columns of the paper's Tables 1-4."""
    import numpy as np

    from jaxadv.attacks.label_methods import METHODS, Settings, prepare
    from jaxadv.cli.inputs import writable
    from jaxadv.data import scenes
    from jaxadv.data.scenes import LABELS
    from jaxadv.errors import InputError
    from jaxadv.sweeps.labels import attack_labels, choose, join, labels_of_type, record, tabulate
    from jaxadv.victims import zoo

    loaded = zoo.load(victim)
    classifier, params = loaded.classifier, loaded.params
    if classifier.classes != LABELS:
        raise InputError(f"victim {loaded.name!r} does not know the labels of scenes")
    if selection not in ("global", "random"):
        raise InputError(f"selection {selection!r}: must be global or random")
    if form not in ("paper", "released"):
        raise InputError(f"form {form!r}: must be paper or released")
    if delta is not None and (selection == "global" or delta > specified):
        raise InputError(f"delta {delta}: for random selection, at most |S| = {specified}")
    counts = _counts(k, len(classifier.classes))
    wanted: dict[str, Any] = {str(specified): None}
    if selection == "global":
        wanted = {name: labels_of_type(name, classifier.classes) for name in types.split(",")}
    every = [
        Settings(
            name,
            tradeoff,
            learning_rate,
            iterations,
            delta,
            inner,  # type: ignore[arg-type]  # checked by prepare
            space,  # type: ignore[arg-type]
        )
        for name in method or METHODS
    ]
    methods = [prepare(classifier, settings) for settings in every]
    writable(out)
    drawn = [scenes.crowd(scenes.HELD_OUT_SEED, index) for index in range(images)]
    truth = np.stack([e.labels for e in drawn if e.labels is not None])
    table: list[dict[str, Any]] = []
    for title, mask in wanted.items():
        for count in counts:
            chosen = choose(truth, count, wanted=mask, number=specified, seed=seed)
            reasons = [f"{number} with {reason}" for reason, number in chosen.left_out.items()]
            heading = (
                f"{title} specified, k={count} on {loaded.name}: {len(chosen.numbers)} attacked"
            )
            heading = f"{heading}, left out {' and '.join(reasons) or 'none'}"
            if not len(chosen.numbers):
                console.print(heading, highlight=False)
                continue
            rows: list[list[Any]] = []
            for settings, made in zip(every, methods, strict=True):
                job = attack_labels(
                    classifier,
                    params,
                    [drawn[i].picture for i in chosen.numbers],
                    chosen.targets,
                    made.attack,
                    iterations=made.iterations,
                    batch=batch,
                    seed=seed,
                )
                news = list(watch(job, f"{settings.method}, {title}, k={count}"))
                outcomes = join([n.outcomes for n in news])
                seconds = sum(n.seconds for n in news)
                row = tabulate(outcomes, chosen.targets, seconds, delta, form)  # type: ignore[arg-type]
                measured = [float(x) for x in row.measures]
                rows.append([settings.method, *measured, row.success_8bit, row.seconds])
                about = {**vars(settings), "selection": selection, "type": title}
                entries = [
                    {"image": drawn[number].id, **record(outcomes, chosen.targets, i, LABELS)}
                    for i, number in enumerate(chosen.numbers)
                ]
                _append(out / "records.jsonl", about, entries)
            print_table(heading, LABEL_COLUMNS, rows)
            about = {
                "selection": selection,
                "type": title,
                "k": count,
                "attacked": len(chosen.numbers),
                "left_out": chosen.left_out,
            }
            for values in rows:
                named = zip(LABEL_COLUMNS, values, strict=True)
                table.append({**about, **{c: None if x != x else x for c, x in named}})
    write_json(out / "table.json", {"victim": loaded.name, "form": form, "rows": table})
    console.print(f"written to {out}/", highlight=False)


def _counts(text: str, classes: int) -> list[int]:
    """Read the values of k."""
    from jaxadv.errors import InputError

    counts = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if not all(0 < count < classes for count in counts):
        raise InputError(f"k {text!r}: give numbers from 1 to {classes - 1}, such as 3,5,10")
    return counts
