"""Write `docs/reference/public.md`: every public name, with the first line of its docstring.

python docs/public_names.py
"""

import inspect
import reprlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxadv

PAGE = Path(__file__).parent / "reference" / "public.md"
HEAD = """# Public names

What `import jaxadv as ja` offers. All else is private by convention and may change in any version.
Notebooks, README and documentation use nothing else; the other pages of the reference say how it is
made, private parts included.

Made by `python docs/public_names.py`.
"""


def namespaces() -> Iterator[tuple[str, ModuleType]]:
    """Walk through what holds public names, as a user writes it."""
    yield "ja", jaxadv
    for name in jaxadv.__all__:
        if inspect.ismodule(value := getattr(jaxadv, name)):
            yield f"ja.{name}", value


def about(value: Any) -> str:
    """Say what a public name is: the first line of its docstring, or a constant's value."""
    if not (callable(value) or inspect.ismodule(value)):
        text = reprlib.repr(list(value) if isinstance(value, dict) else value)
        return f"A constant: `{text}`."
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("|", "\\|")


def page() -> str:
    """Make the whole page: a table for each namespace."""
    parts = [HEAD]
    for namespace, module in namespaces():
        rows = [
            f"| `{namespace}.{name}` | {about(getattr(module, name))} |" for name in names(module)
        ]
        head = f"## {namespace}\n\n{about(module)}\n"
        parts.append("\n".join([head, "| | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def names(module: ModuleType) -> list[str]:
    """Return a namespace's public names, in the order of a dictionary."""
    return sorted(module.__all__, key=str.casefold)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
