"""`jaxadv attack retrieval`: queries that no longer find what they mean in the other modality."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from jaxadv.cli.console import console, fail, note, print_table
from jaxadv.cli.engine import attack_job
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import SEARCHED, is_given, one_of, refuse_unread
from jaxadv.cli.outputs import advise, unique_names, write_json, yes
from jaxadv.cli.own_size import explain, own_size_judge, shown
from jaxadv.errors import InputError

if TYPE_CHECKING:
    from jaxadv.core.attack import Attack
    from jaxadv.core.method import Chosen
    from jaxadv.experiments.job import Done, Job
    from jaxadv.hashing.cmla import Known

COMMAND = "attack retrieval"
MODALITIES = ("image", "text")


class Queries(NamedTuple):
    """What is attacked.

    Attributes:
      names: of the files that are written.
      examples: f32[n, H, W, 3] or f32[n, T].
      labels: bool[n, c], or None where they are not known.
      missing: how many files could not be read.
      paths: of the photographs; none where no files ask.
    """

    names: list[str]
    examples: np.ndarray
    labels: np.ndarray | None
    missing: int = 0
    paths: Sequence[Path] = ()

    def only(self, numbers: Sequence[int]) -> "Queries":
        """Return some of them."""
        labels = None if self.labels is None else self.labels[numbers]
        names = [self.names[number] for number in numbers]
        paths = [self.paths[number] for number in numbers] if self.paths else ()
        return Queries(names, self.examples[numbers], labels, self.missing, paths)


def retrieval(
    context: typer.Context,
    victim: Annotated[str, typer.Option(help="A hasher's name or folder; jaxadv victims.")],
    out: Annotated[Path, typer.Option(help="Folder for queries, records and the figure.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures that ask: JPEG or PNG files.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help='Tags that ask: "big red circle grass"; repeatable.')
    ] = None,
    scenes: Annotated[
        int, typer.Option(min=0, help="Let the first held-out scenes ask, instead of your own.")
    ] = 0,
    method: Annotated[str, typer.Option(help="cmla, reliable or substitution.")] = "cmla",
    modality: Annotated[str, typer.Option(help="What is attacked: image or text.")] = "image",
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="What your queries show: circle,star; repeatable. If not given, what the item "
            "shows that is nearest to each in its own modality."
        ),
    ] = None,
    toward: Annotated[
        list[str] | None,
        typer.Option(help="Labels of what to find; what is not alike if not given; repeatable."),
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help=SEARCHED)] = None,
    database: Annotated[int, typer.Option(min=1, help="Other held-out scenes, searched.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Attacks at once.")] = 16,
) -> None:
    """Attack pictures or texts: adversarial PNG, JSON record, and a figure of what is found."""
    one_of("--modality", modality, MODALITIES)
    _check_queries(modality, bool(images), bool(text), scenes)
    asks = "--scenes" if scenes else "your own queries"
    refuse_unread(context, asks, {"--scenes": (), "your own queries": ("labels",)})

    from jaxadv import loading
    from jaxadv.cli.hashers import library_of, subject_of, what_is_searched
    from jaxadv.cli.inputs import results_folder
    from jaxadv.experiments.hash_attacks import CONTEXT, known
    from jaxadv.hashing.methods import METHODS
    from jaxadv.labels.target import parse_labels
    from jaxadv.reports.files import save
    from jaxadv.reports.retrieval import draw_panels

    (run,) = chosen(context, METHODS, [method], modality=modality)
    found = loading.load(victim)
    subject = subject_of(found)
    hasher = subject.hasher
    searching = what_is_searched(context, found, data or (), database, scenes)
    attack = run.attack(hasher)
    given = None if labels is None else np.asarray(parse_labels(labels, searching.pairs.classes))
    far = None if toward is None else np.asarray(parse_labels(toward, searching.pairs.classes))
    queries = _queries(subject, modality, images or [], text or [], scenes, given)
    results_folder(out, COMMAND, subject.name)
    note(f"codes of the database by {subject.name}: compiling ...")
    library = library_of(subject, searching)
    truth = queries.labels
    if truth is None:
        truth = _guessed(subject, modality, queries.examples, library)
    what = known(subject.params, library.codes)
    able = _able(attack, what, library.pairs.labels[:CONTEXT], queries, truth, far)
    asked, truth = len(queries.names), truth[able]
    queries = queries.only(able)
    job = _job(run, subject, what, library, queries, truth, far)
    made = attack_job(job, f"{run.name} on {subject.name}", batch)
    at_own_size = own_size_judge(job)
    rows, panels = [], []
    for done in made:
        number, name = done.planned.id, done.planned.about["image"]
        assert done.image is not None  # it has an outcome
        entry, panel = _entry_and_panel(subject, modality, library, queries, truth[number], done)
        entry |= {
            "command": COMMAND,
            "victim": subject.name,
            "settings": run.used,
            "iterations": run.iterations,
        }
        entry |= {"toward": toward, "labels_given": queries.labels is not None}
        own = None
        if queries.paths:
            _, target = done.planned.load()
            png = out / f"{name}.own-size.png"
            own = at_own_size(queries.paths[number], png, done.image, target)
            entry |= {} if own is None else own.columns
        _write(out, name, entry, modality, queries.examples[number], done.image)
        other = "texts" if modality == "image" else "pictures"
        first = entry["after"][other][0]
        rows.append(
            [
                name,
                entry["labels"],
                first["labels"],
                entry["D"],
                yes(entry["success_8bit"]),
                *([shown(own)] if queries.paths else []),
            ]
        )
        panels.append(panel)
    save(draw_panels(panels[:6]), out / "figure.png")
    columns = ["query", "shows", "the saved query finds", "D", "fooled"]
    columns += ["own size"] if queries.paths else []
    print_table(f"{run.name} on {subject.name}", columns, rows)
    if queries.paths:
        explain(rows)
    advise(
        [done.columns["success_8bit"] for done in made],
        {
            "--intra 0": run.reads("intra") and not is_given(context, "intra"),
            "a smaller --keep": run.reads("keep") and not is_given(context, "keep"),
            "a larger --bound": not is_given(context, "bound"),
        },
    )
    console.print(f"written to {out}/")
    if queries.missing or len(made) < asked:
        raise typer.Exit(2)


def _job(
    run: "Chosen",
    subject: Any,
    what: "Known",
    library: Any,
    queries: Queries,
    truth: np.ndarray,
    toward: np.ndarray | None,
) -> "Job":
    """Make a job of the attacks on all queries."""
    import jax.numpy as jnp

    from jaxadv.experiments.hash_attacks import CONTEXT
    from jaxadv.experiments.job import Job, Planned
    from jaxadv.hashing.cmla import hash_target
    from jaxadv.hashing.metrics import distortion

    context = library.pairs.labels[:CONTEXT]

    def load(number: int) -> tuple[np.ndarray, Any]:
        some = (truth[number], context, *(() if toward is None else (toward,)))
        return queries.examples[number], hash_target(*map(jnp.asarray, some))

    def describe(what: Any, request: Any, result: Any) -> dict[str, Any]:
        reported = run.report(result)
        return {
            "code_8bit": np.asarray(reported.output_8bit),
            "D": float(distortion(jnp.asarray(request.image), jnp.asarray(reported.image))),
            "norm": float(reported.norm),
            "success": bool(reported.success),
            "success_8bit": bool(reported.success_8bit),
        }

    return Job(
        attack=run.attack(subject.hasher),
        params=what,
        iterations=run.iterations,
        planned=[
            Planned(number, {"image": name}, partial(load, number))
            for number, name in enumerate(queries.names)
        ],
        together=False,
        picture=lambda result: np.asarray(run.report(result).image),
        describe=describe,
    )


def _check_queries(modality: str, images: bool, texts: bool, scenes: int) -> None:
    """Check that something asks, and that it is what is attacked."""
    if images + texts + bool(scenes) != 1:
        raise InputError("give pictures, or --text, or --scenes: one of the three")
    if (images and modality == "text") or (texts and modality == "image"):
        raise InputError(
            f"--modality {modality}: give {_wanted(modality)} that ask, or --scenes; "
            f"{'texts' if texts else 'pictures'} are attacked with --modality "
            f"{'text' if texts else 'image'}"
        )


def _able(
    attack: "Attack",
    what: "Known",
    context: np.ndarray,
    queries: Queries,
    truth: np.ndarray,
    toward: np.ndarray | None,
) -> list[int]:
    """Return which queries can be attacked, and print why the others cannot.

    A query that finds what is wanted as it is would be fooled by doing nothing.
    """
    import jax
    import jax.numpy as jnp

    from jaxadv.hashing.cmla import hash_target

    judge, able = jax.jit(attack.judge), []
    for number, name in enumerate(queries.names):
        example = jnp.asarray(queries.examples[number])
        target = hash_target(
            jnp.asarray(truth[number]),
            jnp.asarray(context),
            None if toward is None else jnp.asarray(toward),
        )
        try:
            if not truth[number].any():
                raise InputError("it shows no label, so that everything is unlike it")
            attack.check(what, example, target)
            verdict = judge(what, example, target)
            if not bool(jnp.isfinite(verdict.output).all()):
                raise InputError("the victim's code of it is not finite")
            if bool(verdict.success):
                raise InputError("as it is, it already finds what is wanted")
        except InputError as problem:
            fail(f"{name}: {problem}; not attacked")
            continue
        able.append(number)
    if not able:
        raise InputError("no query can be attacked")
    return able


def _queries(
    subject: Any,
    modality: str,
    images: Sequence[Path],
    texts: Sequence[str],
    scenes: int,
    given: np.ndarray | None,
) -> Queries:
    """Read what asks: files, texts or held-out scenes."""
    from jaxadv.cli.inputs import read_pictures
    from jaxadv.experiments.hash_attacks import examples_of
    from jaxadv.experiments.retrieval_pools import scenes_of

    hasher = subject.hasher
    if scenes:
        pairs = scenes_of(hasher, scenes)
        examples = examples_of(pairs, modality, np.arange(scenes))  # type: ignore[arg-type]
        return Queries(list(pairs.ids), examples, pairs.labels)
    if images:
        pictures = read_pictures(images, hasher.image_shape)
        names = unique_names([p.path for p in pictures])
        examples = np.stack([p.image for p in pictures])
    else:
        examples = np.stack([hasher.read(text) for text in texts])
        names = [f"text-{number}" for number in range(1, len(texts) + 1)]
    labels = None if given is None else np.tile(given, (len(names), 1))
    paths = [p.path for p in pictures] if images else ()
    return Queries(names, examples, labels, len(images) - len(names) if images else 0, paths)


def _wanted(modality: str) -> str:
    return "pictures" if modality == "image" else "--text"


def _code(subject: Any, modality: str, example: np.ndarray) -> np.ndarray:
    code_of = subject.hasher.image_code if modality == "image" else subject.hasher.text_code
    return np.asarray(code_of(subject.params, example))


def _guessed(subject: Any, modality: str, examples: np.ndarray, library: Any) -> np.ndarray:
    """Labels of the item nearest to each query in its own modality."""
    from jaxadv.cli.hashers import find

    codes = [_code(subject, modality, example) for example in examples]
    nearest = [find(code, library, modality, 1)[0].row for code in codes]
    labels: np.ndarray = library.pairs.labels[nearest]
    return labels


def _entry_and_panel(
    subject: Any,
    modality: str,
    library: Any,
    queries: Queries,
    truth: np.ndarray,
    done: "Done",
) -> tuple[dict[str, Any], Any]:
    """Return the record and the panel of one attack: what its two queries find."""
    from jaxadv.cli.hashers import labels_of
    from jaxadv.reports.retrieval import RetrievalPanel

    number, told = done.planned.id, done.columns
    benign, adversarial = queries.examples[number], done.image
    assert adversarial is not None  # it has an outcome
    codes = (_code(subject, modality, benign), told["code_8bit"])
    records, panels = zip(*(_found(code, subject, library, truth) for code in codes), strict=True)
    both: tuple[Any, Any] = (benign, adversarial)
    if modality == "text":
        both = (subject.hasher.say(benign), subject.hasher.say(adversarial))
    labels = labels_of(truth, library)
    entry = {
        "query": queries.names[number],
        "modality": modality,
        "labels": labels,
        "before": records[0],
        "after": records[1],
        **{name: told[name] for name in ("D", "norm", "success", "success_8bit")},
    }
    return entry, RetrievalPanel(subject.name, both, panels, told["D"], f"shows {labels}")


def _found(
    code: np.ndarray, subject: Any, library: Any, truth: np.ndarray
) -> tuple[dict[str, Any], Any]:
    """Return what a code finds in both modalities, for the record and for the figure."""
    from jaxadv.cli.hashers import find, labels_of
    from jaxadv.reports.retrieval import retrieved

    record = {}
    for what, modality in (("texts", "text"), ("pictures", "image")):
        hits = find(code, library, modality, 5)
        masks = library.pairs.labels[[hit.row for hit in hits]]
        record[what] = [
            {
                "item": library.pairs.ids[hit.row],
                library.by.unit: hit.value,
                "labels": labels_of(mask, library),
                "relevant": bool((mask & truth).any()),
            }
            for hit, mask in zip(hits, masks, strict=True)
        ]
    say = subject.hasher.say
    return record, retrieved(code, library.kept, library.pairs, truth, say, by=library.by)


def _write(
    out: Path,
    name: str,
    entry: dict[str, Any],
    modality: str,
    benign: np.ndarray,
    adversarial: np.ndarray,
) -> None:
    from jaxadv.data.images import write_png

    if modality == "image":
        write_png(out / f"{name}.benign.png", benign)
        write_png(out / f"{name}.adversarial.png", adversarial)
    else:
        entry["adversarial"] = adversarial.tolist()
    write_json(out / f"{name}.json", entry)
