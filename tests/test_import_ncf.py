"""ranker/import_ncf.py on HDF5 files written here as Keras 1 and Keras 2 save weights: every value arrives at its place,
and what is not one of the three networks is refused in a line. Skipped where Python has no h5py."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import h5py
    import numpy
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ranker", "import_ncf.py")
USERS, ITEMS, GMF, TOWER = 5, 7, 8, (64, 32, 16, 8)
EMBEDDING_NAMES = {1: "_W", 2: "/embeddings:0"}
DENSE_NAMES = {1: ("_W", "_b"), 2: ("/kernel:0", "/bias:0")}


def layers_of(kind):
    """{layer: arrays} of numbers that are all different."""
    shapes = {}
    for side, n in (("user", USERS), ("item", ITEMS)):
        if kind == "neumf":
            shapes |= {f"mf_embedding_{side}": [(n, GMF)], f"mlp_embedding_{side}": [(n, TOWER[0] // 2)]}
        else:
            shapes[f"{side}_embedding"] = [(n, GMF if kind == "gmf" else TOWER[0] // 2)]
    if kind != "gmf":
        for number, (a, b) in enumerate(zip(TOWER, TOWER[1:])):
            shapes[f"layer{number + 1}"] = [(a, b), (b,)]
    last = (GMF if kind != "mlp" else 0) + (TOWER[-1] if kind != "gmf" else 0)
    shapes["prediction"] = [(last, 1), (1,)]
    layers, at = {}, 0
    for name, some in shapes.items():
        layers[name] = []
        for shape in some:
            size = int(numpy.prod(shape))
            layers[name].append(numpy.arange(at, at + size, dtype="f4").reshape(shape))
            at += size
    return layers


def write(path, layers, keras, whole=False):
    """`whole`: as model.save does it, one group further down. Layers without weights are there too."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        names = list(layers) + ["user_input", "flatten_1"]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group, arrays = root.create_group(name), layers.get(name, [])
            ends = [EMBEDDING_NAMES[keras]] if len(arrays) == 1 else DENSE_NAMES[keras]
            weights = [name + end for end, _ in zip(ends, arrays)]
            group.attrs["weight_names"] = [w.encode() for w in weights] if keras == 1 else weights
            for weight, values in zip(weights, arrays):
                group[weight] = values


def read_safetensors(path):
    with open(path, "rb") as file:
        content = file.read()
    size, = struct.unpack_from("<Q", content)
    tensors = {}
    for name, tensor in json.loads(content[8:8 + size]).items():
        start, end = (8 + size + offset for offset in tensor["data_offsets"])
        tensors[name] = numpy.frombuffer(content[start:end], "<f4").reshape(tensor["shape"])
    return tensors


class ImportNcf(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source, self.target = folder.name + "/weights.h5", folder.name + "/model"
        self.ratings = folder.name + "/ml.train.rating"

    def convert(self, *more):
        return subprocess.run([sys.executable, SCRIPT, self.source, self.target, *more], capture_output=True, text=True)

    def converted(self, *more):
        got = self.convert(*more)
        self.assertEqual((got.returncode, got.stdout, got.stderr), (0, "", ""))
        with open(self.target + "/config.json") as file:
            return json.load(file), read_safetensors(self.target + "/model.safetensors")

    def expected(self, kind, layers):
        """By the names of ranker/neural.c."""
        wanted = {}
        for side in ("user", "item"):
            if kind == "neumf":
                wanted[f"{side}.gmf"] = layers[f"mf_embedding_{side}"][0]
                wanted[f"{side}.mlp"] = layers[f"mlp_embedding_{side}"][0]
            else:
                wanted[f"{side}.{kind}"] = layers[f"{side}_embedding"][0]
        for number in range(0 if kind == "gmf" else 3):
            wanted[f"tower.{number}.weight"], wanted[f"tower.{number}.bias"] = layers[f"layer{number + 1}"]
        out, wanted["out.bias"] = layers["prediction"]
        if kind != "mlp":
            wanted["out.gmf"] = out[:GMF, 0]
        if kind != "gmf":
            wanted["out.mlp"] = out[-TOWER[-1]:, 0]
        return wanted

    def test_every_value_at_its_place(self):
        for kind in ("gmf", "mlp", "neumf"):
            for keras, whole in ((1, False), (2, False), (2, True)):
                layers = layers_of(kind)
                write(self.source, layers, keras, whole)
                config, tensors = self.converted()
                self.assertEqual(config, {"model_type": "magpie-ranker", "model": kind, "users": USERS, "items": ITEMS,
                                          "content": 0, "options": {"factors": 8} | ({"layers": 3} if kind != "gmf" else {})})
                wanted = self.expected(kind, layers)
                self.assertEqual(set(tensors), set(wanted))
                for name, values in wanted.items():
                    numpy.testing.assert_array_equal(tensors[name], values, name)

    def test_rows_in_the_order_of_ratings(self):
        write(self.source, layers_of("neumf"), 1)
        with open(self.ratings, "w") as file:
            file.write("".join(f"{user}\t{item}\t5\t978300760\n" for user, item in ((3, 6), (3, 0), (0, 6), (1, 2))))
        wanted = self.expected("neumf", layers_of("neumf"))
        _, tensors = self.converted(self.ratings)
        for name, values in wanted.items():
            order = {"user": [3, 0, 1, 2, 4], "item": [6, 0, 2, 1, 3, 4, 5]}.get(name[:4])
            numpy.testing.assert_array_equal(tensors[name], values[order] if order else values, name)
        with open(self.ratings, "a") as file:
            file.write(f"0\t{ITEMS}\t1\t0\n")
        self.refused("more users or items", self.ratings)

    def refused(self, words, *more):
        got = self.convert(*more)
        self.assertEqual((got.returncode, got.stdout, got.stderr.count("\n")), (1, "", 1), got.stderr)
        self.assertIn(words, got.stderr)

    def test_refusals(self):
        self.refused("no weights")
        broken = {"prediction": lambda layers: layers.pop("prediction"),
                  "item.mlp": lambda layers: layers["mlp_embedding_item"].__setitem__(0, numpy.zeros((ITEMS, 31), "f4")),
                  "layer2": lambda layers: layers["layer2"].__setitem__(0, numpy.zeros((32, 20), "f4")),
                  "have to be alike": lambda layers: layers.pop("layer3"),
                  "no layer1": lambda layers: [layers.pop(f"layer{n}") for n in (1, 2, 3)]}
        for words, change in broken.items():
            layers = layers_of("neumf")
            change(layers)
            write(self.source, layers, 1)
            self.refused(words)
        self.assertFalse(os.path.exists(self.target))


if __name__ == "__main__":
    unittest.main()
