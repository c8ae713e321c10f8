"""magpie dedup against every pair compared in Python: the groups, who is kept, the scores, and what is deleted. Run by
ctest."""
import itertools
import json
import math
import os
import random
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import item, run, run_json, write_catalogue, write_model, write_png  # noqa: E402

SIDE = 8
TOLERANCE = 1e-6


def waves(dice):
    """Two colours, from one to the other and back."""
    colours = [[dice.randint(0, 255) for _ in range(3)] for _ in range(2)]
    across, down = dice.uniform(-2, 2), dice.uniform(-2, 2)
    shares = [0.5 + 0.5 * math.sin(across * x + down * y) for y in range(SIDE) for x in range(SIDE)]
    return bytes(int(a * share + b * (1 - share)) for share in shares for a, b in zip(*colours))


def disturbed(pixels, amount, dice):
    return bytes(min(max(p + dice.randint(-amount, amount), 0), 255) for p in pixels)


def pictures():
    """Strangers; families of one picture more and more disturbed; a chain, each the next step of the one before; a crowd
    of the nearly same; two crowds of copies, which are near to each other, each larger than what is asked for at
    first."""
    dice = random.Random("dedup")
    fresh = [waves(dice) for _ in range(40)]
    families = [disturbed(fresh[i], 4 * step, dice) for i in range(8) for step in range(1, 6)]
    chain = [fresh[20]]
    for _ in range(15):
        chain.append(disturbed(chain[-1], 24, dice))
    crowd = [disturbed(fresh[30], 1, dice) for _ in range(100)]
    copies = [fresh[31]] * 30 + [disturbed(fresh[31], 12, dice)] * 30
    every = fresh + families + chain[1:] + crowd + copies
    dice.shuffle(every)
    return every


def near(score, threshold):
    return score >= threshold - TOLERANCE


def expected_groups(names, texts, scores, threshold):
    """{frozenset of a group: {id: (kept in its place, score)}}: joined by pairs, then decided the best first."""
    group_of = {name: {name} for name in names}
    for a, b in itertools.combinations(names, 2):
        if near(scores[a, b], threshold) and group_of[a] is not group_of[b]:
            group_of[a] |= group_of[b]
            for member in group_of[b]:
                group_of[member] = group_of[a]
    groups = {}
    for group in {id(g): g for g in group_of.values() if len(g) > 1}.values():
        kept, decided = [], {}
        for name in sorted(group, key=lambda n: (-len(texts[n].encode()), names.index(n))):
            closest = max(kept, key=lambda k, name=name: scores[name, k], default=None)
            if closest is not None and near(scores[name, closest], threshold):
                decided[name] = (closest, scores[name, closest])
            else:
                kept.append(name)
                decided[name] = (None, None)
        groups[frozenset(group)] = decided
    return groups


