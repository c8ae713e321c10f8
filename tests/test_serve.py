"""The service answers what the command answers, one request or many at once, before and after writes and signals.
`magpie search --json` is the oracle. MAGPIE_BINARY names the command; run by ctest."""
import base64
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from one_space import JointStore, write_heads  # noqa: E402
from sample import NO_MODELS, Case, item, run, run_json, write_catalogue, write_model, write_picture, write_sound  # noqa: E402
from service import TIMEOUT, Answer, Service  # noqa: E402

ITEMS = 60
CHEAP = {"must": [{"key": "price", "range": {"lt": 50}}]}


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def in_base64(path):
    return base64.b64encode(read_file(path)).decode()


def until(condition, what):
    """Looks again and again; for what another process does in its own time."""
    limit = threading.Event()
    timer = threading.Timer(TIMEOUT, limit.set)
    timer.start()
    while not condition():
        assert not limit.is_set(), f"in vain: {what}"
    timer.cancel()


def form(request, **files):
    """A multipart body, and its Content-Type."""
    parts = [b'Content-Disposition: form-data; name="request"\r\n\r\n' + json.dumps(request).encode()]
    parts += [b'Content-Disposition: form-data; name="%s"; filename="a file"\r\nContent-Type: x/y\r\n\r\n' % name.encode() +
              read_file(path) for name, path in files.items()]
    return b"--boundary\r\n" + b"\r\n--boundary\r\n".join(parts) + b"\r\n--boundary--\r\n", \
        "multipart/form-data; boundary=boundary"


class Served(JointStore):
    @classmethod
    def make_item(cls, i):
        one = item(i)
        if i % 2 == 0:
            one["image"] = f"{cls.folder}/{i}.png"
            write_picture(one["image"], i)
        if i % 3 == 0:
            one["audio"] = f"{cls.folder}/{i}.wav"
            write_sound(one["audio"], i)
        if i % 5 == 4:
            del one["text"]
        return one

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.audio = write_model("audio", cls.folder + "/audio")
        cls.fill(ITEMS, "--audio-model", cls.audio)
        write_picture(cls.folder + "/new.png", 901)
        write_sound(cls.folder + "/new.wav", 902)
        cls.service = cls.serve()

    @classmethod
    def serve(cls, *arguments, store=None, **more):
        return Service(store or cls.store, *cls.models, *arguments, **more)

    @classmethod
    def tearDownClass(cls):
        cls.service.end()
        super().tearDownClass()

    def hits(self, body, service=None):
        answer = (service or self.service).post("/v1/search", body)
        self.assertEqual(answer.status, 200, (body, answer.body))
        self.assertEqual(list(answer.json()), ["hits", "took_ms"])
        return answer.json()["hits"]

    def command(self, *arguments, store=None):
        return run_json("search", "--store", store or self.store, *self.models, *arguments)["hits"]

    def same(self, hits, expected):
        self.assertEqual([hit["id"] for hit in hits], [hit["id"] for hit in expected])
        for hit, other in zip(hits, expected, strict=True):
            self.assertAlmostEqual(hit["score"], other["score"], delta=1e-6)
            self.assertEqual({**hit, "score": 0}, {**other, "score": 0})


