"""What the tests beside it share: running programs, streams as msgpack reads them, checks that print a line."""
import io
import subprocess
import sys
import traceback

import msgpack
import msgpack_numpy
import numpy
from PIL import Image

failed = False


def run(*args, stdin=None):
    """Standard output of one of our programs, which must succeed."""
    done = subprocess.run(args, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise AssertionError(f"{' '.join(args)}: {done.stderr.decode().strip()}")
    return done.stdout


def stream(data):
    """(header, records, trailer) of a stream, by msgpack and msgpack-numpy alone."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, object_hook=msgpack_numpy.decode)
    unpacker.feed(data)
    maps = list(unpacker)
    assert "__lafs__" in maps[0] and "__end__" in maps[-1]
    return maps[0], maps[1:-1], maps[-1]


def pack(maps):
    return b"".join(msgpack.packb(m, default=msgpack_numpy.encode, use_bin_type=True) for m in maps)


def pixels(jpeg):
    """u8 (h, w, 3), RGB"""
    return numpy.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def embeddings(model, faces):
    """(keys, float32 (n, D)) from lafs-embed"""
    records = stream(run("lafs-embed", "-q", "-m", model, faces))[1]
    return [r["key"] for r in records], numpy.stack([r["embedding"] for r in records])


def cosines(a, b):
    a, b = a.astype("f8"), b.astype("f8")
    return (a * b).sum(1) / numpy.linalg.norm(a, axis=1) / numpy.linalg.norm(b, axis=1)


def same(a, b, what=""):
    if a != b:
        raise AssertionError(f"{what}: {a!r:.500} is not {b!r:.500}")


def check(name):
    """Runs the function below it as one check."""
    def do(function):
        global failed
        try:
            function()
            print("ok", name, flush=True)
        except Exception:
            failed = True
            traceback.print_exc()
            print("FAIL", name, flush=True)
    return do


def end():
    sys.exit(failed)
