"""What the tests of the service share: a service of their own, and requests to it."""
import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import NO_MODELS, binary  # noqa: E402

TIMEOUT = 120  # seconds after which a test has failed; sanitizers are slow


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body.decode())


class Service:
    """`magpie serve` at a free port, until `end`."""

    def __init__(self, store, *arguments, env=None):
        self.log = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        command = [binary(), "serve", "--store", store, "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, env={**os.environ, **NO_MODELS, **(env or {})},
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        atexit.register(self.process.kill)  # of a test that failed; one that has ended is let be
        line = self.process.stdout.readline()
        match = re.fullmatch(r"magpie serve: listening to http://(.+):(\d+)/\n", line)
        assert match, f"{line!r}: {self.logged()}"
        self.port = int(match[2])

    def logged(self):
        """The lines that there are, without moving the place at which the service writes, which is this file's."""
        file = self.log.fileno()
        text = os.pread(file, os.fstat(file).st_size, 0)
        return text[:text.rfind(b"\n") + 1].decode()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def ask(self, method, path, body=None, headers=None, connection=None):
        """`body`: bytes, or what is sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
        one = connection or self.connect()
        try:
            one.request(method, path, body, headers)
            return Answer(one.getresponse())
        finally:
            if not connection:
                one.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, headers)

    def open_socket(self):
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT)

    def end(self, by=signal.SIGTERM):
        """Its exit code."""
        self.process.send_signal(by)
        code = self.process.wait(TIMEOUT)
        self.process.stdout.close()
        if by == signal.SIGTERM:
            assert code == 0, f"ended with {code}: {self.logged()[-4000:]}"
        self.log.close()
        return code


def read_answer(sock, method="GET"):
    """The next answer on a socket that requests were written to by hand."""
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    return Answer(response)
