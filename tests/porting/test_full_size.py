"""A full-size captioner ports within the time and memory that a person has."""

import json
import os
import subprocess
import sys
import time

import pytest

SAVE = """
import sys, torch
sys.path.insert(0, {tests!r})
from nets import torch_definitions
from porting import torch_captioners
backbone = torch_definitions.ResNet((3, 4, 23, 3), bottleneck=True, caffe=True).eval()
with torch.no_grad():
    torch_definitions.randomise(backbone, seed=0)
torch.save(backbone.state_dict(), {backbone!r})
torch.save(torch_captioners.Att2in2Model(9488, 512, 2048).state_dict(), {decoder!r})
"""
PORT = """
import resource, sys
from pathlib import Path
from jaxadv.porting.port import architecture_of, port, save
from jaxadv.porting.vocabulary import read_vocabulary
files, vocabulary, out = [Path(p) for p in sys.argv[1:3]], *map(Path, sys.argv[3:])
architecture, words = architecture_of("att2in2-resnet101"), read_vocabulary(vocabulary)
save(out, port(files, architecture, words), architecture, words)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
def test_resnet101_captioner_in_20_seconds_and_a_gigabyte(tmp_path):
    pytest.importorskip("torch", reason="writes the checkpoint (extra `parity`)")
    files = [str(tmp_path / "backbone.pth"), str(tmp_path / "decoder.pth")]
    tests = str(pytest.importorskip("commands").__file__).rsplit("/", 1)[0]
    save = SAVE.format(tests=tests, backbone=files[0], decoder=files[1])
    subprocess.run([sys.executable, "-c", save], check=True)
    assert sum(os.path.getsize(f) for f in files) > 180e6
    vocabulary = tmp_path / "words.json"
    vocabulary.write_text(json.dumps([f"w{i}" for i in range(9487)]))
    began = time.perf_counter()
    ported = subprocess.run(
        [sys.executable, "-c", PORT, *files, str(vocabulary), str(tmp_path / "mine")],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    peak = float(ported.stdout.split()[-1])  # in GB
    print(f"\nported in {seconds:.1f} s and {peak:.2f} GB")
    assert seconds < 20
    assert peak < 1
