"""Writing a page: into a folder, or as one text for a notebook."""

import html
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from jaxadv.errors import InputError
from jaxadv.formats.files import write_text
from jaxadv.reports.page.folders import read_folder
from jaxadv.reports.page.html import MARK, render
from jaxadv.reports.page.pictures import MOST_EMBEDDED, Added, Album

Watch = Callable[[Iterable[Added]], Iterable[Added]]
_PAGE, _PICTURES = "index.html", "pictures"


class Report(NamedTuple):
    """A page that a notebook shows inline.

    Attributes:
      html: all of it.
    """

    html: str

    def _repr_html_(self) -> str:
        """Return a frame that holds the page, apart from the notebook's own."""
        style = "width:100%;height:44rem;border:1px solid #8888;border-radius:6px"
        return (
            f'<iframe title="jaxadv report" sandbox="allow-scripts" style="{style}" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def report(folder: Path | str) -> Report:
    """Show what a sweep, an evaluation or an attack came to, as a page inside a notebook.

    Pictures are inside, up to 8 MB of them; `jaxadv report` writes a page with all.

    Args:
      folder: of `jaxadv sweep`, `evaluate` or `attack`, or of `jaxadv.sweep`.

    Returns:
      the page; a notebook shows it, `html` is its text.

    Raises:
      InputError: the folder holds nothing of the kind, or the extra `report` is not installed.
    """
    content = read_folder(Path(folder))
    with tempfile.TemporaryDirectory(prefix="jaxadv-report-") as scratch:
        album = Album(Path(scratch))
        seen = [one.seen for one in album.fill(content.attacks)]
        names = [name for one in seen for name in (one.adversarial, one.benign, one.noise)]
        return Report(render(content, seen, album.embedded(names)))


def write_page(folder: Path, out: Path, watch: Watch = iter) -> Path:
    """Write a page into a folder of its own, and its pictures, too, where they are many.

    Args:
      folder: of `jaxadv sweep`, `evaluate` or `attack`.
      out: the page's folder; a page that is there is replaced.
      watch: shows how far the pictures are, and hands on what it is given.

    Returns:
      the file to open.

    Raises:
      InputError: the folder holds nothing of the kind, `out` holds something else or cannot be
        written, or the extra `report` is not installed.
    """
    check_page_folder(out)
    content = read_folder(folder)
    scratch = out.with_name(f".{out.name[:40]}.{os.getpid()}.part")
    try:
        scratch.mkdir(parents=True)
        album = Album(scratch / _PICTURES)
        seen = [one.seen for one in watch(album.fill(content.attacks))]
        embedded = None
        if album.size() <= MOST_EMBEDDED:
            names = [name for one in seen for name in (one.adversarial, one.benign, one.noise)]
            embedded = album.embedded(names)
            shutil.rmtree(album.folder, ignore_errors=True)
        write_text(scratch / _PAGE, render(content, seen, embedded))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(scratch, out)
    except OSError as problem:
        raise InputError(f"--out {out}: cannot be written ({problem.strerror})") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out / _PAGE


def check_page_folder(out: Path) -> None:
    """Check that a page can be written there: nothing is, or a page of ours and no more.

    Raises:
      InputError: something else is there.
    """
    if not os.path.lexists(out):
        return
    if not out.is_dir() or out.is_symlink():
        raise InputError(f"--out {out}: is no folder; give a new one for the page")
    held = {path.name for path in out.iterdir()}
    if held and not (held <= {_PAGE, _PICTURES} and _is_ours(out / _PAGE)):
        raise InputError(f"--out {out}: holds something else than a page; give a new folder")


def _is_ours(page: Path) -> bool:
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            return f'content="{MARK}"' in file.read(2000)
    except OSError:
        return False
