"""Draw `docs/house.svg`: the packages, layer above layer, and who imports whom.

An arrow that others imply is left out: who imports `captions` may import what that imports.

python docs/house.py
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxadv"
PICTURE = ROOT / "docs" / "house.svg"
WIDTH, ROW, BOX, HEIGHT, TOP = 860, 74, 120, 34, 14
COLOURS = ("#3b6ea5", "#b5651d", "#4a7c59", "#8e4585", "#a23b3b", "#5f6b7a", "#2f7f86")


def layers() -> list[list[str]]:
    """Read the layers from import-linter's contract, the uppermost first; packages alone."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in told["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    rows = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
    return [row for row in rows if any((PACKAGE / name).is_dir() for name in row)]


def imports(package: str) -> set[str]:
    """Return the packages that one imports, but where types are checked."""
    return {
        parts[1]
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for module in _imported(ast.parse(path.read_text(encoding="utf-8")))
        if len(parts := module.split(".")) > 1 and parts[0] == "jaxadv" and parts[1] != package
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            whole = [f"{node.module}.{name}" for name in names] if node.module == "jaxadv" else []
            yield from whole or [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from _imported(node)


def arrows(names: list[str]) -> dict[str, list[str]]:
    """Return whom each package imports, less what follows from the others."""
    direct = {name: imports(name) & set(names) for name in names}

    def below(name: str) -> set[str]:
        return direct[name].union(*(below(other) for other in direct[name]))

    return {
        name: [one for one in names if one in some - set().union(*map(below, some))]
        for name, some in direct.items()
    }


def picture() -> str:
    """Make the picture as SVG."""
    rows = layers()
    places = {
        name: ((WIDTH - BOX) * (column + 1) / (len(row) + 1), TOP + number * ROW)
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    wanted_by = arrows(list(places))
    lines, boxes = [], []
    for number, (name, (x, y)) in enumerate(places.items()):
        colour = COLOURS[number % len(COLOURS)]
        wanted = wanted_by[name]
        for place, other in enumerate(wanted):
            to_x, to_y = places[other]
            begin = x + BOX * (place + 1) / (len(wanted) + 1)
            end, bend = to_x + BOX * 0.5, (y + HEIGHT + to_y) / 2
            curve = f"{begin:.0f},{bend:.0f} {end:.0f},{bend:.0f} {end:.0f},{to_y:.0f}"
            lines.append(
                f'<path d="M{begin:.0f},{y + HEIGHT:.0f} C{curve}" fill="none" stroke="{colour}" '
                f'marker-end="url(#head)"><title>{name} imports {other}</title></path>'
            )
        boxes.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="{HEIGHT}" rx="5" fill="white" '
            f'stroke="{colour}" stroke-width="1.6"/>'
            f'<text x="{x + BOX / 2:.0f}" y="{y + 22:.0f}" text-anchor="middle">{name}</text>'
        )
    height = TOP + len(rows) * ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="15">',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker>'
            "</defs>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
