#include "cmd/canvases.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "data/record.h"
#include "data/stream.h"
#include "train/canvas.h"
#include "train/spoil.h"

enum { QUALITY = 95 };

static lafs_status open_writer(struct lafs_writer **w, const struct cli_program *p, const struct canvases_options *o,
                               const char *out, struct lafs_err *err)
{
    struct lafs_header h;
    const char *const *names, *const *values;
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){.aligner = "none", .channels = "rgb"};
    h.seed = cli.seed;
    h.images = o->count;
    int n = cli_prov_options(p, &names, &values);
    lafs_status st = lafs_header_add_prov(&h, p->name, lafs_version, names, values, n, err);
    if (st == LAFS_OK) st = lafs_writer_open(w, &(struct lafs_writer_options){.out = out}, &h, err);
    lafs_header_release(&h);
    return st;
}

static void harm(struct lafs_canvas *c, const char *with, uint64_t key)
{
    struct lafs_rng r;
    size_t n = (size_t)c->image.w * (size_t)c->image.h * 3;
    lafs_rng_init(&r, key + 1);
    if (!strcmp(with, "dark"))
        for (size_t i = 0; i < n; i++) c->image.px[i] = (uint8_t)(c->image.px[i] / 10);
    for (int i = 0; !strcmp(with, "mask") && i < c->faces; i++) {
        const float *b = c->face[i].box;
        lafs_cover(&c->image, &r, (int)b[0], (int)c->face[i].points[5], (int)(b[0] + b[2]), (int)(b[1] + b[3]));
    }
}

/* A canvas as a record. A face of score 0 is one that nobody is to judge by. */
static lafs_status record_of(const struct lafs_canvas *c, int64_t number, struct lafs_sample *s, struct lafs_buf *bytes,
                             struct lafs_err *err)
{
    char key[32];
    struct lafs_buf faces;
    snprintf(key, sizeof key, "canvas-%06lld", (long long)number);
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", key);
    lafs_buf_clear(bytes);
    LAFS_TRY(lafs_jpeg_encode(bytes, &c->image, QUALITY, err));
    lafs_sample_set_bin(s, "jpg", bytes->data, bytes->size);
    lafs_buf_init(&faces);
    lafs_pack_array(&faces, (uint32_t)c->faces);
    for (int i = 0; i < c->faces; i++) {
        struct lafs_canvas_face f = c->face[i]; /* counts from the corner */
        for (int k = 0; k < 2; k++) f.box[k] -= 0.5f;
        for (int k = 0; k < 10; k++) f.points[k] -= 0.5f;
        lafs_pack_map(&faces, 3);
        lafs_pack_str(&faces, "box");
        lafs_pack_nd(&faces, "<f4", (int64_t[]){4}, 1, f.box, 4);
        lafs_pack_str(&faces, "points");
        lafs_pack_nd(&faces, "<f4", (int64_t[]){5, 2}, 2, f.points, 4);
        lafs_pack_str(&faces, "score");
        lafs_pack_double(&faces, f.known);
    }
    if (faces.failed) s->buf.failed = 1;
    else lafs_sample_set_raw(s, "faces", faces.data, faces.size);
    lafs_buf_release(&faces);
    return lafs_sample_check(s, err);
}

static lafs_status write_all(struct lafs_canvas_maker *m, const struct canvases_options *o, struct lafs_writer *w,
                             struct lafs_err *err)
{
    static struct lafs_canvas canvas; /* of many faces */
    struct lafs_sample s;
    struct lafs_buf bytes;
    lafs_status st = LAFS_OK;
    lafs_sample_init(&s);
    lafs_buf_init(&bytes);
    for (int64_t i = 0; i < o->count && st == LAFS_OK; i++) {
        uint64_t key = lafs_rng_key((uint64_t)cli.seed, LAFS_RNG_COMPOSE, 0, (uint64_t)i, 0);
        st = lafs_canvas_make(m, key, 0, &canvas, err);
        if (st == LAFS_OK) harm(&canvas, o->with, key);
        if (st == LAFS_OK) st = record_of(&canvas, i, &s, &bytes, err);
        if (st == LAFS_OK) st = lafs_writer_put(w, &s, err);
    }
    lafs_canvas_release(&canvas);
    lafs_sample_release(&s);
    lafs_buf_release(&bytes);
    return st == LAFS_BAD_RECORD ? LAFS_FAILED : st;
}

lafs_status canvases_write(const struct cli_program *p, const struct canvases_options *o, const struct lafs_index *ix,
                           const char *out, struct lafs_err *err)
{
    struct lafs_canvas_maker *m;
    struct lafs_writer *w;
    LAFS_TRY(lafs_canvas_open(&m, ix, 1, o->no_mirror, cli.max_pixels, err));
    lafs_canvas_set_side(m, (int)o->side);
    lafs_status st = open_writer(&w, p, o, out, err);
    if (st == LAFS_OK) {
        st = write_all(m, o, w, err);
        if (st == LAFS_OK) st = lafs_writer_close(w, &(struct lafs_totals){.count = o->count, .ok = 1}, err);
        else lafs_writer_abort(w);
    }
    lafs_canvas_close(m);
    return st;
}
