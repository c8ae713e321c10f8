"""magpie jobs, and what makes an ingest a job: one at a time, records that are true after a kill, going on, being
cancelled, and the catalogue as the truth. Run by ctest."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import NO_MODELS, binary, item, run, run_json, write_catalogue, write_model, write_picture, write_png  # noqa: E402

ITEMS = 40


class JobsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = write_model("image", os.path.join(cls.folder.name, "model"))
        for number in range(ITEMS):
            write_picture(os.path.join(cls.folder.name, f"{number}.png"), number)
        cls.catalogue = cls.write("catalogue.jsonl", range(ITEMS))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)
        self.store = os.path.join(self.home.name, "store")

    @classmethod
    def line(cls, number):
        return item(number) | {"image": os.path.join(cls.folder.name, f"{number}.png")}

    @classmethod
    def write(cls, name, numbers, more=""):
        path = os.path.join(cls.folder.name, name)
        write_catalogue(path, map(cls.line, numbers))
        with open(path, "a", encoding="utf-8") as file:
            file.write(more)
        return path

    def arguments(self, catalogue, *more):
        return ["ingest", catalogue, "--store", self.store, "--image-model", self.model, *more]

    def ingest(self, catalogue, *more, expected=0):
        return run_json(*self.arguments(catalogue, *more), expected=expected)

    def start(self, *more):
        """An ingest of standard input that says each id once it is durable."""
        process = subprocess.Popen([binary(), *self.arguments("-", "--commit", "1", "--acknowledge", *more)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, **NO_MODELS})
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        for stream in process.stdin, process.stdout, process.stderr:
            stream.close()

    def give(self, process, number):
        """Waits until the item is durable."""
        process.stdin.write(json.dumps(self.line(number)) + "\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline().strip(), item(number)["id"])

    def jobs(self):
        code, out, err = run("jobs", "list", "--store", self.store, "--json")
        self.assertEqual(code, 0, err)
        return [json.loads(line) for line in out.splitlines()]

    def test_a_record_says_what_was_done(self):
        report = self.ingest(self.catalogue)
        again = self.ingest(self.catalogue)
        self.assertNotEqual(report["job"], again["job"])
        newest, oldest = self.jobs()
        self.assertEqual((newest["id"], oldest["id"]), (again["job"], report["job"]))
        self.assertEqual((oldest["state"], oldest["lines"], oldest["encoded"], oldest["pictures"], oldest["runs"]),
                         ("done", ITEMS, ITEMS, ITEMS, 1))
        self.assertEqual((newest["state"], newest["encoded"], newest["unchanged"]), ("done", 0, ITEMS))
        self.assertEqual(newest["catalogue"], os.path.realpath(self.catalogue))
        code, out, _ = run("jobs", "show", report["job"], "--store", self.store)
        self.assertEqual(code, 0)
        self.assertIn(f"encoded    {ITEMS}\n", out)
        self.assertIn(self.catalogue, out)
        self.assertEqual(run("jobs", "show", "nobody", "--store", self.store)[0], 3)

    def test_a_store_that_is_not_there(self):
        for part in ("list",), ("show", "x"), ("resume", "x"), ("cancel", "x"):
            code, _, err = run("jobs", *part, "--store", self.store)
            self.assertEqual((code, err.count("\n")), (1, 1), err)

    def test_what_was_killed_goes_on(self):
        """By an id that jobs list tells: nothing is encoded twice, and it stays one job."""
        process = subprocess.Popen([binary(), *self.arguments(self.catalogue, "--commit", "4", "--acknowledge")],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   env={**os.environ, **NO_MODELS})
        process.stdout.readline()
        process.kill()
        process.communicate()
        (job,) = self.jobs()
        self.assertEqual((job["state"], job["runs"]), ("stopped", 1))
        stored = job["encoded"]
        self.assertEqual(run_json("stats", "--store", self.store)["items"], stored)
        run_json("jobs", "resume", job["id"], "--store", self.store, "--json")
        (job,) = self.jobs()
        self.assertEqual((job["state"], job["encoded"], job["lines"], job["runs"]), ("done", ITEMS, ITEMS, 2))
        self.assertEqual(run("jobs", "resume", job["id"], "--store", self.store)[0], 1)
        self.assertEqual(run_json("check", "--store", self.store)["problems"], [])

    def test_one_at_a_time(self):
        first = self.start()
        self.give(first, 0)
        (job,) = self.jobs()
        self.assertEqual(job["state"], "running")
        code, _, err = run(*self.arguments(self.catalogue))
        self.assertEqual(code, 1)
        self.assertIn(f"job {job['id']} is filling this store (process {first.pid})", err)
        second = subprocess.Popen([binary(), *self.arguments(self.catalogue, "--wait")], stdout=subprocess.DEVNULL,
                                  env={**os.environ, **NO_MODELS})
        self.give(first, 1)
        self.assertIsNone(second.poll())
        first.stdin.close()
        self.assertEqual((first.wait(), second.wait()), (0, 0))
        self.assertEqual(sorted((job["state"], job["encoded"]) for job in self.jobs()),
                         [("done", 2), ("done", ITEMS - 2)])

    def test_cancelled_while_it_runs(self):
        process = self.start()
        self.give(process, 0)
        (job,) = self.jobs()
        self.assertTrue(run_json("jobs", "cancel", job["id"], "--store", self.store)["runs"])
        process.stdin.write(json.dumps(self.line(1)) + "\n" + json.dumps(self.line(2)) + "\n")
        process.stdin.close()
        self.assertEqual(process.wait(), 130)
        self.assertIn("was cancelled", process.stderr.read())
        (job,) = self.jobs()
        self.assertEqual(job["state"], "cancelled")
        self.assertEqual(run_json("stats", "--store", self.store)["items"], job["encoded"])

    def test_cancelled_after_it_was_stopped(self):
        process = self.start()
        self.give(process, 0)
        process.send_signal(signal.SIGTERM)
        process.stdin.write(json.dumps(self.line(1)) + "\n")
        process.stdin.close()
        process.wait()
        (job,) = self.jobs()
        self.assertEqual(job["state"], "stopped")
        self.assertFalse(run_json("jobs", "cancel", job["id"], "--store", self.store)["runs"])
        self.assertEqual(self.jobs()[0]["state"], "cancelled")
        self.assertEqual(run("jobs", "cancel", job["id"], "--store", self.store)[0], 1)
        self.assertEqual(run("jobs", "cancel", "nobody", "--store", self.store)[0], 3)

    def test_the_catalogue_as_the_truth(self):
        self.ingest(self.catalogue)
        some = self.write("some.jsonl", range(0, ITEMS, 2), '{"id": "item/00001", "text": 7}\n')
        self.assertEqual(self.ingest(some, expected=3)["deleted"], 0)
        report = self.ingest(some, "--delete-missing", expected=3)
        self.assertEqual((report["deleted"], report["unchanged"], report["not_deleted"]), (ITEMS // 2 - 1, ITEMS // 2, None))
        kept = [item(number)["id"] for number in [1, *range(0, ITEMS, 2)]]
        code, out, _ = run("get", "--store", self.store, "--json", *kept)
        self.assertEqual((code, len(out.splitlines())), (0, len(kept)))
        self.assertEqual(run_json("stats", "--store", self.store)["items"], len(kept))
        nameless = self.write("nameless.jsonl", range(3), "{\n")
        nothing = self.write("nothing.jsonl", [])
        for catalogue in nameless, nothing:
            report = self.ingest(catalogue, "--delete-missing", expected=3)
            self.assertEqual(report["deleted"], 0)
            self.assertTrue(report["not_deleted"])
        self.assertEqual(run_json("check", "--store", self.store)["problems"], [])

    def test_a_dry_run_writes_nothing(self):
        """It says of a store that is not there, and of one that is, what the job does afterwards."""
        broken = os.path.join(self.folder.name, "broken.png")
        with open(broken, "w", encoding="utf-8") as file:
            file.write("no picture")
        more = json.dumps(item(0) | {"id": "broken", "image": broken}) + "\n{bad\n"
        for catalogue in self.write("half.jsonl", range(ITEMS // 2), more), self.write("all.jsonl", range(5, ITEMS), more):
            before = sorted(os.listdir(self.store)) if os.path.exists(self.store) else None
            rejects = os.path.join(self.home.name, "rejects")
            told = self.ingest(catalogue, "--delete-missing", "--dry-run", "--rejects", rejects, expected=3)
            self.assertEqual(sorted(os.listdir(self.store)) if os.path.exists(self.store) else None, before)
            with open(rejects, encoding="utf-8") as file:
                self.assertEqual(len(file.readlines()), 2)
            done = self.ingest(catalogue, "--delete-missing", expected=3)
            for key in "lines", "encoded", "updated", "unchanged", "rejected", "pictures", "deleted", "not_deleted":
                self.assertEqual(told[key], done[key], key)
        self.assertEqual([job["state"] for job in self.jobs()], ["done", "done"])

    def test_memory_is_divided(self):
        code, _, err = run(*self.arguments(self.catalogue, "--memory", "100M"))
        self.assertEqual(code, 1)
        self.assertIn("are the least", err)
        large = os.path.join(self.folder.name, "large.png")
        write_png(large, 6000, 6000, bytes(3 * 6000 * 6000))
        path = self.write("large.jsonl", [0], json.dumps({"id": "large", "image": large}) + "\n")
        report = self.ingest(path, "--memory", "200M", "--threads", "2", expected=3)
        self.assertEqual(report["pictures"], {"encoded": 1, "refused": 1})
        with open(report["rejects"], encoding="utf-8") as file:
            self.assertRegex(file.read(), "its pixels take 108.0 MB, and .* are allowed")
        self.assertEqual(self.ingest(path, "--memory", "1G")["pictures"], {"encoded": 1, "refused": 0})

    def test_progress_for_machines(self):
        code, _, err = run(*self.arguments(self.catalogue, "--progress", "json"))
        self.assertEqual(code, 0, err)
        for line in err.splitlines():
            self.assertLessEqual(json.loads(line)["lines_done"], ITEMS)


if __name__ == "__main__":
    unittest.main()
