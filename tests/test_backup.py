"""A backup that is made while others write is a store of one moment: clean, and a prefix of what is written, item by item
and bit by bit. Killed, it leaves nothing under its name. And a compaction gives the space of what was deleted back.
Run by ctest."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import Case, binary, item, model_or_skip, run, run_json, write_catalogue  # noqa: E402

MODEL = model_or_skip()
ITEMS, COMMIT = 600, 4


def export(store, *arguments):
    code, out, err = run("export", "--store", store, "--output", "-", *arguments)
    assert (code, err) == (0, ""), err
    return out.splitlines()


class Backup(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.catalogue, cls.store = cls.path("catalogue.jsonl"), cls.path("store")
        write_catalogue(cls.catalogue, [item(number) for number in range(ITEMS)])
        cls.moments = cls.fill_with_backups()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def fill_with_backups(cls):
        """Backups while the store is filled: {path: how many items were acknowledged when it began}."""
        arguments = ["ingest", cls.catalogue, "--store", cls.store, "--model", MODEL, "--precision", "f32",
                     "--commit", str(COMMIT), "--acknowledge"]
        moments = {}
        with subprocess.Popen([binary(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
            for count, _ in enumerate(writer.stdout, 1):
                if count % 100 == 50:
                    moments[cls.path(f"backup-{count}")] = count
                    run_json("backup", cls.path(f"backup-{count}"), "--store", cls.store)
            assert writer.wait() == 0, writer.stderr.read()
        return moments

    def test_each_is_a_prefix(self):
        whole, counts = export(self.store), []
        self.assertEqual(len(whole), ITEMS + 1)
        for path, acknowledged in self.moments.items():
            self.assertEqual(sorted(os.listdir(path)), ["data.mdb"])
            lines = export(path)
            counts.append(len(lines) - 1)
            self.assertEqual(lines, whole[:len(lines)])
            self.assertGreaterEqual(len(lines) - 1, acknowledged)
            self.assertEqual(counts[-1] % COMMIT, 0)
            self.assertEqual(run_json("check", "--store", path)["problems"], [])
        self.assertTrue(any(count < ITEMS for count in counts), "some should have been made meanwhile")
        path = next(iter(self.moments))
        rest = run_json("ingest", self.catalogue, "--store", path, "--model", MODEL, "--precision", "f32")
        self.assertEqual(rest["encoded"], ITEMS - counts[0])
        self.assertEqual(export(path), whole)
        self.assertEqual(run_json("check", "--store", path)["indexed"], ITEMS)

    def test_what_is_in_it(self):
        store, backup = self.path("full"), self.path("full.backup")
        shutil.copytree(self.store, store)
        names = ["media/a.png", "ranker/magpie/config.json", "rejects.jsonl", "ranker/magpie/x.index"]
        for name in names + ["media/b.tmp", "scratch-1/a", "text.index", "some.lock", "data.mdb.tmp"]:
            os.makedirs(os.path.dirname(os.path.join(store, name)), exist_ok=True)
            with open(os.path.join(store, name), "w", encoding="utf-8") as file:
                file.write(name)
        os.utime(os.path.join(store, names[0]), ns=(1, 123456789))
        os.mkfifo(store + "/pipe")
        run_json("backup", backup, "--store", store)
        found = {os.path.relpath(os.path.join(folder, name), backup)
                 for folder, _, files in os.walk(backup) for name in files}
        self.assertEqual(found, {"data.mdb", *names})
        with open(os.path.join(backup, names[0]), encoding="utf-8") as file:
            self.assertEqual(file.read(), names[0])
        self.assertEqual(os.stat(os.path.join(backup, names[0])).st_mtime_ns, 123456789)
        self.fails(1, "is there already", "backup", backup, "--store", store)
        self.fails(1, "own folder", "backup", store + "/inside", "--store", store)
        self.fails(1, "no data.mdb", "backup", self.path("x"), "--store", self.folder)
        self.assertFalse(any("partial" in name for name in os.listdir(self.folder) + os.listdir(store)))

    def test_killed(self):
        store, backup = self.path("killed"), self.path("killed.backup")
        shutil.copytree(self.store, store)
        os.mkdir(store + "/ranker")
        with open(store + "/ranker/large", "wb") as file:
            file.truncate(4 << 30)  # whose copying takes a while
        with subprocess.Popen([binary(), "backup", backup, "--store", store]) as process:
            while not any(os.path.exists(os.path.join(self.folder, name, "ranker/large"))
                          for name in os.listdir(self.folder) if name.startswith("killed.backup")):
                self.assertIsNone(process.poll())
            process.kill()
        left = [name for name in os.listdir(self.folder) if name.startswith("killed.backup")]
        self.assertEqual(len(left), 1)
        self.assertRegex(left[0], r"^killed\.backup\.partial-")
        shutil.rmtree(self.path(left[0]))
        os.remove(store + "/ranker/large")
        run_json("backup", backup, "--store", store)
        self.assertEqual(export(backup), export(self.store))

    def test_compaction_gives_space_back(self):
        store = self.path("compacted")
        shutil.copytree(self.store, store)
        before = run_json("compact", "--store", store)
        query = ("search", "--store", store, "--model", MODEL, "--text", "a red cat under the bridge", "-k", ITEMS)
        even = [item(number)["id"] for number in range(0, ITEMS, 2)]
        run_json("delete", "--store", store, *even)
        lines, hits = export(store), run_json(*query)["hits"]
        self.assertEqual(len(lines), ITEMS // 2 + 1)
        after = run_json("compact", "--store", store)
        self.assertLess(after["after_bytes"], 0.6 * before["after_bytes"])
        self.assertEqual(os.path.getsize(store + "/data.mdb"), after["after_bytes"])
        self.assertEqual(export(store), lines)
        self.assertEqual(run_json(*query)["hits"], hits)
        self.assertEqual(run_json("check", "--store", store)["problems"], [])


if __name__ == "__main__":
    unittest.main()
