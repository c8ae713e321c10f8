"""Whatever comes: the service answers with the 4xx that fits and the schema of errors, or closes; and goes on. No
model is needed. MAGPIE_BINARY names the command; run by ctest."""
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import TIMEOUT, Answer, Service, read_answer  # noqa: E402

READ, WRITE = "reads-0123456789abcdef", "writes-0123456789abcdef"
CODES = {400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
         413: "too_large", 415: "unsupported_media_type", 422: "unprocessable", 429: "too_many_requests",
         431: "too_large", 503: "unavailable"}
MIB = 1 << 20


LINES_HEAD = (b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n")


def chunks(text, size):
    return b"".join(b"%x\r\n%b\r\n" % (len(text[at:at + size]), text[at:at + size]) for at in range(0, len(text), size))


class Case(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        keys = os.path.join(cls.folder.name, "keys")
        with open(keys, "w", encoding="utf-8") as file:
            file.write(f"# of the test\n{READ} read shop\n\n{WRITE}\twrite\r\n")
        arguments = [keys if one == "KEYS" else one for one in cls.arguments]
        cls.service = Service(os.path.join(cls.folder.name, "store"), "--create", *arguments)

    @classmethod
    def tearDownClass(cls):
        cls.service.end()
        cls.folder.cleanup()

    def refused(self, answer, status, field=None):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        error = answer.json()
        self.assertEqual(list(error), ["error"])
        self.assertEqual(list(error["error"]), ["code", "message", "field"])
        self.assertEqual(error["error"]["code"], CODES[status])
        self.assertTrue(error["error"]["message"])
        if field:
            self.assertEqual(error["error"]["field"], field)
        self.assertEqual("Retry-After" in answer.headers, status in (429, 503))

    def raw(self, text, method="GET"):
        """The answer to these bytes."""
        with self.service.open_socket() as sock:
            sock.sendall(text if isinstance(text, bytes) else text.encode())
            return read_answer(sock, method)

    def lives(self):
        answer = self.service.get("/healthz")
        self.assertEqual(answer.status, 200)


class Keys(Case):
    arguments = ("--api-key-file", "KEYS")

    def test_keys(self):
        get = self.service.get
        for wrong in (None, "", READ[:-1], READ + "x", READ.upper(), "x" * 256, "x" * 300, "\xe9" * 20):
            for header in ("Authorization", "X-Api-Key"):
                given = {} if wrong is None else {header: f"Bearer {wrong}" if header == "Authorization" else wrong}
                answer = get("/v1/stats", **given)
                self.refused(answer, 401)
                self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        self.refused(get("/v1/stats", Authorization=f"Basic {READ}"), 401)
        for key in (READ, WRITE):
            self.assertEqual(get("/v1/stats", Authorization=f"Bearer {key}").status, 200)
            self.assertEqual(get("/v1/stats", **{"X-Api-Key": key}).status, 200)
        for free in ("/healthz", "/readyz"):
            self.assertEqual(get(free).status, 200)
        # Whoever has no key does not learn what there is, but for its path.
        self.refused(get("/v1/items/x"), 401)
        self.refused(self.service.post("/v1/search", b"{"), 401)

    def test_a_key_that_reads_writes_nothing(self):
        one = {"id": "a", "text": "red"}
        for method, path, body in (("POST", "/v1/items", one), ("POST", "/v1/items", [one]),
                                   ("PATCH", "/v1/items/a", {"attributes": {}}), ("DELETE", "/v1/items/a", None),
                                   ("POST", "/v1/items/delete", {"ids": ["a"]}),
                                   ("POST", "/v1/interactions", {"user": "u", "item": "a"}),
                                   ("DELETE", "/v1/users/u", None)):
            for header in ({}, {"X-Api-Key": "x" * 20}):
                self.refused(self.service.ask(method, path, body, header), 401)
            self.refused(self.service.ask(method, path, body, {"X-Api-Key": READ}), 403)
            self.assertEqual(self.service.get("/v1/items/a", **{"X-Api-Key": READ}).status, 404)
        answer = self.service.ask("POST", "/v1/items", one, {"X-Api-Key": WRITE})
        self.assertEqual(answer.json()["status"], "created")

    def test_refusal_reaches_those_who_send_first(self):
        """A body of a MiB is read past, and the connection is kept."""
        connection = self.service.connect()
        for _ in range(3):
            answer = self.service.ask("POST", "/v1/search", b" " * MIB, connection=connection)
            self.refused(answer, 401)
        self.assertEqual(self.service.ask("GET", "/healthz", connection=connection).status, 200)
        connection.close()


class Requests(Case):
    arguments = ("--max-media-body", 1, "--max-bodies", 4, "--access-log", "-")

    def test_paths(self):
        for path in ("/..", "/%2e%2e/%2e%2e/etc/passwd", "/v1/items/..%2f..%2fdata.mdb", "/v1/items/%2e%2e", "//",
                     "/v1//search", "/v1/search/", "/v1/items/", "/v1/items//image", "/v1/items/%00",
                     "/v1/items/a%00b", "/v1/items/%", "/v1/items/%2", "/v1/items/%zz", "/v1/items/%ff%c3",
                     "/v1/items/" + "%e6%bc%a2" * 700, "/v1/items/\xe9\x01", "/index.html/", "/media/../keys", "*",
                     "http://localhost/healthz", "/" + "a" * 8000, "/%0d%0aX-Injected:%20yes"):
            answer = self.raw(b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.refused(answer, 404)
            self.assertNotIn("X-Injected", answer.headers)
        for path in ("/v1/items/x/image?size=%00", "/v1/items/x/image?size=16%00", "/v1/items/x?%00=1"):
            self.refused(self.service.get(path), 400)
        self.lives()

    def test_log_is_a_line_of_json_a_request(self):
        name = f"n{random.randrange(10**9)}"
        for path in (f'/{name}"quoted', f"/{name}\xff\xfe", f"/{name}\\%0a%22", f"/{name}\x01\x7f"):
            text = b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\"b\r\n\r\n"
            self.refused(self.raw(text), 404)
        until = time.monotonic() + TIMEOUT
        while self.service.logged().count(name) < 4 and time.monotonic() < until:
            self.lives()
        lines = [json.loads(line) for line in self.service.logged().splitlines()]
        self.assertEqual(sum(name in one.get("path", "") for one in lines), 4)
        self.assertFalse([one for one in lines if '"' in one.get("request", "")])

    def test_methods(self):
        for method, path, allowed in (("PUT", "/v1/search", "POST"), ("GET", "/v1/search", "POST"),
                                      ("POST", "/metrics", "GET"), ("BREW", "/healthz", "GET"),
                                      ("get", "/healthz", "GET"), ("X" * 200, "/healthz", "GET")):
            answer = self.service.ask(method, path)
            self.refused(answer, 405)
            self.assertEqual(answer.headers["Allow"], allowed + ", OPTIONS")
        answer = self.service.ask("OPTIONS", "/v1/search")
        self.assertEqual((answer.status, answer.body, answer.headers["Allow"]), (204, b"", "POST, OPTIONS"))
        self.assertNotIn("Access-Control-Allow-Origin", answer.headers)
        got, head = self.service.get("/healthz"), self.service.ask("HEAD", "/healthz")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["Content-Length"], got.headers["Content-Length"])
        self.assertNotIn("Allow", got.headers)

    def test_types(self):
        for kind in ("", "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "*/*"):
            self.refused(self.service.post("/v1/search", b"{}", **{"Content-Type": kind}), 415)
        for kind in ("application/json", "Application/JSON; charset=utf-8"):
            self.refused(self.service.post("/v1/search", b"{}", **{"Content-Type": kind}), 400, "query")
        for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "b" * 80):
            self.refused(self.service.post("/v1/search", b"--b--", **{"Content-Type": kind}), 400)

    def test_sites(self):
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::1].evil", ""):
            self.refused(self.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"), 403)
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80"):
            self.assertEqual(self.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").status, 200)
        self.refused(self.service.post("/v1/search", b"{}", **{"Sec-Fetch-Site": "cross-site"}), 403)
        other = Service(os.path.join(self.folder.name, "other"), "--create", "--host", "0x7f.1")
        for name, status in (("evil.example", 403), ("localhost", 200), ("0x7f.1", 200)):
            self.assertEqual(other.get("/healthz", Host=name).status, status, name)
        other.end()

    def test_json(self):
        vector = [1.0] * 4
        for body in (b"", b" ", b"{", b"[]", b"1", b"null", b'"x"', b"{} {}", b"[" * 100000, b"{\"query\":" * 100000,
                     b"[" * 1000 + b"]" * 1000, b'{"query": NaN}', b'{"query": Infinity}', b'{"query": "\xff"}',
                     b'{"query": "\xc3"}',
                     b'{"query": "\\ud800"}', b'{"query": "a\\u0000b"}', b'{"query": "a\x01"}', b"\xef\xbb\xbf{}",
                     b'{"k": 1, "k": 2}', b"\x00", b'{"\xff": 1}'):
            self.refused(self.service.post("/v1/search", body), 400)
        for body, field in (({"queri": "x"}, "queri"), ({"query": {"txt": "x"}}, "query.txt"),
                            ({"query": ""}, "query"), ({"query": []}, "query"), ({"query": {}}, "query"),
                            ({"query": {"text": "a", "item": "b"}}, "query"), ({"query": [{"text": 1}]}, "query[0].text"),
                            ({"query": {"image": "!!!!"}}, "query.image"), ({"query": {"audio": 1}}, "query.audio"),
                            ({"query": {"vector": []}}, "query.vector"),
                            ({"query": {"vector": vector + ["x"]}}, "query.vector"),
                            ({"query": {"text": "a", "weight": 0}}, "query"),
                            ({"query": {"text": "a", "weight": 1e9}}, "query.weight"),
                            ({"query": {"text": "a", "weight": "1"}}, "query.weight"),
                            ({"k": 0}, "k"), ({"k": -1}, "k"),
                            ({"k": 1.5}, "k"), ({"k": 2**63 - 1}, "k"), ({"k": True}, "k"), ({"offset": -1}, "offset"),
                            ({"offset": 2**62}, "offset"), ({"fields": "text"}, "fields"), ({"fields": ["x"]}, "fields"),
                            ({"space": "outer"}, "space"), ({"min_score": 2}, "min_score"), ({"explain": 1}, "explain"),
                            ({"filter": []}, "filter"), ({"filter": {"$nope": 1}}, "filter"),
                            ({"weights": {"smell": 1}, "query": {"vector": vector}}, "weights.smell"),
                            ({"é" * 300: 1}, None)):
            answer = self.service.post("/v1/search", body)
            self.refused(answer, 400, field)
        deep = '{"$not": ' * 1500 + "{}" + "}" * 1500
        self.refused(self.service.post("/v1/search", f'{{"filter": {deep}}}'.encode()), 400, "filter")
        self.refused(self.service.post("/v1/search", {"query": [{"vector": vector}] * 65}), 413, "query[64].vector")
        for numbers in ("1e999", "9" * 400, "0, 0", "1e300, 1e300"):  # well said, and cannot be
            self.refused(self.service.post("/v1/search", f'{{"query": {{"vector": [{numbers}]}}}}'.encode()), 422)
        self.refused(self.service.post("/v1/search", {"query": {"vector": vector}}), 422)  # the store is empty
        self.refused(self.service.post("/v1/search", {"query": "red"}), 422)  # there is no model

    def test_bodies(self):
        huge = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for more in ("", "Expect: 100-continue\r\n"):
            for length in (2 << 30, 2**63, 2**64 - 1):
                self.refused(self.raw(huge + more + f"Content-Length: {length}\r\n\r\n"), 413)
        self.refused(self.raw(huge + f"Expect: 100-continue\r\nContent-Length: {MIB + 1}\r\n\r\n"), 413)
        self.refused(self.service.post("/v1/search", b" " * (MIB + 1)), 413)
        self.refused(self.service.ask("GET", "/v1/stats", b"{}"), 413)
        connection = self.service.connect()
        for path in ("/v1/search", "/v1/nowhere"):
            connection.request("POST", path, iter([b" " * 100000] * 20), {"Content-Type": "application/json"},
                               encode_chunked=True)
            self.refused(Answer(connection.getresponse()), 413 if path == "/v1/search" else 404)
        self.assertEqual(self.service.ask("GET", "/healthz", connection=connection).status, 200)
        connection.close()

    def test_endless_body(self):
        """2 GiB in chunks: whoever looks up while sending is told, and then cut."""
        chunk, sent = b"100000\r\n" + b" " * MIB + b"\r\n", 0
        with self.service.open_socket() as sock:
            sock.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n")
            try:
                while sent < 2048 and not select.select([sock], [], [], 0)[0]:
                    sock.sendall(chunk)
                    sent += 1
            except OSError:
                pass
            self.assertLess(sent, 200)
            self.refused(read_answer(sock), 413)
        self.lives()

    def test_lengths_that_others_may_read_otherwise(self):
        head = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        smuggled = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for lines in ("Content-Length: 2\r\nContent-Length: 60", "Content-Length: 2\r\nContent-Length: 2",
                      "Content-Length: 5\r\nTransfer-Encoding: chunked",
                      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"):
            with self.service.open_socket() as sock:
                sock.sendall(f"{head}{lines}\r\n\r\n0\r\n\r\n{smuggled}".encode())
                self.refused(read_answer(sock), 400)
                self.assertEqual(sock.recv(1 << 16), b"", "the connection is closed")
        for lines in ("Content-Length: -1", "Content-Length: 2x", "Content-Length: 0x2", "Content-Length: 1 1"):
            self.assertEqual(self.raw(f"{head}{lines}\r\n\r\n{{}}").status, 400)
        for chunk in ("-2\r\n{}\r\n0\r\n\r\n", "x\r\n", "2\r\n{}}\r\n", "ffffffffffffffffff\r\n"):
            self.assertIn(self.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}").status, (400, 413))
        self.lives()

    def test_headers(self):
        """Of each size one is answered, as it should or with 431; never with nothing."""
        statuses = set()
        for size in [*range(1000, 36000, 500), 100000]:
            for many in (False, True):
                lines = "A:b\r\n" * (size // 40) if many else f"X-Long: {'x' * size}\r\n"
                with self.service.open_socket() as sock:
                    try:
                        sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
                    except OSError:
                        pass  # it was answered before all was sent
                    answer = read_answer(sock)
                statuses.add(answer.status)
                if answer.status == 431 and size < 18000:  # longer ones libmicrohttpd refuses by itself
                    self.refused(answer, 431)
        self.assertEqual(statuses, {200, 431})
        self.assertIn(self.raw(f"GET /{'a' * 100000} HTTP/1.1\r\n\r\n").status, (414, 431))
        self.refused(self.raw(f"GET /?{'a&' * 300} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 431)

    def test_many_requests_in_one_go(self):
        paths = ["/healthz", "/v1/items/x", "/readyz", "/nowhere"] * 5
        with self.service.open_socket() as sock:
            sock.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths).encode())
            file = sock.makefile("rb")
            got = [self.read_pipelined(file) for _ in paths]
        self.assertEqual(got, [200, 404, 200, 404] * 5)

    @staticmethod
    def read_pipelined(file):
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert len(file.read(length)) == length
        return status

    def test_values_that_take_more_than_their_text(self):
        """"{}" has two bytes, and 200 in memory."""
        many = b"[" + b"{}," * 100000 + b"{}]"
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        form = b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"user": %b}\r\n--b--\r\n' % many
        lines = LINES_HEAD + chunks(b'{"id": "a"}\n' + many + b"\n", 100000) + b"0\r\n\r\n"
        for ask in 5 * (lambda: self.service.post("/v1/search", many), lambda: self.raw(lines),
                        lambda: self.service.post("/v1/search", form, **kind)):
            while (answer := ask()).status == 429:
                pass  # the one before has been answered, and is about to go
            self.refused(answer, 413)
        lines = (many[:30001] + b"{}]\n") * 20  # each has room, and leaves it to the next
        answer = self.raw(LINES_HEAD + chunks(lines, 100000) + b"0\r\n\r\n")
        self.assertEqual(len(answer.body.splitlines()), 20)
        self.refused(self.service.post("/v1/search", b" " * MIB), 400)  # all is given back

    def test_too_many_bodies(self):
        """4 MiB of bodies may be there at once."""
        size = MIB - 10000  # of four, with room for what their JSON takes
        head = f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        holders = [self.service.open_socket() for _ in range(8)]
        for sock in holders:
            sock.sendall(head.encode() + b" " * (size - 1))
        for sock in holders:
            sock.sendall(b" ")
        answers = [read_answer(sock) for sock in holders]
        for sock in holders:
            sock.close()
        self.assertEqual({answer.status for answer in answers}, {400, 429})
        for answer in answers:
            self.refused(answer, answer.status)
        self.refused(self.service.post("/v1/search", b" " * MIB), 400)  # and all is given back


class Lines(Case):
    arguments = ("--max-in-flight", 1, "--max-media-body", 1, "--max-bodies", 16)

    def test_chunks_of_any_size(self):
        """Lines arrive whole and once, however they were cut up."""
        lines = b"".join(b'{"id": "%d", "text": "red", "nosuch": 1}\n' % i for i in range(12000))
        for size in (7, 100, 4096, 1 << 20):
            with self.service.open_socket() as sock:
                sock.sendall(LINES_HEAD + chunks(lines, size) + b"0\r\n\r\n")
                answer = read_answer(sock)
            self.assertEqual(answer.status, 200)
            answers = [json.loads(line) for line in answer.body.splitlines()]
            self.assertEqual([one["line"] for one in answers], list(range(1, 12001)))
            self.assertEqual({one["error"]["code"] for one in answers}, {"invalid_request"})

    def test_more_lines_than_bodies_may_have(self):
        """Only those that wait count."""
        lines = (b" " * 60000 + b"{}\n") * 400
        with self.service.open_socket() as sock:
            sock.sendall(LINES_HEAD + chunks(lines, 100000) + b"0\r\n\r\n")
            answer = read_answer(sock)
        self.assertEqual((answer.status, len(answer.body.splitlines())), (200, 400))

    def test_more_answers_than_there_is_room_for(self):
        """Of 2 bytes some 130 are made: they count, and whoever sends such is told how far it came."""
        for _ in range(8):  # what they had is given back
            with self.service.open_socket() as sock:
                sock.sendall(LINES_HEAD + chunks(b"x\n" * 100000, 100000) + b"0\r\n\r\n")
                answer = read_answer(sock)
            self.refused(answer, 413)
            self.assertIn("too many lines", answer.json()["error"]["message"])

    def test_answered_before_the_last_line(self):
        """What is read past is not in flight."""
        with self.service.open_socket() as sock:
            sock.sendall(LINES_HEAD.replace(b"/items", b"/items?wait=x"))
            sock.sendall(chunks(b"{}\n" * 10000000, MIB))  # more than is on its way: the first ones were looked at
            self.assertEqual(self.service.get("/v1/stats").status, 200)
            sock.sendall(b"0\r\n\r\n")
            self.refused(read_answer(sock), 400, "wait")

    def test_a_line_that_never_ends(self):
        lines = b'{"id": "c", "text": "red"}\n"' + b"x" * 5 * MIB + b'"\n{"id": "d", "text": "red"}\n'
        with self.service.open_socket() as sock:
            sock.sendall(LINES_HEAD + chunks(lines, 100000) + b"0\r\n\r\n")
            answers = [json.loads(line) for line in read_answer(sock).body.splitlines()]
        self.assertEqual([one.get("status") or one["error"]["code"] for one in answers],
                         ["created", "too_large", "created"])

    def test_too_many_in_flight(self):
        """A stream of lines that pauses is in flight; whoever asks meanwhile is told to come again."""
        lines = (b"{}" + b" " * 30 + b"\n") * 10000
        asks = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
               b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"  # and never sends it: is not in flight itself
        with self.service.open_socket() as sock:
            sock.sendall(LINES_HEAD + chunks(lines, 50000))
            until = time.monotonic() + TIMEOUT
            status = b"100"
            while status == b"100":
                self.assertLess(time.monotonic(), until)
                with self.service.open_socket() as other:
                    other.sendall(asks)
                    status = other.recv(12).split()[1]
            self.assertEqual(status, b"429")
            self.refused(self.service.get("/v1/stats"), 429)
            self.refused(self.service.post("/v1/search", b"{}"), 429)
            self.lives()  # whoever looks after it is not turned away
            sock.sendall(b"0\r\n\r\n")
            self.assertEqual(len(read_answer(sock).body.splitlines()), 10000)
        self.assertEqual(self.service.get("/v1/stats").status, 200)


class Stalled(unittest.TestCase):
    def test_a_log_that_nobody_reads(self):
        """Requests are answered, and the end comes; what was read of it are whole lines."""
        with tempfile.TemporaryDirectory() as folder:
            os.mkfifo(folder + "/log")
            log = os.open(folder + "/log", os.O_RDONLY | os.O_NONBLOCK)
            service = Service(folder + "/store", "--create", "--access-log", folder + "/log")
            connection = service.connect()
            for _ in range(2000):  # 2 MB of lines
                self.assertEqual(service.ask("GET", "/" + "x" * 1000 + "/y", connection=connection).status, 404)
            connection.close()
            service.end()
            read = b"".join(iter(lambda: os.read(log, MIB), b""))
            os.close(log)
            self.assertGreater(len([json.loads(line) for line in read.split(b"\n")[:-1]]), 10)


class Leaving(Case):
    # It may be only by the idle time that libmicrohttpd sees that a client has left in the middle of a body.
    arguments = ("--idle-timeout", 1)

    def test_clients_that_leave(self):
        """In the middle of their lines, while some are looked at: all they held is given back."""
        for _ in range(10):
            with self.service.open_socket() as sock:
                sock.sendall(LINES_HEAD + chunks(b'{"id": "a", "nosuch": 1}\n' * 20000, 30000))
        until = time.monotonic() + TIMEOUT
        while (stats := self.service.get("/v1/stats").json())["in_flight"] > 1 or stats["connections"] > 1:
            self.assertLess(time.monotonic(), until)


class Slow(Case):
    arguments = ("--header-timeout", 1, "--idle-timeout", 1)

    def until(self, holds):
        until = time.monotonic() + TIMEOUT
        while not holds():
            self.assertLess(time.monotonic(), until)

    def drip(self, sock, text):
        """A byte now and then, until it is cut; what was answered."""
        until = time.monotonic() + TIMEOUT
        try:
            while not select.select([sock], [], [], 0.05)[0]:
                sock.sendall(text)
                self.assertLess(time.monotonic(), until, "a slow client is never cut")
            return sock.recv(1000)
        except OSError:
            return b""

    def test_slow_clients_are_cut(self):
        body = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        refused = body.replace(b"search", b"nowhere")
        lines = body.replace(b"/search", b"/items").replace(b"/json", b"/x-ndjson")
        for start in (b"G", b"GET / HTTP/1.1\r\nX-Slow: ", body + b"Content-Length: 900000\r\n\r\n",
                      body + b"Transfer-Encoding: chunked\r\n\r\n40000\r\n",
                      lines + b"Transfer-Encoding: chunked\r\n\r\n40000\r\n",
                      refused + b"Transfer-Encoding: chunked\r\n\r\n40000\r\n",
                      LINES_HEAD.replace(b"/items", b"/items?wait=x") + b"80000\r\n" + b"\n" * 0x40000):
            with self.service.open_socket() as sock:
                sock.sendall(start)
                self.assertEqual(self.drip(sock, b" " if start != b"G" else b"E"), b"")
                self.lives()

    def test_end_waits_for_no_slow_client(self):
        """While the others are answered it is cut, and what they asked is in the log."""
        service = Service(os.path.join(self.folder.name, "ending"), "--create", "--header-timeout", 1)
        head = (f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {MIB}\r\n\r\n").encode()
        slow, first, last = (service.open_socket() for _ in range(3))
        slow.sendall(head)
        for sock in (first, last):  # so much of a body that there is time for the rest
            sock.sendall(head.replace(b"\r\n\r\n", b"\r\nX-Request-Id: in-time\r\n\r\n") + b" " * (MIB - 1))
        self.until(lambda: service.get("/v1/stats").json()["connections"] >= 4)
        service.process.send_signal(signal.SIGTERM)
        self.until(lambda: "ending" in service.logged())
        self.assertEqual(self.drip(slow, b" "), b"")
        first.sendall(b" ")
        self.assertEqual(read_answer(first).status, 400)
        self.until(lambda: "in-time" in service.logged())
        last.sendall(b" ")
        self.assertEqual(read_answer(last).status, 400)
        for sock in (slow, first, last):
            sock.close()
        service.end()

    def test_idle_ones_hold_nobody(self):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096) if most > 0 else 4096, most))
        idle = [self.service.open_socket() for _ in range(1000)]
        for sock in idle[::2]:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
        self.lives()
        for sock in idle:  # and they are closed in the end
            self.assertEqual(sock.recv(1), b"")
            sock.close()


if __name__ == "__main__":
    unittest.main()
