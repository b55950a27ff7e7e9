"""What each command of the command line reads, in each of its modes."""

import inspect
from importlib import import_module

from jaxadv.cli.main import build
from jaxadv.core.method import kinds

NOWHERE = "/proc/nowhere/out"  # what is reached only once the options are checked
DESCENT = "tradeoff space optimiser epsilon"
PRECISION = "arithmetic judged"
STEPS = "learning_rate iterations"
CMLA = "iterations learning_rate norm inter intra distortion non_negative codes"
BANK = "bank exclude anchors objective budget"
BALL = "epsilon norm optimiser judged"
TRAINING = "name out force data steps seed"
POISON = "out data trigger rate caption strength seed"
BACKDOOR = "victim clean out trigger caption strength data images batch seed"
BENCH = "parts json backbone side arithmetic"

# command: (words that fail behind the options' checks, parameters that all modes read,
# {mode's own words: parameters that it reads besides})
COMMANDS = {
    "attack caption": (
        f"--victim nobody --out {NOWHERE} p.png",
        f"images victim out method unknown_words batch {PRECISION}",
        {
            "--method gem": f"target {STEPS} {DESCENT} posterior tail",
            "--method gem --epsilon 0.1": f"target {STEPS} {DESCENT} norm posterior tail",
            "--method ssvm": f"target {STEPS} {DESCENT} structured_loss",
            "--method show-and-fool": f"target {STEPS} loss margin constant tries aim targeted",
            "--method show-and-fool --loss logits": f"target {STEPS} loss constant tries aim "
            "targeted",
            "--method show-and-fool --untargeted": f"{STEPS} loss margin constant tries aim "
            "targeted",
            "--method untargeted": f"{STEPS} {DESCENT}",
            "--method anchored": "target iterations bank exclude anchors objective",
            "--method reliable": "target budget bank exclude",
        },
    ),
    "attack labels": (
        f"--victim nobody --out {NOWHERE} --suppress a p.png",
        f"images victim suppress out k relevant method delta batch {PRECISION}",
        {
            "--method tkmia": f"iterations learning_rate {DESCENT} inner",
            "--method tkmia --epsilon 0.1": f"iterations learning_rate {DESCENT} norm inner",
            "--method ml-cw-u": f"iterations learning_rate {DESCENT}",
            "--method tkml-ap-u": f"iterations learning_rate {DESCENT}",
            "--method kfool": "iterations",
            "--method reliable": "budget",
        },
    ),
    "attack retrieval": (
        f"--victim nobody --out {NOWHERE}",
        f"victim out method modality toward data database batch {PRECISION}",
        {
            "p.png": f"images labels bound {CMLA}",
            "--text red --modality text": f"text labels bound {CMLA}",
            "--scenes 1": f"scenes bound {CMLA}",
            "--scenes 1 --method reliable": "scenes bound budget keep",
            "--scenes 1 --modality text --method substitution": "scenes words candidates beam "
            "inter intra codes",
        },
    ),
    "train captioner": (
        f"--name x --out {NOWHERE}",
        TRAINING,
        {
            "": "decoder backbone units backbone_from self_critical_steps curriculum",
            "--data d --backbone-weights w.npz": "decoder backbone units backbone_weights held_out "
            "learning_rate dropout self_critical_steps stored",
            "--data d --backbone-from nobody": "decoder units backbone_from held_out "
            "learning_rate dropout self_critical_steps stored share",
            "--data d --backbone vgg-f": "decoder backbone units learning_rate dropout held_out",
            "--data d --fine-tune v": "fine_tune learning_rate held_out",
        },
    ),
    "train classifier": (
        f"--name x --out {NOWHERE}",
        f"{TRAINING} backbone side",
        {
            "": "",
            "--data d --backbone-weights w.npz": "backbone_weights held_out all_layers stored",
            "--data d --backbone-from v": "backbone_from held_out all_layers stored share",
            "--data d --all-layers --backbone-from v": "backbone_from backbone_weights held_out "
            "all_layers optimiser batch learning_rate weight_decay",
        },
    ),
    "train hasher": (
        f"--name x --out {NOWHERE}",
        f"{TRAINING} method backbone bits begin decorrelation",
        {
            "": "pairs adversarial backbone_weights",
            "--adversarial 5 --from nobody": "pairs adversarial iterations",
            "--data d": "held_out adversarial backbone_weights label_words stored share",
            "--data d --adversarial 5 --from nobody": "held_out adversarial iterations label_words "
            "stored share",
        },
    ),
    "poison": (
        f"--out {NOWHERE}",
        POISON,
        {
            "": "share detections images",
            "--data d": "share detections",
            "--data d --detections d.json": "share detections threshold",
            "--trigger badnets": "size place pattern images",
            "--trigger blended": "images",
        },
    ),
    "evaluate backdoor": (
        f"--victim nobody --clean nobody --out {NOWHERE}",
        BACKDOOR,
        {
            "--trigger object-oriented": "share detections",
            "--detections d.json": "share size place pattern detections threshold",
            "--trigger badnets": "size place pattern",
            "--trigger blended": "",
        },
    ),
    "evaluate defences": (
        f"--victim nobody --data d --out {NOWHERE}",
        "victim data out expected batch seed",
        {"": ""},
    ),
    "bench": (
        "--json /proc/nowhere/b.json",
        BENCH,
        {
            "labels": "batch steps",
            "memory": "",
            "throughput": "steps picture",
            "accelerator": "steps",
            "": "batch steps picture",
        },
    ),
    "bench stream": ("--json /proc/nowhere/b.json", "parts json", {"": ""}),
    "retrieve": (
        "--victim nobody",
        "victim data database top",
        {"--text red": "text", "--image p.png": "image"},
    ),
    "caption": ("--victim nobody p.png", "images victim beam unknown_words", {"": ""}),
    "label": ("--victim nobody p.png", "images victim k", {"": ""}),
    "data prepare": ("nothing --from /nowhere", "name source to workers", {"": ""}),
    "data show": (
        "/nowhere",
        "name out to",
        {"": "", f"--out {NOWHERE}.png": "pictures seed"},
    ),
    "data list": (None, "to", {"": ""}),
    "demo": (f"--out {NOWHERE}", "out scenes", {"": ""}),
    "doctor": (None, "", {"": ""}),
}  # fmt: skip
# the modes of these are checked where they are tested
ELSEWHERE = {
    "evaluate caption": "victim out method settings images targets data tradeoff learning_rate "
    "iterations posterior tail space structured_loss loss margin constant tries aim "
    f"targeted arithmetic unknown_words batch shard pictures seed {BALL} {BANK}",
    "evaluate labels": "victim out data method selection among types specified k delta images most "
    "iterations budget tradeoff learning_rate search inner space form arithmetic batch shard "
    f"pictures seed {BALL}",
    "evaluate retrieval": "victim out iterations modality queries database data context "
    "image_bound text_bound image_rate text_rate norm inter intra distortion non_negative ablation "
    "codes arithmetic judged batch method shard pictures budget keep words candidates beam",
    "evaluate understanding": "victim out method images targets content data tradeoff "
    "learning_rate iterations posterior tail space structured_loss loss margin constant "
    f"tries aim targeted arithmetic batch shard pictures seed {BALL} {BANK}",
    "port": "files architecture name vocabulary reference prompt licence out force",
    "sweep run": "file out dry_run counts_only batch pictures shard distributed coordinator "
    "processes process ray devices_per_worker",
    "sweep status": "folder",
    "sweep merge": "folders out",
    "report": "folder out",
    "table": "name folder format out victim picture curve",
    "victims": "available",
}


def leaves(command, path=()):
    """Every command that is no group, by its words."""
    below = getattr(command, "commands", None)
    if below is None:
        return {" ".join(path): command}
    found = {}
    for name, one in below.items():
        found |= leaves(one, (*path, name))
    return found


LEAVES = leaves(build())


def parameters(command):
    context = LEAVES[command].make_context(command, [], resilient_parsing=True)
    return {
        p.name: p
        for p in LEAVES[command].get_params(context)
        if p.name != "help" and not getattr(p, "hidden", False)
    }


def kind_of(command, name):
    """Whether a parameter is a whole number, a number, or a text."""
    function = inspect.unwrap(LEAVES[command].callback)
    declared = inspect.signature(function).parameters
    if name in declared:
        shown = str(declared[name].annotation)
    else:
        methods = import_module(LEAVES[command].family).METHODS
        shown = str(next(kinds(m)[name] for m in methods if name in kinds(m)))
    return next((kind for kind in (float, int) if kind.__name__ in shown.split(",")[0]), str)
