"""magpie eval retrieval says what a plain loop over the vectors finds: in every direction, with and without heads, with
items that lack a modality and pictures that are there twice, for items by split, by name, and for queries of a file."""
import json
import os
import statistics
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import MODALITIES, JointStore, dot, held_out, mix, project, write_heads  # noqa: E402
from sample import item, run, run_json, write_catalogue, write_model, write_picture, write_sound  # noqa: E402

ITEMS = 60
TIE = 1e-6  # texts that are encoded in other company differ by less; of this model, no two scores by 1e-6 to 3e-6


def fuse(vectors, weights):
    """{modality: {id: vector}} to {id: vector}."""
    return {one: mix([(vectors[m][one], weights[m]) for m in vectors if one in vectors[m]])
            for one in set().union(*vectors.values())}


def figures(queries, candidates):
    """queries [(id, vector)], candidates {id: vector}: recall, mrr and median, ties drawn for."""
    recall, mrr, middles = {"1": 0, "5": 0, "10": 0}, 0, []
    for right, vector in queries:
        own = dot(vector, candidates[right])
        scores = [dot(vector, other) for one, other in candidates.items() if one != right]
        higher, equal = sum(s > own + TIE for s in scores), sum(abs(s - own) <= TIE for s in scores)
        ranks = range(higher + 1, higher + equal + 2)
        for k in recall:
            recall[k] += sum(rank <= int(k) for rank in ranks) / len(ranks) / len(queries)
        mrr += sum(1 / rank for rank in ranks) / len(ranks) / len(queries)
        middles.append(statistics.mean(ranks))
    return {"recall": recall, "mrr": mrr, "median_rank": statistics.median(middles)}


def chance(n):
    return {"recall": {k: min(int(k), n) / n for k in ("1", "5", "10")},
            "mrr": sum(1 / rank for rank in range(1, n + 1)) / n, "median_rank": (n + 1) / 2}


