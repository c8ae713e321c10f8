"""kill -9 at random moments of an ingest. Whatever the moment: the store is sound, every acknowledged item is in it,
and a second run computes exactly the vectors of what is not, of texts, of pictures and of sounds, so that of what the
killed run had begun no more is done twice than the batches that were open. What the catalogue does not have is gone.

kill_test.py [ROUNDS [SEED]]; each stage once by default. Stages take turns: what a job does is seen from outside, by
which files it opens and writes (inotify), and by what it acknowledges; it is killed at some such event of the stage, some
milliseconds later. Every second round replaces half of a filled store, so that tombstones, replaced rows and deletes are
caught in the act too.
Both runs meet bad lines and broken pictures and sounds, which must be in the rejects file once each."""
import ctypes
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter, namedtuple

from sample import (assert_complete, binary, item, model_or_skip, run, run_json, stored_texts, write_catalogue,
                    write_model, write_picture, write_sound)

MODEL = model_or_skip()
ITEMS, COMMIT, BAD_EVERY, BROKEN_EVERY = 600, 16, 97, 60
GONE = 100  # items of a filled store that the catalogue does not have
OPEN_BATCHES = 2  # that a killed run may have encoded in vain: one is committed while the next one is encoded
BAD_LINE = '{"id": "bad", "colour": "red"}\n'  # its id can be read: else nothing would be deleted
# By the key of a line: every how many items have such a file, its ending, how it is written, what the report calls it.
FILES = {"image": (3, "png", write_picture, "pictures"), "audio": (4, "wav", write_sound, "sounds")}
# What is waited for, and the seconds after it within which the kill comes. Texts are the first that is encoded after a
# commit; what is read is looked up in the store before anything is encoded; deletes follow the last acknowledgement.
STAGES = {"reading": ("catalogue", 0.1), "texts": ("commit", 0.05), "pictures": ("image", 0.002),
          "sounds": ("audio", 0.005), "committing": ("commit", 0.001), "deleting": ("acknowledged", 0.002),
          "index": ("index", 0.02), "any": ("catalogue", None)}
IN_MODIFY, IN_OPEN, IN_CREATE = 2, 0x20, 0x100


class Watch:
    """What is opened and written in some folders."""

    def __init__(self, *folders):
        libc = ctypes.CDLL(None, use_errno=True)
        self.file = libc.inotify_init()
        for folder in folders:
            assert libc.inotify_add_watch(self.file, folder.encode(), IN_MODIFY | IN_OPEN | IN_CREATE) >= 0, folder

    def close(self):
        os.close(self.file)

    def events(self):
        """(kind, name) of what has happened; waits for something to."""
        data, at = os.read(self.file, 1 << 16), 0
        while at < len(data):
            _, mask, _, size = struct.unpack_from("iIII", data, at)
            name = data[at + 16:at + 16 + size].rstrip(b"\0").decode()
            at += 16 + size
            kind = kind_of_event(mask, name)
            if kind:
                yield kind, name


def kind_of_event(mask, name):
    if mask & IN_OPEN:
        ends = {one: ending for one, (_, ending, _, _) in FILES.items()} | {"catalogue": "catalogue.jsonl"}
        return next((kind for kind, ending in ends.items() if name.endswith(ending)), None)
    return "commit" if name == "data.mdb" and mask & IN_MODIFY else "index" if ".index" in name else None


def ingest_arguments(catalogue, store):
    models = ["--model", MODEL, "--precision", "f32"]
    for kind in FILES:
        folder = os.path.join(os.path.dirname(catalogue), kind + "-model")
        if os.path.exists(folder):
            models += [f"--{kind}-model", folder]
    return ["ingest", catalogue, "--store", store, *models, "--commit", COMMIT, "--delete-missing"]


def add_files(kind, folder, items):
    """Pictures or sounds for some items, and a model for them; the ids of those whose is whole, and of those whose is
    broken."""
    every, ending, write, _ = FILES[kind]
    write_model(kind, os.path.join(folder, kind + "-model"))
    whole, broken = [], []
    for number in range(0, len(items), every):
        name = f"{number}.{ending}"
        items[number][kind] = name
        write(os.path.join(folder, name), number)
        (broken if number % BROKEN_EVERY == 0 else whole).append(items[number]["id"])
        if number % BROKEN_EVERY == 0:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write("neither picture nor sound")
    return whole, broken


def write_with_bad_lines(path, items):
    write_catalogue(path, items)
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    with open(path, "w", encoding="utf-8") as file:
        for number, line in enumerate(lines):
            file.write((BAD_LINE if number % BAD_EVERY == 0 else "") + line)
    return len(range(0, len(items), BAD_EVERY))


def items_that_go():
    return [item(i) for i in range(ITEMS, ITEMS + GONE)]


# When to kill: so many seconds after event number `count` of a kind.
Moment = namedtuple("Moment", "kind count delay")
NEVER = Moment("", 1, 0)


