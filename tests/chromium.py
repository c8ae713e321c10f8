"""Headless Chromium, driven over --remote-debugging-pipe by the standard library alone: messages of the DevTools
protocol as JSON, each ended by a zero byte, on file descriptors 3 and 4. No port is opened, so tests may run side by
side."""
import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile

NAMES = ("chromium", "chromium-browser", "google-chrome")
DEADLINE = 60  # seconds that something on the page is waited for


def find():
    return os.environ.get("MAGPIE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser with one page; use it in a `with`."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Above 9, so that neither is the 3 or 4 that the other becomes.
        to_browser, from_browser = [[fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()]
                                    for _ in range(2)]
        arguments = [program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}",
                     "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                     "--disable-component-update", "--mute-audio", "--hide-scrollbars", "--no-default-browser-check",
                     "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
                     "--use-fake-device-for-media-stream", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        self.process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(to_browser[0], 3), os.dup2(from_browser[1], 4)))
        os.close(to_browser[0])
        os.close(from_browser[1])
        self.input, self.output = os.fdopen(to_browser[1], "wb", 0), os.fdopen(from_browser[0], "rb", 0)
        self.buffer, self.last, self.session = b"", 0, None
        self.events, self.errors = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.send(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.input.close()
        self.output.close()
        self.profile.cleanup()

    def receive(self):
        while b"\0" not in self.buffer:
            piece = self.output.read(1 << 20)
            if not piece:
                raise EOFError("the browser went away")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def note(self, event):
        """What a person would see as red in the console."""
        method, of = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            details = of["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and of["type"] in ("error", "assert"):
            self.errors.append(str([one.get("value", one.get("description")) for one in of["args"]]))
        elif method == "Log.entryAdded" and of["entry"]["level"] == "error":
            self.errors.append(f"{of['entry']['text']} {of['entry'].get('url', '')}")
        self.events.append(event)

    def send(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if "method" in answer:
                self.note(answer)
            elif answer["id"] == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def run(self, expression):
        """The value of a JavaScript expression, waited for where it is a promise."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                         userGesture=True)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            raise AssertionError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return done["result"].get("value")

    def wait(self, expression):
        """The expression's value, as soon as it is one; a failure says what the page showed instead."""
        return self.run(f"""new Promise((found, lost) => {{
            const end = Date.now() + {DEADLINE * 1000};
            const look = () => {{
              let value = null;
              try {{ value = {expression}; }} catch (error) {{ value = null; }}
              if (value) found(value);
              else if (Date.now() > end)
                lost(new Error("never came; the page: " + document.body.innerText.replace(/\\s+/g, " ").slice(0, 600)));
              else setTimeout(look, 20);
            }};
            look();
          }})""")

    def open(self, url, width=1280, height=900, scale=1, mobile=False, **media):
        self.size(width, height, scale, mobile)
        self.media(**media)
        self.send("Page.navigate", url="about:blank")  # else an address that differs in its hash alone loads nothing
        self.send("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url.split('#')[0])}) && document.readyState === 'complete'")

    def size(self, width, height, scale=1, mobile=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=mobile)
        self.send("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def media(self, **features):
        """media(prefers_color_scheme="dark")"""
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def press(self, key, modifiers=0):
        """A key of that name, as a keyboard sends it: with its text where it has one."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                 "ArrowDown": 40}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        of = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **of)
        self.send("Input.dispatchKeyEvent", type="keyUp", **of)

    def type(self, text):
        self.send("Input.insertText", text=text)

    def click(self, selector):
        """By the mouse, in the middle of it, once it lies still: fails where something lies over it."""
        x, y = self.run(f"""(async () => {{
            let box, element, before;
            const frame = () => new Promise(requestAnimationFrame);
            do {{
              before = box;
              element = document.querySelector({json.dumps(selector)});
              element.scrollIntoView({{block: "center", behavior: "instant"}});
              await frame().then(frame);
              box = element.getBoundingClientRect();
            }} while (!element.isConnected || !before || box.x !== before.x || box.y !== before.y);
            const at = [box.x + box.width / 2, box.y + box.height / 2];
            const hit = document.elementFromPoint(...at);
            if (element.contains(hit) || hit?.contains(element)) return at;
            throw new Error("covered by " + hit?.outerHTML.slice(0, 200));
          }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector, path):
        """Gives a file to an <input type=file>."""
        document = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[path])

    def screenshot(self, path, **how):
        shot = self.send("Page.captureScreenshot", **{"format": "png", **how})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
