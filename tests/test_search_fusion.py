"""Search in the fused space, from outside: brute force over fused vectors that are computed here from the formula
(encoders/encoders.h, "one space") is the oracle of every mix, of --explain and of magpie fuse. Run by ctest."""
import json
import math
import os
import random
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import MODALITIES, dot, mix, unit, write_fusion  # noqa: E402
from sample import (Case, item, model_or_skip, run, run_json, write_catalogue, write_model, write_picture,  # noqa: E402
                    write_sound)

MODEL = model_or_skip()
ENDINGS = {"image": "png", "audio": "wav"}
DIMENSION, ITEMS, BARE = 24, 30, 3
UNWANTED = -0.5


def as_f32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


class Heads:
    """Heads of a seed: the text's residual, the others linear; as a folder and as the formula."""

    def __init__(self, seed, inputs, weights):
        dice = random.Random(f"heads/{seed}")
        self.inputs, self.weights = inputs, dict(zip(MODALITIES, weights))
        self.tensors = {}
        for name, size in inputs.items():
            self.tensors[f"{name}.weight"] = as_f32([dice.gauss(0, 1 / math.sqrt(size))
                                                     for _ in range(DIMENSION * size)])
            self.tensors[f"{name}.bias"] = as_f32([dice.gauss(0, 0.1) for _ in range(DIMENSION)])
        self.tensors["text.inner.weight"] = as_f32([dice.gauss(0, 0.2) for _ in range(DIMENSION * DIMENSION)])
        self.tensors["text.inner.bias"] = as_f32([dice.gauss(0, 0.1) for _ in range(DIMENSION)])

    def write(self, folder, encoders):
        heads = {name: {"kind": "residual" if name == "text" else "linear", "input": size,
                        "weight": self.weights[name], "encoder": encoders[name]} for name, size in self.inputs.items()}
        write_fusion(folder, DIMENSION, heads, {
            name: ([DIMENSION] if name.endswith("bias") else [DIMENSION, len(values) // DIMENSION], values)
            for name, values in self.tensors.items()})

    def layer(self, name, x):
        matrix, bias = self.tensors[name + "weight"], self.tensors[name + "bias"]
        return [b + dot(matrix[i * len(x):(i + 1) * len(x)], x) for i, b in enumerate(bias)]

    def project(self, name, vector):
        x = [v * math.sqrt(len(vector)) for v in vector]
        y = self.layer(name + ".", x)
        if name == "text":
            gelu = [p * 0.5 * (1 + math.erf(p / math.sqrt(2))) for p in y]
            y = [p + q for p, q in zip(y, self.layer("text.inner.", gelu))]
        return unit(y)


class Fused(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        models = {"text": MODEL}
        for kind in ("image", "audio"):
            models[kind] = write_model(kind, f"{cls.folder.name}/{kind}-model")
        cls.info = {name: run_json("models", "info", folder) for name, folder in models.items()}
        cls.set = cls.folder.name + "/set"
        os.mkdir(cls.set)
        for name, folder in models.items():
            os.symlink(folder, f"{cls.set}/{name}")
        cls.heads = Heads(1, {name: cls.info[name]["dimension"] for name in MODALITIES}, (1, 0.5, 0.75))
        cls.heads.write(cls.set + "/fusion", {name: cls.info[name]["fingerprint"] for name in MODALITIES})
        cls.models = ("--model", cls.set, "--precision", "f32")
        cls.known = {}
        cls.make_items()
        cls.z = cls.encode_all()
        cls.store = cls.folder.name + "/store"
        cls.ingested = run_json("ingest", cls.catalogue, "--store", cls.store, *cls.models)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def make_items(cls):
        """Some have no text, some no picture, some no sound; three have nothing. Files 90 and more are no item's."""
        cls.items = [item(i) for i in range(ITEMS)]
        for i, one in enumerate(cls.items):
            if i % 2 == 0:
                one["image"] = f"{i}.png"
            if i % 3 == 0:
                one["audio"] = f"{i}.wav"
            if i % 5 == 4 or i == 7:
                del one["text"]
        for i in [*range(ITEMS), 90, 91]:
            write_picture(cls.path("image", i), i)
            write_sound(cls.path("audio", i), i)
        cls.catalogue = cls.folder.name + "/catalogue.jsonl"
        write_catalogue(cls.catalogue, cls.items)

    @classmethod
    def path(cls, kind, i):
        return f"{cls.folder.name}/{i}.{ENDINGS[kind]}"

    @classmethod
    def encode(cls, name, values):
        """Projects these: cls.known[name, value]."""
        values = [value for value in values if (name, value) not in cls.known]
        if not values:
            return
        lines = "".join(json.dumps({"id": value, name: value}) + "\n" for value in values)
        code, out, err = run("encode", "--modality", name, *cls.models, stdin=lines)
        assert code == 0, err
        cls.known.update({(name, v["id"]): cls.heads.project(name, v["vector"]) for v in map(json.loads, out.splitlines())})

    @classmethod
    def encode_all(cls):
        """{id: {modality: projected vector}}"""
        z = {one["id"]: {} for one in cls.items}
        for name in MODALITIES:
            has = {one["id"]: one[name] if name == "text" else f"{cls.folder.name}/{one[name]}"
                   for one in cls.items if name in one}
            cls.encode(name, sorted(set(has.values())))
            for key, value in has.items():
                z[key][name] = cls.known[name, value]
        return z

    def fused(self, key, weights=None):
        weights = weights or self.heads.weights
        parts = [(v, weights[name]) for name, v in self.z[key].items() if weights[name]]
        return mix(parts) if parts else None

    def search(self, *arguments, store=None):
        return run_json("search", "--store", store or self.store, *self.models, *arguments, "-k", "100")["hits"]

    def project(self, name, value):
        self.encode(name, [value])
        return self.known[name, value]

    def query(self, parts, weights):
        """parts: (option, value) -> the vector, and (vector, weight) of each."""
        made = []
        for option, value in parts:
            name = option.removeprefix("not-")
            vector = self.fused(value) if name == "item" else self.project(name, value)
            weight = self.heads.weights.get(name, 1) * weights.get(name, 1)
            made.append((vector, weight * UNWANTED if name != option else weight))
        return mix(made), made

    def assert_found(self, hits, query, left_out=(), weights=None):
        """All items that have anything, with the scores of brute force, best first."""
        expected = {key: dot(query, vector) for key in self.z
                    if key not in left_out and (vector := self.fused(key, weights))}
        self.assertEqual({hit["id"] for hit in hits}, set(expected))
        for hit in hits:
            self.assertAlmostEqual(hit["score"], expected[hit["id"]], delta=1e-5)
        scores = [hit["score"] for hit in hits]
        self.assertEqual(scores, sorted(scores, reverse=True))

    # ---- searching

    def mixes(self):
        text, ids = self.items[3]["text"], [one["id"] for one in self.items]
        image, audio = self.path("image", 90), self.path("audio", 91)
        return [([("text", text)], {}), ([("image", image)], {}), ([("audio", audio)], {}), ([("item", ids[4])], {}),
                ([("text", text), ("image", image)], {"image": 0.5}),
                ([("text", text), ("not-text", "a green cat")], {}),
                ([("image", image), ("image", self.path("image", 91)), ("not-audio", audio)], {"audio": 3}),
                ([("item", ids[0]), ("item", ids[2]), ("not-item", ids[9])], {"item": 2}),
                ([("audio", audio), ("not-image", image), ("text", text), ("item", ids[5])], {"text": 0.25, "item": 1.5}),
                ([("not-text", text)], {})]

    def arguments(self, parts, weights):
        return [word for option, value in parts for word in ("--" + option, value)] + \
               [word for name, x in weights.items() for word in ("--weight", f"{name}={x}")]

    def test_any_mix_is_brute_force(self):
        for parts, weights in self.mixes():
            with self.subTest(parts=parts):
                query, _ = self.query(parts, weights)
                named = [value for option, value in parts if option.endswith("item")]
                self.assert_found(self.search(*self.arguments(parts, weights)), query, named)

    def test_shares_sum_to_the_score(self):
        for parts, weights in self.mixes():
            query, made = self.query(parts, weights)
            scale = math.sqrt(math.fsum(math.fsum(w * v[i] for v, w in made) ** 2 for i in range(DIMENSION)))
            for hit in self.search(*self.arguments(parts, weights), "--explain"):
                z = self.z[hit["id"]]
                own = math.sqrt(math.fsum(math.fsum(self.heads.weights[name] * v[i] for name, v in z.items()) ** 2
                                          for i in range(DIMENSION)))
                self.assertEqual([(e["query"], e["value"]) for e in hit["explain"]],
                                 [("--" + option, value) for option, value in parts])
                total = math.fsum(share for e in hit["explain"] for share in e["shares"].values())
                self.assertAlmostEqual(total, hit["score"], delta=1e-5)
                for e, (vector, weight) in zip(hit["explain"], made):
                    self.assertAlmostEqual(e["weight"], weight, places=6)
                    self.assertEqual(set(e["shares"]), set(z))
                    for name, share in e["shares"].items():
                        self.assertAlmostEqual(share, weight * self.heads.weights[name] * dot(vector, z[name]) /
                                               (scale * own), delta=1e-5)

    def test_table_tells_it_too(self):
        code, out, _ = run("search", "--store", self.store, *self.models, "--text", "red", "--not-image",
                           self.path("image", 90), "-k", "3", "--explain")
        self.assertEqual((code, len(out.splitlines())), (0, 3 * 3 + 1))
        self.assertRegex(out.splitlines()[1], r"^ +-?0\.\d{4} (text|image|audio).*  by --text red$")
        self.assertRegex(out.splitlines()[2], r"^ +-?0\.\d{4} (text|image|audio).*  by --not-image ")

    def test_spaces_of_one_modality_are_as_ever(self):
        self.assertEqual(self.search("--image", self.path("image", 4), "--space", "image")[0]["id"], self.items[4]["id"])
        hits = self.search("--text", self.items[3]["text"], "--space", "text")
        self.assertEqual((hits[0]["id"], len(hits)), (self.items[3]["id"], sum("text" in one for one in self.items)))
        hits = self.search("--item", self.items[6]["id"], "--space", "audio")
        self.assertEqual(len(hits), sum("audio" in one for one in self.items) - 1)

    def test_models_that_a_query_does_not_need(self):
        """Neither is opened: an item needs none, a text no other's."""
        by_item = run_json("search", "--store", self.store, "--item", self.items[4]["id"], "-k", "100")
        self.assertEqual([h["id"] for h in by_item["hits"]], [h["id"] for h in self.search("--item", self.items[4]["id"])])
        one = ("--model", MODEL, "--fusion-model", self.set + "/fusion", "--image-model", "/none", "--audio-model", "/none")
        hits = run_json("search", "--store", self.store, *one, "--text", "red")["hits"]
        self.assertEqual(len(hits), 10)
        for env in ({"MAGPIE_MODEL": self.set}, {"MAGPIE_MODEL": MODEL, "MAGPIE_FUSION_MODEL": self.set + "/fusion"}):
            again = run_json("search", "--store", self.store, "--text", "red", env=env)["hits"]
            self.assertEqual(again, hits)

    def test_errors_name_the_option(self):
        search = ("search", "--store", self.store, *self.models)
        self.fails(1, "--not-image: ", *search, "--text", "a", "--not-image", "/none.png")
        self.fails(3, "--not-item: ", *search, "--text", "a", "--not-item", "nobody")
        self.fails(3, "--item: ", *search, "--item", self.items[7]["id"])
        self.fails(1, "cancel out", *search, "--text", "a", "--not-text", "a", "--not-text", "a")
        self.fails(1, "--fusion-model DIR", "search", "--store", self.store, "--model", MODEL, "--text", "a")
        self.fails(1, "--audio-model DIR", "search", "--store", self.store, "--model", MODEL, "--audio", "a.wav")
        self.fails(1, "--fusion-model DIR", "search", "--store", self.store, "--item", self.items[0]["id"], "--explain")
        other = write_model("image", self.folder.name + "/another", 2)
        self.fails(1, "head for image", *search, "--image-model", other, "--image", self.path("image", 90))

    def test_store_without_heads_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            plain = ("--model", MODEL, "--image-model", self.set + "/image", "--precision", "f32")
            run_json("ingest", self.catalogue, "--store", folder + "/s", *plain)
            search = ("search", "--store", folder + "/s", *plain)
            self.fails(1, "--image: the fused space has no head for pictures", *search, "--text", "a", "--image",
                       self.path("image", 90))
            hits = run_json(*search, "--text", self.items[3]["text"], "--not-text", "cheese", "--explain")
            self.assertEqual(hits["hits"][0]["id"], self.items[3]["id"])
            self.assertIsNone(run_json("stats", "--store", folder + "/s")["spaces"]["text"]["index"])
            self.fails(1, "magpie fuse", "search", "--store", folder + "/s", *self.models, "--text", "a")
            self.fails(1, "magpie fuse", "ingest", self.catalogue, "--store", folder + "/s", *self.models)

    # ---- filling

    def test_ingest_and_info(self):
        self.assertEqual((self.ingested["encoded"], self.ingested["updated"]), (ITEMS - BARE, BARE))
        again = run_json("ingest", self.catalogue, "--store", self.store, *self.models)
        self.assertEqual((again["unchanged"], again["committed"]), (ITEMS, 0))
        spaces = run_json("stats", "--store", self.store)["spaces"]
        self.assertEqual((spaces["fused"]["vectors"], spaces["fused"]["dimension"]), (ITEMS - BARE, DIMENSION))
        self.assertTrue(all(space["index"]["loaded"] for space in spaces.values()))  # the text's too
        self.assertEqual(run_json("check", "--store", self.store)["problems"], [])
        code, out, _ = run("models", "info", self.set, "--json")
        self.assertEqual((code, [json.loads(line)["sense"] for line in out.splitlines()]), (0, [*MODALITIES, "fusion"]))

    def test_fuse(self):
        with tempfile.TemporaryDirectory() as folder:
            store, query = folder + "/s", self.query([("text", "red cheese")], {})[0]
            plain = [word for name in MODALITIES for word in
                     (f"--{name}-model" if name != "text" else "--model", f"{self.set}/{name}")]
            run_json("ingest", self.catalogue, "--store", store, *plain, "--precision", "f32")
            fuse = ("fuse", "--store", store, "--fusion-model", self.set + "/fusion", "--commit", "4")
            self.assertEqual(run_json(*fuse)["fused"], ITEMS - BARE)
            self.assert_found(self.search("--text", "red cheese", store=store), query)
            before = run_json("stats", "--store", store)["sequence"]
            again = run_json(*fuse)
            self.assertEqual((again["fused"], again["kept"], again["bare"]), (0, ITEMS - BARE, BARE))
            self.assertEqual(run_json("stats", "--store", store)["sequence"], before)
            run_json(*fuse, "--weight", "image=2.5", "--weight", "audio=0.1")
            weights = {"text": 1, "image": 2.5, "audio": 0.1}
            self.assert_found(self.search("--text", "red cheese", store=store), query, weights=weights)
            self.assertEqual(run_json("check", "--store", store)["problems"], [])
            # ... which the store remembers
            ingest = ("ingest", self.catalogue, "--store", store, *self.models)
            self.assertEqual(run_json(*ingest)["unchanged"], ITEMS)
            self.fails(1, "magpie fuse", *ingest, "--weight", "image=1")
            code, out, _ = run("fuse", "--store", store)  # without heads: the text's, as at first
            self.assertEqual((code, "kept" in out), (0, True))
            texts = run_json("search", "--store", store, "--model", MODEL, "--precision", "f32", "--text",
                             self.items[3]["text"])["hits"]
            self.assertEqual(texts[0]["id"], self.items[3]["id"])
            self.assertAlmostEqual(texts[0]["score"], 1, places=4)

    def test_weights_of_an_ingest(self):
        with tempfile.TemporaryDirectory() as folder:
            ingest = ("ingest", self.catalogue, "--store", folder + "/s", *self.models, "--weight", "text=0")
            run_json(*ingest)
            weights = {**self.heads.weights, "text": 0}
            self.assert_found(self.search("--text", "cheese", store=folder + "/s"),
                              self.project("text", "cheese"), weights=weights)

    def test_weight_of_no_head(self):
        with tempfile.TemporaryDirectory() as folder:
            self.fails(1, "--weight image: the fusion model identity has no head", "ingest", self.catalogue, "--store",
                       folder + "/s", "--model", MODEL, "--weight", "image=1")
            self.assertEqual(os.listdir(folder), [])


class Joint(unittest.TestCase):
    """A small CLIP: its two sides are fused as they are."""

    def test_joint(self):
        with tempfile.TemporaryDirectory() as folder:
            model = write_model("image", folder + "/clip", 1, "clip-small")
            pictures = [f"{folder}/{i}.png" for i in range(6)]
            for i, path in enumerate(pictures):
                write_picture(path, i)
            items = [{"id": str(i), **({"text": f"a thing {i}"} if i % 3 else {}), **({"image": path} if i % 2 else {})}
                     for i, path in enumerate(pictures)]
            lines = "".join(json.dumps(one) + "\n" for one in items)
            models = ("--model", model, "--precision", "f32")
            run_json("ingest", "-", "--store", folder + "/s", *models, stdin=lines)
            vectors = {}
            for kind in ("text", "image"):
                part = "".join(json.dumps(one) + "\n" for one in items if kind in one)
                out = run("encode", "--modality", kind, *models, stdin=part)[1]
                for v in map(json.loads, out.splitlines()):
                    vectors.setdefault(v["id"], []).append(v["vector"])
            query = json.loads(run("encode", "--modality", "image", *models,
                                   stdin=json.dumps({"id": "q", "image": pictures[0]}))[1])["vector"]
            expected = {key: dot(unit([sum(column) for column in zip(*v)]), query) for key, v in vectors.items()}
            hits = run_json("search", "--store", folder + "/s", *models, "--image", pictures[0])["hits"]
            self.assertEqual({hit["id"] for hit in hits}, set(expected))
            for hit in hits:
                self.assertAlmostEqual(hit["score"], expected[hit["id"]], delta=1e-5)


if __name__ == "__main__":
    unittest.main()
