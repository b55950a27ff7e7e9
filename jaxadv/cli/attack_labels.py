"""`jaxadv attack labels`: make labels leave what a tagger says first."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, fail, note, print_table, watch
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import is_given
from jaxadv.cli.outputs import advise, unique_names, write_json, yes

COMMAND = "attack labels"
SEVERAL = "repeatable, or several separated by commas."


def labels(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of any size (resized).")],
    victim: Annotated[str, typer.Option(help="A classifier's name or folder; jaxadv victims.")],
    suppress: Annotated[
        list[str], typer.Option(help=f'Labels to leave the first k: "red circle"; {SEVERAL}')
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures, records and the figure.")],
    k: Annotated[int, typer.Option(min=1, help="The size of the top-k set.")] = 3,
    relevant: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Labels that are right; those scored 0.5 or more if not given; {SEVERAL}"
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="tkmia (the default), ml-cw-u, tkml-ap-u, kfool or reliable; repeat it to draw "
            "several side by side, their noise magnified 100 times."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures attacked at once.")] = 16,
) -> None:
    """Make labels leave a tagger's first k: adversarial PNG, JSON record and a figure."""
    import jax
    import jax.numpy as jnp

    from jaxadv.cli.inputs import read_pictures, results_folder
    from jaxadv.data.images import write_png
    from jaxadv.errors import InputError
    from jaxadv.experiments.labels import attack_labels, first, join, record
    from jaxadv.labels.methods import METHODS
    from jaxadv.labels.target import make_label_target, parse_labels
    from jaxadv.reports.files import save
    from jaxadv.reports.labels import draw, label_panel
    from jaxadv.victims import zoo

    runs = chosen(context, METHODS, method or [METHODS[0].name])
    loaded = zoo.load(victim)
    classifier, params = loaded.classifier, loaded.params
    attacks = [run.attack(classifier) for run in runs]
    classes = classifier.classes
    wanted = parse_labels(suppress, classes)
    right = None if relevant is None else parse_labels(relevant, classes)
    pictures = read_pictures(images, classifier.image_shape)
    results_folder(out, COMMAND, loaded.name)
    note(f"labels of the benign pictures by {loaded.name}: compiling ...")
    judge, score = jax.jit(attacks[0].judge), jax.jit(classifier.scores)
    targets, attacked = [], []
    for picture in pictures:
        image = jnp.asarray(picture.image)
        scores = score(params, image)
        try:
            if not bool(jnp.isfinite(scores).all()):
                raise InputError("the victim's scores of it are not finite")
            truth = scores >= 0.5 if right is None else right
            target = make_label_target(truth, wanted, k, classes)
            for attack in attacks:
                attack.check(params, image, target)
            if bool(judge(params, image, target).success):
                said = ", ".join(first(scores, classes, k))
                raise InputError(f"already absent: the first {k} labels are {said}")
        except InputError as problem:
            fail(f"{picture.path}: {problem}; not attacked")
            continue
        targets.append(target)
        attacked.append(picture)
    if not attacked:
        raise InputError("no picture can be attacked")
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *targets)
    found = []
    for run, attack in zip(runs, attacks, strict=True):
        job = attack_labels(
            params,
            [p.image for p in attacked],
            stacked,
            attack,
            iterations=run.iterations,
            batch=min(batch, len(attacked)),
        )
        news = watch(job, f"{run.name} on {loaded.name}")
        found.append((run, join([some.outcomes for some in news])))
    rows, panels = [], []
    for i, stem in enumerate(unique_names([p.path for p in attacked])):
        for run, outcomes in found:
            entry = {
                "image": str(attacked[i].path),
                "command": COMMAND,
                "victim": loaded.name,
                "settings": run.used,
                **record(outcomes, stacked, i, classes),
            }
            name = stem if len(found) == 1 else f"{stem}.{run.name}"
            write_png(out / f"{name}.adversarial.png", outcomes.images[i])
            write_json(out / f"{name}.json", entry)
            after = ", ".join(entry["after_8bit"])
            rows.append([name, after, float(outcomes.norm[i]), yes(bool(outcomes.success_8bit[i]))])
            seen = (outcomes.before[i], outcomes.after_8bit[i])
            both = (attacked[i].image, outcomes.images[i])
            title = f"{loaded.name} · {run.name}"
            panels.append(label_panel(title, both, seen, targets[i], classes))
    save(draw(panels[:12], None if len(found) == 1 else 100), out / "figure.png")
    columns = ["picture", f"first {k} of the saved picture", "‖ε‖₂", "fooled"]
    print_table(f"{' and '.join(run.name for run in runs)} on {loaded.name}", columns, rows)
    advise(
        [bool(success) for _, outcomes in found for success in outcomes.success_8bit],
        {
            "a larger --learning-rate (0.1; ml-cw-u 1)": any(
                run.reads("learning_rate") for run in runs
            )
            and not is_given(context, "learning_rate"),
            "more --iterations (1000)": any(run.reads("iterations") for run in runs)
            and not is_given(context, "iterations"),
            "a larger --budget (5000)": any(run.reads("budget") for run in runs)
            and not is_given(context, "budget"),
        },
    )
    console.print(f"written to {out}/")
    if len(attacked) < len(images):
        raise typer.Exit(2)
