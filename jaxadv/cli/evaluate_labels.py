"""`jaxadv evaluate labels`: the columns of the TkMIA paper's Tables 1-4."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, print_table, watch
from jaxadv.cli.evaluations import whole_numbers, write_results
from jaxadv.cli.methods import chosen as chosen_methods
from jaxadv.cli.options import AUTO, batch_size, is_given, refuse_unread

COMMAND = "evaluate labels"
COLUMNS = [
    "method", "η", "ΔTkAcc", "ΔP@k", "ΔmAP@k", "ΔNDCG@k", "Δl", "APer", "·255", "SR", "SR 8-bit",
    "s/attack",
]  # fmt: skip


def labels(
    context: typer.Context,
    victim: Annotated[str, typer.Option(help="A classifier's name or folder; jaxadv victims.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the records.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="scenes, or folders or prepared sets with labels: of them the victim's "
            "held-out ones."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="tkmia, ml-cw-u, tkml-ap-u, kfool or reliable; repeatable; all if not given."
        ),
    ] = None,
    selection: Annotated[
        str, typer.Option(help="global: the labels of a type everywhere; random: some of each.")
    ] = "random",
    among: Annotated[
        str,
        typer.Option(
            help="Labels specified: any relevant ones (paper), or relevant ones "
            "among the benign picture's first k (released code)."
        ),
    ] = "relevant",
    types: Annotated[
        list[str] | None,
        typer.Option(
            help="global: types of labels, or words in them, such as red,circle; repeatable."
        ),
    ] = None,
    specified: Annotated[int, typer.Option(min=1, help="random: labels a picture, |S|.")] = 2,
    k: Annotated[str, typer.Option(help="Sizes of the top-k set: 3,5,10.")] = "2,3,5",
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures to choose from: 100 scenes, all photographs."),
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Stop at so many valid pictures (paper: 1000).")
    ] = None,
    tradeoff: Annotated[
        str | None, typer.Option(help="α (paper: 1e-3 to 5e-5); several to search.")
    ] = None,
    learning_rate: Annotated[
        str | None, typer.Option(help="SGD's (paper: 1e-3 to 5e-5); several to search: 1e-3,5e-4.")
    ] = None,
    search: Annotated[
        int,
        typer.Option(
            min=1,
            help="Valid pictures beside the table's to search on: the greatest Δl, then the least "
            "APer; further scenes, or photographs of the victim's training.",
        ),
    ] = 40,
    form: Annotated[
        str, typer.Option(help="Of TkAcc and AP@k: as the paper prints them, or as released.")
    ] = "paper",
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    seed: Annotated[int, typer.Option(help="Of the choice of labels.")] = 0,
) -> None:
    """Suppress labels of held-out pictures; print the columns of the paper's Tables 1-4."""
    from jaxadv.cli.inputs import results_folder
    from jaxadv.errors import InputError
    from jaxadv.experiments.label_pools import benign_scores
    from jaxadv.experiments.label_search import best, candidates, try_settings
    from jaxadv.experiments.labels import (
        attack_labels,
        choose,
        join,
        largest_label_batch,
        record,
        tabulate,
    )
    from jaxadv.labels.methods import METHODS
    from jaxadv.victims import zoo

    size = batch_size(batch)
    rates = _numbers("learning rate", learning_rate)
    tradeoffs = _numbers("tradeoff", tradeoff)
    runs = chosen_methods(
        context,
        METHODS,
        method or [known.name for known in METHODS],
        learning_rate=rates[0] if rates else None,
        tradeoff=tradeoffs[0] if tradeoffs else None,
    )
    delta = runs[0].value("delta")
    refuse_unread(context, selection, {"random": ("specified", "delta"), "global": ("types",)})
    loaded = zoo.load(victim)
    classifier, params = loaded.classifier, loaded.params
    for name, given, known in (
        ("selection", selection, ("global", "random")),
        ("among", among, ("relevant", "said")),
        ("form", form, ("paper", "released")),
    ):
        if given not in known:
            raise InputError(f"{name} {given!r}: must be {' or '.join(known)}")
    if delta is not None and (selection == "global" or delta > specified):
        raise InputError(f"delta {delta}: for random selection, at most |S| = {specified}")
    largest = len(classifier.classes) - 1
    counts = whole_numbers("--k", k, largest, f"numbers from 1 to {largest}, such as 3,5,10")
    wanted: dict[str, Any] = {str(specified): None}
    if selection == "global":
        wanted = _wanted(types or ["red,circle"], classifier.classes)
    tried = [candidates(run, rates, tradeoffs) for run in runs]
    searched = any(len(some) > 1 for some in tried)
    if is_given(context, "search") and not searched:
        raise InputError("--search: give several values of --learning-rate or --tradeoff")
    attacked, others = _pools(loaded, data or ["scenes"], images, 2 * search if searched else 0)
    results_folder(out, COMMAND, loaded.name)
    if size is None:
        wide = min(len(attacked.ids), most or len(attacked.ids))
        fit = largest_label_batch(classifier, params, runs, wide)
        console.print(str(fit))
        size = fit.batch
    seen = benign_scores(classifier, params, attacked, size) if among == "said" else None
    seen_others = benign_scores(classifier, params, others, size) if among == "said" else None
    groups = []
    for title, mask in wanted.items():
        for count in counts:
            how = {"wanted": mask, "number": specified, "delta": delta, "seed": seed}
            chosen = choose(attacked.labels, count, scores=seen, most=most, **how)
            beside = choose(others.labels, count, scores=seen_others, most=search, **how)
            groups.append((title, count, chosen, beside))
    # as many slots for all, so that a method is compiled once
    slots = min(size, max(1, *(len(some.numbers) for group in groups for some in group[2:])))
    about = {"command": COMMAND, "victim": loaded.name, "form": form, "seed": seed}
    table: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    write_results(out, {**about, "rows": table}, records)
    for title, count, chosen, beside in groups:
        reasons = [f"{number} with {reason}" for reason, number in chosen.left_out.items()]
        heading = (
            f"{title} specified, k={count} on {loaded.name}: {len(chosen.numbers)} attacked, "
            f"left out {' and '.join(reasons) or 'none'}"
        )
        if not len(chosen.numbers):
            console.print(heading)
            continue
        rows: list[list[Any]] = []
        for some in tried:
            name = f"{some[0].name}, {title}, k={count}"
            run = some[0]
            if len(some) > 1:
                if not len(beside.numbers):
                    raise InputError(f"k={count}: no valid picture to search on; set one η, α")
                trials = try_settings(
                    classifier,
                    params,
                    [others.read(i) for i in beside.numbers],
                    beside.targets,
                    some,
                    batch=slots,
                    seed=seed,
                )
                run = best(list(watch(trials, f"{name}, search")))
            job = attack_labels(
                params,
                [attacked.read(i) for i in chosen.numbers],
                chosen.targets,
                run.attack(classifier),
                iterations=run.iterations,
                batch=slots,
                seed=seed,
                same_slots=True,
            )
            news = list(watch(job, name))
            outcomes = join([n.outcomes for n in news])
            seconds = sum(n.seconds for n in news)
            row = tabulate(outcomes, chosen.targets, seconds, delta, form)  # type: ignore[arg-type]
            rate = f"{run.value('learning_rate'):g}" if run.reads("learning_rate") else ""
            measured = [float(x) for x in row.measures]
            rows.append([run.name, rate, *measured, row.success_8bit, row.seconds])
            used = {
                **run.used,
                "selection": selection,
                "among": among,
                "type": title,
                "k": count,
            }
            classes = classifier.classes
            records += [
                {
                    **used,
                    "image": attacked.ids[number],
                    **record(outcomes, chosen.targets, i, classes),
                }
                for i, number in enumerate(chosen.numbers)
            ]
            table.append(
                {
                    **used,
                    "attacked": row.attacked,
                    "left_out": chosen.left_out,
                    "already": int(outcomes.already.sum()),
                    "searched_on": len(beside.numbers) if len(some) > 1 else 0,
                    **dict(zip(COLUMNS[2:], rows[-1][2:], strict=True)),
                }
            )
            write_results(out, {**about, "rows": table}, records)
        print_table(heading, COLUMNS, rows)
        if already := table[-1]["already"]:
            console.print(
                f"of these pictures {already} had the specified labels out of the first {count} "
                "before the attack; the paper counts them as fooled (--among said draws none)"
            )
    console.print(f"written to {out}/")


