#!/usr/bin/env python3
"""Trains the starter audio encoder: sound.py [EPOCHS], after sounds.py.

A narrow ResNet-18 over a log-mel spectrogram learns to be near the vector of what is said, or of what makes
the sound, among those of everything else. Speech is heard faster and slower, louder and softer, in noise and in
other people's talk, so that it is the word that counts.
Writes ~/.cache/magpie/starter/sound.pt after every epoch, and goes on from it."""

import copy
import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import common
import espeak
import networks
import sounds

WIDTHS = [32, 64, 128, 384]
N_FFT, WINDOW, HOP, MELS, LOW, HIGH, OFFSET, FRAMES = 512, 400, 160, 64, 50, 8000, 1e-3, 256
SAMPLES = WINDOW + (FRAMES - 1) * HOP
BATCH, RATE, DECAY, TEMPERATURE, SPREAD = 64, 1.2e-3, 0.05, 0.05, 0.2
EFFECTS = 40  # times that an effect is heard in an epoch: there are few
VALIDATION = 23  # one text in so many only measures
STATE = common.CACHE / "sound.pt"


class Spectrogram(nn.Module):
    """MagpieSpectrogram with the constants above (encoders/spectrogram.h): samples [n, SAMPLES] to
    [n, 1, MELS, FRAMES], of zero mean and unit deviation. What is shorter is given with silence behind it; the C side
    fills up frames and not samples, which only its last two can tell apart."""

    def __init__(self):
        super().__init__()
        mel = np.linspace(*(2595 * np.log10(1 + np.array([LOW, HIGH]) / 700)), MELS + 2)
        corner = 700 * (10 ** (mel / 2595) - 1)
        bins = np.linspace(0, espeak.RATE / 2, N_FFT // 2 + 1)
        up = (bins[:, None] - corner[None, :-2]) / np.diff(corner)[None, :-1]
        down = (corner[None, 2:] - bins[:, None]) / np.diff(corner)[None, 1:]
        self.register_buffer("bank", torch.from_numpy(np.maximum(0, np.minimum(up, down))).float())
        self.register_buffer("window", torch.hann_window(WINDOW))

    def log_mel(self, samples):
        frames = samples.unfold(1, WINDOW, HOP) * self.window
        power = torch.fft.rfft(frames, N_FFT).abs().square()
        return (power @ self.bank + OFFSET).log().transpose(1, 2)

    def forward(self, samples):
        return normalised(self.log_mel(samples))


def normalised(y):
    mean, deviation = y.mean((1, 2), keepdim=True), y.std((1, 2), keepdim=True)
    return ((y - mean) / (deviation + 1e-9))[:, None]


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = networks.ResNet18(1, WIDTHS)
        self.to_text = nn.Linear(self.encoder.dimension, 384)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            features = self.encoder(x.contiguous(memory_format=torch.channels_last))
        features = functional.dropout(features.float(), 0.1, self.training)
        return functional.normalize(self.to_text(features), dim=1)


class Data:
    def __init__(self):
        about = json.loads((sounds.FOLDER / "sounds.json").read_text())
        self.sounds, self.names = about["sounds"], about["texts"]
        self.samples = np.load(sounds.FOLDER / "samples.npy")
        self.texts = torch.from_numpy(np.load(sounds.FOLDER / "texts.npy")).float()
        place = {name: i for i, name in enumerate(self.names)}
        self.text = np.array([place[sound["text"]] for sound in self.sounds])
        self.measured = np.arange(len(self.names)) % VALIDATION == 1
        weight = [0 if self.measured[t] else EFFECTS if sound["kind"] == "effect" else 1
                  for t, sound in zip(self.text, self.sounds)]
        self.training = np.repeat(np.arange(len(self.sounds)), weight)
        self.kept = torch.from_numpy(~self.measured)

    def cut(self, i):
        return self.samples[self.sounds[i]["begin"]:self.sounds[i]["end"]].astype(np.float32) / 32768

    def heard(self, i, chance, hard):
        """A sound as a microphone may hear it, [SAMPLES]; `hard` 0 to 1: how likely something disturbs it."""
        x = self.cut(i)
        speed = chance.uniform(0.87, 1.15)
        x = np.interp(np.arange(0, len(x) - 1, speed), np.arange(len(x)), x).astype(np.float32)
        x *= chance.uniform(0.03, 1) / max(1e-3, np.abs(x).max())
        if len(x) > SAMPLES:
            begin = chance.integers(0, len(x) - SAMPLES) if chance.random() < 0.3 else 0
            x = x[begin:begin + SAMPLES]
        out = np.zeros(SAMPLES, np.float32)
        at = chance.integers(0, SAMPLES - len(x) + 1) if chance.random() < 0.5 else min(2000, SAMPLES - len(x))
        out[at:at + len(x)] = x
        level = np.sqrt(np.mean(x * x) + 1e-9)
        if chance.random() < 0.6 * hard:  # hiss, whiter or browner
            noise = np.fft.rfft(chance.standard_normal(SAMPLES // 2, np.float32))
            noise /= np.maximum(1, np.arange(len(noise))) ** chance.uniform(0, 1)
            noise = np.tile(np.fft.irfft(noise, SAMPLES // 2), 2)
            out += (level * 10 ** chance.uniform(-2, -0.4) / (noise.std() + 1e-9) * noise).astype(np.float32)
        if chance.random() < 0.2 * hard:  # others who talk
            other = self.cut(chance.integers(len(self.sounds)))[:SAMPLES]
            loudness = np.sqrt(np.mean(other * other) + 1e-9)
            out[:len(other)] += level / loudness * 10 ** chance.uniform(-1.5, -0.5) * other
        return out


def masked(spectrogram, chance):
    """SpecAugment (Park et al. 2019): a band and a stretch of each are silent."""
    for s in spectrogram:
        band, width = chance.integers(0, MELS - 10), chance.integers(0, 10)
        at, length = chance.integers(0, FRAMES - 24), chance.integers(0, 24)
        s[:, band:band + width] = 0
        s[:, :, at:at + length] = 0
    return spectrogram


def loss_of(vector, data, text):
    own = data.texts[text]
    logits = (vector @ data.texts.T / TEMPERATURE).masked_fill(~data.kept, -1e4)
    likeness = (own @ data.texts.T / TEMPERATURE).masked_fill(~data.kept, -1e4)
    likeness.scatter_(1, text[:, None], -1e4)
    target = (SPREAD * likeness.softmax(1)).scatter_(1, text[:, None], 1 - SPREAD)
    return -(target * logits.log_softmax(1)).sum(1).mean()


class Examination:
    """Unseen voices say 400 texts that were trained on, and those that were not."""

    def __init__(self, data):
        speaker, chance = espeak.Speaker(), np.random.default_rng(5)
        seen = chance.choice(np.flatnonzero(~data.measured), 400, replace=False)
        self.parts = {"seen": seen, "unseen": np.flatnonzero(data.measured)}
        self.waves = {}
        for name, texts in self.parts.items():
            out = np.zeros((len(texts), SAMPLES), np.float32)
            for row, text in zip(out, texts):
                x = speaker.say(data.names[text], chance.choice(espeak.ACCENTS), chance.choice(espeak.UNSEEN_VARIANTS),
                                chance.integers(120, 210)).astype(np.float32)[:SAMPLES] / 32768
                row[:len(x)] = x
            self.waves[name] = torch.from_numpy(out)

    @torch.inference_mode()
    def __call__(self, student, spectrogram, data):
        student.eval()
        out = {}
        for name, texts in self.parts.items():
            vector = torch.cat([student(spectrogram(w)) for w in self.waves[name].split(64)])
            scores = vector @ data.texts.T
            own = scores.gather(1, torch.from_numpy(texts)[:, None])
            out[name] = ((scores > own).sum(1) < 10).float().mean().item()
        return out


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    torch.manual_seed(1)
    data, spectrogram = Data(), Spectrogram()
    student = Student().to(memory_format=torch.channels_last)
    average = copy.deepcopy(student)
    optimizer = networks.adamw(student, RATE, DECAY)
    examination = Examination(data)
    per_epoch, first = len(data.training) // BATCH, networks.resume(STATE, student, average, optimizer)
    print(f"{len(data.training)} sounds an epoch, {len(data.names)} texts, epochs {first} to {epochs}", flush=True)
    for epoch in range(first, epochs):
        chance = np.random.default_rng([2, epoch])
        torch.manual_seed(epoch)
        order = chance.permutation(data.training)
        start, total = time.time(), 0.0
        for step in range(per_epoch):
            at = epoch * per_epoch + step
            for group in optimizer.param_groups:
                group["lr"] = RATE * networks.schedule(at, epochs * per_epoch, per_epoch // 3)
            indices = order[step * BATCH:(step + 1) * BATCH]
            waves = torch.from_numpy(np.stack([data.heard(i, chance, min(1, epoch / 2)) for i in indices]))
            vector = student(masked(spectrogram(waves), chance))
            loss = loss_of(vector, data, torch.from_numpy(data.text[indices]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5)
            optimizer.step()
            networks.averaged(average, student, min(0.998, at / (at + 20)))
            total += loss.item()
            if step % 100 == 99:
                print(f"  {step + 1} of {per_epoch}: {total / (step + 1):.3f}, "
                      f"{(step + 1) * BATCH / (time.time() - start):.0f}/s", flush=True)
        recall = examination(average, spectrogram, data)
        average.train()
        print(f"epoch {epoch + 1}: loss {total / per_epoch:.3f} | unseen voices, R@10 of texts: seen "
              f"{recall['seen']:.3f} unseen {recall['unseen']:.3f} | {time.time() - start:.0f} s", flush=True)
        networks.save(STATE, student, average, optimizer, epoch + 1)


if __name__ == "__main__":
    main()
