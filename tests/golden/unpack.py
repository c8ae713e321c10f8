#!/usr/bin/env python3
"""Unpacks every .npz of a folder into NAME.ARRAY.npy files of another, so that tests in C need no zip reader."""
import pathlib
import sys
import zipfile

source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir(parents=True, exist_ok=True)
for archive in sorted(source.glob("*.npz")):
    with zipfile.ZipFile(archive) as z:
        for name in z.namelist():
            (target / f"{archive.stem}.{name}").write_bytes(z.read(name))
