"""magpie train labels and magpie classify: the report is what classifying each held-out item comes to; training sees no
held-out title and is the same twice; words are compared as the formula says. magpie ingest tells what classifying tells,
to items that lack the attribute alone, and to all of them, however often and in however many runs."""
import json
import math
import os
import random
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import JointStore, dot, held_out, mix, project, write_heads  # noqa: E402
from sample import NO_MODELS, binary, run, run_json, write_catalogue, write_model, write_picture  # noqa: E402

ITEMS = 240
WORDS = {"animals/pets": "cat dog rabbit", "animals/farm": "cow horse sheep", "food": "apple bread cheese",
         "things/tools": "hammer saw drill", "rare/one": "quark"}


class Labels(JointStore):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fill(ITEMS)
        cls.trained = cls.folder + "/trained"
        cls.report = cls.train("--space", "text", "--output", cls.trained)

    @classmethod
    def make_item(cls, i):
        dice = random.Random(f"labels/{i}")
        category = dice.choice(list(WORDS)[:4]) if i % 40 else "rare/one"
        word = dice.choice(WORDS[category].split())
        one = {"id": f"i{i:03}", "text": f"{word} {word} {word} {dice.choice('abcdefgh')}",
               "attributes": {"category": category, "title": f"{word} {chr(97 + i % 26)}{chr(97 + i // 26)}"}}
        if dice.random() < 0.2:
            one["attributes"]["category"] = dice.choice(list(WORDS)[:4])  # not always what the text says
        if i % 17 == 5:
            one["attributes"]["category"] = [category]  # no string
        if i % 3:
            one["image"] = f"{i % 12}.png"
            write_picture(f"{cls.folder}/{i % 12}.png", i % 12)
        return one

    @classmethod
    def train(cls, *arguments):
        return run_json("train", "labels", "--store", cls.store, "--attribute", "category", *arguments)

    def classify(self, *arguments, k=100):
        answer = run_json("classify", "-k", k, *arguments)
        chances = [one["probability"] for one in answer["labels"]]
        self.assertEqual(chances, sorted(chances, reverse=True))
        return {one["label"]: one["probability"] for one in answer["labels"]}

    def by_item(self, one, labels=None, store=None):
        return self.classify("--labels-model", labels or self.trained, "--store", store or self.store, "--item", one["id"])

    def labelled(self, level):
        """(item, label) of those that have one."""
        out = []
        for one in self.items:
            value = one["attributes"]["category"]
            if isinstance(value, str):
                out.append((one, "/".join(value.split("/")[:level]) if level else value))
        return out

    def assert_counts(self, report, level, least, among=lambda one: True):
        known = [(one, label) for one, label in self.labelled(level) if among(one)]
        out = [held_out(one["attributes"]["title"]) for one, _ in known]
        for_fit = [label for (_, label), is_out in zip(known, out) if not is_out]
        kept = sorted(label for label in set(label for _, label in known) if for_fit.count(label) >= least)
        for model in report["models"]:
            self.assertEqual([one["label"] for one in model["labels"]], kept)
        self.assertEqual(report["training"] + report["validation"], sum(label in kept for label in for_fit))
        self.assertEqual(report["held_out"], sum(is_out and label in kept for (_, label), is_out in zip(known, out)))
        self.assertTrue(0 < report["validation"] < report["training"] / 2)
        every = {label for _, label in known}
        self.assertEqual(report["left_out"], {"labels": len(every) - len(kept),
                                              "items": sum(label not in kept for _, label in known)})
        return kept

    def test_parts(self):
        self.assertEqual(self.assert_counts(self.report, 1, 10), ["animals", "food", "things"])
        for level, least in ((0, 10), (2, 10), (1, 1), (0, 35)):
            report = self.train("--space", "text", "--output", self.folder + "/other", "--level", level, "--least", least)
            self.assert_counts(report, level, least)
        self.assertEqual(self.report["level"], 1)

    def test_report_is_what_is_answered(self):
        model, = self.report["models"]
        names = [one["label"] for one in model["labels"]]
        out = [(one, label) for one, label in self.labelled(1) if held_out(one["attributes"]["title"]) and label in names]
        confusion, top3, loss, ranges = [[0] * len(names) for _ in names], 0, 0, [[0, 0, 0] for _ in range(15)]
        for one, label in out:
            chances = self.by_item(one)
            self.assertAlmostEqual(sum(chances.values()), 1, 5)
            best = next(iter(chances))
            confusion[names.index(label)][names.index(best)] += 1
            top3 += label in list(chances)[:3]
            loss -= math.log(chances[label]) / len(out)
            at = ranges[min(14, int(chances[best] * 15))]
            at[0] += 1
            at[1] += best == label
            at[2] += chances[best]
        right = sum(confusion[k][k] for k in range(len(names)))
        self.assertEqual(model["confusion"], confusion)
        self.assertAlmostEqual(model["accuracy"], right / len(out), 8)
        self.assertAlmostEqual(model["top3"], top3 / len(out), 8)
        self.assertAlmostEqual(model["log_loss"], loss, 4)
        self.assertAlmostEqual(model["calibration_error"], sum(abs(r - c) for _, r, c in ranges) / len(out), 4)
        self.assertTrue(0.7 < model["accuracy"] < 1)  # three words a label, of items that are not all labelled right
        self.assertLess(model["gradient"], 1e-5)
        for k, one in enumerate(model["labels"]):
            items, told, hits = sum(confusion[k]), sum(row[k] for row in confusion), confusion[k][k]
            self.assertEqual(one["items"], items)
            for key, wanted in (("precision", told and hits / told), ("recall", items and hits / items),
                                ("f1", items + told and 2 * hits / (items + told))):
                self.assertAlmostEqual(one[key] or 0, wanted, 8)

    def test_the_same_twice(self):
        folders = [self.folder + f"/seed-{i}" for i in range(3)]
        seeds = (0, 0, 5)
        for folder, seed in zip(folders, seeds):
            self.train("--space", "text", "--output", folder, "--seed", seed)
        bytes_of = []
        for folder in [self.trained, *folders]:
            with open(folder + "/config.json", "rb") as config, open(folder + "/model.safetensors", "rb") as weights:
                bytes_of.append(config.read() + weights.read())
        self.assertEqual(bytes_of[0], bytes_of[1])
        self.assertEqual(bytes_of[1], bytes_of[2])
        self.assertNotEqual(bytes_of[2], bytes_of[3])

    def test_all_spaces_are_compared_on_the_same_items(self):
        report = self.train("--space", "all", "--output", self.folder + "/all")
        self.assertEqual([m["space"] for m in report["models"]], ["text", "image", "fused"])
        self.assert_counts(report, 1, 10, lambda one: "image" in one)
        self.assertEqual(sorted(os.listdir(self.folder + "/all")), ["fused", "image", "text"])
        sums = {sum(map(sum, m["confusion"])) for m in report["models"]}
        self.assertEqual(sums, {report["held_out"]})
        fused = self.by_item(self.items[1], self.folder + "/all/fused")
        parts = ("--text", self.items[1]["text"], "--image", f"{self.folder}/{self.items[1]['image']}")
        again = self.classify("--labels-model", self.folder + "/all/fused", *self.models, *parts)
        self.assertEqual(list(again), list(fused))
        for label in fused:
            self.assertAlmostEqual(again[label], fused[label], 3)
        self.fails(2, "the text space takes one thing", "classify", "--labels-model", self.trained, *self.models, *parts)

    def test_text_and_item_answer_alike(self):
        for one in self.items[1:30:7]:
            by_item = self.by_item(one)
            by_text = self.classify("--labels-model", self.trained, *self.models, "--text", one["text"])
            for label in by_item:
                self.assertAlmostEqual(by_text[label], by_item[label], 3)
        self.assertEqual(len(self.classify("--labels-model", self.trained, *self.models, "--text", "cat", k=2)), 2)
        out = run("classify", "--labels-model", self.trained, *self.models, "--text", "cat")[1]
        self.assertRegex(out, r"^   1  [01]\.\d{4}  \w+\n   2  0\.\d{4}  \w+\n   3  0\.\d{4}  \w+\n$")

    def test_training_does_not_see_what_is_held_out(self):
        items = [dict(one, attributes=dict(one["attributes"])) for one in self.items]
        for one in items:
            if held_out(one["attributes"]["title"]):
                one["attributes"]["category"] = "animals/pets"
        store, path = self.folder + "/relabelled", self.folder + "/relabelled.jsonl"
        write_catalogue(path, items)
        run_json("ingest", path, "--store", store, *self.models)
        run_json("train", "labels", "--store", store, "--attribute", "category", "--space", "text", "--output",
                 self.folder + "/blind")
        for name in ("config.json", "model.safetensors"):
            with open(f"{self.trained}/{name}", "rb") as one, open(f"{self.folder}/blind/{name}", "rb") as other:
                self.assertEqual(one.read(), other.read())

    def vector(self, modality, **line):
        code, out, err = run("encode", *self.models, "--modality", modality, stdin=json.dumps({"id": "x", **line}))
        self.assertEqual(code, 0, err)
        return json.loads(out)["vector"]

    def assert_words(self, query, labels, vectors, temperature, *arguments):
        scores = [math.exp(dot(query, v) / temperature) for v in vectors]
        got = self.classify("--labels", ", ".join(labels), *self.models, *arguments)
        for label, score in zip(labels, scores):
            self.assertAlmostEqual(got[label], score / sum(scores), 3)

    def test_words(self):
        labels = ["cat", "bread and cheese", "saw"]
        picture = self.folder + "/1.png"
        image, text = self.vector("image", image=picture), self.vector("text", text="dog")
        plain = [self.vector("text", text=label) for label in labels]
        framed = [self.vector("text", text=f"a picture of {label}!") for label in labels]
        self.assert_words(image, labels, plain, 0.01, "--image", picture)
        self.assert_words(text, labels, framed, 0.2, "--text", "dog", "--template", "a picture of {}!", "--temperature",
                          "0.2")
        size = len(text)
        heads = write_heads(self.folder + "/heads", {"text": size, "image": size}, {"text": 1, "image": 0.5})
        text, image = project(heads["text"], text), project(heads["image"], image)
        projected = [project(heads["text"], v) for v in plain]
        named = ("--fusion-model", self.folder + "/heads")
        self.assert_words(image, labels, projected, 0.05, "--image", picture, *named)
        self.assert_words(mix([(text, 1), (image, 0.5)]), labels, projected, 0.05, "--image", picture, "--text", "dog", *named)

    def test_words_for_an_item(self):
        one = self.items[3]  # without a picture: fused is the text's
        by_item = self.classify("--labels", "cat,saw", *self.models, "--store", self.store, "--item", one["id"])
        by_text = self.classify("--labels", "cat,saw", *self.models, "--text", one["text"])
        for label in by_item:
            self.assertAlmostEqual(by_item[label], by_text[label], 3)

    # ---- ingest ----

    def lacking(self):
        """The catalogue, of which some items have lost their category."""
        out = [dict(one, attributes=dict(one["attributes"])) for one in self.items[:60]]
        for i, one in enumerate(out):
            if i % 3 == 1:
                del one["attributes"]["category"]
            elif i % 3 == 2:
                one["attributes"]["category"] = None
        del out[1]["attributes"], out[4]["text"]
        return out

    def ingest(self, store, items, *arguments, **more):
        path = f"{self.folder}/{store}.jsonl"
        write_catalogue(path, items)
        return run_json("ingest", path, "--store", f"{self.folder}/{store}", *self.models, *arguments, **more)

    def stored(self, store, items):
        code, out, err = run("get", "--store", f"{self.folder}/{store}", "--json", *(one["id"] for one in items))
        self.assertEqual(code, 0, err)
        return [one["attributes"] or {} for one in map(json.loads, out.splitlines())]

    def assert_told(self, store, items, least, *models):
        """By what magpie classify says of each; returns how many were told."""
        told = 0
        for one, got in zip(items, self.stored(store, items)):
            wanted = one.get("attributes", {})
            own = wanted.get("category") is not None
            for model, modality in () if own else models:
                if modality not in one:
                    continue
                label, chance = next(iter(self.by_item(one, model, f"{self.folder}/{store}").items()))
                if chance >= least:
                    told += 1
                    self.assertAlmostEqual(got["category_probability"], chance, delta=5.1e-5)
                    wanted = {**wanted, "category": label, "category_probability": got["category_probability"]}
                    break
            self.assertEqual(got, wanted, one["id"])
        self.assertEqual(run_json("check", "--store", f"{self.folder}/{store}")["problems"], [])
        return told

    def counts(self, report):
        return tuple(report[key] for key in ("encoded", "updated", "unchanged", "committed"))

    def test_ingest_tells_what_is_lacking(self):
        items, n = self.lacking(), 60
        lacking = sum((one.get("attributes") or {}).get("category") is None and "text" in one for one in items)
        least = ("--labels-model", self.trained, "--labels-least", "0.8")
        self.ingest("told", items, *least)
        told = self.assert_told("told", items, 0.8, (self.trained, "text"))
        self.assertTrue(0 < told < lacking)
        stored = self.stored("told", items)
        for label in ("animals", "food", "things"):
            wanted = {"must": [{"key": "category", "match": {"value": label}},
                               {"key": "category_probability", "range": {"gte": 0.8}}]}
            found = run_json("search", "--store", self.folder + "/told", *self.models, "--text", "x", "-k", n,
                             "--filter", json.dumps(wanted))
            self.assertEqual({hit["id"] for hit in found["hits"]},
                             {one["id"] for one, got in zip(items, stored) if "category_probability" in got and
                              got["category"] == label})
        self.assertEqual(self.counts(self.ingest("told", items, *least)), (0, 0, n, 0))
        self.assertEqual(self.counts(self.ingest("told", items)), (0, 0, n, 0))
        self.assertEqual(self.stored("told", items), stored)
        every = ("--labels-model", self.trained, "--labels-least", "0")
        self.assertEqual(self.counts(self.ingest("told", items, *every)), (0, lacking - told, n - lacking + told,
                                                                             lacking - told))
        self.assertEqual(self.assert_told("told", items, 0, (self.trained, "text")), lacking)
        before = self.stored("told", items[1:2])
        items[1]["text"], items[2]["attributes"]["category"] = "drill drill drill", "food"
        del items[5]["text"]  # nothing to tell it by
        self.assertEqual(self.counts(self.ingest("told", items, *every)), (1, 2, n - 3, 3))
        self.assertEqual(self.assert_told("told", items, 0, (self.trained, "text")), lacking - 2)
        self.assertNotEqual(self.stored("told", items[1:2]), before)

    def test_ingest_tells_what_is_there_already(self):
        items = self.lacking()
        self.ingest("late", items)
        self.train("--space", "image", "--output", self.folder + "/by-image", "--least", "1")
        by_image = self.folder + "/by-image"
        both = ("--labels-model", by_image, "--labels-model", self.trained, "--labels-least", "0")
        report = self.ingest("late", items, *both)
        self.assertEqual(report["encoded"], 0)
        self.assertEqual(report["updated"],
                         self.assert_told("late", items, 0, (by_image, "image"), (self.trained, "text")))
        self.assertEqual(self.counts(self.ingest("late", items, *both)), (0, 0, 60, 0))

    def test_what_is_told_outlives_a_run_for_something_else(self):
        items = self.lacking()
        self.ingest("kept", items, "--labels-model", self.trained)
        told = self.stored("kept", items)
        self.ingest("kept", items, "--passage-prefix", "a ")  # all texts anew
        self.assertEqual(self.stored("kept", items), told)

    def test_ingest_tells_all_when_it_was_stopped_with_other_labels(self):
        self.train("--space", "text", "--output", self.folder + "/seed", "--seed", "7")
        items, every = self.lacking(), ("--labels-least", "0", "--labels-model")
        for stopped, labels, goes_on in (("bare", (), False), ("other", (*every, self.folder + "/seed"), False),
                                         ("same", (*every, self.trained), True)):
            path, store = f"{self.folder}/{stopped}.jsonl", f"{self.folder}/{stopped}"
            write_catalogue(path, items)
            with open("/dev/full", "w", encoding="utf-8") as full:
                subprocess.run([binary(), "ingest", path, "--store", store, *self.models, *labels, "--commit", "20",
                                "--acknowledge"], env={**os.environ, **NO_MODELS}, stdout=full, stderr=subprocess.PIPE,
                               check=False)
            stored = run_json("stats", "--store", store)["items"]
            self.assertIn(stored, (20, 40))  # a second transaction may have been on its way
            resumed_at = stored if goes_on else 0
            report = run_json("ingest", path, "--store", store, *self.models, *every, self.trained)
            self.assertEqual((report["resumed_at"], report["lines"]), (resumed_at, 60 - resumed_at))
            self.assertGreater(self.assert_told(stopped, items, 0, (self.trained, "text")), 30)

    def test_training_does_not_learn_from_what_was_told(self):
        items = [dict(one, attributes={**one["attributes"], **({} if i % 4 else {"category": None})})
                 for i, one in enumerate(self.items)]
        for store, more in (("plain", ()), ("taught", ("--labels-model", self.trained, "--labels-least", "0"))):
            self.ingest(store, items, *more)
            run_json("train", "labels", "--store", f"{self.folder}/{store}", "--attribute", "category", "--space", "text",
                     "--output", f"{self.folder}/from-{store}")
        for name in ("config.json", "model.safetensors"):
            with open(f"{self.folder}/from-plain/{name}", "rb") as one, open(f"{self.folder}/from-taught/{name}", "rb") as two:
                self.assertEqual(one.read(), two.read())

    def test_models_info(self):
        with open(self.trained + "/config.json", encoding="utf-8") as file:
            config = json.load(file)
        info = run_json("models", "info", self.trained)
        self.assertEqual(info.pop("sense"), "labels")
        self.assertEqual(info.pop("name"), "trained")
        self.assertEqual(info.pop("fingerprint"), config.pop("weights"))
        self.assertEqual(info.pop("learned_on"), config.pop("fingerprint"))
        del config["model_type"]
        self.assertEqual(info, config)
        out = run("models", "info", self.trained)[1]
        self.assertTrue(out.endswith("labels          animals\n                food\n                things\n"), out)

    def test_misused_ingest(self):
        store, path = self.folder + "/wrong", self.folder + "/catalogue.jsonl"
        other = write_model("image", self.folder + "/stranger", 3, "clip-small")
        ingest = ("ingest", path, "--store", store)
        info = run_json("models", "info", self.trained)
        code, out, err = run("models", "info", other, "--json")
        self.assertEqual(code, 0, err)
        self.fails(1, info["learned_on"], *ingest, "--model", other, "--labels-model", self.trained)
        self.fails(1, json.loads(out.splitlines()[0])["fingerprint"], *ingest, "--model", other, "--labels-model", self.trained)
        run_json(*ingest, *self.models, "--labels-model", self.trained)  # nothing was bound to the other
        self.fails(2, "from 0 to 1", *ingest, *self.models, "--labels-least", "1.5")
        self.fails(1, "nowhere", *ingest, *self.models, "--labels-model", self.folder + "/nowhere")

    def test_misuse(self):
        words, text = ("--labels", "a,b"), ("--text", "x")
        self.fails(2, "either --labels or --labels-model", "classify", *self.models, *text)
        self.fails(2, "either --labels or --labels-model", "classify", *words, "--labels-model", self.trained, *text)
        self.fails(2, "--text, --image, --audio or --item is needed", "classify", *words, *self.models)
        self.fails(2, "--item takes a --store", "classify", *words, *self.models, "--item", "i001")
        self.fails(2, "{} is wanted", "classify", *words, *self.models, *text, "--template", "a picture")
        self.fails(2, "a number above 0", "classify", *words, *self.models, *text, "--temperature", "0")
        for bad, why in (("a", "two labels at least"), ("a,,b", "label 2 is empty"), ("a,b, a", '"a" is there twice')):
            self.fails(1, why, "classify", "--labels", bad, *self.models, *text)
        for of in (("--labels-model", self.trained), words):
            self.fails(3, 'no item "none"', "classify", *of, *self.models, "--store", self.store, "--item", "none")
        self.fails(1, "nowhere", "classify", "--labels-model", self.folder + "/nowhere", *self.models, *text)
        self.fails(1, "trained is a model of labels: name it by --labels-model", "classify", *words, *text,
                   "--model", self.trained)
        other = write_model("image", self.folder + "/other", 2, "clip-small")
        self.fails(1, "trained", "classify", "--labels-model", self.trained, "--model", other, *text)
        store = self.folder + "/foreign"
        run_json("ingest", self.folder + "/catalogue.jsonl", "--store", store, "--model", other)
        self.fails(1, "train it again", "classify", "--labels-model", self.trained, "--store", store, "--item", "i001")

    def test_nothing_to_learn_from(self):
        train = ("train", "labels", "--store", self.store, "--output", self.folder + "/none")
        self.fails(1, '"colour" that is a string', *train, "--attribute", "colour")
        self.fails(1, "it takes two", *train, "--attribute", "category", "--least", 1000)
        self.fails(1, "no audio vectors", *train, "--attribute", "category", "--space", "audio")
        self.fails(2, "--attribute NAME is needed", *train)
        self.fails(2, "audio or all is wanted", *train, "--attribute", "category", "--space", "some")
        self.assertFalse(os.path.exists(self.folder + "/none"))

    def test_table(self):
        out = run("train", "labels", "--store", self.store, "--attribute", "category", "--space", "all", "--output",
                  self.folder + "/table")[1]
        report = self.train("--space", "all", "--output", self.folder + "/table")
        rows = [line.split() for line in out.splitlines()]
        accuracy = next(row for row in rows if row[:1] == ["accuracy"])
        self.assertEqual(accuracy[1:], [f"{m['accuracy']:.4g}" for m in report["models"]])
        told = [row for row in rows if row[1:2] == ["animals"]]
        self.assertEqual(len(told), 3)
        for row, m in zip(told, report["models"]):
            one = m["labels"][0]
            self.assertEqual(row[2], str(one["items"]))
            self.assertEqual([0 if n == "." else int(n) for n in row[6:]], m["confusion"][0])


if __name__ == "__main__":
    unittest.main()
