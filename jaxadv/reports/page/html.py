"""The page itself: a template that is filled, with a library of tables inside.

Whatever comes from records, file names and classes is text. In tables and headings the template
escapes it; rows travel as JSON, in which nothing can end the element that it is in, and the page's
script only ever writes them as text. The page allows no script but its own two.
"""

import base64
import hashlib
import importlib.util
import itertools
import json
import re
import tempfile
from collections.abc import Sequence
from importlib.metadata import files as files_of
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.errors import InputError
from jaxadv.experiments.panels import points_of
from jaxadv.experiments.shown import Item, Said
from jaxadv.experiments.table_formats import said, to_the_right
from jaxadv.experiments.tables import PAPER, WHOSE, Table
from jaxadv.reports.curves import draw
from jaxadv.reports.drawing import changed_words
from jaxadv.reports.files import save
from jaxadv.reports.page.content import Attack, Content, Curve
from jaxadv.reports.page.pictures import Seen, as_address

TEMPLATES = Path(__file__).parent / "templates"
MARK = "jaxadv report"
"""What a page of ours calls its generator."""


class Picture(NamedTuple):
    """A picture that stands in the page.

    Attributes:
      name: above it.
      alt: what it shows, for who does not see it.
      address: that holds it.
      lines: whether it is lines on white, which a dark page inverts.
      table: its points; None where they are not known.
    """

    name: str
    alt: str
    address: str
    lines: bool
    table: Table | None = None


def render(content: Content, seen: Sequence[Seen], embedded: dict[str, str] | None) -> str:
    """Make the page.

    Args:
      content: what it shows.
      seen: the pictures of each row.
      embedded: the pictures by name, as addresses; None where they are in its folder.

    Raises:
      InputError: the extra `report` is not installed.
    """
    jinja2, library = _needed()
    scripts = [_inline(library.script), _inline((TEMPLATES / "page.js").read_text("utf-8"))]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(said=said, to_the_right=to_the_right, is_paper=_is_paper)
    rows = [_row(*both, embedded) for both in zip(content.attacks, seen, strict=True)]
    text: str = environment.get_template("page.html.j2").render(
        content=content,
        mark=MARK,
        pictures=[*map(_drawn, content.curves), *map(_figure, content.figures)],
        left_out=_left_out(seen, embedded),
        any_picture=any(one.benign or one.adversarial for one in seen),
        styles=[_style(library.style), _style((TEMPLATES / "page.css").read_text("utf-8"))],
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        data=as_json({"rows": rows, "pictures": embedded}),
        licence=library.licence,
        versions=library.versions,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class _Library(NamedTuple):
    """The library of tables, DataTables, as the package `itables` has it."""

    script: str
    style: str
    licence: str
    versions: str


def _needed() -> tuple[Any, _Library]:
    """Return the template engine and the library of tables.

    Raises:
      InputError: they are not installed.
    """
    engine, tables = (importlib.util.find_spec(name) for name in ("jinja2", "itables"))
    if engine is None or tables is None or tables.origin is None:
        raise InputError("a page: pip install 'jaxadv[report]' brings `jinja2` and `itables`")
    import jinja2

    inside = Path(tables.origin).parent / "html"
    script, style = (
        (inside / name).read_text("utf-8") for name in ("dt_bundle.js", "dt_bundle.css")
    )
    licences = (path for path in files_of("itables") or () if path.name == "LICENSE")
    licence = next((path.read_text("utf-8") for path in licences), "MIT")
    version = re.search(r"DataTables (\d[\d.]+)\n[ *]*©", script)
    versions = f"DataTables {version[1]}" if version else "DataTables"
    return jinja2, _Library(_made_global(script), style, licence, versions)


def _made_global(module: str) -> str:
    """Turn a module's main export into a name of the page, which has no address to import it from.

    >>> _made_global("var a=1;export{a as default,b as jQuery};")
    'var a=1;globalThis.DataTable=a;'
    """

    def names(found: re.Match[str]) -> str:
        pairs = (part.split(" as ") for part in found[1].split(","))
        exported = {pair[-1].strip(): pair[0].strip() for pair in pairs}
        return f"globalThis.DataTable={exported.get('default', exported.get('DataTable'))};"

    return re.sub(r"export\s*\{([^}]*)\};?", names, module)


def _inline(script: str) -> str:
    """Write a script so that it can stand in a page: nothing in it ends its element."""
    lines = script.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"<(?=!--|/?script)", r"\\x3C", lines, flags=re.IGNORECASE)


