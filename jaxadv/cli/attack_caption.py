"""`jaxadv attack caption`: make captioners say something else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxadv.cli.console import console, fail, note, print_table
from jaxadv.cli.engine import attack_job
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import CAPTION_METHODS, UNKNOWN_WORDS, is_given
from jaxadv.cli.outputs import advise, unique_names, write_json, yes
from jaxadv.cli.own_size import explain, own_size_judge, shown

if TYPE_CHECKING:
    from jaxadv.cli.inputs import Picture
    from jaxadv.core.method import Chosen
    from jaxadv.experiments.job import Planned
    from jaxadv.victims.zoo import Victim

COMMAND = "attack caption"


def caption(
    context: typer.Context,
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
    method: Annotated[str, typer.Option(help=f"{CAPTION_METHODS}.")] = "gem",
    unknown_words: Annotated[bool, typer.Option("--unknown-words", help=UNKNOWN_WORDS)] = False,
    batch: Annotated[int, typer.Option(min=1, help="Pictures attacked at once.")] = 16,
) -> None:
    """Make a captioner say a target: adversarial PNG, JSON record and a figure."""
    from jaxadv.captions.methods import METHODS
    from jaxadv.captions.options import CAPTION, PRESENT
    from jaxadv.cli.inputs import load_captioner, read_pictures, results_folder
    from jaxadv.core.method import as_text
    from jaxadv.data.images import write_png
    from jaxadv.errors import InputError
    from jaxadv.experiments.banks import params_with_bank
    from jaxadv.experiments.caption_jobs import caption_attacks
    from jaxadv.reports.captions import Panel, draw
    from jaxadv.reports.files import save

    (run,) = chosen(context, METHODS, [method])
    if target is not None and run.aims_at == PRESENT:
        raise InputError(
            f"--target: is not read with {as_text(run)}, which leaves what is predicted"
        )
    loaded = load_captioner(victim, unknown_words)
    captioner = loaded.captioner
    aims = _aims(captioner, run, target)  # wrong words are refused before pictures are read
    pictures = read_pictures(images, captioner.image_shape)
    results_folder(out, COMMAND, loaded.name)
    note(f"captions of the benign pictures by {loaded.name}: compiling ...")
    planned = _able(loaded, run, pictures, aims)
    if not planned:
        raise InputError("no picture can be attacked")
    title = f"{method} on {loaded.name}"
    job = caption_attacks(captioner, params_with_bank(run, loaded), run, planned)
    made = attack_job(job, title, batch)
    at_own_size = own_size_judge(job)
    rows, panels = [], []
    names = unique_names([pictures[done.planned.id].path for done in made])
    for done, name in zip(made, names, strict=True):
        picture, told = pictures[done.planned.id], done.columns
        assert done.image is not None  # it has an outcome
        entry = {
            "command": COMMAND,
            "victim": loaded.name,
            **done.planned.about,
            **{key: told[key] for key in told if key != "steps"},
            "iterations": told["steps"],
            "settings": run.used,
        }
        write_png(out / f"{name}.benign.png", picture.image)
        write_png(out / f"{name}.adversarial.png", done.image)
        _, aimed = done.planned.load()
        own = at_own_size(picture.path, out / f"{name}.own-size.png", done.image, aimed)
        if own is not None:
            tokens = own.verdict.output
            entry |= {**own.columns, "said_own_size": captioner.vocabulary.decode(tokens)}
        write_json(out / f"{name}.json", entry)
        fooled = told["success_8bit"]
        said = [told["said_8bit"], told["norm"], yes(fooled), shown(own)]
        rows.append([name, entry["target"], *said])
        panels.append(
            Panel(
                f"{loaded.name} · {method}",
                picture.image,
                done.image,
                told["benign"],
                entry["target"],
                told["said_8bit"],
                fooled,
            )
        )
    save(draw(panels[:12]), out / "figure.png")
    print_table(
        title,
        ["picture", "target", "the saved picture is captioned", "‖ε‖₂", "fooled", "own size"],
        rows,
    )
    explain(rows)
    ends = (
        run.aims_at == CAPTION and target is not None and not target.rstrip().endswith(("...", "…"))
    )
    advise(
        [done.columns["success_8bit"] for done in made],
        {
            "a larger --learning-rate (0.01)": not is_given(context, "learning_rate"),
            "more --iterations (300)": not is_given(context, "iterations") and run.iterations < 300,
            "--posterior joint": method == "gem" and not is_given(context, "posterior"),
            "the target's end left open (...)": ends,
        },
    )
    console.print(f"written to {out}/")
    if len(made) < len(images):
        raise typer.Exit(2)


def _able(
    loaded: "Victim",
    method: "Chosen",
    pictures: Sequence["Picture"],
    aims: Callable[[list[int]], Any],
) -> list["Planned"]:
    """Return the attacks that can be made, and print why the others cannot.

    A picture of which the victim says the target already would be fooled by doing nothing.
    """
    import jax
    import numpy as np

    from jaxadv.captions.captioner import greedy
    from jaxadv.errors import InputError
    from jaxadv.experiments.captions import wanted
    from jaxadv.experiments.job import at_hand

    captioner, params = loaded.captioner, loaded.params
    attack = method.attack(captioner)
    see = jax.jit(lambda params, image: greedy(captioner, params, captioner.encode(params, image)))
    planned: list[Planned] = []
    for number, picture in enumerate(pictures):
        seen = see(params, picture.image)
        tokens = np.asarray(seen.tokens)
        said = captioner.vocabulary.decode(tokens)
        try:
            if not np.isfinite(seen.log_probability):
                raise InputError("the victim's scores of it are not finite")
            aimed = aims([int(token) for token in tokens if token])
            if method.method.with_bank is None:  # else the engine checks it, with the bank
                attack.check(params, picture.image, aimed)
            if _already(method, aimed, seen.tokens):
                raise InputError(f"the victim says the target already: {said!r}")
        except InputError as problem:
            fail(f"{picture.path}: {problem}; not attacked")
            continue
        about = {"image": str(picture.path), "target": wanted(aimed, captioner)}
        planned.append(at_hand(number, about, picture.image, aimed))
    return planned


def _already(method: "Chosen", target: Any, tokens: Any) -> bool:
    """Return whether the benign caption is what is aimed at."""
    from jaxadv.captions.criteria import avoids_keywords, says_keywords, says_target
    from jaxadv.captions.options import KEYWORDS, PRESENT

    if method.aims_at == PRESENT:
        return False
    if method.aims_at == KEYWORDS:
        return bool(
            (says_keywords if method.value("targeted") else avoids_keywords)(target, tokens)
        )
    return bool(says_target(target, tokens))


def _aims(captioner: Any, method: "Chosen", text: str | None) -> Callable[[list[int]], Any]:
    """Read the target; return how to make a picture's own from the victim's words for it."""
    from jaxadv.captions.options import PRESENT
    from jaxadv.captions.target import TargetError, make_target
    from jaxadv.experiments.captions import read_target

    if method.aims_at == PRESENT:
        return lambda tokens: make_target(tokens, captioner.max_length)
    if text is None:
        raise TargetError('--target: say what to aim at, such as "a _ is on the grass"')
    target = read_target(captioner, method, text)
    return lambda tokens: target
