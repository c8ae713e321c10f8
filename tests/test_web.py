"""The page of the service, in headless Chromium against the real service: what a person does there by mouse, by
keyboard alone and on a telephone, and what must never happen: an error in the console, a catalogue's words run as
code, text that cannot be read. Run by ctest."""
import base64
import json
import os
import re
import sys
import tempfile
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
import chromium  # noqa: E402
from sample import SKIPPED, model_or_skip, run_json, write_catalogue, write_png, write_sound  # noqa: E402
from service import Service  # noqa: E402

STARTER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "starter")
WEB = os.path.join(os.path.dirname(STARTER), "service", "web")
VIEWS = ("find", "foryou", "map", "status")
HOSTILE = "<img src=x onerror=\"window.ran='yes'\"><script>window.ran='yes'</script>"
THINGS = {"weather": ["an umbrella", "a rain coat", "a cloud", "a snowflake"],
          "music": ["a violin", "a trumpet", "a grand piano", "a drum"],
          "fruit": ["an apple", "a pear", "a banana", "a lemon"]}

MODEL = model_or_skip()
if not chromium.find():
    print("SKIPPED: no chromium (apt-get install chromium)")
    sys.exit(SKIPPED)

# Every text that is shown, with the contrast to what is behind it (WCAG 2.2, 1.4.3); what lies on pictures or on a
# gradient is left out.
FAINT = """(() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true});
  canvas.width = canvas.height = 1;
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      const colour = rgba(style.backgroundColor);
      if (colour[3] > 200) return colour;
    }
    return rgba("Canvas");
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !element.checkVisibility({opacityProperty: true})) continue;
    if (element.closest(".unseen, :disabled, svg")) continue;
    const ground = behind(element);
    if (!ground) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(ground)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push(`${text.slice(0, 40)} (${contrast.toFixed(2)})`);
  }
  return faint;
})()"""

# Whether one sees where the focus is: an outline on it, or on what stands for it.
FOCUS_SHOWS = """(() => {
  const at = document.activeElement;
  const outlined = (element) => element && getComputedStyle(element).outlineStyle !== "none"
    && parseFloat(getComputedStyle(element).outlineWidth) >= 2;
  const framed = at.id === "words" && getComputedStyle(at.closest(".box")).backgroundImage !== "none";
  return outlined(at) || outlined(at.closest(".round")) || framed;
})()"""


