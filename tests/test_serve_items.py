"""What is written over HTTP: items, one by one and by lines, their pictures and sounds, interactions, users. What was
answered is in the store, which is what `magpie get` and `magpie check` say of it afterwards. MAGPIE_BINARY names the
command; run by ctest."""
import base64
import concurrent.futures
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import TIMEOUT, Service  # noqa: E402
from sample import (NO_MODELS, binary, item, model_or_skip, run, run_json, write_catalogue, write_model,  # noqa: E402
                    write_picture, write_sound)

MODEL = model_or_skip()
KEYS = {"Authorization": "Bearer writes-0123456789abcdef"}
NOBODY = "/v1/items/nobody"


def b64(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()


def lines(items):
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in items)


def new_folder(case):
    folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
    case.addClassCleanup(folder.cleanup)
    return folder.name


class Case(unittest.TestCase):
    arguments = ("--model", MODEL)

    @classmethod
    def setUpClass(cls):
        cls.folder = new_folder(cls)
        cls.store = cls.folder + "/store"
        cls.start("--create")

    @classmethod
    def start(cls, *more):
        cls.service = Service(cls.store, "--access-log", "none", *cls.arguments, *more)

    @classmethod
    def tearDownClass(cls):
        cls.service.end()
        check = run_json("check", "--store", cls.store)
        assert check["problems"] == [], check

    def ask(self, method, path, body=None, status=200, **headers):
        answer = self.service.ask(method, path, body, headers)
        self.assertEqual(answer.status, status, (path, answer.body[:500]))
        return answer.json()

    def put(self, body, query=""):
        return self.ask("POST", "/v1/items" + query, body)

    def put_lines(self, body, query=""):
        answer = self.service.ask("POST", "/v1/items" + query, body, {"Content-Type": "application/x-ndjson"})
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/x-ndjson"), answer.body[:300])
        return [json.loads(line) for line in answer.body.splitlines()]

    def get(self, name, status=200):
        return self.ask("GET", "/v1/items/" + name, status=status)

    def fails(self, method, path, body, status, field=None):
        error = self.ask(method, path, body, status)["error"]
        self.assertEqual(set(error), {"code", "message", "field"})
        self.assertEqual(error["field"], field, error)
        return error["message"]

    def best(self, query, **more):
        return [hit["id"] for hit in self.ask("POST", "/v1/search", {"query": query, **more})["hits"]]


