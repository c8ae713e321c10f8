"""What the page asks beside searching, against brute force: which attributes there are and how many items have them;
the map, on which neighbours stay neighbours; searches for a user, by a model and by content. MAGPIE_BINARY names the
command; run by ctest."""
import json
import math
import os
import random
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, HERE + "/kill"]
from one_space import dot  # noqa: E402
from sample import WORDS, item, model_or_skip, read_safetensors, run, run_json, write_catalogue  # noqa: E402
from service import TIMEOUT, Service  # noqa: E402

MODEL = model_or_skip()
ITEMS, USERS, RECENCY = 160, 12, 0.93


def thing(number):
    one = item(number)
    dice = random.Random(number)
    one["attributes"] |= {"serial": number % 80 + 0.1, "new": dice.random() < 0.3,
                          "tags": dice.sample(WORDS[:8], dice.randint(0, 3)),
                          "maker": {"country": dice.choice(["Łotwa", "\"Oz\""])} if number % 3 else None}
    return one


class Case(unittest.TestCase):
    """A store of things that users have met, and a service of it."""

    model = None  # that ranks

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder, cls.store = folder.name, folder.name + "/store"
        cls.likes, cls.numbers, cls.clock = {}, {}, 1700000000
        things = [thing(i) for i in range(ITEMS)]
        cls.put(things)
        lines = "".join(json.dumps({"id": one["id"], "text": one["text"]}) + "\n" for one in things)
        encoded = run("encode", "--model", MODEL, "--precision", "f32", stdin=lines)[1]
        cls.vectors = {one["id"]: one["vector"] for one in map(json.loads, encoded.splitlines())}
        dice = random.Random("views")
        for user in range(USERS):
            cls.like(f"u{user}", *(things[dice.randrange(ITEMS - 20)]["id"] for _ in range(8)), "a ghost")
        if cls.model:
            run_json("train", "ranker", "--store", cls.store, "--model", cls.model)
        cls.service = Service(cls.store, "--model", MODEL, "--precision", "f32")
        cls.addClassCleanup(cls.service.end)
        cls.items = {one["id"]: cls.get("/v1/items/" + urllib.parse.quote(one["id"], safe="")) for one in things}

    @classmethod
    def put(cls, things):
        write_catalogue(cls.folder + "/catalogue.jsonl", things)
        run_json("ingest", cls.folder + "/catalogue.jsonl", "--store", cls.store, "--model", MODEL,
                 "--precision", "f32")

    @classmethod
    def like(cls, user, *ids):
        with open(cls.folder + "/likes.jsonl", "w", encoding="utf-8") as file:
            for one in dict.fromkeys(ids):
                cls.clock += 1
                cls.numbers.setdefault(one, len(cls.numbers))
                liked = cls.likes.setdefault(user, [])
                if one not in liked:
                    liked.append(one)
                    print(json.dumps({"user": user, "item": one, "kind": "like", "time": cls.clock}), file=file)
        run_json("interactions", "import", cls.folder + "/likes.jsonl", "--store", cls.store)

    @classmethod
    def get(cls, path):
        answer = cls.service.get(path)
        assert answer.status == 200, answer.body
        return answer.json()

    def refused(self, answer, field):
        self.assertEqual((answer.status, answer.json()["error"]["field"]), (400, field), answer.body)


class Attributes(Case):
    @staticmethod
    def leaves(value, path=""):
        """(key, value) of one item's attributes, each once."""
        if isinstance(value, dict):
            return {leaf for name, one in value.items()
                    for leaf in Attributes.leaves(one, f"{path}.{name}" if path else name)}
        if isinstance(value, list):
            return {leaf for one in value for leaf in Attributes.leaves(one, path)}
        return set() if value is None else {(path, (type(value) is bool, value))}  # True is 1 to Python

    def counted(self, passes):
        counts, having = {}, {}
        for one in self.items.values():
            leaves = self.leaves(one["attributes"]) if passes(one["attributes"]) else set()
            for key, value in leaves:
                values = counts.setdefault(key, {})
                values[value] = values.get(value, 0) + 1
            for key in {key for key, _ in leaves}:
                having[key] = having.get(key, 0) + 1
        return counts, having

    def check(self, filter_, passes):
        path = "/v1/attributes" + ("?filter=" + urllib.parse.quote(json.dumps(filter_)) if filter_ else "")
        found = self.get(path)["attributes"]
        counts, having = self.counted(passes)
        self.assertEqual([one["key"] for one in found], sorted(counts))
        for one in found:
            expected = counts[one["key"]]
            got = {(type(value["value"]) is bool, value["value"]): value["count"] for value in one["values"]}
            self.assertEqual((one["items"], len(got), one["more"]),
                             (having[one["key"]], min(50, len(expected)), len(expected) > 50), one["key"])
            self.assertEqual(got, {value: expected[value] for value in got})
            self.assertEqual([value["count"] for value in one["values"]],
                             sorted(expected.values(), reverse=True)[:50])

    def test_of_all(self):
        self.check(None, lambda attributes: True)

    def test_of_those_that_pass(self):
        self.check({"key": "colour", "match": {"value": "red"}}, lambda a: a["colour"] == "red")
        self.check({"must": [{"key": "maker.country", "match": {"value": "\"Oz\""}},
                             {"key": "price", "range": {"lt": 50}}]},
                   lambda a: a["maker"] and a["maker"]["country"] == "\"Oz\"" and a["price"] < 50)
        self.check({"key": "colour", "match": {"value": "green"}}, lambda a: False)

    def test_what_is_refused(self):
        for bad in ("", "{", "7", '{"key": 1}', "{}extra"):
            self.refused(self.service.get("/v1/attributes?filter=" + urllib.parse.quote(bad)), "filter")


