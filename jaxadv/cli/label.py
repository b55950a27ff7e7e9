"""`jaxadv label`: say what a tagger sees."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console


def label(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of any size (resized).")],
    victim: Annotated[str, typer.Option(help="A classifier's name or folder; jaxadv victims.")],
    k: Annotated[int, typer.Option(min=1, help="How many labels to say.")] = 5,
) -> None:
    """Tag pictures: the k labels of highest score, with their probabilities."""
    import jax

    from jaxadv import loading
    from jaxadv.cli.inputs import read_pictures
    from jaxadv.errors import InputError
    from jaxadv.labels.classifier import first_labels

    loaded = loading.load(victim)
    classifier, params = loaded.classifier, loaded.params
    if k > len(classifier.classes):
        raise InputError(f"--k {k}: {loaded.name} has {len(classifier.classes)} labels")
    pictures = read_pictures(images, classifier.image_shape)
    see = jax.jit(classifier.logits)
    for picture in pictures:
        logits = see(params, picture.image)
        try:
            best = first_labels(logits, k)
        except InputError as problem:
            raise InputError(f"{picture.path}: {problem}") from None
        scores = jax.nn.sigmoid(logits)
        said = ", ".join(f"{classifier.classes[i]} {float(scores[i]):.2f}" for i in best)
        console.print(f"{picture.path}: {said}")
    if len(pictures) < len(images):
        raise typer.Exit(2)