class Items(Case):
    def test_one(self):
        one = {"id": "lamp/17", "text": "a green desk lamp", "attributes": {"price": 39, "b": None}, "timestamp": 5.25}
        for status in ("created", "unchanged"):
            self.assertEqual(self.put(one), {"id": "lamp/17", "status": status, "problems": None})
        stored = self.get("lamp%2F17")
        self.assertEqual({key: stored[key] for key in one},
                         {**one, "timestamp": "1970-01-01T00:00:05.250Z"})
        self.assertEqual(stored["vectors"], ["fused", "text"])
        one["attributes"] = {"price": 40}
        self.assertEqual(self.put(one)["status"], "updated")
        self.assertEqual(self.get("lamp%2F17")["row"], stored["row"])  # nothing was encoded
        one["text"] = "a violin made of maple"
        self.assertEqual(self.put(one, "?wait=true")["status"], "updated")
        self.assertGreater(self.get("lamp%2F17")["row"], stored["row"])
        self.assertEqual(self.best("violin", k=1), ["lamp/17"])
        self.assertEqual(self.ask("DELETE", "/v1/items/lamp%2F17"), {"deleted": 1})
        self.get("lamp%2F17", 404)
        self.fails("DELETE", "/v1/items/lamp%2F17", None, 404, "id")

    def test_several(self):
        wanted = [item(i, "several") for i in range(50)]
        mixed = [*wanted[:20], {"text": "nobody's"}, {"id": "bad", "smell": 1}, *wanted[20:], 7, {"id": ""},
                 {"id": "x" * 512}, {"id": "text", "text": 5}, {"id": "deep", "attributes": 3},
                 {"id": "when", "timestamp": "soon"}, {"id": "path", "image": "/etc/passwd"}, {"id": "null", "image": ""}]
        fields = ["id", None, None, "id", "id", "text", "attributes", "timestamp", "image", "image"]
        for body in (mixed, {"items": mixed}):
            answers = self.put(body)["items"]
            self.assertEqual(len(answers), len(mixed))
            good = [one for one in answers if "error" not in one]
            self.assertEqual([one["id"] for one in good], [one["id"] for one in wanted])
            bad = [one for one in answers if "error" in one]
            self.assertEqual([one["error"]["field"] for one in bad], fields)
            self.assertEqual([one["error"]["code"] for one in bad], ["invalid_request"] * len(bad))
            self.assertEqual(bad[1]["id"], "bad")
        self.assertEqual({one["status"] for one in good}, {"unchanged"})
        for one in wanted[::7]:
            self.assertEqual(self.get(one["id"].replace("/", "%2F"))["text"], one["text"])
        same = [{"id": "twice", "text": "first"}, {"id": "twice", "text": "second"}, {"id": "twice", "text": "second"}]
        self.assertEqual([one["status"] for one in self.put(same)["items"]], ["created", "updated", "unchanged"])
        self.assertEqual(self.get("twice")["text"], "second")

    def test_what_is_refused(self):
        for body, field in ((7, None), ("id", None), ([], "items"), ({"items": []}, "items"), ({"items": 1}, "items"),
                            ({"items": [{"id": "a"}], "more": 1}, "more"), ({}, "id"), ({"id": 5}, "id"),
                            ([{"id": str(i)} for i in range(1001)], "items"), ({"id": "a", "audio": "no"}, "audio")):
            self.fails("POST", "/v1/items", body, 400, field)
        self.fails("POST", "/v1/items", {"id": "a", "image": "AAAA"}, 422, "image")
        self.fails("POST", "/v1/items", {"id": "a", "text": "x" * 2**20}, 413)
        self.fails("POST", "/v1/items?wait=maybe", {"id": "a"}, 400, "wait")
        self.fails("POST", "/v1/items", b"{", 400)
        self.ask("POST", "/v1/items", b"{}", 415, **{"Content-Type": "text/plain"})
        self.get("a", 404)

    def test_patch(self):
        self.put({"id": "patch", "text": "a kite", "attributes": {"a": 1, "b": {"c": 2, "d": 3}}})
        before = self.get("patch")
        answer = self.ask("PATCH", "/v1/items/patch", {"attributes": {"a": None, "b": {"c": [4]}, "e": "f"}})
        self.assertEqual(answer, {"id": "patch", "status": "updated", "problems": None})
        after = self.get("patch")
        self.assertEqual(after["attributes"], {"b": {"c": [4], "d": 3}, "e": "f"})
        for key in ("row", "text", "vectors", "timestamp"):
            self.assertEqual(after[key], before[key])
        self.assertEqual(self.ask("PATCH", "/v1/items/patch", {"attributes": {"e": "f"}})["status"], "unchanged")
        whole = {"id": "patch", "text": "a kite", "attributes": after["attributes"]}
        self.assertEqual(self.put(whole)["status"], "unchanged")  # as if it had been put so
        for body, field in (({}, "attributes"), ({"attributes": None}, "attributes"), ({"text": "a"}, "text"),
                            ({"attributes": {}, "text": "a"}, "text"), ([], None)):
            self.fails("PATCH", "/v1/items/patch", body, 400, field)
        self.fails("PATCH", "/v1/items/nobody", {"attributes": {}}, 404, "id")

    def test_delete_many(self):
        all_of = [{"id": f"many/{i}", "attributes": {"many": True, "n": i}} for i in range(2500)]
        self.put_lines(lines(all_of))
        delete = "/v1/items/delete"
        self.assertEqual(self.ask("POST", delete, {"ids": ["many/0", "many/1", "many/0", "nobody"]}), {"deleted": 2})
        which = {"must": [{"key": "many", "match": {"value": True}}, {"key": "n", "range": {"lt": 2400}}]}
        self.assertEqual(self.ask("POST", delete, {"filter": which}), {"deleted": 2398})
        self.assertEqual(self.ask("POST", delete, {"filter": which}), {"deleted": 0})
        self.get("many%2F2399", 404)
        self.assertEqual(self.get("many%2F2400")["attributes"]["n"], 2400)
        for body, field in (({}, "ids"), ({"ids": []}, "ids"), ({"ids": "many/2400"}, "ids"), ({"ids": [1]}, "ids[0]"),
                            ({"ids": ["a", "x" * 512]}, "ids[1]"), ({"ids": ["a"], "filter": which}, "ids"),
                            ({"filter": 7}, "filter"), ({"filter": {"key": "n", "near": 1}}, "filter")):
            self.fails("POST", delete, body, 400, field)


