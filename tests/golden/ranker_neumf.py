#!/usr/bin/env python3
"""Makes ranker_neumf.json: the logits of a NeuMF in PyTorch, f32, with weights made from their names.

Usage: ranker_neumf.py >ranker_neumf.json    (pip: torch, numpy)
The network is He et al. 2017's, figure 3: 8 factors, a tower of 64-32-16-8, and one logit without its sigmoid. Names
and shapes are those of ranker/neural.c; PyTorch's linear layers keep theirs the other way round."""
import json

import torch
from seeded import expand, rounded, values

USERS, ITEMS, FACTORS, TOWER = 30, 40, 8, (64, 32, 16, 8)
SEED = "neumf"


class NeuMF(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.user_gmf, self.item_gmf = torch.nn.Embedding(USERS, FACTORS), torch.nn.Embedding(ITEMS, FACTORS)
        self.user_mlp, self.item_mlp = (torch.nn.Embedding(n, TOWER[0] // 2) for n in (USERS, ITEMS))
        self.tower = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(TOWER, TOWER[1:]))
        self.out = torch.nn.Linear(FACTORS + TOWER[-1], 1)

    def forward(self, user, item):
        h = torch.cat([self.user_mlp(user), self.item_mlp(item)], -1)
        for layer in self.tower:
            h = torch.relu(layer(h))
        return self.out(torch.cat([self.user_gmf(user) * self.item_gmf(item), h], -1)).squeeze(-1)


def manifest():
    lines = [f"{side}.{part} {n} {width}" for side, n in (("user", USERS), ("item", ITEMS))
             for part, width in (("gmf", FACTORS), ("mlp", TOWER[0] // 2))]
    for number, (a, b) in enumerate(zip(TOWER, TOWER[1:])):
        lines += [f"tower.{number}.weight {a} {b}", f"tower.{number}.bias {b}"]
    return [*lines, f"out.gmf {FACTORS}", f"out.mlp {TOWER[-1]}", "out.bias 1"]


def fill(model, lines):
    ours = {name: torch.from_numpy(values(SEED, name, shape, last)) for name, shape, last in expand(lines)}
    with torch.no_grad():
        for name in ("user_gmf", "item_gmf", "user_mlp", "item_mlp"):
            getattr(model, name).weight.copy_(ours[name.replace("_", ".")])
        for number, layer in enumerate(model.tower):
            layer.weight.copy_(ours[f"tower.{number}.weight"].T)
            layer.bias.copy_(ours[f"tower.{number}.bias"])
        model.out.weight.copy_(torch.cat([ours["out.gmf"], ours["out.mlp"]])[None])
        model.out.bias.copy_(ours["out.bias"])
    return model.eval()


def main():
    lines = manifest()
    config = {"model_type": "magpie-ranker", "model": "neumf", "users": USERS, "items": ITEMS, "content": 0,
              "options": {"factors": FACTORS, "layers": len(TOWER) - 1}}
    with torch.no_grad():
        user, item = (x.flatten() for x in torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij"))
        logits = fill(NeuMF(), lines)(user, item).reshape(USERS, ITEMS)
    entry = {"seed": SEED, "weights": "model.safetensors", "files": {"config.json": config}, "manifest": lines,
             "logits": [rounded(row) for row in logits.tolist()]}
    print(json.dumps({"neumf": entry}).replace("], [", "],\n["))


if __name__ == "__main__":
    main()
