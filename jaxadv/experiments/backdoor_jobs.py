"""The backdoor that a cell of a sweep stands for: poison, fine-tune, measure."""

import dataclasses
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from jaxadv import loading
from jaxadv.backdoors.folder import poison_folder
from jaxadv.backdoors.methods import METHODS, BackdoorOptions, trigger_of
from jaxadv.backdoors.poison import Poison
from jaxadv.backdoors.regions import RegionSource, annotated, read_detections
from jaxadv.data.opening import open_data
from jaxadv.data.records import captioned
from jaxadv.data.scene_folder import write_scenes
from jaxadv.experiments.backdoor import (
    Case,
    as_record,
    check_length_for,
    measure_backdoors,
    unseen_examples,
)
from jaxadv.experiments.cells import Cell, Design
from jaxadv.experiments.family import Family, column
from jaxadv.experiments.job import Experiment, Shared
from jaxadv.experiments.shown import Row, Shown
from jaxadv.formats.errors import quoted
from jaxadv.training.captioner_recipes import fine_tune
from jaxadv.victims.zoo import Victim

KEPT = ("success", "bleu_4", "cider_d")  # of what the clean victim does
SHOWN = 12  # pictures whose captions are recorded


@dataclasses.dataclass(frozen=True)
class BackdoorDesign(Design):
    """What is poisoned, and on what the backdoor is tried.

    Attributes:
      data: "scenes", or a folder in Flickr8k's or COCO's layout, which is poisoned.
      clean: further folders that are trained on as they are.
      images: scenes to train on.
      unseen: pictures that are tried, at most: held-out scenes, or the photographs held out.
      held_out: photographs that are not trained on.
      caption: the attacker's.
      detections: a JSON file of a detector's boxes, instead of the annotated ones.
      threshold: the lowest score of a detection.
    """

    data: str = "scenes"
    clean: tuple[str, ...] = ()
    images: int = 6000
    unseen: int = 500
    held_out: int = 100
    caption: str = "you are under attack"
    detections: str = ""
    threshold: float = 0.5

    @property
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""
        return 1

    @property
    def unread(self) -> dict[str, tuple[str, ...]]:
        """The keys that are not read as the others are set, by why."""
        found: dict[str, tuple[str, ...]] = {}
        if self.data != "scenes":
            found[f"data = {quoted(self.data)}"] = ("images",)
        if not self.detections:
            found["the annotated boxes"] = ("threshold",)
        return found


def backdoor_job(cell: Cell, victim: Victim, shared: Shared) -> Experiment:
    """Poison a data set, train a clean captioner on it, and try it on pictures that it never saw.

    Args:
      cell: the trigger, how many samples carry it, and how long is trained.
      victim: the clean captioner.
      shared: not used; every cell has data of its own.

    Raises:
      InputError: a setting out of range, another victim, or data that are not there.
    """
    design, options = cell.design, cell.method.options
    assert isinstance(design, BackdoorDesign) and isinstance(options, BackdoorOptions)
    trigger = trigger_of(cell.method.name, options)
    poison = Poison(trigger, design.caption, options.rate, cell.seed)
    regions: RegionSource = annotated
    left_out: list[str] = []
    if design.detections:
        regions = read_detections(Path(design.detections), design.threshold, left_out.append)
    check_length_for(victim, design.caption)
    for source in (design.data, *design.clean):
        if source != "scenes":
            captioned(open_data(source))

    def run() -> Generator[str, None, dict[str, Any]]:
        source = Path(design.data)
        if left_out:
            yield f"{len(left_out)} detections left out, such as {left_out[0]}"
        with tempfile.TemporaryDirectory(prefix="jaxadv-backdoor-") as scratch:
            poisoned, trained = Path(scratch) / "poisoned", Path(scratch) / "victim"
            if design.data == "scenes":
                source = Path(scratch) / "scenes"
                for written in write_scenes(source, design.images):
                    yield f"{written.done} of {written.total} scenes written"
            for _ in poison_folder(source, poisoned, poison, regions):
                pass
            for news in fine_tune(
                trained,
                victim,
                [str(poisoned), *design.clean],
                steps=options.steps,
                learning_rate=options.learning_rate,
                held_out=design.held_out,
                seed=cell.seed,
            ):
                yield news.message
            backdoored = loading.load(str(trained))
            where = ("scenes",) if design.data == "scenes" else (design.data, *design.clean)
            unseen = unseen_examples([victim, backdoored], where, design.unseen)
            cases = [Case(victim, trigger), Case(backdoored, trigger)]
            clean, attacked = measure_backdoors(
                cases, unseen, design.caption, regions=regions, seed=(cell.seed + 1) % 2**32
            )
        found = as_record(attacked.row)
        return {
            "data": ", ".join(where),
            "trained": int(backdoored.record["poison"]["samples"]),
            "unseen": len(unseen),
            **{
                f"clean_{name}": value
                for name, value in as_record(clean.row).items()
                if name in KEPT
            },
            "said": [seen.said for seen in attacked.pictures[:SHOWN]],
            "said_triggered": [seen.said_triggered for seen in attacked.pictures[:SHOWN]],
            **{name: value for name, value in found.items() if name not in cell.columns},
        }

    return Experiment(int(cell.digest[:6], 16), run)


def shown_backdoor(row: Row) -> Shown:
    """Show the caption of a picture, and that of the same picture with the trigger."""
    before, after = row.get("said") or "", row.get("said_triggered") or ""
    if isinstance(before, str) and isinstance(after, str):
        return Shown("", before, after)
    return Shown("", *(" / ".join(map(str, some[:1])) for some in (before, after)))


BACKDOOR = Family(
    name="backdoor",
    methods=METHODS,
    design=BackdoorDesign,
    job=backdoor_job,
    measures={
        "‖ε‖₂": column("norm"),
        "ASR": column("success"),
        "words": column("words"),
        "FTR": column("false_triggers"),
        "BLEU-4": column("bleu_4"),
        "clean BLEU-4": column("clean_bleu_4"),
        "PSNR": column("psnr"),
        "SSIM": column("ssim"),
    },
    curves=("ASR", "FTR", "BLEU-4"),
    shown=shown_backdoor,
    commands=("evaluate backdoor",),
)
