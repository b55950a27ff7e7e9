"""The notebooks: whole, small, linked; run again they come to what is committed.

They are remade by `jupyter nbconvert --to notebook --execute --inplace notebooks/[1-5]*.ipynb`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers.hub_models import published
from helpers.hub_server import serving

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 300
BYTES = 400_000
TOLERANCE = 0.15  # one of ten attacks may turn where sums are taken in another order
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github/jaxadv/jaxadv/blob/main/notebooks"
REPOSITORY = "https://github.com/jaxadv/jaxadv"

BLIP = ROOT / "notebooks" / "6_blip.ipynb"  # of published weights: no outputs are kept
EXECUTED = [path for path in NOTEBOOKS if path != BLIP]

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_executed = pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def results(notebook):
    """What the cell tagged `results` printed: a number a line, by name."""
    (cell,) = (c for c in code(notebook) if "results" in c.metadata.get("tags", ()))
    lines = "".join(output.text for output in cell.outputs).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(": ") for line in lines)}


def ends_with_a_picture(notebook):
    return any("image/png" in output.get("data", {}) for output in code(notebook)[-1].outputs)


def test_blip_has_no_outputs():
    assert outputs(read(BLIP)) == []


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def test_there_are_six():
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")


@each
def test_it_is_valid(path):
    nbformat.validate(read(path))
    assert path.stat().st_size < BYTES


@each
def test_it_opens_by_installing(path):
    """From the repository, and only where `jaxadv` is not there."""
    first = code(read(path))[0].source
    condition, command = first.strip().splitlines()[-2:]
    assert condition == 'if importlib.util.find_spec("jaxadv") is None:'
    assert command.startswith("    %pip install ") and f"git+{REPOSITORY}" in command


@each_executed
def test_outputs_are_those_of_one_run(path):
    notebook = read(path)
    assert [cell.execution_count for cell in code(notebook)] == list(
        range(1, len(code(notebook)) + 1)
    )
    assert [o for o in outputs(notebook) if o.get("name") == "stderr"] == []
    assert [o for o in outputs(notebook) if o.output_type == "error"] == []
    assert ends_with_a_picture(notebook)
    assert len(results(notebook)) >= 3


@each
def test_it_is_linked(path):
    """With a badge, in the README; and in the documentation."""
    link = f"{COLAB}/{path.name}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({BADGE})]({link})" in readme
    assert link in (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")


def test_results_are_read():
    """A comparison that could not fail would say nothing."""
    cell = nbformat.v4.new_code_cell(metadata={"tags": ["results"]})
    cell.outputs = [nbformat.v4.new_output("stream", text="SR of GEM: k=3: 0.75\nSR: 1.00\n")]
    assert results(nbformat.v4.new_notebook(cells=[cell])) == {"SR of GEM: k=3": 0.75, "SR": 1.0}


@pytest.mark.slow
@each_executed
def test_it_runs(path, tmp_path):
    """In an empty folder, in time, to the same results, by the command that made it."""
    made, committed = executed(shutil.copy(path, tmp_path)), read(path)
    assert results(made) == pytest.approx(results(committed), abs=TOLERANCE)


def test_blip_is_attacked(tmp_path):
    """A tiny one with random weights, from a server on this machine: one line is another."""
    notebook = read(BLIP)
    # the model is the line that a reader changes; the others save the time of compiling
    lines = {"MODEL": '"hf://somebody/tiny"', "SENTENCE": '"a _ ..."', "STEPS": "3"}
    for cell in code(notebook):
        name = cell.source.partition(" = ")[0]
        cell.source = f"{name} = {lines.pop(name)}" if name in lines else cell.source
    assert not lines
    nbformat.write(notebook, tmp_path / BLIP.name)
    with serving() as hub:
        short = {"generation_config.json": b'{"max_length": 4}'}
        hub.models["somebody/tiny"] = published("blip") | short
        made = executed(
            tmp_path / BLIP.name,
            HF_ENDPOINT=hub.address,
            HF_HOME=str(tmp_path / "hub"),
            HF_HUB_DISABLE_XET="1",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
        )
    assert results(made)["norm"] > 0
    assert (tmp_path / "adversarial.png").is_file() and (tmp_path / "own-size.png").is_file()


def executed(path, **variables):
    """Run a notebook in its folder, by the command that makes those that are committed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "MPLBACKEND")}
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    done = subprocess.run(
        [*command, path],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    made = read(path)
    assert [o for o in outputs(made) if o.output_type == "error"] == []
    assert ends_with_a_picture(made)
    return made
