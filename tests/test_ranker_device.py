"""--device of magpie train ranker, eval ranker and recommend: a device trains the same bytes each time, and ranks as the
CPU does. OpenCL's, or MAGPIE_TEST_GPU's. Run by ctest; skipped where there is no such device."""
import json
import os
import random
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import run  # noqa: E402

DEVICE = ("--device", os.environ.get("MAGPIE_TEST_GPU", "opencl"))

NONE = ("libOpenCL.so", "libcuda.so", "there are 0 ", "built without nvcc")


class RankerDevice(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = os.path.join(folder.name, "store")
        self.test = os.path.join(folder.name, "x.test.rating")
        likes = os.path.join(folder.name, "likes.tsv")
        dice = random.Random("ranker device")
        with open(likes, "w", encoding="utf-8") as known, open(self.test, "w", encoding="utf-8") as test:
            known.write("user\titem\n")
            for user in range(60):
                *before, last = dice.sample(range(user % 2 * 100, user % 2 * 100 + 150), 12)
                known.writelines(f"u{user}\ti{item}\n" for item in before)
                test.write(f"u{user}\ti{last}\t1\t0\n")
        self.assertEqual(run("interactions", "import", likes, "--store", self.store)[0], 0)

    def command(self, *words, expected=0):
        code, out, err = run(*words, "--store", self.store)
        if DEVICE[0] in words and any(none in err for none in NONE):
            self.skipTest(err.strip())
        self.assertEqual(code, expected, err)
        return out if expected == 0 else err

    def train(self, model, *options):
        epochs = () if model == "ease" else ("--epochs", "3")
        out = self.command("train", "ranker", "--model", model, "--json", *epochs, *options)
        with open(os.path.join(self.store, "ranker", model, "model.safetensors"), "rb") as file:
            return json.loads(out.splitlines()[-1]), file.read()

    def test_training(self):
        for model in ("mf", "neumf"):
            report, one = self.train(model, *DEVICE, "--threads", "1")
            self.assertEqual(one, self.train(model, *DEVICE, "--threads", "2")[1], model)
            self.assertAlmostEqual(report["loss"], self.train(model)[0]["loss"], delta=0.01 * report["loss"])
        self.assertIn("ease is trained on the CPU alone",
                      self.command("train", "ranker", "--model", "ease", *DEVICE, expected=1))

    def test_ranking(self):
        for model in ("neumf", "magpie", "ease"):
            self.train(model)
        for protocol in ("one", "all"):
            asked = ("eval", "ranker", "--test", self.test, "--protocol", protocol, "--json")
            self.assertEqual(self.command(*asked, *DEVICE), self.command(*asked), protocol)
        for model in ("neumf", "magpie"):
            asked = ("recommend", "--user", "u7", "--model", model, "-k", "20", "--json")
            there, here = (json.loads(self.command(*asked, *more))["hits"] for more in (DEVICE, ()))
            self.assertEqual([hit["id"] for hit in there], [hit["id"] for hit in here])
            for x, y in zip(there, here):
                self.assertAlmostEqual(x["score"], y["score"], delta=1e-4)


if __name__ == "__main__":
    unittest.main()