class Retrieval(JointStore):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.audio = write_model("audio", cls.folder + "/audio", 1)
        cls.fill(ITEMS, "--audio-model", cls.audio)
        cls.features = {m: cls.encode(m, cls.items) for m in MODALITIES}
        inputs = {m: len(next(iter(cls.features[m].values()))) for m in MODALITIES}
        cls.weights = {"text": 1.0, "image": 0.5, "audio": 2.0}
        cls.heads = write_heads(cls.folder + "/heads", inputs, cls.weights)
        cls.with_heads = ("--fusion-model", cls.folder + "/heads")

    @classmethod
    def make_item(cls, i):
        one = item(i)
        if i % 7 == 3:
            del one["text"]
        if i % 5 != 1:
            one["image"] = f"{i}.png"
            write_picture(f"{cls.folder}/{i}.png", i % 23)  # some are there three times
        if i % 3 == 0:
            one["audio"] = f"{i}.wav"
            write_sound(f"{cls.folder}/{i}.wav", i)
        if i % 2:
            one["attributes"]["title"] = f"Thing No. {i % 11}{chr(97 + i % 13)}"
        return one

    @classmethod
    def encode(cls, modality, lines, *more):
        lines = [line for line in lines if modality in line]
        write_catalogue(cls.folder + "/lines.jsonl", lines)
        code, out, err = run("encode", cls.folder + "/lines.jsonl", *cls.models, "--modality", modality, *more)
        assert code == 0, err
        return {line["id"]: line["vector"] for line in map(json.loads, out.splitlines())}

    def eval(self, *arguments, expected=0):
        return run_json("eval", "retrieval", "--store", self.store, *arguments, expected=expected)

    def fails(self, code, words, *arguments):
        super().fails(code, words, "eval", "retrieval", "--store", self.store, *arguments)

    def kinds(self, ids, heads):
        """The vectors of these items in the one space, by kind."""
        kinds = {}
        for m in MODALITIES if heads else ("text", "image"):
            known = {one: v for one, v in self.features[m].items() if one in ids}
            kinds[m] = {one: project(self.heads[m], v) for one, v in known.items()} if heads else known
        kinds["fused"] = fuse(dict(kinds), self.weights if heads else {"text": 1, "image": 1})
        return kinds

    def assert_figures(self, got, want, where):
        self.assertEqual(list(got["recall"]), ["1", "5", "10"])
        for k in want["recall"]:
            self.assertAlmostEqual(got["recall"][k], want["recall"][k], 8, where)
        self.assertAlmostEqual(got["mrr"], want["mrr"], 8, where)
        self.assertAlmostEqual(got["median_rank"], want["median_rank"], 8, where)

    def assert_directions(self, got, queries, kinds, own):
        """queries {modality: [(id, vector)]}; own: among items that have both, and not of the query's kind."""
        wanted = {}
        for m in queries:
            for kind in kinds:
                asked = [(one, v) for one, v in queries[m] if one in kinds[kind]]
                among = {one: v for one, v in kinds[kind].items() if not own or one in kinds[m]}
                if asked and not (own and kind == m):
                    wanted[m, kind] = asked, among
        self.assertEqual({(d["query"], d["among"]) for d in got}, set(wanted))
        for d in got:
            asked, among = wanted[d["query"], d["among"]]
            where = f'{d["query"]} > {d["among"]}'
            self.assertEqual((d["queries"], d["candidates"]), (len(asked), len(among)), where)
            self.assert_figures(d, figures(asked, among), where)
            self.assert_figures(d["chance"], chance(len(among)), where)

    def check(self, ids, heads, *arguments):
        report = self.eval(*arguments)
        kinds = self.kinds(ids, heads)
        self.assertEqual(report["items"], len(ids))
        own = {m: list(kinds[m].items()) for m in kinds if m != "fused"}
        self.assert_directions(report["directions"], own, kinds, True)
        return report

    def test_all(self):
        ids = {one["id"] for one in self.items}
        report = self.check(ids, True, "--split", "all", *self.with_heads)
        self.assertEqual((report["split"], report["fusion"]["name"], len(report["directions"])), ("all", "heads", 9))
        ties = sum(v == w for i, v in self.features["image"].items() for j, w in self.features["image"].items() if i < j)
        self.assertGreater(ties, 10)

    def test_joint_model_needs_no_heads(self):
        self.check({one["id"] for one in self.items}, False, "--split", "all")
        out = run("eval", "retrieval", "--store", self.store, "--split", "all")[1]
        self.assertIn("audio is left out", out)

    def test_split(self):
        ids = {one["id"] for one in self.items if held_out(one["attributes"].get("title", one.get("text", "")))}
        self.assertTrue(0 < len(ids) < ITEMS)
        report = self.check(ids, True, *self.with_heads)
        self.assertEqual(report["split"], "held-out")
        self.assertEqual(self.eval("--split", "held-out", *self.with_heads), report)

    def test_ids(self):
        path = self.folder + "/ids"
        ids = [one["id"] for one in self.items[5:40:2]]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(reversed(ids)) + "\n\n")
        self.assertEqual(self.check(set(ids), True, "--ids", path, *self.with_heads)["split"], "ids")
        for bad, words in ((ids + ["none"], f'line {len(ids) + 1}: there is no item "none"'),
                           (ids + ids[:1], f'item "{ids[0]}" is named twice'), ([], "no ids are named"),
                           (["x" * 600], "line 1: no id has 600 bytes")):
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(bad))
            self.fails(1, words, "--ids", path, *self.with_heads)
        self.fails(1, "nowhere", "--ids", self.folder + "/nowhere", *self.with_heads)
        self.fails(2, "held-out or all", "--split", "some")

    def test_queries(self):
        chosen = [one for one in self.items if one["id"] not in (self.items[0]["id"], self.items[2]["id"])]
        ids, path, names = {one["id"] for one in chosen}, self.folder + "/queries.jsonl", self.folder + "/named"
        with open(names, "w", encoding="utf-8") as file:
            file.write("\n".join(ids))
        write_sound(self.folder + "/spoken.wav", 77)
        lines = [{"id": one["id"], "text": f"what {i} is"} for i, one in enumerate(self.items[:30])]
        lines += [{"id": one["id"], "image": "0.png"} for one in self.items[1:4]]
        lines += [{"id": one["id"], "audio": "spoken.wav"} for one in self.items[3:20]]
        lines += [{"id": self.items[5]["id"], "text": "once more"}]
        write_catalogue(path, lines)
        report = self.eval("--queries", path, "--ids", names, *self.models, *self.with_heads)
        kinds = self.kinds(ids, True)
        own = {m: list(kinds[m].items()) for m in MODALITIES}
        self.assert_directions(report["directions"], own, kinds, True)
        asked = {}
        for m in MODALITIES:
            of_it = [dict(line, id=f'{n}:{line["id"]}') for n, line in enumerate(lines) if m in line]
            vectors = self.encode(m, of_it, "--role", "query")
            asked[m] = [(key.split(":", 1)[1], project(self.heads[m], v)) for key, v in vectors.items()
                        if key.split(":", 1)[1] in ids]
        queries = report["queries"]
        self.assertEqual((queries["lines"], queries["elsewhere"], queries["refused"]), (len(lines), 3, 0))
        self.assert_directions(queries["directions"], asked, kinds, False)

        lines = [{"id": self.items[1]["id"], "text": "fine"}, {"id": self.items[1]["id"], "audio": "none.wav"}]
        write_catalogue(path, lines)
        arguments = ("--queries", path, "--split", "all", *self.models, *self.with_heads)
        code, out, err = run("eval", "retrieval", "--store", self.store, *arguments)
        self.assertEqual(code, 3)
        self.assertRegex(err, r"^magpie: .*queries\.jsonl, line 2: .*none\.wav.*; left out\n$")
        self.assertIn("1 that could not be read", out)
        self.assertEqual(self.eval(*arguments, expected=3)["queries"]["refused"], 1)

    def test_bad_queries(self):
        path, good = self.folder + "/bad.jsonl", json.dumps({"id": self.items[1]["id"], "text": "fine"})
        for bad, words in (('{"id": "x", ', "line 2: "), ('{"text": "x"}', "line 2: "),
                           ('{"id": "x", "text": "x", "image": "y.png"}', "line 2: one of text, image and audio"),
                           ('{"id": "x"}', "line 2: one of text, image and audio is wanted, and there are 0"),
                           ('{"id": "x", "texts": "y"}', "line 2: ")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"{good}\n{bad}\n{good}\n")
            self.fails(1, words, "--queries", path, *self.models, *self.with_heads)
        with open(path, "w", encoding="utf-8") as file:
            file.write(good + "\n")
        self.fails(1, "no model of text is given", "--queries", path, "--split", "all", "--audio-model", self.audio,
                   *self.with_heads)
        self.fails(1, "nowhere", "--queries", self.folder + "/nowhere", *self.models, *self.with_heads)
        other = write_model("image", self.folder + "/other", 2, "clip-small")
        self.fails(1, "model", "--queries", path, "--split", "all", "--model", other)  # not what the store was made with

    def test_heads_are_needed(self):
        store = self.folder + "/apart"
        pictures = write_model("image", self.folder + "/pictures", 3)
        run_json("ingest", self.folder + "/catalogue.jsonl", "--store", store, "--image-model", pictures,
                 "--audio-model", self.audio)
        code, out, err = run("eval", "retrieval", "--store", store, "--split", "all")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("it takes heads", err)
        self.fails(1, "head", "--split", "all", "--fusion-model", self.wrong_heads())

    def wrong_heads(self):
        write_heads(self.folder + "/wrong", {"text": 5, "image": 5}, {"text": 1, "image": 1})
        return self.folder + "/wrong"

    def test_table_says_what_json_says(self):
        arguments = ("--split", "all", *self.with_heads)
        out = run("eval", "retrieval", "--store", self.store, *arguments)[1]
        for d in self.eval(*arguments)["directions"]:
            line = next(line for line in out.splitlines() if line.split()[:3] == [d["query"], ">", d["among"]])
            cells = line.split()[3:]
            self.assertEqual(cells[:2], [str(d["queries"]), str(d["candidates"])])
            for shown, of in ((cells[2:7], d), (cells[7:], d["chance"])):
                self.assertEqual(shown, [f"{x:.4f}" for x in (*of["recall"].values(), of["mrr"])] +
                                 [f'{of["median_rank"]:.1f}'])


if __name__ == "__main__":
    unittest.main()
