"""Part fViT, landmark CNN, DINO head and losses in PyTorch, for comparison: written from the description of the method, with
the parameter names of the authors' files, so that state dictionaries go both ways."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


# -- dropout with the library's masks: Philox4x32-10, counter-based --

def philox(key, counter):
    c, k0, k1 = list(counter), key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k1, a & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def drop(x, p, site, key):
    """x: one sequence, any shape; key None: identity. Element e is dropped when its 16-bit lane is below p."""
    if key is None or p == 0:
        return x
    mask = []
    for block in range((x.numel() + 7) // 8):
        for word in philox(key, (block, 0, site, 0)):
            mask += [word & 0xFFFF, word >> 16]
    keep = torch.tensor(mask[: x.numel()], dtype=torch.int64) >= math.floor(p * 65536 + 0.5)
    return x * keep.reshape(x.shape).to(x.dtype) / (1 - p)


def drop_path(x, p, site, key):
    if key is None or p == 0:
        return x
    return x * 0 if philox(key, (0, 0, site, 1))[0] < p * 2**32 else x / (1 - p)


# -- landmark CNN --

class HSwish(nn.Module):
    def forward(self, x):
        return x * F.relu6(x + 3) / 6


class HSigmoid(nn.Module):
    def forward(self, x):
        return F.relu6(x + 3) / 6


class Squeeze(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(c, c // 4, bias=False), nn.ReLU(), nn.Linear(c // 4, c, bias=False), HSigmoid())

    def forward(self, x):
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class Bottleneck(nn.Module):
    def __init__(self, c, k, e, o, se, act, stride):
        super().__init__()
        self.residual = stride == 1 and c == o
        self.conv = nn.Sequential(
            nn.Conv2d(c, e, 1, bias=False), nn.BatchNorm2d(e), act(),
            nn.Conv2d(e, e, k, stride, (k - 1) // 2, groups=e, bias=False), nn.BatchNorm2d(e),
            Squeeze(e) if se else nn.Identity(), act(),
            nn.Conv2d(e, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class Body(nn.Module):
    blocks = [  # kernel, expansion, out, squeeze, nonlinearity, stride
        (3, 16, 16, 0, nn.ReLU, 1), (3, 64, 24, 0, nn.ReLU, 2), (3, 72, 24, 0, nn.ReLU, 1),
        (5, 72, 40, 1, nn.ReLU, 2), (5, 120, 40, 1, nn.ReLU, 1), (5, 120, 40, 1, nn.ReLU, 1),
        (3, 240, 80, 0, HSwish, 2), (3, 200, 80, 0, HSwish, 1), (3, 184, 80, 0, HSwish, 1), (3, 184, 80, 0, HSwish, 1),
        (3, 480, 112, 1, HSwish, 1), (3, 672, 112, 1, HSwish, 1),
        (5, 672, 160, 1, HSwish, 2), (5, 960, 160, 1, HSwish, 1), (5, 960, 160, 1, HSwish, 1)]

    def __init__(self):
        super().__init__()
        layers, c = [nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), HSwish())], 16
        for b in self.blocks:
            layers.append(Bottleneck(c, *b))
            c = b[2]
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        return self.features(x)


class LandmarkCNN(nn.Module):
    def __init__(self, landmarks):
        super().__init__()
        self.stn = Body()
        self.output_layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(160, 2 * landmarks))

    def forward(self, images, keys=None):
        """images (n,3,112,112) -> landmarks (n,R,2)"""
        x = self.stn(images).mean((2, 3))
        if keys is not None:
            x = torch.stack([drop(v, 0.5, 0x10000, k) for v, k in zip(x, keys)])
        t = self.output_layer[1](x)
        lo, hi = t.min(1, keepdim=True)[0], t.max(1, keepdim=True)[0]
        return ((t - lo) / (hi - lo) * 111).reshape(len(t), -1, 2)


def cut(images, landmarks, p):
    """Patches (n, R, p*p*3) at landmarks: first axis x, second y; bilinear, zero outside."""
    n, r = landmarks.shape[:2]
    offset = torch.arange(-(p // 2), p // 2, dtype=landmarks.dtype)
    at = torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)  # (x, y, 2)
    grid = (landmarks[:, :, None, None] + at) / 56 - 1
    out = F.grid_sample(images, grid.reshape(n, r * p, p, 2), "bilinear", "zeros", align_corners=False)
    return out.reshape(n, 3, r, p, p).permute(0, 2, 3, 4, 1).reshape(n, r, p * p * 3)


def grid_patches(images, p):
    n, _, h, w = images.shape
    x = images.reshape(n, 3, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, (h // p) * (w // p), p * p * 3)


# -- ViT; a sequence at a time --

class PreNorm(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn


class Attention(nn.Module):
    def __init__(self, dim, heads, scale):
        super().__init__()
        self.heads, self.scale = heads, scale
        self.to_qkv = nn.Linear(dim, 3 * heads * 64, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * 64, dim))

    def forward(self, x):
        q, k, v = self.to_qkv(x).reshape(len(x), 3, self.heads, 64).permute(1, 2, 0, 3)
        a = (q @ k.transpose(1, 2) * self.scale).softmax(-1)
        return self.to_out((a @ v).transpose(0, 1).reshape(len(x), -1))


class MLP(nn.Module):
    def __init__(self, dim, mlp):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, mlp), nn.GELU(), nn.Identity(), nn.Linear(mlp, dim))


class Transformer(nn.Module):
    def __init__(self, dim, depth, heads, mlp, scale):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Residual(PreNorm(dim, Attention(dim, heads, scale))), Residual(PreNorm(dim, MLP(dim, mlp)))])
            for _ in range(depth))


class ViT(nn.Module):
    def __init__(self, dim, depth, heads, mlp, patches, patch, scale="dim", dropout=0.1, path=0.1):
        super().__init__()
        self.p, self.path = dropout, path
        self.pos_embedding = nn.Parameter(torch.randn(1, patches + 1, dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.patch_to_embedding = nn.Linear(patch * patch * 3, dim)
        self.transformer = Transformer(dim, depth, heads, mlp, (dim if scale == "dim" else 64) ** -0.5)
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim))

    def embed(self, tokens, key=None):
        """tokens (len, p*p*3) of one sequence -> (dim)"""
        x = torch.cat([self.cls_token[0], self.patch_to_embedding(tokens)])
        x = drop(x + self.pos_embedding[0, : len(x)], self.p, 0, key)
        for l, (att, mlp) in enumerate(self.transformer.layers):
            y = drop(att.fn.fn(att.fn.norm(x)), self.p, 4 * l + 1, key)
            x = x + drop_path(y, self.path, 4 * l + 1, key)
            net = mlp.fn.fn.net
            y = drop(F.gelu(net[0](mlp.fn.norm(x))), self.p, 4 * l + 2, key)
            y = drop(net[3](y), self.p, 4 * l + 3, key)
            x = x + drop_path(y, self.path, 4 * l + 3, key)
        return self.mlp_head(x[0])


class PartFViT(ViT):
    def __init__(self, dim, depth, heads, mlp, patches, patch, classes, **more):
        super().__init__(dim, depth, heads, mlp, patches, patch, **more)
        cnn = LandmarkCNN(patches)
        self.stn, self.output_layer = cnn.stn, cnn.output_layer
        self.patch = patch
        self.loss = nn.Module()
        self.loss.weight = nn.Parameter(torch.randn(classes, dim))

    def forward(self, images, keys=None, cnn_keys=None):
        landmarks = LandmarkCNN.forward(self, images, cnn_keys)
        tokens = cut(images, landmarks, self.patch)
        keys = keys or [None] * len(images)
        return torch.stack([self.embed(t, k) for t, k in zip(tokens, keys)]), landmarks


def margin_logits(emb, weight, target, kind, s, m):
    """target (n, classes): soft; CosFace: s (cos - m y); ArcFace: s cos(acos(cos) + m y)."""
    cos = F.normalize(emb) @ F.normalize(weight).t()
    return s * (cos - m * target) if kind == "cosface" else s * torch.cos(torch.acos(cos) + m * target)


def soft_cross_entropy(logits, target):
    return -(target * F.log_softmax(logits, 1)).sum(1).mean()


# -- DINO --

class DINOHead(nn.Module):
    def __init__(self, dim, hidden, bottleneck, out):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last_layer = nn.utils.weight_norm(nn.Linear(bottleneck, out, bias=False))
        self.last_layer.weight_g.data.fill_(1)
        self.last_layer.weight_g.requires_grad = False

    def forward(self, x):
        return self.last_layer(F.normalize(self.mlp(x)))


def dino_loss(student, teacher, center, vs, vt, temp_s, temp_t):
    """View-major rows. Mean over pairs of different views, and over the batch."""
    t = ((teacher - center) / temp_t).softmax(1).chunk(vt)
    s = (student / temp_s).log_softmax(1).chunk(vs)
    terms = [-(t[i] * s[j]).sum(1).mean() for i in range(vt) for j in range(vs) if i != j]
    return sum(terms) / len(terms)
