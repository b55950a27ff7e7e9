"""How throughput grows with the batch."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks import timing


def draw_throughput(figures: Sequence[timing.Figure], title: str) -> Figure:
    """Draw what `benchmarks.accelerator.throughput` found; a dashed line says what is ideal."""
    batches = [int(figure.of.removeprefix("batch ")) for figure in figures]
    drawn = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = drawn.subplots()
    axes.plot(batches, [figure.ratio for figure in figures], "-o", label="measured")
    axes.plot(batches, batches, "--", color="grey", label="in proportion to the batch")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("pictures at once")
    axes.set_ylabel("image-steps a second, over one picture")
    axes.set_title(title, fontsize=8)
    axes.legend(fontsize=8)
    return drawn