class Search(Served):
    def test_every_kind_of_part(self):
        picture, sound, one = f"{self.folder}/new.png", f"{self.folder}/new.wav", item(3)["id"]
        filter_file = json.dumps(CHEAP)
        for arguments, body in (
                (("--text", "red cat"), {"query": "red cat"}),
                (("--text", "red cat"), {"query": {"text": "red cat"}}),
                (("--text", "red cat"), {"query": ["red cat"], "k": 10, "offset": 0, "filter": None}),
                (("--image", picture), {"query": {"image": in_base64(picture)}}),
                (("--image", picture), {"query": {"image": "data:image/png;base64," + in_base64(picture)}}),
                (("--audio", sound, "--space", "audio"), {"query": {"audio": in_base64(sound)}, "space": "audio"}),
                (("--item", one), {"query": {"item": one}}),
                (("--text", "dog", "--image", picture, "--item", one, "-k", "25"),
                 {"query": [{"text": "dog"}, {"image": in_base64(picture)}, {"item": one}], "k": 25}),
                (("--text", "dog", "--not-text", "blue"), {"query": ["dog", {"text": "blue", "weight": -0.5}]}),
                (("--text", "dog", "--image", picture, "--weight", "image=0.25"),
                 {"query": ["dog", {"image": in_base64(picture)}], "weights": {"image": 0.25}}),
                (("--text", "dog", "--filter", filter_file), {"query": "dog", "filter": CHEAP}),
                (("--text", "dog", "--exact", "-k", "60"), {"query": "dog", "exact": True, "k": 60}),
                (("--text", "dog", "--space", "image"), {"query": "dog", "space": "image"}),
                (("--image", picture, "--space", "text"), {"query": {"image": in_base64(picture)}, "space": "text"})):
            expected = self.command(*arguments)
            self.assertTrue(expected)
            for _ in range(2):  # the second is a remembered one
                self.same(self.hits(body), expected)

    def test_explain(self):
        picture = f"{self.folder}/new.png"
        got = self.hits({"query": ["dog", {"image": in_base64(picture)}], "explain": True, "k": 5})
        expected = self.command("--text", "dog", "--image", picture, "--explain", "-k", "5")
        self.assertEqual([hit["id"] for hit in got], [hit["id"] for hit in expected])
        for hit, other in zip(got, expected, strict=True):
            self.assertEqual([part["query"] for part in hit["explain"]], ["query[0]", "query[1].image"])
            for part, its in zip(hit["explain"], other["explain"], strict=True):
                self.assertEqual(set(part["shares"]), set(its["shares"]))
                for name, share in part["shares"].items():
                    self.assertAlmostEqual(share, its["shares"][name], delta=1e-6)
        self.assertEqual(self.hits({"query": "dog", "explain": True, "filter": {"must": [
            {"key": "price", "range": {"lt": -1}}]}}), [])

    def test_explain_where_nothing_is_a_sum(self):
        """In a store without heads a picture is compared with pictures: nothing to explain, by service and command."""
        store, catalogue = f"{self.folder}/plain", f"{self.folder}/plain.jsonl"
        models = ("--model", self.joint, "--image-model", write_model("image", f"{self.folder}/pictures"))
        write_catalogue(catalogue, [self.make_item(i) for i in range(6)])
        run_json("ingest", catalogue, "--store", store, *models)
        picture = f"{self.folder}/new.png"
        service = Service(store, *models)
        query = {"query": {"image": in_base64(picture)}}
        self.assertEqual(len(self.hits(query, service)), 3)
        answer = service.post("/v1/search", {**query, "explain": True})
        self.assertEqual((answer.status, answer.json()["error"]["field"]), (422, "space"))
        service.end()
        self.fails(1, "explain", "search", "--store", store, *models, "--image", picture, "--explain")

    def test_vector(self):
        code, out, err = run("encode", "--modality", "text", *self.models, stdin='{"id": "q", "text": "red cat"}\n')
        self.assertEqual(code, 0, err)
        vector = json.loads(out)["vector"]
        for scale in (1, 1000):
            got = self.hits({"query": {"vector": [scale * x for x in vector]}})
            self.assertEqual([hit["id"] for hit in got], [hit["id"] for hit in self.hits({"query": "red cat"})])
        answer = self.service.post("/v1/search", {"query": {"vector": vector[1:]}})
        self.assertEqual((answer.status, answer.json()["error"]["field"]), (422, "query.vector"))
        parts = [{"vector": vector}, {"vector": vector, "weight": -1}]
        self.assertEqual(self.service.post("/v1/search", {"query": parts}).status, 422)  # nothing is left

    def test_pages_fields_and_scores(self):
        whole = self.hits({"query": "old boat", "k": 50})
        pages = [hit for at in range(0, 50, 7) for hit in self.hits({"query": "old boat", "k": min(7, 50 - at), "offset": at})]
        self.same(pages, whole)
        self.assertEqual(self.hits({"query": "old boat", "offset": 1000}), [])
        for hit in self.hits({"query": "old boat", "fields": []}):
            self.assertEqual(list(hit), ["id", "score"])
        for hit in self.hits({"query": "old boat", "fields": ["text", "attributes"]}):
            self.assertEqual(list(hit), ["id", "score", "text", "attributes"])
        middle = (whole[9]["score"] + whole[10]["score"]) / 2
        self.same(self.hits({"query": "old boat", "k": 50, "min_score": middle}), whole[:10])

    def test_form(self):
        picture, sound = f"{self.folder}/new.png", f"{self.folder}/new.wav"
        body, kind = form({"query": "dog", "k": 4}, image=picture)
        answer = self.service.ask("POST", "/v1/search", body, {"Content-Type": kind})
        self.same(answer.json()["hits"], self.command("--text", "dog", "--image", picture, "-k", "4"))
        body, kind = form({"space": "audio"}, audio=sound)
        answer = self.service.ask("POST", "/v1/search", body, {"Content-Type": kind})
        self.same(answer.json()["hits"], self.command("--audio", sound, "--space", "audio"))
        self.assertEqual(self.service.ask("POST", "/v1/search", body[:-9], {"Content-Type": kind}).status, 400)

    def test_similar(self):
        for number in (0, 3, 4):
            one = item(number)["id"]
            path = f"/v1/items/{one.replace('/', '%2F')}/similar?k=6"
            self.same(self.service.get(path).json()["hits"], self.command("--item", one, "-k", "6"))
            self.assertNotIn(one, [hit["id"] for hit in self.service.get(path).json()["hits"]])
            # What is remembered of it is not the answer to a body that says the same.
            for body in (f"similar 6 {path[:-4]}", f"6 {path[:-4]}", path[:-4], path):
                self.assertEqual(self.service.post("/v1/search", body.encode()).status, 400)
        self.assertEqual(self.service.get("/v1/items/nobody/similar").status, 404)
        for k in ("0", "-1", "x", "", "1e1", "99999999999999999999"):
            self.assertEqual(self.service.get(f"/v1/items/a/similar?k={k}").status, 400)

    def test_what_cannot_be_found(self):
        for body, status, field in (({"query": {"item": "nobody"}}, 404, "query.item"),
                                    ({"query": {"image": base64.b64encode(b"no picture").decode()}}, 422, "query.image"),
                                    ({"query": ["a", {"text": "a", "weight": -1}]}, None, "query"),
                                    ({"query": {"audio": in_base64(f"{self.folder}/new.wav")}}, None, None)):
            answer = self.service.post("/v1/search", body)
            self.assertIn(answer.status, [status] if status else range(400, 500), answer.body)
            if field:
                self.assertEqual(answer.json()["error"]["field"], field)

    def test_many_at_once(self):
        """Whatever is encoded together: each gets what it gets alone. The answers of a service that remembers none and
        batches, against those of one that does neither."""
        bodies = [{"query": words, "k": 5} for one in self.items if (words := one.get("text"))]
        bodies += [{"query": {"image": in_base64(one["image"])}, "k": 5} for one in self.items if "image" in one]
        alone = self.serve("--answer-cache", 0, "--vector-cache", 0, "--batch", 1)
        expected = [self.hits(body, alone) for body in bodies]
        alone.end()
        service = self.serve("--answer-cache", 0, "--vector-cache", 0, "--batch-wait", 20)
        got = [None] * len(bodies)

        def ask(first):
            connection = service.connect()
            for at in range(first, len(bodies), 16):
                answer = service.ask("POST", "/v1/search", bodies[at], connection=connection)
                got[at] = answer.json().get("hits"), answer.status
            connection.close()

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for (hits, status), hoped in zip(got, expected, strict=True):
            self.assertEqual(status, 200)
            self.same(hits, hoped)
        service.end()


