"""A tagger in Flax NNX: split into a graph and its state, put together inside the function."""

from flax import nnx
from helpers.tiny import SIDE

from jaxadv.labels.classifier import MultiLabelClassifier

LABELS = 6


class Net(nnx.Module):
    """A layer on each pixel, batch norm, dropout, and a layer on all of them."""

    def __init__(self, rngs):
        self.see = nnx.Linear(3, 4, rngs=rngs)
        self.normalise = nnx.BatchNorm(4, rngs=rngs)
        self.forget = nnx.Dropout(0.5, rngs=rngs)
        self.say = nnx.Linear(SIDE * SIDE * 4, LABELS, rngs=rngs)

    def __call__(self, images):
        seen = nnx.relu(self.normalise(self.see(2 * images - 1)))
        return 2 * self.say(self.forget(seen.reshape(len(images), -1)))


def nnx_tagger(net):
    """The victim and its parameters; what it is made of besides stays in the graph."""
    graph, params = nnx.split(net)

    def logits(params, image):
        return nnx.merge(graph, params)(image[None])[0]

    classes = tuple(f"label {i}" for i in range(LABELS))
    return MultiLabelClassifier(logits, classes, (SIDE, SIDE, 3)), params


def net(seed=0, train=False):
    made = Net(nnx.Rngs(seed))
    if not train:
        made.eval()
    return made
