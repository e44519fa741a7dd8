"""The peer of `make bench PEER=1`: reads lines of work, does each once in PyTorch, answers with the seconds it took, or "none".

A line is words: [bf16] NAME NUMBERS.. [gelu]; see the functions. What a line needs is made at its first run and kept until another
line comes. Threads: $THREADS. On a GPU with DEVICE=cuda, compiled with COMPILE=1; work that does not fit there is "none". The models are those of tests/torch/model.py, in batches, as one writes them in PyTorch."""
import functools
import os
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    print("none", flush=True)
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torch"))
import model as twin  # noqa: E402

torch.set_num_threads(int(os.environ.get("THREADS") or os.cpu_count()))
torch.manual_seed(1)
DEVICE = os.environ.get("DEVICE") or "cpu"
torch.set_default_device(DEVICE)
SIZES = {"b": (768, 12, 11, 2048), "s": (384, 12, 6, 1024), "t": (192, 12, 3, 512), "xs": (128, 4, 2, 512)}


def attend(q, k, v, scale=0.036):
    if DEVICE != "cpu":
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    return (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, dim, heads, p):
        super().__init__()
        self.heads, self.scale = heads, dim**-0.5
        self.qkv = nn.Linear(dim, 3 * heads * 64, bias=False)
        self.out = nn.Sequential(nn.Linear(heads * 64, dim), nn.Dropout(p))

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, 64).permute(2, 0, 3, 1, 4)
        a = attend(q, k, v, self.scale)
        return self.out(a.transpose(1, 2).reshape(n, length, -1))


class Block(nn.Module):
    def __init__(self, dim, heads, mlp, p):
        super().__init__()
        self.norm1, self.norm2, self.p = nn.LayerNorm(dim), nn.LayerNorm(dim), p
        self.att = Attention(dim, heads, p)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp), nn.GELU(), nn.Dropout(p), nn.Linear(mlp, dim), nn.Dropout(p))

    def path(self, x):
        if not self.training or self.p == 0:
            return x
        return x * (torch.rand(len(x), 1, 1) >= self.p).to(x.dtype) / (1 - self.p)

    def forward(self, x):
        x = x + self.path(self.att(self.norm1(x)))
        return x + self.path(self.mlp(self.norm2(x)))


class ViT(nn.Module):
    def __init__(self, size, p=0.1):
        super().__init__()
        self.dim, depth, heads, mlp = SIZES[size]
        self.embed = nn.Linear(192, self.dim)
        self.cls = nn.Parameter(torch.randn(1, 1, self.dim))
        self.pos = nn.Parameter(torch.randn(1, 197, self.dim))
        self.drop = nn.Dropout(p)
        self.blocks = nn.Sequential(*[Block(self.dim, heads, mlp, p) for _ in range(depth)])
        self.head = nn.LayerNorm(self.dim)

    def forward(self, tokens):
        n, length, _ = tokens.shape
        x = torch.cat([self.cls.expand(n, 1, -1), self.embed(tokens)], 1) + self.pos[:, : length + 1]
        return self.head(self.blocks(self.drop(x))[:, 0])


def backward_of(forward, *leaves):
    """Forward and backward; gradients are made anew, as an optimiser would find them."""
    def run():
        for x in leaves:
            x.grad = None
        y = forward()
        y.backward(torch.ones_like(y)) if y.dim() else y.backward()
    return run


def no_grad(forward):
    def run():
        with torch.no_grad():
            forward()
    return run


# -- the work: each gives a function to time --

def linear(rows, width, out, act=None):
    m, x = nn.Linear(width, out), torch.randn(rows, width)
    return no_grad(lambda: F.gelu(m(x)) if act else m(x))


def linear_bwd_x(rows, width, out):
    w, dy = torch.randn(out, width), torch.randn(rows, out)
    return no_grad(lambda: dy @ w)


def linear_bwd_w(rows, width, out):
    x, dy = torch.randn(rows, width), torch.randn(rows, out)
    return no_grad(lambda: (dy.t() @ x, dy.sum(0)))


def heads_of(seqs, length, heads):
    return [torch.randn(seqs, heads, length, 64, requires_grad=True) for _ in range(3)]




def attention(seqs, length, heads):
    q, k, v = heads_of(seqs, length, heads)
    return no_grad(lambda: attend(q, k, v))


def attention_bwd(seqs, length, heads):
    """Backward alone: the graph is kept."""
    q, k, v = heads_of(seqs, length, heads)
    y = attend(q, k, v)
    dy = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)


def add_norm(rows, width, p=0):
    norm, x, y = nn.LayerNorm(width), torch.randn(rows, width), torch.randn(rows, width)
    return no_grad(lambda: norm(x + (F.dropout(y, 0.1) if p else y)))


def gelu_bwd(n):
    x = torch.randn(n, requires_grad=True)
    y, dy = F.gelu(x), torch.ones(n)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def built(module):
    return torch.compile(module) if os.environ.get("COMPILE") else module


def vit(size, seqs, length):
    m, x = ViT(size).eval(), torch.randn(seqs, length, 192)
    return no_grad(lambda: m(x))