def _style(style: str) -> str:
    """Write a style so that it can stand in a page, and loads nothing."""
    alone = re.sub(r"@import[^;]*;", "", style)
    return re.sub(r"</(?=style)", r"<\\/", alone, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def as_json(value: Any) -> str:
    """Write JSON that can stand in a page: it has no character that could end its element.

    >>> as_json("</script>&\\u2028")
    '"\\\\u003c/script\\\\u003e\\\\u0026\\\\u2028"'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    whole = re.sub("[\ud800-\udfff]", "\ufffd", text)  # halves of characters are none in a file
    return re.sub("[<>&\u2028\u2029\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", whole)


def _row(attack: Attack, seen: Seen, embedded: dict[str, str] | None) -> dict[str, Any]:
    """Return a row as the page's script takes it; what is empty is left out."""
    shown = attack.shown

    def there(name: str) -> str:
        return name if embedded is None or name in embedded else ""

    row = {
        "id": attack.id,
        "victim": attack.victim,
        "method": attack.method,
        "setting": attack.setting,
        "image": attack.image,
        "outcome": attack.outcome,
        "norm": attack.norm,
        "aim": shown.aim,
        "before": _parts(shown.before, ""),
        "after": _parts(shown.after, shown.before),
        "benign": there(seen.benign),
        "noise": there(seen.noise),
        "adversarial": there(seen.adversarial),
        "scale": seen.scale,
        "missing": seen.missing,
        "values": attack.values,
    }
    return {name: value for name, value in row.items() if value not in (None, "", [])}


def _parts(what: Said, before: Said) -> list[Any]:
    """Cut a text where its words differ from those before; return a ranking as it is.

    >>> _parts("a red cat", "a dog")
    ['a ', ['red cat']]
    >>> _parts((Item("sky", "relevant"),), ())
    [{'text': 'sky', 'kind': 'relevant'}]
    """
    if not isinstance(what, str):
        return [{"text": item.text, "kind": item.kind} for item in what if isinstance(item, Item)]
    if not isinstance(before, str) or not before:
        return [what] if what else []
    changed, words = changed_words(before, what), what.split()
    runs = [
        (marked, " ".join(words[place] for place in places))
        for marked, places in itertools.groupby(range(len(words)), changed.__contains__)
    ]
    last = len(runs) - 1
    return [
        [run] if marked else f"{' ' if place else ''}{run}{' ' if place < last else ''}"
        for place, (marked, run) in enumerate(runs)
    ]


def _is_paper(table: Table, row: Sequence[Any]) -> bool:
    """Return whether a table's row is the paper's."""
    return WHOSE in table.columns and row[table.columns.index(WHOSE)] == PAPER


def _left_out(seen: Sequence[Seen], embedded: dict[str, str] | None) -> int:
    """Count the pictures that are not in a page that has no folder of them."""
    if embedded is None:
        return 0
    names = {name for one in seen for name in (one.benign, one.noise, one.adversarial) if name}
    return len(names - embedded.keys())


def _drawn(curve: Curve) -> Picture:
    """Draw a curve; its lines are named in words."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "curve.svg"
        save(draw(curve.panels), path)
        address = as_address(path.read_bytes(), "image/svg+xml")
    lines = "; ".join(
        f"{panel.y} against {panel.x}: {', '.join(line.name for line in panel.lines)}"
        for panel in curve.panels
    )
    points = [points_of(panel) for panel in curve.panels]
    return Picture(curve.name, lines, address, True, points[0] if len(points) == 1 else None)


def _figure(path: Path) -> Picture:
    name = path.stem.replace("_", " ")
    alt = f"{name}, as the folder's command drew it"
    return Picture(name, alt, as_address(path.read_bytes()), False)
