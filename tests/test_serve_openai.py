"""/v1/embeddings is OpenAI's contract: vectors are those of `magpie encode`, whichever way they are asked for; with
the real openai package too, where this Python has it (pip install openai). MAGPIE_BINARY names the command; run by
ctest."""
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import NO_MODELS, SKIPPED, binary, item, model_or_skip, run, write_catalogue  # noqa: E402

try:
    import openai
except ImportError:
    openai = None
    print("SKIPPED: the part with the openai package, which this Python has not")

MODEL = model_or_skip()
TEXTS = ["a bird that steals shiny things", "", "naïve Łódź 漢字", "long " * 3000, "red"]


def encoded(texts):
    lines = "".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts))
    code, out, err = run("encode", "--model", MODEL, "--precision", "f32", stdin=lines)
    assert code == 0, err
    return [json.loads(line)["vector"] for line in out.splitlines()]


class Service:
    """A service of its own, at a free port, with a store of a few items."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        catalogue, store = self.folder.name + "/c.jsonl", self.folder.name + "/store"
        write_catalogue(catalogue, [item(i) for i in range(5)])
        code, _, err = run("ingest", catalogue, "--store", store, "--model", MODEL)
        assert code == 0, err
        self.process = subprocess.Popen([binary(), "serve", "--store", store, "--model", MODEL, "--precision", "f32",
                                         "--port", "0", "--access-log", "none"], stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **NO_MODELS})
        line = self.process.stdout.readline()  # comes when it is ready
        assert "http://" in line, line
        self.url = line[line.index("http://"):].rstrip("/\n")

    def ask(self, path, body=None):
        """Status and JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"} if data else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def close(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.process.stdout.close()
        self.folder.cleanup()
        assert code == 0, f"the service ended with {code}"


def setUpModule():
    global service, wanted
    service = Service()
    if service.ask("/v1/embeddings", {})[0] == 404:
        service.close()
        print("SKIPPED: this service has no /v1/embeddings")
        sys.exit(SKIPPED)
    wanted = encoded(TEXTS)


def tearDownModule():
    service.close()


class Near(unittest.TestCase):
    def near(self, got, expected):
        self.assertEqual(len(got), len(expected))
        self.assertLess(max(abs(a - b) for a, b in zip(got, expected)), 1e-6)


class Contract(Near):
    def embed(self, **request):
        status, answer = service.ask("/v1/embeddings", request)
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["object"], "list")
        for i, one in enumerate(answer["data"]):
            self.assertEqual((one["object"], one["index"]), ("embedding", i))
        return answer

    def test_list(self):
        answer = self.embed(input=TEXTS)
        self.assertEqual(len(answer["data"]), len(TEXTS))
        for one, expected in zip(answer["data"], wanted):
            self.near(one["embedding"], expected)

    def test_single_is_list(self):
        for text, expected in zip(TEXTS, wanted):
            (one,) = self.embed(input=text)["data"]
            self.near(one["embedding"], expected)

    def test_base64_is_float(self):
        floats = self.embed(input=TEXTS, encoding_format="float")["data"]
        for one, other in zip(self.embed(input=TEXTS, encoding_format="base64")["data"], floats):
            data = base64.b64decode(one["embedding"], validate=True)
            self.near(struct.unpack(f"<{len(data) // 4}f", data), other["embedding"])

    def test_tokens_are_texts(self):
        with open(MODEL + "/vocab.txt", encoding="utf-8") as file:
            ids = {token.rstrip("\n"): i for i, token in enumerate(file)}
        texts = [["red", "copper", "lamp"], ["bird"]]
        tokens = [[ids[word] for word in ["[CLS]", *words, "[SEP]"]] for words in texts]
        expected = encoded([" ".join(words) for words in texts])
        answer = self.embed(input=tokens)
        self.assertEqual(answer["usage"], {"prompt_tokens": 8, "total_tokens": 8})
        for one, vector in zip(answer["data"], expected):
            self.near(one["embedding"], vector)
        self.near(self.embed(input=tokens[1])["data"][0]["embedding"], expected[1])
        mixed = self.embed(input=[tokens[0], "bird", {"text": "bird"}])["data"]
        for one, at in zip(mixed, (0, 1, 1)):
            self.near(one["embedding"], expected[at])
        self.assertEqual(self.embed(input="red copper lamp")["usage"]["prompt_tokens"], 5)

    def test_what_is_refused(self):
        cases = [({}, 400, "input"), ({"input": None}, 400, "input"), ({"input": []}, 400, "input"),
                 ({"input": 7}, 400, "input"), ({"input": ["a", 7.5]}, 400, "input[1]"),
                 ({"input": [[]]}, 400, "input[0]"), ({"input": [101, 30522]}, 400, "input"),
                 ({"input": ["a", [101, -1]]}, 400, "input[1]"), ({"input": [[101] * 257]}, 400, "input[0]"),
                 ({"input": [{"text": "a", "image": "AAAA"}]}, 400, "input[0]"),
                 ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
                 ({"input": "a", "dimensions": 3}, 400, "dimensions"), ({"input": "a", "smell": 1}, 400, "smell"),
                 ({"input": ["a"] * 2049}, 400, "input"), ({"input": "a", "model": "gpt-none"}, 404, "model")]
        for body, status, field in cases:
            got, answer = service.ask("/v1/embeddings", body)
            self.assertEqual((got, answer["error"]["field"]), (status, field), (str(body)[:80], answer))


@unittest.skipUnless(openai, "no openai package")
class Client(Near):
    def setUp(self):
        self.client = openai.OpenAI(base_url=service.url + "/v1", api_key="none", max_retries=0)
        self.addCleanup(self.client.close)
        self.model = self.client.models.list().data[0].id

    def test_embeddings(self):
        create = self.client.embeddings.create
        for more in ({}, {"encoding_format": "float"}):  # without it, the package asks for base64 and decodes it
            for one, expected in zip(create(model=self.model, input=TEXTS, **more).data, wanted, strict=True):
                self.near(one.embedding, expected)
            self.near(create(model=self.model, input=TEXTS[0], **more).data[0].embedding, wanted[0])
        data = base64.b64decode(create(model=self.model, input=TEXTS[0], encoding_format="base64").data[0].embedding)
        self.near(struct.unpack("<384f", data), wanted[0])

    def test_errors_are_its_own(self):
        with self.assertRaises(openai.BadRequestError):
            self.client.embeddings.create(model=self.model, input=[])
        with self.assertRaises(openai.NotFoundError) as raised:
            self.client.embeddings.create(model="gpt-none", input="a")
        self.assertIn("gpt-none", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
