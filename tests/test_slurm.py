"""ingest/slurm/encode.sbatch, run task by task as Slurm would: the store out of its shards is the one of magpie ingest,
and tasks may come in any order, fail, and come again. Run by ctest."""
import os
import subprocess
import unittest

from cluster import ROOT, Cluster, binary

SCRIPT = os.path.join(ROOT, "ingest", "slurm", "encode.sbatch")
SHARDS = 4


class Slurm(Cluster):
    def task(self, number, folder, *more, catalogue=None):
        """Exit code and standard error."""
        path = os.path.dirname(binary()) + os.pathsep + os.environ["PATH"]
        done = subprocess.run(["bash", SCRIPT, str(SHARDS), catalogue or self.catalogue, self.path(folder), *self.models, *more],
                              env={**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "1"},
                              capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stderr

    def test_an_array(self):
        for number in (2, 0, 3, 1):
            code, err = self.task(number, "out", "--skip-bad")
            self.assertEqual(code, 0, err)
        shards = self.read_shards("out")
        self.assertEqual(len(shards), SHARDS)
        self.assertEqual(sorted(shards), sorted(os.listdir(self.path("out"))))
        self.assert_same_store("out")
        os.remove(self.path("out/part-00001.gz"))  # and task 2 is requeued for nothing
        before = os.stat(self.path("out/part-00002.gz"))
        for number in (1, 2):
            self.assertEqual(self.task(number, "out", "--skip-bad")[0], 0)
        self.assertEqual(self.read_shards("out"), shards)
        self.assertEqual(os.stat(self.path("out/part-00002.gz")).st_ino, before.st_ino)

    def test_a_task_that_fails_leaves_no_shard(self):
        code, err = self.task(0, "failed")
        self.assertEqual(code, 1)
        self.assertIn("broken JSON", err)
        code, err = self.task(0, "failed", catalogue=self.path("none"))
        self.assertEqual(code, 1, err)
        self.assertEqual(os.listdir(self.path("failed")), [])


if __name__ == "__main__":
    unittest.main()
