"""The command's contracts, from outside: what it prints, what it returns, and that an error is one line that says what
to do. MAGPIE_BINARY names the command; run by ctest."""
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import (Case, binary, item, model_or_skip, run, run_json, write_catalogue,  # noqa: E402
                    write_model, write_picture, write_sound)

MODEL = model_or_skip()
ITEMS = 200
COMMANDS = ["ingest", "search", "classify", "get", "delete", "dedup", "stats", "check", "rebuild", "fuse", "encode",
            "import-vectors", "export", "backup", "tags", "train", "eval", "models"]


def lines_of(items):
    return "".join(json.dumps(one) + "\n" for one in items)


def read_npy(data):
    """Shape and rows, by the format's own description."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    size = struct.unpack("<H", data[8:10])[0]
    assert (10 + size) % 64 == 0 and data[10 + size - 1:10 + size] == b"\n"
    header = eval(data[10:10 + size], {"__builtins__": {}})
    assert header["descr"] == "<f4" and header["fortran_order"] is False
    n, dimension = header["shape"]
    values = struct.unpack(f"<{n * dimension}f", data[10 + size:])
    return [values[i * dimension:(i + 1) * dimension] for i in range(n)]


class WithoutStore(Case):
    def test_help_of_each(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        for name in COMMANDS:
            self.assertIn(f"  {name} ", out)
            code, text, err = run(name, "--help")
            self.assertEqual((code, err), (0, ""))
            self.assertLessEqual(max(map(len, text.splitlines())), 100, name)
            for words in (f"magpie {name} - ", "Usage:", "--help", "Exit codes:", "130"):
                self.assertIn(words, text)
        self.assertRegex(run("--version")[1], r"^magpie \d+\.\d+\.\d+\n$")

    def test_misuse(self):
        self.fails(2, "a command is needed")
        self.fails(2, 'no command "fly"', "fly")
        self.fails(2, "--store DIR is needed", "stats")
        self.fails(2, "CATALOGUE... is needed", "ingest", "--store", "x")
        self.fails(2, "ID... is needed", "get", "--store", "x")
        self.fails(2, "no option --frob", "stats", "--frob")
        self.fails(2, "--store needs a value", "stats", "--store")
        self.fails(2, "options only", "stats", "--store", "x", "more")
        self.fails(2, "--text, --image, --audio or --item is needed", "search", "--store", "x")
        for query in (["--text", "a", "--item", "b"], ["--not-text", "a"], ["--image", "a", "--image", "b"]):
            self.fails(2, "a mix is for the fused space", "search", "--store", "x", "--space", "text", *query)
        self.fails(2, "--not-item: it is empty", "search", "--store", "x", "--not-item", "")
        self.fails(2, "--explain is for the fused", "search", "--store", "x", "--text", "a", "--space", "text", "--explain")
        for bad in ("image", "image=", "smell=1", "image=-1", "image=inf", "image=0x1", "image=0"):
            self.fails(2, "--weight: ", "search", "--store", "x", "--text", "a", "--weight", bad)
        for bad in ("item=1", "text=-1", "text"):
            self.fails(2, "--weight: ", "fuse", "--store", "x", "--weight", bad)
        self.fails(2, "fused, text, image or audio", "search", "--store", "x", "--text", "a", "--space", "outer")
        self.fails(2, "text, image or audio", "encode", "--model", MODEL, "--modality", "smell")
        self.fails(2, "--skip-bad", "encode", "--model", MODEL, "--format", "npy", "--skip-bad")
        for bad in ("0", "-1", "ten", "1e3", "", " 5", "16385", "99999999999999999999"):
            self.fails(2, "whole number from 1 to 16384", "search", "--store", "x", "--text", "a", "-k", bad)
        self.fails(2, "f32, bf16, f16, int8 or auto", "encode", "--model", MODEL, "--precision", "f8")
        for bad in ("abacus", "cpu:1", "opencl:", "opencl:x", "cuda:-1", "opencl:9999999"):
            self.fails(2, "opencl, opencl:N", "encode", "--model", MODEL, "--device", bad)
        self.fails(2, "jsonl or npy", "encode", "--model", MODEL, "--format", "csv")
        self.fails(2, "passage or query", "encode", "--model", MODEL, "--role", "king")
        self.fails(2, "auto, flat, hnsw or ivf", "rebuild", "--store", "x", "--index", "tree")
        self.fails(2, "info DIR", "models", "list", "x")

    def test_what_is_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            nowhere = os.path.join(folder, "none")
            for command in ("stats", "check", "rebuild"):
                self.fails(1, nowhere, command, "--store", nowhere)
            self.fails(1, nowhere, "ingest", "-", "--store", folder + "/s", "--model", nowhere)
            self.fails(1, "x.jsonl", "ingest", folder + "/x.jsonl", "--store", folder + "/s", "--model", MODEL)
            self.assertFalse(os.path.exists(folder + "/s"))
            self.fails(1, "MAGPIE_MODEL", "encode")
            self.fails(1, nowhere, "encode", nowhere, "--model", MODEL)

    def test_models_info(self):
        info = run_json("models", "info", MODEL)
        self.assertEqual((info["sense"], info["architecture"], info["dimension"], info["layers"]),
                         ("text", "bert", 384, 6))
        self.assertIn("dimension       384", run("models", "info", MODEL)[1])


class Encode(Case):
    def vectors(self, items, *arguments):
        code, out, err = run("encode", "--model", MODEL, "--precision", "f32", *arguments, stdin=lines_of(items))
        self.assertEqual((code, err), (0, ""))
        return [json.loads(line) for line in out.splitlines()]

    def test_order_and_length(self):
        items = [item(i) for i in range(1500)]  # more than a block of lines
        items[7]["text"] = ""
        items[9]["text"] = "long " * 3000
        vectors = self.vectors(items)
        self.assertEqual([v["id"] for v in vectors], [i["id"] for i in items])
        for v in vectors:
            self.assertEqual(list(v), ["id", "vector"])
            self.assertAlmostEqual(math.fsum(x * x for x in v["vector"]), 1, places=5)
        for at in (0, 7, 9, 1499):
            alone = self.vectors([items[at]])[0]["vector"]
            self.assertLess(max(abs(a - b) for a, b in zip(alone, vectors[at]["vector"])), 1e-5)

    def test_npy_is_jsonl(self):
        items = [item(i) for i in range(100)]
        vectors = self.vectors(items)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "v.npy")
            stdin = lines_of(items).encode()
            arguments = ("encode", "--model", MODEL, "--precision", "f32", "--format", "npy")
            _, piped, _ = run(*arguments, stdin=stdin, text=False)
            self.assertEqual(run(*arguments, "--output", path, stdin=stdin, text=False), (0, b"", b""))
            with open(path, "rb") as file:
                self.assertEqual(file.read(), piped)
            self.assertEqual(os.listdir(folder), ["v.npy"])
            rows = read_npy(piped)
            self.assertEqual(len(rows), len(items))
            for row, v in zip(rows, vectors):
                self.assertLess(max(abs(a - b) for a, b in zip(row, v["vector"])), 1e-10)
            self.assertEqual(read_npy(run(*arguments, stdin=b"", text=False)[1]), [])

    def test_bad_line_ends_the_run(self):
        items = [item(0), item(1)]
        for bad, words in (("", "broken JSON"), ("{", "broken JSON"), ('{"id": "a"}', "text is missing"),
                           ('{"text": "a"}', "id is missing")):
            stdin = lines_of(items) + bad + "\n" + lines_of(items)
            code, out, err = run("encode", "--model", MODEL, stdin=stdin)
            self.assertEqual(code, 1)
            self.assertEqual(len(out.splitlines()), 2)  # what came before is whole
            self.assertTrue(err.startswith("magpie: standard input, line 3: ") and words in err, err)
            code, out, err = run("encode", "--model", MODEL, "--skip-bad", stdin=stdin)
            self.assertEqual((code, len(out.splitlines())), (3, 4))
            self.assertIn("line 3", err)

    def test_failed_run_leaves_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            code, _, _ = run("encode", "--model", MODEL, "--output", folder + "/v", stdin="{\n")
            self.assertEqual((code, os.listdir(folder)), (1, []))

    def test_prefix(self):
        plain = dict(item(0), text="query: a cat")
        bare = dict(item(0), text="a cat")
        by_prefix = self.vectors([bare], "--role", "query", "--query-prefix", "query: ")
        self.assertEqual(by_prefix, self.vectors([plain]))
        self.assertNotEqual(by_prefix, self.vectors([bare], "--query-prefix", "query: "))

    def test_standard_output_that_fails(self):
        stdin = lines_of([item(i) for i in range(20)])
        with open("/dev/full", "w", encoding="utf-8") as full:
            for command in (["encode", "--model", MODEL], ["encode", "--model", MODEL, "--format", "npy"], ["--help"],
                            ["models", "info", MODEL]):
                done = subprocess.run([binary(), *command], input=stdin, stdout=full, stderr=subprocess.PIPE,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 1, command)
                self.assertEqual(done.stderr, "magpie: cannot write standard output: No space left on device\n")
        done = subprocess.run(["sh", "-c", f"'{binary()}' models info '{MODEL}' >&-"], stderr=subprocess.PIPE,
                              text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write standard output", done.stderr)

    def test_reader_that_leaves(self):
        with subprocess.Popen([binary(), "encode", "--model", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.close()
            process.stdin.write(lines_of([item(0)]).encode())
            process.stdin.close()
            err = process.stderr.read().decode()
        self.assertEqual((process.returncode, err), (1, "magpie: cannot write standard output: Broken pipe\n"))


class WithStore(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.items = [item(i) for i in range(ITEMS)]
        cls.items[5].update(image="five.png", audio="five.ogg", timestamp="2024-02-29T12:30:00+01:00")
        cls.items[6]["text"] = "tab\there \x1b[31m red \u4e2d\u6587 " + "very " * 80
        cls.catalogue = os.path.join(cls.folder.name, "catalogue.jsonl")
        write_catalogue(cls.catalogue, cls.items)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.own = tempfile.TemporaryDirectory(dir=self.folder.name)
        self.store = os.path.join(self.own.name, "store")
        self.ingested = run_json("ingest", self.catalogue, "--store", self.store, "--model", MODEL,
                                 "--precision", "f32")

    def tearDown(self):
        self.own.cleanup()

    def search(self, *arguments, **more):
        return run_json("search", "--store", self.store, "--model", MODEL, "--precision", "f32", *arguments, **more)

    def ids(self, *arguments):
        return [hit["id"] for hit in self.search(*arguments)["hits"]]

    def test_ingest_reports(self):
        self.assertEqual(self.ingested["encoded"], ITEMS)
        self.assertIsNone(self.ingested["rejects"])
        again = run_json("ingest", self.catalogue, "--store", self.store, "--model", MODEL)
        self.assertEqual((again["encoded"], again["unchanged"], again["committed"]), (0, ITEMS, 0))
        code, out, err = run("ingest", self.catalogue, "--store", self.store, "--model", MODEL)
        self.assertEqual((code, err), (0, ""))
        self.assertIn(f"{ITEMS} lines: 0 encoded, 0 updated, {ITEMS} unchanged, 0 rejected", out)

    def test_ingest_acknowledges_and_rejects(self):
        store, rejects = self.own.name + "/other", self.own.name + "/bad.jsonl"
        stdin = lines_of(self.items[:30]) + "{\n" + lines_of(self.items[30:40])
        arguments = ("ingest", "-", "--store", store, "--model", MODEL, "--rejects", rejects, "--acknowledge")
        code, out, err = run(*arguments, stdin=stdin)
        self.assertEqual(code, 3)
        self.assertEqual(out.splitlines(), [i["id"] for i in self.items[:40]])
        self.assertIn("1 rejected", err)
        with open(rejects, encoding="utf-8") as file:
            bad = [json.loads(line) for line in file]
        self.assertEqual([(b["line"], b["start"]) for b in bad], [(31, "{")])
        code, out, _ = run(*arguments, "--json", stdin=lines_of(self.items[39:42]))
        answers = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(answers[:2], [{"id": i["id"]} for i in self.items[40:42]])
        self.assertEqual((code, answers[2]["unchanged"]), (0, 1))

    def test_ids_that_begin_with_a_dash(self):
        run_json("ingest", "-", "--store", self.store, "--model", MODEL, stdin=lines_of([dict(self.items[0], id="-x")]))
        code, out, _ = run("get", "--json", "--store", self.store, "--", "-x")
        self.assertEqual((code, json.loads(out)["id"]), (0, "-x"))

    def test_store_without_vectors(self):
        store = self.own.name + "/bare"
        arguments = ("ingest", "-", "--store", store, "--model", MODEL)
        self.assertEqual(run_json(*arguments, stdin="")["lines"], 0)
        for stdin in ('{"id": "a"}\n', ""):
            self.assertEqual(run_json(*arguments, stdin=stdin)["encoded"], 0)
            self.assertTrue(run_json("check", "--store", store)["ok"])
        self.assertEqual(run_json("search", "--store", store, "--model", MODEL, "--text", "a")["hits"], [])
        self.fails(3, "no vector", "search", "--store", store, "--item", "a")
        self.assertEqual(run_json("rebuild", "--store", store)["vectors"], 0)
        self.assertEqual(run_json("delete", "--store", store, "a")["deleted"], 1)

    def test_search_answers(self):
        answer = self.search("--text", self.items[5]["text"], "-k", "3")
        self.assertEqual(list(answer), ["hits", "took_ms"])
        self.assertEqual(len(answer["hits"]), 3)
        best = answer["hits"][0]
        self.assertAlmostEqual(best.pop("score"), 1, places=4)
        self.assertEqual(best, {**self.items[5], "timestamp": "2024-02-29T11:30:00.000Z"})
        scores = [hit["score"] for hit in answer["hits"][1:]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertIsNone(answer["hits"][1]["image"])

    def test_search_variants(self):
        text = ("--text", self.items[3]["text"])
        everything = self.ids(*text, "-k", ITEMS + 50)
        self.assertEqual(len(everything), ITEMS)
        self.assertEqual(self.ids(*text, "--exact"), everything[:10])
        red = {"key": "colour", "match": {"value": "red"}}
        wanted = [i for i in everything if self.items[int(i[-5:])]["attributes"]["colour"] == "red"]
        self.assertEqual(self.ids(*text, "-k", ITEMS, "--filter", json.dumps(red)), wanted)
        with open(self.own.name + "/filter.json", "w", encoding="utf-8") as file:
            json.dump(red, file)
        self.assertEqual(self.ids(*text, "-k", ITEMS, "--filter", "@" + file.name), wanted)
        like = self.ids("--item", self.items[3]["id"], "-k", ITEMS)
        self.assertEqual([self.items[3]["id"], *like], everything)

    def test_search_errors(self):
        arguments = ("search", "--store", self.store, "--model", MODEL)
        self.fails(1, "filter", *arguments, "--text", "a", "--filter", '{"must": 1}')
        self.fails(1, "none.json", *arguments, "--text", "a", "--filter", "@/none.json")
        self.fails(3, "nobody", *arguments, "--item", "nobody")
        broken = b"a\xff".decode("utf-8", "surrogateescape")
        self.fails(1, "--text: text is not UTF-8 at byte 1", *arguments, "--text", broken)

    def test_other_model_is_refused(self):
        other = self.own.name + "/other-model"
        shutil.copytree(MODEL, other, copy_function=os.symlink)
        os.remove(other + "/sentence_bert_config.json")
        with open(other + "/sentence_bert_config.json", "w", encoding="utf-8") as file:
            file.write('{"max_seq_length": 32, "do_lower_case": false}')
        for command in (["search", "--text", "a"], ["ingest", self.catalogue]):
            self.fails(1, "other-model", *command, "--store", self.store, "--model", other)

    def test_table_is_for_people(self):
        code, out, err = run("search", "--store", self.store, "--model", MODEL, "--text", "red", "-k", str(ITEMS))
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(len(out.splitlines()), ITEMS + 1)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("\t", out)
        self.assertLessEqual(max(map(len, out.splitlines())), 100)

    def test_get(self):
        code, out, err = run("get", "--store", self.store, "--json", self.items[5]["id"], "nobody", self.items[7]["id"])
        self.assertEqual(code, 3)
        five, seven = map(json.loads, out.splitlines())
        expected = {**self.items[5], "timestamp": "2024-02-29T11:30:00.000Z", "vectors": ["fused", "text"],
                    "problems": None}
        self.assertEqual({key: five[key] for key in expected}, expected)
        self.assertEqual(seven["id"], self.items[7]["id"])
        self.assertTrue(err.startswith("magpie: ") and "nobody" in err and err.count("\n") == 1, err)
        self.assertIn("text        " + self.items[7]["text"], run("get", "--store", self.store, self.items[7]["id"])[1])

    def test_delete(self):
        gone = [i["id"] for i in self.items[:50]]
        self.assertEqual(run_json("delete", "--store", self.store, *gone), {"deleted": 50, "missing": 0})
        self.assertEqual(run_json("delete", "--store", self.store, gone[0], self.items[60]["id"], expected=3),
                         {"deleted": 1, "missing": 1})
        left = {i["id"] for i in self.items[50:]} - {self.items[60]["id"]}
        self.assertEqual(set(self.ids("--text", "red", "-k", ITEMS)), left)
        stats = run_json("stats", "--store", self.store)
        index = stats["spaces"]["fused"]["index"]
        self.assertEqual((stats["items"], index["loaded"], index["replayed"]), (ITEMS - 51, True, 0))
        self.assertTrue(run_json("check", "--store", self.store)["ok"])
        again = run_json("ingest", self.catalogue, "--store", self.store, "--model", MODEL)
        self.assertEqual((again["encoded"], again["unchanged"]), (51, ITEMS - 51))

    def test_stats_check_rebuild(self):
        stats = run_json("stats", "--store", self.store)
        self.assertEqual((stats["items"], stats["spaces"]["fused"]["dimension"]), (ITEMS, 384))
        self.assertEqual(stats["spaces"]["fused"]["index"]["kind"], "flat")
        self.assertIsNone(stats["spaces"]["text"]["index"])
        self.assertIn(f"items       {ITEMS}\n", run("stats", "--store", self.store)[1])
        found = self.ids("--text", "red")
        self.assertEqual(run_json("rebuild", "--store", self.store, "--index", "hnsw")["kind"], "hnsw")
        self.assertEqual(run_json("stats", "--store", self.store)["spaces"]["fused"]["index"]["kind"], "hnsw")
        self.assertEqual(self.ids("--text", "red"), found)
        self.assertEqual(self.ids("--text", "red", "--space", "text"), found)
        self.fails(1, "image space", "rebuild", "--store", self.store, "--space", "image")
        check = run_json("check", "--store", self.store)
        self.assertEqual((check["ok"], check["items"], check["indexed"], check["problems"]), (True, ITEMS, ITEMS, []))
        self.assertIn("sound: ", run("check", "--store", self.store)[1])
        self.assertEqual(run_json("rebuild", "--store", self.store, "--space", "text")["space"], "text")
        self.assertEqual(run_json("stats", "--store", self.store)["spaces"]["text"]["index"]["vectors"], ITEMS)
        self.assertEqual(run_json("check", "--store", self.store)["indexed"], 2 * ITEMS)
        self.assertEqual(self.ids("--text", "red", "--space", "text"), found)

    def test_check_finds_damage(self):
        """Bytes of a stored text are changed behind the store's back."""
        path = os.path.join(self.store, "data.mdb")
        with open(path, "r+b") as file:
            data = file.read()
            at = data.rfind(self.items[100]["text"].encode())
            self.assertGreater(at, 0)
            file.seek(at)
            file.write(b"\x00damaged")
        code, out, err = run("check", "--store", self.store)
        self.assertEqual(code, 4, err)
        self.assertTrue(out.startswith("damaged: ") and self.items[100]["id"] in err, err)
        self.assertNotEqual(run_json("check", "--store", self.store, expected=4)["problems"], [])

    def test_progress_is_for_terminals(self):
        try:
            primary, secondary = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminals here: {error}")
        store = self.own.name + "/watched"
        arguments = ["ingest", self.catalogue, "--store", store, "--model", MODEL, "--commit", "20"]
        done = subprocess.run([binary(), *arguments], stdout=subprocess.DEVNULL, stderr=secondary, check=False)
        os.close(secondary)
        shown = os.read(primary, 1 << 16).decode()
        os.close(primary)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(shown, r"\[#+\.*\] +\d+%  \d+ items, \d+/s")
        self.assertTrue(shown.endswith("\r\x1b[K"))

    def test_interrupted_ingest(self):
        store = self.own.name + "/interrupted"
        arguments = ["ingest", self.catalogue, "--store", store, "--model", MODEL, "--commit", "10", "--acknowledge"]
        with subprocess.Popen([binary(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            acknowledged = [process.stdout.readline().strip()]
            process.terminate()
            acknowledged += process.stdout.read().splitlines()
            err = process.stderr.read()
        self.assertEqual(process.returncode, 130)
        self.assertIn("goes on from there", err)
        self.assertEqual(run_json("stats", "--store", store)["items"], len(acknowledged))
        rest = run_json("ingest", self.catalogue, "--store", store, "--model", MODEL)
        self.assertEqual((rest["encoded"], rest["resumed_at"]), (ITEMS - len(acknowledged), len(acknowledged)))


class WithFiles:
    """A store of texts and of files of one kind, by two models; item 3 has a broken file, 4 none, 5 no text. For either
    kind the same holds."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.own_model = write_model(cls.kind, f"{cls.folder.name}/{cls.things}-1")
        cls.other_model = write_model(cls.kind, f"{cls.folder.name}/{cls.things}-2", 2)
        cls.items = [dict(item(i), **{cls.kind: f"files/{i}.{cls.ending}"}) for i in range(20)]
        os.mkdir(cls.folder.name + "/files")
        for i in range(20):
            cls.write(cls.path(i), i)
        with open(cls.path(3), "w", encoding="utf-8") as file:
            file.write("neither picture nor sound")
        del cls.items[4][cls.kind], cls.items[5]["text"]
        cls.catalogue = os.path.join(cls.folder.name, "catalogue.jsonl")
        write_catalogue(cls.catalogue, cls.items)
        cls.option, cls.variable = f"--{cls.kind}-model", f"MAGPIE_{cls.kind.upper()}_MODEL"
        cls.models = ("--model", MODEL, cls.option, cls.own_model, "--precision", "f32")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, i):
        return f"{cls.folder.name}/files/{i}.{cls.ending}"

    def setUp(self):
        self.own = tempfile.TemporaryDirectory(dir=self.folder.name)
        self.store = os.path.join(self.own.name, "store")
        self.ingested = run_json("ingest", self.catalogue, "--store", self.store, *self.models, expected=3)

    def tearDown(self):
        self.own.cleanup()

    def search(self, *arguments):
        return run_json("search", "--store", self.store, *self.models, *arguments)["hits"]

    def get(self, i):
        return run_json("get", "--store", self.store, self.items[i]["id"])

    def test_ingest(self):
        self.assertEqual((self.ingested["encoded"], self.ingested["rejected"]), (20, 0))
        self.assertEqual(self.ingested[self.things], {"encoded": 18, "refused": 1})
        with open(self.store + "/rejects.jsonl", encoding="utf-8") as file:
            refused = [json.loads(line) for line in file]
        self.assertEqual([(r["line"], r["id"], r["modality"], r["kept"]) for r in refused],
                         [(4, self.items[3]["id"], self.kind, True)])
        self.assertEqual(self.ingested["rejects"], self.store + "/rejects.jsonl")
        code, out, _ = run("ingest", self.catalogue, "--store", self.store, *self.models)
        self.assertEqual(code, 3)
        self.assertIn("20 lines: 0 encoded, 0 updated, 20 unchanged, 0 rejected\n"
                      f"{self.things}: 0 encoded, 1 refused\n", out)
        plain = run_json("ingest", self.catalogue, "--store", self.store, "--model", MODEL)
        self.assertEqual((plain["unchanged"], plain[self.things]), (20, {"encoded": 0, "refused": 0}))

    def test_model_by_environment_and_later(self):
        store = self.own.name + "/texts"
        self.assertEqual(run_json("ingest", self.catalogue, "--store", store, "--model", MODEL)["encoded"], 19)
        env = {"MAGPIE_MODEL": MODEL, self.variable: self.own_model}
        later = run_json("ingest", self.catalogue, "--store", store, expected=3, env=env)
        self.assertEqual((later["encoded"], later[self.things]["encoded"], later["unchanged"]), (18, 18, 1))
        alone = run_json("ingest", self.catalogue, "--store", self.own.name + "/alone", "--model", self.own_model,
                         expected=3)
        self.assertEqual(alone["encoded"], 18)
        self.assertTrue(run_json("check", "--store", self.own.name + "/alone")["ok"])

    def test_get(self):
        self.assertEqual([self.get(i)["vectors"] for i in (0, 3, 4, 5)],
                         [["fused", "text", self.kind], ["fused", "text"], ["fused", "text"], [self.kind]])
        self.assertEqual([self.get(i)["problems"] for i in (0, 4)], [None, None])
        self.assertTrue(self.get(3)["problems"].startswith(self.kind + ": "))
        out = run("get", "--store", self.store, self.items[3]["id"])[1]
        self.assertIn("vectors     fused, text\n", out)
        self.assertIn(f"problems    {self.kind}: ", out)

    def test_search(self):
        best = self.search(self.query, self.path(7))[0]
        self.assertEqual(best["id"], self.items[7]["id"])
        self.assertAlmostEqual(best["score"], 1, places=4)
        hits = self.search(self.query, self.path(7), "-k", "100")
        self.assertEqual({h["id"] for h in hits}, {one["id"] for i, one in enumerate(self.items) if i not in (3, 4)})
        like = self.search("--item", self.items[7]["id"], "--space", self.kind, "-k", "100")
        self.assertEqual([hit["id"] for hit in like], [hit["id"] for hit in hits[1:]])
        self.assertEqual(self.search("--text", self.items[9]["text"])[0]["id"], self.items[9]["id"])
        for space in ("fused", "text"):
            self.assertEqual(len(self.search("--text", "red", "--space", space, "-k", "100")), 19)
        blue = {"key": "colour", "match": {"value": "blue"}}
        found = self.search(self.query, self.path(7), "-k", "100", "--filter", json.dumps(blue))
        self.assertEqual([hit["id"] for hit in found], [h["id"] for h in hits if h["attributes"]["colour"] == "blue"])
        table = run("search", "--store", self.store, *self.models, self.query, self.path(5))[1]
        self.assertIn(f"files/5.{self.ending}", table)  # of an item without text

    def test_search_errors(self):
        search = ("search", "--store", self.store)
        self.fails(1, "joint model", *search, *self.models, "--text", "a", "--space", self.kind)
        self.fails(1, "joint model", *search, *self.models, self.query, self.path(1), "--space", "text")
        self.fails(1, f"no model of {self.things} is given: name it by {self.option} DIR", *search, "--model", MODEL,
                   self.query, self.path(1), env={self.variable: ""})
        self.fails(1, self.things + "-2", *search, self.option, self.other_model, self.query, self.path(1))
        self.fails(1, f"3.{self.ending}", *search, *self.models, self.query, self.path(3))
        self.fails(1, "none.file", *search, *self.models, self.query, "/none.file")
        self.fails(3, "no vector in the fused space", *search, "--item", self.items[5]["id"])
        self.fails(1, self.things + "-2", "ingest", self.catalogue, "--store", self.store, self.option,
                   self.other_model)

    def test_spaces_are_looked_after(self):
        spaces = run_json("stats", "--store", self.store)["spaces"]
        self.assertEqual({name: space["vectors"] for name, space in spaces.items()},
                         {"fused": 19, "text": 19, self.kind: 18})
        own = spaces[self.kind]
        self.assertEqual((own["model"], own["index"]["vectors"]), (self.things + "-1", 18))
        self.assertTrue({"fused.index", self.kind + ".index"} <= set(os.listdir(self.store)))
        self.assertRegex(run("stats", "--store", self.store)[1],
                         self.kind + r" +18 vectors x \d+ by " + self.things + r"-1\n +index: flat")
        self.assertEqual(run_json("check", "--store", self.store)["indexed"], 19 + 18)
        self.assertEqual(run_json("delete", "--store", self.store, self.items[7]["id"])["deleted"], 1)
        found = [hit["id"] for hit in self.search(self.query, self.path(7), "-k", "100")]
        self.assertNotIn(self.items[7]["id"], found)
        self.assertEqual(run_json("check", "--store", self.store)["indexed"], 18 + 17)
        os.remove(f"{self.store}/{self.kind}.index")
        self.assertEqual(len(self.search(self.query, self.path(7), "-k", "100")), 17)
        code, out, _ = run("rebuild", "--store", self.store, "--json")
        self.assertEqual((code, [json.loads(line)["space"] for line in out.splitlines()]), (0, ["fused", self.kind]))
        own = run_json("stats", "--store", self.store)["spaces"][self.kind]["index"]
        self.assertEqual((own["loaded"], own["vectors"], own["dead"]), (True, 17, 0))

    def test_encode(self):
        env = {"MAGPIE_MODEL": ""}
        files = [one for one in self.items if self.kind in one]
        path = self.folder.name + "/files.jsonl"  # beside the catalogue: paths are relative to it
        write_catalogue(path, files)
        arguments = ("encode", path, self.option, self.own_model, "--precision", "f32")
        code, out, err = run(*arguments, env=env)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual((code, [line["id"] for line in lines]), (3, [one["id"] for one in files]))
        self.assertEqual(err, f"magpie: 1 {self.things} could not be encoded; their lines say why\n")
        self.assertEqual(list(lines[3]), ["id", "error"])
        self.assertIn(f"3.{self.ending}", lines[3]["error"])
        for line in lines[:3] + lines[4:]:
            self.assertAlmostEqual(math.fsum(x * x for x in line["vector"]), 1, places=5)
        self.fails(1, "files.jsonl, line 4: ", *arguments, "--format", "npy", env=env)
        write_catalogue(path, files[:3])
        rows = read_npy(run(*arguments, "--format", "npy", text=False, env=env)[1])
        for row, line in zip(rows, lines):
            self.assertLess(max(abs(a - b) for a, b in zip(row, line["vector"])), 1e-5)
        stdin = lines_of([dict(self.items[0], **{self.kind: self.path(0)})])  # absolute, and of two models one is meant
        self.fails(1, "--modality", "encode", *self.models, stdin=stdin)
        for modality, option, model in (("text", "--model", MODEL), (self.kind, self.option, self.own_model)):
            both = run("encode", *self.models, "--modality", modality, stdin=stdin)
            alone = run("encode", option, model, "--precision", "f32", stdin=stdin)
            self.assertEqual((both[0], both), (0, alone))
        self.fails(1, f"line 1: {self.kind} is missing", "encode", self.option, self.own_model,
                   stdin=lines_of([self.items[4]]), env=env)
        self.fails(1, f"no model of {self.things} is given", "encode", "--model", MODEL, "--modality", self.kind,
                   stdin=stdin)


class WithPictures(WithFiles, Case):
    kind, things, ending, query, write = "image", "pictures", "png", "--image", staticmethod(write_picture)

    def test_models_info(self):
        info = run_json("models", "info", self.own_model)
        self.assertEqual((info["sense"], info["name"], info["input_size"]), ("image", "pictures-1", 32))
        self.assertEqual([len(info[key]) for key in ("mean", "std")], [3, 3])
        self.assertIn("input_size      32\n", run("models", "info", self.own_model)[1])

    def test_int8(self):
        stdin = lines_of([dict(self.items[i], image=self.path(i)) for i in (0, 1, 2)])

        def vectors(precision):
            _, out, err = run("encode", "--image-model", self.own_model, "--modality", "image",
                              "--precision", precision, stdin=stdin, env={"MAGPIE_MODEL": ""})
            return [json.loads(line)["vector"] for line in out.splitlines()], err

        _, err = vectors("int8")
        if "VNNI" in err or "oneDNN" in err:
            self.skipTest(err)
        self.assertIn("models calibrate", err)
        calibrate = ["models", "calibrate", self.own_model]
        self.fails(2, "PICTURE", *calibrate)
        self.fails(1, "3.png", *calibrate, self.path(0), self.path(3))
        self.assertEqual(run_json(*calibrate, *map(self.path, (0, 1, 2))), {"pictures": 3})
        for a, b in zip(vectors("f32")[0], vectors("int8")[0], strict=True):
            self.assertGreater(sum(x * y for x, y in zip(a, b)), 0.999)


class WithSounds(WithFiles, Case):
    kind, things, ending, query, write = "audio", "sounds", "wav", "--audio", staticmethod(write_sound)

    def test_models_info(self):
        info = run_json("models", "info", self.own_model)
        self.assertEqual(list(info), ["sense", "name", "architecture", "fingerprint", "dimension", "layers", "sample_rate",
                                      "bands", "frames", "window_seconds", "audio_seconds", "tags", "parameters",
                                      "backend", "precision", "threads"])
        self.assertEqual((info["sense"], info["name"], info["architecture"], info["sample_rate"], info["bands"],
                          info["frames"], info["window_seconds"], info["audio_seconds"], info["tags"]),
                         ("audio", "sounds-1", "ast", 16000, 64, 128, 1.28, 600, 0))
        self.assertIn("audio_seconds   600\n", run("models", "info", self.own_model)[1])
        self.assertEqual(run_json("models", "info", self.own_model, "--audio-seconds", "all")["audio_seconds"], "all")

    def test_seconds_that_are_heard(self):
        path = self.folder.name + "/long.wav"
        write_sound(path, 99, 3)
        stdin = lines_of([{"id": "long", "audio": path}])

        def vector(*seconds):
            code, out, err = run("encode", "--audio-model", self.own_model, "--precision", "f32", *seconds, stdin=stdin)
            self.assertEqual((code, err), (0, ""))
            return json.loads(out)["vector"]

        whole, beginning = vector(), vector("--audio-seconds", "1.1")
        self.assertEqual(vector("--audio-seconds", "all"), whole)
        self.assertEqual(vector("--audio-seconds", "3"), whole)
        self.assertGreater(max(abs(a - b) for a, b in zip(whole, beginning)), 1e-4)
        for bad in ("0", "-1", "inf", "nan", "1e3", "0x9", "", "1.2.3", "ten"):
            self.fails(2, "all or a number of seconds", "encode", "--audio-model", self.own_model, "--audio-seconds", bad)

    def test_int8_is_for_pictures(self):
        stdin = lines_of([dict(self.items[0], audio=self.path(0))])
        encode = ("encode", "--audio-model", self.own_model, "--precision")
        by = {p: run(*encode, p, stdin=stdin) for p in ("int8", "auto")}
        self.assertEqual((by["int8"][0], by["int8"]), (0, by["auto"]))

    def test_picture_and_sound_are_both_bad(self):
        image_model = write_model("image", self.own.name + "/image-model")
        lines = [dict(self.items[0], image="none.png", audio="none.wav")]
        path = self.own.name + "/both.jsonl"
        write_catalogue(path, lines)
        arguments = ("ingest", path, "--store", self.store, *self.models, "--image-model", image_model)
        report = run_json(*arguments, expected=3)
        self.assertEqual([report[things] for things in ("pictures", "sounds")], [{"encoded": 0, "refused": 1}] * 2)
        self.assertRegex(self.get(0)["problems"], r"^image: .*none\.png.*\naudio: .*none\.wav[^\n]*$")
        out = run("get", "--store", self.store, lines[0]["id"])[1]
        self.assertRegex(out, r"\nproblems    image: [^\n]*\n            audio: [^\n]*\n")
        write_picture(self.own.name + "/none.png", 1)
        report = run_json(*arguments, expected=3)
        self.assertEqual([report[things] for things in ("pictures", "sounds")],
                         [{"encoded": 1, "refused": 0}, {"encoded": 0, "refused": 1}])
        self.assertRegex(self.get(0)["problems"], r"^audio: [^\n]*$")

    def test_tags_of_a_model_without(self):
        tags = ("tags", "--audio", self.path(0))
        self.fails(1, "sounds-1 has no tags", *tags, "--audio-model", self.own_model)
        self.fails(1, "no model of sounds is given: name it by --audio-model DIR", *tags, "--model", MODEL)
        self.fails(1, "MAGPIE_MODEL", *tags)
        self.fails(2, "--audio FILE is needed", "tags", "--audio-model", self.own_model)

    def test_tags(self):
        model = write_model("audio", self.own.name + "/tags", 1, "musicnn-small")
        path = self.own.name + "/sound.wav"
        write_sound(path, 5, 4)
        tags = ("tags", "--audio", path, "--audio-model", model)
        known = run_json("models", "info", model)["tags"]
        answer = run_json(*tags, "-k", known + 5)
        self.assertEqual(list(answer), ["tags", "took_ms"])
        self.assertEqual((len(answer["tags"]), len({one["tag"] for one in answer["tags"]})), (known, known))
        chances = [one["probability"] for one in answer["tags"]]
        self.assertEqual(chances, sorted(chances, reverse=True))
        self.assertTrue(all(0 <= chance <= 1 for chance in chances))
        self.assertEqual(run_json(*tags)["tags"], answer["tags"][:10])
        self.assertEqual(run_json(*tags, "-k", 2)["tags"], answer["tags"][:2])
        code, out, err = run(*tags, "-k", 2)
        self.assertEqual((code, err), (0, ""))
        for line, one in zip(out.splitlines(), answer["tags"][:2], strict=True):
            self.assertRegex(line, rf"{one['probability']:.4f}  {re.escape(one['tag'])}$")
        self.fails(1, f"3.{self.ending}", "tags", "--audio", self.path(3), "--audio-model", model)
        self.fails(1, "/none.wav", "tags", "--audio", "/none.wav", "--audio-model", model)
        with open(model + "/config.json", encoding="utf-8") as file:
            names = set(json.load(file)["id2label"].values())
        self.assertEqual({one["tag"] for one in answer["tags"]}, names)


class Joint(Case):
    """One model for texts and pictures: a small CLIP."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = write_model("image", cls.folder.name + "/joint", 1, "clip-small")
        cls.pictures = [f"{cls.folder.name}/{i}.png" for i in range(4)]
        for i, path in enumerate(cls.pictures):
            write_picture(path, i)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_mixed_lines(self):
        lines = [{"id": f"t{i}", "text": f"a thing {i}"} for i in range(4)]
        images = [{"id": f"i{i}", "image": path} for i, path in enumerate(self.pictures)]
        mixed = [line for pair in zip(lines, images) for line in pair]
        vectors = {}
        for group in (lines, images, mixed):
            code, out, err = run("encode", "--model", self.model, "--precision", "f32", stdin=lines_of(group))
            self.assertEqual((code, err), (0, ""))
            answers = [json.loads(line) for line in out.splitlines()]
            self.assertEqual([a["id"] for a in answers], [one["id"] for one in group])
            for a in answers:
                known = vectors.setdefault(a["id"], a["vector"])
                self.assertLess(max(abs(x - y) for x, y in zip(known, a["vector"])), 1e-5)
        both = dict(lines[0], image=self.pictures[0])
        self.fails(1, "line 1: it has a text and an image", "encode", "--model", self.model, stdin=lines_of([both]))
        code, out, _ = run("encode", "--model", self.model, "--modality", "image", stdin=lines_of([both]))
        self.assertEqual(code, 0)

    def test_store(self):
        store = self.folder.name + "/store"
        items = [{"id": str(i), "text": f"a thing {i}", "image": path} for i, path in enumerate(self.pictures)]
        ingested = run_json("ingest", "-", "--store", store, "--model", self.model, stdin=lines_of(items))
        self.assertEqual((ingested["encoded"], ingested["pictures"]["encoded"]), (4, 4))
        for query in (("--text", "a thing", "--space", "image"), ("--image", self.pictures[1], "--space", "text"),
                      ("--image", self.pictures[1]), ("--text", "a thing")):
            hits = run_json("search", "--store", store, "--model", self.model, *query)["hits"]
            self.assertEqual(len(hits), 4, query)
        code, out, _ = run("models", "info", self.model, "--json")
        self.assertEqual((code, [json.loads(line)["sense"] for line in out.splitlines()]), (0, ["text", "image"]))


if __name__ == "__main__":
    unittest.main()
