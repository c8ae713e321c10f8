"""Vectors out of one machine and into a store on another: whatever way they take, the store is the one that an ingest
makes, bit for bit. Stores are compared by what magpie export says of them, which is compared with numbers that this test
decodes itself. Run by ctest."""
import base64
import gzip
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import write_heads  # noqa: E402
from sample import (Case, binary, item, model_or_skip, read_safetensors, run, run_json, write_catalogue, write_model,  # noqa: E402
                    write_picture, write_sound)

MODEL = model_or_skip()
ITEMS = 600  # more than two transactions
PRECISION = ("--precision", "f32")


def floats(text):
    data = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(data) // 4}f", data)


def read_npy(path):
    """Its rows, as bytes."""
    with open(path, "rb") as file:
        data = file.read()
    start = 10 + struct.unpack("<H", data[8:10])[0]
    n, dimension = eval(data[10:start], {"__builtins__": {}})["shape"]
    assert len(data) == start + 4 * n * dimension
    return [data[start + 4 * dimension * i:start + 4 * dimension * (i + 1)] for i in range(n)]


class Vectors(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.mkdir(cls.path("media"))
        cls.catalogue, cls.store = cls.path("catalogue.jsonl"), cls.path("store")
        models = {kind: write_model(kind, cls.path(kind)) for kind in ("image", "audio")}
        write_heads(cls.path("heads"), {"text": 384, "image": 64, "audio": 64}, {"text": 1, "image": 0.7, "audio": 0.4})
        cls.fusion = ("--fusion-model", cls.path("heads"))
        cls.models = ("--model", MODEL, "--image-model", models["image"], "--audio-model", models["audio"], *PRECISION)
        cls.items = cls.make_items()
        write_catalogue(cls.catalogue, cls.items)
        code, _, err = run("ingest", cls.catalogue, "--store", cls.store, *cls.models, *cls.fusion)
        assert code == 3, err
        code, cls.lines, err = run("encode", "--items", cls.catalogue, *cls.models)
        assert code == 3 and "left out" not in err, err
        cls.expected = cls.export(cls.store)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def make_items(cls):
        items = [item(number) for number in range(ITEMS)]
        for number, one in enumerate(items):
            if number % 10 == 3:
                one["image"] = f"media/{number}.png"
                write_picture(cls.path(one["image"]), number)
            if number % 20 in (3, 4):
                one["audio"] = f"media/{number}.wav"
                write_sound(cls.path(one["audio"]), number, 0.2)
        items[5] = {"id": "ünïcode \"id\"\n", "text": "", "image": "media/3.png", "timestamp": -1.25}
        items[6] = {"id": "bare", "timestamp": "2024-02-29T12:30:00.123Z", "attributes": {"a": [1, {"b": None}], "é": 2.5}}
        items[7]["image"] = "media/none.png"
        items[8]["image"], items[8]["audio"] = "media/broken.png", "media/broken.wav"
        for name in ("broken.png", "broken.wav"):
            with open(cls.path("media/" + name), "wb") as file:
                file.write(b"neither")
        return items + [items[0], {**items[1], "text": "other"}]  # the same again; a contradiction

    @classmethod
    def export(cls, store, *arguments):
        code, out, err = run("export", "--store", store, "--output", "-", *arguments)
        assert (code, err) == (0, ""), err
        return out

    def assert_same(self, store, fused=True):
        self.assertEqual(self.export(store).splitlines(), self.expected.splitlines())
        self.assertEqual(run_json("check", "--store", store)["problems"], [])
        if fused:  # which the lines do not have
            rows = []
            for one in (self.store, store):
                run_json("export", "--store", one, "--format", "npy", "--output", one + ".npy")
                rows.append(read_npy(one + ".npy/fused.npy"))
            self.assertEqual(*rows)
        again = run_json("ingest", self.catalogue, "--store", store, *self.models, *(self.fusion if fused else ()),
                         expected=3)
        self.assertEqual((again["encoded"], again["updated"], again["unchanged"]), (0, 0, ITEMS + 1))

    def importing(self, name, lines, *arguments, expected=3, fusion=True):
        """A store of these lines, in a file beside the catalogue."""
        with open(self.path(name + ".jsonl"), "w", encoding="utf-8") as file:
            file.write(lines)
        done = run_json("import-vectors", self.path(name + ".jsonl"), "--store", self.path(name),
                        *(self.fusion if fusion else ()), *arguments, expected=expected)
        return self.path(name), done

    def rejected(self, lines, words, *arguments):
        """The one line among these that is not taken says so."""
        store, done = self.importing("rejected", lines, *arguments, fusion=False)
        with open(store + "/rejects.jsonl", encoding="utf-8") as file:
            self.assertIn(words, json.loads(file.readlines()[-1])["reason"])
        shutil.rmtree(store)
        return done

    def test_an_ingest_in_two_halves(self):
        store, done = self.importing("halves", self.lines)
        self.assertEqual((done["encoded"], done["unchanged"], done["rejected"]), (ITEMS - 1, 1, 1))
        self.assertEqual((done["pictures"]["refused"], done["sounds"]["refused"]), (2, 1))
        self.assert_same(store)
        store, again = self.importing("halves", self.lines)
        self.assertEqual((again["committed"], again["unchanged"]), (0, ITEMS + 1))

    def test_lines_are_what_the_catalogue_and_encode_say(self):
        header, *lines = map(json.loads, self.lines.splitlines())
        self.assertEqual({name: space["dimension"] for name, space in header["spaces"].items()},
                         {"text": 384, "image": 64, "audio": 64})
        self.assertEqual([{key: line[key] for key in ("id", "image", "audio") if key in line} for line in lines],
                         [{key: one[key] for key in ("id", "image", "audio") if key in one} for one in self.items])
        self.assertEqual([line.get("attributes") for line in lines], [one.get("attributes") for one in self.items])
        _, plain, _ = run("encode", "--modality", "text", *self.models, stdin="".join(
            json.dumps({"id": one["id"], "text": one["text"]}) + "\n" for one in self.items if one.get("text")))
        texts = [line["vectors"]["text"] for line in lines if line.get("text")]
        for text, one in zip(texts, map(json.loads, plain.splitlines()), strict=True):
            self.assertLess(max(abs(a - b) for a, b in zip(floats(text), one["vector"], strict=True)), 1e-9)
        self.assertEqual(sorted(lines[8]["refused"]), ["audio", "image"])
        self.assertIn("media/none.png", lines[7]["refused"]["image"])

    def test_shards_one_behind_the_other(self):
        header, *lines = self.lines.splitlines(keepends=True)
        middle = len(lines) // 2
        store, _ = self.importing("shards", "".join([header, *lines[:middle], header, "\n", *lines[middle:]]))
        self.assert_same(store)
        other = json.loads(header)
        other["spaces"]["text"]["fingerprint"] = "another"
        self.fails(1, "line 3: its vectors are of other models", "import-vectors", "-", "--store", self.path("mixed"),
                   stdin=header + lines[0] + json.dumps(other) + "\n" + lines[1])

    def test_several_files_and_compressed(self):
        header, *lines = self.lines.splitlines(keepends=True)
        middle = len(lines) // 2
        for number, part in enumerate((lines[:middle], lines[middle:])):
            with gzip.open(self.path(f"part-{number}.jsonl.gz"), "wt", encoding="utf-8") as file:
                file.write("".join([header, *part]))
        done = run_json("import-vectors", self.path("part-*.jsonl.gz"), "--store", self.path("parts"), *self.fusion, expected=3)
        self.assertEqual(done["lines"], len(lines) + 2)
        self.assert_same(self.path("parts"))

    def test_out_of_an_archive(self):
        archive, stores = self.path("archive.tar"), [self.path("archived"), self.path("archived.encoded")]
        with tarfile.open(archive, "w") as file:
            for number in (3, 13, 23):
                file.add(self.path(f"media/{number}.png"), f"{number}.png")
                file.add(self.catalogue if number == 13 else self.path("media/3.wav"), f"{number}.wav")
        run_json("ingest", archive, "--store", stores[0], *self.models, *self.fusion, expected=3)
        code, lines, err = run("encode", "--items", archive, *self.models)
        self.assertEqual(code, 3, err)
        run("import-vectors", "-", "--store", stores[1], *self.fusion, stdin=lines)
        self.assertEqual(*map(self.export, stores))
        self.assertIn("archive.tar!/13.wav: ", self.export(stores[0]))
        again = run_json("ingest", archive, "--store", stores[1], *self.models, *self.fusion, expected=3)
        self.assertEqual((again["committed"], again["unchanged"]), (0, 3))

    def test_from_a_pipe_with_media_elsewhere(self):
        code, _, err = run("import-vectors", "-", "--store", self.path("piped"), *self.fusion, "--media-root", self.folder,
                           stdin=self.lines, cwd="/")
        self.assertEqual(code, 3, err)
        self.assert_same(self.path("piped"))

    def test_killed_and_run_again(self):
        lines, store = self.path("killed.jsonl"), self.path("killed")
        with open(lines, "w", encoding="utf-8") as file:
            file.write(self.lines)
        arguments = ["import-vectors", lines, "--store", store, *self.fusion]
        with subprocess.Popen([binary(), *arguments, "--commit", "1", "--acknowledge"], stdout=subprocess.PIPE,
                              text=True) as process:
            for _ in range(20):
                process.stdout.readline()
            process.kill()
        rest = run_json(*arguments, expected=3)
        self.assertGreaterEqual(rest["resumed_at"], 20)
        self.assertLess(rest["resumed_at"], ITEMS)
        self.assert_same(store)

    def test_numbers_are_read_as_base64_is(self):
        header, *lines = map(json.loads, self.lines.splitlines())
        for line in lines:
            line["vectors"] = {name: list(floats(vector)) for name, vector in line["vectors"].items()}
        store, _ = self.importing("numbers", "".join(json.dumps(line) + "\n" for line in [header, *lines]))
        self.assert_same(store)

    def test_media_as_data(self):
        def as_data(line, key, kind):
            if key in line and os.path.exists(self.path(line[key])):
                with open(self.path(line[key]), "rb") as file:
                    data = base64.b64encode(file.read()).decode()
                line[key] = f"data:{kind};name={urllib.parse.quote(line[key], safe='')};base64,{data}"

        inline = [dict(one) for one in self.items]
        for one in inline:
            as_data(one, "image", "image/png")
            as_data(one, "audio", "")
        code, lines, err = run("encode", "--items", *self.models, "--media-root", self.folder, cwd="/",
                               stdin="".join(json.dumps(one) + "\n" for one in inline))
        self.assertEqual(code, 3, err)
        self.assertEqual(lines.splitlines(), self.lines.splitlines())
        one = {"id": "a", "image": inline[3]["image"]}
        plain = [run("encode", "--modality", "image", *self.models, "--media-root", self.folder, stdin=json.dumps(line))
                 for line in (one, {"id": "a", "image": self.items[3]["image"]})]
        self.assertEqual(plain[0], plain[1])
        self.assertEqual(plain[0][0], 0)
        nameless = json.dumps({**one, "image": "data:;base64,AAAA"})
        self.fails_after_header("line 1: image: a data: URL of an item should say", nameless)
        _, done, _ = run("ingest", "-", "--store", self.path("data"), *self.models, "--json", stdin=json.dumps(one))
        self.assertEqual(json.loads(done)["rejected"], 1)

    def fails_after_header(self, words, stdin):
        code, out, err = run("encode", "--items", *self.models, stdin=stdin)
        self.assertEqual((code, out.count("\n")), (1, 1))
        self.assertIn(words, err)
        code, out, err = run("encode", "--items", "--skip-bad", *self.models, stdin=stdin + "\n" + json.dumps(self.items[0]))
        self.assertEqual((code, out.count("\n")), (3, 2))
        self.assertIn(words, err)

    def test_what_cannot_be_a_vector(self):
        header = json.loads(self.lines.splitlines()[0])
        good = [1.0] + [0.0] * 383
        cases = [({"text": good[1:]}, "383 numbers in place of 384"), ({"text": [2.0] + good[1:]}, "the length 2"),
                 ({"text": ["1"] + good[1:]}, "should be numbers"), ({"text": base64.b64encode(bytes(1540)).decode()}, "floats"),
                 ({"text": base64.b64encode(struct.pack("<384f", math.nan, *good[1:])).decode()}, "not finite"),
                 ({"text": "AAA!" * 512}, "alphabet"), ({"smell": good}, "smell"), ({"text": {}}, "base64 or an array"),
                 ({"image": [1.0] + [0.0] * 63}, 'no "image"')]
        for vectors, words in cases:
            with self.subTest(words):
                line = json.dumps({"id": "a", "text": "t", "vectors": vectors}) + "\n"
                self.assertEqual(self.rejected(json.dumps(header) + "\n" + line, words)["rejected"], 1)
        with self.subTest("normalise"):
            line = json.dumps({"id": "a", "text": "t", "vectors": {"text": [3.0, -4.0] + good[2:]}}) + "\n"
            store, _ = self.importing("unit", json.dumps(header) + "\n" + line, "--normalise", expected=0, fusion=False)
            got = floats(json.loads(self.export(store).splitlines()[1])["vectors"]["text"])
            self.assertEqual(got[:2], struct.unpack("<2f", struct.pack("<2f", 0.6, -0.8)))

    def test_what_is_no_file_of_vectors(self):
        line = json.dumps({"id": "a", "text": "t", "vectors": {"text": [1, 0, 0]}})
        for stdin, words in ((line, "no header"), ("", "no header"), ('{"magpie": "vectors", "version": 2}\n', "version 1"),
                             ('{"magpie": "vectors", "version": 1, "spaces": {"fused": {}}}', "fused")):
            self.fails(1, words, "import-vectors", "-", "--store", self.path("none"), stdin=stdin)
        self.assertFalse(os.path.exists(self.path("none")))

    def test_a_misspelt_catalogue_makes_no_output(self):
        code, out, err = run("encode", "--items", self.folder + "/nowhere", *self.models)
        self.assertEqual((code, out, err.count("\n")), (1, "", 1), err)

    def test_a_line_without_its_vector_is_encoded_later(self):
        header, *lines = map(json.loads, self.lines.splitlines())
        del lines[0]["vectors"]["text"], lines[8]["refused"], lines[13]["vectors"]["image"]
        store, _ = self.importing("partly", "".join(json.dumps(line) + "\n" for line in [header, *lines]))
        later = run_json("ingest", self.catalogue, "--store", store, *self.models, *self.fusion, expected=3)
        self.assertEqual((later["encoded"], later["updated"]), (2, 1))
        self.assertEqual(sorted(self.export(store).splitlines()), sorted(self.expected.splitlines()))

    def test_media_that_only_the_loader_has(self):
        _, lines, _ = run("encode", "--items", self.catalogue, "--media-root", "/nowhere", *self.models)
        store, done = self.importing("mounted", lines)
        self.assertEqual(done["pictures"]["encoded"] + done["sounds"]["encoded"], 0)
        run_json("ingest", self.catalogue, "--store", store, *self.models, *self.fusion, expected=3)
        self.assertEqual(sorted(self.export(store).splitlines()), sorted(self.expected.splitlines()))

    def test_exported_and_imported(self):
        store, done = self.importing("exported", self.expected, expected=3)
        self.assertEqual(done["rejected"], 0)
        self.assert_same(store)
        out = self.path("exported.lines")
        run_json("export", "--store", store, "--output", out)
        with open(out + "/items.jsonl", encoding="utf-8") as file:
            self.assertEqual(file.read(), self.expected)

    def test_hashes_of_an_export_outlive_its_media(self):
        """Another folder, where no file is: the items are the same, and with the files they are unchanged."""
        os.mkdir(self.path("far"))
        store, _ = self.importing("far/store", self.expected)
        self.assert_same(store)

    def test_arrays(self):
        lines = [json.loads(line) for line in self.expected.splitlines()[1:]]
        run_json("export", "--store", self.store, "--format", "npy", "--output", self.path("npy"))
        run_json("export", "--store", self.store, "--format", "safetensors", "--output", self.path("safe"))
        tensors = read_safetensors(self.path("safe/vectors.safetensors"))
        self.assertEqual(sorted(tensors), ["audio", "fused", "image", "text"])
        for name in ("text", "image", "audio"):
            rows = read_npy(self.path(f"npy/{name}.npy"))
            shape, numbers = tensors[name]
            self.assertEqual(shape, [len(lines), len(rows[0]) // 4])
            for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
                values = struct.unpack(f"<{shape[1]}f", row)
                vector = line["vectors"].get(name)
                self.assertTrue(row == base64.b64decode(vector) if vector else all(map(math.isnan, values)))
                if vector:
                    self.assertEqual(numbers[number * shape[1]:(number + 1) * shape[1]], values)
        with open(self.path("npy/items.jsonl"), encoding="utf-8") as file:
            self.assertEqual([json.loads(line).get("text") for line in file], [line.get("text") for line in lines])
        self.fails(2, "name a folder", "export", "--store", self.store, "--format", "npy", "--output", "-")

    def test_arrays_of_others(self):
        source = self.path("npy-of-others")
        run_json("export", "--store", self.store, "--format", "npy", "--output", source)
        vectors = ("--vectors", f"text={source}/text.npy", "--vectors", f"image={source}/image.npy")
        names = ("--model-name", "text=theirs", "--model-name", "image=theirs too")
        store = self.path("others")
        done = run_json("import-vectors", source + "/items.jsonl", "--store", store, *vectors, *names)
        self.assertEqual((done["encoded"], done["rejected"]), (ITEMS - 1, 0))
        theirs, ours = ([json.loads(line) for line in text.splitlines()] for text in (self.export(store), self.expected))
        self.assertEqual(theirs[0]["spaces"]["image"]["model"], "theirs too")
        for one, other in zip(theirs[1:], ours[1:], strict=True):
            other["vectors"].pop("audio", None)
            self.assertEqual(one["vectors"], other["vectors"])
        arguments = ("import-vectors", source + "/items.jsonl", "--store", self.path("none"))
        self.fails(1, "--model-name text=NAME", *arguments, *vectors)
        with open(source + "/items.jsonl", "a", encoding="utf-8") as file:
            file.write('{"id": "one more"}\n')
        self.fails(1, f"{ITEMS} rows", *arguments, *vectors, *names)
        with open(source + "/text.npy", "r+b") as file:
            file.truncate(1000)
        self.fails(1, "bytes of numbers", *arguments, *vectors, *names)

    def test_a_filter(self):
        lines = [json.loads(line) for line in self.expected.splitlines()[1:]]
        condition = {"key": "price", "range": {"lt": 20}}
        got = [json.loads(line) for line in self.export(self.store, "--filter", json.dumps(condition)).splitlines()[1:]]
        self.assertEqual(got, [line for line in lines if line.get("attributes", {}).get("price", 99) < 20])
        self.assertGreater(len(got), 20)


if __name__ == "__main__":
    unittest.main()
