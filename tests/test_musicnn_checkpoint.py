"""scripts/musicnn-to-safetensors on a checkpoint written here by the formats' own descriptions, of a network with two
filters and three tags: every value arrives at its place in PyTorch's layout, and damage is one line and no folder."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scripts", "musicnn-to-safetensors")
FILTERS, TAGS = 2, ["guitar", "no vocals", "harp"]
NORM = ["beta", "gamma", "moving_mean", "moving_variance"]


def crc32c(data):
    """Bit by bit, and masked as LevelDB stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def record(number, value):
    """A field of protobuf."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(records):
    """Keys share what they can with the one before; one restart, at the start."""
    out, last = b"", b""
    for key, value in records:
        shared = len(os.path.commonprefix([last, key]))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)


def table(records, per_block=7):
    """A table with its records in blocks of a few."""
    out, index = b"", []

    def put(content):
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        out += content + b"\0" + struct.pack("<I", crc32c(content + b"\0"))
        return handle

    for at in range(0, len(records), per_block):
        some = records[at:at + per_block]
        index.append((some[-1][0] + b"~", put(block(some))))
    footer = put(block([])) + put(block(index))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def shapes():
    """Of every tensor of a checkpoint, with some of the optimizer's."""
    norm = lambda n: "batch_normalization" + (f"_{n}" if n else "")
    all_of = {f"{norm(n)}/{kind}": [FILTERS if n else 1] for n in range(6) for kind in NORM}
    for n in range(1, 6):
        all_of[f"{n}CNN/kernel"] = [3, 3, FILTERS if n > 1 else 1, FILTERS]
        all_of[f"{n}CNN/bias"] = [FILTERS]
        all_of[f"{n}CNN/bias/Adam"] = [FILTERS]
    return all_of | {"dense/kernel": [2 * FILTERS, len(TAGS)], "dense/bias": [len(TAGS)], "beta1_power": []}


def checkpoint():
    """The two files, and each tensor's shape and values: all numbers differ."""
    data, tensors, records = b"", {}, [(b"", record(1, 1))]
    for name, shape in sorted(shapes().items()):
        count = 1
        for n in shape:
            count *= n
        values = [len(data) // 4 + i + 0.5 for i in range(count)]
        packed = struct.pack(f"<{count}f", *values)
        dims = b"".join(record(2, record(1, n)) for n in shape)
        place = record(4, len(data)) + record(5, len(packed))
        checksum = varint(6 << 3 | 5) + struct.pack("<I", crc32c(packed))
        records.append((name.encode(), record(1, 1) + record(2, dims) + place + checksum))
        tensors[name] = shape, values
        data += packed
    return table(records), data, tensors


def read_safetensors(path):
    with open(path, "rb") as file:
        content = file.read()
    size, = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__")
    tensors = {}
    for name, tensor in header.items():
        start, end = (8 + size + offset for offset in tensor["data_offsets"])
        tensors[name] = tensor["shape"], list(struct.unpack(f"<{(end - start) // 4}f", content[start:end]))
    return tensors


def load(path):
    with open(path) as file:
        return json.load(file)


class Conversion(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source, self.target = os.path.join(folder.name, "MTT_vgg"), os.path.join(folder.name, "model")
        os.mkdir(self.source)
        self.write("../configuration.py", f"import a_package_that_is_not_there\nMTT_LABELS = {TAGS!r}\n".encode())
        self.index, self.data, self.tensors = checkpoint()
        self.write(".index", self.index)
        self.write(".data-00000-of-00001", self.data)

    def write(self, name, content):
        with open(os.path.join(self.source, name), "wb") as file:
            file.write(content)

    def convert(self):
        return subprocess.run([sys.executable, SCRIPT, self.source, self.target], capture_output=True, text=True)

    def refused(self, words):
        got = self.convert()
        self.assertEqual((got.returncode, got.stdout), (1, ""))
        self.assertTrue(got.stderr.startswith("musicnn-to-safetensors: ") and got.stderr.count("\n") == 1, got.stderr)
        self.assertIn(words, got.stderr)
        self.assertFalse(os.path.exists(self.target))

    def test_every_value_at_its_place(self):
        got = self.convert()
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        model = read_safetensors(os.path.join(self.target, "model.safetensors"))

        def take(ours, theirs):
            shape, values = model.pop(ours)
            shape_there, there = self.tensors[theirs]
            if len(shape_there) == 1:
                self.assertEqual((shape, values), (shape_there, there))
                return
            *space, n, m = shape_there
            self.assertEqual(shape, [m, n, *space])
            self.assertEqual(len(values), len(there))
            places = len(there) // (n * m)
            for o in range(m):
                for i in range(n):
                    for p in range(places):
                        self.assertEqual(values[(o * n + i) * places + p], there[(p * n + i) * m + o])

        for n in range(6):
            if n:
                take(f"conv{n}.weight", f"{n}CNN/kernel")
                take(f"conv{n}.bias", f"{n}CNN/bias")
            for ours, theirs in zip(["bias", "weight", "running_mean", "running_var"], NORM):
                take(f"norm{n}.{ours}" if n else f"input_norm.{ours}",
                     (f"batch_normalization_{n}" if n else "batch_normalization") + "/" + theirs)
        take("output.weight", "dense/kernel")
        take("output.bias", "dense/bias")
        self.assertEqual(model, {})

    def test_what_it_says_of_itself(self):
        self.convert()
        config = load(os.path.join(self.target, "config.json"))
        self.assertEqual(config, {"model_type": "musicnn-vgg", "num_filters": FILTERS, "batch_norm_eps": 0.001,
                                  "id2label": {str(i): tag for i, tag in enumerate(TAGS)}})
        self.assertEqual(load(os.path.join(self.target, "preprocessor_config.json"))["frames"], 187)

    def test_damage(self):
        self.write(".data-00000-of-00001", self.data[:-4])
        self.refused("is cut off")
        self.write(".data-00000-of-00001", bytes([self.data[0] ^ 1]) + self.data[1:])
        self.refused("checksum of 1CNN/bias")
        os.unlink(os.path.join(self.source, ".data-00000-of-00001"))
        self.refused("No such file")
        self.write(".index", self.index[:-1])
        self.refused("table of LevelDB")
        for at in range(0, len(self.index) - 48, 97):  # any byte of any block
            self.write(".index", self.index[:at] + bytes([self.index[at] ^ 0x40]) + self.index[at + 1:])
            self.refused(".index: ")


if __name__ == "__main__":
    unittest.main()
