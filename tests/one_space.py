"""What the tests of the one space share: the formula (encoders/encoders.h, "one space"), heads that are written for it,
and the split by title."""
import json
import math
import os
import random
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import Case, run_json, write_catalogue, write_model, write_safetensors  # noqa: E402

MODALITIES = ("text", "image", "audio")
DIMENSION = 16  # of random heads


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(vector):
    length = math.sqrt(dot(vector, vector))
    return [x / length for x in vector]


def mix(parts):
    """The unit sum of parts: (vector, weight)."""
    return unit([math.fsum(column) for column in zip(*([weight * x for x in vector] for vector, weight in parts))])


def title_hash(title):
    raw = title.encode()
    key = re.sub(rb"[^a-z\x80-\xff]+", b" ", raw.lower()).strip() or raw
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def held_out(title):
    return title_hash(title) % 5 == 0


def write_fusion(folder, dimension, heads, tensors):
    """heads: what config.json says of each; tensors: {name: (shape, numbers)}."""
    os.mkdir(folder)
    write_safetensors(folder + "/model.safetensors", tensors)
    with open(folder + "/config.json", "w", encoding="utf-8") as file:
        json.dump({"model_type": "magpie-fusion", "dimension": dimension, "temperature": 0.05, "heads": heads}, file)


def write_heads(folder, inputs, weights, dimension=DIMENSION):
    """Random linear heads of these widths of vectors; returns them as {modality: (matrix, bias)}."""
    dice, tensors, heads = random.Random(7), {}, {}
    for name, size in inputs.items():
        matrix = [[dice.gauss(0, 1) for _ in range(size)] for _ in range(dimension)]
        bias = [dice.gauss(0, 1) for _ in range(dimension)]
        tensors[name + ".weight"] = [dimension, size], sum(matrix, [])
        tensors[name + ".bias"] = [dimension], bias
        heads[name] = matrix, bias
    write_fusion(folder, dimension, {name: {"kind": "linear", "input": size, "weight": weights[name]}
                                     for name, size in inputs.items()}, tensors)
    return heads


def project(head, vector):
    """Through a linear head."""
    matrix, bias = head
    x = [v * math.sqrt(len(vector)) for v in vector]
    return unit([dot(row, x) + b for row, b in zip(matrix, bias)])


class JointStore(Case):
    """A store of what make_item(i) gives, filled by a small joint model of texts and pictures."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.joint = write_model("image", cls.folder + "/joint", 6, "clip-small")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def fill(cls, count, *more_models):
        cls.models = ("--model", cls.joint, *more_models, "--precision", "f32")
        cls.items = [cls.make_item(i) for i in range(count)]
        cls.store, catalogue = cls.folder + "/store", cls.folder + "/catalogue.jsonl"
        write_catalogue(catalogue, cls.items)
        run_json("ingest", catalogue, "--store", cls.store, *cls.models)