class Map(Case):
    def nearest(self, near, ids):
        return {one: set(sorted((other for other in ids if other != one), key=lambda other: -near(one, other))[:10])
                for one in ids}

    def test_neighbours_stay(self):
        answer = self.get("/v1/map")
        ids = answer["ids"]
        self.assertEqual((ids, answer["dimension"]), (list(self.items), 384))
        self.assertEqual(max(map(abs, answer["x"] + answer["y"])), 1)
        places = dict(zip(ids, zip(answer["x"], answer["y"], strict=True), strict=True))
        wanted = self.nearest(lambda a, b: dot(self.vectors[a], self.vectors[b]), ids)
        got = self.nearest(lambda a, b: -math.dist(places[a], places[b]), ids)
        kept = sum(len(wanted[one] & got[one]) for one in ids) / (10 * len(ids))
        self.assertGreater(kept, 0.35)  # by chance 0.06
        self.assertEqual(self.service.get("/v1/map").body, self.service.get("/v1/map").body)

    def test_explained(self):
        """Two shares of the trace, by power iteration on the centred vectors' products with each other."""
        vectors = list(self.vectors.values())
        mean = [math.fsum(column) / len(vectors) for column in zip(*vectors)]
        centred = [[x - m for x, m in zip(vector, mean)] for vector in vectors]
        gram = [[dot(a, b) for b in centred] for a in centred]
        trace = math.fsum(gram[i][i] for i in range(len(gram)))
        for share in self.get("/v1/map")["explained"]:
            v = [random.Random(i).random() for i in range(len(gram))]
            for _ in range(300):
                w = [dot(row, v) for row in gram]
                size = math.sqrt(dot(w, w))
                v = [x / size for x in w]
            self.assertAlmostEqual(share, size / trace, places=4)
            gram = [[x - size * a * b for x, b in zip(row, v)] for row, a in zip(gram, v)]

    def test_many_at_once(self):
        """All get one map, whoever makes it."""
        other = Service(self.store, "--read-only")
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(other.get("/v1/map"))) for _ in range(16)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        other.end()
        self.assertEqual({(one.status, one.body) for one in answers}, {(200, answers[0].body)})
        self.assertEqual((len(answers), answers[0].json()["ids"]), (16, self.get("/v1/map")["ids"][:ITEMS]))

    def test_what_comes_is_shown(self):
        self.get("/v1/map")
        self.put([{"id": "a newcomer", "text": "quiet bird"}])
        until = time.monotonic() + TIMEOUT
        while "a newcomer" not in self.get("/v1/map")["ids"]:
            self.assertLess(time.monotonic(), until)
        run_json("delete", "a newcomer", "--store", self.store)
        while "a newcomer" in self.get("/v1/map")["ids"]:
            self.assertLess(time.monotonic(), until)


class Empty(unittest.TestCase):
    def test_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            service = Service(folder + "/store", "--create")
            self.assertEqual(service.get("/v1/map").json(),
                             {"ids": [], "x": [], "y": [], "dimension": 0, "explained": [0, 0]})
            self.assertEqual(service.get("/v1/attributes").json(), {"attributes": []})
            service.end()


