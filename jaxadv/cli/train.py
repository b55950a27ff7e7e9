"""`jaxadv train`: fit victims."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxadv.cli.console import watch
from jaxadv.cli.options import one_of, positive, refuse_unread
from jaxadv.errors import InputError

if TYPE_CHECKING:
    from jaxadv.training.recipes import Progress

app = typer.Typer(no_args_is_help=True, help="Fit victims.")

SCENES = "scenes"
_DESIGN = ("decoder", "backbone", "units")
CAPTIONER_READS = {
    SCENES: (*_DESIGN, "backbone_from", "self_critical_steps", "curriculum"),
    "--backbone-weights": (*_DESIGN, "backbone_weights", "held_out"),
    "--backbone without weights": (*_DESIGN, "learning_rate", "held_out"),
    "--fine-tune": ("fine_tune", "learning_rate", "held_out"),
}  # what not all ways of training read
_SCHEDULE = ("optimiser", "batch", "learning_rate", "weight_decay")
CLASSIFIER_READS = {
    SCENES: (),
    "--backbone-weights": ("backbone_weights", "held_out"),
    "--backbone-from": ("backbone_from", "held_out"),
    "--all-layers": ("backbone_weights", "backbone_from", "held_out", "all_layers", *_SCHEDULE),
}
BACKBONE = (
    "photographs need a trained backbone: --backbone-weights, MobileNetV2's .npz, or "
    "--backbone-from, a victim with it (jaxadv port)"
)
BITS_COST = (
    "A code takes 4 bytes (16, 32) or 8 in a database; of the network only the last layer grows."
)
HASHER_READS = {
    SCENES: ("pairs",),
    "scenes with --adversarial": ("pairs", "adversarial", "iterations"),
    "--data": ("held_out",),
    "--data with --adversarial": ("held_out", "adversarial", "iterations"),
}


@app.callback()
def _main() -> None:
    pass


@app.command("captioner")
def captioner(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Name of the victim; written to ported_weights/NAME.")],
    decoder: Annotated[
        str, typer.Option(help="show-tell, fc, show-attend-tell, att2in, att2in2 or transformer.")
    ] = "show-attend-tell",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="scenes, or a folder or prepared set with captions (jaxadv data); repeatable."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="resnet-small for scenes, mobilenet-v2 for photographs by default."),
    ] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Photographs: the frozen backbone's .npz.")
    ] = None,
    backbone_from: Annotated[
        str | None, typer.Option(help="Scenes: start from this victim's backbone.")
    ] = None,
    fine_tune: Annotated[
        str | None,
        typer.Option(help="Folders: train on from this victim, adding the words that they bring."),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option(
            min=1, max=65536, help="Units of the decoder: 128 for scenes, 512 for photographs."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps: 4000 on scenes, 1200 on folders, 400 to fine-tune."),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(help="With --fine-tune: Adam's at the start of the cosine.")
    ] = 2e-3,
    self_critical_steps: Annotated[
        int, typer.Option(min=0, help="Scenes: then so many steps of self-critical training.")
    ] = 0,
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Scenes: at first of one object, then two.")
    ] = False,
    held_out: Annotated[
        int, typer.Option(min=1, help="Photographs kept aside; their ids go into the record.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of weights, order and samples.")] = 0,
    out: Annotated[Path, typer.Option(help="Where victims are kept.")] = Path("ported_weights"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the victim of that name, if there is one.")
    ] = False,
) -> None:
    """Train a captioner on scenes, or on photographs over a frozen backbone.

    With --fine-tune, or with a --backbone but no --backbone-weights, the whole network is fitted on
    the folders.
    """
    sources = data or [SCENES]
    mode = _captioner_mode(sources, fine_tune, backbone, backbone_weights)
    refuse_unread(context, mode, CAPTIONER_READS)
    positive("--learning-rate", learning_rate)

    from jaxadv.backdoors.folder import training_record
    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data import scenes
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import captioned
    from jaxadv.training.folder_recipes import fine_tune as train_further
    from jaxadv.training.folder_recipes import from_scratch, train_on_folder
    from jaxadv.training.recipes import hold_out, train_on_photos, train_on_scenes
    from jaxadv.victims import zoo
    from jaxadv.victims.architectures import BACKBONES, CaptionerArchitecture

    if mode == SCENES:
        small = CaptionerArchitecture(
            decoder,
            backbone or "resnet-small",
            units=units or 128,
            max_length=scenes.MAX_WORDS,
            side=scenes.SIDE,
        )
        job = train_on_scenes(
            victim_folder(out, name, force),
            small,
            steps=steps or 4000,
            self_critical_steps=self_critical_steps,
            backbone_from=backbone_from,
            curriculum=curriculum,
            seed=seed,
        )
    elif fine_tune is not None:
        job = train_further(
            victim_folder(out, name, force),
            zoo.load(fine_tune),
            sources,
            steps=steps or 400,
            learning_rate=learning_rate,
            held_out=held_out,
            seed=seed,
        )
    else:
        folder = victim_folder(out, name, force)
        folders = [Path(source) for source in sources]
        photos = captioned(open_data(sources)).records
        record = training_record(folders, len(photos))
        sees = backbone or "mobilenet-v2"
        side = BACKBONES[sees].side if sees in BACKBONES else 224
        large = CaptionerArchitecture(decoder, sees, units=units or 512, side=side, dropout=0.5)
        if backbone_weights is not None:
            job = train_on_photos(
                folder,
                large,
                photos,
                backbone_weights=backbone_weights,
                steps=steps or 1200,
                held_out=held_out,
                seed=seed,
                **record,
            )
        else:
            learned, _ = hold_out(photos, held_out)
            captions = [caption for photo in learned for caption in photo.captions or ()]
            job = train_on_folder(
                folder,
                from_scratch(large, captions, seed),
                photos,
                steps=steps or 1200,
                learning_rate=learning_rate,
                held_out=held_out,
                seed=seed,
                **record,
            )
    for _ in watch(job, name):
        pass


def _captioner_mode(
    sources: list[str],
    fine_tune: str | None,
    backbone: str | None,
    backbone_weights: Path | None,
) -> str:
    """Return how a captioner is trained, a key of `CAPTIONER_READS`."""
    if sources == [SCENES]:
        if fine_tune is not None:
            raise InputError("--fine-tune: give the folders to train on with --data")
        return SCENES
    if fine_tune is not None:
        return "--fine-tune"
    if backbone_weights is not None:
        return "--backbone-weights"
    if backbone is None:
        raise InputError("--backbone-weights: photographs need the frozen backbone's .npz")
    return "--backbone without weights"


@app.command("classifier")
def classifier(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Name of the victim; written to ported_weights/NAME.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="scenes, or a folder or prepared set with labels (jaxadv data); repeatable."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="resnet-small-crowd for scenes; photographs: that of the weights."),
    ] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Photographs: MobileNetV2's .npz.")
    ] = None,
    backbone_from: Annotated[
        str | None, typer.Option(help="Photographs: or the backbone of this victim.")
    ] = None,
    all_layers: Annotated[
        bool,
        typer.Option(
            "--all-layers", help="Photographs: train the backbone, too, as TkMIA's Table 5 does."
        ),
    ] = False,
    optimiser: Annotated[
        str, typer.Option(help="All layers: adam (COCO, NUS-WIDE) or sgd (VOC).")
    ] = "adam",
    batch: Annotated[
        int,
        typer.Option(min=1, help="All layers: photographs a step (VOC 32, COCO 128, NUS-WIDE 64)."),
    ] = 64,
    learning_rate: Annotated[
        float, typer.Option(help="All layers: constant, as in the paper.")
    ] = 1e-4,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, help="All layers: added to the gradient.")
    ] = 1e-4,
    side: Annotated[
        int | None,
        typer.Option(
            min=32, max=4096, help="Of the pictures: 128 for scenes, else the weights' own."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimiser steps: 4000 for scenes, 1000 for photographs."),
    ] = None,
    held_out: Annotated[
        int, typer.Option(min=1, help="Photographs kept aside; their ids go into the record.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where victims are kept.")] = Path("ported_weights"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the victim of that name, if there is one.")
    ] = False,
) -> None:
    """Train a tagger on crowded scenes, or on photographs: its head alone, or all layers."""
    sources = data or [SCENES]
    mode = _classifier_mode(sources, backbone_weights, backbone_from, all_layers)
    refuse_unread(context, mode, CLASSIFIER_READS)
    one_of("--optimiser", optimiser, ("adam", "sgd"))
    positive("--learning-rate", learning_rate)

    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data import scenes
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import labelled
    from jaxadv.training.tagger_recipes import (
        Schedule,
        backbone_of,
        train_all_layers_on_photos,
        train_tagger_on_photos,
        train_tagger_on_scenes,
    )
    from jaxadv.victims import zoo
    from jaxadv.victims.architectures import ClassifierArchitecture
    from jaxadv.victims.nets.mobilenet_v2 import load_mobilenet_v2

    job: Iterator[Progress]
    folder = victim_folder(out, name, force)
    if sources == [SCENES]:
        small = ClassifierArchitecture(backbone or "resnet-small-crowd", side or scenes.CROWD_SIDE)
        job = train_tagger_on_scenes(folder, small, steps=steps or 4000, seed=seed)
    else:
        if backbone_from is not None:
            other = zoo.load(backbone_from)
            sees, begun = backbone_of(other, backbone)
            usual, source = other.functions.image_shape[0], backbone_from
        else:
            if backbone_weights is None or backbone not in (None, "mobilenet-v2"):
                raise InputError(BACKBONE)
            sees, begun = "mobilenet-v2", load_mobilenet_v2(backbone_weights)
            usual, source = 224, "MobileNetV2 1.0 224 (ImageNet)"
        large = ClassifierArchitecture(sees, side or usual)
        found = labelled(open_data(sources))
        options: dict[str, Any] = {
            "source": source,
            "steps": steps or 1000,
            "held_out": held_out,
            "seed": seed,
        }
        if all_layers:
            how: Any = optimiser  # one of two, as checked
            options["schedule"] = Schedule(how, batch, learning_rate, weight_decay)
        train = train_all_layers_on_photos if all_layers else train_tagger_on_photos
        job = train(folder, large, found, begun, **options)
    for _ in watch(job, name):
        pass


def _classifier_mode(
    sources: list[str], backbone_weights: Path | None, backbone_from: str | None, all_layers: bool
) -> str:
    """Return how a classifier is trained, a key of `CLASSIFIER_READS`."""
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
    name: Annotated[str, typer.Option(help="Name of the victim; written to ported_weights/NAME.")],
    method: Annotated[str | None, typer.Option(help="dcmh (the default) or ssah; or dual.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="vgg-f-small (the default) or resnet-small, for scenes of 64 pixels; "
            "vgg-f, resnet50."
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help=f"Length of the codes, or embeddings: 16, 32 (the default), 48 or 64. {BITS_COST}"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each network.")] = 2000,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Begin with this victim's weights, or only its backbone's."),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            help="Or begin with ImageNet's: imagenet-vgg-f.mat for vgg-f, torchvision's "
            "resnet50 for resnet50."
        ),
    ] = None,
    decorrelation: Annotated[
        float,
        typer.Option(
            min=0.0, help="Weight of ‖FᵀF/b - I‖²/K², which keeps bits from going together."
        ),
    ] = 0.0,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="scenes, or pictures with labels and with tags or captions: a folder in a known "
            "layout, or a prepared set's name; repeatable."
        ),
    ] = None,
    held_out: Annotated[
        int, typer.Option(min=1, help="Pictures of --data that ask and are not learned from.")
    ] = 100,
    adversarial: Annotated[
        int,
        typer.Option(
            min=0,
            help="Attack this many training pairs on the victim of --from, as pictures and as "
            "texts, and add them to the training set.",
        ),
    ] = 0,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of each of these attacks.")] = 100,
    pairs: Annotated[
        int, typer.Option(min=64, max=1_000_000, help="Scenes to learn from.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where victims are kept.")] = Path("ported_weights"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the victim of that name, if there is one.")
    ] = False,
) -> None:
    """Train a cross-modal hasher: pictures and bags of words to codes of one space.

    Or a dual encoder (--method dual), whose embeddings are compared by their similarity.
    """
    sources = data or [SCENES]
    learns = SCENES if sources == [SCENES] else "--data"
    refuse_unread(context, learns + " with --adversarial" * bool(adversarial), HASHER_READS)
    if begin is not None and backbone_weights is not None:
        raise InputError("--backbone-weights: is not read with --from; give one of them")

    from jaxadv.cli.inputs import victim_folder
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import labelled
    from jaxadv.porting.port import read_features
    from jaxadv.training.hasher_recipes import (
        hasher_architecture,
        train_hasher_on_data,
        train_hasher_on_scenes,
    )
    from jaxadv.victims import zoo

    start = None if begin is None else zoo.load(begin)
    made = hasher_architecture(method, backbone, bits, like=start if adversarial else None)
    features = (
        None
        if backbone_weights is None
        else (backbone_weights.name, read_features(backbone_weights, made))
    )
    folder = victim_folder(out, name, force)
    options: dict[str, Any] = {
        "seed": seed,
        "adversarial": adversarial,
        "iterations": iterations,
        "start": start,
        "features": features,
        "decorrelation": decorrelation,
    }
    if sources != [SCENES]:
        found = labelled(open_data(sources))
        job = train_hasher_on_data(
            folder,
            made,
            found,
            steps=steps,
            held_out=held_out,
            **options,
        )
    else:
        job = train_hasher_on_scenes(
            folder,
            made,
            steps=steps,
            count=pairs,
            **options,
        )
    for _ in watch(job, name):
        pass
