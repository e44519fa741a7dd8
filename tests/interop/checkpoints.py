"""PyTorch's checkpoints: we read what torch.save writes, torch.load reads what we write."""
import argparse
import collections
import subprocess
import sys
import zipfile

from common import check, end, run, same

try:
    import safetensors.torch
    import torch

    import model
except ImportError as e:
    print(f"skip checkpoints: {e} (Debian: python3-torch)")
    sys.exit(0)

torch.manual_seed(3)
net = model.PartFViT(64, 1, 1, 64, 49, 16, 7)
state = net.state_dict()


def equal(path, want, prefix="", without=()):
    got = safetensors.torch.load_file(path)
    want = {k[len(prefix):]: v for k, v in want.items() if k.startswith(prefix)}
    want = {k: v for k, v in want.items() if not k.startswith(without)}
    same(set(got), set(want))
    for name, t in got.items():
        assert t.dtype == want[name].dtype and t.shape == want[name].shape and torch.equal(t, want[name]), name


def ways(data, name):
    """The file as torch.save writes it now, and as it did before 1.6."""
    torch.save(data, name + ".pth")
    torch.save(data, name + "-old.pth", _use_new_zipfile_serialization=False)
    return name + ".pth", name + "-old.pth"


@check("we read state dictionaries, behind 'module.' and '_orig_mod.' too, and keep the classifier where asked")
def _():
    wrapped = collections.OrderedDict(("module." + k, v) for k, v in state.items())
    compiled = {"_orig_mod." + k: v for k, v in state.items()}
    for data in (state, wrapped, compiled, {"state_dict": wrapped, "epoch": 3}):
        for path in ways(data, "flat"):
            run("lafs-convert", "-o", "x.safetensors", path)
            equal("x.safetensors", state, without=("loss.",))
            run("lafs-convert", "--keep-heads", "-o", "x.safetensors", path)
            equal("x.safetensors", state)
    with safetensors.safe_open("x.safetensors", "pt") as f:
        same(f.metadata()["architecture"], "part_fvit")


@check("we take student or teacher of a LAFS checkpoint")
def _():
    def half(net, head, prefix):
        both = [("backbone." + k, v) for k, v in net.state_dict().items()]
        both += [("backbone.loss.weight", torch.randn(5, 64))]
        both += [("head." + k, v) for k, v in head.state_dict().items()]
        return collections.OrderedDict((prefix + k, v) for k, v in both)

    vits, head = [model.ViT(64, 1, 1, 64, 49, 16) for _ in range(2)], model.DINOHead(64, 32, 16, 50)
    optimizer = torch.optim.AdamW(vits[0].parameters())
    for p in vits[0].parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    data = {"student": half(vits[0], head, "module."), "teacher": half(vits[1], head, ""), "epoch": 41,
            "optimizer": optimizer.state_dict(), "args": argparse.Namespace(lr=5e-4, names=["a", None]),
            "dino_loss": collections.OrderedDict(center=torch.zeros(1, 50)), "fp16_scaler": {"scale": 65536.0}}
    for path in ways(data, "lafs"):
        run("lafs-convert", "-o", "t.safetensors", path)
        equal("t.safetensors", data["teacher"], "backbone.", ("loss.",))
        run("lafs-convert", "--network", "student", "-o", "s.safetensors", path)
        equal("s.safetensors", data["student"], "module.backbone.", ("loss.",))


@check("we read every type, strides, shared storages, offsets, parameters")
def _():
    base = torch.arange(24.0).reshape(4, 6)
    odd = {"t": base.t(), "cut": base[1:3, 2:4], "whole": base, "step": base[::2, 1::3], "scalar": torch.tensor(5),
           "empty": torch.zeros(0, 3), "spread": torch.ones(1).expand(10), "one": base[:, :1],
           "parameter": torch.nn.Parameter(base[0]), "perm": torch.arange(120).reshape(2, 3, 4, 5).permute(2, 0, 3, 1)}
    for t in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
              torch.uint8, torch.bool):
        odd[str(t)[6:]] = base[1].to(t)
    for path in ways(odd, "odd"):
        run("lafs-convert", "-o", "odd.safetensors", path)
        equal("odd.safetensors", odd)


@check("a tensor whose values are not those of its storage is refused")
def _():
    if not hasattr(torch._utils, "get_tensor_metadata"):
        return  # PyTorch 1 stores the values
    torch.save({"w": torch._neg_view(torch.ones(3))}, "negated.pth")
    said = subprocess.run(["lafs-convert", "-o", "x.safetensors", "negated.pth"], capture_output=True, text=True)
    assert said.returncode == 1 and "yet to be negated" in said.stderr, said


@check("torch.load reads what we write, with weights_only too, and the class takes it strictly")
def _():
    safetensors.torch.save_file(state, "net.safetensors", {"licence": "mine"})
    run("lafs-convert", "-o", "net.pth", "net.safetensors")
    assert zipfile.ZipFile("net.pth").testzip() is None
    for only in (False, True):
        read = torch.load("net.pth", weights_only=only)
        same(set(read), set(state))
        fresh = model.PartFViT(64, 1, 1, 64, 49, 16, 7)
        fresh.load_state_dict(read, strict=True)
        for name, t in fresh.state_dict().items():
            assert torch.equal(t, state[name]), name
    odd = {"half": torch.arange(5).half(), "bf": torch.arange(5).bfloat16(), "n": torch.tensor(1 << 40),
           "b": torch.tensor([True]), "none": torch.zeros(2, 0, 1), "d": torch.rand(3, 4, 5, dtype=torch.double)}
    safetensors.torch.save_file(odd, "odd.safetensors")
    run("lafs-convert", "-o", "odd.pth", "odd.safetensors")
    read = torch.load("odd.pth", weights_only=True)
    for name, t in odd.items():
        assert read[name].dtype == t.dtype and torch.equal(read[name], t) and read[name].is_contiguous(), name


end()
