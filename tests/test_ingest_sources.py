"""magpie ingest of one catalogue in every kind that it may be: JSON lines plain and compressed, in several files, CSV,
TSV, a folder, a tar of webdataset's. Each gives the same store, item by item and score by score. What is cut off ends
the job in words and keeps what was whole; a job that was stopped anywhere goes on where it was. Run by ctest."""
import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import Case, item, run, run_json, write_model, write_picture, write_sound  # noqa: E402

COUNT = 40


def made_up(folder):
    """Items with texts, pictures, sounds and attributes, some of each missing; their files are in the folder."""
    items = []
    for i in range(COUNT):
        one = {**item(i), "id": f"{'even' if i % 2 == 0 else 'ödd'}/{i:03}"}
        os.makedirs(os.path.join(folder, os.path.dirname(one["id"])), exist_ok=True)
        if i % 5 == 4:
            del one["text"]
        if i % 3:
            one["image"] = one["id"] + ".png"
            write_picture(os.path.join(folder, one["image"]), i)
        if i % 7 == 0:
            one["audio"] = one["id"] + ".wav"
            write_sound(os.path.join(folder, one["audio"]), i)
        one["attributes"].update({"title, quoted": 'a "b",\nc', "code": "007"})
        items.append(one)
    return sorted(items, key=lambda one: one["id"])


def as_lines(items):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in items).encode()


def as_table(items, separator=",", newline="\r\n", names=None):
    names = {name: (names or {}).get(name, name) for name in ("id", "text", "image", "audio")}
    keys = list(items[0]["attributes"])
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=newline)
    writer.writerow([*names.values(), *keys])
    for one in items:
        writer.writerow([*(one.get(name, "") for name in names), *(one["attributes"][key] for key in keys)])
    return ("\ufeff" + out.getvalue()).encode()


def members(items, folder):
    """[(name, bytes)] of the files that are these items."""
    for one in items:
        for key in ("image", "audio"):
            if key in one:
                with open(os.path.join(folder, one[key]), "rb") as file:
                    yield one[key], file.read()
        if "text" in one:
            yield one["id"] + ".txt", (one["text"] + "\n").encode()
        yield one["id"] + ".json", json.dumps({**one["attributes"], "nothing": None}).encode()
        yield one["id"] + ".cls", b"7"


