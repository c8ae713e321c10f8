"""magpie interactions against the same in Python: every format gives the same store, bad lines are told and cost
nothing else, the last of several lines counts, a deleted user leaves no trace. Run by ctest."""
import csv
import io
import json
import os
import random
import sys
import tempfile
import unittest
from datetime import datetime, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import run, run_json  # noqa: E402

NAMES = {"user": ["user", "user_id"], "item": ["item", "item_id"], "weight": ["rating"], "time": ["time", "timestamp"]}


def iso(millis):
    moment = datetime.fromtimestamp(millis // 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{millis % 1000:03}Z"


def made_up(seed=1, users=12, items=30, odd=True):
    """Distinct (user, item, rating, seconds); ids that need quotes, are numbers, are beyond ASCII."""
    dice = random.Random(f"import/{seed}")
    user_ids = [str(n) for n in range(users)] + (['a "b", c', "ünï 用户", '"', " blank "] if odd else [])
    item_ids = [str(100 + n) for n in range(items)] + ([", ,", 'x""y', "7,5"] if odd else [])
    pairs = [(user, item) for user in user_ids for item in item_ids]
    return [(user, item, dice.choice([1, 2, 3.5, 5]), dice.randrange(1, 1_700_000_000))
            for user, item in dice.sample(pairs, len(pairs) * 2 // 3)]


def expected_histories(rows):
    """{user: [(item, kind, weight, time)]}, by time, then by the number of the item: its first sight."""
    numbers = {}
    for _, item, *_ in rows:
        numbers.setdefault(item, len(numbers))
    users = {}
    for user, item, rating, seconds in rows:
        users.setdefault(user, {})[item] = (item, "rating", rating, iso(seconds * 1000))
    return {user: sorted(done.values(), key=lambda one: (one[3], numbers[one[0]])) for user, done in users.items()}


def stored_histories(store, users):
    histories = {}
    for user in users:
        code, out, err = run("interactions", "history", "--store", store, "--user", user, "--json")
        assert code == 0, err
        histories[user] = [(one["item"], one["kind"], one["weight"], one["time"])
                           for one in map(json.loads, out.splitlines())]
    return histories


def write_columns(rows, separator, dice):
    """With a header, columns in any order, a strange one among them, quotes here and there."""
    columns = ["user", "item", "weight", "time", "mood"]
    dice.shuffle(columns)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=dice.choice(["\n", "\r\n"]),
                        quoting=dice.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    writer.writerow([dice.choice(NAMES.get(name, [name])) for name in columns])
    for user, item, rating, seconds in rows:
        values = {"user": user, "item": item, "weight": rating, "time": seconds, "mood": "so, so"}
        writer.writerow([values[name] for name in columns])
    return out.getvalue()


def write_jsonl(rows, dice):
    lines = []
    for user, item, rating, seconds in rows:
        moment = dice.choice([seconds, float(seconds), iso(seconds * 1000)] +
                             ([seconds * 1000] if seconds * 1000 > 1e11 else []))
        line = {dice.choice(NAMES["user"]): user, dice.choice(NAMES["item"]): int(item) if item.isdigit() else item,
                "time": moment, **dice.choice([{"rating": rating}, {"weight": rating, "kind": "rating"}])}
        lines.append(json.dumps(line, ensure_ascii=dice.random() < 0.5))
    return "\n".join(lines)


def written(rows, seed=1):
    """{file name: text}."""
    dice = random.Random(f"written/{seed}")
    table = "".join(f"{user}\t{item}\t{rating}\t{seconds}\n" for user, item, rating, seconds in rows)
    return {"a.csv": write_columns(rows, ",", dice), "a.tsv": write_columns(rows, "\t", dice),
            "b.csv": "\ufeff" + write_columns(rows, ",", dice), "a.jsonl": write_jsonl(rows, dice),
            "b.jsonl": "\ufeff" + write_jsonl(rows, dice),
            "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + table,
            "ml.train.rating": table}


class Import(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8", newline="", errors="surrogateescape") as file:
            file.write(text)
        return path

    def store(self, name="store"):
        return os.path.join(self.folder, name)

    def imported(self, name, text, *more, expected=0, store="store"):
        return run_json("interactions", "import", self.write(name, text), "--store", self.store(store), *more,
                        expected=expected)

    def rejects(self, store="store"):
        with open(os.path.join(self.store(store), "import-rejects.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_all_formats_give_the_same_store(self):
        rows = made_up()
        histories = expected_histories(rows)
        for name, text in written(rows).items():
            with self.subTest(name):
                report = self.imported(name, text, "--commit", 50, store=name + ".store")
                self.assertEqual((report["interactions"], report["rejected"]), (len(rows), 0))
                self.assertEqual(stored_histories(self.store(name + ".store"), histories), histories)
                check = run_json("check", "--store", self.store(name + ".store"))
                self.assertEqual((check["problems"], check["users"], check["interactions"]),
                                 ([], len(histories), len(rows)))

    def test_negatives_are_pairs(self):
        rows = made_up(odd=False)
        text = "".join(f"({user},{item})\t7\t8\t9\n" for user, item, *_ in rows) + "(new user,item)"
        report = self.imported("ml.test.negative", text)
        self.assertEqual(report["interactions"], len(rows) + 1)
        histories = stored_histories(self.store(), {user for user, *_ in rows})
        self.assertEqual({(user, one[0]) for user in histories for one in histories[user]},
                         {(user, item) for user, item, *_ in rows})
        self.assertTrue(all(one[1:] == ("rating", 1, None) for of in histories.values() for one in of))

    def test_times_and_weights(self):
        lines = [('"1.5"', "1970-01-01T00:00:01.500Z"), ("1.5", "1970-01-01T00:00:01.500Z"), ("0", None),
                 ("null", None),
                 ("99999999999", "5138-11-16T09:46:39.000Z"), ("1700000000123", iso(1700000000123)),
                 ('"1700000000123"', iso(1700000000123)), ('"2024-02-29T12:30:00+02:00"', "2024-02-29T10:30:00.000Z")]
        text = "".join(f'{{"user": 1, "item": {i}, "time": {time}, "weight": -1.5e1}}\n'
                       for i, (time, _) in enumerate(lines))
        self.imported("a.jsonl", text)
        history = stored_histories(self.store(), ["1"])["1"]
        got = {int(item): (kind, weight, time) for item, kind, weight, time in history}
        self.assertEqual(got, {i: ("view", -15, time) for i, (_, time) in enumerate(lines)})

    def test_kinds(self):
        self.imported("a.csv", "user,item,kind\nu,1,buy\nu,2,\n")
        self.imported("b.csv", "user,item,kind\nu,3,buy\nu,4,\n", "--kind", "like")
        self.imported("c.csv", "user,item,rating\nu,5,\n")
        self.imported("d.csv", "user,item,rating\nu,6,2\n", "--kind", "view")
        got = {item: kind for item, kind, *_ in stored_histories(self.store(), ["u"])["u"]}
        self.assertEqual(got, {"1": "buy", "2": "view", "3": "buy", "4": "like", "5": "rating", "6": "view"})

    def test_the_last_line_counts_and_a_second_run_changes_nothing(self):
        rows = [("u", "i", 1, 5), ("u", "j", 2, 6), ("u", "i", 3, 7), ("v", "i", 1, 1), ("u", "i", 4, 2)]
        text = "".join(f"{user}\t{item}\t{rating}\t{seconds}\n" for user, item, rating, seconds in rows)
        for commit in (1, 2, 100):
            name = f"{commit}.rating"
            for _ in range(2):
                self.imported(name, text, "--commit", commit, store=name + ".store")
                histories = expected_histories(rows)
                self.assertEqual(stored_histories(self.store(name + ".store"), histories), histories)

    BAD = {"a.csv": ("user,item,kind,weight,time", [
               "u", "u,", ",i", "u,i,hate,1,1", "u,i,,x,1", "u,i,,inf,1", "u,i,,0x10,1", "u,i,,1e39,1", "u,i,,1,-5",
               "u,i,,1,yesterday", "u,i,,1,1e17", '"u,i,,1,1', '"u"x,i,,1,1', "u" * 512 + ",i,,1,1",
               "u," + "i" * 512 + ",,1,1", "u,i\udcff,,1,1"]),
           "a.jsonl": (None, [
               "{", "[]", "7", '{"user": "u"}', '{"item": "i"}', '{"user": 1.5, "item": "i"}',
               '{"user": {}, "item": "i"}',
               '{"user": "u", "item": "i", "weihgt": 1}', '{"user": "u", "user_id": "v", "item": "i"}',
               '{"user": "u", "item": "i", "kind": 1}', '{"user": "u", "item": "i", "kind": "hate"}',
               '{"user": "u", "item": "i", "time": "1969-01-01T00:00:00Z"}', '{"user": "u", "item": "i", "weight": []}',
               '{"user": "", "item": "i"}', '{"user": "u", "item": "i"} x', '{"user": "u\\u0000", "item": "i"}']),
           "a.rating": (None, ["u\ti", "u\ti\t1", "u,i,1,1", "\ti\t1\t1", "u\ti\tx\t1"]),
           "a.negative": (None, ["u,i\t1", "(u,i", "(u)\t1", "(u,)\t1", "(,i)", "()", "(", ","])}

    def test_bad_lines_are_told_and_cost_nothing_else(self):
        good = {"a.csv": "good{0},i{0},,1,1", "a.jsonl": '{{"user": "good{0}", "item": "i{0}"}}',
                "a.rating": "good{0}\ti{0}\t1\t1", "a.negative": "(good{0},i{0})\t1"}
        for name, (header, bad) in self.BAD.items():
            with self.subTest(name):
                lines = [header] if header else []
                numbers = []
                for i, line in enumerate(bad):
                    lines += [good[name].format(i), line, ["", "  ", "\r"][i % 3]]
                    numbers.append(len(lines) - 1)
                lines.insert(len(lines), "x" * (1 << 20) + "y")  # over the limit
                numbers.append(len(lines))
                store = name + ".store"
                report = self.imported(name, "\n".join(lines), expected=3, store=store)
                rejects = self.rejects(store)
                self.assertEqual([one["line"] for one in rejects], numbers)
                self.assertTrue(all(one["reason"] for one in rejects))
                self.assertEqual((report["interactions"], report["rejected"]), (len(bad), len(numbers)))
                self.assertEqual(run_json("stats", "--store", self.store(store))["users"], len(bad))
                self.assertEqual(run_json("check", "--store", self.store(store))["problems"], [])

    def test_what_is_no_such_file(self):
        for name, text, words in [("a.csv", "", "columns"), ("b.csv", "1,2,3\n", "columns"),
                                  ("c.csv", "user,when\n", "columns"), ("d.csv", "user,item,user_id\n", "alike"),
                                  ("e.txt", "u\ti\t1\t1\n", "format")]:
            path = self.write(name, text)
            code, _, err = run("interactions", "import", path, "--store", self.store(name + ".store"))
            self.assertEqual(code, 1, name)
            self.assertIn(words, err)
        report = run_json("interactions", "import", self.write("e.txt", "u\ti\t1\t1\n"), "--store", self.store(),
                          "--format", "rating")
        self.assertEqual(report["interactions"], 1)
        report = run_json("interactions", "import", "-", "--store", self.store(), "--format", "csv",
                          stdin="user,item\nv,i\nw,i\n")
        self.assertEqual(report["interactions"], 2)
        self.assertEqual(run_json("stats", "--store", self.store())["users"], 3)
        self.assertEqual(run("interactions", "history", "--store", self.store(), "--user", "nobody")[0], 3)

    def occurs(self, words):
        """In which files of the store."""
        found = []
        for name in os.listdir(self.store()):
            with open(os.path.join(self.store(), name), "rb") as file:
                if words.encode() in file.read():
                    found.append(name)
        return sorted(found)

    def test_a_deleted_user_leaves_no_trace(self):
        rows = [(user, f"i{n}", 1, n + 1) for user in ("stranger", "frïend") for n in range(300)]
        text = "user,item,rating,time\n" + "".join(f"{u},{i},{r},{s}\n" for u, i, r, s in rows)
        text += 'stranger,i1,bad,1\nfrïend,i1,bad,1\nstranger"s,i1,bad,1\n'
        self.imported("a.csv", text, expected=3)
        self.assertEqual(self.occurs("stranger"), ["data.mdb", "import-rejects.jsonl"])
        report = run_json("interactions", "delete", "--store", self.store(), "--user", "stranger")
        self.assertEqual(report, {"deleted": 1, "missing": 0})
        self.assertEqual(run("interactions", "history", "--store", self.store(), "--user", "stranger")[0], 3)
        self.assertEqual([one["id"] for one in self.rejects()], ["frïend", 'stranger"s'])
        run_json("interactions", "delete", "--store", self.store(), "--user", 'stranger"s', expected=3)
        report = run_json("compact", "--store", self.store())
        self.assertLess(report["after_bytes"], report["before_bytes"])
        self.assertEqual(self.occurs("stranger"), [])
        histories = {user: done for user, done in expected_histories(rows).items() if user == "frïend"}
        self.assertEqual(stored_histories(self.store(), histories), histories)
        self.assertEqual(run_json("check", "--store", self.store())["problems"], [])


if __name__ == "__main__":
    unittest.main()
