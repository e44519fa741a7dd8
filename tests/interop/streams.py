"""Streams of records: msgpack with msgpack-numpy reads ours, we read theirs."""
import io
import json

import numpy

from common import check, cosines, embeddings, end, pack, pixels, run, same, stream

header, faces, trailer = stream(run("lafs-shard", "-q", "hundred.lafs"))


@check("msgpack reads our header, records and trailer; msgpack-numpy our arrays")
def _():
    same(len(faces), 100)
    points = faces[0]["points"]
    same((points.dtype, points.shape), (numpy.dtype("<f4"), (5, 2)))
    assert 20 < points[0, 0] < 60 < points[1, 0] < 90
    marks = stream(run("lafs-landmark", "-q", "-m", "m.safetensors", "hundred.lafs"))[1]
    same((marks[0]["landmarks"].dtype, marks[0]["landmarks"].shape), (numpy.dtype("<f4"), (49, 2)))
    keys, emb = embeddings("m.safetensors", "hundred.lafs")
    same(keys, [r["key"] for r in faces])
    same((emb.dtype, emb.shape), (numpy.dtype("<f4"), (100, 64)))
    embedded = run("lafs-embed", "-q", "-m", "m.safetensors", "hundred.lafs")
    assert numpy.array_equal(numpy.load(io.BytesIO(run("lafs-show", "-q", "--npy", "embedding", stdin=embedded))), emb)


@check("what msgpack-numpy passes on unchanged, we read as before")
def _():
    again = pack([header] + faces + [trailer])
    same(run("lafs-show", "-q", "--json", stdin=again),
         run("lafs-show", "-q", "--json", stdin=run("lafs-shard", "-q", "hundred.lafs")))


@check("we embed pictures that Python packs as bare maps, as those of our own")
def _():
    bare = pack({"key": f"k{i}", "name": "Zoë", "rgb": pixels(r["jpg"])} for i, r in enumerate(faces[:7]))
    read = stream(run("lafs-embed", "-q", "-m", "m.safetensors", stdin=bare))[1]
    same([r["key"] for r in read], [f"k{i}" for i in range(7)])
    same(read[0]["name"], "Zoë")
    want = embeddings("m.safetensors", "hundred.lafs")[1][:7]
    # Two JPEG decoders may differ by a step of brightness.
    assert cosines(numpy.stack([r["embedding"] for r in read]), want).min() > 0.9999


@check("we verify embeddings that Python computes")
def _():
    rng = numpy.random.default_rng(1)
    people = rng.standard_normal((10, 16))
    maps = [{"key": f"p{p}/p{p}_{i:04}", "name": f"p{p}",
             "embedding": (people[p] + 0.1 * rng.standard_normal(16)).astype("f4")} for p in range(10) for i in (1, 2)]
    with open("pairs.txt", "w") as f:
        f.write("10\n")
        for p in range(10):
            f.write(f"p{p}\t1\t2\n")
        for p in range(10):
            f.write(f"p{p}\t1\tp{(p + 1) % 10}\t2\n")
    report = json.loads(run("lafs-verify", "-q", "--json", "--pairs", "pairs.txt", stdin=pack(maps)))
    same((report["pairs"], report["same"], report["missing"], report["auc"]), (20, 10, 0, 1))


end()
