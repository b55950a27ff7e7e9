"""`jaxadv evaluate`: a paper's table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, print_table, watch
from jaxadv.cli.evaluate_labels import labels
from jaxadv.cli.evaluate_retrieval import retrieval
from jaxadv.cli.evaluate_understanding import understanding
from jaxadv.cli.evaluations import refuse_unread_settings, write_results
from jaxadv.cli.options import AUTO, UNKNOWN_WORDS, batch_size

app = typer.Typer(no_args_is_help=True, help="Print a paper's table.")
app.command("labels")(labels)
app.command("retrieval")(retrieval)
app.command("understanding")(understanding)

COMMAND = "evaluate caption"
COLUMNS = [
    "setting", "attempts", "SR", "Prec", "Rec", "‖ε‖₂", "‖ε‖₂ succ.", "SR 8-bit", "already",
    "s/attack",
]  # fmt: skip


@app.callback()
def _main() -> None:
    pass


@app.command("caption")
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
    learning_rate: Annotated[float | None, typer.Option(help="Adam's (paper: 0.001).")] = None,
    rounds: Annotated[int | None, typer.Option(help="Steps; a try's for show-and-fool.")] = None,
    posterior: Annotated[str, typer.Option(help="gem: factorised or joint.")] = "factorised",
    tail: Annotated[
        bool, typer.Option(help="gem: keep eq. 10's terms after the last observed word.")
    ] = True,
    space: Annotated[
        str, typer.Option(help="gem, ssvm, untargeted: clip, or tanh as show-and-fool.")
    ] = "clip",
    structured_loss: Annotated[float, typer.Option(help="ssvm: ζ.")] = 1.0,
    loss: Annotated[str, typer.Option(help="show-and-fool: margin or logits.")] = "margin",
    margin: Annotated[float, typer.Option(help="show-and-fool: κ.")] = 1.0,
    constant: Annotated[float, typer.Option(help="show-and-fool: c of the first try.")] = 1.0,
    tries: Annotated[int, typer.Option(help="show-and-fool: tries of the constant.")] = 5,
    arithmetic: Annotated[
        str,
        typer.Option(help="Of the attacked victim: float32, tf32, bfloat16 or bfloat16-decoder."),
    ] = "float32",
    unknown_words: Annotated[bool, typer.Option("--unknown-words", help=UNKNOWN_WORDS)] = False,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Run Table 1's settings with targets predicted on other pictures; print the table."""
    from jaxadv.captions.methods import USES, Settings, prepare, resolved
    from jaxadv.captions.sensible import sensible
    from jaxadv.cli.inputs import load_captioner, results_folder
    from jaxadv.core.memory import largest_batch
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
    refuse_unread_settings(context, method or ["gem"], USES)
    loaded = load_captioner(victim, unknown_words)
    captioner, params = loaded.captioner, loaded.params
    named = [] if settings == "all" else [name.strip() for name in settings.split(",")]
    chosen = settings_named(list(dict.fromkeys(named)))
    tradeoffs: list[float | None] = [*tradeoff] if tradeoff else [None]
    every = [
        Settings(
            method=m,
            tradeoff=t,
            learning_rate=learning_rate,
            rounds=rounds,
            posterior=posterior,  # type: ignore[arg-type]  # checked by prepare
            tail=tail,
            space=space,  # type: ignore[arg-type]
            structured_loss=structured_loss,
            loss=loss,  # type: ignore[arg-type]
            margin=margin,
            constant=constant,
            tries=tries,
            arithmetic=arithmetic,  # type: ignore[arg-type]
        )
        for m in dict.fromkeys(method or ["gem"])
        for t in dict.fromkeys(tradeoffs)
    ]
    combinations = list({repr(resolved(c)): c for c in every}.values())
    methods = [prepare(captioner, c) for c in combinations]
    for combination, prepared in zip(combinations, methods, strict=True):
        aims = prepared.aims_at == "caption"
        if aims and not any(prepared.gaps or s.latent == 0 for s in chosen):
            raise InputError(f"--settings: {combination.method} takes complete captions: 0 latent")
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
    for combination, prepared in zip(combinations, methods, strict=True):
        requests = requests_for(
            prepared, captions, chosen, targets, range(images), captioner.max_length, seed
        )
        outcomes: list[Outcome] = []
        seconds = 0.0
        title, used = _title(combination), resolved(combination)
        if not requests:
            console.print(f"{title} on {loaded.name}: 0 attacked, no other caption to aim at")
            continue
        different = distinct_targets(requests)
        console.print(f"{title}: {len(requests)} attacks, {different} distinct targets")
        at_once = size
        if at_once is None:
            fit = largest_batch(
                prepared.attack,
                params,
                pictures[requests[0].image],
                requests[0].target,
                iterations=prepared.iterations,
                most=len(requests),
            )
            console.print(str(fit))
            at_once = fit.batch
        job = attack_all(captioner, params, pictures, requests, prepared, at_once, seed)
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


def _title(combination: Any) -> str:
    given = combination.tradeoff is not None and combination.method != "show-and-fool"
    extra = f" λ={combination.tradeoff:g}" if given else ""
    joint = " joint" if combination.posterior == "joint" else ""
    cut = "" if combination.tail else " without tail"
    return f"{combination.method}{joint}{cut}{extra}"
