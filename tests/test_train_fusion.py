"""magpie train fusion, from outside: what it writes, that it can be stopped and resumed, and what it refuses."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import title_hash  # noqa: E402
from sample import binary, model_or_skip, run, run_json, write_catalogue, write_model, write_picture  # noqa: E402

MODEL = model_or_skip()
ITEMS = 120
QUICK = ("--epochs", 6, "--batch", 32, "--patience", 0)


def title_of(number):
    letters = "".join(chr(ord("a") + number // 26**i % 26) for i in range(2))
    return f"thing {letters} {number}"


def model_files(folder):
    files = {}
    for name in ("config.json", "model.safetensors"):
        with open(f"{folder}/{name}", "rb") as file:
            files[name] = file.read()
    return files


class TrainFusion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        image_model = write_model("image", cls.folder + "/images", 1)
        cls.store = cls.folder + "/store"
        items = []
        for i in range(ITEMS):
            items.append({"id": str(i), "text": f"A {title_of(i)}.", "attributes": {"title": title_of(i)}})
            if i % 6:
                items[-1]["image"] = f"{cls.folder}/{i}.png"
                write_picture(items[-1]["image"], i)
        cls.with_two = [title_of(i) for i in range(ITEMS) if i % 6]
        write_catalogue(cls.folder + "/items.jsonl", items)
        run_json("ingest", cls.folder + "/items.jsonl", "--store", cls.store, "--model", MODEL, "--image-model",
                 image_model)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def train(self, name, *more, code=0):
        output = f"{self.folder}/{name}"
        got, out, err = run("train", "fusion", "--store", self.store, "--output", output, "--json", *QUICK, *more)
        self.assertEqual(got, code, err)
        return output, [json.loads(line) for line in out.splitlines()], err

    def test_what_it_writes(self):
        curve = self.folder + "/curve.svg"
        output, lines, err = self.train("whole", "--curve", curve)
        epochs, report = lines[:-1], lines[-1]
        self.assertEqual(err, "")
        self.assertEqual([e["epoch"] for e in epochs], [1, 2, 3, 4, 5, 6])
        self.assertEqual(sorted(os.listdir(output)), ["config.json", "model.safetensors"])
        kept = epochs[report["best_epoch"] - 1]
        self.assertEqual(report["recall"], max(e["recall"] for e in epochs))
        self.assertEqual((report["loss"], report["recall"]), (kept["loss"], kept["recall"]))
        self.assertLess(epochs[-1]["loss"], epochs[0]["loss"])
        hashes = [title_hash(title) for title in self.with_two]
        self.assertEqual(report["held_out"], sum(value % 5 == 0 for value in hashes))
        self.assertEqual(report["validation"], sum(value % 10 == 1 for value in hashes))
        self.assertEqual(report["training"] + report["held_out"] + report["validation"], len(self.with_two))

        with open(output + "/config.json", encoding="utf-8") as file:
            config = json.load(file)
        info = run_json("models", "info", output)
        self.assertEqual((config["model_type"], config["dimension"]), ("magpie-fusion", 384))
        self.assertEqual(set(config["heads"]), {"text", "image"})
        self.assertAlmostEqual(config["temperature"], report["temperature"], places=5)
        self.assertEqual(max(head["weight"] for head in config["heads"].values()), 1)
        self.assertEqual(info["text_encoder"], config["heads"]["text"]["encoder"])
        self.assertEqual(info["text_encoder"], run_json("models", "info", MODEL)["fingerprint"])
        self.assertEqual(info["image"], "linear")

        svg = xml.etree.ElementTree.parse(curve).getroot()
        lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
        words = {text.text for text in svg.findall("{http://www.w3.org/2000/svg}text")}
        self.assertEqual([len(line.get("points").split()) for line in lines], [6, 6])
        self.assertLessEqual({"loss", "epoch", "recall@10, validation"}, words)

    def test_all_and_none(self):
        _, lines, _ = self.train("all", "--all", "--validation", 0, "--kind", "residual", "--dimension", 64)
        report = lines[-1]
        self.assertEqual((report["training"], report["validation"], report["held_out"]), (len(self.with_two), 0, 0))
        self.assertEqual((report["best_epoch"], report["recall"]), (6, 0))

    def test_twice_and_threads(self):
        first, _, _ = self.train("first", "--threads", 1)
        second, _, _ = self.train("second", "--threads", 3)
        other, _, _ = self.train("other", "--seed", 2)
        self.assertEqual(model_files(first), model_files(second))
        self.assertNotEqual(model_files(first), model_files(other))

    def test_interrupted_and_resumed(self):
        """Interrupted behind its third epoch: the reader of its lines says when, and holds it up until then."""
        whole, _, _ = self.train("uninterrupted", "--epochs", 400)
        output = self.folder + "/halves"
        command = [binary(), "train", "fusion", "--store", self.store, "--output", output, "--json",
                   *map(str, QUICK), "--epochs", "400"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        self.assertEqual(process.returncode, 130)
        self.assertIn("--resume", err)
        self.assertEqual(os.listdir(output), ["training.state"])
        self.assertIn("other options", self.train("halves", "--epochs", 400, "--resume", "--lr", 0.002, code=1)[2])
        _, lines, _ = self.train("halves", "--epochs", 400, "--resume")
        self.assertEqual([line["epoch"] for line in lines[:-1]], list(range(1, 401)))
        self.assertTrue(lines[0]["resumed"] and not lines[399]["resumed"])
        self.assertEqual(model_files(output), model_files(whole))
        self.assertEqual(sorted(os.listdir(output)), ["config.json", "model.safetensors"])

    def test_words_for_people(self):
        output = self.folder + "/people"
        code, out, err = run("train", "fusion", "--store", self.store, "--output", output, *QUICK)
        self.assertEqual((code, err.count("\n")), (0, 6), err)
        self.assertRegex(err, r"epoch 6/6  loss \d\.\d+  recall@10 \d\.\d+")
        self.assertRegex(out, r"(?m)^recall@10 +\d\.\d+ across modalities, \d\.\d+ before training$")

    def test_refusals(self):
        texts = self.folder + "/texts"
        run("ingest", "-", "--store", texts, "--model", MODEL, stdin='{"id": "a", "text": "a"}\n')
        for code, words, *arguments in (
                (1, "nothing to align", "--store", texts, "--output", self.folder + "/none"),
                (1, "cannot open the store", "--store", self.folder + "/nowhere", "--output", self.folder + "/none"),
                (1, "multiple of 5", "--store", self.store, "--output", self.folder + "/none", "--validation", 7),
                (1, "dropout", "--store", self.store, "--output", self.folder + "/none", "--dropout", 1),
                (2, "linear or residual", "--store", self.store, "--output", "x", "--kind", "cubic"),
                (2, "0 or more", "--store", self.store, "--output", "x", "--lr", "-1"),
                (2, "--output DIR is needed", "--store", self.store)):
            got, out, err = run("train", "fusion", *arguments)
            self.assertEqual((got, out, err.count("\n")), (code, "", 1), err)
            self.assertIn(words, err)
        self.assertEqual(run("train")[0], 2)
        self.assertEqual(run("train", "nothing")[0], 2)
        self.assertIn("train fusion", run("train", "--help")[1])


if __name__ == "__main__":
    unittest.main()