def _wanted(types: list[str], classes: Any) -> dict[str, Any]:
    """Read which labels to suppress, by type: a whole name first, then names between commas."""
    from jaxadv.experiments.labels import labels_of_type
    from jaxadv.labels.target import LabelError

    wanted = {}
    for given in types:
        try:
            wanted[given] = labels_of_type(given, classes)
        except LabelError:
            for name in (part.strip() for part in given.split(",")):
                wanted[name] = labels_of_type(name, classes)
    return wanted


def _pools(loaded: Any, data: list[str], images: int | None, beside: int) -> tuple[Any, Any]:
    """Return what to attack, and what to search on: further scenes, or training's photographs."""
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import labelled
    from jaxadv.data.scenes import LABELS
    from jaxadv.errors import InputError
    from jaxadv.experiments.label_pools import photo_pools, scene_pool

    classes = loaded.classifier.classes
    if data == ["scenes"]:
        if classes != LABELS:
            raise InputError(f"victim {loaded.name!r} does not know the labels of scenes")
        return scene_pool(images or 100), scene_pool(beside, first=images or 100)
    found = labelled(open_data(data))
    side = loaded.classifier.image_shape[0]
    return photo_pools(found, classes, side, loaded.record.get("held_out"), images)


def _numbers(name: str, text: str | None) -> list[float]:
    """Read the values of an option; none where it is not given."""
    from jaxadv.errors import InputError
    from jaxadv.formats.errors import quoted

    if text is None:
        return []
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise InputError(f"{name} {quoted(text)}: give a number, or several: 1e-3,5e-4") from None
