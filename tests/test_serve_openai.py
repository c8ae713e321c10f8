"""/v1/embeddings is OpenAI's contract: vectors are those of `magpie encode`, whichever way they are asked for; with
the real openai package too, where this Python has it (pip install openai). /v1/rerank orders by their cosines, and
/v1/models has what they can be asked of. MAGPIE_BINARY names the command; run by ctest."""
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from one_space import dot, project, write_heads  # noqa: E402
from sample import (NO_MODELS, binary, item, model_or_skip, run, write_catalogue, write_model,  # noqa: E402
                    write_picture)

try:
    import openai
except ImportError:
    openai = None
    print("SKIPPED: the part with the openai package, which this Python has not")

MODEL = model_or_skip()
TEXTS = ["a bird that steals shiny things", "", "naïve Łódź 漢字", "long " * 3000, "red"]


PRECISION = os.environ.get("MAGPIE_TEST_PRECISION", "f32")


def encoded(values, kind="text", model=("--model", MODEL), *more):
    lines = "".join(json.dumps({"id": str(i), kind: value}) + "\n" for i, value in enumerate(values))
    code, out, err = run("encode", *model, "--precision", PRECISION, *more, stdin=lines)
    assert code == 0, err
    return [json.loads(line)["vector"] for line in out.splitlines()]


