"""magpie eval ranker: figures against the NCF repository's files are what counting comes to, for models and ids that the
store knows and does not know; bad files are named with their line; splits train, measure and leave nothing behind."""
import json
import math
import os
import random
import sys
import tempfile
import unittest

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(TESTS, "kill")]
from sample import run, write_popularity  # noqa: E402

USERS, ITEMS, K = 40, 60, 10


class EvalRanker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.store, cls.test, cls.negatives = (f"{cls.folder}/{name}" for name in ("store", "test", "negatives"))
        dice = random.Random(1)
        cls.seen = {f"u,{u}": dice.sample(range(ITEMS), dice.randint(2, 30)) for u in range(USERS)}
        cls.numbers = {}  # of items: as they are met
        with open(cls.folder + "/x.train.rating", "w", encoding="utf-8") as file:
            for user, items in cls.seen.items():
                for time, item in enumerate(items):
                    cls.numbers.setdefault(f"i{item}", len(cls.numbers))
                    print(user, f"i{item}", 1, 880000000 + time, sep="\t", file=file)
        run("interactions", "import", cls.folder + "/x.train.rating", "--store", cls.store)
        cls.scores = {}
        for name in ("a", "b"):
            scores = [dice.randint(-5, 5) for _ in cls.numbers]  # many ties
            cls.scores[name] = {item: scores[number] for item, number in cls.numbers.items()}
            write_popularity(f"{cls.store}/ranker/{name}", USERS, scores)
        distinct = dice.sample(range(1000), len(cls.numbers))
        cls.scores["c"] = {item: distinct[number] for item, number in cls.numbers.items()}
        write_popularity(cls.store + "/ranker/c", USERS, distinct)
        os.makedirs(cls.store + "/ranker/never-ended")
        cls.cases = []
        for user, items in cls.seen.items():
            others = [f"i{i}" for i in range(ITEMS) if i not in items]
            for right in dice.sample(others, dice.randint(1, 3)):
                cls.cases.append((user, right, dice.sample(others, 20) + ["nobody's"]))
        cls.cases += [("a stranger", "i1", ["i2", "i3"]), ("u,1", "unheard of", ["i2"])]
        cls.write(cls.cases)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def write(cls, cases):
        with open(cls.test, "w", encoding="utf-8") as file:
            file.writelines(f"{user}\t{item}\t4\t881250949\r\n" for user, item, _ in cases)
        with open(cls.negatives, "w", encoding="utf-8") as file:
            file.writelines("\t".join([f"({user},{item})"] + others) + "\n\n" for user, item, others in cases)

    def eval(self, *arguments):
        code, out, err = run("eval", "ranker", "--store", self.store, "--json", *arguments)
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)

    def fails(self, code, words, *arguments):
        got, out, err = run("eval", "ranker", "--store", self.store, *arguments)
        self.assertEqual((got, out), (code, ""))
        self.assertIn(words, err)

    def on_files(self, *arguments):
        return self.eval("--test", self.test, "--negatives", self.negatives, *arguments)

    def test_one(self):
        report = self.on_files()
        self.assertEqual(list(report), ["a", "b", "c"])
        for name, scores in self.scores.items():
            hits, ndcg = 0, 0
            for _, item, others in self.cases:
                rank = 1 + sum(other in scores and scores[other] >= scores.get(item, 0) for other in others)
                if item in scores and rank <= K:
                    hits, ndcg = hits + 1, ndcg + 1 / math.log2(rank + 1)
            figures = report[name]
            self.assertAlmostEqual(figures["hr@10"], hits / len(self.cases))
            self.assertAlmostEqual(figures["ndcg@10"], ndcg / len(self.cases))
            for figure in ("hr@10", "ndcg@10"):
                low, high = figures[figure + "_interval"]
                self.assertTrue(low < figures[figure] < high)
            self.assertEqual((figures["cases"], figures["served"]), (len(self.cases), len(self.cases)))
        self.assertEqual(self.on_files("--model", "b", "--model", "a"), {m: report[m] for m in "ba"})
        self.assertIn("hr@3", self.on_files("-k", "3")["a"])
        drawn = self.eval("--test", self.test)
        self.assertEqual(drawn, self.eval("--test", self.test))
        self.assertTrue(0 < drawn["c"]["hr@10"] < 1)

    def test_all(self):
        figures = self.eval("--protocol", "all", "--test", self.test, "--model", "c")["c"]
        right, scores = {}, self.scores["c"]
        for user, item, _ in self.cases:
            right.setdefault(user, set()).add(item)
        sums = dict.fromkeys(("recall", "precision", "ndcg", "map", "mrr", "hr"), 0)
        shown = set()
        for user, wanted in right.items():
            seen = {f"i{i}" for i in self.seen.get(user, ())}
            first = sorted((i for i in scores if i not in seen), key=lambda i: -scores[i])[:K]
            places = [place for place, item in enumerate(first) if item in wanted]
            shown |= set(first)
            sums["recall"] += len(places) / len(wanted)
            sums["precision"] += len(places) / K
            sums["ndcg"] += (sum(1 / math.log2(p + 2) for p in places) /
                             sum(1 / math.log2(p + 2) for p in range(min(K, len(wanted)))))
            sums["map"] += sum((n + 1) / (p + 1) for n, p in enumerate(places)) / len(wanted)
            sums["mrr"] += 1 / (places[0] + 1) if places else 0
            sums["hr"] += bool(places)
        for name, value in sums.items():
            self.assertAlmostEqual(figures[name + "@10"], value / len(right), msg=name)
        self.assertAlmostEqual(figures["coverage@10"], len(shown) / len(self.numbers))
        self.assertEqual(figures["users"], len(right))

    def test_table_says_what_json_says(self):
        out = run("eval", "ranker", "--store", self.store, "--test", self.test, "--negatives", self.negatives)[1]
        report = self.on_files()
        lines = out.splitlines()[1:]
        self.assertEqual([line.split()[0] for line in lines], list(report))
        for line, figures in zip(lines, report.values()):
            self.assertEqual(line.split()[1::2][:2], [f'{figures[f]:.4f}' for f in ("hr@10", "ndcg@10")])

    def test_bad_files(self):
        arguments = ("--test", self.test, "--negatives", self.negatives)
        good = ("u,1", "i1", ["i2"])
        try:
            self.write([good, good, good])
            with open(self.negatives, "a", encoding="utf-8") as file:
                file.write("(u,1,i1)\ti3\n")
            self.fails(1, f"{self.negatives}, line 7: {self.test} has no line", *arguments)
            with open(self.test, "a", encoding="utf-8") as file:
                file.write("u,1\ti1\nu,1\ti2\n")
            self.fails(1, f"{self.negatives} ends before line 5 of {self.test}", *arguments)
            with open(self.negatives, "a", encoding="utf-8") as file:
                file.write("(u,1,i1)\ti3\n")
            self.fails(1, f"{self.negatives}, line 8: it should begin with (u,1,i2), as {self.test}, line 5", *arguments)
            self.write([good, ("u,1", "", ["i2"])])
            self.fails(1, f"{self.test}, line 2: an id is missing", *arguments)
            self.write([good, ("u,1", "i2", ["i3", "", "i4"])])
            self.fails(1, f"{self.negatives}, line 3: an id is missing", *arguments)
            with open(self.test, "w", encoding="utf-8") as file:
                file.write("u,1 i2 4 1\n")
            self.fails(1, f"{self.test}, line 1: a user, a tab and an item are wanted", *arguments)
            open(self.test, "w", encoding="utf-8").close()
            self.fails(1, f"{self.test} has no lines", "--test", self.test)
        finally:
            self.write(self.cases)
        self.fails(1, "nowhere", "--test", self.folder + "/nowhere")
        self.fails(1, "no model never-ended", "--test", self.test, "--model", "never-ended")

    def test_usage(self):
        for arguments in ((), ("--test", "x", "--split", "last", "--train", "ease"), ("--split", "last"),
                          ("--test", "x", "--train", "ease"), ("--test", "x", "--seeds", "2"),
                          ("--split", "last", "--train", "ease", "--model", "a"), ("--split", "some"),
                          ("--test", "x", "--negatives", "y", "--protocol", "all"), ("--share", "1")):
            self.fails(2, "magpie: ", *arguments)

    def test_splits(self):
        models = ("--train", "popularity,random,ease")
        for split in ("last", "random", "time", "cold-items", "cold-users"):
            for protocol in ("one", "all"):
                report = self.eval("--split", split, *models, "--protocol", protocol)
                self.assertEqual(list(report), ["popularity", "random", "ease"])
                self.assertEqual(report, self.eval("--split", split, *models, "--protocol", protocol))
        self.assertEqual(self.eval("--split", "last", *models)["ease"]["cases"], USERS)
        everybody = self.eval("--split", "random", *models)["random"]["users"]
        self.assertEqual(everybody, sum(len(i) > round(0.75 * len(i)) for i in self.seen.values()))
        self.assertEqual(self.eval("--split", "cold-users", "--share", "0.5", *models)["ease"]["served"], 0)
        self.assertEqual(sorted(os.listdir(self.store)), ["data.mdb", "lock.mdb", "ranker"])

    def test_rounds(self):
        one = self.eval("--split", "random", "--train", "popularity")["popularity"]
        three = self.eval("--split", "random", "--train", "popularity", "--seeds", "3")["popularity"]
        self.assertNotIn("coverage@10_interval", one)
        for name in ("recall@10", "coverage@10"):
            low, high = three[name + "_interval"]
            self.assertTrue(low < three[name] < high)
        self.assertEqual(three["users"], 3 * one["users"])
        self.fails(1, "there is no model \"none\"", "--split", "last", "--train", "ease,none")
        self.fails(1, "ease is named twice", "--split", "last", "--train", "ease,ease")

    def test_settings(self):
        path = self.folder + "/settings.json"
        by_settings = []
        for settings in ({}, {"ease": {"regularisation": 1e5}, "neumf": {"no": 1}}):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(settings, file)
            by_settings.append(self.eval("--split", "random", "--train", "ease", "--settings", path))
        self.assertEqual(by_settings[0], self.eval("--split", "random", "--train", "ease"))
        self.assertNotEqual(by_settings[0], by_settings[1])
        for bad, words in (('{"ease": {"factors": 1}}', 'ease has no parameter "factors"'),
                           ('{"ease": {"regularisation": "1"}}', '"regularisation" that is a number'),
                           ('{"ease": {"regularisation": -1}}', "regularisation is a"), ('{"ease"', "line 1"), ('[]', "is wanted"),
                           ('{"easy": {}}', 'no model "easy"')):
            with open(path, "w", encoding="utf-8") as file:
                file.write(bad)
            self.fails(1, words, "--split", "last", "--train", "ease", "--settings", path)

    def test_what_counts_as_a_like(self):
        """Kinds of one item are one like, at the latest time; what is rated 0 is none."""
        store, path = self.folder + "/kinds", self.folder + "/kinds.jsonl"
        lines = [("a", "x", "view", 1, 5), ("a", "y", "view", 1, 4), ("a", "x", "buy", 2, 3), ("b", "x", "rating", 0, 1),
                 ("b", "y", "view", 1, 2), ("c", "x", "view", 1, 1), ("c", "x", "like", 1, 2), ("c", "z", "rating", 3, 9)]
        with open(path, "w", encoding="utf-8") as file:
            for user, item, kind, weight, time in lines:
                print(json.dumps({"user": user, "item": item, "kind": kind, "weight": weight,
                                  "time": 1700000000 + time}), file=file)
        run("interactions", "import", path, "--store", store)
        code, out, _ = run("eval", "ranker", "--store", store, "--split", "last", "--train", "popularity", "--json")
        self.assertEqual((code, json.loads(out)["popularity"]["cases"]), (0, 2))  # a and c have two likes, b has one
        code, _, err = run("eval", "ranker", "--store", self.folder + "/none", "--test", self.test)
        self.assertEqual(code, 1)


if __name__ == "__main__":
    unittest.main()
