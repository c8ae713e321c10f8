"""magpie train ranker: every model has its folder, the same bytes for any number of threads; what makes no sense is said;
a model that goes on takes in who came since. Run by ctest."""
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import binary, read_safetensors, run  # noqa: E402

MODELS = ["popularity", "itemknn", "puresvd", "ease", "ials"]


class TrainRanker(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.store = os.path.join(self.folder, "store")
        dice = random.Random("train ranker")
        self.bring_in([(f"u{user}", f"i{item}") for user in range(40) for item in dice.sample(range(20), 6)])

    def bring_in(self, pairs):
        path = os.path.join(self.folder, "likes.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.write("user\titem\n" + "".join(f"{user}\t{item}\n" for user, item in pairs))
        code, _, err = run("interactions", "import", path, "--store", self.store)
        self.assertEqual(code, 0, err)

    def train(self, model, *options):
        code, out, err = run("train", "ranker", "--store", self.store, "--model", model, "--json", *options)
        self.assertEqual(code, 0, err)
        return [json.loads(line) for line in out.splitlines()]

    def files(self, model):
        contents = []
        for name in ("config.json", "model.safetensors"):
            with open(os.path.join(self.store, "ranker", model, name), "rb") as file:
                contents.append(file.read())
        return contents

    def tensors(self, model):
        """{name: rows}"""
        found = read_safetensors(f"{self.store}/ranker/{model}/model.safetensors")
        return {name: list(zip(*[iter(numbers)] * (len(numbers) // shape[0]))) for name, (shape, numbers) in found.items()}

    def test_models(self):
        for model in MODELS:
            report = self.train(model, "--threads", "1")[-1]
            self.assertEqual([report[key] for key in ("model", "users", "items", "likes")], [model, 40, 20, 240])
            one = self.files(model)
            self.assertEqual(json.loads(one[0])["model"], model)
            self.train(model, "--threads", "2")
            self.assertEqual(self.files(model), one, model)
            self.assertEqual(sorted(os.listdir(os.path.join(self.store, "ranker", model))),
                             ["config.json", "model.safetensors"])

    def test_parameters_and_curve(self):
        curve = os.path.join(self.folder, "curve.svg")
        lines = self.train("ials", "--factors", "5", "--epochs", "4", "--regularisation", "2e-2", "--curve", curve)
        self.assertEqual([line["epoch"] for line in lines[:-1]], [1, 2, 3, 4])
        self.assertEqual(lines[-1]["parameters"], 60 * 5)
        options = json.loads(self.files("ials")[0])["options"]
        self.assertEqual((options["factors"], options["regularisation"]), (5, 0.02))
        self.assertIn("Training of a ranker", "".join(xml.etree.ElementTree.parse(curve).getroot().itertext()))

    def test_goes_on(self):
        self.train("ials", "--epochs", "8")
        kept = self.train("ials", "--epochs", "1", "--continue")[-1]
        anew = self.train("ials", "--epochs", "1")[-1]
        self.assertLess(kept["loss"], anew["loss"])
        self.bring_in([("somebody new", "i3"), ("somebody new", "something new")])
        self.assertEqual(self.train("ials", "--epochs", "1", "--continue")[-1]["parameters"], (41 + 21) * 32)

    def test_takes_in_what_is_new(self):
        """Who and what is new has rows then, what was there is where it was, and who was deleted stays away."""
        models = ("mf", "neumf", "magpie", "ials")
        for model in models:
            self.train(model, "--epochs", "3", *(() if model == "ials" else ("--patience", "0")))
        before = {model: self.tensors(model) for model in models}
        self.assertEqual(run("interactions", "delete", "--store", self.store, "--user", "u3")[0], 0)
        self.bring_in([("somebody new", item) for item in ("i3", "i4", "something new")])
        for model in models:
            hardly = () if model == "ials" else ("--patience", "0", "--rate", "1e-6")
            self.train(model, "--continue", "--epochs", "1", *hardly)
            for name, rows in self.tensors(model).items():
                old = before[model][name]
                if name.startswith("user."):
                    self.assertEqual((len(old), len(rows)), (40, 41))
                    self.assertFalse(any(rows[3]))
                elif name.startswith(("item.", "history.items")):
                    self.assertEqual((len(old), len(rows)), (20, 21))
                else:
                    self.assertEqual(len(old), len(rows))
                if len(rows) > len(old) and not name.endswith(".bias"):  # which begin as 0
                    self.assertTrue(any(rows[-1]), (model, name))
                for number, row in enumerate(old if hardly else []):
                    if name.startswith("user.") and number == 3:
                        continue
                    self.assertLess(max(abs(x - y) for x, y in zip(row, rows[number])), 1e-3, (model, name, number))

    def test_deleted_while_it_is_trained(self):
        """The reader of its lines holds it up until the user is gone."""
        command = [binary(), "train", "ranker", "--store", self.store, "--model", "mf", "--json", "--epochs", "2000",
                   "--patience", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            self.assertEqual(run("interactions", "delete", "--store", self.store, "--user", "u7")[0], 0)
            self.assertIsNone(process.poll())
            _, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        rows = self.tensors("mf")["user.gmf"]
        self.assertEqual([number for number, row in enumerate(rows) if not any(row)], [7])
        self.assertEqual(sorted(os.listdir(self.store + "/ranker/mf")), ["config.json", "forgotten", "model.safetensors"])

    def test_senseless(self):
        for options, expected, words in ((["--model", "best"], 2, "popularity, itemknn"),
                                         (["--model", "ease", "--alpha", "1"], 1, "--alpha is nothing to ease"),
                                         (["--model", "ials", "--epochs", "1.5"], 2, "a whole number from 1"),
                                         (["--model", "magpie", "--init", "0"], 2, "init is a number from 1e-06"),
                                         (["--model", "ials", "--continue"], 1, "model.safetensors"),
                                         ([], 2, "--model M is needed")):
            code, _, err = run("train", "ranker", "--store", self.store, *options)
            self.assertEqual(code, expected, err)
            self.assertIn(words, err)


if __name__ == "__main__":
    unittest.main()
