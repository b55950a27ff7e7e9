"""`jaxadv train`: train victims."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxadv.cli.console import watch
from jaxadv.cli.options import one_of, positive, refuse_unread
from jaxadv.errors import InputError

if TYPE_CHECKING:
    from jaxadv.training.recipe import Storage
    from jaxadv.victims.zoo import Victim

app = typer.Typer(no_args_is_help=True, help="Train victims.")

Name = Annotated[str, typer.Option(help="Name of the victim; written to ported_weights/NAME.")]
HeldOut = Annotated[
    int, typer.Option(min=1, help="Photographs that are not trained on; their ids are recorded.")
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Out = Annotated[Path, typer.Option(help="The folder of all victims.")]
Stored = Annotated[
    str, typer.Option(help="Type that weights are rounded to and stored in: float32 or bfloat16.")
]
Share = Annotated[
    bool,
    typer.Option(
        "--share",
        help="Do not store the frozen backbone again: it is read from the victim that it is of.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing victim of that name.")]

SCENES = "scenes"
_DESIGN = ("decoder", "backbone", "units")
_FROZEN = (
    "decoder",
    "units",
    "learning_rate",
    "dropout",
    "self_critical_steps",
    "held_out",
    "stored",
)
CAPTIONER_READS = {
    SCENES: (*_DESIGN, "backbone_from", "self_critical_steps", "curriculum"),
    "--backbone-weights": (*_FROZEN, "backbone", "backbone_weights"),
    "--backbone-from": (*_FROZEN, "backbone_from", "share"),
    "--backbone without weights": (*_DESIGN, "learning_rate", "dropout", "held_out"),
    "--fine-tune": ("fine_tune", "learning_rate", "held_out"),
}  # the options that only some modes read
_SCHEDULE = ("optimiser", "batch", "learning_rate", "weight_decay")
CLASSIFIER_READS = {
    SCENES: (),
    "--backbone-weights": ("backbone_weights", "held_out", "stored"),
    "--backbone-from": ("backbone_from", "held_out", "stored", "share"),
    "--all-layers": ("backbone_weights", "backbone_from", "held_out", "all_layers", *_SCHEDULE),
}
BACKBONE = (
    "photographs need a trained backbone: give --backbone-weights, MobileNetV2's .npz, or "
    "--backbone-from, a victim that has one (jaxadv port)"
)
STORED = ("float32", "bfloat16")
BITS_COST = "A code takes 4 bytes (16, 32) or 8 in a database; only the network's last layer grows."
HASHER_READS = {
    SCENES: ("pairs",),
    "scenes with --adversarial": ("pairs", "adversarial", "iterations"),
    "--data": ("held_out", "label_words", "stored", "share"),
    "--data with --adversarial": (
        "held_out",
        "label_words",
        "stored",
        "share",
        "adversarial",
        "iterations",
    ),
}


@app.callback()
def _main() -> None:
    pass


@app.command("captioner")
def captioner(
    context: typer.Context,
    name: Name,
    decoder: Annotated[
        str, typer.Option(help="show-tell, fc, show-attend-tell, att2in, att2in2 or transformer.")
    ] = "show-attend-tell",
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or a folder or prepared data set with captions; repeatable."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="By default resnet-small for scenes, mobilenet-v2 for photographs."),
    ] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Photographs: .npz file of the frozen backbone.")
    ] = None,
    backbone_from: Annotated[
        str | None,
        typer.Option(
            help="Start from the backbone of this victim; for photographs it stays frozen."
        ),
    ] = None,
    share: Share = False,
    stored: Stored = "float32",
    fine_tune: Annotated[
        str | None, typer.Option(help="Photographs: fine-tune this victim and add their words.")
    ] = None,
    units: Annotated[
        int | None,
        typer.Option(
            min=1, max=65536, help="Decoder units; by default 128 for scenes, 512 for photographs."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="By default 4000 on scenes, 1200 on photographs, 400 to fine-tune."
        ),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(help="Photographs: initial rate of a cosine schedule.")
    ] = 2e-3,
    dropout: Annotated[
        float, typer.Option(min=0.0, max=0.95, help="Photographs: dropout of the decoder.")
    ] = 0.5,
    self_critical_steps: Annotated[
        int, typer.Option(min=0, help="Self-critical steps that follow, on CIDEr-D.")
    ] = 0,
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Scenes: start with one object, then two.")
    ] = False,
    held_out: HeldOut = 100,
    seed: Seed = 0,
    out: Out = Path("ported_weights"),
    force: Force = False,
) -> None:
    """Train a captioner on scenes, or on photographs over a frozen backbone.

    With --fine-tune, or with a --backbone but no --backbone-weights, all layers are trained on the
    photographs.
    """
    sources = data or [SCENES]
    mode = _captioner_mode(sources, fine_tune, backbone, backbone_weights, backbone_from)
    refuse_unread(context, mode, CAPTIONER_READS)
    one_of("--stored", stored, STORED)
    positive("--learning-rate", learning_rate)

    from jaxadv import loading
    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data import scenes
    from jaxadv.training import captioner_recipes as recipes
    from jaxadv.training.photo_captioner import train_on_photos
    from jaxadv.training.start import backbone_of, from_scratch
    from jaxadv.victims.architectures import BACKBONES, CaptionerArchitecture
    from jaxadv.victims.nets.mobilenet_v2 import load_mobilenet_v2

    folder = victim_folder(out, name, force)
    held: dict[str, Any] = {"held_out": held_out, "seed": seed}
    if mode == SCENES:
        job = recipes.train_on_scenes(
            folder,
            CaptionerArchitecture(
                decoder,
                backbone or "resnet-small",
                units=units or 128,
                max_length=scenes.MAX_WORDS,
                side=scenes.SIDE,
            ),
            steps=steps or 4000,
            self_critical_steps=self_critical_steps,
            backbone_from=backbone_from,
            curriculum=curriculum,
            seed=seed,
        )
    elif fine_tune is not None:
        victim, rate = loading.load(fine_tune), learning_rate
        job = recipes.fine_tune(
            folder, victim, sources, steps=steps or 400, learning_rate=rate, **held
        )
    else:
        photos, record = recipes.read_captioned(sources)
        weights: Any = None
        other = None if backbone_from is None else loading.load(backbone_from)
        sees = backbone or "mobilenet-v2"
        if other is not None:
            sees, weights = backbone_of(other)
        elif backbone_weights is not None:
            if sees != "mobilenet-v2":
                raise InputError(f"--backbone {sees}: --backbone-weights is MobileNetV2's .npz")
            weights = load_mobilenet_v2(backbone_weights)
        side = BACKBONES[sees].side if sees in BACKBONES else 224
        large = CaptionerArchitecture(decoder, sees, units or 512, side=side, dropout=dropout)
        held |= {"steps": steps or 1200, **record}
        if weights is not None:
            origin = backbone_from or "MobileNetV2 1.0 224 (ImageNet)"
            job = train_on_photos(
                folder,
                large,
                photos,
                backbone=weights,
                origin=origin,
                learning_rate=learning_rate,
                self_critical_steps=self_critical_steps,
                storage=_storage(stored, other, share, folder),
                **held,
            )
        else:
            begin = partial(from_scratch, large, seed=seed)
            job = recipes.train_on_folder(
                folder, begin, photos, learning_rate=learning_rate, **held
            )
    for _ in watch(job, name):
        pass


def _storage(stored: str, backbone: "Victim | None", share: bool, folder: Path) -> "Storage":
    """Return how weights are stored; a shared backbone is that of the victim that stores it.

    Raises:
      InputError: that victim is not in the same folder as the new one.
    """
    from jaxadv.training.recipe import Storage

    if backbone is None or not share:
        return Storage(stored)
    owner = backbone.record.get("backbone_of", backbone.name)
    if not (folder.parent / owner / "record.json").is_file():
        raise InputError(
            f"--share: the victim {owner!r}, which has the backbone, is not in {folder.parent}; "
            "copy it there, or leave --share out"
        )
    return Storage(stored, owner)


def _label_words(text: str) -> dict[str, list[str]]:
    """Parse the labels of --label-words, such as `dog/dogs,car`.

    >>> _label_words("dog/dogs,car")
    {'dog': ['dog', 'dogs'], 'car': ['car']}
    """
    groups = [group.split("/") for group in text.lower().replace(" ", "").split(",")]
    if not all(all(group) for group in groups):
        raise InputError(f"--label-words {text!r}: must be words such as dog/dogs/puppy,car/cars")
    labels = {group[0]: group for group in groups}
    if len(labels) < len(groups):
        raise InputError(f"--label-words {text!r}: a label is there twice")
    return labels


def _captioner_mode(
    sources: list[str],
    fine_tune: str | None,
    backbone: str | None,
    backbone_weights: Path | None,
    backbone_from: str | None,
) -> str:
    """Return the mode in which a captioner is trained, a key of `CAPTIONER_READS`."""
    if sources == [SCENES]:
        if fine_tune is not None:
            raise InputError("--fine-tune: give the folders to train on with --data")
        return SCENES
    if fine_tune is not None:
        return "--fine-tune"
    if backbone_from is not None:
        return "--backbone-from"
    if backbone_weights is not None:
        return "--backbone-weights"
    if backbone is None:
        raise InputError(BACKBONE)
    return "--backbone without weights"


@app.command("classifier")
def classifier(
    context: typer.Context,
    name: Name,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or a folder or prepared data set with labels; repeatable."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="By default resnet-small-crowd for scenes, else that of the weights."),
    ] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Photographs: MobileNetV2's .npz file.")
    ] = None,
    backbone_from: Annotated[
        str | None, typer.Option(help="Photographs: use the backbone of this victim instead.")
    ] = None,
    all_layers: Annotated[
        bool,
        typer.Option("--all-layers", help="Photographs: train the backbone, too (TkMIA, Table 5)."),
    ] = False,
    optimiser: Annotated[
        str, typer.Option(help="All layers: adam (COCO, NUS-WIDE) or sgd (VOC).")
    ] = "adam",
    batch: Annotated[
        int, typer.Option(min=1, help="All layers: batch size (VOC 32, COCO 128, NUS-WIDE 64).")
    ] = 64,
    learning_rate: Annotated[
        float, typer.Option(help="All layers: learning rate, constant as in the paper.")
    ] = 1e-4,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, help="All layers: weight decay, added to the gradient.")
    ] = 1e-4,
    side: Annotated[
        int | None,
        typer.Option(
            min=32, max=4096, help="Of pictures; by default 128 for scenes, else the backbone's."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="By default 4000 on scenes, 1000 on photographs.")
    ] = None,
    held_out: HeldOut = 100,
    stored: Stored = "float32",
    share: Share = False,
    seed: Seed = 0,
    out: Out = Path("ported_weights"),
    force: Force = False,
) -> None:
    """Train a tagger on crowded scenes, or on photographs: its head alone, or all layers."""
    sources = data or [SCENES]
    mode = _classifier_mode(sources, backbone_weights, backbone_from, all_layers)
    refuse_unread(context, mode, CLASSIFIER_READS)
    one_of("--optimiser", optimiser, ("adam", "sgd"))
    one_of("--stored", stored, STORED)
    positive("--learning-rate", learning_rate)

    from jaxadv import loading
    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data import scenes
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import labelled
    from jaxadv.training import tagger_recipes as recipes
    from jaxadv.training.start import backbone_of
    from jaxadv.victims.architectures import ClassifierArchitecture
    from jaxadv.victims.nets.mobilenet_v2 import load_mobilenet_v2

    folder = victim_folder(out, name, force)
    if mode == SCENES:
        small = ClassifierArchitecture(backbone or "resnet-small-crowd", side or scenes.CROWD_SIDE)
        job = recipes.train_tagger_on_scenes(folder, small, steps=steps or 4000, seed=seed)
    else:
        other = None if backbone_from is None else loading.load(backbone_from)
        if other is not None:
            sees, begun = backbone_of(other, backbone)
            usual, origin = other.functions.image_shape[0], other.name
        else:
            if backbone_weights is None or backbone not in (None, "mobilenet-v2"):
                raise InputError(BACKBONE)
            sees, begun = "mobilenet-v2", load_mobilenet_v2(backbone_weights)
            usual, origin = 224, "MobileNetV2 1.0 224 (ImageNet)"
        how: Any = optimiser  # one of two, as checked
        schedule = recipes.Schedule(how, batch, learning_rate, weight_decay)
        job = recipes.train_tagger_on_photos(
            folder,
            ClassifierArchitecture(sees, side or usual),
            labelled(open_data(sources)),
            begun,
            origin=origin,
            steps=steps or 1000,
            schedule=schedule if all_layers else None,
            held_out=held_out,
            seed=seed,
            storage=_storage(stored, other, share, folder),
        )
    for _ in watch(job, name):
        pass


def _classifier_mode(
    sources: list[str], backbone_weights: Path | None, backbone_from: str | None, all_layers: bool
) -> str:
    """Return the mode in which a tagger is trained, a key of `CLASSIFIER_READS`."""
    if sources == [SCENES]:
        return SCENES
    if all_layers:
        return "--all-layers"
    if backbone_from is not None:
        return "--backbone-from"
    if backbone_weights is None:
        raise InputError(BACKBONE)
    return "--backbone-weights"


@app.command("hasher")
def hasher(
    context: typer.Context,
    name: Name,
    method: Annotated[str | None, typer.Option(help="dcmh (the default), ssah or dual.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="vgg-f-small (the default), resnet-small, vgg-f, resnet50 or mobilenet-v2 (which "
            "stays frozen); features for data sets that publish them."
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help=f"Length of the codes or embeddings: 16, 32 (the default), 48 or 64. {BITS_COST}"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each network.")] = 2000,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", help="Start from the weights of this victim, or of its backbone alone."
        ),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from weights trained on ImageNet: imagenet-vgg-f.mat for vgg-f, "
            "torchvision's resnet50 for resnet50."
        ),
    ] = None,
    decorrelation: Annotated[
        float,
        typer.Option(min=0.0, help="Weight of ‖FᵀF/b - I‖²/K², a penalty on correlated bits."),
    ] = 0.0,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="scenes, or a folder or prepared data set with labels and with tags or captions; "
            "repeatable."
        ),
    ] = None,
    held_out: Annotated[
        int, typer.Option(min=1, help="Pictures of --data that are queries and not trained on.")
    ] = 100,
    adversarial: Annotated[
        int,
        typer.Option(
            min=0,
            help="Attack this many training pairs on the victim of --from, as pictures and as "
            "texts, and add the results to the training set.",
        ),
    ] = 0,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of these attacks.")] = 100,
    label_words: Annotated[
        str | None,
        typer.Option(
            help="Data without labels: labels by the words of captions, such as "
            "dog/dogs/puppy,car/cars; the first word of each names it."
        ),
    ] = None,
    stored: Stored = "float32",
    share: Share = False,
    pairs: Annotated[
        int, typer.Option(min=64, max=1_000_000, help="Scenes in the training set.")
    ] = 10_000,
    seed: Seed = 0,
    out: Out = Path("ported_weights"),
    force: Force = False,
) -> None:
    """Train a cross-modal hasher, which maps pictures and bags of words to codes of one space.

    With --method dual, train a dual encoder, whose embeddings are compared by similarity.
    """
    sources = data or [SCENES]
    learns = SCENES if sources == [SCENES] else "--data"
    refuse_unread(context, learns + " with --adversarial" * bool(adversarial), HASHER_READS)
    if begin is not None and backbone_weights is not None:
        raise InputError("--backbone-weights: is not read with --from; give one of them")
    one_of("--stored", stored, STORED)
    if share and begin is None:
        raise InputError("--share: give --from, the victim that has the backbone")

    from jaxadv import loading
    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import labelled
    from jaxadv.porting.port import read_features
    from jaxadv.training import hasher_recipes as recipes

    start = None if begin is None else loading.load(begin)
    made = recipes.hasher_architecture(method, backbone, bits, like=start if adversarial else None)
    weights = backbone_weights
    features = None if weights is None else (weights.name, read_features(weights, made))
    folder = victim_folder(out, name, force)
    options: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "adversarial": adversarial,
        "iterations": iterations,
        "start": start,
        "features": features,
        "decorrelation": decorrelation,
    }
    if sources == [SCENES]:
        job = recipes.train_hasher_on_scenes(folder, made, count=pairs, **options)
    else:
        found = open_data(sources)
        words = None if label_words is None else _label_words(label_words)
        options |= {"label_words": words, "storage": _storage(stored, start, share, folder)}
        found = found if words is not None else labelled(found)
        job = recipes.train_hasher_on_data(folder, made, found, held_out=held_out, **options)
    for _ in watch(job, name):
        pass