class Media(Served):
    def test_media(self):
        number = 6
        self.assertEqual(self.service.get("/v1/items/item%2F00006/image").status, 404)  # no --media-root
        outside = os.path.join(self.folder, "outside")
        os.mkdir(outside)
        shown = os.path.join(self.folder, "shown")
        os.mkdir(shown)
        write_picture(outside + "/p.png", 1)
        os.symlink(outside + "/p.png", shown + "/link.png")
        os.symlink(outside, shown + "/folder")
        os.symlink("self.png", shown + "/self.png")
        os.mkfifo(shown + "/pipe.png")
        os.mkdir(shown + "/directory.png")
        shutil.copy(f"{self.folder}/{number}.png", shown + "/fine.png")
        shutil.copy(f"{self.folder}/{number}.wav", shown + "/fine.wav")
        with open(shown + "/keys.png", "w", encoding="utf-8") as file:
            file.write("secret\n")
        with open(shown + "/large.wav", "wb") as file:
            file.write(b"RIFF....WAVE" + bytes(2 << 20))
        store, catalogue = f"{self.folder}/media-store", f"{self.folder}/media.jsonl"
        paths = {"fine": "/fine.png", "link": "/link.png", "folder": "/folder/p.png", "up": "/../outside/p.png",
                 "self": "/self.png", "pipe": "/pipe.png", "directory": "/directory.png", "keys": "/keys.png",
                 "gone": "/gone.png", "archived": "/shard.tar!/p.png"}
        os.mkdir(shown + "/shard.tar!")  # there is such a file, and nobody opens it
        shutil.copy(shown + "/fine.png", shown + "/shard.tar!/p.png")
        write_catalogue(catalogue, [{"id": name, "text": name, "image": shown + path} for name, path in paths.items()] +
                        [{"id": "sound", "text": "s", "audio": shown + "/fine.wav"},
                         {"id": "large", "text": "l", "audio": shown + "/large.wav"},
                         {"id": "host", "text": "h", "image": "/etc/hostname"},
                         {"id": "own", "text": "o", "image": "media/../data.mdb"},
                         {"id": "outside", "text": "o", "image": "media/../outside.png"}])
        code, _, err = run("ingest", catalogue, "--store", store, "--model", self.joint)
        self.assertIn(code, (0, 3), err)
        shutil.copy(outside + "/p.png", store + "/outside.png")
        os.makedirs(store + "/media", exist_ok=True)
        service = self.serve("--media-root", shown, store=store)
        answer = service.get("/v1/items/fine/image")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "image/png"))
        self.assertEqual(answer.body, read_file(shown + "/fine.png"))
        small = service.get("/v1/items/fine/image?size=16")
        self.assertEqual((small.status, small.headers["Content-Type"], small.body[:3]), (200, "image/jpeg", b"\xff\xd8\xff"))
        answer = service.get("/v1/items/sound/audio")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "audio/wav"))
        self.assertEqual(answer.body, read_file(shown + "/fine.wav"))
        for name in set(paths) - {"fine"} | {"host", "own", "outside", "nobody", "sound"}:
            answer = service.get(f"/v1/items/{name}/image")
            self.assertIn(answer.status, (404, 422), name)
            self.assertNotIn(b"secret", answer.body)
        self.assertIn(b"in an archive", service.get("/v1/items/archived/image").body)
        for size in ("15", "1025", "x"):
            self.assertEqual(service.get(f"/v1/items/fine/image?size={size}").status, 400)
        self.assertEqual(service.get("/v1/items/large/audio").body, read_file(shown + "/large.wav"))
        service.end()
        narrow = self.serve("--media-root", shown, "--max-bodies", 1, store=store)
        for _ in range(3):  # what is held is given back
            self.assertEqual(narrow.get("/v1/items/large/audio").status, 429)
            self.assertEqual(narrow.get("/v1/items/fine/image").status, 200)
        narrow.end()


