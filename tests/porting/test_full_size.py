"""A full-size captioner ports within the time and memory that a person has."""

import json
import subprocess
import sys
import time

import pytest

SAVE = {
    "att2in2-resnet101": """
import sys, torch
sys.path.insert(0, {tests!r})
from victims.nets import torch_definitions
from porting import torch_captioners
backbone = torch_definitions.ResNet((3, 4, 23, 3), bottleneck=True, caffe=True).eval()
with torch.no_grad():
    torch_definitions.randomise(backbone, seed=0)
torch.save(backbone.state_dict(), {files[0]!r})
torch.save(torch_captioners.Att2in2Model(9488, 512, 2048).state_dict(), {files[1]!r})
""",
    "show-tell-im2txt": """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from porting import test_im2txt, torch_im2txt
captioner = torch_im2txt.ShowAndTell(12000, 512, 1, 2, seed=0)
captioner.greedy(captioner.embedded(torch.zeros(299, 299, 3)), 1)
arrays = {{name: value.numpy() for name, value in captioner.variables.values.items()}}
test_im2txt.write_bundle(Path({files[0]!r}), arrays)
""",
}
FILES = {
    "att2in2-resnet101": ["backbone.pth", "decoder.pth"],
    "show-tell-im2txt": ["model.ckpt-2000000"],
}
PORT = """
import resource, sys
from pathlib import Path
from jaxadv.porting.port import port, save
from jaxadv.victims.architectures import published
from jaxadv.data.lexicon import read_lexicon
architecture = published(sys.argv[1])
out, vocabulary, *files = map(Path, sys.argv[2:])
save(out, port(files, architecture, read_lexicon(vocabulary)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def vocabulary(folder, name):
    if name != "show-tell-im2txt":
        path = folder / "words.json"
        path.write_text(json.dumps([f"w{i}" for i in range(9487)]))
        return path
    path = folder / "word_counts.txt"
    path.write_text("\n".join(["a 9", "<S> 9", "</S> 9", *(f"w{i} 9" for i in range(11_515))]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVE)
def test_a_captioner_in_20_seconds_and_a_gigabyte(torch, name, tmp_path):
    files = [str(tmp_path / file) for file in FILES[name]]
    tests = str(pytest.importorskip("helpers.commands").__file__).rsplit("/", 2)[0]
    subprocess.run([sys.executable, "-c", SAVE[name].format(tests=tests, files=files)], check=True)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 140e6
    words = vocabulary(tmp_path, name)
    began = time.perf_counter()
    ported = subprocess.run(
        [sys.executable, "-c", PORT, name, str(tmp_path / "mine"), str(words), *files],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    peak = float(ported.stdout.split()[-1])  # in GB
    print(f"\nported in {seconds:.1f} s and {peak:.2f} GB")
    assert seconds < 20
    assert peak < 1
