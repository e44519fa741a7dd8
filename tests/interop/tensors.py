"""Model files: safetensors reads ours, we read its; embeddings agree with the PyTorch twin of tests/torch."""
import io
import json

import numpy
import safetensors
import safetensors.numpy

from common import check, cosines, embeddings, end, pixels, run, same, stream


@check("safetensors reads our models: metadata, names, values")
def _():
    with safetensors.safe_open("m.safetensors", "numpy") as f:
        same(f.metadata()["architecture"], "part_fvit")
        same(f.metadata()["pixels.channels"], "rgb")
        same(f.get_tensor("cls_token").shape, (1, 1, 64))
        same(f.get_tensor("stn.features.0.1.num_batches_tracked").dtype, numpy.dtype("i8"))
        names = set(f.keys())
    ours = json.loads(run("lafs-show", "-q", "--json", "m.safetensors"))
    same(names, {t["name"] for t in ours["tensors"]})
    npy = numpy.load(io.BytesIO(run("lafs-show", "-q", "--npy", "output_layer.1.weight", "m.safetensors")))
    assert numpy.array_equal(npy, safetensors.numpy.load_file("m.safetensors")["output_layer.1.weight"])


@check("we read the models that safetensors writes")
def _():
    tensors = safetensors.numpy.load_file("m.safetensors")
    with safetensors.safe_open("m.safetensors", "numpy") as f:
        meta = f.metadata()
    safetensors.numpy.save_file(tensors, "theirs.safetensors", meta)
    a, b = embeddings("m.safetensors", "hundred.lafs")[1], embeddings("theirs.safetensors", "hundred.lafs")[1]
    assert numpy.array_equal(a, b)
    half = {k: v.astype("f2") if v.dtype == "f4" else v for k, v in tensors.items()}
    safetensors.numpy.save_file(half, "half.safetensors", meta)
    assert cosines(a, embeddings("half.safetensors", "hundred.lafs")[1]).min() > 0.99


try:
    import safetensors.torch
    import torch

    import model
except ImportError as e:
    print(f"skip PyTorch loads our models: {e} (Debian: python3-torch)")
    end()


def twin(tensors):
    net = model.PartFViT(64, 1, 1, 64, 49, 16, len(tensors["loss.weight"]))
    net.load_state_dict(tensors, strict=True)
    return net.double().eval()


@check("PyTorch loads our models strictly, and computes the same embeddings")
def _():
    net = twin(safetensors.torch.load_file("m.safetensors"))
    faces = stream(run("lafs-shard", "-q", "hundred.lafs"))[1][:10]
    x = torch.tensor(numpy.stack([pixels(r["jpg"]) for r in faces])).permute(0, 3, 1, 2).double() / 127.5 - 1
    with torch.no_grad():
        emb = (net(x)[0] + net(x.flip(3))[0]).numpy()
    cos = cosines(emb, embeddings("m.safetensors", "hundred.lafs")[1][:10])
    assert cos.min() > 0.9999, cos


end()