def base64_of(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()


class Service:
    """A service of its own, at a free port, with a store of a few items; texts and pictures have heads into one
    space."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        folder = self.folder.name
        catalogue, store = folder + "/c.jsonl", folder + "/store"
        self.image_model = ("--image-model", write_model("image", folder + "/image"))
        self.pictures = [f"{folder}/{i}.png" for i in range(5)]
        for i, path in enumerate(self.pictures):
            write_picture(path, i, 40)
        self.of_pictures = encoded(self.pictures, "image", self.image_model)
        self.heads = write_heads(folder + "/heads", {"text": 384, "image": len(self.of_pictures[0])},
                                 {"text": 1.0, "image": 1.0})
        models = ("--model", MODEL, *self.image_model, "--fusion-model", folder + "/heads", "--precision", PRECISION)
        write_catalogue(catalogue, [item(i) for i in range(5)])
        code, _, err = run("ingest", catalogue, "--store", store, *models)
        assert code == 0, err
        self.process = subprocess.Popen([binary(), "serve", "--store", store, *models, "--port", "0", "--access-log",
                                         "none"], stdout=subprocess.PIPE, text=True, env={**os.environ, **NO_MODELS})
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

    def in_flight(self):
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as answer:
            return int(answer.read().decode().split("\nmagpie_requests_in_flight ")[1].split("\n")[0])

    def close(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.process.stdout.close()
        self.folder.cleanup()
        assert code == 0, f"the service ended with {code}"


def setUpModule():
    global service, wanted
    wanted = encoded(TEXTS)
    service = Service()


def tearDownModule():
    service.close()


class Near(unittest.TestCase):
    def near(self, got, expected):
        self.assertEqual(len(got), len(expected))
        self.assertLess(max(abs(a - b) for a, b in zip(got, expected)), 1e-6)


    def embed(self, **request):
        status, answer = service.ask("/v1/embeddings", request)
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["object"], "list")
        for i, one in enumerate(answer["data"]):
            self.assertEqual((one["object"], one["index"]), ("embedding", i))
        return answer

    def vectors(self, **request):
        return [one["embedding"] for one in self.embed(**request)["data"]]


class Contract(Near):
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
            self.assertEqual(data, struct.pack(f"<{len(data) // 4}f", *other["embedding"]))  # to the bit

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
                 ({"input": [[]]}, 400, "input[0]"), ({"input": [101, 30522]}, 422, "input"),
                 ({"input": ["a", [101, -1]]}, 400, "input[1]"), ({"input": [[101] * 257]}, 422, "input[0]"),
                 ({"input": [{"text": "a", "image": "AAAA"}]}, 400, "input[0]"),
                 ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
                 ({"input": "a", "dimensions": 3}, 422, "dimensions"), ({"input": "a", "smell": 1}, 400, "smell"),
                 ({"input": ["a"] * 2049}, 400, "input"), ({"input": "a", "model": "gpt-none"}, 404, "model")]
        for body, status, field in cases:
            got, answer = service.ask("/v1/embeddings", body)
            self.assertEqual((got, answer["error"]["field"]), (status, field), (str(body)[:80], answer))


class Models(Near):
    def test_list(self):
        status, answer = service.ask("/v1/models")
        self.assertEqual((status, answer["object"]), (200, "list"))
        takes = {one["id"]: (one["takes"], one["dimension"]) for one in answer["data"]}
        self.assertEqual(takes, {"text": (["text"], 384), "image": (["image"], len(service.of_pictures[0])),
                                 "fused": (["text", "image"], 16)})
        self.assertEqual(answer["data"][0]["id"], "text")

    def test_pictures(self):
        things = [{"image": base64_of(path)} for path in service.pictures]
        for got, expected in zip(self.vectors(input=things), service.of_pictures, strict=True):
            self.near(got, expected)
        self.near(self.vectors(input=things[0], model="image")[0], service.of_pictures[0])
        things[1] = {"image": "data:image/png;base64," + base64.b64encode(b"no picture").decode()}
        status, answer = service.ask("/v1/embeddings", {"input": things})
        self.assertEqual((status, answer["error"]["field"]), (422, "input[1].image"))
        for model, thing in (("text", "image"), ("image", "text")):
            status, answer = service.ask("/v1/embeddings", {"input": [{thing: "AAAA"}], "model": model})
            self.assertEqual((status, answer["error"]["field"]), (422, f"input[0].{thing}"))
        self.assertEqual(service.ask("/v1/embeddings", {"input": {"audio": "AAAA"}})[0], 422)

    def test_fused(self):
        answer = self.embed(input=["red", {"image": base64_of(service.pictures[0])}])  # only that takes both
        self.assertEqual((answer["model"], answer["usage"]["total_tokens"]), ("fused", 3))
        text, picture = (one["embedding"] for one in answer["data"])
        self.near(text, project(service.heads["text"], wanted[TEXTS.index("red")]))
        self.near(picture, project(service.heads["image"], service.of_pictures[0]))
        by_words, by_vector = (service.ask("/v1/search", {"query": query, "fields": []})[1]["hits"]
                               for query in ("red", {"vector": text}))
        self.assertEqual([hit["id"] for hit in by_words], [hit["id"] for hit in by_vector])
        self.near([hit["score"] for hit in by_words], [hit["score"] for hit in by_vector])


class Rerank(Near):
    def rerank(self, **request):
        status, answer = service.ask("/v1/rerank", request)
        self.assertEqual(status, 200, answer)
        return answer

    def check(self, model, query, documents):
        vectors = self.vectors(model=model, input=[query, *documents])
        expected = [dot(vectors[0], one) for one in vectors[1:]]
        answer = self.rerank(model=model, query=query, documents=documents)
        results = answer["results"]
        self.assertEqual(sorted(one["index"] for one in results), list(range(len(documents))))
        self.near([one["relevance_score"] for one in results], [expected[one["index"]] for one in results])
        order = [(-one["relevance_score"], one["index"]) for one in results]
        self.assertEqual(order, sorted(order))
        best = self.rerank(model=model, query=query, documents=documents, top_n=2, return_documents=True)
        for one, of_all in zip(best["results"], results[:2], strict=True):
            document = documents[one["index"]]
            self.assertEqual(one.pop("document"), {"text": document} if isinstance(document, str) else document)
            self.assertEqual(one["index"], of_all["index"])
        return answer

    def test_texts(self):
        documents = ["a cup of tea", "an axe", {"text": "hot chocolate"}, "an axe", "naïve \"Łódź\"\n漢字"]
        answer = self.check("text", "a warm drink", documents)
        self.assertEqual({one["index"] for one in answer["results"][:2]}, {0, 2})
        self.assertEqual(answer["model"], self.rerank(query="a", documents=["a"])["model"])
        tokens = self.embed(input=["a warm drink", *documents])["usage"]["total_tokens"]
        self.assertEqual(answer["usage"], {"total_tokens": tokens})

    def test_pictures_for_words(self):
        self.check("fused", "red", ["red", *({"image": base64_of(path)} for path in service.pictures)])

    def test_what_is_refused(self):
        cases = [({"documents": ["a"]}, 400, "query"), ({"query": "a"}, 400, "documents"),
                 ({"query": "a", "documents": []}, 400, "documents"),
                 ({"query": "a", "documents": ["a"] * 2049}, 400, "documents"),
                 ({"query": ["a"], "documents": ["a"]}, 400, "query"),
                 ({"query": "a", "documents": [[101]]}, 400, "documents[0]"),
                 ({"query": "a", "documents": ["a", {"image": "?"}]}, 400, "documents[1].image"),
                 ({"query": "a", "documents": ["a"], "top_n": 0}, 400, "top_n"),
                 ({"query": "a", "documents": ["a"], "model": "gpt-none"}, 404, "model")]
        for body, status, field in cases:
            got, answer = service.ask("/v1/rerank", body)
            self.assertEqual((got, answer["error"]["field"]), (status, field), (str(body)[:80], answer))


class Many(Near):
    def test_each_gets_its_own(self):
        """In many turns, as in one call."""
        texts = [item(i)["text"] * (i % 7 + 1) for i in range(400)]
        for got, expected in zip(self.vectors(input=texts), encoded(texts), strict=True):
            self.near(got, expected)

    def test_queries_go_on(self):
        """While one request with much to encode is not at its end."""
        much = threading.Thread(target=self.vectors, kwargs={"input": ["long " * 300] * 160})
        much.start()
        while not service.in_flight() > 1:  # this one is in flight too
            self.assertTrue(much.is_alive())
        for i in range(3):
            self.near(self.vectors(input="red")[0], wanted[TEXTS.index("red")])
            self.assertEqual(service.ask("/v1/search", {"query": f"red {i}"})[0], 200)
        self.assertTrue(much.is_alive())
        much.join()


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
