"""An example for the help of every command. The suite runs them, in this order, in one folder."""

from typing import Any

EXAMPLES = {
    "demo": "jaxadv demo --out demo",
    "caption": "jaxadv caption --victim photos-scst photo.jpg --beam 3",
    "label": "jaxadv label --victim photos-tagger photo.jpg --k 5",
    "retrieve": 'jaxadv retrieve --victim photos-hasher --text "a dog is running on grass"',
    "attack caption": "jaxadv attack caption --victim photos-scst --method reliable --budget 200 "
    '--target "a man is riding a _" --out out photo.jpg',
    "attack labels": "jaxadv attack labels --victim photos-tagger --method reliable "
    "--suppress person --k 1 --out out photo.jpg",
    "attack retrieval": "jaxadv attack retrieval --victim photos-hasher --method reliable "
    "--out out photo.jpg",
    "evaluate caption": "jaxadv evaluate caption --victim scenes-scst --images 8 --targets 1 "
    "--batch 8 --out captions",
    "evaluate understanding": "jaxadv evaluate understanding --victim scenes-scst --images 4 "
    "--targets 1 --batch 4 --out understanding",
    "evaluate labels": "jaxadv evaluate labels --victim scenes-tagger --specified 2 --k 3 "
    "--images 40 --out labels",
    "evaluate retrieval": "jaxadv evaluate retrieval --victim scenes-dcmh --queries 8 --batch 8 "
    "--database 500 --out retrieval",
    "sweep run": "jaxadv sweep mine.toml --out records",
    "sweep status": "jaxadv sweep status records",
    "sweep merge": "jaxadv sweep merge records more --out merged",
    "table": "jaxadv table labels records",
    "report": "jaxadv report records --out page",
    "victims": "jaxadv victims",
    "doctor": "jaxadv doctor",
    "data list": "jaxadv data list",
    "data prepare": "jaxadv data prepare flickr8k --from Flickr8k --to sets",
    "data show": "jaxadv data show flickr8k:train --to sets",
    "port": "jaxadv port model-best.pth resnet101.pth --architecture att2in2-resnet101 "
    "--vocabulary cocotalk.json --name scst",
    "poison": "jaxadv poison --data scenes --images 200 --rate 0.1 --out poisoned",
    "train captioner": "jaxadv train captioner --name backdoored --fine-tune scenes-scst "
    "--data poisoned --steps 50 --out victims",
    "evaluate backdoor": "jaxadv evaluate backdoor --victim victims/backdoored "
    "--clean scenes-scst --images 20 --out backdoor",
    "evaluate defences": "jaxadv evaluate defences --victim victims/backdoored --data poisoned "
    "--out defences",
    "train classifier": "jaxadv train classifier --name tagger --steps 20 --out victims",
    "train hasher": "jaxadv train hasher --name hasher --from scenes-ssah --pairs 500 --steps 5 "
    "--out victims",
    "bench": "python -m jaxadv bench labels --steps 5   # in a checkout",
}


def show_examples(command: Any, words: tuple[str, ...] = ()) -> None:
    """Put the example of every command below its help."""
    for name, one in getattr(command, "commands", {}).items():
        show_examples(one, (*words, name))
    if example := EXAMPLES.get(" ".join(words)):
        command.epilog = "\n\n".join(filter(None, ("Example:", example, command.epilog)))
