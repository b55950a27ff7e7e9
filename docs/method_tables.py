"""Write `docs/reference/methods.md`: the options of every method, from their declarations.

python docs/method_tables.py
"""

from pathlib import Path
from typing import Any

from jaxadv.core.method import GIVEN, Method, abouts, defaults, kinds, written
from jaxadv.experiments.families import FAMILIES

PAGE = Path(__file__).parent / "reference" / "methods.md"
HEAD = """# Methods and their options

Each method declares itself in its attack's file. From the declarations come this page, the options
of the commands (`--learning-rate`), the keys of sweep files (`learning_rate`), the checks of ranges
and what a sweep's records say. The values are the paper's, or the method's own where the paper has
none; a dash: not read, or none.

Made by `python docs/method_tables.py`.
"""


def page() -> str:
    """Make the whole page: a table for each family, a column for each method."""
    parts = [HEAD]
    own = {family.methods: family for family in reversed(FAMILIES.values())}
    for family in (family for family in FAMILIES.values() if own[family.methods] is family):
        names = [method.name for method in family.methods]
        head = f"| option | | what it is | {' | '.join(names)} |"
        rows = [_row(name, family.methods) for name in _options(family.methods)]
        line = "|---" * (3 + len(names)) + "|"
        parts.append("\n".join([f"## {family.name}", "", head, line, *rows, ""]))
    return "\n".join(parts)


def _options(methods: tuple[Method, ...]) -> list[str]:
    return list(dict.fromkeys(name for method in methods for name in kinds(method)))


def _row(name: str, methods: tuple[Method, ...]) -> str:
    known = [abouts(method)[name] for method in methods if name in kinds(method)]
    symbol = ", ".join(dict.fromkeys(about.symbol for about in known if about.symbol))
    text = "; ".join(dict.fromkeys(about.help for about in known))
    only = next((f" (with `{_condition(*about.only)}`)" for about in known if about.only), "")
    values = [
        (written(defaults(method)[name]) or "–") if name in kinds(method) else "–"
        for method in methods
    ]
    return f"| `{name}` | {symbol} | {text}{only} | {' | '.join(values)} |"


def _condition(other: str, value: Any) -> str:
    return other if value is GIVEN else f"{other} = {value}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