def write_tar(path, items, folder, **more):
    with tarfile.open(path, "w", **more) as tar:
        for name, data in members(items, folder):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Sources(Case):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.media = cls.path("media")
        cls.items = made_up(cls.media)
        cls.models = ["--image-model", write_model("image", cls.path("image-model")),
                      "--audio-model", write_model("audio", cls.path("audio-model"))]
        cls.plain = cls.write("media/plain.jsonl", as_lines(cls.items))
        cls.expected = cls.stored(cls.ingested([cls.plain], "plain.store"))

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def write(cls, name, data):
        with open(cls.path(name), "wb") as file:
            file.write(data)
        return cls.path(name)

    @classmethod
    def ingest(cls, catalogues, store, *more, **how):
        return run("ingest", *catalogues, "--store", cls.path(store), *cls.models, *more, **how)

    @classmethod
    def ingested(cls, catalogues, store, *more, code=0, **how):
        """A store with all items; its path."""
        report = run_json("ingest", *catalogues, "--store", cls.path(store), *cls.models, *more, expected=code, **how)
        assert (report["committed"], report["rejected"]) == (COUNT, 0), report
        again = run_json("ingest", *catalogues, "--store", cls.path(store), *cls.models, *more, expected=code, **how)
        assert (again["committed"], again["unchanged"]) == (0, COUNT), again
        return cls.path(store)

    @classmethod
    def stored(cls, store, ids=None):
        """What the store has of each item: all but where its files are; and who is near to some of them."""
        code, out, err = run("get", "--store", store, "--json", *(ids or [one["id"] for one in cls.items]))
        assert code == 0, err
        things = {}
        for one in map(json.loads, out.splitlines()):
            things[one["id"]] = {key: value for key, value in one.items()
                                 if key not in ("image", "audio", "row", "sequence", "updated")}
            things[one["id"]]["has"] = [one["image"] is not None, one["audio"] is not None]
        near = []
        if not ids:
            stats = run_json("stats", "--store", store)
            near = [stats["items"], {name: space["vectors"] for name, space in stats["spaces"].items()}]
            for space, one in (("image", cls.items[1]), ("audio", cls.items[0])):
                code, out, err = run("search", "--store", store, "--item", one["id"], "--space", space, "-k", COUNT,
                                     "--json")
                assert code == 0, err
                near.append([(hit["id"], hit["score"]) for hit in json.loads(out)["hits"]])
        return things, near

    def same(self, catalogues, name, *more, **how):
        things, near = self.stored(self.ingested(catalogues, name + ".store", *more, **how))
        self.assertEqual(things, self.expected[0])
        self.assertEqual(near, self.expected[1])

    def rejects(self, store):
        with open(os.path.join(self.path(store), "rejects.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_compressed_lines(self):
        lines = as_lines(self.items)
        self.same([self.write("media/a.jsonl.gz", gzip.compress(lines))], "gz")
        self.same([self.write("media/odd-name", gzip.compress(lines[:1000]) + gzip.compress(lines[1000:]))], "odd")
        with self.subTest("zstd"):
            if not shutil.which("zstd"):
                self.skipTest("no zstd")
            subprocess.run(["zstd", "-q", self.plain, "-o", self.path("media/a.jsonl.zst")], check=True)
            self.same([self.path("media/a.jsonl.zst")], "zst")

    def test_several_files(self):
        for i in range(3):
            self.write(f"media/part-{i}.jsonl", as_lines(self.items[i::3]))
        self.same([self.path(f"media/part-{i}.jsonl") for i in range(3)], "three")
        self.same([self.path("media/part-?.jsonl")], "glob")
        self.fails(1, "nothing matches", "ingest", self.path("none-*"), "--store", self.path("n.store"), *self.models)

    def test_tables(self):
        self.same([self.write("media/a.csv", as_table(self.items))], "csv")
        self.same([self.write("media/a.csv.gz", gzip.compress(as_table(self.items)))], "csv-gz")
        names = {"id": "sku", "image": "photo", "text": "what is it"}
        mapped = self.write("media/b.tsv", as_table(self.items, "\t", "\n", names))
        self.same([mapped], "tsv", "--map", "id=sku,text=what is it,image=photo")
        with open(mapped, "rb") as file:
            self.same(["-"], "stdin", "--format", "tsv", "--map", "id=sku,text=what is it,image=photo", text=False,
                      stdin=file.read(), cwd=self.media)
        self.fails(1, "names the column \"nope\"", "ingest", mapped, "--store", self.path("no.store"), *self.models,
                   "--map", "id=nope")
        self.assertFalse(os.path.exists(self.path("no.store")))

    def test_folder(self):
        folder = self.path("folder")
        for name, data in members(self.items, self.media):
            os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
            self.write(os.path.join("folder", name), data)
        os.symlink(".", os.path.join(folder, "round"))
        self.write("folder/.hidden.txt", b"x")
        self.same([folder], "folder")
        report = run_json("ingest", folder, "--store", self.path("folder.store"), *self.models)
        self.assertEqual(report["passed_over"], COUNT + 2)  # *.cls, the link and the hidden one

    def test_tar(self):
        for name, how in (("pax.tar", {}), ("gnu.tar", {"format": tarfile.GNU_FORMAT})):
            write_tar(self.path(name), self.items, self.media, **how)
            self.same([self.path(name)], name)
        with open(self.path("pax.tar"), "rb") as file:
            whole = file.read()
        self.same([self.write("a.tar.gz", gzip.compress(whole))], "targz")
        self.same(["-"], "tarstdin", "--format", "tar", stdin=whole, text=False)
        one = next(one for one in self.items if "image" in one)
        code, out, err = run("get", "--store", self.path("targz.store"), "--json", one["id"])
        self.assertEqual((code, json.loads(out)["image"]), (0, "a.tar!/" + one["image"]), err)
        # under another name nothing is encoded anew; as a line, the reference is refused
        os.rename(self.path("a.tar.gz"), self.path("b.tar.gz"))
        report = run_json("ingest", self.path("b.tar.gz"), "--store", self.path("targz.store"), *self.models)
        self.assertEqual((report["encoded"], report["pictures"]["encoded"]), (0, 0), report)
        self.assertEqual(run_json("check", "--store", self.path("targz.store"))["problems"], [])
        line = self.write("line.jsonl", as_lines([{"id": "x", "image": "a.tar!/" + one["image"]}]))
        report = run_json("ingest", line, "--store", self.path("line.store"), *self.models, expected=3)
        self.assertEqual(report["pictures"]["refused"], 1)
        self.assertIn("in an archive", self.rejects("line.store")[0]["reason"])

    def test_large_member(self):
        """What is over the limit is refused alone, and not read into memory."""
        path = self.path("large.tar.gz")
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            for name, size in (("a.png", (64 << 20) + 1), ("a.txt", 4), ("b.txt", (1 << 20) + 1), ("c.txt", 3)):
                info = tarfile.TarInfo(name)
                info.size = size
                tar.addfile(info, io.BytesIO(b"x" * size))
        report = run_json("ingest", path, "--store", self.path("large.store"), *self.models, expected=3)
        self.assertEqual((report["committed"], report["rejected"], report["pictures"]["refused"]), (2, 1, 1), report)
        told = sorted((one["id"], one["reason"]) for one in self.rejects("large.store"))
        self.assertEqual(told, [("a", "it has 67108865 bytes; the limit in an archive is 67108864"),
                                ("b", "b.txt has 1048577 bytes; the limit is 1048576")])
        report = run_json("ingest", path, "--store", self.path("large.store"), *self.models, expected=3)
        self.assertEqual((report["committed"], report["unchanged"]), (0, 2))

    def test_pipes(self):
        """A pipe by its name is read once, whatever looks at it before."""
        pipe = self.path("media/pipe")
        os.mkfifo(pipe)
        with subprocess.Popen(["cp", self.plain, pipe]) as writer:
            report = run_json("ingest", pipe, "--store", self.path("pipe.store"), *self.models)
        self.assertEqual((writer.returncode, report["committed"]), (0, COUNT))

    def test_cut_off(self):
        write_tar(self.path("whole.tar"), self.items, self.media)
        with open(self.path("whole.tar"), "rb") as file:
            tar = file.read()
        cuts = {"half.tar": tar[:len(tar) // 2], "half.tar.gz": gzip.compress(tar)[:-2000],
                "boundary.tar": tar[:len(tar.rstrip(b"\0")) // 512 * 512 + 512]}
        for name, data in cuts.items():
            with self.subTest(name):
                cut = self.write(name, data)
                self.fails(1, cut, "ingest", cut, "--store", self.path(name + ".store"), *self.models, "--commit", 7)
                items = run_json("stats", "--store", self.path(name + ".store"))["items"]
                self.assertTrue(0 < items < COUNT, items)
                ids = [one["id"] for one in self.items[:items]]
                things, _ = self.stored(self.path(name + ".store"), ids)
                self.assertEqual(things, {i: self.expected[0][i] for i in ids})
                self.write(name, gzip.compress(tar) if name.endswith("gz") else tar)
                report = run_json("ingest", cut, "--store", self.path(name + ".store"), *self.models)
                self.assertEqual((report["encoded"] + report["updated"], report["unchanged"]), (COUNT - items, items))

    def test_damaged_lines(self):
        whole = gzip.compress(as_lines(self.items))
        crc = bytearray(whole)
        crc[-8] ^= 1  # of the checksum
        for name, data in {"cut.jsonl.gz": whole[:-20], "crc.jsonl.gz": bytes(crc), "empty.jsonl.gz": b"",
                           "short.jsonl.gz": whole[:3], "plain.jsonl.gz": as_lines(self.items),
                           "plain.jsonl.zst": as_lines(self.items), "empty.jsonl.zst": b""}.items():
            with self.subTest(name):
                path = self.write(name, data)
                self.fails(1, path, "ingest", path, "--store", self.path(name + ".store"), *self.models)
                if name.startswith("cut"):
                    self.assertGreater(run_json("stats", "--store", self.path(name + ".store"))["items"], 0)

    def test_goes_on_in_the_second_file(self):
        half = COUNT // 2
        write_tar(self.path("second.tar"), self.items[half:], self.media)
        kinds = {"lines": [self.write("media/first.jsonl", as_lines(self.items[:half])),
                           self.write("media/second.jsonl", as_lines(self.items[half:]))],
                 "others": [self.write("media/first.csv", as_table(self.items[:half])), self.path("second.tar")]}
        for name, files in kinds.items():
            with self.subTest(name):
                # killed behind the acknowledged id of an item of the second file
                store = self.path(name + "-stopped.store")
                process = subprocess.Popen([os.environ["MAGPIE_BINARY"], "ingest", *files, "--store", store, "--commit",
                                            "3", "--acknowledge", *self.models], stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL, text=True)
                known = set()
                while self.items[half]["id"] not in known:
                    known.add(process.stdout.readline().rstrip("\n"))
                process.kill()
                process.stdout.close()
                process.wait()
                stopped = run_json("stats", "--store", store)["items"]
                self.assertTrue(half < stopped <= COUNT, stopped)
                report = run_json("ingest", *files, "--store", store, *self.models, "--commit", 3)
                if stopped < COUNT:
                    self.assertGreaterEqual(report["resumed_at"], half)
                self.assertEqual((report["committed"], report["unchanged"], report["lines"]),
                                 (COUNT - stopped, 0, COUNT - report["resumed_at"]))
                things, near = self.stored(store)
                self.assertEqual(things, self.expected[0])
                self.assertEqual(near, self.expected[1])

    def test_bad_records(self):
        table = self.write("bad.csv", b'id,text,n\na,"two\nlines",1.5\nb,too,many,cells\n,no id,1\nc,\xff\xfe,1\n'
                           b'd,"open' + b" \n" * 700_000 + b'"\ne,fine,1e999\nf,last,"does not end\n')
        lines = self.write("bad.jsonl", as_lines([{"id": "a", "text": "another"}]))
        report = run_json("ingest", table, lines, "--store", self.path("bad.store"), *self.models, expected=3)
        self.assertEqual((report["committed"], report["rejected"]), (2, 6), report)
        told = [(os.path.basename(one["catalogue"]), one["line"], one["reason"]) for one in self.rejects("bad.store")]
        words = ["has 4 fields, the header 3", "id is missing", "broken UTF-8", "the limit is 1048576",
                 "a quoted field does not end", "an earlier line has this id"]
        numbers = [("bad.csv", 2), ("bad.csv", 3), ("bad.csv", 4), ("bad.csv", 5), ("bad.csv", 7), ("bad.jsonl", 1)]
        self.assertEqual([one[:2] for one in told], numbers)
        for (_, _, reason), expected in zip(told, words):
            self.assertIn(expected, reason)
        _, out, _ = run("get", "--store", self.path("bad.store"), "--json", "a", "e")
        first, second = map(json.loads, out.splitlines())
        self.assertEqual((first["text"], first["attributes"]), ("two\nlines", {"n": 1.5}))
        self.assertEqual(second["attributes"], {"n": "1e999"})

    def test_bad_groups(self):
        folder = self.path("groups")
        os.makedirs(folder)
        for name, data in {"two.jpg": b"x", "two.png": b"x", "json.json": b"[1]", "json.txt": b"text", "caption.json":
                           b'{"caption": "a bird", "width": 3}', "a.b.TXT": b"\xef\xbb\xbfdotted\r\n",
                           "x" * 250 + ".txt": b"long"}.items():
            self.write(os.path.join("groups", name), data)
        with open(os.path.join(folder.encode(), b"\xff.txt"), "wb") as file:
            file.write(b"no UTF-8")
        report = run_json("ingest", folder, "--store", self.path("groups.store"), *self.models, expected=3)
        self.assertEqual((report["committed"], report["rejected"]), (3, 3), report)
        reasons = sorted(one["reason"] for one in self.rejects("groups.store"))
        for reason, expected in zip(reasons, ["it has more than one picture", "its file of attributes is no JSON",
                                              "its name is broken UTF-8"]):
            self.assertIn(expected, reason)
        _, out, _ = run("get", "--store", self.path("groups.store"), "--json", "caption", "a.b")
        caption, dotted = map(json.loads, out.splitlines())
        self.assertEqual((caption["text"], caption["attributes"]), ("a bird", {"width": 3}))
        self.assertEqual(dotted["text"], "dotted")


if __name__ == "__main__":
    unittest.main()
