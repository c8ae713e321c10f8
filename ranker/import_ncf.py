#!/usr/bin/env python3
"""The weights that the authors of neural collaborative filtering publish (github.com/hexiangnan/
neural_collaborative_filtering, Pretrain/*.h5), as a model folder of Magpie.

Usage: import_ncf.py WEIGHTS.h5 OUT_DIR [FILE.train.rating]    (pip: h5py)
GMF, MLP or NeuMF, as Keras 1 or 2 saves weights in HDF5: a group for each layer, whose attribute `weight_names` lists
its tensors in order. Layers are told by their names: user_embedding, item_embedding, or with mf_ and mlp_ in front and
the side behind; layer1, layer2, ...; prediction. Kernels are [in, out], the first one's input is user, then item, the
prediction's is GMF's product, then the tower: all as in ranker/neural.c.

Rows are numbered as in the file. A store gives numbers in the order in which it meets users and items: for use with
one that FILE.train.rating was imported into, name that file too, and rows come in the order in which it names them,
those that it does not name behind."""
import json
import os
import struct
import sys

import h5py
import numpy

# By model: what the embeddings of each part of a row are called.
EMBEDDINGS = {"neumf": {"gmf": "mf_embedding_{}", "mlp": "mlp_embedding_{}"},
              "gmf": {"gmf": "{}_embedding"},
              "mlp": {"mlp": "{}_embedding"}}


def need(condition, words):
    if not condition:
        sys.exit("import_ncf.py: " + words)


def read_layers(path):
    """{layer: its arrays}, of those that have some."""
    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            return {name: [root[name][weight][()].astype(numpy.float32) for weight in root[name].attrs["weight_names"]]
                    for name in root if len(root[name].attrs.get("weight_names", ()))}
    except (OSError, KeyError, ValueError) as error:
        need(False, f"{path}: no weights as Keras saves them: {error}")


def orders_of(path, counts):
    """For users and items, the rows in the order in which a file of ratings names them, the rest behind."""
    with open(path, encoding="ascii") as file:
        named = [[int(word) for word in line.split()[:2]] for line in file if line.strip()]
    orders = [list(dict.fromkeys([row[k] for row in named] + list(range(counts[k])))) for k in range(2)]
    need(all(len(order) == n for order, n in zip(orders, counts)), f"{path} has more users or items than the weights")
    return orders


def tower_of(layers, mlp):
    """The tensors of the tower, whose first layer takes two rows of `mlp` numbers, and their widths."""
    tensors, widths, before = {}, [], 2 * mlp
    while f"layer{len(widths) + 1}" in layers:
        n = len(widths)
        kernel, bias = layers[f"layer{n + 1}"]
        need(kernel.shape == (before, before // 2) and bias.shape == (before // 2,),
             f"layer{n + 1} is {kernel.shape}: only towers that halve are known here")
        tensors |= {f"tower.{n}.weight": kernel, f"tower.{n}.bias": bias}
        before //= 2
        widths.append(before)
    need(not mlp or widths, "there are embeddings for a tower, and no layer1")
    return tensors, widths


def convert(layers, ratings):
    """The model's config and tensors."""
    model = "neumf" if "mf_embedding_user" in layers else "mlp" if "layer1" in layers else "gmf"
    try:
        rows = {f"{side}.{part}": layers[name.format(side)][0]
                for part, name in EMBEDDINGS[model].items() for side in ("user", "item")}
        kernel, bias = layers["prediction"]
    except KeyError as error:
        need(False, f"there is no layer {error}")
    counts = [len(next(rows[name] for name in rows if name.startswith(side))) for side in ("user", "item")]
    width = {part: rows["user." + part].shape[1] for part in EMBEDDINGS[model]}
    for name, values in rows.items():
        need(values.shape == (counts[name.startswith("item")], width[name[5:]]), f"{name} is {values.shape}")
    orders = orders_of(ratings, counts) if ratings else [range(n) for n in counts]
    tensors = {name: values[orders[name.startswith("item")]] for name, values in rows.items()}
    tower, widths = tower_of(layers, width.get("mlp", 0))
    gmf, last = width.get("gmf", 0), widths[-1] if widths else 0
    need(not (gmf and last) or gmf == last, f"GMF is {gmf} wide and the tower's last layer {last}: they have to be alike")
    need(kernel.shape == (gmf + last, 1) and bias.shape == (1,), f"the prediction's kernel is {kernel.shape}")
    parts = {"out.gmf": kernel[:gmf, 0], "out.mlp": kernel[gmf:, 0], "out.bias": bias}
    tensors |= tower | {name: values for name, values in parts.items() if len(values)}
    options = {"factors": gmf or last} | ({"layers": len(widths)} if widths else {})
    return {"model_type": "magpie-ranker", "model": model, "users": counts[0], "items": counts[1], "content": 0,
            "options": options}, tensors


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(numpy.ascontiguousarray(values, "<f4").tobytes())


def main():
    need(len(sys.argv) in (3, 4), "usage: import_ncf.py WEIGHTS.h5 OUT_DIR [FILE.train.rating]")
    config, tensors = convert(read_layers(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else None)
    os.makedirs(sys.argv[2], exist_ok=True)
    write_safetensors(os.path.join(sys.argv[2], "model.safetensors"), tensors)
    with open(os.path.join(sys.argv[2], "config.json"), "w", encoding="ascii") as file:
        print(json.dumps(config), file=file)


if __name__ == "__main__":
    main()
