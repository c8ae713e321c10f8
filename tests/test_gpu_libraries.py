"""The program starts on a machine without any GPU's library: it is linked with none, and says in one line what is missing
when it is asked for. MAGPIE_BINARY names the command; run by ctest."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill"))
from sample import Case, binary, run, write_model, write_picture  # noqa: E402


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class Libraries(Case):
    @unittest.skipUnless(shutil.which("readelf"), "no readelf")
    def test_none_is_needed_to_start(self):
        out = subprocess.run(["readelf", "-d", binary()], capture_output=True, text=True, check=True).stdout
        needed = [line for line in out.splitlines() if "(NEEDED)" in line]
        self.assertTrue(needed)
        for library in ("libcuda", "libcudart", "libcublas", "libnvrtc", "libOpenCL"):
            self.assertEqual([line for line in needed if library in line], [])

    @unittest.skipIf(has_driver(), "there is a driver of NVIDIA's")
    def test_missing_driver_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            model, picture = write_model("image", folder + "/model"), folder + "/a.png"
            write_picture(picture, 1)
            code, out, err = run("encode", "--model", model, "--device", "cuda",
                                 stdin=json.dumps({"id": "a", "image": picture}) + "\n")
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")
        self.assertRegex(err, r"\Amagpie: [^\n]*(libcuda\.so\.1|without nvcc)[^\n]*\n\Z")


if __name__ == "__main__":
    unittest.main()
