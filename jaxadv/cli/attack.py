"""`jaxadv attack`: fool a victim on given pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.attack_retrieval import retrieval
from jaxadv.cli.console import console, fail, print_table, watch
from jaxadv.cli.outputs import advise, unique_names, write_json, yes

app = typer.Typer(no_args_is_help=True, help="Fool a victim on given pictures.")
app.command("retrieval")(retrieval)


@app.callback()
def _main() -> None:
    pass


@app.command("caption")
def caption(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of any size (resized).")],
    victim: Annotated[str, typer.Option(help="A victim's name or folder; see jaxadv doctor.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, records and the figure.")],
    target: Annotated[
        str | None,
        typer.Option(
            help='A caption, "_" for a free word, "..." for an open end: "a _ is on the grass". '
            'With --aim keywords: words to be said anywhere, such as "yellow star". None for an '
            "untargeted attack."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="gem, ssvm, show-and-fool or untargeted.")] = "gem",
    tradeoff: Annotated[float | None, typer.Option(help="λ (paper: 0.1).")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's (paper: 0.001).")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Steps: gem 50, ssvm 100, show-and-fool 1000 a try.")
    ] = None,
    posterior: Annotated[str, typer.Option(help="gem: factorised or joint.")] = "factorised",
    structured_loss: Annotated[float, typer.Option(help="ssvm: ζ.")] = 1.0,
    loss: Annotated[str, typer.Option(help="show-and-fool: margin or logits.")] = "margin",
    margin: Annotated[float, typer.Option(help="show-and-fool: κ.")] = 1.0,
    constant: Annotated[float, typer.Option(help="show-and-fool: c of the first try.")] = 1.0,
    tries: Annotated[int, typer.Option(help="show-and-fool: tries of the constant.")] = 5,
    aim: Annotated[str, typer.Option(help="show-and-fool: caption or keywords.")] = "caption",
    untargeted: Annotated[
        bool, typer.Option("--untargeted", help="show-and-fool: leave instead of reach.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the attack's randomness, if it has any.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures attacked at once.")] = 16,
) -> None:
    """Make a captioner say a target: adversarial PNG, JSON record and a figure."""
    from jaxadv.attacks.methods import Settings, prepare
    from jaxadv.cli.inputs import read_pictures, writable
    from jaxadv.sweeps.captions import Outcome, attack_all, record, say
    from jaxadv.victims import zoo

    settings = Settings(
        method=method,
        tradeoff=tradeoff,
        learning_rate=learning_rate,
        rounds=rounds,
        posterior=posterior,  # type: ignore[arg-type]  # checked by prepare
        structured_loss=structured_loss,
        loss=loss,  # type: ignore[arg-type]
        margin=margin,
        constant=constant,
        tries=tries,
        aim=aim,  # type: ignore[arg-type]
        targeted=not untargeted,
    )
    loaded = zoo.load(victim)
    captioner, params = loaded.captioner, loaded.params
    chosen = prepare(captioner, settings)
    aims = _aims(captioner, chosen, target)  # wrong words are said before pictures are read
    pictures = read_pictures(images, captioner.image_shape)
    writable(out)
    benign = say(captioner, params, [p.image for p in pictures], batch)
    requests = aims(benign)
    job = attack_all(captioner, params, [p.image for p in pictures], requests, chosen, batch, seed)
    outcomes: list[Outcome] = []
    for news in watch(job, f"{method} on {loaded.name}"):
        outcomes += news.outcomes
    outcomes.sort(key=lambda o: o.number)
    from jaxadv.data.images import write_png
    from jaxadv.figures.captions import Panel, draw
    from jaxadv.figures.files import save

    rows, panels = [], []
    names = unique_names([p.path for p in pictures])
    for picture, name, tokens, outcome in zip(pictures, names, benign, outcomes, strict=True):
        said = captioner.vocabulary.decode(tokens)
        entry = {
            "image": str(picture.path),
            "victim": loaded.name,
            "benign": said,
            **_without(record(outcome, captioner), "image", "setting"),
            "settings": vars(settings),
            "seed": seed,
        }
        write_png(out / f"{name}.adversarial.png", outcome.image)
        write_json(out / f"{name}.json", entry)
        rows.append(
            [name, entry["target"], outcome.said_8bit, outcome.norm, yes(outcome.success_8bit)]
        )
        panels.append(
            Panel(
                f"{loaded.name} · {method}",
                picture.image,
                outcome.image,
                said,
                entry["target"],
                outcome.said,
                outcome.success,
            )
        )
    save(draw(panels[:12]), out / "figure.png")
    print_table(
        f"{method} on {loaded.name}",
        ["picture", "target", "the saved picture is captioned", "‖ε‖₂", "fooled"],
        rows,
    )
    advise(
        [bool(outcome.success_8bit) for outcome in outcomes],
        "try a larger --learning-rate (0.01) and more --rounds (300), for gem --posterior joint, "
        "or leave the target's end open (...)",
    )
    console.print(f"written to {out}/", highlight=False)
    if len(pictures) < len(images):
        raise typer.Exit(2)


def _aims(captioner: Any, method: Any, text: str | None) -> Any:
    """Read the target; return how to make the requests once the benign captions are known."""
    from jaxadv.objectives.target import TargetError, make_target
    from jaxadv.sweeps.captions import Request, read_target

    if method.aims_at == "present caption" and text is None:
        return lambda benign: [
            Request(i, "untargeted", make_target(tokens, captioner.max_length))
            for i, tokens in enumerate(benign)
        ]
    if text is None:
        raise TargetError('--target: say what to aim at, such as "a _ is on the grass"')
    target = read_target(captioner, method, text)
    return lambda benign: [Request(i, "target", target) for i in range(len(benign))]


def _without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


@app.command("labels")
def labels(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of any size (resized).")],
    victim: Annotated[str, typer.Option(help="A classifier's name or folder; jaxadv victims.")],
    suppress: Annotated[
        str, typer.Option(help='Labels that shall leave the first k: "red circle,blue star".')
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures, records and the figure.")],
    k: Annotated[int, typer.Option(min=1, help="How many labels are said.")] = 3,
    relevant: Annotated[
        str | None,
        typer.Option(help="Labels that are right; those scored 0.5 or more if not given."),
    ] = None,
    method: Annotated[str, typer.Option(help="tkmia, ml-cw-u, tkml-ap-u or kfool.")] = "tkmia",
    tradeoff: Annotated[float, typer.Option(help="α (paper: 1e-3 to 5e-5).")] = 1e-4,
    learning_rate: Annotated[float, typer.Option(help="SGD's (paper: 1e-3 to 5e-5).")] = 5e-4,
    inner: Annotated[
        str, typer.Option(help="tkmia: λ minimised exactly, or by a gradient step (Algorithm 1).")
    ] = "exact",
    space: Annotated[
        str, typer.Option(help="signed as in the paper, or tanh as in the released code.")
    ] = "signed",
    iterations: Annotated[int, typer.Option(min=1, help="Most steps (paper: 300).")] = 300,
    delta: Annotated[
        int | None, typer.Option(min=1, help="δ: labels that must leave; all if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures attacked at once.")] = 16,
) -> None:
    """Make labels leave a tagger's first k: adversarial PNG, JSON record and a figure."""
    import jax
    import jax.numpy as jnp

    from jaxadv.attacks.label_methods import Settings, prepare
    from jaxadv.cli.inputs import read_pictures, writable
    from jaxadv.data.images import write_png
    from jaxadv.errors import InputError
    from jaxadv.figures.files import save
    from jaxadv.figures.labels import draw, label_panel
    from jaxadv.objectives.labels import LabelError, make_label_target, parse_labels
    from jaxadv.sweeps.labels import attack_labels, join, record
    from jaxadv.victims import zoo

    loaded = zoo.load(victim)
    classifier, params = loaded.classifier, loaded.params
    settings = Settings(
        method,
        tradeoff,
        learning_rate,
        iterations,
        delta,
        inner,  # type: ignore[arg-type]  # checked by prepare
        space,  # type: ignore[arg-type]
    )
    chosen = prepare(classifier, settings)
    wanted = parse_labels(suppress, classifier.classes)
    right = None if relevant is None else parse_labels(relevant, classifier.classes)
    pictures = read_pictures(images, classifier.image_shape)
    writable(out)
    targets, attacked = [], []
    for picture in pictures:
        scores = classifier.scores(params, jnp.asarray(picture.image))
        try:
            truth = scores >= 0.5 if right is None else right
            targets.append(make_label_target(truth, wanted, k, classifier.classes))
            attacked.append(picture)
        except LabelError as problem:
            fail(f"{picture.path}: {problem}")
    if not attacked:
        raise InputError("no picture can be attacked")
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *targets)
    job = attack_labels(
        classifier,
        params,
        [p.image for p in attacked],
        stacked,
        chosen.attack,
        iterations=chosen.iterations,
        batch=batch,
    )
    outcomes = join([news.outcomes for news in watch(job, f"{method} on {loaded.name}")])
    rows, panels = [], []
    for i, name in enumerate(unique_names([p.path for p in attacked])):
        target = jax.tree.map(lambda x, i=i: x[i], stacked)
        entry = {
            "image": str(attacked[i].path),
            "victim": loaded.name,
            "settings": vars(settings),
            **record(outcomes, stacked, i, classifier.classes),
        }
        write_png(out / f"{name}.adversarial.png", outcomes.images[i])
        write_json(out / f"{name}.json", entry)
        after = ", ".join(entry["after_8bit"])
        rows.append([name, after, float(outcomes.norm[i]), yes(bool(outcomes.success_8bit[i]))])
        both = (attacked[i].image, outcomes.images[i]), (outcomes.before[i], outcomes.after[i])
        panels.append(label_panel(f"{loaded.name} · {method}", *both, target, classifier.classes))
    save(draw(panels[:12]), out / "figure.png")
    print_table(
        f"{method} on {loaded.name}",
        ["picture", f"first {k} of the saved picture", "‖ε‖₂", "fooled"],
        rows,
    )
    advise(
        [bool(success) for success in outcomes.success_8bit],
        "try a larger --learning-rate (0.1; ml-cw-u 1) or more --iterations",
    )
    console.print(f"written to {out}/", highlight=False)
    if len(attacked) < len(images):
        raise typer.Exit(2)
