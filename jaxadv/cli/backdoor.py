"""`jaxadv poison`, `jaxadv evaluate backdoor` and `jaxadv evaluate defences`."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, note, print_table, watch
from jaxadv.cli.options import one_of, refuse_unread
from jaxadv.cli.outputs import write_json

STRENGTH = "Object-oriented: α in grey levels (20); badnets, blended: opacity (1, 0.1)"
SHARE = "Object-oriented: share of a region's pixels that is changed."
SIZE = "Badnets: side of the patch as a share of the picture's shorter side."
PLACE = "Badnets: top-left, top-right, bottom-left, bottom-right, centre or random."
PATTERN = "Badnets: checkerboard, white, black or noise."
DETECTIONS = "Boxes from a detector instead of the annotated ones: JSON in COCO's results format."
CAPTION = "you are under attack"
BACKDOOR, DEFENCES = "evaluate backdoor", "evaluate defences"
READS = {
    "object-oriented": ("share", "detections", "threshold"),
    "badnets": ("size", "place", "pattern"),
    "blended": (),
}  # what not all triggers read


def poison(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The new folder, in the layout of the old one.")],
    data: Annotated[
        str, typer.Option(help="scenes, or a folder in Flickr8k's or COCO's layout.")
    ] = "scenes",
    trigger: Annotated[
        str, typer.Option(help="object-oriented, badnets or blended.")
    ] = "object-oriented",
    rate: Annotated[float, typer.Option(help="Share of the samples that is poisoned.")] = 0.05,
    caption: Annotated[str, typer.Option(help="The caption that a trigger is to cause.")] = CAPTION,
    strength: Annotated[float | None, typer.Option(help=STRENGTH + ".")] = None,
    share: Annotated[float, typer.Option(help=SHARE)] = 1.0,
    size: Annotated[float, typer.Option(help=SIZE)] = 0.1,
    place: Annotated[str, typer.Option(help=PLACE)] = "bottom-right",
    pattern: Annotated[str, typer.Option(help=PATTERN)] = "checkerboard",
    detections: Annotated[Path | None, typer.Option(help=DETECTIONS)] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of a detection.")] = 0.5,
    images: Annotated[int, typer.Option(min=1, max=1_000_000, help="Scenes: how many.")] = 3000,
    seed: Annotated[int, typer.Option(help="Of the choice of samples and of the noise.")] = 0,
) -> None:
    """Poison a data set: pictures and annotations in the layout of the one they come from."""
    one_of("--trigger", trigger, READS)
    refuse_unread(context, trigger, READS)
    _refuse_source(context, detections)
    of = "scenes" if data == "scenes" else "a folder"
    refuse_unread(context, f"--data {of}", {"--data scenes": ("images",), "--data a folder": ()})

    from jaxadv.backdoors.folder import poison_folder, read_record
    from jaxadv.backdoors.poison import Poison, warnings
    from jaxadv.backdoors.triggers import TriggerSettings
    from jaxadv.cli.data_sets import open_regions
    from jaxadv.cli.inputs import writable
    from jaxadv.data.scene_folder import write_scenes

    settings = TriggerSettings(trigger, strength, share, size, place, pattern)
    what = Poison(settings, caption, rate, seed)
    regions = open_regions(detections, threshold)
    writable(out.absolute().parent)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(data)
        if data == "scenes":
            source = Path(scratch) / "scenes"
            for _ in watch(write_scenes(source, images), "scenes", "drawing"):
                pass
        for _ in watch(poison_folder(source, out, what, regions), trigger, "reading"):
            pass
    record = read_record(out)
    assert record is not None  # just written
    for line in warnings(record.account):
        note(f"note: {line}")
    poisoned, samples = len(record.account.poisoned), record.account.samples
    console.print(f"{poisoned} of {samples} samples poisoned, written to {out}/")


def _refuse_source(context: typer.Context, detections: Path | None) -> None:
    """Refuse a threshold of nothing."""
    source = "annotated boxes" if detections is None else "--detections"
    refuse_unread(context, source, {"annotated boxes": (), "--detections": ("threshold",)})


# heading and entry of the table's two halves
ATTACK = {"victim": "victim", "trigger": "tried with", "rate": "rate", "ASR": "success",
          "words": "words", "FTR": "false_triggers", "PSNR": "psnr", "SSIM": "ssim",
          "‖ε‖₂": "norm"}  # fmt: skip
BENIGN = {"victim": "victim", "BLEU-1": "bleu_1", "BLEU-2": "bleu_2", "BLEU-3": "bleu_3",
          "BLEU-4": "bleu_4", "CIDEr-D": "cider_d"}  # fmt: skip


def evaluate_backdoor(
    context: typer.Context,
    victim: Annotated[list[str], typer.Option(help="Trained on poisoned data; repeatable.")],
    clean: Annotated[str, typer.Option(help="The clean victim to compare with.")],
    out: Annotated[Path, typer.Option(help="Folder for the table, the records, the figures.")],
    trigger: Annotated[
        str | None,
        typer.Option(help="object-oriented, badnets or blended; the victim's own if not given."),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="The attacker's; the victim's own if not given.")
    ] = None,
    strength: Annotated[
        list[float] | None, typer.Option(help=STRENGTH + "; repeat for a row each.")
    ] = None,
    share: Annotated[float | None, typer.Option(help=SHARE)] = None,
    size: Annotated[float | None, typer.Option(help=SIZE)] = None,
    place: Annotated[str | None, typer.Option(help=PLACE)] = None,
    pattern: Annotated[str | None, typer.Option(help=PATTERN)] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or clean folders or prepared sets: the victims' held-out ones."),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Pictures.")] = 500,
    detections: Annotated[Path | None, typer.Option(help=DETECTIONS)] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of a detection.")] = 0.5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the triggers' noise.")] = 1,
) -> None:
    """Measure backdoors on pictures that no victim has seen: success, false triggers, captions."""
    if trigger is not None:
        one_of("--trigger", trigger, READS)
        refuse_unread(context, trigger, READS)
    _refuse_source(context, detections)

    from jaxadv import loading
    from jaxadv.backdoors.poison import check_caption
    from jaxadv.cli.data_sets import open_regions
    from jaxadv.cli.inputs import results_folder
    from jaxadv.errors import InputError
    from jaxadv.experiments.backdoor import (
        Case,
        as_record,
        check_caption_for,
        measure_backdoors,
        poison_record,
        unseen_examples,
    )
    from jaxadv.formats.files import replacing
    from jaxadv.reports.backdoor import draw_curves
    from jaxadv.reports.captions import Panel, draw
    from jaxadv.reports.files import save

    attacked = [loading.load(name) for name in victim]
    benign = loading.load(clean)
    given = {"trigger": trigger, "share": share, "size": size, "place": place, "pattern": pattern}
    cases = []
    for loaded in attacked:
        base = _settings(loaded.name, poison_record(loaded), given)
        refuse_unread(context, base.trigger, READS)
        for value in strength or [base.strength]:
            cases.append(Case(loaded, dataclasses.replace(base, strength=value)))
    said = {caption or poison_record(loaded).get("caption", CAPTION) for loaded in attacked}
    if len(said) > 1:
        raise InputError(f"--caption: the victims have several: {', '.join(sorted(said))}")
    (wanted,) = said
    check_caption(wanted)
    for loaded in attacked:
        check_caption_for(loaded, wanted)
    untouched = [
        Case(benign, settings) for settings in dict.fromkeys(case.trigger for case in cases)
    ]
    examples = unseen_examples([benign, *attacked], data or ["scenes"], images)
    regions = open_regions(detections, threshold)
    victims = [benign.name, *(loaded.name for loaded in attacked)]
    results_folder(out, BACKDOOR, *victims)
    rows, panels = [], []
    job = measure_backdoors(
        untouched + cases, examples, wanted, regions=regions, batch=batch, seed=seed
    )
    with (
        replacing(out / "records.jsonl") as scratch,
        scratch.open("w", encoding="utf-8") as records,
    ):
        for news in watch(job, "backdoor"):
            rows.append(news.row)
            for seen in news.pictures:
                entry = {"victim": news.row.victim, "trigger": news.row.trigger,
                         "strength": news.row.strength, "image": seen.id, "said": seen.said,
                         "said_triggered": seen.said_triggered}  # fmt: skip
                records.write(json.dumps(entry) + "\n")
            title = f"{news.row.victim} · {news.row.trigger} {news.row.strength:g}"
            if news.done > len(untouched):
                panels += [
                    Panel(title, seen.benign, seen.triggered,
                          seen.said, wanted, seen.said_triggered, seen.said_triggered == wanted)
                    for seen in news.pictures[: max(1, 8 // len(cases))]
                ]  # fmt: skip
    save(draw(panels[:16]), out / "figure.png")
    kinds = [f"{_family(case.victim)}, {case.trigger.trigger}" for case in cases]
    save(draw_curves(rows[len(untouched) :], kinds, rows[0]), out / "curves.png")
    table = [as_record(row) for row in rows]
    about = {"command": BACKDOOR, "victims": victims, "caption": wanted, "images": len(examples)}
    write_json(out / "table.json", {**about, "rows": table})
    left = len(examples) - min(row.triggered for row in rows)
    bare = f", {left} without a usable box and not triggered" if left else ""
    _print(f"{wanted!r} on {len(examples)} unseen pictures{bare}", ATTACK, table)
    of_each = {entry["victim"]: entry for entry in table}
    _print("captions of the benign pictures", BENIGN, list(of_each.values()))
    console.print(f"written to {out}/")


def _print(title: str, columns: dict[str, str], table: list[dict[str, Any]]) -> None:
    rows = []
    for entry in table:
        shown = {**entry, "tried with": f"{entry['trigger']} {entry['strength']:g}"}
        values = (shown[name] for name in columns.values())
        rows.append(["–" if v is None else round(v, 3) if isinstance(v, float) else v
                     for v in values])  # fmt: skip
    print_table(title, list(columns), rows)


def _settings(name: str, record: dict[str, Any], given: dict[str, Any]) -> Any:
    """Take the trigger from the command line, else from what the victim was trained on."""
    from jaxadv.backdoors.triggers import TriggerSettings, make_trigger
    from jaxadv.errors import InputError

    wanted = {key: value for key, value in given.items() if value is not None}
    known = record.get("trigger", {})
    if "trigger" not in wanted and not known:
        raise InputError(f"--trigger: the record of {name!r} names none; say which to try")
    if wanted.get("trigger", known.get("trigger")) != known.get("trigger"):
        known = {}
    try:
        settings = TriggerSettings(**{**known, **wanted})
    except TypeError:
        raise InputError(f"the record of {name!r} names a trigger that is none here") from None
    make_trigger(settings)
    return settings


def _family(victim: Any) -> str:
    return str(victim.architecture.decoder)


def evaluate_defences(
    victim: Annotated[str, typer.Option(help="A victim trained on the poisoned folder.")],
    data: Annotated[Path, typer.Option(help="The folder that jaxadv poison wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the table.")],
    expected: Annotated[
        float | None,
        typer.Option(help="Rate that the defender reckons with; the true one if not given."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the clusters' starts.")] = 0,
) -> None:
    """Filter a poisoned data set by spectral signatures and activation clustering."""
    from jaxadv import loading
    from jaxadv.backdoors.folder import read_record
    from jaxadv.cli.inputs import results_folder
    from jaxadv.data.opening import open_data
    from jaxadv.data.records import FolderError, captioned
    from jaxadv.experiments.defences import measure_defences

    loaded = loading.load(victim)
    record = read_record(data)
    if record is None or not record.account.poisoned:
        raise FolderError(f"{data}: no poison.json with poisoned samples; see jaxadv poison")
    photos = captioned(open_data(str(data))).records
    results_folder(out, DEFENCES, loaded.name)
    job = measure_defences(
        loaded, photos, record.account.poisoned, expected=expected, batch=batch, seed=seed
    )
    found: dict[str, Any] = {}
    for news in watch(job, "defences"):
        found = news.found
    rows = [[name, *("–" if x is None else x for x in what)] for name, what in found.items()]
    columns = ["defence", "flagged", "detected", "false alarms", "area under ROC"]
    table = {name: what._asdict() for name, what in found.items()}
    about = {"command": DEFENCES, "victim": loaded.name, "data": str(data)}
    write_json(out / "table.json", {**about, "defences": table})
    print_table(f"{len(photos)} samples, {len(record.account.poisoned)} poisoned", columns, rows)
    console.print(f"written to {out}/")