def vit_train(size, seqs, length):
    m, x = ViT(size).train(), torch.randn(seqs, length, 192)
    return backward_of(lambda: m(x), *m.parameters())


def dino_loss(b, k, vs, vt):
    s, t, c = torch.randn(vs * b, k, requires_grad=True), torch.randn(vt * b, k), torch.zeros(1, k)
    return backward_of(lambda: twin.dino_loss(s, t, c, vs, vt, 0.1, 0.04), s)


def margin(b, dim, classes):
    emb, w = torch.randn(b, dim, requires_grad=True), torch.randn(classes, dim, requires_grad=True)
    target = F.one_hot(torch.arange(b) * 7, classes).float()
    return backward_of(lambda: twin.soft_cross_entropy(twin.margin_logits(emb, w, target, "cosface", 64, 0.4), target), emb, w)


def adamw(n):
    p = torch.randn(n, requires_grad=True)
    p.grad = torch.randn(n)
    optimiser = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1)
    return optimiser.step


def norms(n):
    x = torch.randn(n)
    return x.norm


def ema(n):
    x, y = torch.randn(n), torch.randn(n)
    return lambda: y.mul_(0.996).add_(x, alpha=0.004)


def cnn(n):
    m, x = twin.LandmarkCNN(196).eval(), torch.randn(n, 3, 112, 112).to(memory_format=torch.channels_last)
    return no_grad(lambda: m(x))


def cnn_train(n):
    m, x = twin.LandmarkCNN(196).train(), torch.randn(n, 3, 112, 112)
    return backward_of(lambda: m(x), *m.parameters())


def patch(n):
    images, landmarks = torch.randn(n, 3, 112, 112), torch.rand(n, 196, 2) * 111
    return no_grad(lambda: twin.cut(images, landmarks, 8))


def recogniser(size, n):
    m, c, x = built(ViT(size).eval()), built(twin.LandmarkCNN(196).eval()), torch.randn(n, 3, 112, 112)
    return no_grad(lambda: m(twin.cut(x, c(x), 8)))


def lafs(size, b, k):
    """A step of pretraining from ready tokens: teacher, student, head, loss, AdamW, EMA."""
    student, teacher = [nn.ModuleList([built(ViT(size)), twin.DINOHead(SIZES[size][0], 2048, 256, k)]) for _ in range(2)]
    trained = [p for p in student.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.04)
    globals_, locals_, center = torch.randn(2 * b, 196, 192), torch.randn(8 * b, 36, 192), torch.zeros(1, k)

    def run():
        with torch.no_grad():
            t = teacher[1](teacher[0](globals_))
        s = student[1](torch.cat([student[0](globals_), student[0](locals_)]))
        loss = twin.dino_loss(s.float(), t.float(), center, 10, 2, 0.1, 0.04)
        optimiser.zero_grad()
        loss.backward()
        for p in trained:
            nn.utils.clip_grad_norm_(p, 3)
        optimiser.step()
        with torch.no_grad():
            center.mul_(0.9).add_(t.float().mean(0, keepdim=True), alpha=0.1)
            for q, p in zip(teacher.parameters(), student.parameters()):
                q.mul_(0.996).add_(p, alpha=0.004)
    return run


def finetune(size, b, classes):
    """A step of supervised training: landmark CNN, patches, ViT, CosFace, AdamW."""
    vit_, c = built(ViT(size)), built(twin.LandmarkCNN(196))
    weight = nn.Parameter(torch.randn(classes, SIZES[size][0]))
    trained = [*vit_.parameters(), *c.parameters(), weight]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1)
    images, target = torch.randn(b, 3, 112, 112), F.one_hot(torch.arange(b) * 7 % classes, classes).float()

    def run():
        c.train()
        emb = vit_(twin.cut(images, c(images), 8))
        loss = twin.soft_cross_entropy(twin.margin_logits(emb.float(), weight, target, "cosface", 64, 0.4), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return run


WORK = {f.__name__: f for f in (linear, linear_bwd_x, linear_bwd_w, attention, attention_bwd, add_norm, gelu_bwd, vit, vit_train,
                                dino_loss, margin, adamw, norms, ema, cnn, cnn_train, patch, recogniser, lafs, finetune)}


@functools.lru_cache(maxsize=1)
def prepare(line):
    words = line.split()
    half = words[0] == "bf16"
    name, *args = words[half:]
    if name not in WORK:
        return None
    plain = WORK[name](*(int(a) if a.isdigit() else a for a in args))

    def mixed():
        with torch.autocast(DEVICE.split(":")[0], torch.bfloat16):
            plain()
    run = mixed if half else plain
    run()  # the first run builds what later ones find
    return run


def finish():
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def main():
    for line in sys.stdin:
        try:
            run = prepare(line.strip())
            if not run:
                print("none", flush=True)
                continue
            finish()
            start = time.perf_counter()
            run()
            finish()
            print(time.perf_counter() - start, flush=True)
        except torch.cuda.OutOfMemoryError:
            print("none", flush=True)


if __name__ == "__main__":
    main()
