"""What the tests of the command share: the binary, the model, a catalogue of their own, and a run of the command."""
import json
import math
import os
import random
import struct
import subprocess
import sys
import unittest
import wave
import zlib

SKIPPED = 77
# Those that the environment of a person names are not to be found.
NO_MODELS = {name: "" for name in ("MAGPIE_MODEL", "MAGPIE_IMAGE_MODEL", "MAGPIE_AUDIO_MODEL", "MAGPIE_FUSION_MODEL")}

WORDS = """red blue green old small bright wooden round quiet heavy cat dog bird horse fish tree river mountain house
bridge boat train lamp table chair violin drum trumpet apple bread cheese garden window letter clock mirror basket
running sleeping singing flying under over beside with without""".split()


def binary():
    return os.environ.get("MAGPIE_BINARY") or sys.exit("MAGPIE_BINARY is not set: run it through ctest, or set it")


def model_or_skip():
    default = os.path.expanduser("~/.cache/magpie/models/all-MiniLM-L6-v2")
    model = os.environ.get("MAGPIE_MODEL_DIR", default)
    if not os.path.isdir(model):
        print(f"SKIPPED: no text model in {model}")
        sys.exit(SKIPPED)
    return model


def write_model(kind, folder, seed=1, *name):
    """A small model of "image" or "audio"; each seed is another."""
    name_of_it = f"MAGPIE_WRITE_{kind.upper()}_MODEL"
    program = os.environ.get(name_of_it) or sys.exit(f"{name_of_it} is not set: run it through ctest, or set it")
    subprocess.run([program, folder, str(seed), *name], check=True)
    return folder


def write_png(path, width, height, pixels):
    """An RGB PNG of these bytes."""
    rows = b"".join(b"\0" + pixels[3 * width * y:3 * width * (y + 1)] for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_picture(path, seed, side=8, height=None):
    """An RGB PNG of its own for each seed."""
    height = height or side
    write_png(path, side, height, random.Random(f"picture/{seed}").randbytes(3 * side * height))


def write_sound(path, seed, seconds=0.5, rate=16000):
    """A WAV file of its own for each seed: a chord in noise."""
    dice = random.Random(f"sound/{seed}")
    pitches, noise = [dice.uniform(100, 2000) for _ in range(3)], dice.uniform(0, 2000)
    samples = (sum(3000 * math.sin(2 * math.pi * pitch * i / rate) for pitch in pitches) + dice.uniform(-noise, noise)
               for i in range(round(seconds * rate)))
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", round(sample)) for sample in samples))


def item(number, seed=1):
    """The same item for the same number and seed, everywhere."""
    dice = random.Random(f"{seed}/{number}")
    words = [dice.choice(WORDS) for _ in range(dice.randint(3, 12))]
    return {"id": f"item/{number:05}", "text": " ".join(words),
            "attributes": {"price": dice.randint(1, 100), "colour": dice.choice(["red", "blue"])}}


def write_catalogue(path, items):
    with open(path, "w", encoding="utf-8") as file:
        for one in items:
            file.write(json.dumps(one) + "\n")


def write_safetensors(path, tensors):
    """tensors: {name: (shape, numbers)}, as F32."""
    header, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        bits = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """{name: (shape, numbers)}, of F32."""
    with open(path, "rb") as file:
        header, data = json.loads(file.read(struct.unpack("<Q", file.read(8))[0])), file.read()
    return {name: (one["shape"], struct.unpack(f"<{math.prod(one['shape'])}f", data[slice(*one["data_offsets"])]))
            for name, one in header.items() if name != "__metadata__"}


def write_popularity(folder, users, scores):
    """A model as magpie train ranker would leave it: one score an item, by number."""
    os.makedirs(folder)
    write_safetensors(folder + "/model.safetensors", {"item.popularity": ([len(scores)], scores)})
    with open(folder + "/config.json", "w", encoding="utf-8") as file:
        json.dump({"model_type": "magpie-ranker", "model": "popularity", "users": users, "items": len(scores),
                   "content": 0, "options": {}}, file)


def run(*arguments, stdin=None, text=True, env=None, **more):
    """The command's code, standard output and standard error."""
    done = subprocess.run([binary(), *map(str, arguments)], input=stdin, capture_output=True, text=text, timeout=300,
                          env={**os.environ, **NO_MODELS, **(env or {})}, check=False, **more)
    return done.returncode, done.stdout, done.stderr


def run_json(*arguments, expected=0, **more):
    code, out, err = run(*arguments, "--json", **more)
    assert code == expected, f"{arguments}: code {code} in place of {expected}: {err}"
    return json.loads(out.splitlines()[-1])


def stored_texts(store, ids):
    """What the store has of these ids: {id: text}."""
    if not os.path.exists(os.path.join(store, "data.mdb")):
        return {}
    code, out, err = run("get", "--store", store, "--json", *ids)
    assert code in (0, 3), err
    return {one["id"]: one["text"] for one in map(json.loads, out.splitlines())}


def assert_complete(store, items):
    """Every item is there once, in the store and in the index, and both are sound."""
    texts = stored_texts(store, [one["id"] for one in items])
    assert texts == {one["id"]: one["text"] for one in items}
    check = run_json("check", "--store", store)
    stats = run_json("stats", "--store", store)
    assert check["problems"] == []
    vectors = {name: space["vectors"] for name, space in stats["spaces"].items()}
    assert stats["items"] == check["items"] == vectors["fused"] == vectors["text"] == len(items), stats
    assert check["indexed"] == vectors["fused"] + vectors.get("image", 0) + vectors.get("audio", 0), stats


class Case(unittest.TestCase):
    def fails(self, code, words, *arguments, **more):
        """The command ends with `code`, says one line with `words` in it, and prints nothing."""
        got, out, err = run(*arguments, **more)
        self.assertEqual((got, out), (code, ""), err)
        self.assertTrue(err.startswith("magpie: ") and err.count("\n") == 1, err)
        self.assertIn(words, err)