class Changes(Served):
    def caught_up(self, service, sequence):
        stats = service.get("/v1/stats").json()
        spaces = [one["index"]["sequence"] for one in stats["spaces"].values() if one["index"]]
        return min(spaces) >= sequence

    def test_another_process_writes(self):
        """What is remembered is not an old answer."""
        store = f"{self.folder}/changing"
        shutil.copytree(self.store, store)
        service, second = (self.serve(store=store) for _ in range(2))
        bodies = [{"query": one["text"], "k": 5} for one in self.items[:8] if "text" in one]
        for round_ in range(3):
            for body in bodies:
                expected = self.command("--text", body["query"], "-k", "5", store=store)
                for one in (service, second):
                    for _ in range(2):
                        self.same(self.hits(body, one), expected)
            first = self.hits(bodies[round_], service)[0]["id"]
            self.assertEqual(run("delete", "--store", store, first)[0], 0)
            sequence = run_json("stats", "--store", store)["sequence"]
            for one in (service, second):
                self.assertNotIn(first, [hit["id"] for hit in self.hits(bodies[round_], one)])
                until(lambda one=one: self.caught_up(one, sequence), "the index takes it in")
        service.end()
        second.end()
        self.assertEqual(run_json("check", "--store", store)["problems"], [])

    def test_another_process_fuses(self):
        """Fused vectors come to be of another width by heads that the service was not given: items are found by items."""
        store, one = f"{self.folder}/fused", item(0)["id"]
        run_json("ingest", f"{self.folder}/catalogue.jsonl", "--store", store, *self.models)
        service = self.serve(store=store)
        spaces = service.get("/v1/stats").json()["spaces"]
        inputs = {name: spaces[name]["dimension"] for name in ("text", "image", "audio")}
        for dimension in (2, 16):
            heads = f"{self.folder}/heads-{dimension}"
            write_heads(heads, inputs, dict.fromkeys(inputs, 1), dimension)
            run_json("fuse", "--store", store, *self.models, "--fusion-model", heads)
            sequence = run_json("stats", "--store", store)["sequence"]
            until(lambda: self.caught_up(service, sequence), "the index is opened anew")
            similar = service.get(f"/v1/items/{one.replace('/', '%2F')}/similar").json()["hits"]
            self.same(similar, self.command("--item", one, store=store))
            self.same(self.hits({"query": [{"item": one}, {"item": item(3)["id"], "weight": -0.5}]}, service),
                      self.command("--item", one, "--not-item", item(3)["id"], store=store))
            self.assertEqual(service.post("/v1/search", {"query": "red cat"}).status, 409)
        service.end()

    def test_read_only(self):
        """Nothing is written, though another process changes the store; and there may be a place where nobody may."""
        store = f"{self.folder}/read"
        shutil.copytree(self.store, store)
        service = self.serve("--read-only", store=store)
        self.assertEqual(run("delete", "--store", store, item(0)["id"])[0], 0)
        sequence = run_json("stats", "--store", store)["sequence"]
        until(lambda: self.caught_up(service, sequence), "the index takes it in")
        files = {name: os.stat(f"{store}/{name}").st_mtime_ns for name in os.listdir(store) if not name.endswith(".mdb")}
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(TIMEOUT)
        self.assertNotIn("not saved", service.logged())  # it was not tried
        service.end()
        after = {name: os.stat(f"{store}/{name}").st_mtime_ns for name in os.listdir(store) if not name.endswith(".mdb")}
        self.assertEqual(after, files)

    def test_starts(self):
        folder = self.folder
        with open(folder + "/keys", "w", encoding="utf-8") as file:
            file.write("short read\n")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for words, arguments in (("there is no store", ("--store", folder + "/nowhere")),
                                     ("characters", ("--store", self.store, "--api-key-file", folder + "/keys")),
                                     ("cannot listen", ("--store", self.store, "--port", str(port))),
                                     ("cannot listen", ("--store", self.store, "--host", "no.such.host.invalid")),
                                     ("log", ("--store", self.store, "--access-log", folder + "/none/log"))):
                code, _, err = run("serve", *arguments)
                self.assertEqual((code, "magpie: " in err), (1, True), (arguments, err))
                if words != "there is no store":
                    self.assertIn(words, err)
        # Without models items are found by items, in an empty store nothing is; both are ready.
        bare = Service(self.store)
        self.assertEqual(bare.post("/v1/search", {"query": {"item": item(0)["id"]}}).status, 200)
        self.assertEqual(bare.post("/v1/search", {"query": "red"}).status, 422)
        answer = bare.post("/v1/search", {"query": {"item": item(0)["id"]}, "explain": True})
        self.assertEqual((answer.status, answer.json()["error"]["field"]), (422, "explain"))
        bare.end()
        empty = Service(folder + "/empty", "--create")
        self.assertEqual(empty.get("/readyz").status, 200)
        self.assertIn(empty.post("/v1/search", {"query": {"vector": [1, 2]}}).status, (409, 422))
        self.assertEqual(empty.post("/v1/recommend", {"user": "u"}).json()["hits"], [])
        empty.end()

    def test_precedence(self):
        """The command line goes before the environment, that before the file."""
        config = self.folder + "/config"
        with open(config, "w", encoding="utf-8") as file:
            file.write("# limits\nmax-k = 7\nmax-body = 2\n")
        for arguments, env, most in ((("--config", config), {}, 7),
                                     (("--config", config), {"MAGPIE_MAX_K": "8"}, 8),
                                     (("--config", config, "--max-k", "9"), {"MAGPIE_MAX_K": "8"}, 9)):
            service = Service(self.store, *arguments, env={**NO_MODELS, **env})
            query = {"query": {"item": item(0)["id"]}}
            self.assertEqual(service.post("/v1/search", {**query, "k": most}).status, 200)
            answer = service.post("/v1/search", {**query, "k": most + 1})
            self.assertIn(f"from 1 to {most}", answer.json()["error"]["message"])
            service.end()

    def test_hangup_under_load(self):
        """Models are opened anew, five times, and every request is answered."""
        log = self.folder + "/log"
        service = self.serve("--access-log", log, "--answer-cache", 0, "--vector-cache", 0)
        expected, ended, wrong, counts = self.command("--text", "red cat"), threading.Event(), [], []

        def ask():
            connection, n = service.connect(), 0
            while not ended.is_set():
                answer = service.ask("POST", "/v1/search", {"query": "red cat"}, connection=connection)
                n += 1
                if answer.status != 200 or [h["id"] for h in answer.json()["hits"]] != [h["id"] for h in expected]:
                    wrong.append(answer.body)
            counts.append(n)
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(1, 6):
            if number == 3:
                os.rename(log, log + ".1")  # as logrotate does
            service.process.send_signal(signal.SIGHUP)

            def opened(number=number):
                files = [read_file(name) for name in (log, log + ".1") if os.path.exists(name)]
                return sum(text.count(b"models were opened anew") for text in files) >= number
            until(opened, "models are opened")
        ended.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(min(counts), 0)
        self.assertTrue(os.path.getsize(log))
        service.end()

    def test_end_drains(self):
        """A request whose body is on its way when the signal comes is answered; new ones are not taken."""
        service = self.serve()
        connections = [service.connect() for _ in range(8)]
        body = json.dumps({"query": "red cat"}).encode()
        for connection in connections:
            connection.putrequest("POST", "/v1/search")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:5])
        until(lambda: re.search(r"^magpie_connections (\d+)", service.get("/metrics").body.decode(), re.M)[1] >= "9",
              "all have come")
        service.process.send_signal(signal.SIGTERM)

        def refuses():
            try:
                service.open_socket().close()
            except ConnectionRefusedError:
                return True
            return False
        until(refuses, "it takes nobody any more")
        expected = self.command("--text", "red cat")
        for connection in connections:
            connection.send(body[5:])
            answer = Answer(connection.getresponse())
            self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
            self.same(answer.json()["hits"], expected)
            connection.close()
        service.end()

    def test_end_under_load(self):
        """Whenever the signal comes, it ends as it should; more than once, for what it meets is chance."""
        for _ in range(5):
            service = self.serve("--answer-cache", 0, "--vector-cache", 0)
            asked = threading.Barrier(9)

            def ask(service=service, asked=asked):
                connection, first = service.connect(), True
                try:
                    while True:
                        service.ask("POST", "/v1/recommend", {"items": [item(0)["id"]]}, connection=connection)
                        service.ask("POST", "/v1/search", {"query": "dog"}, connection=connection)
                        if first:
                            asked.wait()
                        first = False
                except OSError:
                    pass

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            asked.wait()
            service.end()
            for thread in threads:
                thread.join()