class Dedup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = write_model("image", cls.folder.name + "/model")
        cls.items = []
        dice = random.Random("texts")
        for i, pixels in enumerate(pictures()):
            path = f"{cls.folder.name}/{i}.png"
            write_png(path, SIDE, SIDE, pixels)
            cls.items.append(dict(item(i), image=path, text="x" * dice.choice([3, 3, 3, 10, 40])))
        cls.items.append({"id": "without a picture", "text": "x"})
        write_catalogue(cls.folder.name + "/catalogue.jsonl", cls.items)
        cls.names = [one["id"] for one in cls.items if "image" in one]
        cls.texts = {one["id"]: one["text"] for one in cls.items}
        lines = "".join(json.dumps({"id": one["id"], "image": one["image"]}) + "\n" for one in cls.items[:-1])
        _, out, _ = run("encode", "--model", cls.model, "--precision", "f32", stdin=lines)
        cls.vectors = {one["id"]: one["vector"] for one in map(json.loads, out.splitlines())}
        cls.scores = {}
        for a, b in itertools.combinations(cls.names, 2):
            score = sum(x * y for x, y in zip(cls.vectors[a], cls.vectors[b]))
            cls.scores[a, b] = cls.scores[b, a] = score

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.own = tempfile.TemporaryDirectory(dir=self.folder.name)
        self.store = self.own.name + "/store"
        run_json("ingest", self.folder.name + "/catalogue.jsonl", "--store", self.store, "--model", self.model,
                 "--precision", "f32")

    def tearDown(self):
        self.own.cleanup()

    def dedup(self, *arguments, **more):
        return run_json("dedup", "--store", self.store, *arguments, **more)

    def threshold_near(self, wanted):
        """In the widest gap between scores hereabouts, so that no rounding decides."""
        ordered = sorted(set(self.scores.values()))
        middle = min(range(len(ordered)), key=lambda i: abs(ordered[i] - wanted))
        around = range(max(middle - 100, 0), min(middle + 100, len(ordered) - 1))
        at = max(around, key=lambda i: ordered[i + 1] - ordered[i])
        self.assertGreater(ordered[at + 1] - ordered[at], 6 * TOLERANCE)
        return round((ordered[at] + ordered[at + 1]) / 2, 9)

    def assert_answer(self, answer, threshold):
        expected = expected_groups(self.names, self.texts, self.scores, threshold)
        groups = {frozenset(one["id"] for one in group): group for group in answer["groups"]}
        self.assertEqual(set(groups), set(expected))
        sizes = [(-len(group), min(self.names.index(one["id"]) for one in group)) for group in answer["groups"]]
        self.assertEqual(sizes, sorted(sizes))
        self.assertEqual(answer["duplicates"],
                         sum(kept is not None for group in expected.values() for kept, _ in group.values()))
        for key, group in groups.items():
            kept, last = None, 2
            for one in group:
                of, score = expected[key][one["id"]]
                if one["duplicate_of"] is None:
                    kept, last = one["id"], 2
                    self.assertIsNone(of)
                    continue
                self.assertEqual(one["duplicate_of"], kept)
                self.assertAlmostEqual(self.scores[one["id"], kept], score, delta=TOLERANCE)
                self.assertAlmostEqual(one["score"], score, delta=TOLERANCE)
                self.assertLessEqual(one["score"], last + TOLERANCE)
                last = one["score"]

    def test_is_brute_force(self):
        kinds = set()
        for wanted in (0.9, 0.95, 0.98, 0.998, 0.999, 0.9995):
            threshold = self.threshold_near(wanted)
            answer = self.dedup("--threshold", str(threshold))
            self.assert_answer(answer, threshold)
            self.assertEqual((answer["space"], answer["vectors"], answer["deleted"]), ("image", len(self.names), 0))
            for group in answer["groups"]:
                kinds.add(("large" if len(group) > 100 else "small", sum(m["duplicate_of"] is None for m in group) > 1))
        # a crowd, a pair, and chains whose ends are not alike have all been there
        self.assertLessEqual({("large", True), ("small", False), ("small", True)}, kinds)

    def test_the_same_by_an_exact_search_of_a_graph(self):
        threshold = str(self.threshold_near(0.95))
        expected = self.dedup("--threshold", threshold)
        run_json("rebuild", "--store", self.store, "--space", "image", "--index", "hnsw")
        self.assertEqual(self.dedup("--threshold", threshold, "--exact"), expected)

    def test_one_means_the_same(self):
        groups = self.dedup("--threshold", "1")["groups"]
        self.assertGreaterEqual(len(groups[0]), 30)
        for one in itertools.chain(*groups):
            if one["duplicate_of"]:
                self.assertGreater(self.scores[one["id"], one["duplicate_of"]], 1 - 2 * TOLERANCE)

    def test_delete(self):
        threshold = str(self.threshold_near(0.95))
        before = self.dedup("--threshold", threshold)
        self.assertEqual(run_json("stats", "--store", self.store)["items"], len(self.items))
        gone = {one["id"] for group in before["groups"] for one in group if one["duplicate_of"] is not None}
        self.assertTrue(gone)
        answer = self.dedup("--threshold", threshold, "--delete")
        self.assertEqual(answer, {**before, "deleted": len(gone)})
        for name in self.texts:
            self.assertEqual(run("get", "--store", self.store, name)[0], 3 if name in gone else 0)
        self.assertEqual(run_json("check", "--store", self.store)["problems"], [])
        again = self.dedup("--threshold", threshold, "--delete")
        self.assertEqual((again["groups"], again["deleted"]), ([], 0))

    def test_delete_leaves_indexes_of_their_kind(self):
        """Also where the space that is looked through has no index file, and a flat one serves in its place."""
        model = write_model("image", self.own.name + "/joint", 1, "clip-small")
        store, catalogue = self.own.name + "/joint-store", self.own.name + "/joint.jsonl"
        write_catalogue(catalogue, [dict(self.items[i], id=str(i), text=f"thing {i % 28}") for i in range(30)])
        run_json("ingest", catalogue, "--store", store, "--model", model)
        run_json("rebuild", "--store", store, "--index", "hnsw")
        os.remove(store + "/text.index")
        answer = run_json("dedup", "--store", store, "--space", "text", "--threshold", "1", "--delete")
        self.assertEqual(answer["deleted"], 2)
        spaces = run_json("stats", "--store", store)["spaces"]
        self.assertEqual([spaces[name]["index"]["kind"] for name in ("image", "fused")], ["hnsw", "hnsw"])

    def test_table_and_page(self):
        threshold = str(self.threshold_near(0.95))
        answer, path = self.dedup("--threshold", threshold), self.own.name + "/page.html"
        code, out, err = run("dedup", "--store", self.store, "--threshold", threshold, "--page", path)
        self.assertEqual((code, err), (0, ""))
        members = [one for group in answer["groups"] for one in group]
        rows = [line for line in out.splitlines() if line.startswith("  ")]
        self.assertEqual([row.split()[:2] for row in rows],
                         [["kept" if m["score"] is None else f"{m['score']:.4f}", m["id"]] for m in members])
        self.assertIn(f"{answer['duplicates']} of {len(self.names)} are duplicates, in {len(answer['groups'])} groups\n", out)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        at = -1
        for one in members:
            at = page.index(f'data-id="{one["id"]}"', at + 1)
        self.assertEqual(page.count("data-id="), len(members))
        self.assertEqual(page.count("<section>"), len(answer["groups"]))
        self.assertEqual(page.count(">kept</span>"), sum(m["score"] is None for m in members))
        code, out, _ = run("dedup", "--store", self.store, "--threshold", threshold, "--delete")
        self.assertEqual((code, out.splitlines()[-1]), (0, f"{answer['duplicates']} deleted"))

    def test_few_and_none(self):
        for count in (0, 1, 2):
            store, catalogue = f"{self.own.name}/{count}", self.own.name + "/few.jsonl"
            write_catalogue(catalogue, [dict(self.items[0], id=str(i)) for i in range(count)])
            run_json("ingest", catalogue, "--store", store, "--model", self.model)
            answer = run_json("dedup", "--store", store, "--page", self.own.name + "/few.html")
            self.assertEqual((answer["vectors"], answer["duplicates"]), (count, max(count - 1, 0)))

    def test_errors(self):
        for bad in ("0", "1.01", "-0.5", "nan", "inf", "0x1", "", "half"):
            code, out, err = run("dedup", "--store", self.store, "--threshold", bad)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("a number over 0 and up to 1", err)
        code, out, err = run("dedup", "--store", self.store, "--space", "audio")
        self.assertEqual((code, out), (3, ""))
        self.assertIn("no vectors in the audio space", err)
        self.assertEqual(run("dedup", "--store", self.own.name + "/none")[0], 1)
        before = run_json("stats", "--store", self.store)["items"]
        code, out, _ = run("dedup", "--store", self.store, "--delete", "--page", "/none/page.html")
        self.assertEqual((code, out, run_json("stats", "--store", self.store)["items"]), (1, "", before))


if __name__ == "__main__":
    unittest.main()
