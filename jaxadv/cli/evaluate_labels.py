"""`jaxadv evaluate labels`: the columns of the TkMIA paper's Tables 1-4."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxadv.cli.engine import PICTURES, SHARD, attack_cells, evaluate_cells
from jaxadv.cli.evaluations import whole_numbers
from jaxadv.cli.methods import chosen as chosen_methods
from jaxadv.cli.options import AUTO, batch_size, is_given, one_of, refuse_unread

if TYPE_CHECKING:
    from jaxadv.core.method import Chosen
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.label_jobs import LabelDesign

COMMAND = "evaluate labels"
MOST_PHOTOGRAPHS = 10_000_000


def labels(
    context: typer.Context,
    victim: Annotated[
        list[str], typer.Option(help="A classifier's name or folder; jaxadv victims; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the records and the table.")],
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
        int | None, typer.Option(min=1, help="Most valid pictures that are attacked (paper: 1000).")
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
            help="Valid pictures, none of them in the table, to search on: the greatest Δl, "
            "then the least APer; further scenes, or photographs of the victim's training.",
        ),
    ] = 40,
    form: Annotated[
        str, typer.Option(help="Of TkAcc and AP@k: as the paper prints them, or as released.")
    ] = "paper",
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    shard: Annotated[str | None, typer.Option(help=SHARD)] = None,
    pictures: Annotated[str, typer.Option(help=PICTURES)] = "none",
    seed: Annotated[int, typer.Option(help="Of the choice of labels.")] = 0,
) -> None:
    """Suppress labels of held-out pictures; print the columns of the paper's Tables 1-4.

    The same command on the same folder resumes from there. Its records are those of a sweep, so
    that `jaxadv table` reads them.
    """
    from jaxadv import loading
    from jaxadv.cli.inputs import results_folder
    from jaxadv.errors import InputError
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.label_jobs import LabelDesign, measures_in
    from jaxadv.experiments.label_search import candidates
    from jaxadv.labels.methods import METHODS

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
    selected = one_of("--selection", selection, ("global", "random"))
    drawn = one_of("--among", among, ("relevant", "said"))
    measures = measures_in(one_of("--form", form, ("paper", "released")))
    if delta is not None and (selection == "global" or delta > specified):
        raise InputError(f"delta {delta}: for random selection, at most |S| = {specified}")
    victims = [loading.load(name) for name in dict.fromkeys(victim)]
    largest = min(len(one.classifier.classes) for one in victims) - 1
    counts = whole_numbers("--k", k, largest, f"numbers from 1 to {largest}, such as 3,5,10")
    kinds: tuple[str, ...] = ()
    if selection == "global":
        every = [_types(types or ["red,circle"], one.classifier.classes) for one in victims]
        kinds = tuple(dict.fromkeys(name for some in every for name in some))
    tried = [candidates(run, rates, tradeoffs) for run in runs]
    searched = any(len(some) > 1 for some in tried)
    if is_given(context, "search") and not searched:
        raise InputError("--search: give several values of --learning-rate or --tradeoff")
    sources = tuple(data or ["scenes"])
    design = LabelDesign(
        data=sources,
        images=images or (100 if sources == ("scenes",) else MOST_PHOTOGRAPHS),
        most=most,
        k=tuple(counts),
        selection=selected,
        among=drawn,
        specified=(specified,),
        types=kinds,
    )
    results_folder(out, COMMAND, *victim)  # before a search
    cells = [
        cell
        for name in dict.fromkeys(victim)
        for cell in (
            _searched(name, seed, tried, design, search, out / "search", size)
            if searched
            else [Cell("labels", name, seed, run, design) for run in runs]
        )
    ]
    evaluate_cells(
        cells,
        out,
        command=COMMAND,
        batch=size,
        shard=shard,
        pictures=pictures,
        measures=measures,
    )


def _searched(
    victim: str,
    seed: int,
    tried: "Sequence[Sequence[Chosen]]",
    design: "LabelDesign",
    number: int,
    folder: Path,
    size: int | None,
) -> "list[Cell]":
    """Search every method's settings on other pictures, again for each k and selection."""
    from dataclasses import replace

    from jaxadv.experiments import store
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.label_search import best_of
    from jaxadv.experiments.sweep import ALL, prepare

    aside = replace(design, search=number)
    cells = [
        Cell("labels", victim, seed, run, aside) for some in tried if len(some) > 1 for run in some
    ]
    title = f"{COMMAND}, search"
    attack_cells(
        prepare(cells), folder, title=title, size=size, share=ALL, file=victim, command=title
    )
    found = best_of({cell.digest: cell for cell in cells}, store.read(folder))
    made = []
    for some in tried:
        for setting, only in design.selections:
            for k in design.k:
                run = found.get((some[0].name, setting, k), some[0])
                made.append(Cell("labels", victim, seed, run, replace(only, k=(k,))))
    return made


def _types(given: list[str], classes: "Sequence[str]") -> list[str]:
    """Read types of labels to suppress: a whole name first, then names between commas."""
    from jaxadv.experiments.labels import labels_of_type
    from jaxadv.labels.target import LabelError

    found = []
    for text in given:
        try:
            labels_of_type(text, classes)
            found.append(text)
        except LabelError:
            names = [part.strip() for part in text.split(",")]
            for name in names:
                labels_of_type(name, classes)
            found += names
    return found


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
