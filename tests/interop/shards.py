"""Tar shards: webdataset reads ours, we read what its writers make."""
import io
import json
import tarfile

import msgpack
import msgpack_numpy
import numpy
import webdataset
from PIL import Image

from common import check, end, pixels, run, same, stream

ours = stream(run("lafs-shard", "-q", "hundred.lafs"))[1]
run("lafs-shard", "-q", "--shard-samples", "30", "-o", "set-%06d.tar", "hundred.lafs")


@check("webdataset reads our shards: keys, pictures, fields")
def _():
    url = "set-{000000..000003}.tar"
    read = list(webdataset.WebDataset(url, shardshuffle=False).decode("rgb8"))
    same([s["__key__"] for s in read], [r["key"] for r in ours])
    for sample, record in zip(read, ours):
        assert numpy.array_equal(sample["jpg"], pixels(record["jpg"]))
        fields = sample["mp"] if isinstance(sample["mp"], dict) else msgpack.unpackb(sample["mp"])
        same(fields["name"], record["name"])
    raw = next(iter(webdataset.WebDataset(url, shardshuffle=False)))
    fields = msgpack.unpackb(raw["mp"], object_hook=msgpack_numpy.decode)
    assert numpy.array_equal(fields["points"], ours[0]["points"]) and fields["points"].dtype == numpy.float32
    same(raw["jpg"], ours[0]["jpg"])


@check("webdataset loads our shards in batches, shuffled, split by shard")
def _():
    pipe = webdataset.WebDataset("set-{000000..000003}.tar", shardshuffle=4, seed=1).shuffle(50).decode("rgb8")
    seen, batches = set(), 0
    for keys, pictures in pipe.to_tuple("__key__", "jpg").batched(16):
        batches += 1
        seen |= set(keys)
        same(numpy.stack(pictures).shape[1:], (112, 112, 3))
    same((len(seen), batches), (100, 7))


def write(name):
    picture = (numpy.arange(112 * 112 * 3) * 7 % 251).astype("u1").reshape(112, 112, 3)
    with webdataset.TarWriter(name, encoder=True) as out:
        for i in range(10):
            out.write({"__key__": f"sub/photo_{i:03}", "jpg": picture + numpy.uint8(i), "cls": i % 3,
                       "json": {"n": i}, "txt": "hé"})


@check("we read what webdataset's TarWriter makes, compressed or not")
def _():
    for name in ("theirs.tar", "theirs.tar.gz"):
        write(name)
        read = stream(run("lafs-shard", "-q", name))[1]
        theirs = list(webdataset.WebDataset(name, shardshuffle=False))
        same([r["key"] for r in read], [s["__key__"] for s in theirs])
        for record, sample in zip(read, theirs):
            same(record["jpg"], sample["jpg"])
            same(record["cls"], int(sample["cls"]))
            same(json.loads(record[".json"]), json.loads(sample["json"]))
            same(record[".txt"].decode(), "hé")


@check("we read the shards of webdataset's ShardWriter, and give its other members back")
def _():
    with webdataset.ShardWriter("many-%03d.tar", maxcount=4, verbose=0) as out:
        for i in range(10):
            buffer = io.BytesIO()
            Image.new("RGB", (112, 112), (i, 2 * i, 3 * i)).save(buffer, "JPEG")
            out.write({"__key__": f"p{i}", "jpg": buffer.getvalue(), "cls": i, "extra.bin": bytes([i, 0, 255])})
    names = [f"many-{i:03}.tar" for i in range(3)]
    read = stream(run("lafs-shard", "-q", *names))[1]
    same([r["cls"] for r in read], list(range(10)))
    run("lafs-shard", "-q", "-o", "again.tar", *names)
    again = list(webdataset.WebDataset("again.tar", shardshuffle=False))
    same([s["extra.bin"] for s in again], [bytes([i, 0, 255]) for i in range(10)])
    with tarfile.open("again.tar") as tar: # Python's own reader too
        same(tar.getnames()[0], "__lafs__")
        same(tar.getnames()[-1], "__end__")


end()
