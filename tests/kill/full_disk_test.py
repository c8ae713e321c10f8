"""A disk that fills up during an ingest: the error says so, the store opens and is sound, what was acknowledged is in
it, and a run on a larger disk finishes without computing anything twice.

The disk is a small tmpfs in a mount namespace of its own, which needs root. Its size grows from round to round, so that
the disk fills up at the store's creation, in a transaction and while the index is written."""
import os
import subprocess
import sys
import tempfile

from sample import (SKIPPED, assert_complete, binary, item, model_or_skip, run_json, stored_texts, write_catalogue)

MODEL = model_or_skip()
ITEMS, COMMIT = 600, 32
KILOBYTES = [16, 300, 900, 1800, 2700, 3400, 3700, 4000, 4300, 4600, 4900, 5200, 5500]


def enter_namespace():
    """Runs this script once more, in a mount namespace where there may be one."""
    if os.environ.get("MAGPIE_OWN_MOUNTS"):
        return
    script = "d=$(mktemp -d) && mount -t tmpfs none $d && umount $d; code=$?; rmdir $d; exit $code"
    probe = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        print("SKIPPED: cannot mount a tmpfs here (it takes root):", probe.stderr.strip())
        sys.exit(SKIPPED)
    os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv], {**os.environ, "MAGPIE_OWN_MOUNTS": "1"})


def mount(folder, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)


def fill_up(catalogue, items, folder, kilobytes):
    """One round; whether the disk was too small."""
    store = os.path.join(folder, "store")
    arguments = ["ingest", catalogue, "--store", store, "--model", MODEL, "--precision", "f32", "--commit", str(COMMIT)]
    mount(folder, f"size={kilobytes}k")
    try:
        first = subprocess.run([binary(), *arguments, "--acknowledge"], capture_output=True, text=True, check=False)
        acknowledged = first.stdout.splitlines()
        if first.returncode == 0:
            assert_complete(store, items)
            return False
        assert first.returncode == 1, first.stderr
        assert first.stderr.startswith("magpie: ") and first.stderr.count("\n") == 1, first.stderr
        assert "space" in first.stderr.lower() or "full" in first.stderr.lower(), first.stderr
        texts = stored_texts(store, [one["id"] for one in items])
        assert set(acknowledged) == set(texts), "what is acknowledged is what is there"
        if texts:
            assert run_json("check", "--store", store)["problems"] == []
        mount(folder, "remount,size=64m")
        second = run_json(*arguments)
        assert second["encoded"] == ITEMS - len(texts), second
        assert_complete(store, items)
        print(f"{kilobytes} kB: {len(texts)} items, then \"{first.stderr.strip()}\"", flush=True)
        return True
    finally:
        subprocess.run(["umount", folder], check=True)


def main():
    enter_namespace()
    items = [item(i) for i in range(ITEMS)]
    with tempfile.TemporaryDirectory() as folder:
        catalogue, disk = os.path.join(folder, "catalogue.jsonl"), os.path.join(folder, "disk")
        os.mkdir(disk)
        write_catalogue(catalogue, items)
        too_small = [fill_up(catalogue, items, disk, kilobytes) for kilobytes in KILOBYTES]
    assert any(too_small) and not all(too_small), "the sizes should reach from too small to large enough"
    print(f"{sum(too_small)} disks were too small, and every run finished once there was room")


if __name__ == "__main__":
    main()
