"""kill -9 at random moments of a service that is written to in every way. Whatever the moment: what was answered 200 is
there after the next start, what was on its way is there or not, and nothing is half there: no item with another's
text, attributes or picture, no file that nobody names, no vector missing.

serve_kill_test.py [ROUNDS [SEED]]; 3 rounds by default. All rounds are of one store. With ROUNDS, each start has to be
ready in 2 seconds."""
import base64
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from sample import WORDS, run_json, write_model, write_picture  # noqa: E402
from service import TIMEOUT, Service  # noqa: E402

WRITERS, PICTURES, IDS = 4, 12, 60


def path_of(kind, one, more=""):
    return f"/v1/{kind}/{urllib.parse.quote(one, safe='')}{more}"


class Writer(threading.Thread):
    """Writes what is its own, until the connection breaks. `known` is what has been answered; `maybe` what the request
    on its way makes of it; each {id: item, or None for none}, and likewise of users."""

    def __init__(self, name, service, seed, pictures, known):
        super().__init__()
        self.prefix, self.service, self.pictures = name, service, pictures
        self.dice = random.Random(seed)
        self.known, self.maybe = known, {}
        self.answered, self.connection = 0, service.connect()

    def make_item(self):
        dice = self.dice
        one = {"text": " ".join(dice.choices(WORDS, k=5)),
               "attributes": {"n": dice.randrange(1000), "colour": dice.choice(["red", "blue"])}}
        if dice.random() < 0.4:
            one["image"] = dice.randrange(PICTURES)
        return one

    def sent(self, key, one):
        """As a request has it."""
        sent = {"id": key, **one}
        if "image" in one:
            sent["image"] = base64.b64encode(self.pictures[one["image"]]).decode()
        return sent

    def some_ids(self, n):
        return [f"{self.prefix}/{number}" for number in self.dice.sample(range(IDS), n)]

    def there(self):
        return [key for key, one in self.known.items() if one and key[0] == "w"]

    def ask(self, method, path, body, maybe, kind="application/json"):
        self.maybe = maybe
        answer = self.service.ask(method, path, body, {"Content-Type": kind} if body is not None else {},
                                  connection=self.connection)
        assert answer.status == 200, (method, path, answer.status, answer.body)
        if kind != "application/json" or "items" in answer.body.decode()[:9]:
            assert b'"error"' not in answer.body, answer.body
        self.known.update(maybe)
        self.maybe = {}
        self.answered += 1

    def put(self):
        n = self.dice.choice((1, 1, 5, 20))
        items = {key: self.make_item() for key in self.some_ids(n)}
        sent = [self.sent(key, one) for key, one in items.items()]
        if n == 1:
            self.ask("POST", "/v1/items", sent[0], items)
        elif n == 5:
            self.ask("POST", "/v1/items", sent, items)
        else:
            lines = "".join(json.dumps(one) + "\n" for one in sent).encode()
            self.ask("POST", "/v1/items", lines, items, "application/x-ndjson")

    def patch(self):
        key = self.dice.choice(self.there())
        one = self.known[key]
        patched = {**one, "attributes": {**one["attributes"], "n": self.dice.randrange(1000, 2000)}}
        self.ask("PATCH", path_of("items", key), {"attributes": {"n": patched["attributes"]["n"]}}, {key: patched})

    def delete(self):
        keys = self.dice.sample(self.there(), min(3, len(self.there())))
        if self.dice.random() < 0.5:
            self.ask("DELETE", path_of("items", keys[0]), None, {keys[0]: None})
        else:
            self.ask("POST", "/v1/items/delete", {"ids": keys}, dict.fromkeys(keys))

    def interact(self):
        user = f"u{self.prefix}/{self.dice.randrange(1 << 40)}"
        items = self.some_ids(self.dice.choice((1, 4)))
        sent = [{"user": user, "item": key, "kind": "like", "time": 1700000000 + i} for i, key in enumerate(items)]
        self.ask("POST", "/v1/interactions", sent if len(sent) > 1 else sent[0], {user: sorted(items)})

    def forget(self):
        users = [key for key, items in self.known.items() if items and key[0] == "u"]
        if users:
            user = self.dice.choice(users)
            self.ask("DELETE", path_of("users", user), None, {user: None})

    def run(self):
        try:
            while True:
                choices = [self.put] * 4 + [self.interact] * 2
                if self.there():
                    choices += [self.patch, self.patch, self.delete, self.forget]
                self.dice.choice(choices)()
        except (OSError, http.client.HTTPException):
            self.connection.close()


