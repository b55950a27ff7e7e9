"""`jaxadv data`: real data sets, prepared from their owners' archives."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, fail, print_table, watch
from jaxadv.cli.options import refuse_unread

app = typer.Typer(no_args_is_help=True, help="Real data sets: prepare, show and list them.")

Where = Annotated[
    Path | None,
    typer.Option("--to", help="Where prepared sets are kept; $TFDS_DATA_DIR or TFDS's."),
]


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="A set of `jaxadv data list`, or a name of yours.")],
    source: Annotated[
        Path, typer.Option("--from", help="Folder in which its owner's archives are unpacked.")
    ],
    to: Where = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads; one a core.")
    ] = None,
) -> None:
    """Check every picture and annotation of a set and write it for fast reading; can be resumed."""
    from jaxadv.data import builders
    from jaxadv.data.prepared import data_folder, open_prepared
    from jaxadv.data.records import left_out
    from jaxadv.data.sets import registry

    folder = to or data_folder()
    data = registry.read(name, source)
    for _ in watch(
        builders.prepare(data, folder, source=str(source.resolve()), workers=workers),
        name,
        "reading",
    ):
        pass
    prepared = open_prepared(name, folder)
    _describe(prepared)
    for line in left_out(prepared.problems):
        console.print(line)


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A prepared set or a folder; :PART behind it for a split of it.")
    ],
    out: Annotated[Path | None, typer.Option(help="Draw a page of its pictures here.")] = None,
    pictures: Annotated[int, typer.Option(min=1, max=100, help="Pictures on the page.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures.")] = 0,
    to: Where = None,
) -> None:
    """Count a set's pictures, captions, labels and boxes, and draw some of them."""
    page = "--out" if out is not None else "no --out"
    refuse_unread(context, page, {"no --out": (), "--out": ("pictures", "seed")})

    import numpy as np

    from jaxadv.cli.inputs import writable_file
    from jaxadv.data.opening import open_data
    from jaxadv.data.pipeline import read_examples
    from jaxadv.reports.files import check_format
    from jaxadv.reports.pages import draw_page

    if out is not None:
        check_format(writable_file("--out", out))
    data = open_data(name, to)
    if out is None:
        _describe(data)
        return
    order = np.random.default_rng(seed).permutation(len(data.records))
    chosen = tuple(data.records[i] for i in sorted(order[:pictures]))
    examples = list(read_examples(data._replace(records=chosen), report=fail))
    draw_page(examples, out, title=data.name, classes=data.classes or (), tags=data.tags or ())
    _describe(data)
    console.print(f"drawn to {out}")


@app.command("list")
def list_(to: Where = None) -> None:
    """List the sets that have a reader, what each consists of, and those that are prepared."""
    from jaxadv.data.prepared import data_folder, prepared_folders
    from jaxadv.data.sets.registry import SETS

    folder = to or data_folder()
    there = prepared_folders(folder)
    rows: list[list[Any]] = []
    for name, known in SETS.items():
        archives = list(dict.fromkeys(need.archive for need in known.needs if not need.optional))
        rows.append([name, known.about, "yes" if name in there else "", ", ".join(archives)])
    print_table("Data sets", ["name", "has", "prepared", "is made of"], rows)
    print_table(f"Prepared in {folder}", ["name", "in"], [[n, f] for n, f in there.items()])


def _describe(data: Any) -> None:
    """Print counts, what differs from the papers' counts, and what was left out."""
    from jaxadv.data.records import counts, differences

    described: list[list[Any]] = []
    for part, count in counts(data).items():
        wanted = data.expected.get(part)
        described.append([part, f"{count:,}", "" if wanted is None else f"{wanted:,}"])
    print_table(data.name, ["part", "pictures", "expected"], described)
    known = [
        [
            what,
            f"{sum(getattr(r, what) is not None for r in data.records):,}",
            f"{sum(len(some) for r in data.records if (some := getattr(r, what)) is not None):,}",
        ]
        for what in ("captions", "labels", "tags", "boxes")
    ]
    print_table("Known", ["of", "pictures", "in all"], known)
    for what in ("classes", "tags", "vocabulary"):
        names = getattr(data, what)
        if names:
            some = f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
            console.print(f"{len(names):,} {what}: {some}")
    for line in differences(data):
        console.print(f"differs: {line}")
