"""magpie tune ranker: it gets away from a bad beginning, within its time, and train ranker takes what it found; it can be
interrupted; and what a killed one leaves behind, which knows users, goes with the next delete or compaction."""
import html.parser
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import binary, run  # noqa: E402

USERS, ITEMS, TASTES = 120, 200, 4
ENDLESS = ("--epochs", "100000", "--patience", "0")


class Cells(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.rows and data.strip():
            self.rows[-1].append(data.strip())


class TuneRanker(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.store = folder.name, folder.name + "/store"
        self.bring_in(self.store, lambda day, item: day)

    def bring_in(self, store, order):
        """Users of some tastes; day by day they like what comes next in order."""
        dice = random.Random("tune ranker")
        path = self.folder + "/likes.tsv"
        with open(path, "w", encoding="utf-8") as file:
            file.write("user\titem\ttimestamp\n")
            for user in range(USERS):
                own = [item for item in range(ITEMS) if item % TASTES == user % TASTES]
                for day, item in enumerate(dice.sample(own, 12)):
                    file.write(f"u{user}\ti{item}\t{86400 * (1000 + order(day, item))}\n")
        code, _, err = run("interactions", "import", path, "--store", store)
        self.assertEqual(code, 0, err)

    def tune(self, model, *options):
        code, out, err = run("tune", "ranker", "--store", self.store, "--model", model, "--json", *options)
        self.assertEqual(code, 0, err)
        self.assertEqual(self.scratch(), [])
        return json.loads(out)

    def train(self, model, *options):
        code, out, err = run("train", "ranker", "--store", self.store, "--model", model, "--json", *options)
        self.assertEqual(code, 0, err)
        return json.loads(out.splitlines()[-1])

    def scratch(self):
        return [name for name in os.listdir(self.store) if name not in ("data.mdb", "lock.mdb", "ranker")]

    def start(self, *arguments):
        """The command, when its first training has gone an epoch."""
        command = [binary(), *arguments, "--store", self.store]
        # pylint: disable-next=consider-using-with
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while not any("training.state" in files for _, _, files in os.walk(self.store)):
            self.assertIsNone(process.poll())
        return process

    def test_gets_away_from_a_bad_beginning(self):
        bad, good, report = (self.folder + name for name in ("/bad.json", "/good.json", "/report.html"))
        with open(bad, "w", encoding="utf-8") as file:
            json.dump({"mf": {"rate": 1e-6}, "ease": {}}, file)
        options = ("--options", bad, "--epochs", "32", "--patience", "32", "--factors", "12", "--candidates", "12", "--budget", "200")
        found = self.tune("mf", *options, "--output", good, "--report", report)
        candidates = {one["number"]: one for one in found["candidates"]}
        self.assertEqual(sorted(candidates), list(range(12)))
        self.assertEqual(candidates[0]["parameters"]["rate"], 1e-6)
        self.assertGreater(found["hr@10"], candidates[0]["hr@10"] + 0.1)
        self.assertGreater(found["best"]["rate"], 1e-4)
        self.assertEqual({one["parameters"]["factors"] for one in candidates.values()}, {12})
        scores = [one["hr@10"] for one in found["candidates"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        # The rungs: 12 for 2 epochs, 6 for 4, 3 for 8, 2 for 16, one for all.
        self.assertEqual(sorted(one["epochs"] for one in candidates.values()), [2] * 6 + [4] * 3 + [8, 16, 32])
        with open(good, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"mf": found["best"]})
        cells = Cells()
        with open(report, encoding="utf-8") as file:
            cells.feed(file.read())
        self.assertEqual([int(row[0]) for row in cells.rows[1:]], [one["number"] for one in found["candidates"]])
        self.assertEqual(cells.rows[0][4:], ["regularisation", "negatives", "batch", "rate"])
        self.assertEqual(self.tune("mf", *options)["best"], found["best"])  # seeded
        # The whole of what the best was measured at.
        trained = self.train("mf", "--options", good)
        self.assertGreaterEqual(trained["hr@10"], found["hr@10"])
        with open(self.store + "/ranker/mf/config.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file)["options"], found["best"])

    def test_models_without_a_validation_of_their_own(self):
        for model in ("popularity", "itemknn", "puresvd", "ease", "ials"):
            report = self.folder + "/report.md"
            found = self.tune(model, "--candidates", "6", "--report", report)
            self.assertEqual(len(found["candidates"]), 6)
            with open(report, encoding="utf-8") as file:
                self.assertEqual(sum(line.startswith("| ") for line in file), 1 + 6)
            for one in found["candidates"]:  # ials went on from what it was, and is the same as run at once
                parameters = [word for name, value in one["parameters"].items()
                              for word in (f"--{name}", repr(one["epochs"] if name == "epochs" else value))]
                self.assertEqual(self.train(model, "--validate", *parameters)["hr@10"], one["hr@10"], model)
            self.assertIsNone(self.train(model)["hr@10"])

    def test_no_two_candidates_are_alike(self):
        found = self.tune("puresvd", "--candidates", "40")["candidates"]
        self.assertEqual(len({one["parameters"]["factors"] for one in found}), 40)
        found = self.tune("itemknn", "--neighbours", "5", "--shrink", "1")["candidates"]
        self.assertEqual(sorted(one["parameters"]["bm25"] for one in found), [0, 1])  # there are no others

    def test_times_count_in_validation(self):
        self.store = self.folder + "/fashion"
        self.bring_in(self.store, lambda day, item: item)  # everybody goes through the items
        rates = [self.train("popularity", "--validate", "--half-life", half_life)["hr@10"] for half_life in ("0", "10")]
        self.assertGreater(rates[1], rates[0] + 0.1)

    def test_time_is_bounded(self):
        found = self.tune("neumf", "--budget", "1", *ENDLESS)
        self.assertFalse(found["interrupted"])
        self.assertTrue(all(0 < one["epochs"] < 100000 for one in found["candidates"]))

    def test_interrupted(self):
        best = self.folder + "/best.json"
        process = self.start("tune", "ranker", "--model", "gmf", "--budget", "3000", "--json", "--output", best, *ENDLESS)
        run("interactions", "delete", "--store", self.store, "--user", "u1")
        self.assertEqual(len(self.scratch()), 1)  # its process lives
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 130)
        found = json.loads(out)
        self.assertTrue(found["interrupted"])
        with open(best, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"gmf": found["best"]})
        self.assertEqual(self.scratch(), [])

    def test_killed(self):
        endless = self.folder + "/endless.json"
        with open(endless, "w", encoding="utf-8") as file:
            json.dump({"mf": {"epochs": 100000, "patience": 0}}, file)
        for command, sweeper in (
                (("tune", "ranker", "--model", "mf", "--budget", "3000", "--options", endless), ("compact",)),
                (("eval", "ranker", "--split", "last", "--train", "mf", "--settings", endless),
                 ("interactions", "delete", "--user", "u1"))):
            process = self.start(*command)
            process.kill()
            process.communicate()
            self.assertEqual(len(self.scratch()), 1)
            code, _, err = run(*sweeper, "--store", self.store)
            self.assertEqual((code, self.scratch()), (0, []), err)

    def test_senseless(self):
        path = self.folder + "/options.json"
        for text, words in (('{"mf": {"rate": 100}}', "rate is a number from"), ('{"mf": {"alpha": 1}}', "no parameter"),
                            ('{"best": {}}', 'no model "best"'), ("{", "line 1")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            for what in ("tune", "train"):
                code, _, err = run(what, "ranker", "--store", self.store, "--model", "mf", "--options", path)
                self.assertEqual(code, 1)
                self.assertIn(words, err)


if __name__ == "__main__":
    unittest.main()
