"""`jaxadv evaluate`: a paper's table."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.engine import PICTURES, SHARD, evaluate_cells
from jaxadv.cli.evaluate_labels import labels
from jaxadv.cli.evaluate_retrieval import retrieval
from jaxadv.cli.evaluate_understanding import understanding
from jaxadv.cli.methods import chosen, with_options_of
from jaxadv.cli.options import AUTO, CAPTION_METHODS, UNKNOWN_WORDS, batch_size

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


@app.callback()
def _main() -> None:
    pass


@app.command(
    "caption",
    cls=with_options_of("jaxadv.captions.methods", own=("tradeoff",), old={"rounds": "iterations"}),
)
def caption(
    context: typer.Context,
    victim: Annotated[
        list[str], typer.Option(help="A captioner's name or folder; jaxadv victims; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the records and the table.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"{CAPTION_METHODS}; repeatable."),
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
    shard: Annotated[str | None, typer.Option(help=SHARD)] = None,
    pictures: Annotated[str, typer.Option(help=PICTURES)] = "none",
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Run Table 1's settings with targets predicted on other pictures; print the table.

    The same command on the same folder resumes from there. Its records are those of a sweep, so
    that `jaxadv table` reads them.
    """
    from jaxadv.captions.methods import METHODS
    from jaxadv.captions.options import COMPLETE
    from jaxadv.errors import InputError
    from jaxadv.experiments.caption_jobs import CaptionDesign
    from jaxadv.experiments.captions import settings_named
    from jaxadv.experiments.cells import Cell

    size = batch_size(batch)
    runs = [
        run
        for weight in dict.fromkeys(tradeoff or (None,))
        for run in chosen(context, METHODS, method or [METHODS[0].name], tradeoff=weight)
    ]
    named = [] if settings == "all" else [name.strip() for name in settings.split(",")]
    columns = settings_named(list(dict.fromkeys(named)))
    for run in runs:
        if run.aims_at == COMPLETE and not any(column.latent == 0 for column in columns):
            raise InputError(f"--settings: {run.name} takes complete captions: 0 latent")
    design = CaptionDesign(
        data=tuple(data or ["scenes"]),
        images=images,
        targets=targets,
        settings=tuple(dict.fromkeys(named)),
        unknown_words=unknown_words,
    )
    cells = [
        Cell("captions", name, seed, run, design)
        for name in dict.fromkeys(victim)
        for run in dict.fromkeys(runs)
    ]
    evaluate_cells(cells, out, command=COMMAND, batch=size, shard=shard, pictures=pictures)