def address_of(view):
    return "#find?like=text%3Aa+pear&not=text%3Aa+lemon" if view == "find" else "#" + view


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        models = cls.folder + "/models"
        os.mkdir(models)
        os.symlink(MODEL, models + "/text")
        for name in ("image", "audio", "fusion"):
            os.symlink(f"{STARTER}/{name}", f"{models}/{name}")
        cls.make_items()
        store = cls.folder + "/store"
        run_json("ingest", cls.folder + "/catalogue.jsonl", "--store", store, "--model", models)
        cls.served = ("--model", models, "--media-root", cls.folder)
        cls.service = Service(store, *cls.served)
        cls.url = f"http://127.0.0.1:{cls.service.port}/"
        cls.browser = chromium.Chromium(chromium.find())
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.addClassCleanup(cls.service.end)
        cls.addClassCleanup(cls.browser.__exit__)

    @classmethod
    def make_items(cls):
        """Things with words and a picture each; a picture alone, a sound alone, a hostile one."""
        cls.items = []
        for category, names in THINGS.items():
            for i, name in enumerate(names):
                path = f"{cls.folder}/{category}{i}.png"
                write_png(path, 40, 30, bytes([40 * i, 80, len(category) * 30 % 255]) * 1200)
                cls.items.append({"id": f"{category}/{name}", "text": name + ". " + category, "image": path,
                                  "attributes": {"title": name, "category": category}})
        cls.stripes, cls.chord = cls.folder + "/stripes.png", cls.folder + "/chord.wav"
        write_png(cls.stripes, 64, 64, (b"\xff\0\0" * 8 + b"\xff\xff\xff" * 8) * 4 * 64)
        write_sound(cls.chord, 3, seconds=1)
        cls.items += [{"id": "stripes", "image": cls.stripes, "attributes": {"category": "none"}},
                      {"id": "chord", "audio": cls.chord, "attributes": {"category": "none"}},
                      {"id": HOSTILE, "text": HOSTILE, "attributes": {"title": HOSTILE, "category": HOSTILE}}]
        write_catalogue(cls.folder + "/catalogue.jsonl", cls.items)

    def setUp(self):
        self.browser.send("Page.navigate", url="about:blank")
        self.browser.send("Storage.clearDataForOrigin", origin=self.url[:-1], storageTypes="local_storage")
        self.browser.errors.clear()

    def tearDown(self):
        self.assertEqual(self.browser.errors, [])

    # ---- what a test does

    def open(self, address="", url=None, **how):
        self.browser.open((url or self.url) + address, **how)

    def settle(self):
        """Until the view has what it asked for."""
        self.browser.wait("!document.querySelector('section:not([hidden]) [aria-busy=true]')")

    def ask(self, words):
        self.browser.wait("!document.querySelector('#view-find').hidden")
        self.browser.run(f"document.querySelector('#words').value = {json.dumps(words)}")
        self.browser.click("#go") if self.browser.run("document.querySelector('#go').offsetWidth > 0") else \
            self.browser.run("document.querySelector('#ask').requestSubmit()")
        self.browser.wait("document.querySelector('#view-find.asked')")
        self.settle()

    def found(self, grid="#hits"):
        return self.browser.run(f"[...document.querySelectorAll('{grid} .card')].map((card) => card.dataset.id)")

    def text(self, selector):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def drop(self, path, kind):
        with open(path, "rb") as file:
            data = base64.b64encode(file.read()).decode()
        self.browser.run(f"""(() => {{
            const files = new DataTransfer();
            const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
            files.items.add(new File([bytes], "{os.path.basename(path)}", {{type: "{kind}"}}));
            document.body.dispatchEvent(
              new DragEvent("drop", {{dataTransfer: files, bubbles: true, cancelable: true}}));
          }})()""")
        self.browser.wait("document.querySelector('#view-find.asked .chip')")
        self.settle()

    # ---- searching

    def test_words(self):
        self.open()
        self.browser.wait("document.querySelectorAll('#hits .card').length > 5")  # a handful, before anything is asked
        self.ask("something to keep the rain off")
        self.assertIn(self.found()[0], ("weather/an umbrella", "weather/a rain coat"))
        self.assertIn("something to keep the rain off", self.text("#find-heading"))
        self.assertRegex(self.text("#said"), r"\d+ things like .*The first is an? (umbrella|rain coat)\.")
        self.assertEqual(self.text(".card h3"), self.found()[0].split("/")[1])
        self.assertTrue(self.browser.wait("document.querySelector('.card .picture img').naturalWidth"))
        bars = self.browser.run("[...document.querySelectorAll('.card .bar i')].map((piece) => piece.className)")
        self.assertLessEqual({"text", "image"}, set(bars))
        self.assertRegex(self.text(".card .score"), r"Score 0\.\d\d: words -?0\.\d\d, picture -?0\.\d\d")

    def test_what_is_unwanted(self):
        self.open()
        self.ask("musical instrument -violin")
        self.assertEqual(self.browser.run("[...document.querySelectorAll('.chip .words')].map((e) => e.textContent)"),
                         ["“musical instrument”", "“violin”"])
        self.assertGreater(self.found().index("music/a violin"), 2)
        self.browser.click(".chip.unwanted .flip")
        self.browser.wait("!document.querySelector('.chip.unwanted')")
        self.settle()
        self.assertEqual(self.found()[0], "music/a violin")
        self.browser.click(".chip:nth-child(2) .drop")
        self.browser.wait("document.querySelectorAll('.chip').length === 1")
        self.settle()
        self.browser.click(".card .less")
        self.browser.wait("document.querySelector('.chip.unwanted')")
        self.assertIn("not=item%3Amusic%2F", self.browser.run("location.hash"))

    def test_picture(self):
        self.open()
        self.drop(self.stripes, "image/png")
        self.assertEqual(self.found()[0], "stripes")
        self.assertTrue(self.browser.run("document.querySelector('.chip img').naturalWidth === 64"))
        self.browser.run("document.querySelector('#words').value = 'a lemon'")
        self.browser.run("document.querySelector('#ask').requestSubmit()")
        self.browser.wait("document.querySelectorAll('.chip').length === 2")
        self.settle()
        self.browser.run("document.querySelectorAll('#balance [type=range]')[1].focus()")
        before = self.found()
        for _ in range(9):
            self.browser.press("ArrowLeft")
        self.browser.wait("location.hash.includes('weights=1%2C0.1')")
        self.settle()
        self.assertEqual(self.found()[0], "fruit/a lemon")
        self.assertNotEqual(self.found(), before)

    def test_picture_that_is_chosen(self):
        self.open()
        self.browser.choose("#file", self.stripes)
        self.browser.wait("document.querySelector('#view-find.asked .chip img')")
        self.settle()
        self.assertEqual(self.found()[0], "stripes")
        self.browser.choose("#file", self.folder + "/catalogue.jsonl")
        self.browser.wait("document.querySelector('#ask-problem').textContent.includes('neither a picture')")

    def test_sound(self):
        self.open()
        self.drop(self.chord, "audio/wav")
        self.assertEqual(self.found()[0], "chord")
        self.browser.click(".card .play")
        self.browser.wait("document.querySelector('.play').getAttribute('aria-pressed') === 'true'")
        self.browser.wait("document.querySelector('.play').getAttribute('aria-pressed') === 'false'")  # it has ended

    def test_recording(self):
        self.open()
        self.browser.click("#record")
        self.browser.wait("document.querySelector('#record').dataset.seconds > 0")
        self.browser.click("#record")
        self.browser.wait("document.querySelector('.chip .words')?.textContent === 'recording'")
        self.settle()
        self.assertGreater(len(self.found()), 5)

    def test_address_is_the_search(self):
        self.open()
        self.ask("a pear")
        address = self.browser.run("location.hash")
        self.ask("a drum")
        self.browser.run("history.back()")
        self.browser.wait("document.querySelector('#words').value === 'a pear'")
        self.settle()
        self.assertEqual(self.found()[0], "fruit/a pear")
        self.open(address)
        self.settle()
        self.assertEqual(self.found()[0], "fruit/a pear")
        self.browser.click(".card .more")
        self.browser.wait("document.querySelector('.chip .words')?.textContent === 'a pear'")
        self.settle()
        self.assertNotIn("fruit/a pear", self.found())
        self.assertTrue(self.found()[0].startswith("fruit/"))

    def test_filter(self):
        self.open()
        self.ask("a thing")
        label = "[...document.querySelectorAll('#filters label')].find((one) => one.textContent.startsWith('music'))"
        self.assertEqual(self.browser.wait(label + "?.textContent"), "music4")
        self.browser.run(label + ".querySelector('input').focus()")
        self.browser.press(" ")
        self.browser.wait("document.querySelector('.chip.only')")
        self.settle()
        self.assertEqual(set(self.found()), {"music/" + name for name in THINGS["music"]})
        self.browser.click(".chip.only .drop")
        self.browser.wait("!document.querySelector('.chip.only')")
        self.settle()
        self.assertEqual(len(self.found()), len(self.items))

    def test_errors_stand_where_they_happened(self):
        self.open("#find?like=text%3Aa+pear&like=item%3Anobody")
        self.browser.wait("document.querySelector('#ask-problem').textContent.includes('nobody')")
        self.browser.wait("document.querySelector('.chip:nth-child(2).wrong')")
        self.browser.errors = [e for e in self.browser.errors if "/v1/search" not in e and "/v1/items/nobody" not in e]

    # ---- who is here

    def test_likes_change_recommendations(self):
        self.open()
        self.browser.click("#person")
        self.browser.wait("document.activeElement.id !== '' && document.querySelector('#people:popover-open')")
        self.browser.run("document.querySelector('#people-name').focus()")
        self.browser.type("Lovelace & co")
        self.browser.press("Enter")
        self.browser.wait("document.querySelector('#person .name').textContent === 'Lovelace & co'")
        self.browser.click("nav [data-view=foryou]")
        self.browser.wait("document.querySelector('#foryou-why').textContent.includes('popular')")
        self.browser.click("nav [data-view=find]")
        self.ask("a trumpet")
        self.browser.click(".card .heart")
        self.browser.wait("document.querySelector('#person .tally').textContent === '1'")
        self.browser.click("nav [data-view=foryou]")
        self.browser.wait("document.querySelector('#foryou-why').textContent.includes('what you like')")
        self.settle()
        first = self.found("#recommended")
        self.assertTrue(first[0].startswith("music/"))
        self.assertNotIn("music/a trumpet", first)
        self.assertEqual(self.text("#recommended .why"), "Since you like a trumpet")
        self.browser.click("#recommended .heart")
        self.browser.wait(f"!document.querySelector('#recommended [data-id=\"{first[0]}\"]')")
        self.browser.wait("document.querySelectorAll('#nest button').length === 2")
        self.open("#foryou")  # the service knows, not the page
        self.browser.wait("document.querySelectorAll('#nest button').length === 2")
        self.browser.wait("[...document.querySelectorAll('#nest button')].every((button) => button.title)")
        self.browser.wait("document.querySelector('#foryou-why').textContent.includes('what you like')")
        self.settle()
        self.browser.click("#nest button")
        self.browser.wait("document.querySelectorAll('#nest button').length === 1")
        self.browser.wait("[...document.querySelectorAll('#recommended .why')]"
                          ".every((why) => why.textContent.endsWith('trumpet'))")
        self.browser.click("#person")
        self.browser.click("#people-forget")
        self.browser.wait("document.querySelector('#person .tally').textContent === '0'")

    # ---- keys, eyes, ears

    def test_keyboard_alone(self):
        self.open()
        self.settle()
        self.browser.press("Tab")
        self.assertEqual(self.browser.run("document.activeElement.id"), "skip")
        self.browser.press("Enter")
        self.assertEqual(self.browser.run("document.activeElement.id"), "main")
        self.browser.press("/")
        self.browser.wait("document.activeElement.id === 'words'")
        self.browser.type("an apple")
        self.browser.press("Enter")
        self.browser.wait("document.querySelector('#view-find.asked')")
        self.settle()
        self.browser.wait("document.querySelector('#filters input')")
        self.assertEqual(self.browser.run("document.activeElement.id"), "words")
        for _ in range(100):
            self.browser.press("Tab")
            self.assertTrue(self.browser.run(FOCUS_SHOWS), self.browser.run("document.activeElement.outerHTML"))
            if self.browser.run("document.activeElement.matches('.card .picture')"):
                break
        self.assertEqual(self.browser.run("document.activeElement.closest('.card').dataset.id"), "fruit/an apple")
        self.browser.press("l")
        self.browser.wait("document.querySelector('.card .heart').getAttribute('aria-pressed') === 'true'")
        self.browser.press("l")
        self.browser.wait("document.querySelector('.card .heart').getAttribute('aria-pressed') === 'false'")
        second = self.found()[1]
        self.browser.press("ArrowRight")
        self.assertEqual(self.browser.run("document.activeElement.closest('.card').dataset.id"), second)
        self.browser.press("Enter")
        self.browser.wait(f"document.querySelector('#item[open] h2').textContent === '{second.split('/')[1]}'")
        self.browser.press("Escape")
        self.browser.wait("!document.querySelector('dialog[open]')")
        self.assertEqual(self.browser.run("document.activeElement.closest('.card').dataset.id"), second)
        self.browser.press("m")
        self.browser.wait("location.hash.startsWith('#find?like=item')")
        self.browser.wait("document.activeElement.id === 'find-heading'")
        self.browser.press("?")
        self.browser.wait("document.querySelector('#help[open]')")

    def test_map(self):
        self.open("#map")
        self.browser.wait("document.querySelectorAll('#near a').length > 3")
        self.assertIn(f"{len(self.items)} things", self.text("#map-about"))
        drawn = "document.querySelector('#map-canvas').toDataURL()"
        self.browser.run("document.querySelector('#map-canvas').focus()")
        self.assertTrue(self.browser.run(FOCUS_SHOWS))
        before = self.browser.run(drawn)
        for key in ("+", "+", "ArrowLeft"):
            self.browser.press(key)
        self.browser.wait("document.querySelector('#said').textContent.startsWith('In the middle')")
        self.assertNotEqual(self.browser.run(drawn), before)
        self.browser.press("Enter")
        self.browser.wait("location.hash.startsWith('#find?like=item')")

    def test_status(self):
        self.open("#status")
        self.browser.wait("document.querySelectorAll('.tile').length === 4")
        self.browser.wait("document.querySelectorAll('#tables tbody tr').length > 6")
        self.assertIn(f"Things{len(self.items)}", self.text("#tiles"))

    def test_screen_reader(self):
        """Everything that can be used has a name, and the page has its landmarks."""
        for view in VIEWS:
            self.open(address_of(view))
            self.settle()
            nodes = [node for node in self.browser.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
            roles = {node["role"]["value"] for node in nodes}
            self.assertLessEqual({"banner", "navigation", "main", "heading"}, roles)
            self.assertEqual("search" in roles, view == "find")
            for node in nodes:
                if node["role"]["value"] in ("button", "link", "checkbox", "slider", "searchbox", "textbox", "dialog"):
                    self.assertTrue(node["name"]["value"].strip(), node)

    def test_telephone(self):
        for view in VIEWS:
            self.open(address_of(view), width=360, height=740,
                      mobile=True)
            self.settle()
            self.browser.wait(f"!document.querySelector('#view-{view}').hidden")
            if view == "status":
                self.browser.wait("document.querySelector('#tables td')")
            self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth"), 360, view)
            self.assertEqual(self.browser.run("innerWidth"), 360, view)

    def test_light_and_dark_can_be_read(self):
        grounds = set()
        for scheme in ("light", "dark"):
            for view in VIEWS:
                self.open(address_of(view),
                          prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
                self.settle()
                self.assertEqual(self.browser.run(FAINT), [], (scheme, view))
            grounds.add(self.browser.run("getComputedStyle(document.body).backgroundColor"))
            self.assertEqual(self.browser.run("document.getAnimations().length"), 0)
        self.assertEqual(len(grounds), 2)

    # ---- what must not happen

    def test_words_of_a_catalogue_do_not_run(self):
        self.open("#find?like=item%3A" + urllib.request.quote(HOSTILE, safe="") + "&not=text%3A" +
                  urllib.request.quote(HOSTILE, safe=""))
        self.settle()
        self.browser.wait("document.querySelector('.chip .words').textContent.startsWith('<img')")
        self.open()
        self.ask(HOSTILE)
        self.browser.wait("document.querySelector('.card h3').textContent === " + json.dumps(HOSTILE))
        self.browser.wait("document.querySelector('#filters').textContent.includes('<img')")
        self.browser.click(".card .picture")
        self.browser.wait("document.querySelector('#item[open] h2').textContent === " + json.dumps(HOSTILE))
        self.assertEqual(self.browser.run("document.querySelectorAll('[onerror], [src=x]').length"), 0)
        self.assertIsNone(self.browser.run("window.ran ?? null"))

    def test_policy(self):
        with urllib.request.urlopen(self.url) as answer:
            policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
        self.assertTrue(policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), policy)
        self.assertIsNone(re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|<style|https?://(?!www\.w3\.org)", page))
        for name in os.listdir(WEB):
            with open(f"{WEB}/{name}", encoding="utf-8") as file:
                self.assertNotRegex(file.read(), r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(")

    def test_key(self):
        with open(self.folder + "/keys", "w", encoding="utf-8") as file:
            file.write("open-sesame-0123456789 write test\n")
        os.chmod(self.folder + "/keys", 0o600)
        store = self.folder + "/guarded"
        run_json("ingest", self.folder + "/catalogue.jsonl", "--store", store, "--model", self.served[1])
        service = Service(store, *self.served, "--api-key-file", self.folder + "/keys")
        self.addCleanup(service.end)
        self.addCleanup(self.browser.send, "Page.navigate", url="about:blank")  # before: nothing is asked of nobody
        self.open(url=f"http://127.0.0.1:{service.port}/")
        self.browser.wait("document.querySelector('#key[open]')")
        self.browser.run("document.querySelector('#key-value').focus()")
        self.browser.type("open-sesame-0123456789")
        self.browser.press("Enter")
        self.browser.wait("document.querySelector('.card img').src.startsWith('blob:')")
        self.browser.wait("document.querySelector('.card img').naturalWidth")
        self.browser.errors = [error for error in self.browser.errors if "401" not in error]


if __name__ == "__main__":
    unittest.main()
