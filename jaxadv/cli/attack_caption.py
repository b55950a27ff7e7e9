"""`jaxadv attack caption`: make captioners say something else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxadv.cli.console import console, fail, note, print_table, watch
from jaxadv.cli.options import UNKNOWN_WORDS, is_given, one_of, refuse_unread
from jaxadv.cli.outputs import advise, unique_names, write_json, yes

if TYPE_CHECKING:
    from jaxadv.captions.methods import Method, Settings
    from jaxadv.cli.inputs import Picture
    from jaxadv.victims.zoo import Victim

COMMAND = "attack caption"
READS = {
    "gem": ("target", "tradeoff", "posterior", "space"),
    "ssvm": ("target", "tradeoff", "structured_loss", "space"),
    "show-and-fool": ("target", "loss", "margin", "constant", "tries", "aim", "untargeted"),
    "untargeted": ("tradeoff", "space"),
}  # what not all methods read; the untargeted one aims at nothing


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
    method: Annotated[str, typer.Option(help="gem, ssvm, show-and-fool or untargeted.")] = "gem",
    tradeoff: Annotated[float | None, typer.Option(help="λ (paper: 0.1).")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's (paper: 0.001).")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Steps: gem 50, ssvm 100, show-and-fool 1000 a try."),
    ] = None,
    posterior: Annotated[str, typer.Option(help="gem: factorised or joint.")] = "factorised",
    space: Annotated[
        str, typer.Option(help="gem, ssvm, untargeted: clip, or tanh as show-and-fool.")
    ] = "clip",
    structured_loss: Annotated[float, typer.Option(help="ssvm: ζ.")] = 1.0,
    loss: Annotated[str, typer.Option(help="show-and-fool: margin or logits.")] = "margin",
    margin: Annotated[float, typer.Option(help="show-and-fool: κ.")] = 1.0,
    constant: Annotated[float, typer.Option(help="show-and-fool: c of the first try.")] = 1.0,
    tries: Annotated[int, typer.Option(min=1, help="show-and-fool: tries of the constant.")] = 5,
    aim: Annotated[str, typer.Option(help="show-and-fool: caption or keywords.")] = "caption",
    untargeted: Annotated[
        bool, typer.Option("--untargeted", help="show-and-fool: leave instead of reach.")
    ] = False,
    unknown_words: Annotated[bool, typer.Option("--unknown-words", help=UNKNOWN_WORDS)] = False,
    batch: Annotated[int, typer.Option(min=1, help="Pictures attacked at once.")] = 16,
) -> None:
    """Make a captioner say a target: adversarial PNG, JSON record and a figure."""
    one_of("--method", method, READS)
    refuse_unread(context, method, READS)
    _check_mode(context, loss, aim, untargeted, target)

    from jaxadv.captions.methods import Settings, prepare, resolved
    from jaxadv.cli.inputs import load_captioner, read_pictures, results_folder
    from jaxadv.data.images import write_png
    from jaxadv.errors import InputError
    from jaxadv.experiments.captions import Outcome, attack_all, record
    from jaxadv.reports.captions import Panel, draw
    from jaxadv.reports.files import save

    settings = Settings(
        method=method,
        tradeoff=tradeoff,
        learning_rate=learning_rate,
        rounds=rounds,
        posterior=posterior,  # type: ignore[arg-type]  # checked by prepare
        space=space,  # type: ignore[arg-type]
        structured_loss=structured_loss,
        loss=loss,  # type: ignore[arg-type]
        margin=margin,
        constant=constant,
        tries=tries,
        aim=aim,  # type: ignore[arg-type]
        targeted=not untargeted,
    )
    loaded = load_captioner(victim, unknown_words)
    captioner, params = loaded.captioner, loaded.params
    chosen = prepare(captioner, settings)
    aims = _aims(captioner, chosen, target)  # wrong words are refused before pictures are read
    pictures = read_pictures(images, captioner.image_shape)
    results_folder(out, COMMAND, loaded.name)
    note(f"captions of the benign pictures by {loaded.name}: compiling ...")
    attacked, benign, requests = _chosen(loaded, settings, chosen, pictures, aims)
    if not attacked:
        raise InputError("no picture can be attacked")
    title = f"{method} on {loaded.name}"
    arrays = [p.image for p in attacked]
    job = attack_all(captioner, params, arrays, requests, chosen, min(batch, len(attacked)))
    outcomes: list[Outcome] = []
    for news in watch(job, title):
        outcomes += news.outcomes
    outcomes.sort(key=lambda o: o.number)
    rows, panels = [], []
    names = unique_names([p.path for p in attacked])
    for picture, name, said, outcome in zip(attacked, names, benign, outcomes, strict=True):
        entry = {
            "image": str(picture.path),
            "command": COMMAND,
            "victim": loaded.name,
            "benign": said,
            **_without(record(outcome, captioner), "image", "setting"),
            "settings": resolved(settings),
        }
        write_png(out / f"{name}.adversarial.png", outcome.image)
        write_json(out / f"{name}.json", entry)
        fooled = outcome.success_8bit
        rows.append([name, entry["target"], outcome.said_8bit, outcome.norm, yes(fooled)])
        panels.append(
            Panel(
                f"{loaded.name} · {method}",
                picture.image,
                outcome.image,
                said,
                entry["target"],
                outcome.said_8bit,
                fooled,
            )
        )
    save(draw(panels[:12]), out / "figure.png")
    print_table(
        title,
        ["picture", "target", "the saved picture is captioned", "‖ε‖₂", "fooled"],
        rows,
    )
    used = resolved(settings)
    ends = chosen.gaps and target is not None and not target.rstrip().endswith(("...", "…"))
    advise(
        [bool(outcome.success_8bit) for outcome in outcomes],
        {
            "a larger --learning-rate (0.01)": learning_rate is None,
            "more --rounds (300)": rounds is None and used["rounds"] < 300,
            "--posterior joint": method == "gem" and not is_given(context, "posterior"),
            "the target's end left open (...)": ends,
        },
    )
    console.print(f"written to {out}/")
    if len(attacked) < len(images):
        raise typer.Exit(2)


def _check_mode(
    context: typer.Context, loss: str, aim: str, untargeted: bool, target: str | None
) -> None:
    """Check what hangs on more than the method, before anything is loaded."""
    refuse_unread(context, f"--loss {loss}", {"--loss margin": ("margin",), "--loss logits": ()})
    leaves = untargeted and aim == "caption"
    mode = "--untargeted --aim caption" if leaves else "a target"
    refuse_unread(context, mode, {"--untargeted --aim caption": (), "a target": ("target",)})


def _chosen(
    loaded: "Victim",
    settings: "Settings",
    method: "Method",
    pictures: Sequence["Picture"],
    aims: Callable[[list[int]], Any],
) -> tuple[list["Picture"], list[str], list[Any]]:
    """Return the pictures that can be attacked, their captions and the requests; say of others why.

    A picture of which the victim says the target already would be fooled by doing nothing.
    """
    import jax
    import numpy as np

    from jaxadv.captions.captioner import greedy
    from jaxadv.errors import InputError
    from jaxadv.experiments.captions import Request

    captioner, params = loaded.captioner, loaded.params
    see = jax.jit(lambda image: greedy(captioner, params, captioner.encode(params, image)))
    attacked: list[Picture] = []
    benign: list[str] = []
    requests: list[Request] = []
    for picture in pictures:
        seen = see(picture.image)
        tokens = np.asarray(seen.tokens)
        said = captioner.vocabulary.decode(tokens)
        try:
            if not np.isfinite(seen.log_probability):
                raise InputError("the victim's scores of it are not finite")
            aimed = aims([int(token) for token in tokens if token])
            method.attack.check(params, picture.image, aimed)
            if _already(settings, method, aimed, seen.tokens):
                raise InputError(f"the victim says the target already: {said!r}")
        except InputError as problem:
            fail(f"{picture.path}: {problem}; not attacked")
            continue
        requests.append(Request(len(attacked), "target", aimed))
        attacked.append(picture)
        benign.append(said)
    return attacked, benign, requests


def _already(settings: "Settings", method: "Method", target: Any, tokens: Any) -> bool:
    """Return whether the benign caption is what is aimed at."""
    from jaxadv.captions.criteria import avoids_keywords, says_keywords, says_target

    if method.aims_at == "present caption":
        return False
    if method.aims_at == "keywords":
        return bool((says_keywords if settings.targeted else avoids_keywords)(target, tokens))
    return bool(says_target(target, tokens))


def _aims(captioner: Any, method: "Method", text: str | None) -> Callable[[list[int]], Any]:
    """Read the target; return how to make a picture's own from the victim's words for it."""
    from jaxadv.captions.target import TargetError, make_target
    from jaxadv.experiments.captions import read_target

    if method.aims_at == "present caption":
        return lambda tokens: make_target(tokens, captioner.max_length)
    if text is None:
        raise TargetError('--target: say what to aim at, such as "a _ is on the grass"')
    target = read_target(captioner, method, text)
    return lambda tokens: target


def _without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}