class Lines(Case):
    arguments = (*Case.arguments, "--max-media-body", 1)

    def test_many(self):
        """Each line has its answer, in order, whatever the others are."""
        dice, body, expected = random.Random("lines"), [], []
        for i in range(4000):
            kind = dice.randrange(12)
            one = {"id": f"line/{i}", "text": " ".join(dice.choices(["red", "blue", "lamp", "boat"], k=3))} \
                if i % 10 == 0 else {"id": f"line/{i}", "attributes": {"n": i}}
            bad = {0: b"{broken", 1: b"[]", 2: {"id": f"line/{i}", "smell": 1}, 3: {**one, "image": "../secret"},
                   4: b"\xff\xfe", 5: b" \r"}.get(kind)
            body.append(bad or one)
            if kind != 5:  # a blank line
                expected.append((i + 1, bad, one["id"]))
        before = self.ask("GET", "/v1/stats")["items"]
        answers = self.put_lines(lines(body))
        self.assertEqual(len(answers), len(expected))
        for answer, (line, bad, name) in zip(answers, expected):
            if not bad:
                self.assertEqual(answer, {"id": name, "status": "created", "problems": None})
                continue
            self.assertEqual((answer["line"], answer["error"]["code"]), (line, "invalid_request"))
            self.assertEqual(answer.get("id"), None if isinstance(bad, bytes) else name)
        self.assertEqual(self.ask("GET", "/v1/stats")["items"] - before, sum(not bad for _, bad, _ in expected))

    def test_long_lines(self):
        long, text = b'{"id": "' + b"x" * (3 << 20) + b'"}', "a whistle " * 60000
        body = lines([{"id": "p1", "text": "a red kite"}, long, {"id": "p2"}, {"id": "p3", "text": text}, long]) + \
            b'{"id": "p4"}'  # the last one needs no newline

        answers = self.put_lines(body, "?wait=true")
        self.assertEqual([one.get("id") for one in answers], ["p1", None, "p2", "p3", None, "p4"])
        self.assertEqual([one.get("line") for one in answers], [None, 2, None, None, 5, None])
        self.assertEqual([one["error"]["code"] for one in answers if "error" in one], ["too_large"] * 2)
        self.assertEqual(self.get("p3")["text"], text)
        self.assertEqual(self.best("kite", k=1), ["p1"])
        connection = self.service.connect()  # in chunks, some of which end in the middle of a line
        connection.request("POST", "/v1/items", (body[at:at + 70001] for at in range(0, len(body), 70001)),
                           {"Content-Type": "application/x-ndjson"}, encode_chunked=True)
        again = [json.loads(line) for line in connection.getresponse().read().splitlines()]
        connection.close()
        self.assertEqual([one.get("status") for one in again], ["unchanged", None, "unchanged", "unchanged", None, "unchanged"])
        self.assertEqual(self.put_lines(b"\n\n"), [])
        self.assertEqual(self.put_lines(b""), [])
        self.fails("POST", "/v1/items", b"[1]" * 700000, 413)  # what is no line has the limit for its body


