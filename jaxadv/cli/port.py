"""`jaxadv port`: foreign checkpoints to victims."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from jaxadv.porting.port import Ported
    from jaxadv.victims.zoo import Victim

from jaxadv.cli.console import console, print_table


def port(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoints of all its parts, in any order, also by name (jaxadv victims "
            "--available); or hf://OWNER/NAME, or the folder of a model as it is published there."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the victim; written to OUT/NAME.")],
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of checkpoints without a name: a published one; jaxadv victims lists them."
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            help="Captioners: cocotalk.json, dataset_coco.json, plain JSON or word_counts.txt. "
            "Others: classes one a line, or JSON; numbered if not given. With classes CLIP and "
            "SigLIP become taggers, without they are retrievers."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help=".npz with some inputs and what the original network makes of them: images and "
            "logits; images, tokens and log_probabilities; images, image_codes, tags, text_codes."
        ),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option(
            help='For a captioner of the hub, the words before each caption, such as "a picture '
            'of"; for a tagger, the text for each class (default: "a photo of a {}").'
        ),
    ] = "",
    force: Annotated[bool, typer.Option(help="Replace a victim of that name.")] = False,
    licence: Annotated[str, typer.Option(help="Of the checkpoint, for the record.")] = "unknown",
    out: Annotated[Path, typer.Option(help="Where victims are kept.")] = Path("ported_weights"),
) -> None:
    """Turn checkpoints into a victim without executing anything that they hold."""
    from jaxadv import loading
    from jaxadv.cli.inputs import victim_folder
    from jaxadv.porting.port import save
    from jaxadv.victims import zoo

    ported = _read(files, architecture, vocabulary, prompt)
    same = zoo.identity(ported.architecture, ported.names, ported.variables)
    folder = victim_folder(out, name, force, same)
    save(folder, ported, licence, reference)
    rows = [[row.name, row.leaf, "x".join(map(str, row.shape))] for row in ported.mapped]
    print_table(f"{len(rows)} entries of {name}", ["checkpoint", "victim", "shape"], rows)
    victim = loading.load(str(folder))
    kind = victim.architecture.kind
    console.print(f"{name}: a {kind}, {victim.architecture.parts}; {_sizes(victim)}")
    for source in ported.sources:
        console.print(f"from {source.file} ({source.bytes:,} bytes, SHA-256 {source.sha256})")
        if source.address:
            console.print(f"  of {source.address}, whose owner says: {source.owner_says}")
    if reference is not None:
        error = victim.record["parity_error"]
        console.print(f"its outputs differ from {reference.name}'s by at most {error:.1e}")
    console.print(f"of a generated scene it says: {_say(victim)}")
    console.print(f"written to {folder}/")
    console.print(f"next: {_NEXT[kind].format(folder)}")


def _read(
    files: list[str], architecture: str | None, vocabulary: Path | None, prompt: str
) -> "Ported":
    """Read checkpoints of an architecture, or a model as it is published on the Hub."""
    from jaxadv.data.lexicon import read_lexicon, read_names
    from jaxadv.errors import InputError
    from jaxadv.porting.hub import PREFIX, is_published, port_hub, port_published
    from jaxadv.porting.public import implied, port_files
    from jaxadv.victims.architectures import published

    first = files[0]
    if first.startswith(PREFIX) or is_published(Path(first)):
        if len(files) > 1 or architecture is not None:
            raise InputError(f"{first}: give it alone; its config.json says what it is")
        classes = () if vocabulary is None else read_names(vocabulary).get("classes", ())
        if vocabulary is not None and not classes:
            raise InputError(f"{vocabulary}: has no classes")
        if first.startswith(PREFIX):
            return port_hub(first, prompt, classes)
        return port_published(Path(first), prompt, classes)
    if prompt:
        raise InputError("--prompt: is of models of the Hub, not of checkpoints")
    architecture = implied(files, architecture)
    if architecture is None:
        raise InputError("--architecture: say which; jaxadv victims lists those that can be ported")
    chosen = published(architecture)
    read = read_lexicon if chosen.kind == "captioner" else read_names
    words = None if vocabulary is None else read(vocabulary)
    return port_files(files, chosen, words)


_NEXT = {
    "captioner": "jaxadv caption --victim {} PICTURE",
    "captioner of the hub": "jaxadv caption --victim {} PICTURE",
    "classifier": "jaxadv label --victim {} PICTURE",
    "hasher": "jaxadv retrieve --victim {} --help",
    "retriever of the hub": "jaxadv retrieve --victim {} --help",
    "tagger of the hub": "jaxadv label --victim {} PICTURE",
}


def _sizes(victim: "Victim") -> str:
    """How many parameters, words, classes or tags a victim has, and what pictures it takes."""
    import jax

    parameters = jax.tree.leaves(victim.params["params"])
    counts = [f"{sum(leaf.size for leaf in parameters):,} parameters"]
    for name in victim.architecture.named:
        if name == "tokenizer":
            counts.append(f"{_tokens(victim.functions):,} tokens")
            continue
        number = len(victim.record[name])
        counts.append(f"{number:,} {'words' if name == 'vocabulary' else name}")
    counts.append(f"pictures of {'x'.join(map(str, victim.architecture.image_shape))}")
    return ", ".join(counts)


def _tokens(functions: Any) -> int:
    """How many tokens the tokenizer of a model of the Hub has room for."""
    texts = functions.vocabulary if hasattr(functions, "vocabulary") else functions.reader
    return int(texts.size)


def _say(victim: "Victim") -> str:
    """Run the victim on a picture."""
    import jax
    import jax.numpy as jnp

    from jaxadv.captions.captioner import Captioner, greedy
    from jaxadv.data import scenes
    from jaxadv.data.images import resize
    from jaxadv.hashing.hasher import CrossModalHasher
    from jaxadv.labels.classifier import MultiLabelClassifier

    scene = scenes.example(scenes.HELD_OUT_SEED, 0).picture
    functions = victim.functions
    picture = jnp.asarray(resize(scene, (functions.image_shape[0], functions.image_shape[1])))
    match functions:
        case Captioner():
            speak = jax.jit(lambda p, i: greedy(functions, p, functions.encode(p, i)).tokens)
            return functions.vocabulary.decode(speak(victim.params, picture)) or "(nothing)"
        case MultiLabelClassifier():
            best = jnp.argsort(-jax.jit(functions.logits)(victim.params, picture))[:5].tolist()
            return ", ".join(functions.classes[number] for number in best)
        case CrossModalHasher():
            code = jax.jit(functions.image_code)(victim.params, picture)
            if functions.logit_scale is not None:
                return " ".join(f"{x:.2f}" for x in code[:8].tolist()) + " ..."
            return "".join("1" if bit >= 0 else "0" for bit in code.tolist())
