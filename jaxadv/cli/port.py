"""`jaxadv port`: foreign checkpoints to victims."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, print_table


def port(
    files: Annotated[
        list[Path], typer.Argument(help="Checkpoints: decoder and backbone, in any order.")
    ],
    architecture: Annotated[str, typer.Option(help="A published one; jaxadv victims lists them.")],
    vocabulary: Annotated[
        Path, typer.Option(help="cocotalk.json, dataset_coco.json or plain JSON.")
    ],
    name: Annotated[str, typer.Option(help="Name of the victim; written to OUT/NAME.")],
    out: Annotated[Path, typer.Option(help="Where victims are kept.")] = Path("ported_weights"),
) -> None:
    """Turn checkpoints into a victim without executing anything that they hold."""
    import jax
    import jax.numpy as jnp

    from jaxadv.cli.inputs import writable
    from jaxadv.data import scenes
    from jaxadv.data.images import resize
    from jaxadv.porting.port import architecture_of, save
    from jaxadv.porting.port import port as read_and_fit
    from jaxadv.porting.vocabulary import read_vocabulary
    from jaxadv.victims import zoo
    from jaxadv.victims.captioner import greedy

    chosen = architecture_of(architecture)
    words = read_vocabulary(vocabulary)
    ported = read_and_fit(files, chosen, words)
    save(writable(out) / name, ported, chosen, words)
    rows = [[row.name, row.leaf, "x".join(map(str, row.shape))] for row in ported.mapped]
    print_table(f"{len(rows)} entries of {name}", ["checkpoint", "victim", "shape"], rows)

    victim = zoo.load(str(out / name))
    captioner = victim.captioner
    picture = resize(scenes.example(scenes.HELD_OUT_SEED, 0).picture, captioner.image_shape[:2])
    speak = jax.jit(lambda p, i: greedy(captioner, p, captioner.encode(p, i)).tokens)
    said = captioner.vocabulary.decode(speak(victim.params, jnp.asarray(picture)))
    console.print(f"of a generated scene it says: {said or '(nothing)'}", highlight=False)
    console.print(f"written to {out / name}/", highlight=False)
