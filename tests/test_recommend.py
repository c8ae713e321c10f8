"""magpie recommend, from outside: what a user liked, the model's tensors and the encoder's vectors give, by brute force,
every order that it answers in: by model, by content, by popularity, filtered, without what was seen, diversified. What
was liked a moment ago counts; who was deleted is new, and their numbers are nowhere on the disk. Run by ctest."""
import json
import math
import os
import random
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import dot, write_fusion  # noqa: E402
from sample import (model_or_skip, read_safetensors, run, run_json, write_catalogue, write_model,  # noqa: E402
                    write_picture, write_popularity)

MODEL = model_or_skip()
GROUPS = {"music": "violin trumpet drum flute guitar piano cello harp organ banjo accordion clarinet",
          "fruit": "apple pear banana cherry plum grape orange lemon peach mango melon apricot",
          "tools": "hammer saw drill screwdriver chisel pliers wrench axe spanner file shovel rake"}
COLD = 3  # of each group nobody has met
USERS, EVERYTHING, RECENCY = 24, 100, 0.93


class Recommend(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.items, cls.cold = {}, []
        for group, names in GROUPS.items():
            for i, name in enumerate(names.split()):
                cls.items[name] = {"id": name, "text": f"a {name}, {group}",
                                   "attributes": {"group": group, "price": i},
                                   "timestamp": f"2024-01-{1 + i + len(cls.items) % 7:02}T00:00:00Z"}
                if i < COLD:
                    cls.cold.append(name)
        write_catalogue(cls.folder + "/catalogue.jsonl", cls.items.values())
        lines = [json.dumps({"id": one["id"], "text": one["text"]}) for one in cls.items.values()]
        encoded = run("encode", "--model", MODEL, stdin="\n".join(lines) + "\n")[1]
        cls.vectors = {one["id"]: one["vector"] for one in map(json.loads, encoded.splitlines())}

    def setUp(self):
        self.store = tempfile.mkdtemp(dir=self.folder) + "/store"
        run_json("ingest", self.folder + "/catalogue.jsonl", "--store", self.store, "--model", MODEL)
        self.likes, self.seen, self.numbers, self.clock = {}, {}, {}, 1700000000
        dice = random.Random("recommend")
        lines = []
        for user in range(USERS):
            group = list(GROUPS)[user % 3]
            own = [n for n in GROUPS[group].split() if n not in self.cold]
            others = [n for n in self.items if n not in self.cold and n not in own]
            chosen = dice.sample(own, 5) + dice.sample(others, 1) + ["a ghost"]  # in no catalogue
            lines += [(f"u{user}", item, 1) for item in dice.sample(chosen, len(chosen))]
            lines.append((f"u{user}", dice.choice([n for n in own if n not in chosen]), 0))  # met, not liked
        self.bring_in(lines)

    def bring_in(self, lines):
        path = self.folder + "/interactions.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for user, item, weight in lines:
                self.clock += 1
                print(json.dumps({"user": user, "item": item, "kind": "view", "weight": weight, "time": self.clock}),
                      file=file)
                self.numbers.setdefault(item, len(self.numbers))
                self.seen.setdefault(user, set()).add(item)
                if weight > 0:
                    self.likes.setdefault(user, []).append(item)
        run_json("interactions", "import", path, "--store", self.store)

    def train(self, model, *options):
        run_json("train", "ranker", "--store", self.store, "--model", model, *options)

    def tensors(self, model):
        return read_safetensors(f"{self.store}/ranker/{model}/model.safetensors")

    def ask(self, *arguments, expected=0, env=None):
        return run_json("recommend", "--store", self.store, *arguments, expected=expected, env=env)

    # ---- oracles ----

    def by_ease(self, history):
        (_, n), data = self.tensors("ease")["item.weights"]
        known = [self.numbers[item] for item in history if self.numbers.get(item, n) < n]
        rows = [data[n * row:n * (row + 1)] for row in known]
        return {item: math.fsum(row[number] for row in rows) for item, number in self.numbers.items()
                if item in self.items and number < n}

    def by_content(self, history):
        weights = {liked: RECENCY ** i for i, liked in enumerate(reversed(history)) if liked in self.items}
        return {item: max(w * dot(vector, self.vectors[liked]) for liked, w in weights.items() if liked != item)
                for item, vector in self.vectors.items() if set(weights) - {item}}

    def diversified(self, scores, diversity):
        most, least = max(scores.values()), min(scores.values())
        left = {item: (score - least) / (most - least) for item, score in scores.items()}
        picked = []
        while left:
            def value(item):
                near = max([dot(self.vectors[item], self.vectors[other]) for other in picked], default=0)
                return (1 - diversity) * left[item] - diversity * max(near, 0)
            best = max(left, key=lambda item: (round(value(item), 5), left[item]))
            picked.append(best)
            del left[best]
        return picked

    def assert_order(self, answer, scores):
        """All of `scores`, with these scores, best first; equals in any order."""
        hits = [hit for hit in answer["hits"] if hit["score"] is not None]
        self.assertEqual({hit["id"] for hit in hits}, set(scores))
        for hit, score in zip(hits, sorted(scores.values(), reverse=True)):
            self.assertAlmostEqual(hit["score"], score, places=4)
            self.assertAlmostEqual(hit["score"], scores[hit["id"]], places=4)

    # ---- the ways ----

    def test_by_model(self):
        self.train("ease")
        for user in ("u0", "u1", "u2"):
            scores = self.by_ease(self.likes[user])
            answer = self.ask("--user", user, "-k", EVERYTHING)
            self.assertEqual((answer["by"], answer["model"]), ("model", "ease"))
            self.assert_order(answer, scores)
            content = self.by_content(self.likes[user])  # puts in order what the model does not know
            self.assertEqual([hit["id"] for hit in answer["hits"] if hit["score"] is None],
                             sorted(self.cold, key=lambda item: -content[item]))
            unseen = self.ask("--user", user, "-k", EVERYTHING, "--exclude-seen")
            self.assert_order(unseen, {i: s for i, s in scores.items() if i not in self.seen[user]})
            cheap = self.ask("--user", user, "-k", EVERYTHING, "--filter",
                             '{"must": [{"key": "price", "range": {"lt": 6}}]}')
            self.assert_order(cheap, {i: s for i, s in scores.items() if self.items[i]["attributes"]["price"] < 6})
            few = self.ask("--user", user, "-k", 3, "--model", "ease")
            self.assertEqual(few["hits"], answer["hits"][:3])

    def test_session(self):
        self.train("ease")
        liked = ["piano", "rake", "cello"]
        answer = self.ask("--like", "piano,rake", "--like", "cello", "-k", EVERYTHING)
        self.assertEqual(answer["by"], "model")
        self.assert_order(answer, {i: s for i, s in self.by_ease(liked).items() if i not in liked})
        liked = self.cold[:1] + self.cold[-1:]  # of which ease knows nothing
        answer = self.ask("--like", ",".join(liked), "-k", EVERYTHING)
        self.assertEqual((answer["by"], answer["model"]), ("content", None))
        self.assert_order(answer, {i: s for i, s in self.by_content(liked).items() if i not in liked})
        answer = self.ask("--like", "nowhere,piano,never", expected=3)
        self.assertEqual((answer["unknown"], answer["by"], len(answer["hits"])), (2, "model", 10))
        answer = self.ask("--like", "nowhere", expected=3)
        self.assertEqual((answer["by"], len(answer["hits"])), ("popularity", 10))

    def test_new_user(self):
        self.train("ease")
        counts = {}
        for items in self.likes.values():
            for one in items:
                counts[one] = counts.get(one, 0) + 1
        answer = self.ask("--user", "somebody new", "-k", 24)
        self.assertEqual((answer["by"], answer["model"]), ("popularity", None))
        ids = [hit["id"] for hit in answer["hits"]]
        self.assertNotIn("a ghost", ids)
        popular = [i for n, i in enumerate(ids) if n % 4 != 3]
        self.assertEqual([counts[i] for i in popular],
                         sorted((n for i, n in counts.items() if i in self.items), reverse=True)[:18])
        newest = [self.items[i]["timestamp"] for n, i in enumerate(ids) if n % 4 == 3]
        liked_by_none = [i for i in self.items if i not in counts]
        self.assertEqual(newest, sorted((self.items[i]["timestamp"] for i in liked_by_none), reverse=True)[:6])

    def test_likes_count_at_once(self):
        self.train("ease")
        self.bring_in([("u0", "rake", 1), ("u0", "shovel", 1), ("somebody new", "lemon", 1)])
        self.assert_order(self.ask("--user", "u0", "-k", EVERYTHING), self.by_ease(self.likes["u0"]))
        self.assert_order(self.ask("--user", "somebody new", "-k", EVERYTHING), self.by_ease(["lemon"]))

    def test_new_item(self):
        """What nobody has met is ranked by the model through its content: one's own kind before the others'."""
        self.train("magpie", "--seed", "1")
        right = 0
        for user in range(USERS):
            answer = self.ask("--user", f"u{user}", "-k", EVERYTHING, "--explain")
            self.assertEqual((answer["by"], answer["model"]), ("model", "magpie"))
            scores = {hit["id"]: hit["explain"]["behaviour"]["score"] for hit in answer["hits"]}
            self.assertEqual(set(scores), set(self.items))
            kind = list(GROUPS)[user % 3]
            own = [scores[i] for i in self.cold if self.items[i]["attributes"]["group"] == kind]
            others = [scores[i] for i in self.cold if self.items[i]["attributes"]["group"] != kind]
            right += sum(x > y for x in own for y in others) / (len(own) * len(others))
        self.assertGreater(right / USERS, 0.65)  # half by chance

    # ---- what is asked beside ----

    def test_diversity(self):
        liked = ["piano"]
        scores = {i: s for i, s in self.by_content(liked).items() if i not in liked}
        spread = {}
        for diversity in (0, 0.75, 1):
            ids = [h["id"] for h in self.ask("--like", "piano", "-k", EVERYTHING, "--diversity", diversity)["hits"]]
            self.assertEqual(ids, self.diversified(scores, diversity))
            first = ids[:6]
            spread[diversity] = math.fsum(dot(self.vectors[a], self.vectors[b]) for a in first for b in first)
        self.assertLess(spread[1], spread[0.75])
        self.assertLess(spread[0.75], spread[0])

    def test_explain(self):
        self.train("ease")
        answer = self.ask("--user", "u0", "-k", EVERYTHING, "--explain")
        weights = {item: RECENCY ** i for i, item in enumerate(reversed(self.likes["u0"])) if item in self.items}
        ranks = sorted((hit["score"] for hit in answer["hits"] if hit["score"] is not None), reverse=True)
        ghost = self.by_ease_of_ghost("u0")
        for hit in answer["hits"]:
            why = hit["explain"]
            values = {liked: w * dot(self.vectors[liked], self.vectors[hit["id"]])
                      for liked, w in weights.items() if liked != hit["id"]}
            self.assertAlmostEqual(values[why["nearest"]["id"]], max(values.values()), places=5)
            cosine = dot(self.vectors[why["nearest"]["id"]], self.vectors[hit["id"]])
            self.assertAlmostEqual(why["nearest"]["cosine"], cosine, places=5)
            self.assertAlmostEqual(why["nearest"]["cosines"]["text"], cosine, places=5)
            self.assertIn("content", why["from"])
            self.assertEqual("new" in why["from"], not any(hit["id"] in i for i in self.likes.values()))
            if hit["id"] in self.cold:
                self.assertIsNone(why["behaviour"])
            else:
                self.assertTrue({"model", "content"} <= set(why["from"]))
                self.assertEqual(why["behaviour"]["score"], hit["score"])
                rank = 1 + sum(score > hit["score"] for score in ranks) + (ghost > hit["score"])
                self.assertEqual(why["behaviour"]["rank"], rank)
        text = run("recommend", "--store", self.store, "--user", "u0", "--explain")[1]
        nearest = answer["hits"][0]["explain"]["nearest"]
        behaviour = answer["hits"][0]["explain"]["behaviour"]
        self.assertIn(f'{behaviour["score"]:.4f} by ease: number {behaviour["rank"]} of all', text)
        self.assertIn(f'{nearest["cosine"]:.4f} like {nearest["id"]}: {nearest["cosines"]["text"]:.4f} text', text)

    def by_ease_of_ghost(self, user):
        (_, n), data = self.tensors("ease")["item.weights"]
        return math.fsum(data[self.numbers[i] * n + self.numbers["a ghost"]] for i in self.likes[user])

    def test_shares_sum(self):
        """With heads named, what text and picture have of the cosine adds up to it."""
        image = write_model("image", tempfile.mkdtemp(dir=self.folder) + "/image")
        if not image:
            self.skipTest("MAGPIE_WRITE_IMAGE_MODEL is not set: run it through ctest")
        models = os.path.dirname(image)
        os.symlink(MODEL, models + "/text")
        info = {name: run_json("models", "info", f"{models}/{name}") for name in ("text", "image")}
        heads = {name: {"kind": "linear", "input": one["dimension"], "weight": 1, "encoder": one["fingerprint"]}
                 for name, one in info.items()}
        dice = random.Random("heads")
        write_fusion(models + "/fusion", 16, heads,
                     {f"{name}.{what}": (shape, [dice.gauss(0, 0.1) for _ in range(math.prod(shape))])
                      for name, one in info.items() for what, shape in (("weight", [16, one["dimension"]]), ("bias", [16]))})
        items = [dict(one, image=f"{one['id']}.png") if i % 2 else one for i, one in enumerate(self.items.values())]
        for i, one in enumerate(items):
            write_picture(f"{models}/{one['id']}.png", i)
        write_catalogue(models + "/catalogue.jsonl", items)
        self.store = models + "/store"
        run_json("ingest", models + "/catalogue.jsonl", "--store", self.store, "--model", models)
        for env in (None, {"MAGPIE_MODEL": models}):
            hits = self.ask("--like", "piano,rake", "--explain", "-k", EVERYTHING, env=env)["hits"]
            self.assertEqual(len(hits), len(items) - 2)
            for hit in hits:
                nearest = hit["explain"]["nearest"]
                shares = nearest["shares" if env else "cosines"]
                if env:
                    self.assertEqual("image" in shares, hit["image"] is not None)
                    self.assertAlmostEqual(math.fsum(shares.values()), nearest["cosine"], places=4)

    def test_deleted(self):
        """Their rows are zeros, their old numbers are in no file, the others' rows are as they were."""
        self.bring_in([("somebody distinct", item, 1) for item in ("piano", "lemon", "rake", "cello")])
        for model in ("mf", "magpie"):
            self.train(model, "--epochs", "3")
        self.assertEqual(self.ask("--user", "somebody distinct")["by"], "model")
        before = {model: self.tensors(model) for model in ("mf", "magpie")}
        run_json("interactions", "delete", "--user", "somebody distinct", "--store", self.store)
        self.assertEqual(self.ask("--user", "somebody distinct")["by"], "popularity")
        run_json("compact", "--store", self.store)
        files = b""
        for path, _, names in os.walk(self.store):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    files += file.read()
        for model, tensors in before.items():
            for name, (shape, data) in self.tensors(model).items():
                old = tensors[name][1]
                if not name.startswith("user."):
                    self.assertEqual(data, old)
                    continue
                row = len(data) // shape[0]
                mine = old[USERS * row:]
                self.assertTrue(any(mine))
                self.assertEqual(data, old[:USERS * row] + (0,) * row)
                self.assertNotIn(struct.pack(f"<{row}f", *mine), files)
        self.assertNotIn(b"somebody distinct", files)
        hits = self.ask("--user", "u2", "--model", "mf", "-k", EVERYTHING)["hits"]
        self.assertEqual({hit["id"] for hit in hits if hit["score"] is None}, set(self.cold))

    def test_ids_alone(self):
        """A store without a catalogue recommends ids."""
        self.store = tempfile.mkdtemp(dir=self.folder) + "/bare"
        self.numbers, self.likes = {}, {}
        self.bring_in([("a", "x", 1), ("a", "y", 1), ("b", "y", 1), ("b", "z", 1)])
        self.assertEqual([h["id"] for h in self.ask("--user", "new")["hits"]][0], "y")
        self.train("itemknn")
        answer = self.ask("--user", "a", "--exclude-seen")
        self.assertEqual([(h["id"], h["text"]) for h in answer["hits"]], [("z", None)])

    def test_many(self):
        """The model's best out of many more than there are candidates, among those that pass the filter."""
        self.store = tempfile.mkdtemp(dir=self.folder) + "/bare"
        self.numbers, self.likes, dice = {}, {}, random.Random("many")
        self.bring_in([(f"u{i % 50}", f"i{i}", 1) for i in range(2000)])
        scores = dice.sample(range(10000), len(self.numbers))
        write_popularity(self.store + "/ranker/mine", 50, scores)
        ranked = sorted(self.numbers, key=lambda item: -scores[self.numbers[item]])
        few = dice.sample(ranked, 500)
        arguments = ("--user", "u1", "--model", "mine")
        self.assertEqual([h["id"] for h in self.ask(*arguments, "-k", 200)["hits"]], ranked[:200])
        self.assertEqual([h["id"] for h in self.ask(*arguments, "-k", 300)["hits"]], ranked[:300])
        hits = self.ask(*arguments, "-k", 150, "--filter", json.dumps({"must": [{"has_id": few}]}))["hits"]
        self.assertEqual([h["id"] for h in hits], [item for item in ranked if item in few][:150])
        self.assertEqual(self.ask("--user", "u1")["by"], "popularity")  # is not a model that is taken unasked

    def test_nobody_yet(self):
        """A catalogue without any interaction: the newest, and what is like what is liked."""
        self.store = tempfile.mkdtemp(dir=self.folder) + "/store"
        run_json("ingest", self.folder + "/catalogue.jsonl", "--store", self.store, "--model", MODEL)
        answer = self.ask("--user", "anybody", "-k", EVERYTHING)
        self.assertEqual(answer["by"], "popularity")
        times = [hit["timestamp"] for hit in answer["hits"]]
        self.assertEqual((len(times), times), (len(self.items), sorted(times, reverse=True)))
        self.assert_order(self.ask("--like", "piano", "-k", EVERYTHING),
                          {i: s for i, s in self.by_content(["piano"]).items() if i != "piano"})

    def test_usage(self):
        for arguments in ((), ("--user", "u", "--like", "piano"), ("--user", "u", "--diversity", "1.1"),
                          ("--user", "u", "--diversity", "-1"), ("--like", ","), ("--user", "u", "-k", "0")):
            self.assertEqual(run("recommend", "--store", self.store, *arguments)[0], 2, arguments)
        code, _, err = run("recommend", "--store", self.store, "--user", "u", "--model", "neumf")
        self.assertEqual(code, 1)
        self.assertIn("there is no model neumf", err)
        self.assertEqual(run("recommend", "--store", self.store, "--user", "u", "--filter", "{")[0], 1)

    def test_page(self):
        page = self.folder + "/page.html"
        answer = self.ask("--like", "piano,cello", "-k", 4, "--page", page)
        with open(page, encoding="utf-8") as file:
            html = file.read()
        at = [html.index(f'data-id="{hit["id"]}"') for hit in answer["hits"]]
        self.assertEqual(at, sorted(at))
        self.assertEqual(html.count('<div class="part aside">'), 2)  # what was liked, smaller than whom it is for


if __name__ == "__main__":
    unittest.main()
