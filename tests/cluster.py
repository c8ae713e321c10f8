"""What the tests of ingest/spark and ingest/slurm share: a catalogue with all that can be wrong in one, its store as
magpie ingest makes it, and a store out of shards, which has to be the same."""
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import SKIPPED, Case, binary, item, model_or_skip, run, run_json, write_model, write_picture, write_sound  # noqa: E402

MODEL = model_or_skip()
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ITEMS = 300
BAD = [b"{", b'{"text": "no id"}', b'{"id": "x", "text": "\xff"}', b'{"id": "y", "txet": "t"}', b'{"id": ""}', b"[]"]


class Cluster(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.mkdir(cls.path("media"))
        cls.catalogue = cls.path("catalogue.jsonl")
        with open(cls.catalogue, "wb") as file:
            file.write(b"".join(cls.make_lines()))
        for kind in ("image", "audio"):
            write_model(kind, cls.path(kind))
        cls.models = ("--model", MODEL, "--image-model", cls.path("image"), "--audio-model", cls.path("audio"))
        done = run_json("ingest", cls.catalogue, "--store", cls.path("single"), *cls.models, expected=3)
        assert done["rejected"] == len(BAD) + 1 and done["pictures"]["refused"] == 10 and done["unchanged"] == 1, done
        cls.expected = cls.export(cls.path("single"))

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def make_lines(cls):
        for number in range(ITEMS):
            one = item(number)
            if number % 5 == 3:
                one["image"] = f"media/{number}.png"
            if number % 30 == 13:
                with open(cls.path(one["image"]), "wb") as file:
                    file.write(b"no picture")
            elif number % 5 == 3:
                write_picture(cls.path(one["image"]), number)
            if number % 20 == 4:
                one["audio"] = f"media/{number}.wav"
                write_sound(cls.path(one["audio"]), number, 0.2)
            if number == 150:  # no text, spaces between lines, and the other end of a line
                one = {"id": "ünï \u2028", "image": "media/3.png", "timestamp": 0.5, "attributes": {"a": [None, {"é": 1.5}]}}
            yield json.dumps(one, ensure_ascii=number % 2 == 0).encode() + (b"\r\n" if number % 50 == 0 else b"\n")
            if number % 50 == 25:
                yield b" \n" + BAD[number // 50] + b"\n"
        yield json.dumps({**item(7), "text": "a contradiction"}).encode() + b"\n" + json.dumps(item(6)).encode()

    @classmethod
    def export(cls, store):
        code, out, err = run("export", "--store", store, "--output", "-")
        assert (code, err) == (0, ""), err
        return out.rstrip("\n").split("\n")

    def read_shards(self, folder):
        """{name: bytes}."""
        shards = {}
        for name in sorted(os.listdir(self.path(folder))):
            if name.startswith("part-"):
                with open(os.path.join(self.path(folder), name), "rb") as file:
                    shards[name] = file.read()
        return shards

    def assert_same_store(self, folder):
        """As magpie ingest makes it, to the bit, hashes included: another ingest has nothing to do."""
        store = self.path(folder + "-store")
        code, _, err = run("import-vectors", self.path(folder) + "/part-*.gz", "--media-root", self.folder, "--store", store)
        self.assertEqual(code, 3, err)
        self.assertEqual(self.export(store), self.expected)
        ids = [json.loads(line)["id"] for line in self.expected[1:]]
        self.assertEqual(self.stored(store, ids), self.stored(self.path("single"), ids))
        self.assertEqual(run_json("check", "--store", store)["problems"], [])
        again = run_json("ingest", self.catalogue, "--store", store, *self.models, expected=3)
        self.assertEqual((again["committed"], again["unchanged"]), (0, ITEMS + 1))

    def stored(self, store, ids):
        code, out, err = run("get", "--store", store, "--json", *ids)
        self.assertEqual(code, 0, err)
        return [{**json.loads(line), "updated": None} for line in out.split("\n") if line]
