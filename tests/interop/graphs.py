"""ONNX graphs: onnx checks ours, onnxruntime runs them, InsightFace takes them for recognisers."""
import numpy
import onnx
import onnxruntime

from common import check, cosines, embeddings, end, pixels, run, same, stream

faces = numpy.stack([pixels(r["jpg"]) for r in stream(run("lafs-shard", "-q", "hundred.lafs"))[1]])  # RGB
planes = numpy.ascontiguousarray(faces.transpose(0, 3, 1, 2)).astype("f4")
LIMIT = 0.99999


def export(out, model, *options):
    run("lafs-convert", "-o", out, *options, model)
    onnx.checker.check_model(out, full_check=True)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    same([i.name for i in session.get_inputs()] + [o.name for o in session.get_outputs()], ["input", "embedding"])
    same(session.get_inputs()[0].shape, ["batch", 3, 112, 112])
    return lambda x: session.run(None, {"input": x})[0]


def in_batches(graph, x, n):
    return numpy.concatenate([graph(x[i:i + n]) for i in range(0, len(x), n)])


def close(got, want, limit=LIMIT):
    cos = cosines(got, want)
    assert got.shape == want.shape and cos.min() >= limit, cos.min()


@check("onnxruntime gives our embeddings of 100 faces: normalised outside and inside, with mirror, operators 16 and 17")
def _():
    want = embeddings("m.safetensors", "hundred.lafs")[1]
    for opset in ("16", "17"):
        graph = export("outside.onnx", "m.safetensors", "--opset", opset)
        x = planes / 127.5 - 1
        close(in_batches(graph, x, 25) + in_batches(graph, x[:, :, :, ::-1], 25), want)
        graph = export("inside.onnx", "m.safetensors", "--opset", opset, "--normalise", "inside", "--mirror")
        close(in_batches(graph, planes, 25), want)


@check("any batch gives the same: 1, 7, 100")
def _():
    for options in ((), ("--mirror",)):
        graph = export("batch.onnx", "m.safetensors", "--normalise", "inside", *options)
        want = in_batches(graph, planes[:14], 1)
        close(in_batches(graph, planes[:14], 7), want, 0.999999)
        same(graph(planes).shape, (100, 64))


@check("a ViT on a grid, and a model of the usual shape, as ours")
def _():
    graph = export("grid.onnx", "grid.safetensors", "--normalise", "inside", "--mirror")
    close(graph(planes), embeddings("grid.safetensors", "hundred.lafs")[1])
    run("lafs-finetune", "-q", "--size", "xs", "--stage", "1", "--landmark-start", "grid", "--batch", "9",
        "--epochs", "2", "--warmup", "0", "-o", "xs", "faces.lafs")
    graph = export("xs.onnx", "xs/model.safetensors", "--normalise", "inside", "--mirror")
    close(in_batches(graph, planes, 10), embeddings("xs/model.safetensors", "hundred.lafs")[1])


@check("a model that was trained on BGR takes RGB as a graph")
def _():
    run("lafs-convert", "--set", "pixels.channels=bgr", "-o", "bgr.safetensors", "m.safetensors")
    graph = export("bgr.onnx", "bgr.safetensors")
    turned = export("rgb.onnx", "m.safetensors")
    x = planes[:10] / 127.5 - 1
    close(graph(x), turned(numpy.ascontiguousarray(x[:, ::-1])))
    assert cosines(graph(x), turned(x)).min() < LIMIT


@check("the metadata says what the graph wants, and where it comes from")
def _():
    meta = {p.key: p.value for p in onnx.load("inside.onnx").metadata_props}
    for key in ("architecture", "licence", "intended_use", "source_sha256", "alignment", "output", "training"):
        assert meta[key], key
    assert "0 to 255" in meta["input"] and "mirror" in meta["output"]


@check("InsightFace takes either graph for a recogniser, and feeds it as it wants")
def _():
    from insightface.model_zoo import get_model
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    want = embeddings("m.safetensors", "hundred.lafs")[1]
    for name, mean, std, options in (("a.onnx", 127.5, 127.5, ()), ("b.onnx", 0.0, 1.0, ("--normalise", "inside"))):
        export(name, "m.safetensors", "--mirror", *options)
        net = get_model(name, providers=["CPUExecutionProvider"])
        assert isinstance(net, ArcFaceONNX), net
        same((net.input_mean, net.input_std, net.input_size), (mean, std, (112, 112)))
        net.prepare(ctx_id=-1)
        got = net.get_feat([numpy.ascontiguousarray(f[:, :, ::-1]) for f in faces])  # as OpenCV reads: BGR
        close(got, want)


@check("InsightFace aligns faces as we do")
def _():
    from insightface.utils import face_align

    for record in stream(run("lafs-shard", "-q", "hundred.lafs"))[1][:20]:
        source = record["src"]
        theirs = face_align.estimate_norm(source["points"], 112)
        ours = numpy.array(source["matrix"]).reshape(2, 3)
        assert numpy.abs(theirs[:, :2] - ours[:, :2]).max() < 1e-4 and numpy.abs(theirs - ours).max() < 0.02


end()
