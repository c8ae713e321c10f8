"""What is bad outside of the job: it ends as it should, with exit code 3, says so, and the rest is in.

Elsewhere: a full disk (kill/full_disk_test.py), a file that may not be read (test_ingest_media.c), what decoders make of
damage (test_image_decode.c, test_audio_damage.c)."""
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import unittest
import wave
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import (Case, NO_MODELS, assert_complete, binary, item, model_or_skip, run, run_json, write_catalogue,  # noqa: E402
                    write_model, write_picture, write_sound)

MODEL = model_or_skip()
COMMIT = 8
WIDE = 20000  # by as many: 400 megapixels, 1.2 GB once decoded
HOURS = 10


def jpeg_of_header(path):
    """A baseline JPEG's beginning: one table, the frame's size, and a scan of nothing."""
    frame = struct.pack(">BHHB", 8, WIDE, WIDE, 1) + bytes([1, 0x11, 0])
    scan = bytes([1, 1, 0, 0, 63, 0])
    with open(path, "wb") as file:
        file.write(b"\xff\xd8\xff\xdb" + struct.pack(">H", 67) + bytes(1) + bytes([16] * 64))
        file.write(b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame)
        file.write(b"\xff\xda" + struct.pack(">H", 2 + len(scan)) + scan + b"\0" * 16 + b"\xff\xd9")


def png_of_header(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDE, WIDE, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


class Bad(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.store = folder.name, os.path.join(folder.name, "store")
        os.mkdir(self.path_of("media"))
        self.models = ["--model", MODEL, "--image-model", write_model("image", self.path_of("image-model")), "--audio-model",
                       write_model("audio", self.path_of("audio-model"))]

    def path_of(self, *names):
        return os.path.join(self.folder, *names)

    def items(self, count, kind="image", write=write_picture):
        """Items with a file each."""
        items = [item(number) for number in range(count)]
        for number, one in enumerate(items):
            one[kind] = f"media/{number}"
            write(self.path_of(one[kind]), number)
        return items

    def command(self, catalogue):
        return ["ingest", catalogue, "--store", self.store, *self.models, "--commit", COMMIT]

    def ingest(self, items, expected):
        write_catalogue(self.path_of("catalogue.jsonl"), items)
        return run_json(*self.command(self.path_of("catalogue.jsonl")), expected=expected)

    def rejects(self):
        with open(self.path_of("store", "rejects.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def assert_rest_is_in(self, items, kind, bad):
        """All items, and all files but those of `bad`, which the rejects name, each once."""
        assert_complete(self.store, items)
        stats = run_json("stats", "--store", self.store)
        self.assertEqual(stats["spaces"][kind]["vectors"], sum(kind in one for one in items) - len(bad))
        self.assertEqual([(one["id"], one["modality"], one["kept"]) for one in self.rejects()], [(id, kind, True) for id in bad])

    def assert_held_less_than_a_gigabyte(self):
        """Any command of any test here: less than what would have been taken in."""
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 1 << 20)

    def test_vanished_media_folder(self):
        """It goes away while the job waits for lines, and comes back before the next run."""
        items = self.items(10 * COMMIT)
        lines = [json.dumps(one) + "\n" for one in items]
        command = [binary(), *map(str, self.command("-")), "--acknowledge"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              cwd=self.folder, env={**os.environ, **NO_MODELS}) as process:
            process.stdin.write("".join(lines[:4 * COMMIT]))
            process.stdin.flush()
            first = ""
            while not first.endswith("\n"):  # readline would take more, which communicate then does not see
                first += os.read(process.stdout.fileno(), 1).decode()
            os.rename(self.path_of("media"), self.path_of("gone"))
            out, err = process.communicate("".join(lines[4 * COMMIT:]))
        self.assertEqual(process.returncode, 3, err)
        self.assertEqual((first + out).splitlines(), [one["id"] for one in items])
        self.assertIn("is in " + self.path_of("store", "rejects.jsonl"), err)
        refused = [one["id"] for one in self.rejects()]
        self.assertLessEqual({one["id"] for one in items[4 * COMMIT:]}, set(refused))
        self.assertFalse({one["id"] for one in items[:COMMIT]} & set(refused))
        self.assert_rest_is_in(items, "image", refused)
        os.rename(self.path_of("gone"), self.path_of("media"))
        second = self.ingest(items, 0)
        self.assertEqual((second["pictures"], second["encoded"]), ({"encoded": len(refused), "refused": 0}, len(refused)))

    def test_one_in_a_hundred_is_broken(self):
        items = self.items(300)
        for number, bytes_of_it in ((50, b""), (150, b"\xff\xd8\xff\xe0 no picture"), (250, None)):
            with open(self.path_of(items[number]["image"]), "r+b") as file:
                if bytes_of_it is None:
                    file.truncate(40)
                else:
                    file.truncate(0)
                    file.write(bytes_of_it)
        done = self.ingest(items, 3)
        self.assertEqual((done["encoded"], done["pictures"]), (300, {"encoded": 297, "refused": 3}))
        self.assert_rest_is_in(items, "image", [items[number]["id"] for number in (50, 150, 250)])

    def test_400_megapixels(self):
        items = self.items(20)
        jpeg_of_header(self.path_of(items[3]["image"]))
        png_of_header(self.path_of(items[11]["image"]))
        self.assertEqual(self.ingest(items, 3)["pictures"], {"encoded": 18, "refused": 2})
        self.assert_rest_is_in(items, "image", [items[3]["id"], items[11]["id"]])
        for one in self.rejects():
            self.assertIn(f"{WIDE} x {WIDE}", one["reason"])
        self.assert_held_less_than_a_gigabyte()

    def test_ten_hours_of_silence(self):
        """A hole on the disk; ten minutes are heard of it, and nothing of it is held."""
        items = self.items(5, "audio", write_sound)
        path, size = self.path_of(items[2]["audio"]), HOURS * 3600 * 16000 * 2
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(b"")
        with open(path, "r+b") as file:
            for at, value in ((4, 36 + size), (40, size)):
                file.seek(at)
                file.write(struct.pack("<I", value))
            file.truncate(44 + size)
        done = self.ingest(items, 0)
        self.assertEqual(done["sounds"], {"encoded": 5, "refused": 0})
        self.assert_held_less_than_a_gigabyte()
        assert_complete(self.store, items)

    def test_ten_thousand_rejects(self):
        good = [item(number) for number in range(100)]
        bad = ['{"id": "x", "text"\n', '{"text": "nobody\'s"}\n', '{"id": "y", "colour": "red"}\n', '{"id": "\\ud800"}\n']
        catalogue = self.path_of("catalogue.jsonl")
        with open(catalogue, "w", encoding="utf-8") as file:
            for one in good:
                file.write("".join(bad[number % len(bad)] for number in range(100)) + json.dumps(one) + "\n")
        code, out, err = run(*self.command(catalogue))
        self.assertEqual((code, err), (3, ""))
        self.assertIn("10100 lines: 100 encoded, 0 updated, 0 unchanged, 10000 rejected\n", out)
        self.assertIn(f"what was rejected or refused, and why, is in {self.path_of('store', 'rejects.jsonl')}", out)
        numbers = [one["line"] for one in self.rejects()]
        self.assertEqual(numbers, [number for number in range(1, 10101) if number % 101])
        assert_complete(self.store, good)


if __name__ == "__main__":
    unittest.main(verbosity=2)
