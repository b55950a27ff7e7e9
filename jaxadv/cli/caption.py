"""`jaxadv caption`: say what a victim sees."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note
from jaxadv.cli.options import UNKNOWN_WORDS


def caption(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of any size (resized).")],
    victim: Annotated[str, typer.Option(help="A victim's name or folder; see jaxadv doctor.")],
    beam: Annotated[int, typer.Option(min=1, max=10, help="Beam size; 1 is greedy.")] = 1,
    unknown_words: Annotated[bool, typer.Option("--unknown-words", help=UNKNOWN_WORDS)] = False,
) -> None:
    """Caption pictures; with a beam, the best captions with their log-probabilities."""
    import jax

    from jaxadv.captions.captioner import beam as search
    from jaxadv.cli.inputs import load_captioner, read_pictures

    loaded = load_captioner(victim, unknown_words)
    captioner, params = loaded.captioner, loaded.params
    pictures = read_pictures(images, captioner.image_shape)
    note(f"{loaded.name}: compiling ...")
    speak = jax.jit(lambda params, i: search(captioner, params, captioner.encode(params, i), beam))
    for picture in pictures:
        found = speak(params, picture.image)
        for tokens, log_p in zip(found.tokens, found.log_probability, strict=True):
            said = captioner.vocabulary.decode(tokens)
            console.print(f"{picture.path}: {said}  (ln P = {float(log_p):.2f})")
    if len(pictures) < len(images):
        raise typer.Exit(2)
