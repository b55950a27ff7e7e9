"""IAPR TC-12 with its segmented and annotated extension (SAIAPR), from the owners' archives.

Pictures and English descriptions are in `iaprtc12/`, the regions' concepts in `saiapr_tc-12/`.
The papers' 255 concepts are those that some region has. Their 2,912 words were never published as a
rule; here they are the words of letters only that at least 3 descriptions have, without the
commonest English ones, and the difference is printed. The community's file (see `hashing`) has the
2,912 as numbers without names.
"""

import os
import re
from collections import Counter
from pathlib import Path

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, find, make, need
from jaxadv.data.sets.nus_wide import divide
from jaxadv.data.sets.reading import LeftOut
from jaxadv.formats.errors import FormatError, quoted
from jaxadv.formats.files import read_bytes
from jaxadv.formats.text import numbered_lines
from jaxadv.formats.values import ValueFault, parse_whole

OWNER = "https://www.imageclef.org/photodata"
SEGMENTED = "https://www.imageclef.org/SIAPRdata"
LEAST = 3
MOST = 1 << 20  # bytes of a description, and the largest number of a picture or a concept
COMMON = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "he",
        "her", "his", "in", "is", "it", "its", "not", "of", "on", "or", "she", "that", "the",
        "their", "there", "they", "this", "to", "two", "was", "were", "which", "while", "who",
        "with",
    )
)  # fmt: skip
EXPECTED = {
    "all": 20_000,
    "query": 1_000,
    "training": 4_000,
    "classes": 255,
    "tags": 2_912,
}


def needs() -> tuple[Download, ...]:
    """List what the set consists of."""
    return (
        Download("iaprtc12/images", "iaprtc12.tgz", OWNER),
        Download("iaprtc12/annotations_complete_eng", "iaprtc12.tgz", OWNER),
        Download("saiapr_tc-12", "saiaprtc12ok.tgz", SEGMENTED),
        Download("saiapr_tc-12/wlist.txt", "saiaprtc12ok.tgz", SEGMENTED, optional=True),
    )


def read(folder: Path) -> DataSet:
    """Read IAPR TC-12.

    Concepts are called by their numbers where there is no `wlist.txt` with lines `number name`.
    Selections: `query`, `database`, `training` and `attacked-training` divide the pairs that have a
    label and a tag at random, as the CMLA paper's supplement counts them.

    Raises:
      FolderError: files are missing or broken.
    """
    images, notes, segmented = (
        need(folder, d, d.path.split("/", 1)[-1], f"saiaprtc12ok/benchmark/{d.path}")
        for d in needs()[:3]
    )
    problems: list[str] = []
    concepts = _concepts(segmented, problems)
    names = _names(segmented, problems)
    present = sorted({number for numbers in concepts.values() for number in numbers})
    classes = tuple(names.get(number, str(number)) for number in present)
    descriptions = _descriptions(notes, problems)
    said = {key: set(_words(text)) for key, text in descriptions.items()}
    times = Counter(word for words in said.values() for word in words)
    vocabulary = tuple(sorted(word for word, count in times.items() if count >= LEAST))
    known = set(vocabulary)
    records: list[Record] = []
    for key, description in descriptions.items():
        picture = images / f"{key}.jpg"
        if not os.path.isfile(picture):
            problems.append(f"{picture}: no such picture")
            continue
        number = key.split("/")[1]
        mine = concepts.get(number)
        if mine is None:
            problems.append(f"{segmented}: no concepts of picture {key}")
        records.append(
            Record(
                key,
                picture,
                (description,),
                None if mine is None else tuple(names.get(n, str(n)) for n in sorted(mine)),
                tuple(sorted(known & said[key])),
            )
        )
    pairs = tuple(r.id for r in records if r.labels and r.tags)
    return make(
        "iapr_tc12",
        folder,
        records,
        problems,
        classes=classes,
        tags=vocabulary,
        selections={"pairs": pairs, **divide(pairs, 1_000, 4_000, 5_000)},
        expected=EXPECTED,
    )


def _concepts(segmented: Path, problems: list[str]) -> dict[str, set[int]]:
    """Read the lines `picture region concept` of every folder's `labels.txt`."""
    found: dict[str, set[int]] = {}
    for path in sorted(segmented.glob("*/labels.txt")):
        left_out = LeftOut(path, problems)
        for number, line in numbered_lines(path):
            fields = line.split()
            try:
                _, _, concept = (parse_whole(field, "a number", MOST) for field in fields[:3])
                found.setdefault(fields[0], set()).add(concept)
            except ValueError:
                left_out.add(f"line {number}", f"not picture, region, concept: {quoted(line)}")
    if not found:
        raise FolderError(f"{segmented}/00/labels.txt: missing; it is in saiaprtc12ok.tgz")
    return found


def _names(segmented: Path, problems: list[str]) -> dict[int, str]:
    path = find(segmented, "wlist.txt") or find(segmented.parent, "wlist.txt")
    if path is None:
        return {}
    names: dict[int, str] = {}
    left_out = LeftOut(path, problems)
    for number, line in numbered_lines(path):
        which, _, name = line.replace("\t", " ").partition(" ")
        try:
            concept = parse_whole(which, "a number", MOST)
            if not name.strip():
                raise ValueFault("no name")
            if names.setdefault(concept, name.strip()) != name.strip():
                raise FolderError(f"{path}, line {number}: concept {concept} twice (duplicate)")
        except ValueFault:
            left_out.add(f"line {number}", f"not a number and a name: {quoted(line)}")
    return names


def _descriptions(notes: Path, problems: list[str]) -> dict[str, str]:
    """Read what is said of each picture, by `folder/number`."""
    found = {}
    for path in sorted(notes.glob("*/[!.]*.eng")):
        try:
            found[f"{path.parent.name}/{path.stem}"] = _description(path)
        except (FolderError, FormatError) as problem:
            problems.append(f"{problem}; the picture is left out")
    return found


def _description(path: Path) -> str:
    """The text between the marks of a file that is nearly XML, in Windows' Latin alphabet."""
    text = read_bytes(path, MOST).decode("cp1252", errors="replace")
    match = re.search(r"<DESCRIPTION>(.*?)</DESCRIPTION>", text, re.DOTALL)
    if match is None:
        raise FolderError(f"{path}: no <DESCRIPTION>, or truncated")
    return " ".join(match[1].split())


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in COMMON]