class ByContent(Case):
    def preferred(self, history):
        """What is known of items; by content."""
        known = [liked for liked in reversed(history) if liked in self.items][:16]
        weights = {liked: RECENCY ** i for i, liked in enumerate(known)}
        return {one: max(w * dot(vector, self.vectors[liked]) for liked, w in weights.items() if liked != one)
                for one, vector in self.vectors.items() if set(weights) - {one}}

    @staticmethod
    def scaled(values):
        least, most = min(values.values(), default=0), max(values.values(), default=0)
        return {one: (value - least) / (most - least) if most > least else 1 for one, value in values.items()}

    def expected(self, user, cosines, k, offset, weight):
        """(mix, cosine) of the candidates, in their order."""
        candidates = dict(sorted(cosines.items(), key=lambda one: -one[1])[:max(100, 4 * (offset + k))])
        preferred = self.preferred(self.likes.get(user, []))
        preference = self.scaled({one: preferred[one] for one in candidates if one in preferred})
        mixed = {one: ((1 - weight) * relevance + weight * preference.get(one, 0), cosines[one])
                 for one, relevance in self.scaled(candidates).items()}
        return sorted(mixed.items(), key=lambda one: (-one[1][0], -one[1][1]))

    def check(self, user, query, cosines, k=10, offset=0, weight=None, **more):
        body = {"query": query, "user": user, "k": k, "offset": offset, "user_weight": weight, "fields": [], **more}
        answer = self.service.post("/v1/search", body)
        self.assertEqual(answer.status, 200, answer.body)
        hits = answer.json()["hits"]
        expected = self.expected(user, cosines, k, offset, 0.5 if weight is None else weight)
        self.assertEqual(len(hits), len(expected[offset:offset + k]))
        values = dict(expected)
        for hit, (_, (score, _)) in zip(hits, expected[offset:]):
            self.assertAlmostEqual(hit["score"], score, places=3)
            self.assertAlmostEqual(hit["score"], values[hit["id"]][0], places=3)
            self.assertAlmostEqual(hit["relevance"], values[hit["id"]][1], places=5)
        return [hit["id"] for hit in hits]

    def cosines(self, vector):
        return {one: dot(vector, other) for one, other in self.vectors.items()}

    def test_order(self):
        vector = self.vectors["item/00007"]
        cosines, query = self.cosines(vector), {"vector": vector}
        for user in ("u0", "u1", "u2"):
            for weight in (None, 0, 0.2, 1):
                self.check(user, query, cosines, weight=weight)
        self.check("u3", query, cosines, k=5, offset=10)
        self.check("u3", query, cosines, k=20, offset=20)
        self.check("u3", query, cosines, k=100, offset=120, weight=0.7)
        del cosines["item/00007"]
        self.check("u4", {"item": "item/00007"}, cosines)
        red = {one: x for one, x in cosines.items() if self.items[one]["attributes"]["colour"] == "red"}
        self.check("u5", {"item": "item/00007"}, red,
                   filter={"key": "colour", "match": {"value": "red"}})
        near = {one: x for one, x in cosines.items() if x >= 0.3}
        self.check("u6", {"item": "item/00007"}, near, k=100, min_score=0.3)

    def test_nobody_is_no_error(self):
        vector = self.vectors["item/00003"]
        ids = self.check("who is that", {"vector": vector}, self.cosines(vector), k=30, weight=1)
        plain = self.service.post("/v1/search", {"query": {"vector": vector}, "k": 30}).json()["hits"]
        self.assertEqual(ids, [hit["id"] for hit in plain])
        self.assertTrue(all("relevance" not in hit for hit in plain))

    def test_likes_count_at_once(self):
        """Though it is the same request, and no item has changed."""
        vector = self.vectors["item/00011"]
        cosines, orders = self.cosines(vector), []
        for liked in (None, self.likes["u0"][0], self.likes["u1"][0], "item/00150"):  # the last one nobody has met
            if liked:
                self.like("a fan", liked)
            orders.append(self.check("a fan", {"vector": vector}, cosines, weight=0.8))
        self.assertGreaterEqual(len({tuple(order) for order in orders}), 3)

    def test_words_and_explanation(self):
        body = {"query": "a quiet bird", "user": "u1", "explain": True, "fields": ["text"]}
        for hit in self.service.post("/v1/search", body).json()["hits"]:
            self.assertEqual(set(hit), {"id", "score", "relevance", "explain", "text"})
            self.assertAlmostEqual(math.fsum(hit["explain"][0]["shares"].values()), hit["relevance"], places=5)

    def test_what_is_refused(self):
        for field, value in (("user", 7), ("user", "u" * 512), ("user_weight", 1.01), ("user_weight", -0.1),
                             ("user_weight", "much")):
            self.refused(self.service.post("/v1/search", {"query": "bird", field: value}), field)


class ByModel(ByContent):
    model = "ease"

    def preferred(self, history):
        """By EASE: of items that the model knows, the sum of what each liked one speaks for them; else by content."""
        (_, n), data = read_safetensors(f"{self.store}/ranker/ease/model.safetensors")["item.weights"]
        known = [self.numbers[one] for one in history if self.numbers[one] < n]
        if not known:
            return super().preferred(history)
        return {one: math.fsum(data[n * liked + number] for liked in known) for one, number in self.numbers.items()
                if one in self.items and number < n}


if __name__ == "__main__":
    unittest.main()
