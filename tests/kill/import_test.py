"""kill -9 at random moments of an import. Whatever the moment: the store is sound and has the first so many lines and
nothing else, and a run that goes on gives what one run gives, the file of rejects included.

import_test.py [ROUNDS [SEED]]; 3 rounds by default. Each round kills until a run has come to its end."""
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time

from sample import binary, run, run_json

LINES, USERS, ITEMS, COMMIT, BAD_EVERY = 60_000, 40, 500, 700, 1777


def write_file(path):
    """(user, item, weight, seconds) or None of each line. Many replace what an earlier one said."""
    dice = random.Random("kill/import")
    rows = []
    with open(path, "w", encoding="utf-8") as file:
        file.write("time,rating,item,user\n")  # so that a run that goes on has to look
        for number in range(LINES):
            row = (f"u{dice.randrange(USERS)}", f"i{dice.randrange(ITEMS)}", number % 1000, dice.randrange(1, 1000))
            rows.append(None if number % BAD_EVERY == 0 else row)
            file.write(("x" if number % BAD_EVERY == 0 else "") + ",".join(map(str, row[::-1])) + "\n")
    return rows


def expected(rows):
    """{user: {item: (weight, seconds)}}."""
    users = {}
    for row in rows:
        if row:
            users.setdefault(row[0], {})[row[1]] = row[2:]
    return users


def seconds_of(time_words):
    return int(time_words[14:16]) * 60 + int(time_words[17:19])  # of 1970-01-01T00


def stored(store):
    users = {}
    for number in range(USERS):
        code, out, err = run("interactions", "history", "--store", store, "--user", f"u{number}", "--json")
        assert code in (0, 3), err
        if code == 0:
            lines = [json.loads(line) for line in out.splitlines()]
            assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
            users[f"u{number}"] = {line["item"]: (line["weight"], seconds_of(line["time"])) for line in lines}
    return users


def assert_prefix(store, rows, base):
    """Only whole batches: what the first n lines make of `base`, for a batch's end n. Returns what is there."""
    assert run_json("check", "--store", store)["problems"] == []
    now, good, done = stored(store), 0, copy.deepcopy(base)
    if now == done:
        return now
    for row in rows:
        if row:
            good += 1
            done.setdefault(row[0], {})[row[1]] = row[2:]
        if row and (good % COMMIT == 0) and done == now:
            return now
    assert done == now, "the store has what no number of batches gives"
    return now


def import_and_kill(arguments, moment):
    """The report; None where it was killed."""
    command = [binary(), *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            return json.loads(process.communicate(timeout=moment)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None


def is_there(store):
    """Whether a commit came through: a process may be killed between making the file and that."""
    return os.path.exists(os.path.join(store, "data.mdb")) and "(it is empty)" not in run("check", "--store", store)[2]


def killed_round(folder, number, rows, whole, duration, dice):
    store = os.path.join(folder, f"store{number}")
    arguments = ["interactions", "import", os.path.join(folder, "a.csv"), "--store", store, "--commit", str(COMMIT)]
    kills, before, base = 0, {}, {}
    while not (report := import_and_kill(arguments, dice.uniform(0.002, duration * 0.7))):
        kills += 1
        assert is_there(store) or not before
        if is_there(store):
            before = assert_prefix(store, rows, base)
            if before == whole:  # killed when it was done, and the next one begins anew
                base = whole
    assert stored(store) == whole
    assert bool(report["resumed_at"]) == (before not in ({}, whole)), "it goes on where the last commit was"
    with open(os.path.join(store, "import-rejects.jsonl"), encoding="utf-8") as file:
        bad = [json.loads(line)["line"] for line in file]
    assert bad == [i + 2 for i, row in enumerate(rows) if row is None], "each bad line is told once"
    return kills


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    dice = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_file(os.path.join(folder, "a.csv"))
        whole, start = expected(rows), time.monotonic()
        report = run_json("interactions", "import", os.path.join(folder, "a.csv"), "--store",
                          os.path.join(folder, "store"), "--commit", COMMIT, expected=3)
        duration = time.monotonic() - start
        assert report["rejected"] == rows.count(None) and stored(os.path.join(folder, "store")) == whole
        kills = [killed_round(folder, number, rows, whole, duration, dice) for number in range(rounds)]
    print(f"{rounds} imports of {duration:.2f} s survived {sum(kills)} kills")
    assert sum(kills) > 0


if __name__ == "__main__":
    main()
