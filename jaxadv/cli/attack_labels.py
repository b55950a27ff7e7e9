"""`jaxadv attack labels`: make labels leave what a tagger says first."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, fail, note, print_table
from jaxadv.cli.engine import attack_job
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import is_given
from jaxadv.cli.outputs import advise, unique_names, write_json, yes
from jaxadv.cli.own_size import explain, own_size_judge, shown

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
    import numpy as np

    from jaxadv import loading
    from jaxadv.cli.inputs import read_pictures, results_folder
    from jaxadv.data.images import round_8bit, write_png
    from jaxadv.errors import InputError
    from jaxadv.experiments.job import at_hand
    from jaxadv.experiments.label_jobs import label_attacks
    from jaxadv.experiments.labels import first, named
    from jaxadv.labels.methods import METHODS
    from jaxadv.labels.target import make_label_target, parse_labels
    from jaxadv.reports.files import save
    from jaxadv.reports.labels import draw, label_panel

    runs = chosen(context, METHODS, method or [METHODS[0].name])
    loaded = loading.load(victim)
    classifier, params = loaded.classifier, loaded.params
    attacks = [run.attack(classifier) for run in runs]
    classes = classifier.classes
    wanted = parse_labels(suppress, classes)
    right = None if relevant is None else parse_labels(relevant, classes)
    pictures = read_pictures(images, classifier.image_shape)
    results_folder(out, COMMAND, loaded.name)
    note(f"labels of the benign pictures by {loaded.name}: compiling ...")
    judge, score = jax.jit(attacks[0].judge), jax.jit(classifier.scores)
    planned, targets = [], {}
    for number, picture in enumerate(pictures):
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
        targets[number] = target
        about = {
            "image": str(picture.path),
            "k": k,
            "specified": named(target.specified, classes),
            "relevant": named(target.relevant, classes),
        }
        planned.append(at_hand(number, about, picture.image, target))
    if not planned:
        raise InputError("no picture can be attacked")
    found, judges = [], {}
    for run in runs:
        job = label_attacks(loaded, run, planned)
        judges[run.name] = own_size_judge(job)
        found += [(run, done) for done in attack_job(job, f"{run.name} on {loaded.name}", batch)]
    logits = jax.jit(classifier.logits)
    rows, panels = [], []
    stems = unique_names([picture.path for picture in pictures])
    for run, done in sorted(found, key=lambda pair: pair[1].planned.id):
        picture, told, target = (
            pictures[done.planned.id],
            done.columns,
            targets[done.planned.id],
        )
        assert done.image is not None  # it has an outcome
        entry = {
            "command": COMMAND,
            "victim": loaded.name,
            "settings": run.used,
            **done.planned.about,
            **{key: told[key] for key in told if key not in ("steps", "victim_precision")},
            "iterations": told["steps"],
        }
        stem = stems[done.planned.id]
        name = stem if len(runs) == 1 else f"{stem}.{run.name}"
        write_png(out / f"{name}.benign.png", picture.image)
        write_png(out / f"{name}.adversarial.png", done.image)
        own = judges[run.name](picture.path, out / f"{name}.own-size.png", done.image, target)
        entry |= {} if own is None else own.columns
        write_json(out / f"{name}.json", entry)
        after = ", ".join(entry["after_8bit"])
        rows.append([name, after, told["norm"], yes(told["success_8bit"]), shown(own)])
        both = (picture.image, done.image)
        seen = tuple(np.asarray(logits(params, image)) for image in (both[0], round_8bit(both[1])))
        title = f"{loaded.name} · {run.name}"
        panels.append(label_panel(title, both, (seen[0], seen[1]), target, classes))
    save(draw(panels[:12], None if len(runs) == 1 else 100), out / "figure.png")
    columns = ["picture", f"first {k} of the saved picture", "‖ε‖₂", "fooled", "own size"]
    print_table(f"{' and '.join(run.name for run in runs)} on {loaded.name}", columns, rows)
    explain(rows)
    advise(
        [done.columns["success_8bit"] for _, done in found],
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
    if len(found) < len(runs) * len(images):
        raise typer.Exit(2)