def stored_item(service, key, pictures):
    answer = service.get(path_of("items", key))
    if answer.status == 404:
        return None
    assert answer.status == 200, answer.body
    stored = answer.json()
    one = {"text": stored["text"], "attributes": stored["attributes"]}
    assert not stored.get("problems"), stored
    if stored["image"]:
        picture = service.get(path_of("items", key, "/image"))
        assert picture.status == 200 and picture.body in pictures, f"{key}: its picture is {picture.status}"
        one["image"] = pictures.index(picture.body)
    return one


def stored_user(service, key):
    answer = service.get(path_of("users", key))
    assert answer.status == 200, answer.body
    return sorted(one["item"] for one in answer.json()["interactions"]) or None


def is_allowed(writer, key, found):
    """What was answered; or what was on its way, of interactions any of them."""
    before, after = writer.known.get(key), writer.maybe.get(key)
    if found == before or (key in writer.maybe and found == after):
        return True
    return key[0] == "u" and key in writer.maybe and before is None and set(found or ()) <= set(after or ())


def look_back(service, writers, pictures):
    """Compares, and returns what there is now: of each writer {id: item}."""
    kept = {}
    for writer in writers:
        now = kept[writer.prefix] = {}
        for key in {**writer.known, **writer.maybe}:
            found = stored_user(service, key) if key[0] == "u" else stored_item(service, key, pictures)
            assert is_allowed(writer, key, found), \
                f"{key}: {found}, in place of {writer.known.get(key)} or {writer.maybe.get(key, 'nothing else')}"
            now[key] = found
    return kept


def check_whole(service, store, kept):
    """Vectors are as many as items, and files in the folder of media are those that items name."""
    items = [one for known in kept.values() for key, one in known.items() if one and key[0] == "w"]
    stats = service.get("/v1/stats").json()
    index = stats["spaces"].get("fused", {}).get("index") or {"vectors": 0, "dead": 0}
    assert stats["items"] == len(items) == index["vectors"] - index["dead"], (stats, len(items))
    named, folder, until = sum("image" in one for one in items), store + "/media", time.monotonic() + TIMEOUT
    while len(os.listdir(folder)) != named:
        assert time.monotonic() < until, f"{len(os.listdir(folder))} files, {named} pictures"
        time.sleep(0.01)


def make_older(folder):
    """Files that a kill left are swept where they are older than the start; here it comes in the same second."""
    for name in os.listdir(folder):
        os.utime(f"{folder}/{name}", (1700000000, 1700000000))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    patience = 2 if len(sys.argv) > 1 else TIMEOUT
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    dice = random.Random(seed)
    print(f"{rounds} rounds, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model, store, pictures = write_model("image", folder + "/joint", 6, "clip-small"), folder + "/store", []
        for number in range(PICTURES):
            write_picture(folder + "/p.png", number)
            with open(folder + "/p.png", "rb") as file:
                pictures.append(file.read())
        os.makedirs(store + "/media")
        kept, slowest = {f"w{n}": {} for n in range(WRITERS)}, 0
        for number in range(rounds + 1):
            start = time.monotonic()
            service = Service(store, "--create", "--model", model)
            assert service.get("/readyz").status == 200
            ready = time.monotonic() - start
            slowest = max(slowest, ready)
            assert ready < patience, f"ready after {ready:.2f} s"
            if number:
                kept = look_back(service, writers, pictures)  # noqa: F821
                check_whole(service, store, kept)
            if number == rounds:
                break
            writers = [Writer(f"w{n}", service, dice.random(), pictures, kept[f"w{n}"]) for n in range(WRITERS)]
            for writer in writers:
                writer.start()
            enough = dice.randrange(80)
            while sum(writer.answered for writer in writers) < enough:
                assert all(writer.is_alive() for writer in writers), "a writer failed"
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.05))
            service.end(signal.SIGKILL)
            for writer in writers:
                writer.join()
            make_older(store + "/media")
            assert run_json("check", "--store", store)["problems"] == []
            print(f"ready after {ready:.2f} s, killed after {sum(w.answered for w in writers)} answers, with "
                  f"{sum(bool(w.maybe) for w in writers)} on their way", flush=True)
        service.end()
        assert run_json("check", "--store", store)["problems"] == []
    print(f"{rounds} kills: nothing lost, nothing half; ready after {slowest:.2f} s at most")


if __name__ == "__main__":
    main()
