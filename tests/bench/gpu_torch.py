#!/usr/bin/env python3
"""PyTorch beside gpu_bench: MiniLM's layers and ResNet-50 in bf16, compiled (torch.compile), on the same batches. One JSON
line a figure. Usage: gpu_torch.py [titles] [pictures]

From ids and pixels in pinned memory to vectors in the host's, as gpu_bench does but for tokenising. Weights are random:
speed does not depend on them. Attention is torch's scaled_dot_product_attention; nothing is padded, since all titles have
twelve tokens."""
import json
import statistics
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("gpu_torch: PyTorch is not installed")
if not torch.cuda.is_available():
    sys.exit("gpu_torch: PyTorch sees no GPU")
from torch import nn
from torch.nn import functional as F

titles, pictures = (int(given) for given in (sys.argv[1:] + ["4096", "256"][len(sys.argv) - 1:]))
TOKENS, HIDDEN, INNER, HEADS, LAYERS = 12, 384, 1536, 12, 6


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.inner, self.output = nn.Linear(HIDDEN, INNER), nn.Linear(INNER, HIDDEN)
        self.first, self.second = nn.LayerNorm(HIDDEN, 1e-12), nn.LayerNorm(HIDDEN, 1e-12)

    def forward(self, x):
        parts = self.qkv(x).view(*x.shape[:2], 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(x.shape)
        x = self.first(x + self.out(context))
        return self.second(x + self.output(F.gelu(self.inner(x))))


class MiniLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.word, self.position, self.kind = nn.Embedding(30522, HIDDEN), nn.Embedding(512, HIDDEN), nn.Embedding(2, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, 1e-12)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))

    def forward(self, ids):
        x = self.norm(self.word(ids) + self.position.weight[:ids.shape[1]] + self.kind.weight[0])
        return F.normalize(self.layers(x).float().mean(1), dim=1)


class Bottleneck(nn.Module):
    def __init__(self, inputs, inner, stride):
        super().__init__()
        def conv(i, o, side, s=1):
            return nn.Sequential(nn.Conv2d(i, o, side, s, side // 2, bias=False), nn.BatchNorm2d(o))
        self.body = nn.Sequential(conv(inputs, inner, 1), nn.ReLU(), conv(inner, inner, 3, stride), nn.ReLU(),
                                  conv(inner, 4 * inner, 1))
        self.shortcut = conv(inputs, 4 * inner, 1, stride) if stride > 1 or inputs != 4 * inner else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        blocks, inputs = [], 64
        for stage, (count, inner) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
            for block in range(count):
                blocks.append(Bottleneck(inputs, inner, 2 if stage and not block else 1))
                inputs = 4 * inner
        self.body = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                                  *blocks)

    def forward(self, pixels):
        x = (pixels.permute(0, 3, 1, 2).to(torch.bfloat16) / 255 - 0.45) / 0.225  # NHWC: channels last already
        return F.normalize(self.body(x).float().mean((2, 3)), dim=1)


@torch.inference_mode()
def measure(name, model, batch):
    model = torch.compile(model)
    seconds = []
    for run in range(13):  # the first compile
        torch.cuda.synchronize()
        start = time.perf_counter()
        model(batch.cuda(non_blocking=True)).cpu()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"bench": "gpu", "peer": f"torch {torch.__version__}, compiled", "encoder": name, "precision": "bf16",
                      "batch": len(batch), "per_s": round(len(batch) / statistics.median(seconds[3:]))}), flush=True)


measure("MiniLM", MiniLM().cuda().to(torch.bfloat16).eval(), torch.randint(0, 30522, (titles, TOKENS)).pin_memory())
measure("ResNet-50", ResNet50().cuda().to(torch.bfloat16).to(memory_format=torch.channels_last).eval(),
        torch.randint(0, 256, (pictures, 224, 224, 3), dtype=torch.uint8).pin_memory())
