"""kill -9 at random moments of an ingest. Whatever the moment: the store is sound, every acknowledged item is in it,
and a second run computes exactly the vectors of what is not, of texts, of pictures and of sounds.

kill_test.py [ROUNDS [SEED]]; 5 rounds by default. Every second round replaces half of a filled store, so that
tombstones and replaced rows are caught in the act too. Both runs meet bad lines and broken pictures and sounds, which
must be in the rejects file once each."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from sample import (assert_complete, binary, item, model_or_skip, run, run_json, stored_texts, write_catalogue,
                    write_model, write_picture, write_sound)

MODEL = model_or_skip()
ITEMS, COMMIT, BAD_EVERY, BROKEN_EVERY = 600, 16, 97, 60
# By the key of a line: every how many items have such a file, its ending, how it is written, what the report calls it.
FILES = {"image": (3, "png", write_picture, "pictures"), "audio": (4, "wav", write_sound, "sounds")}


def ingest_arguments(catalogue, store):
    models = ["--model", MODEL, "--precision", "f32"]
    for kind in FILES:
        folder = os.path.join(os.path.dirname(catalogue), kind + "-model")
        if os.path.exists(folder):
            models += [f"--{kind}-model", folder]
    return ["ingest", catalogue, "--store", store, *models, "--commit", COMMIT]


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
            file.write(("{bad\n" if number % BAD_EVERY == 0 else "") + line)
    return len(range(0, len(items), BAD_EVERY))


def ingest_and_kill(catalogue, store, moment):
    """Returns the acknowledged ids; a line that was cut off acknowledges nothing."""
    command = [binary(), *map(str, ingest_arguments(catalogue, store)), "--acknowledge"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        time.sleep(moment)
        process.kill()
        out = process.stdout.read().decode()
    return out[:out.rfind("\n") + 1].splitlines()


def killed_round(catalogue, store, items, bad, files, moment):
    before = run_json("stats", "--store", store)["items"] if os.path.exists(store) else 0
    acknowledged = ingest_and_kill(catalogue, store, moment)
    texts = stored_texts(store, [one["id"] for one in items])
    durable = [one["id"] for one in items if texts.get(one["id"]) == one["text"]]
    assert len(acknowledged) == len(set(acknowledged)), "acknowledged twice"
    assert set(acknowledged) <= set(durable), f"lost: {set(acknowledged) - set(durable)}"
    if texts:
        assert run_json("check", "--store", store)["problems"] == []
        assert run_json("stats", "--store", store)["items"] >= before
    second = run_json(*ingest_arguments(catalogue, store), expected=3)
    assert second["rejected"] == bad, second
    assert second["encoded"] == len(items) - len(durable), f"{len(durable)} were durable, {second['encoded']} encoded"
    for kind, (whole, broken) in files.items():
        expected = {"encoded": len(set(whole) - set(durable)), "refused": len(broken)}
        assert second[FILES[kind][-1]] == expected, second
    assert_complete(store, items)
    with open(os.path.join(store, "rejects.jsonl"), encoding="utf-8") as file:
        rejects = [json.loads(line) for line in file]
    numbers = [one["line"] for one in rejects if "modality" not in one]
    assert len(numbers) == bad and numbers == sorted(set(numbers)), f"rejects of lines {numbers}"
    for kind, (_, broken) in files.items():
        assert [one["id"] for one in rejects if one.get("modality") == kind] == broken, f"each broken {kind} once"
    print(f"killed after {moment:.2f} s: {len(acknowledged)} acknowledged, {len(durable)} durable; "
          f"then went on after line {second['resumed_at']} and encoded {second['encoded']}", flush=True)
    return len(durable)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    dice = random.Random(seed)
    print(f"{rounds} rounds, seed {seed}", flush=True)
    items = [item(i) for i in range(ITEMS)]
    with tempfile.TemporaryDirectory() as folder:
        catalogue, filled, store = (os.path.join(folder, name) for name in ("catalogue.jsonl", "filled", "store"))
        write_catalogue(catalogue, [item(i, seed=2) for i in range(0, ITEMS, 2)])
        run_json(*ingest_arguments(catalogue, filled))
        files = {kind: add_files(kind, folder, items) for kind in FILES}
        bad = write_with_bad_lines(catalogue, items)
        start = time.monotonic()
        assert run(*ingest_arguments(catalogue, store))[0] == 3
        whole = time.monotonic() - start
        durable = []
        for number in range(rounds):
            shutil.rmtree(store)
            if number % 2:
                shutil.copytree(filled, store)
            durable.append(killed_round(catalogue, store, items, bad, files, dice.uniform(0, whole)))
    between = sum(0 < n < ITEMS for n in durable)
    print(f"{rounds} kills, {between} of them between the first commit and the last: "
          "nothing lost, nothing encoded twice")


if __name__ == "__main__":
    main()