def watched_ingest(catalogue, store, moment):
    """The acknowledged ids (a line that was cut off acknowledges nothing), what events there were, and which media files
    were opened."""
    command = [binary(), *map(str, ingest_arguments(catalogue, store)), "--acknowledge"]
    os.makedirs(store, exist_ok=True)
    watch, seen, opened, printed = Watch(os.path.dirname(catalogue), store), Counter(), set(), b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        out = process.stdout.fileno()
        while process.poll() is None or select.select([watch.file], [], [], 0)[0]:
            ready = select.select([watch.file, out], [], [], 0.05)[0]
            events = list(watch.events()) if watch.file in ready else []
            if out in ready:
                printed += (read := os.read(out, 1 << 16))
                events += [("acknowledged", "")] * read.count(b"\n")
            for kind, name in events:
                seen[kind] += 1
                if kind in FILES:
                    opened.add(name)
                if kind == moment.kind and seen[kind] == moment.count:
                    time.sleep(moment.delay)
                    process.kill()
        printed += process.stdout.read()
    watch.close()
    return printed[:printed.rfind(b"\n") + 1].decode().splitlines(), seen, opened


def killed_round(catalogue, store, items, bad, files, moment):
    """How many items were durable, and how many had a picture or sound opened in vain."""
    before = stored_texts(store, [one["id"] for one in items])
    acknowledged, _, opened = watched_ingest(catalogue, store, moment)
    texts = stored_texts(store, [one["id"] for one in items])
    durable = {one["id"] for one in items if texts.get(one["id"]) == one["text"]}
    assert len(acknowledged) == len(set(acknowledged)), "acknowledged twice"
    assert set(acknowledged) <= durable, f"lost: {set(acknowledged) - durable}"
    assert set(before) <= set(texts), f"lost: {set(before) - set(texts)}"
    if texts:
        assert run_json("check", "--store", store)["problems"] == []
    gone = stored_texts(store, [one["id"] for one in items_that_go()])
    second = run_json(*ingest_arguments(catalogue, store), expected=3)
    assert (second["rejected"], second["deleted"]) == (bad, len(gone)), second
    assert second["encoded"] == len(items) - len(durable), f"{len(durable)} were durable, {second['encoded']} encoded"
    for kind, (whole, broken) in files.items():
        expected = {"encoded": len(set(whole) - durable), "refused": len(broken)}
        assert second[FILES[kind][-1]] == expected, second
    in_vain = [one["id"] for one in items if one["id"] not in durable and any(one.get(kind) in opened for kind in FILES)]
    assert len(in_vain) <= OPEN_BATCHES * COMMIT, f"encoded twice: {in_vain}"
    assert_complete(store, items)
    with open(os.path.join(store, "rejects.jsonl"), encoding="utf-8") as file:
        rejects = [json.loads(line) for line in file]
    numbers = [one["line"] for one in rejects if "modality" not in one]
    assert len(numbers) == bad and numbers == sorted(set(numbers)), f"rejects of lines {numbers}"
    for kind, (_, broken) in files.items():
        assert [one["id"] for one in rejects if one.get("modality") == kind] == broken, f"each broken {kind} once"
    print(f"killed after {moment.kind} {moment.count} and {moment.delay * 1e3:.1f} ms: {len(acknowledged)} acknowledged, "
          f"{len(durable)} durable, {len(in_vain)} begun in vain, {len(gone)} to delete; then went on after line {second['resumed_at']} and "
          f"encoded {second['encoded']}", flush=True)
    return len(durable), len(in_vain)


def choose_moment(dice, stage, seen, whole):
    kind, within = STAGES[stage]
    return Moment(kind, ITEMS if stage == "deleting" else dice.randint(1, seen[kind]), dice.uniform(0, whole if within is None else within))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else len(STAGES)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    dice = random.Random(seed)
    print(f"{rounds} rounds, seed {seed}", flush=True)
    items = [item(i) for i in range(ITEMS)]
    with tempfile.TemporaryDirectory() as folder:
        catalogue, filled, store = (os.path.join(folder, name) for name in ("catalogue.jsonl", "filled", "store"))
        write_catalogue(catalogue, [item(i, seed=2) for i in range(0, ITEMS, 2)] + items_that_go())
        run_json(*ingest_arguments(catalogue, filled))
        files = {kind: add_files(kind, folder, items) for kind in FILES}
        bad = write_with_bad_lines(catalogue, items)
        start = time.monotonic()
        acknowledged, seen, _ = watched_ingest(catalogue, store, NEVER)
        whole = time.monotonic() - start
        assert len(acknowledged) == ITEMS
        outcomes = []
        for number in range(rounds):
            shutil.rmtree(store)
            if number % 2:
                shutil.copytree(filled, store)
            turn = number // 2 if rounds > len(STAGES) else number
            moment = choose_moment(dice, list(STAGES)[turn % len(STAGES)], seen, whole)
            outcomes.append(killed_round(catalogue, store, items, bad, files, moment))
    between = sum(0 < durable < ITEMS for durable, _ in outcomes)
    print(f"{rounds} kills, {between} of them between the first commit and the last: nothing lost, nothing encoded twice "
          f"but {sum(in_vain for _, in_vain in outcomes)} items of open batches, {max(n for _, n in outcomes)} at the most")


if __name__ == "__main__":
    main()