class Media(Case):
    @classmethod
    def setUpClass(cls):
        cls.models = new_folder(cls)
        cls.arguments = (*Case.arguments, "--image-model", write_model("image", cls.models + "/image"),
                         "--audio-model", write_model("audio", cls.models + "/audio"))
        super().setUpClass()

    def files(self):
        try:
            return sorted(os.listdir(self.store + "/media"))
        except FileNotFoundError:
            return []

    def picture(self, seed, side=8):
        path = f"{self.folder}/{seed}.png"
        write_picture(path, seed, side)
        return path

    def shown(self, name, which, path):
        answer = self.service.get(f"/v1/items/{name}/{which}")
        with open(path, "rb") as file:
            self.assertEqual((answer.status, answer.body), (200, file.read()))
        return answer.headers["Content-Type"]

    def test_a_picture(self):
        before = self.files()
        first, second = self.picture("first"), self.picture("second")
        one = {"id": "pic", "text": "a picture", "image": b64(first)}
        self.assertEqual(self.put(one), {"id": "pic", "status": "created", "problems": None})
        self.assertEqual(self.shown("pic", "image", first), "image/png")
        stored = self.get("pic")
        self.assertEqual(set(stored["vectors"]), {"fused", "text", "image"})
        self.assertRegex(stored["image"], r"^media/[0-9a-f]{32}\.png$")
        file = f"{self.store}/{stored['image']}"
        when = os.stat(file).st_mtime_ns
        one["image"] = "data:image/gif;base64," + one["image"]  # what it says of itself does not count
        self.assertEqual(self.put(one)["status"], "unchanged")
        one["attributes"] = {"a": 1}
        self.assertEqual(self.put(one)["status"], "updated")
        self.assertEqual((self.get("pic")["row"], os.stat(file).st_mtime_ns), (stored["row"], when))
        self.ask("PATCH", "/v1/items/pic", {"attributes": {"a": 2}})
        self.shown("pic", "image", first)
        one["image"] = b64(second)
        self.assertEqual(self.put(one, "?wait=true")["status"], "updated")
        self.shown("pic", "image", second)
        self.assertFalse(os.path.exists(file))
        self.assertEqual(len(self.files()), len(before) + 1)
        self.assertEqual(self.best({"image": b64(second)}, space="image", k=1), ["pic"])
        self.put({"id": "other", "image": b64(second)})  # another item's file is another
        self.assertEqual(len(self.files()), len(before) + 2)
        self.ask("DELETE", "/v1/items/pic")
        self.shown("other", "image", second)
        self.assertEqual(self.put({"id": "other", "text": "no picture"})["status"], "updated")
        self.assertEqual(self.files(), before)

    def test_both_and_bad_ones(self):
        before = self.files()
        sound = self.folder + "/sound.wav"
        write_sound(sound, 1)
        picture = self.picture("both")
        with open(picture, "rb") as file:
            cut = base64.b64encode(file.read()[:60]).decode()
        answers = self.put([{"id": "both", "image": b64(picture), "audio": b64(sound)}, {"id": "cut", "image": cut},
                            {"id": "swapped", "audio": b64(picture)}, {"id": "half", "image": b64(picture), "audio": "?"},
                            {"id": "no", "image": b64(picture), "smell": 1}, {"image": b64(picture)}])["items"]
        self.assertEqual(answers[0], {"id": "both", "status": "created", "problems": None})
        self.assertEqual(set(self.get("both")["vectors"]), {"image", "audio"})
        self.assertEqual(self.shown("both", "audio", sound), "audio/wav")
        self.assertTrue(answers[1]["problems"].startswith("image: "), answers[1])  # it is kept all the same
        self.assertEqual(self.get("cut")["vectors"], [])
        self.assertNotIn(self.folder, answers[1]["problems"])  # and says nothing of this machine
        errors = [(one["error"]["code"], one["error"]["field"]) for one in answers[2:]]
        self.assertEqual(errors, [("unprocessable", "audio"), ("invalid_request", "audio"), ("invalid_request", None),
                                  ("invalid_request", "id")])
        self.assertEqual(self.ask("POST", "/v1/items/delete", {"ids": ["both", "cut", "swapped", "half", "no"]}),
                         {"deleted": 2})
        self.assertEqual(self.files(), before)  # none of those that were refused left anything behind

    def test_what_a_crash_has_left(self):
        self.put({"id": "kept", "image": b64(self.picture("kept"))})
        kept = self.get("kept")["image"]
        self.service.end(signal.SIGKILL)
        mine = self.store + "/media/"
        lost = ["0" * 32 + ".png", "1" * 32 + ".png.77-1.tmp"]
        others = ["notes.txt", "0" * 31 + ".png", "2" * 32]
        for name in lost + others:
            with open(mine + name, "wb") as file:
                file.write(b"left")
            os.utime(mine + name, (1e9, 1e9))
        os.utime(f"{self.store}/{kept}", (1e9, 1e9))
        fresh = "3" * 32 + ".png"
        with open(mine + fresh, "wb") as file:
            os.utime(file.name, (time.time() + 1000,) * 2)  # younger than the start: it may be about to be named
        self.__class__.start()
        until = time.monotonic() + 60
        while set(lost) & set(self.files()) and time.monotonic() < until:
            self.ask("GET", "/healthz")
        self.assertEqual(set(self.files()), {*others, fresh, os.path.basename(kept)})
        for name in (*others, fresh):
            os.unlink(mine + name)
        self.ask("DELETE", "/v1/items/kept")

    def test_lines_with_pictures(self):
        body = [{"id": f"lined/{i}", "image": b64(self.picture(f"lined {i}", 48))} for i in range(30)]
        answers = self.put_lines(lines(body))
        self.assertEqual([one["status"] for one in answers], ["created"] * 30)
        self.shown("lined%2F29", "image", f"{self.folder}/lined 29.png")
        self.ask("POST", "/v1/items/delete", {"ids": [one["id"] for one in body]})


