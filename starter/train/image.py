#!/usr/bin/env python3
"""Trains the starter image encoder: image.py [EPOCHS], after pictures.py.

A ResNet-18 (narrower at its end) learns two things at once: the teacher's features of the same view, through
a linear layer that is thrown away, and to be near the vector of the picture's own text among those of all
texts. Where texts are alike, pictures may be: a part of the target is spread over them by their likeness.
Writes ~/.cache/magpie/starter/image.pt after every epoch, and goes on from it."""

import copy
import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import common
import networks
import pictures

WIDTHS = [64, 128, 256, 384]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCH, RATE, DECAY, TEMPERATURE, SPREAD = 48, 1e-3, 0.05, 0.05, 0.3
# Small pictures first: most of what there is to learn is in them, at a fraction of the time.
SIZES = [(0.0, 80), (0.45, 112), (0.75, 128)]
VALIDATION = 23  # one training title in so many only measures
STATE = common.CACHE / "image.pt"


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = networks.ResNet18(3, WIDTHS)
        self.to_teacher = nn.Linear(self.encoder.dimension, 1280)
        self.to_text = nn.Linear(self.encoder.dimension, 384)

    def forward(self, x):
        features = self.encoder(x).float()
        dropped = functional.dropout(features, 0.2, self.training)
        return features, self.to_teacher(features), functional.normalize(self.to_text(dropped), dim=1)


class Data:
    def __init__(self):
        folder = pictures.FOLDER
        self.about = json.loads((folder / "pictures.json").read_text())
        n = len(self.about)
        self.views = np.load(folder / "views.npy", mmap_mode="r")[:n]
        teacher = torch.from_numpy(np.load(folder / "teacher.npy")[:n]).float()
        self.teacher = functional.normalize((teacher - teacher.mean((0, 1))) / (teacher.std((0, 1)) + 1e-3), dim=2)
        self.texts = torch.from_numpy(np.load(folder / "texts.npy")).float()
        titles = [p.get("title") for p in self.about]
        keys = [common.title_key(t) if t else None for t in titles]
        place = {key: i for i, key in enumerate(sorted({k for k in keys if k}))}
        self.key = torch.tensor([place[k] if k else -1 for k in keys])
        measured = self.key >= 0
        measured &= self.key % VALIDATION == 1
        self.validation = measured.nonzero()[:, 0].numpy()
        self.training = (~measured).nonzero()[:, 0].numpy()
        named = [i for i in self.training if titles[i]]
        self.anchor_key, self.anchors = self.key[named], self.texts[named, 0]

    def batch(self, indices, size, chance):
        view = chance.integers(0, self.views.shape[1], len(indices))
        cuts = torch.empty(len(indices), 3, size, size)
        for i, (index, v) in enumerate(zip(indices, view)):
            side = int(chance.integers(116, pictures.STORED + 1))
            y, x = chance.integers(0, pictures.STORED - side + 1, 2)
            cut = torch.from_numpy(self.views[index, v, y:y + side, x:x + side].copy())
            cut = cut.permute(2, 0, 1)[None].float()
            if chance.random() < 0.5:
                cut = cut.flip(3)
            cuts[i] = functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)[0]
        return normal(cuts), self.teacher[indices, view], self.texts[indices, chance.integers(0, 4, len(indices))]


def normal(pixels):
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((pixels / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def losses(student, data, indices, batch):
    pixels, teacher, text = batch
    with torch.autocast("cpu", torch.bfloat16):
        features = student.encoder(pixels)
    features = features.float()
    distance = 1 - functional.cosine_similarity(student.to_teacher(features), teacher, dim=1)
    key = data.key[indices]
    named = key >= 0
    vector = functional.normalize(student.to_text(functional.dropout(features[named], 0.2)), dim=1)
    text, key = text[named], key[named]
    # Its own text first, then everybody's but those of the same title.
    same = key[:, None] == data.anchor_key[None]
    own = (vector * text).sum(1, keepdim=True)
    others = (vector @ data.anchors.T).masked_fill(same, -1e4)
    logits = torch.cat([own, others], 1) / TEMPERATURE
    likeness = (text @ data.anchors.T / TEMPERATURE).masked_fill(same, -1e4).softmax(1)
    target = torch.cat([torch.full_like(own, 1 - SPREAD), SPREAD * likeness], 1)
    to_text = -(target * logits.log_softmax(1)).sum(1).mean()
    back = (text @ vector.T / TEMPERATURE)
    alike = (key[:, None] == key[None]) & ~torch.eye(len(key), dtype=torch.bool)
    from_text = functional.cross_entropy(back.masked_fill(alike, -1e4), torch.arange(len(key)))
    return distance.mean(), to_text, from_text


@torch.inference_mode()
def measure(student, data):
    student.eval()
    vectors, teacher = [], []
    for start in range(0, len(data.validation), 64):
        indices = data.validation[start:start + 64]
        whole = torch.from_numpy(np.ascontiguousarray(data.views[indices, 0])).permute(0, 3, 1, 2).float()
        whole = functional.interpolate(whole, (128, 128), mode="bilinear", antialias=True)
        _, guess, vector = student(normal(whole))
        vectors.append(vector)
        teacher.append(functional.cosine_similarity(guess, data.teacher[indices, 0], dim=1))
    student.train()
    scores = data.texts[data.validation, 0] @ torch.cat(vectors).T
    rank = (scores > scores.diag()[:, None]).sum(1)
    return (rank < 10).float().mean().item(), torch.cat(teacher).mean().item()


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 36
    torch.set_num_threads(1)
    torch.manual_seed(1)
    data = Data()
    student = Student().to(memory_format=torch.channels_last)
    average = copy.deepcopy(student)
    optimizer = networks.adamw(student, RATE, DECAY)
    per_epoch = len(data.training) // BATCH
    first = networks.resume(STATE, student, average, optimizer)
    print(f"{len(data.training)} to train on, {len(data.validation)} to measure, epochs {first} to {epochs}", flush=True)
    for epoch in range(first, epochs):
        chance = np.random.default_rng([1, epoch])
        torch.manual_seed(epoch)
        order = chance.permutation(data.training)
        size = [s for share, s in SIZES if epoch >= share * epochs][-1]
        start, sums = time.time(), np.zeros(3)
        for step in range(per_epoch):
            rate = networks.schedule(epoch * per_epoch + step, epochs * per_epoch, 2 * per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = RATE * rate
            indices = order[step * BATCH:(step + 1) * BATCH]
            teach, to_text, from_text = losses(student, data, indices, data.batch(indices, size, chance))
            optimizer.zero_grad(set_to_none=True)
            (4 * teach + 0.5 * (to_text + from_text)).backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5)
            optimizer.step()
            networks.averaged(average, student, min(0.998, (epoch * per_epoch + step) / (epoch * per_epoch + step + 20)))
            sums += [teach.item(), to_text.item(), from_text.item()]
        recall, cosine = measure(average, data)
        seconds = time.time() - start
        print(f"epoch {epoch + 1} at {size}: teacher {sums[0] / per_epoch:.3f} text {sums[1] / per_epoch:.3f} "
              f"{sums[2] / per_epoch:.3f} | R@10 {recall:.3f} teacher's cosine {cosine:.3f} | {seconds:.0f} s "
              f"{per_epoch * BATCH / seconds:.0f}/s", flush=True)
        networks.save(STATE, student, average, optimizer, epoch + 1)


if __name__ == "__main__":
    main()
