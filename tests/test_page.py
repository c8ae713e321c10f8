"""The page of a search, read as a browser would read it: every hit in its order, whatever is in a text stays text, the
pictures are JPEGs of the size that is said, and nothing in it runs or leads elsewhere. Run by ctest."""
import base64
import html.parser
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from one_space import write_heads  # noqa: E402
from sample import (item, model_or_skip, run, run_json, write_catalogue, write_model, write_picture,  # noqa: E402
                    write_sound)

MODEL = model_or_skip()
SIDE = 240
ITEMS = 150  # more than two blocks of cards
SIZES = [(8, 8), (240, 240), (241, 100), (1000, 31), (31, 1000), (480, 360), (3000, 2)]
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;&lt; </style></title> \u202egnp \u4e2d\u6587"
VOID = {"meta", "img", "wbr", "br"}


class Page(html.parser.HTMLParser):
    """A page, whose tags must be balanced."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.cards = [], [], []  # a card: what stands in it, by class or tag
        self.asked = {"words": [], "notice": [], "label": [], "weight": []}
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.feed(self.source)
        self.close()
        assert not self.open, self.open

    def handle_decl(self, decl):
        assert decl == "DOCTYPE html" and not self.tags

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), attrs
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("class", "")))
        if tag == "li" and "data-id" in dict(attrs):
            self.cards.append({"id": dict(attrs)["data-id"], "h3": "", "text-of": "", "category": "", "code": "",
                               "score": "", "notice": "", "shares": "", "bar": {}, "img": [], "audio": []})
        if tag == "i":
            width = re.fullmatch(r"width:([0-9.]+)%", dict(attrs)["style"])
            self.cards[-1]["bar"][dict(attrs).get("class", "")] = float(width[1])
        if tag in ("img", "audio") and self.cards:
            self.cards[-1][tag].append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop()[0] == tag, (tag, self.getpos())

    def handle_data(self, data):
        for tag, kind in self.open:
            if self.cards and (tag in self.cards[-1] or kind in self.cards[-1]):
                self.cards[-1][kind if kind in self.cards[-1] else tag] += data
            elif kind.split(" ")[0] in self.asked:
                self.asked[kind.split(" ")[0]].append(data)


def jpeg_size(data):
    """Of a baseline JPEG, by its frame header (ITU T.81, B.2.2)."""
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
    at = 2
    while data[at + 1] != 0xC0:
        assert data[at] == 0xFF and data[at + 1] != 0xDA
        at += 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
    height, width = struct.unpack(">HH", data[at + 5:at + 9])
    return width, height


def data_of(uri, kind):
    assert uri.startswith(f"data:{kind};base64,"), uri[:40]
    return base64.b64decode(uri.split(",", 1)[1], validate=True)


def fitted(width, height):
    longer = max(width, height)
    if longer <= SIDE:
        return width, height
    return tuple(max((side * SIDE + longer // 2) // longer, 1) for side in (width, height))


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.files = cls.folder.name + "/files"
        os.mkdir(cls.files)
        cls.items = [item(i) for i in range(ITEMS)]
        for i, (width, height) in enumerate(SIZES):
            write_picture(f"{cls.files}/{i}.png", i, width, height)
            cls.items[i]["image"] = f"files/{i}.png"
        write_sound(cls.files + "/short.wav", 1)
        write_sound(cls.files + "/long.wav", 1, seconds=17)
        with open(cls.files + "/secret", "w", encoding="utf-8") as file:
            file.write("root:x:0:0: nobody's business " * 20)
        os.mkfifo(cls.files + "/pipe")
        with open(cls.files + "/broken.png", "wb") as file, open(cls.files + "/0.png", "rb") as whole:
            file.write(whole.read()[:80])
        for number, more in {10: {"audio": "files/short.wav"}, 11: {"audio": "files/long.wav"},
                             12: {"audio": "files/secret", "image": "files/secret"},
                             13: {"audio": "files/pipe", "image": "files/pipe"},
                             14: {"image": "files/broken.png", "audio": "files/none.wav"},
                             15: {"image": "files/none.png"}, 16: {"audio": "files", "image": "files"}}.items():
            cls.items[number].update(more)
        cls.items[20].update(id=HOSTILE, text=HOSTILE)
        cls.items[21].update(attributes={"title": HOSTILE, "category": HOSTILE, "keywords": [HOSTILE]},
                             text=HOSTILE + ". and more", image="files/0.png", id="titled")
        cls.items[22].update(attributes={"title": "A cello", "category": ["no", "string"]},
                             text="A cello. String, music.")
        cls.items[23].update(attributes={"title": "A cell"}, text="A cello. String, music.")
        cls.items[24]["text"] = "control \x01\x7f\ufffe characters"
        write_catalogue(cls.folder.name + "/catalogue.jsonl", cls.items)
        cls.store = cls.folder.name + "/store"
        run_json("ingest", cls.folder.name + "/catalogue.jsonl", "--store", cls.store, "--model", MODEL)
        cls.answer, cls.page = cls.search("--text", HOSTILE, "-k", str(ITEMS))
        cls.cards = {card["id"]: card for card in cls.page.cards}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def search(cls, *arguments):
        path = cls.folder.name + "/page.html"
        answer = run_json("search", "--store", cls.store, "--model", MODEL, *arguments, "--page", path,
                          "--files", cls.folder.name)
        assert not os.path.exists(path + ".tmp")
        return answer, Page(path)

    def card(self, number):
        return self.cards[self.items[number]["id"]]

    def test_every_hit_in_its_order(self):
        self.assertEqual(len(self.page.cards), ITEMS)
        self.assertEqual([card["id"] for card in self.page.cards], [hit["id"] for hit in self.answer["hits"]])
        for rank, (card, hit) in enumerate(zip(self.page.cards, self.answer["hits"]), 1):
            self.assertEqual(card["score"], f"{rank}{hit['score']:.4f}")
            self.assertEqual(card["code"], hit["id"])
        self.assertEqual(self.page.asked["words"], [HOSTILE])

    def test_answer_is_as_without(self):
        plain = run_json("search", "--store", self.store, "--model", MODEL, "--text", HOSTILE, "-k", str(ITEMS))
        self.assertEqual(plain["hits"], self.answer["hits"])

    def test_names(self):
        self.assertEqual(self.card(20)["h3"], HOSTILE)
        titled = self.card(21)
        self.assertEqual((titled["h3"], titled["text-of"], titled["category"]), (HOSTILE, "and more", HOSTILE))
        self.assertEqual(titled["img"][0]["alt"], HOSTILE)
        self.assertEqual([self.card(i)["h3"] for i in (22, 23, 30)], ["A cello", "A cell", self.items[30]["text"]])
        self.assertEqual([self.card(i)["text-of"] for i in (22, 23, 30)],
                         ["String, music.", "A cello. String, music.", ""])
        self.assertEqual(self.card(22)["category"], "")
        self.assertEqual(self.card(24)["h3"], "control \ufffd\ufffd\ufffd characters")

    def test_nothing_runs_and_nothing_leads_elsewhere(self):
        known = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "div", "p", "span", "main",
                 "section", "ol", "ul", "li", "b", "i", "img", "audio", "code", "wbr", "footer"}
        self.assertLessEqual({tag for tag, _ in self.page.tags}, known)
        for _, attributes in self.page.tags:
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on") or name == "href", name)
                self.assertTrue(name != "src" or value.startswith("data:"))
        found = re.search(r"://|url\(|@import|<script", self.page.source)
        self.assertIsNone(found)
        policy = [a["content"] for tag, a in self.page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        self.assertEqual(len(policy), 1)
        self.assertTrue(policy[0].startswith("default-src 'none';"))
        self.assertNotIn("script-src", policy[0])
        self.assertEqual(self.page.tags[2], ("meta", {"charset": "utf-8"}))

    def test_pictures(self):
        for i, size in enumerate(SIZES):
            (img,) = self.card(i)["img"]
            self.assertEqual((int(img["width"]), int(img["height"])), fitted(*size))
            self.assertEqual(jpeg_size(data_of(img["src"], "image/jpeg")), fitted(*size))
        for i in (12, 13, 14, 15, 16):
            self.assertEqual(self.card(i)["img"], [])
            self.assertIn("The picture cannot be shown: ", self.card(i)["notice"])
        self.assertIn("No such file", self.card(15)["notice"])
        self.assertFalse(self.folder.name in self.page.source)

    def test_sounds(self):
        (audio,) = self.card(10)["audio"]
        with open(self.files + "/short.wav", "rb") as file:
            self.assertEqual(data_of(audio["src"], "audio/wav"), file.read())
        for i, why in {11: "it has 0.5 MiB", 12: "neither WAV", 13: "not a regular file", 14: "No such file",
                       16: "not a regular file"}.items():
            self.assertEqual(self.card(i)["audio"], [])
            self.assertIn("The sound is not in this page: ", self.card(i)["notice"])
            self.assertIn(why, self.card(i)["notice"])
        self.assertFalse(base64.b64encode(b"root:x:0:0").decode()[:12] in self.page.source)

    def test_paths_are_relative_to_the_current_folder(self):
        path = self.folder.name + "/here.html"
        like = ("search", "--store", self.store, "--item", self.items[1]["id"], "-k", "1", "--page", path)
        run_json(*like, cwd=self.folder.name)
        page = Page(path)
        self.assertEqual((page.asked["words"], page.asked["notice"]), ([self.items[1]["text"]], []))
        self.assertEqual([tag for tag, _ in page.tags].count("img"), 1)
        run_json(*like)
        self.assertEqual(Page(path).asked["notice"], ["The picture cannot be shown: No such file or directory"])

    def test_query_by_picture_and_sound(self):
        model = write_model("image", self.folder.name + "/model")
        sounds = write_model("audio", self.folder.name + "/sounds")
        models = ("--model", MODEL, "--image-model", model, "--audio-model", sounds)
        store, path = self.folder.name + "/both", self.folder.name + "/both.html"
        run_json("ingest", self.folder.name + "/catalogue.jsonl", "--store", store, *models, expected=3)
        for option, name, tag, kind in (("--image", "5.png", "img", "image/jpeg"),
                                        ("--audio", "short.wav", "audio", "audio/wav")):
            run_json("search", "--store", store, *models, option, f"{self.files}/{name}", "-k", "3", "--page", path)
            first = [attributes for found, attributes in Page(path).tags if found == tag][0]
            data = data_of(first["src"], kind)
            with open(f"{self.files}/{name}", "rb") as file:
                self.assertTrue(jpeg_size(data) == fitted(*SIZES[5]) if tag == "img" else data == file.read())

    def test_shares(self):
        model = write_model("image", self.folder.name + "/model")
        dimension = run_json("models", "info", model)["dimension"]
        heads, store = self.folder.name + "/heads", self.folder.name + "/fused"
        write_heads(heads, {"text": 384, "image": dimension}, {"text": 1, "image": 1})
        models = ("--model", MODEL, "--image-model", model, "--fusion-model", heads)
        run_json("ingest", self.folder.name + "/catalogue.jsonl", "--store", store, *models, expected=3)
        path = self.folder.name + "/shares.html"
        answer = run_json("search", "--store", store, *models, "--text", self.items[3]["text"], "--image",
                          self.files + "/5.png", "--not-item", self.items[1]["id"], "--weight", "image=0.25",
                          "--explain", "-k", str(ITEMS), "--page", path)
        page = Page(path)
        self.assertEqual(page.asked["label"], ["and", "not like"])
        self.assertEqual(page.asked["weight"], ["\u00d7\u00a00.25", "\u00d7\u00a00.5"])
        kinds = set()
        for card, hit in zip(page.cards, answer["hits"], strict=True):
            sums = {}
            for part in hit["explain"]:
                for modality, share in part["shares"].items():
                    sums[modality] = sums.get(modality, 0) + share
            shown = dict(re.findall(r"(text|image|audio) (-?[0-9.]+)", card["shares"]))
            self.assertEqual(set(shown), set(sums))
            kinds.add(tuple(sums))
            for modality, share in sums.items():
                self.assertAlmostEqual(float(shown[modality]), share, delta=0.00051)
                self.assertAlmostEqual(card["bar"][modality], max(share, 0) * 100, delta=0.051)
            self.assertAlmostEqual(sum(sums.values()), hit["score"], delta=1e-5)
        self.assertLessEqual({("text",), ("text", "image")}, kinds)
        plain = run_json("search", "--store", store, *models, "--text", "red", "--page", path)
        self.assertEqual([(card["shares"], list(card["bar"])) for card in Page(path).cards],
                         [("", [""])] * len(plain["hits"]))

    def test_nothing_found(self):
        none = json.dumps({"key": "price", "range": {"lt": -1}})
        answer, page = self.search("--text", "red", "--filter", none)
        self.assertEqual((answer["hits"], page.cards), ([], []))
        self.assertTrue("Nothing was found" in page.source)

    def test_all_or_nothing(self):
        path = self.folder.name + "/kept.html"
        with open(path, "w", encoding="utf-8") as file:
            file.write("old")
        for wrong in ("/none/page.html", self.folder.name):
            code, out, err = run("search", "--store", self.store, "--model", MODEL, "--text", "red", "--page", wrong)
            self.assertEqual((code, out, err.count("\n")), (1, "", 1), err)
        code, _, _ = run("search", "--store", self.store, "--item", "nobody", "--page", path)
        self.assertEqual(code, 3)
        limited = subprocess.run(["bash", "-c", 'ulimit -f 16; trap "" XFSZ; exec "$@"', "bash",
                                  os.environ["MAGPIE_BINARY"], "search", "--store", self.store, "--model", MODEL,
                                  "--text", "red", "-k", str(ITEMS), "--page", path, "--files", self.folder.name],
                                 capture_output=True, text=True, check=False)
        self.assertEqual((limited.returncode, limited.stdout), (1, ""), limited.stderr)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")
        self.assertFalse(os.path.exists(path + ".tmp"))


if __name__ == "__main__":
    unittest.main()
