"""Folders of records as sweeps and evaluations leave them, made without an attack."""

import json

import numpy as np

from jaxadv.data.images import write_png
from jaxadv.experiments import store
from jaxadv.experiments.plan import plan

CAPTIONS = {"victim": ["scenes-scst", "scenes-show-tell"], "method": "gem", "tradeoff": [0.1, 1.0]}
LABELS = {"victim": "scenes-tagger", "method": ["tkmia", "kfool"], "k": [3, 5]}
RETRIEVAL = {"victim": "scenes-dcmh", "method": "cmla", "modality": ["image", "text"]}
BACKDOOR = {"victim": "scenes-show-tell"}
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "&lt;img src=x onerror=alert(1)&gt; &amp;",
    "line\u2028separators\u2029and \x00 \ud800 control \x1b[2J codes",
    "<" + "x" * 3000 + ">",
    "{{ 7 * 7 }}{% raw %} ${7*7} javascript:alert(1)",
)


def caption_row(cell, number, rng):
    """A record such as a captioner's cell has."""
    said = "a red circle on the sand"
    return {
        "image": f"scene-{number}",
        "setting": ("0 latent", "2 latent", "1 obser")[number % 3],
        "target": "a _ circle",
        "failed": None,
        "benign": "a big blue star on the grass",
        "said": said,
        "said_8bit": said,
        "success": bool(rng.random() < 0.6),
        "success_8bit": bool(rng.random() < 0.5),
        "already": False,
        "precision": rng.random(),
        "recall": rng.random(),
        "norm": 5 * rng.random(),
        "linf": rng.random(),
        "steps": int(rng.integers(50)),
        "seconds": 0.1,
    }


def label_row(cell, number, rng):
    """A record such as a tagger's cell has."""
    names = ("precision", "ndcg", "top_k_accuracy", "average_precision")
    deltas = [*names, "top_k_accuracy_released", "average_precision_released"]
    return {
        "image": f"scene-{number}",
        "setting": "2 labels",
        "k": (3, 5)[number % 2],
        "specified": ["red circle", "blue star"],
        "relevant": ["red circle", "blue star", "pink ring"],
        "failed": None,
        **{f"delta_{name}": rng.normal() for name in deltas},
        "excluded": 1,
        "before": ["red circle", "pink ring", "blue star"],
        "after": ["pink ring", "white cross", "blue star"],
        "after_8bit": ["pink ring", "white cross", "blue star"],
        "success": bool(rng.random() < 0.7),
        "success_8bit": False,
        "norm": rng.random(),
        "steps": int(rng.integers(300)),
        "seconds": 0.1,
    }


def retrieval_row(cell, number, rng):
    """A record such as a hasher's cell has."""
    item = {"item": "scene-9", "labels": ["circle", "star"], "relevant": True}
    other = {"item": "scene-7", "text": "big ring", "labels": ["ring"], "relevant": False}
    curve = {"within": [1, 4], "relevant_within": [1, 2], "precision_at": [1.0, 0.5]}
    return {
        "image": f"scene-{number}",
        "failed": None,
        "bits": 32,
        "data": "scenes",
        "samples": 0,
        "from": None,
        **{f"ap_{a}{b}": rng.random() for a in ("cross", "own") for b in ("_benign", "", "_8bit")},
        **{f"{name}{state}": v for name, v in curve.items() for state in ("", "_benign")},
        "found_benign": [item, other],
        "found_8bit": [other, item],
        "distortion": 0.01,
        "success": True,
        "success_8bit": True,
        "norm": rng.random(),
        "steps": 100,
        "seconds": 0.1,
    }


def backdoor_row(cell, number, rng):
    """A record such as a backdoor's cell has, which has no picture and no verdict."""
    return {
        "failed": None,
        "data": "scenes",
        "said": ["a red circle", "a star"],
        "said_triggered": ["you are under attack", "a star"],
        "success": 0.5,
        "false_triggers": 0.0,
        "bleu_4": 0.3,
        "norm": 1.0,
        "seconds": 1.0,
    }


ROWS = {
    "captions": caption_row,
    "understanding": caption_row,
    "labels": label_row,
    "retrieval": retrieval_row,
    "backdoor": backdoor_row,
}
TABLES = {
    "captions": CAPTIONS,
    "labels": LABELS,
    "retrieval": RETRIEVAL,
    "backdoor": BACKDOOR,
}


def recorded(folder, tables, attempts=6, pictures=False, change=lambda row: row):
    """Write a folder of records; of every cell the second attack failed."""
    rng = np.random.default_rng(0)
    cells = plan(tables)
    store.write_plan(folder, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(folder)
    for cell in cells:
        for number in range(attempts):
            row = ROWS[cell.task](cell, number, rng)
            if number == 1 and cell.task != "backdoor":
                kept = ("image", "setting", "k")
                row = {name: row[name] for name in kept if name in row} | {"failed": "broken"}
            elif pictures:
                row["benign_picture"] = _pictures(folder, cell.digest, number, rng)
            writer.append(change({"cell": cell.digest, "id": number, **row}))
    writer.close()
    return folder


def _pictures(folder, digest, number, rng):
    """Keep a picture before and after an attack."""
    benign = np.full((16, 16, 3), 0.2 + 0.1 * (number % 6), np.float32)
    noise = rng.normal(size=benign.shape).astype(np.float32) / 50
    name = f"benign-{number}.png"
    (folder / "pictures").mkdir(exist_ok=True)
    write_png(folder / "pictures" / name, benign)
    write_png(folder / "pictures" / f"{digest}-{number}.png", np.clip(benign + noise, 0, 1))
    return name


def attacked(folder, name="scene", **entry):
    """Write a record as `jaxadv attack caption` does, with its pictures."""
    folder.mkdir(exist_ok=True)
    record = {
        "command": "attack caption",
        "victim": "scenes-scst",
        "image": f"{name}.png",
        "target": "a red _",
        "benign": "a blue star",
        "said_8bit": "a red star",
        "success_8bit": True,
        "norm": 1.5,
        "settings": {"method": "gem", "tradeoff": 0.1},
        **entry,
    }
    (folder / f"{name}.json").write_text(json.dumps(record))
    picture = np.full((16, 16, 3), 0.5, np.float32)
    write_png(folder / f"{name}.benign.png", picture)
    write_png(folder / f"{name}.adversarial.png", picture + 0.01)
    return folder
