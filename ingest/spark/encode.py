"""Encodes a catalogue on a Spark cluster: each partition goes through `magpie encode --items`, and the vector lines that
come out are saved as shards, in the catalogue's order, for `magpie import-vectors`. README.md tells how to run it.

Partitions follow from the catalogue and --split alone, whatever the cluster, and no line moves from one to another: so
the same job writes the same bytes. Where magpie fails, its task does, in magpie's words."""
import argparse
import functools
import os
import subprocess
import sys
import tempfile
import threading
from urllib.parse import unquote

from pyspark import SparkFiles, TaskContext
from pyspark.sql import SparkSession

FINE = 0, 3  # exit codes; 3: something was refused, which its line says
WORDS_MOST = 4000  # bytes of what magpie said, in an exception
GZIP = "org.apache.hadoop.io.compress.GzipCodec"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog="What follows -- are options of magpie encode.")
    parser.add_argument("catalogue", nargs="+", help="files, folders or globs of JSON lines, .gz too, or of .parquet")
    parser.add_argument("--output", required=True, help="a folder that is not there yet")
    parser.add_argument("--magpie", default="magpie", help="the program, on the workers (default: magpie)")
    parser.add_argument("--split", help="bytes of a partition (default: 4m, of Parquet 128m)")
    own = sys.argv[1:]
    at = own.index("--") if "--" in own else len(own)
    given = parser.parse_args(own[:at])
    given.options = own[at + 1:]
    return given


def read_lines(spark, paths, split):
    """An RDD of rows of one value: the bytes of a line, exactly, broken UTF-8 included."""
    parquet = all(path.rstrip("/").endswith(".parquet") for path in paths)
    for name in ("maxPartitionBytes", "openCostInBytes"):  # both, or the number of CPUs would count
        spark.conf.set("spark.sql.files." + name, split or ("128m" if parquet else "4m"))
    spark.conf.set("spark.sql.session.timeZone", "UTC")  # of Parquet's timestamps

    def read(path):
        if parquet:
            return spark.read.parquet(path).selectExpr(
                "cast(to_json(struct(*), map('ignoreNullFields', 'false')) as binary) value")
        return spark.read.text(path, lineSep="\n").selectExpr("cast(value as binary) value")

    # One by one: Spark would take the largest first.
    files = [unquote(file) for path in paths for file in sorted(read(path).inputFiles())]
    return spark.sparkContext.union([read(file).rdd for file in files])


def shipped(argument):
    """Where --archives or --files has put it, if they have."""
    path = os.path.join(SparkFiles.getRootDirectory(), argument)
    return path if argument and os.path.exists(path) else argument


def feed(process, rows, failures):
    try:
        with process.stdin as lines:
            for row in rows:
                lines.write(row.value + b"\n")
    except BrokenPipeError:
        pass  # magpie has ended, and its exit code says why
    except BaseException as failure:  # pylint: disable=broad-exception-caught
        failures.append(failure)
        process.kill()  # or it would take what it has got for all there is


def encode(command, rows):
    """The vector lines of a partition."""
    program, *options = map(shipped, command)
    threads = ["--threads", str(TaskContext.get().cpus())]
    environment = dict(os.environ)
    if program != command[0]:  # its libraries may be shipped beside it
        environment["LD_LIBRARY_PATH"] = os.path.join(os.path.dirname(program), "lib")
    with tempfile.TemporaryFile() as words, \
            subprocess.Popen([program, "encode", "-", "--items", *threads, *options], env=environment,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words) as process:
        failures = []
        feeder = threading.Thread(target=feed, args=(process, rows, failures))
        feeder.start()
        try:
            for line in process.stdout:
                yield line.rstrip(b"\n")
            code = process.wait()
        finally:
            process.kill()  # where the task is given up
            feeder.join()
        words.seek(0)
        said = words.read().decode(errors="replace").strip()
    if failures:
        raise failures[0]
    part = f"partition {TaskContext.get().partitionId()}"
    if code not in FINE:
        raise RuntimeError(f"{part}: magpie encode ended with {code}: {said[-WORDS_MOST:]}")
    if said:
        print(f"{part}: {said}", file=sys.stderr)  # the executor's log


def main():
    given = parse_arguments()
    spark = SparkSession.builder.appName("magpie encode").getOrCreate()
    lines = read_lines(spark, given.catalogue, given.split)
    command = [given.magpie, *given.options]
    lines.mapPartitions(functools.partial(encode, command)).saveAsTextFile(given.output, GZIP)
    spark.stop()


if __name__ == "__main__":
    main()