class Many(Case):
    def test_all_at_once(self):
        """What was answered is durable, whoever wrote at the same time; models are opened anew meanwhile."""
        names = [f"at once/{i}" for i in range(120)]

        def write(i):
            name = names[i]
            if i == 60:
                self.service.process.send_signal(signal.SIGHUP)
            answers = [self.put({"id": name, "text": f"number {i}"})["status"]]
            answers.append(self.ask("POST", "/v1/interactions", {"user": f"u{i % 5}", "item": name})["accepted"])
            answers.append(self.ask("PATCH", "/v1/items/" + name.replace("/", "%2F").replace(" ", "%20"),
                                    {"attributes": {"n": i}})["status"])
            return answers

        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for answers in pool.map(write, range(len(names))):
                self.assertEqual(answers, ["created", 1, "updated"])
        self.service.end(signal.SIGKILL)
        _, out, _ = run("get", "--store", self.store, "--json", *names)
        stored = {one["id"]: (one["text"], one["attributes"]) for one in map(json.loads, out.splitlines())}
        self.assertEqual(stored, {name: (f"number {i}", {"n": i}) for i, name in enumerate(names)})
        self.__class__.start()
        for i in range(5):
            self.assertEqual(len(self.ask("GET", f"/v1/users/u{i}")["interactions"]), 24)


