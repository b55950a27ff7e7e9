"""`jaxadv evaluate`: a paper's table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, print_table, watch
from jaxadv.cli.evaluate_labels import labels
from jaxadv.cli.evaluate_retrieval import retrieval
from jaxadv.cli.evaluate_understanding import understanding
from jaxadv.cli.evaluations import write_results
from jaxadv.cli.methods import chosen, with_options_of
from jaxadv.cli.options import AUTO, UNKNOWN_WORDS, batch_size

app = typer.Typer(no_args_is_help=True, help="Print a paper's table.")
app.command(
    "labels",
    cls=with_options_of("jaxadv.labels.methods", own=("tradeoff", "learning_rate")),
)(labels)
app.command(
    "retrieval",
    cls=with_options_of(
        "jaxadv.hashing.methods", own=("modality", "iterations", "bound", "learning_rate")
    ),
)(retrieval)
app.command(
    "understanding", cls=with_options_of("jaxadv.captions.methods", old={"rounds": "iterations"})
)(understanding)

COMMAND = "evaluate caption"
COLUMNS = [
    "setting", "attempts", "SR", "Prec", "Rec", "‖ε‖₂", "‖ε‖₂ succ.", "SR 8-bit", "already",
    "s/attack",
]  # fmt: skip


@app.callback()
def _main() -> None:
    pass


@app.command(
    "caption",
    cls=with_options_of("jaxadv.captions.methods", own=("tradeoff",), old={"rounds": "iterations"}),
)
def caption(
    context: typer.Context,
    victim: Annotated[str, typer.Option(help="A victim's name or folder; see jaxadv doctor.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the records.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="gem, ssvm, show-and-fool or untargeted; repeatable."),
    ] = None,
    settings: Annotated[
        str, typer.Option(help='all, or some of Table 1\'s: "0 latent,3 latent,1 obser".')
    ] = "all",
    images: Annotated[int, typer.Option(min=2, help="Pictures attacked.")] = 100,
    targets: Annotated[int, typer.Option(min=1, help="Targets a picture.")] = 5,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or folders or prepared sets: the victim's held-out ones."),
    ] = None,
    tradeoff: Annotated[
        list[float] | None, typer.Option(help="λ; repeat for a row each, as in Table 2.")
    ] = None,
    unknown_words: Annotated[bool, typer.Option("--unknown-words", help=UNKNOWN_WORDS)] = False,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Run Table 1's settings with targets predicted on other pictures; print the table."""
    from jaxadv.captions.methods import METHODS
    from jaxadv.captions.options import COMPLETE
    from jaxadv.captions.sensible import sensible
    from jaxadv.cli.inputs import load_captioner, results_folder
    from jaxadv.core.memory import largest_batch
    from jaxadv.core.method import as_text
    from jaxadv.errors import InputError
    from jaxadv.experiments.captions import (
        Outcome,
        attack_all,
        distinct_targets,
        record,
        requests_for,
        say,
        settings_named,
        tabulate,
    )
    from jaxadv.experiments.pictures import held_out

    size = batch_size(batch)
    runs = list(
        dict.fromkeys(
            run
            for weight in tradeoff or (None,)
            for run in chosen(context, METHODS, method or [METHODS[0].name], tradeoff=weight)
        )
    )
    loaded = load_captioner(victim, unknown_words)
    captioner, params = loaded.captioner, loaded.params
    named = [] if settings == "all" else [name.strip() for name in settings.split(",")]
    columns = settings_named(list(dict.fromkeys(named)))
    for run in runs:
        if run.aims_at == COMPLETE and not any(column.latent == 0 for column in columns):
            raise InputError(f"--settings: {run.name} takes complete captions: 0 latent")
    sources = data or ["scenes"]
    pictures = [picture.load() for picture in held_out(loaded, sources, images)]
    results_folder(out, COMMAND, loaded.name)
    captions = say(captioner, params, pictures, size or 50)
    told = sensible(captions, captioner.vocabulary.unknown)
    about = {
        "command": COMMAND,
        "victim": loaded.name,
        "seed": seed,
        "captions": told._asdict(),
    }
    console.print(
        f"{loaded.name}'s captions of {told.captions} pictures: {told.distinct} distinct, "
        f"{told.repeated_bigrams:.2f} with a repeated bigram, {told.unknown_words:.2f} of the "
        "words unknown"
    )
    write_results(out, {**about, "rows": []}, [])
    table: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for run in runs:
        requests = requests_for(
            run, captions, columns, targets, range(images), captioner.max_length, seed
        )
        outcomes: list[Outcome] = []
        seconds = 0.0
        title, used = as_text(run), run.used
        if not requests:
            console.print(f"{title} on {loaded.name}: 0 attacked, no other caption to aim at")
            continue
        different = distinct_targets(requests)
        console.print(f"{title}: {len(requests)} attacks, {different} distinct targets")
        at_once = size
        if at_once is None:
            fit = largest_batch(
                run.attack(captioner),
                params,
                pictures[requests[0].image],
                requests[0].target,
                iterations=run.iterations,
                most=len(requests),
            )
            console.print(str(fit))
            at_once = fit.batch
        job = attack_all(captioner, params, pictures, requests, run, at_once, seed)
        for news in watch(job, title):
            outcomes += news.outcomes
            seconds += news.seconds
        rows = tabulate(outcomes, seconds)
        table += [{**used, **row._asdict(), "distinct_targets": different} for row in rows]
        records += [{**used, **record(o, captioner)} for o in outcomes]
        write_results(out, {**about, "rows": table}, records)
        shown = [[f"{title}, {row.setting}", *row[1:]] for row in rows]
        print_table(f"{title} on {loaded.name}", COLUMNS, shown)
    console.print(f"written to {out}/")
