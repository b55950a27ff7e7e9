"""`jaxadv retrieve`: what a hasher finds for a picture or a text."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note, print_table
from jaxadv.cli.options import SEARCHED
from jaxadv.errors import InputError


def retrieve(
    context: typer.Context,
    victim: Annotated[str, typer.Option(help="A hasher's name or folder; jaxadv victims.")],
    image: Annotated[Path | None, typer.Option(help="A JPEG or PNG file that asks.")] = None,
    text: Annotated[
        str | None, typer.Option(help='A text that asks: "big red circle grass".')
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help=SEARCHED)] = None,
    database: Annotated[int, typer.Option(min=1, help="Held-out scenes to search in.")] = 5000,
    top: Annotated[int, typer.Option(min=1, help="Items to show.")] = 10,
) -> None:
    """Search with a picture or a text: the items nearest in Hamming distance.

    Of a dual encoder those that are most similar.
    """
    if (image is None) == (text is None):
        raise InputError("give either --image or --text")

    import jax.numpy as jnp
    import numpy as np

    from jaxadv import loading
    from jaxadv.cli.hashers import find, labels_of, library_of, subject_of, what_is_searched
    from jaxadv.cli.inputs import read_pictures

    found = loading.load(victim)
    subject = subject_of(found)
    hasher = subject.hasher
    searching = what_is_searched(context, found, data or (), database)
    if text is not None:
        read = jnp.asarray(hasher.read(text))
        code, asked = hasher.text_code(subject.params, read), text
    elif image is not None:
        picture = jnp.asarray(read_pictures([image], hasher.image_shape)[0].image)
        code, asked = hasher.image_code(subject.params, picture), str(image)
    note(f"codes of the database by {subject.name}: compiling ...")
    library = library_of(subject, searching)
    for what, modality in (("texts", "text"), ("pictures", "image")):
        rows = [
            [
                place,
                hit.value,
                library.pairs.ids[hit.row],
                hasher.say(library.pairs.texts[hit.row]),
                labels_of(library.pairs.labels[hit.row], library),
            ]
            for place, hit in enumerate(find(np.asarray(code), library, modality, top), start=1)
        ]
        print_table(f"{what} for {asked}", ["", library.by.unit, "item", "text", "labels"], rows)
    length = "bits" if hasher.logit_scale is None else "numbers"
    console.print(f"{hasher.bits} {length}, {len(searching.pairs.ids)} {searching.kind} searched")
