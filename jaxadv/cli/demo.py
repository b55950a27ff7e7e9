"""`jaxadv demo`: the main job, on photographs that are shipped."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jaxadv.cli.console import console, note, print_table, progress_bar

if TYPE_CHECKING:
    from jaxadv.core.method import Chosen
    from jaxadv.core.run import Result
    from jaxadv.reports.captions import Panel
    from jaxadv.victims.zoo import Victim

HEADING = "You choose what a model predicts"
COLUMNS = ["victim", "method", "photograph", "target", "8-bit picture predicts", "‖ε‖₂", "fooled"]
TITLES = {
    "photos-show-attend-tell": "Show-Attend-and-Tell",
    "photos-scst": "SCST",
    "photos-show-tell": "Show-and-Tell",
}


class Sentences(NamedTuple):
    """What a captioner is made to predict.

    Attributes:
      victim: the captioner.
      method: of the attack, with its settings.
      wanted: photographs with targets, `_` for a free word.
    """

    victim: str
    method: str
    settings: dict[str, Any]
    wanted: tuple[tuple[str, str], ...]


RATE = {"learning_rate": 5e-3, "iterations": 80}
CAPTIONS = (
    Sentences(
        "photos-show-attend-tell",
        "gem",
        {**RATE, "posterior": "joint"},
        (("cat", "a man is riding a bike"), ("moose", "two _ are playing in the _")),
    ),
    Sentences("photos-scst", "ssvm", RATE, (("coffee", "two dogs are running in the snow"),)),
    Sentences(
        "photos-show-tell",
        "show-and-fool",
        {"learning_rate": 0.02, "iterations": 80, "tries": 1},
        (("officer", "a dog is running through the water"),),
    ),
    Sentences(
        "photos-show-tell",
        "reliable",
        {"budget": 150},
        (
            ("astronaut", "a dog is running through the grass"),
            ("windmill", "a _ is running through the _"),
        ),
    ),
)
TAGGER, TAGGED, K = "photos-tagger", "officer", 2
HASHER, ASKING = "photos-hasher", "volleyball"


class _Made(NamedTuple):
    """What came of a part: rows of the table, and the panels of the figure."""

    rows: list[list[Any]]
    panels: list["Panel"]
    pictures: dict[str, Any]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and figure.")] = Path(
        "adversarial"
    ),
    scenes: Annotated[
        bool, typer.Option("--scenes", help="Attack captioners of generated scenes instead.")
    ] = False,
) -> None:
    """Fool captioners, a tagger and a retriever of photographs; no download, no GPU."""
    from jaxadv.cli.inputs import writable
    from jaxadv.data.images import write_png
    from jaxadv.reports.captions import draw
    from jaxadv.reports.files import save

    writable(out)
    if scenes:
        from jaxadv.cli.demo_scenes import demo_scenes

        return demo_scenes(out)
    parts: list[Callable[[], _Made]] = [
        *(partial(_captions, wanted) for wanted in CAPTIONS),
        _labels,
        _retrieval,
    ]
    note(f"{len(parts)} attacks: compiling, which takes most of three minutes ...")
    rows: list[list[Any]] = []
    panels: list[Panel] = []
    with progress_bar() as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        attacking = bar.add_task("attacking", total=len(parts))

        def run(part: Callable[[], _Made]) -> _Made:
            made = part()
            bar.advance(attacking)
            return made

        for made in pool.map(run, parts):
            rows += made.rows
            panels += made.panels
            for name, picture in made.pictures.items():
                write_png(out / f"{name}.png", picture)
    save(draw(panels, HEADING), out / "figure.png")
    print_table("Photographs that no victim was trained on", COLUMNS, rows)
    console.print(f"adversarial pictures and figure.png are in {out}/")
    return None


def _captions(wanted: Sentences) -> _Made:
    """Attack a captioner."""
    import jax.numpy as jnp

    from jaxadv import loading
    from jaxadv.captions.methods import METHODS
    from jaxadv.captions.target import target
    from jaxadv.core.method import choose
    from jaxadv.core.run import run
    from jaxadv.data import photographs
    from jaxadv.experiments.banks import params_with_bank

    victim = loading.load(wanted.victim)
    method = choose(METHODS, wanted.method, **wanted.settings)
    names, texts = zip(*wanted.wanted, strict=True)
    result = run(
        method.attack(victim.captioner),
        params_with_bank(method, victim),
        jnp.stack([photographs.example(name).picture for name in names]),
        [target(text, victim.captioner) for text in texts],
        iterations=method.iterations,
    )
    words = victim.captioner.vocabulary
    return _made(victim, method, names, texts, result, words.decode)


def _labels() -> _Made:
    """Make the first label of a photograph vanish, and keep the others right."""
    import jax.numpy as jnp

    from jaxadv import loading
    from jaxadv.core.method import choose
    from jaxadv.core.run import run
    from jaxadv.data import photographs
    from jaxadv.labels.methods import METHODS
    from jaxadv.labels.predicting import predict
    from jaxadv.labels.target import target

    victim = loading.load(TAGGER)
    method = choose(METHODS, "reliable", budget=200)
    picture = jnp.asarray(photographs.example(TAGGED).picture)
    first = [name for name, _ in predict(victim, picture, k=K + 1)]
    aim = target(first[0], first, K, victim.classifier)
    result = run(
        method.attack(victim.classifier), victim.params, picture[None], [aim], iterations=200
    )

    def names(logits: Any) -> str:
        order = (-logits).argsort()[:K]
        return ", ".join(victim.classifier.classes[place] for place in order)

    text = f"no {first[0]} among the first {K}"
    return _made(victim, method, (TAGGED,), (text,), result, names)


def _retrieval() -> _Made:
    """Make a photograph find other sentences than it should."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxadv import loading
    from jaxadv.core.method import choose
    from jaxadv.core.run import run
    from jaxadv.data import photographs
    from jaxadv.hashing.cmla import Known, hash_target
    from jaxadv.hashing.methods import METHODS
    from jaxadv.hashing.metrics import HAMMING, search
    from jaxadv.vocabulary import tokenize

    victim = loading.load(HASHER)
    hasher, words = victim.hasher, victim.record["label_words"]
    method = choose(
        METHODS,
        "cmla",
        modality="image",
        iterations=100,
        learning_rate=0.3,
        intra=0.0,
        distortion=0.0,
    )

    def labels(text: str) -> list[bool]:
        said = set(tokenize(text))
        return [not said.isdisjoint(words[label]) for label in hasher.classes]

    asking = photographs.example(ASKING)
    texts = photographs.SENTENCES
    said = [set(tokenize(text)) for text in texts]
    bags = np.array([[tag in own for tag in hasher.tags] for own in said], np.float32)
    codes = jax.vmap(hasher.text_code, in_axes=(None, 0))(victim.params, jnp.asarray(bags))
    own = jnp.array(labels(photographs.ABOUT[ASKING].caption))
    aim = hash_target(own, jnp.array([labels(text) for text in texts]))
    result = run(
        method.attack(hasher),
        Known(victim.params, codes, codes),  # without the intra-modal term, pictures are not read
        jnp.asarray(asking.picture)[None],
        [aim],
        iterations=method.iterations,
    )

    def finds(code: Any) -> str:
        kept, query = HAMMING.keep(np.asarray(codes)), HAMMING.keep(code[None])[0]
        return texts[int(search(query, kept, 1)[0][0])]

    text = "a sentence without " + " and ".join(
        name for name, there in zip(hasher.classes, own, strict=True) if there
    )
    return _made(victim, method, (ASKING,), (text,), result, finds)


def _made(
    victim: "Victim",
    method: "Chosen",
    names: Sequence[str],
    targets: Sequence[str],
    result: "Result",
    read: Callable[[Any], str],
) -> _Made:
    """Return a row of the table and a panel for each attack."""
    import jax
    import numpy as np

    from jaxadv.reports.captions import Panel

    title = TITLES.get(victim.name, victim.name.removeprefix("photos-"))
    rows, panels, pictures = [], [], {}
    for place, (name, target) in enumerate(zip(names, targets, strict=True)):
        one: Any = jax.tree.map(lambda x, place=place: np.asarray(x[place]), result)
        reported = method.report(one)
        before, after = read(one.benign.output), read(reported.output_8bit)
        success = bool(reported.success_8bit)
        norm = float(np.linalg.norm(reported.image - one.image))
        rows.append([title, method.name, name, target, after, norm, "yes" if success else "no"])
        picture = np.asarray(reported.image)
        pictures[f"{victim.name}/{method.name}/{name}"] = picture
        heading = f"{title} · {method.name}"
        panels.append(Panel(heading, one.image, picture, before, target, after, success))
    return _Made(rows, panels, pictures)
