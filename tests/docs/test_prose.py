"""What is read has none of the words of `style.toml`: pages, notebooks, docstrings, messages."""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
STYLE = tomllib.loads((Path(__file__).parent / "style.toml").read_text(encoding="utf-8"))
WORDS = re.compile(rf"\b({'|'.join(STYLE['words'])})\b".replace(" ", r"\s+"), re.IGNORECASE)
READ = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.json")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *(path for end in ("py", "toml", "j2") for path in sorted((ROOT / "jaxadv").rglob(f"*.{end}"))),
    *sorted((ROOT / "benchmarks").glob("*.py")),
]


def text_of(path):
    """Return what a file has to read: all of it, or a notebook's cells."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def found_in(text, allowed=()):
    """Return the lines' numbers and the words that are found there."""
    found = ((text.count("\n", 0, one.start()) + 1, one[0].lower()) for one in WORDS.finditer(text))
    return [(line, " ".join(word.split())) for line, word in found if word not in allowed]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path):
    name = str(path.relative_to(ROOT))
    found = found_in(text_of(path), STYLE["allowed"].get(name, ()))
    assert not found, [f"{name}:{line}: {word!r}: {STYLE['words'][word]}" for line, word in found]


def test_words_are_found():
    """Upper and lower case, over a line's end, whole words alone."""
    assert found_in("This shallow one.\nBeside it, one that goes\non.") == [
        (2, "beside"),
        (2, "goes on"),
    ]