class Beside(Case):
    def test_a_job_fills_the_store_too(self):
        """Both write, item by item and in transactions of a few; all is there, and searches find it."""
        catalogue, theirs, ours = self.folder + "/catalogue.jsonl", range(60), range(100, 130)
        write_catalogue(catalogue, map(item, theirs))
        with subprocess.Popen([binary(), "ingest", catalogue, "--store", self.store, *self.arguments, "--commit", "4",
                               "--acknowledge"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env={**os.environ, **NO_MODELS}) as job:
            told = [job.stdout.readline().strip()]
            for number in ours:
                self.assertEqual(self.put(item(number), "?wait=true")["status"], "created")
            told += job.stdout.read().split()
        self.assertEqual((job.returncode, told), (0, [item(number)["id"] for number in theirs]))
        limit = time.monotonic() + TIMEOUT
        for number in [*theirs, *ours]:
            self.assertEqual(self.get(urllib.parse.quote(item(number)["id"], safe=""))["text"], item(number)["text"])
            query = {"query": item(number)["text"], "k": 3}
            while item(number)["id"] not in [hit["id"] for hit in self.ask("POST", "/v1/search", query)["hits"]]:
                self.assertLess(time.monotonic(), limit, "what was stored is never found")


class Users(Case):
    arguments = ()

    def like(self, body):
        return self.ask("POST", "/v1/interactions", body)

    def test_interactions(self):
        self.assertEqual(self.like({"user": "ann", "item": "a"}), {"accepted": 1})
        more = [{"user": "ann", "item": "b", "kind": "buy", "weight": 2.5, "time": "2024-02-29T12:30:00Z"},
                {"user": "ann", "item": "b", "kind": "rating", "weight": -3, "time": 5},
                {"user": "ann", "item": "c", "kind": None, "weight": None, "time": 1764115200000}]
        self.assertEqual(self.like(more), {"accepted": 3})
        self.assertEqual(self.like({"interactions": more[:2]}), {"accepted": 2})  # again: they replace themselves
        history = self.ask("GET", "/v1/users/ann")
        self.assertEqual(history["id"], "ann")
        self.assertEqual([(one["item"], one["kind"], one["weight"]) for one in history["interactions"]],
                         [("a", "like", 1), ("c", "like", 1), ("b", "buy", 2.5), ("b", "rating", -3)])
        self.assertEqual([one["time"] for one in history["interactions"][1:]],
                         ["2025-11-26T00:00:00.000Z", "2024-02-29T12:30:00.000Z", "1970-01-01T00:00:05.000Z"])
        self.assertEqual(self.ask("DELETE", "/v1/users/ann"), {"deleted": 4})
        self.assertEqual(self.ask("GET", "/v1/users/ann"), {"id": "ann", "interactions": []})
        self.fails("DELETE", "/v1/users/ann", None, 404, "id")

    def rejects(self, users=()):
        """Whose lines are there; after some of `users` were added."""
        with open(self.store + "/import-rejects.jsonl", "a+", encoding="utf-8") as file:
            for user in users:
                file.write(json.dumps({"line": 1, "reason": "torn", "id": user, "start": "{"}) + "\n")
            file.seek(0)
            return {json.loads(line)["id"] for line in file}

    def test_forgotten_all_at_once(self):
        """None brings back the lines that another has removed."""
        users = [f"gone{i}" for i in range(8)]
        self.rejects(["stays", *users] * 1000)
        self.like([{"user": user, "item": "a"} for user in users])
        with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
            answers = list(pool.map(lambda user: self.service.ask("DELETE", "/v1/users/" + user), users))
        self.assertEqual([answer.status for answer in answers], [200] * 8, [answer.body for answer in answers])
        self.assertEqual(self.rejects(), {"stays"})

    def test_forgotten_half_way(self):
        """The store knows nothing of the user any more, but files do."""
        self.rejects(["half", "other"])
        self.fails("DELETE", "/v1/users/half", None, 404, "id")
        self.assertEqual(self.rejects() & {"half", "other"}, {"other"})

    def test_likes_that_are_taken_back(self):
        """They are no more and no fewer than they were, and yet what is popular is another."""
        for weight, popular in ((1, True), (-1, False), (1, True)):
            self.like([{"user": f"fan{i}", "item": "a hit", "weight": weight} for i in range(50)])
            until = time.monotonic() + TIMEOUT
            while popular != ("a hit" in [hit["id"] for hit in self.ask("POST", "/v1/recommend", {"user": "?"})["hits"]]):
                self.assertLess(time.monotonic(), until, "the recommender is never opened anew")

    def test_long_history(self):
        self.like([{"user": "long", "item": str(i), "time": i + 1} for i in range(3000)])
        newest = self.ask("GET", "/v1/users/long")["interactions"]
        self.assertEqual([one["item"] for one in newest], [str(i) for i in range(2999, 1999, -1)])

    def test_what_is_refused(self):
        good = {"user": "bea", "item": "a"}
        for wrong, field in (({"user": ""}, "user"), ({"user": 5}, "user"), ({"user": "x" * 512}, "user"),
                             ({"item": None}, "item"), ({"kind": "hug"}, "kind"), ({"kind": 1}, "kind"),
                             ({"weight": 1e30}, "weight"), ({"weight": "1"}, "weight"), ({"time": "soon"}, "time"),
                             ({"time": -1}, "time"), ({"time": -1e-144}, "time"), ({"time": []}, "time"), ({"smell": 1}, "smell")):
            self.fails("POST", "/v1/interactions", {**good, **wrong}, 400, field)
            self.fails("POST", "/v1/interactions", [good, {**good, **wrong}], 400, "[1]." + field)
        for body in ([], {"interactions": []}, [good] * 10001):
            self.fails("POST", "/v1/interactions", body, 400, "interactions")
        self.fails("GET", "/v1/users/" + "x" * 512, None, 400, "id")
        self.assertEqual(self.ask("GET", "/v1/users/bea")["interactions"], [])  # not one of them was written

    def test_models_forget(self):
        dice = random.Random("likes")
        for i in range(30):
            self.like([{"user": f"u{i}", "item": f"i{j}"} for j in dice.sample(range(20), 6)])
        run_json("train", "ranker", "--store", self.store, "--model", "ials")

        def rows():
            with open(self.store + "/ranker/ials/model.safetensors", "rb") as file:
                content = file.read()
            size, = struct.unpack_from("<Q", content)
            (name, tensor), = ((name, one) for name, one in json.loads(content[8:8 + size]).items()
                               if name.startswith("user."))
            start, end = tensor["data_offsets"]
            row = (end - start) // tensor["shape"][0]
            return [content[8 + size + at:8 + size + at + row] for at in range(start, end, row)]

        before = rows()
        self.assertTrue(all(any(row) for row in before[-30:]))
        self.assertEqual(self.ask("DELETE", "/v1/users/u29"), {"deleted": 6})
        self.assertEqual(rows(), before[:-1] + [bytes(len(before[-1]))])


class Refused(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.store = folder.name, folder.name + "/store"

    writes = [("POST", "/v1/items", {"id": "a"}), ("POST", "/v1/items/delete", {"ids": ["a"]}),
              ("PATCH", NOBODY, {"attributes": {}}), ("DELETE", NOBODY, None),
              ("POST", "/v1/interactions", {"user": "a", "item": "b"}), ("DELETE", "/v1/users/a", None)]

    def all_are(self, service, expected, **headers):
        for (method, path, body), status in zip(self.writes, expected):
            answer = service.ask(method, path, body, headers)
            self.assertEqual(answer.status, status, (method, path, answer.body))
        self.assertEqual(service.get("/v1/items/a", **headers).status, 404)

    def test_keys_and_reading_alone(self):
        keys = self.folder + "/keys"
        with open(keys, "w", encoding="utf-8") as file:
            file.write("reads-0123456789abcdef read\nwrites-0123456789abcdef write\n")
        service = Service(self.store, "--create", "--api-key-file", keys)
        self.all_are(service, [403] * 6, Authorization="Bearer reads-0123456789abcdef")
        self.all_are(service, [200, 200, 404, 404, 200, 200], **KEYS)
        service.end()
        service = Service(self.store, "--read-only")
        self.all_are(service, [403] * 6)
        service.end()

    def test_files_that_cannot_be_written(self):
        """That the place for pictures is gone is not that the item is; and where it was is for the log alone."""
        model = write_model("image", self.folder + "/model")
        write_picture(self.folder + "/p.png", 1)
        service = Service(self.store, "--create", "--image-model", model)
        os.symlink(self.folder + "/nowhere", self.store + "/media")
        answer = service.post("/v1/items", {"id": "p", "image": b64(self.folder + "/p.png")})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (500, "internal"))
        self.assertNotIn(self.folder, answer.body.decode())
        self.assertIn(self.store + "/media", service.logged())
        service.end()

    def test_another_model(self):
        models = [write_model("image", f"{self.folder}/{i}", i) for i in (1, 2)]
        write_picture(self.folder + "/p.png", 1)
        picture = {"id": "p", "image": b64(self.folder + "/p.png")}
        service = Service(self.store, "--create", "--image-model", models[0])
        self.assertEqual(service.post("/v1/items", picture).status, 200)
        service.end()
        service = Service(self.store, "--image-model", models[1])
        for body in (picture, [picture, {"id": "q"}]):
            answer = service.post("/v1/items", body)
            self.assertEqual((answer.status, answer.json()["error"]["code"]), (409, "conflict"))
            self.assertNotIn(self.folder, answer.json()["error"]["message"])
        self.assertEqual(service.ask("DELETE", "/v1/items/p").status, 200)  # which needs no model
        service.end()
        self.assertEqual(os.listdir(self.store + "/media"), [])


if __name__ == "__main__":
    unittest.main()
