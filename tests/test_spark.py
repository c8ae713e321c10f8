"""ingest/spark/encode.py on a cluster of two threads: the store out of its shards is the one of magpie ingest, and a
second run, on one thread, writes the same bytes. Skipped where there is no Java or no PySpark, in MAGPIE_SPARK_DIR or
where Python finds it. Run by ctest."""
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import unittest

from cluster import MODEL, ROOT, SKIPPED, Cluster, binary

SCRIPT = os.path.join(ROOT, "ingest", "spark", "encode.py")


def spark_or_skip():
    spec = importlib.util.find_spec("pyspark")
    found = os.environ.get("MAGPIE_SPARK_DIR") or (spec and os.path.dirname(spec.submodule_search_locations[0]))
    if not found or not shutil.which("java"):
        print("SKIPPED: no Java" if found else "SKIPPED: no PySpark; scripts/fetch-spark fetches it")
        sys.exit(SKIPPED)
    return os.path.join(found, "pyspark")


HOME = spark_or_skip()


class Spark(Cluster):
    def job(self, threads, folder, *more):
        """Exit code and standard error."""
        command = [HOME + "/bin/spark-submit", "--master", f"local[{threads}]", "--conf", "spark.ui.enabled=false",
                   "--driver-java-options", "-XX:TieredStopAtLevel=1",  # starts in half the time
                   "--archives", self.bundle + "#bundle", SCRIPT, self.catalogue, "--output", self.path(folder),
                   "--split", "12k", "--magpie", "bundle/magpie", "--", "--media-root", self.folder,
                   "--model", MODEL, "--image-model", "bundle/image", "--audio-model", "bundle/audio", *more]
        env = {**os.environ, "SPARK_HOME": HOME, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1",
               "SPARK_LOCAL_DIRS": self.path("spark")}
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=600, check=False)
        return done.returncode, done.stderr

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bundle = cls.path("bundle.tar.gz")
        with tarfile.open(cls.bundle, "w:gz") as archive:
            archive.add(binary(), "magpie")
            for kind in ("image", "audio"):
                archive.add(cls.path(kind), kind)

    def test_a_job(self):
        for threads in (2, 1):
            code, err = self.job(threads, f"out{threads}", "--skip-bad")
            self.assertEqual(code, 0, err)
        shards = self.read_shards("out2")
        self.assertGreater(len(shards), 3)
        self.assertEqual(self.read_shards("out1"), shards)
        self.assertIn("broken JSON", err)
        self.assert_same_store("out2")

    def test_a_part_that_fails_is_told(self):
        code, err = self.job(2, "failed")
        self.assertEqual(code, 1)
        self.assertIn("magpie encode ended with 1: magpie: standard input, line", err)
        self.assertEqual(self.read_shards("failed"), {})


if __name__ == "__main__":
    unittest.main()