class Metrics(Served):
    LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? '
                      r'([+-]?(?:[0-9.]+(?:e[+-]?[0-9]+)?|Inf|NaN))')

    def test_prometheus_text(self):
        for body in ("dog", "cat", "dog"):
            self.hits({"query": body})
        self.service.get("/nowhere")
        counted = b'path="/v1/search",status="2xx"} 3\n'
        until(lambda: counted in self.service.get("/metrics").body, "a request is counted when its answer has gone")
        answer = self.service.get("/metrics")
        self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        types, helped, samples, family = {}, set(), {}, None
        for line in answer.body.decode().splitlines():
            if line.startswith("# HELP "):
                family = line.split()[2]
                self.assertNotIn(family, helped)
                helped.add(family)
            elif line.startswith("# TYPE "):
                self.assertEqual(line.split()[2], family)
                types[family] = line.split()[3]
            else:
                match = self.LINE.fullmatch(line)
                self.assertTrue(match, line)
                name, labels = match[1], tuple(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                base = re.sub("_(bucket|sum|count)$", "", name) if types[family] == "histogram" else name
                self.assertEqual(base, family, line)
                self.assertNotIn((name, labels), samples)
                samples[name, labels] = float(match[3])
        self.assertEqual(set(types), helped)
        self.assertLessEqual({"magpie_requests_total", "magpie_request_seconds", "magpie_stage_seconds",
                              "magpie_batch_size", "magpie_queue_depth", "magpie_cache_lookups_total", "magpie_index_bytes",
                              "magpie_tombstones", "magpie_resident_bytes"}, helped)
        self.check_histograms(types, samples)
        searches = dict(method="POST", path="/v1/search", status="2xx")
        self.assertEqual(samples["magpie_requests_total", tuple(searches.items())], 3)
        self.assertEqual(samples["magpie_items", ()], ITEMS)

    def check_histograms(self, types, samples):
        for family in (name for name, kind in types.items() if kind == "histogram"):
            rows = {}
            for (name, labels), value in samples.items():
                if name == family + "_bucket":
                    others = tuple(one for one in labels if one[0] != "le")
                    rows.setdefault(others, []).append((float(dict(labels)["le"]), value))
            for labels, buckets in rows.items():
                self.assertEqual(buckets, sorted(buckets))
                self.assertEqual([n for _, n in buckets], sorted(n for _, n in buckets))
                self.assertEqual(buckets[-1], (float("inf"), samples[family + "_count", labels]))
                self.assertGreaterEqual(samples[family + "_sum", labels], 0)


if __name__ == "__main__":
    unittest.main()
