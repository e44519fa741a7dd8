"""usage: twin.py DRIVER [DEVICE]

Random sizes, weights and inputs from fixed seeds, through tests/torch/model.py in double precision and through the library
(DRIVER, in single): losses, outputs and gradients must agree, relative to a tensor's largest value: 1e-4 forward, 1e-3 for
gradients. Model files must load with strict=True both ways. Prints `ok NAME` or `FAIL NAME` per case.

Gradients of the CNN jump where an activation sits on a kink of ReLU or h-swish, and so does that of a landmark where a
sample crosses a pixel: PyTorch's own single and double precision then differ by per cents. Such inputs are drawn anew
(settled), and a case whose gradients differ is drawn again, up to DRAWS times: what is wrong is wrong in all of them."""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy
import torch

import model

DRIVER, DEVICE = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "cpu"
DRAWS = 8
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8"}


def write(path, tensors, meta):
    header, data = {"__metadata__": {k: str(v) for k, v in meta.items()}}, b""
    for name, t in tensors.items():
        a = t.detach().numpy() if isinstance(t, torch.Tensor) else t
        a = a.astype("<f4") if a.dtype == numpy.float64 else a
        kind = next(k for k, v in TYPES.items() if numpy.dtype(v) == a.dtype)
        raw = a.tobytes()
        header[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    with open(path, "rb") as f:
        b = f.read()
    n = struct.unpack("<Q", b[:8])[0]
    header, out = json.loads(b[8:8 + n]), {}
    meta = header.pop("__metadata__", {})
    for name, t in header.items():
        lo, hi = t["data_offsets"]
        out[name] = torch.from_numpy(numpy.frombuffer(b[8 + n + lo:8 + n + hi], TYPES[t["dtype"]]).reshape(t["shape"]).copy())
    return out, meta


class Case:
    def __init__(self, name, seed):
        self.name, self.bad, self.compared = name, [], 0
        self.rng = torch.Generator().manual_seed(seed)
        self.dir = tempfile.TemporaryDirectory()

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def uniform(self, *shape, lo=-1.0, hi=1.0):
        """What single precision can hold, as doubles."""
        return (lo + (hi - lo) * torch.rand(*shape, generator=self.rng)).float().double()

    def smooth(self, n):
        """Images whose slopes hardly change within the rounding of a landmark."""
        coarse = self.uniform(n, 3, 14, 14)
        return torch.nn.functional.interpolate(coarse, (112, 112), mode="bicubic", align_corners=False).float().double()

    def integer(self, lo, hi):
        return int(torch.randint(lo, hi + 1, (1,), generator=self.rng))

    def keys(self, n):
        return [self.integer(0, 2**62) for _ in range(n)]

    def settle(self, net):
        """Weights that keep signals in range, and running statistics that are not trivial."""
        for name, p in list(net.named_parameters()) + list(net.named_buffers()):
            if name.endswith("num_batches_tracked"):
                p.data.fill_(self.integer(0, 1000))
            elif name.endswith("running_var"):
                p.data.copy_(self.uniform(*p.shape, lo=0.5, hi=1.5))
            elif name.endswith("weight_g"):
                p.data.fill_(1)
            elif p.ndim == 1 and name.endswith("weight"):
                p.data.copy_(self.uniform(*p.shape, lo=0.8, hi=1.2))
            elif p.ndim == 1:
                p.data.copy_(self.uniform(*p.shape, lo=-0.1, hi=0.1))
            else:
                p.data.copy_(self.uniform(*p.shape) * (3 / max(1, p[0].numel())) ** 0.5 if p.ndim != 3 else self.uniform(*p.shape))
        net.double()
        for p in net.parameters():
            p.data.copy_(p.data.float())
        return net

    def run(self, mode, tensors, meta, net=None, model_meta=None):
        """net goes through a model file, and back out of the one that the driver writes."""
        meta = dict(meta, mode=mode)
        if net is not None:
            state = {k: v if v.dtype == torch.int64 else v.float() for k, v in net.state_dict().items()}
            write(self.path("model"), state, model_meta or {})
            meta.update(model=self.path("model"), save=self.path("again"))
        write(self.path("in"), tensors, meta)
        done = subprocess.run([DRIVER, DEVICE, self.path("in"), self.path("out")], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        if net is not None:
            again, _ = read(self.path("again"))
            if hasattr(net, "loss"):  # a classifier is no part of a model file of ours
                again["loss.weight"] = state["loss.weight"]
            old = {k: v.clone() for k, v in net.state_dict().items()}
            net.load_state_dict(again, strict=True)
            for k, v in net.state_dict().items():
                if not torch.equal(v, old[k]):
                    self.bad.append(f"{k} came back changed")
        return read(self.path("out"))[0]

    def compare(self, what, got, want, tol, scale=0.0):
        """scale: what the largest value may be taken for at least"""
        want = want.detach().double().reshape(-1)
        got = got.double().reshape(-1)
        self.compared += 1
        if got.shape != want.shape:
            self.bad.append(f"{what} has {got.numel()} values, not {want.numel()}")
            return
        top, off = max(scale, want.abs().max().item()), (got - want).abs().max().item()
        if not off <= tol * top:
            self.bad.append(f"{what}: off by {off:.3g}, the largest value is {top:.3g}")

    def grads(self, out, net, noise=lambda name: False):
        for name, p in net.named_parameters():
            if p.requires_grad and not noise(name):
                self.compare("gradient of " + name, out["grad." + name], torch.zeros_like(p) if p.grad is None else p.grad, 1e-3)

    def buffers(self, out, net):
        for name, p in net.named_buffers():
            if not name.endswith("num_batches_tracked"):
                self.compare(name, out["value." + name], p, 1e-4)
            elif int(out["value." + name]) != int(p):
                self.bad.append(f"{name} is {int(out['value.' + name])}, not {int(p)}")

    def settled(self, net, gradients_of):
        """gradients_of(dtype) -> {name: gradient}, from scratch: does single precision itself agree with double?"""
        state = {k: v.clone() for k, v in net.state_dict().items()}
        single = {k: g.double() for k, g in gradients_of(net.float(), torch.float).items()}
        net.double().load_state_dict(state)
        double = gradients_of(net, torch.double)
        net.load_state_dict(state)
        return all((single[k] - g).abs().max() <= 1e-4 * g.abs().max() for k, g in double.items())

    def end(self):
        print(("FAIL " if self.bad or not self.compared else "ok ") + self.name, flush=True)
        for b in self.bad[:8]:
            print(f"{self.name}: {b}", file=sys.stderr)
        self.dir.cleanup()
        return not self.bad and self.compared > 0


def nhwc(images):
    return images.permute(0, 2, 3, 1).contiguous()


def keys_tensor(keys):
    return numpy.array(keys, dtype="<u8")


def vit_case(c, dropping, scale):
    size = dict(dim=c.integer(8, 100), depth=c.integer(1, 3), heads=c.integer(1, 3), mlp=c.integer(8, 150),
                patches=[16, 36, 49][c.integer(0, 2)], patch=[8, 16][c.integer(0, 1)], scale=scale)
    net = c.settle(model.ViT(**size, dropout=0.2 if dropping else 0.1, path=0.3 if dropping else 0.1))
    length = [c.integer(1, size["patches"]) for _ in range(c.integer(2, 6))]
    off = numpy.cumsum([0] + length).astype("<i8")
    tokens, demb = c.uniform(int(off[-1]), 3 * size["patch"] ** 2).requires_grad_(), c.uniform(len(length), size["dim"])
    keys = c.keys(len(length))
    parts = torch.split(tokens, length)
    emb = torch.stack([net.embed(t, k if dropping else None) for t, k in zip(parts, keys)])
    (emb * demb).sum().backward()
    tensors = dict(tokens=tokens, demb=demb, off=off, **({"keys": keys_tensor(keys)} if dropping else {}))
    out = c.run("vit", tensors, {}, net, dict(attention_scale=scale, dropout=net.p, drop_path=net.path))
    c.compare("embedding", out["emb"], emb, 1e-4)
    c.compare("gradient of the tokens", out["dtokens"], tokens.grad, 1e-3)
    c.grads(out, net)


def quiet_bias(train):
    """In train mode BatchNorm of the next block takes these away: their gradients are rounding noise."""
    names = {f"stn.features.{i}.conv.8.bias" for i in range(1, 13)} if train else set()
    return lambda name: name in names


def gradients(net, quiet):
    found = {k: p.grad for k, p in net.named_parameters() if p.grad is not None and not quiet(k)}
    for p in net.parameters():
        p.grad = None
    return found


def cnn_case(c, train, dropping):
    net = c.settle(model.LandmarkCNN([16, 25, 49][c.integer(0, 2)]))
    n, quiet = c.integer(2, 3), quiet_bias(train)

    def forward(net, dtype):
        net.train(train)
        lm = net(images.to(dtype), keys if dropping else None)
        (lm * dlm.to(dtype)).sum().backward()
        return lm

    while True:
        images, keys, dlm = c.uniform(n, 3, 112, 112), c.keys(n), c.uniform(n, net.output_layer[1].out_features // 2, 2)
        if c.settled(net, lambda net, dtype: (forward(net, dtype), gradients(net, quiet))[1]):
            break
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        folded = net.eval()(images)
    images.requires_grad_()
    lm = forward(net, torch.double)
    after = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state)
    tensors = dict(images=nhwc(images.detach()), dlandmarks=dlm, **({"keys": keys_tensor(keys)} if dropping else {}))
    out = c.run("cnn", tensors, dict(train=int(train)), net)
    net.load_state_dict(after)
    c.compare("landmarks", out["landmarks"], lm, 1e-4)
    c.compare("landmarks with BatchNorm folded", out["landmarks_folded"], folded, 1e-4)
    c.compare("gradient of the images", out["dimages"].reshape(n, 112, 112, 3), nhwc(images.grad), 1e-3)
    c.grads(out, net, quiet)
    c.buffers(out, net)


def off_edges(lm):
    """No sample sits where it would cross a pixel; the extremes are exact."""
    away = (lm - 0.5) - torch.round(lm - 0.5)
    return away[(lm > 1e-3) & (lm < 110.999)].abs().min() > 1e-3


def part_case(c, kind, train, dropping, frozen):
    size = dict(dim=c.integer(16, 80), depth=c.integer(1, 2), heads=c.integer(1, 2), mlp=c.integer(16, 100),
                patches=[16, 25, 49][c.integer(0, 2)], patch=[8, 16][c.integer(0, 1)], classes=c.integer(3, 12))
    net = c.settle(model.PartFViT(**size))
    n, s, m = c.integer(2, 3), [16.0, 64.0][c.integer(0, 1)], 0.4 if kind == "cosface" else 0.3
    is_cnn = lambda name: name.startswith(("stn.", "output_layer."))
    for name, p in net.named_parameters():
        p.requires_grad = not (frozen and is_cnn(name))
    quiet = quiet_bias(train)

    def forward(net, dtype):
        net.train(train and not frozen)
        emb, lm = net(images.to(dtype), keys if dropping else None, keys if dropping and not frozen else None)
        logits = model.margin_logits(emb, net.loss.weight, target.to(dtype), kind, s, m)
        loss = model.soft_cross_entropy(logits, target.to(dtype))
        (loss + (lm * more.to(dtype)).sum()).backward()
        return emb, lm, logits, loss

    while True:
        images, keys, more = c.smooth(n), c.keys(n), c.uniform(n, size["patches"], 2) * 0.01
        a, b = (torch.tensor([c.integer(0, size["classes"] - 1) for _ in range(n)]) for _ in range(2))
        lam, one = c.uniform(n, lo=0.5, hi=1), torch.eye(size["classes"], dtype=torch.double)
        target = lam[:, None] * one[a] + (1 - lam)[:, None] * one[b]
        state = {k: v.clone() for k, v in net.state_dict().items()}
        edges = off_edges(forward(net, torch.double)[1])
        gradients(net, quiet)
        net.load_state_dict(state)
        if edges and c.settled(net, lambda net, dtype: (forward(net, dtype), gradients(net, quiet))[1]):
            break
    emb, lm, logits, loss = forward(net, torch.double)
    after = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state)
    tensors = dict(images=nhwc(images), weight=net.loss.weight, a=a, b=b, dlandmarks=more, **{"lambda": lam},
                   **({"keys": keys_tensor(keys)} if dropping else {}))
    out = c.run("part", tensors, dict(kind=kind, s=s, m=m, train=int(train), frozen=int(frozen)), net)
    net.load_state_dict(after)
    c.compare("landmarks", out["landmarks"], lm, 1e-4)
    c.compare("embedding", out["emb"], emb, 1e-4)
    c.compare("logits", out["logits"], logits, 1e-4, scale=s)
    c.compare("loss", out["loss"], loss, 1e-4)
    for name, p in net.named_parameters():
        if not p.requires_grad and out["grad." + name].abs().max() != 0:
            c.bad.append(f"{name} is frozen, and has a gradient")
    c.grads(out, net, quiet)
    c.buffers(out, net)


def dino_case(c):
    size = dict(dim=c.integer(8, 64), hidden=c.integer(16, 96), bottleneck=c.integer(8, 48), out=c.integer(20, 700))
    b, vt, vs = c.integer(1, 4), 2, c.integer(2, 8)
    student, teacher = c.settle(model.DINOHead(**size)), c.settle(model.DINOHead(**size))
    es, et = c.uniform(vs * b, size["dim"]).requires_grad_(), c.uniform(vt * b, size["dim"])
    center, temp = c.uniform(size["out"]) * 0.1, 0.04 + 0.03 * float(c.uniform(1, lo=0, hi=1))
    ls, lt = student(es), teacher(et).detach()
    loss = model.dino_loss(ls, lt, center, vs, vt, 0.1, temp)
    loss.backward()
    tensors = dict(student=es, teacher=et, center=center)
    for prefix, net in (("s.", student), ("t.", teacher)):
        tensors.update({prefix + "head." + k: v for k, v in net.state_dict().items()})
    out = c.run("dino", tensors, dict(size, b=b, vs=vs, vt=vt, temp=repr(temp)))
    c.compare("student", out["student_logits"], ls, 1e-4)
    c.compare("teacher", out["teacher_logits"], lt, 1e-4)
    c.compare("loss", out["loss"], loss, 1e-4)
    c.compare("mean teacher output", out["center_mean"], lt.mean(0), 1e-4)
    c.compare("gradient of the embeddings", out["demb"], es.grad, 1e-3)
    for name, p in student.named_parameters():
        if p.requires_grad:
            c.compare("gradient of " + name, out["grad.head." + name], p.grad, 1e-3)


def test(name, case, *args):
    for draw in range(DRAWS):
        c = Case(name, sum(ord(letter) << 5 * (i % 5) for i, letter in enumerate(name)) * DRAWS + draw)
        case(c, *args)
        if not c.bad:
            break
    return c.end()


def main():
    torch.set_num_threads(1)
    good = [test(f"vit-{i}-{scale}" + "-dropout" * dropping, vit_case, dropping, scale)
            for i in range(2) for scale in ("dim", "head") for dropping in (False, True)]
    good += [test("cnn-eval", cnn_case, False, False), test("cnn-train", cnn_case, True, False),
             test("cnn-train-dropout", cnn_case, True, True)]
    good += [test("part-fvit-cosface", part_case, "cosface", False, False, False),
             test("part-fvit-arcface-train", part_case, "arcface", True, False, False),
             test("part-fvit-cosface-train-dropout", part_case, "cosface", True, True, False),
             test("part-fvit-arcface-dropout-frozen", part_case, "arcface", False, True, True)]
    good += [test(f"dino-{i}", dino_case) for i in range(4)]
    return 0 if all(good) else 1


sys.exit(main())
