/* lafs-landmark: landmarks from a model's landmark CNN. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/faces.h"
#include "cmd/loadmodel.h"
#include "data/views.h"
#include "model/embed.h"

/* Room for the crops of 64 views of each record is reserved: 617 MB at most, used as far as records have views. */
enum { MAX_BATCH = 256 };

static struct {
    const char *model;
    int64_t batch;
    int keep;
} o = {.batch = 16};

static const struct cli_option options[] = {
    {"model", 'm', CLI_STRING, &o.model, "MODEL", "the model whose landmark CNN is used", 0, 0, NULL},
    {"batch", 0, CLI_INT, &o.batch, "N", "records computed at once; results do not depend on it", 1, MAX_BATCH,
     "16", 1},
    {"keep", 0, CLI_FLAG, &o.keep, NULL, "keep the clean crops of views in the records", 0, 0, NULL},
    CLI_OUT, CLI_SHARDS, CLI_JOBS, CLI_DEVICE,
    CLI_TAKE, CLI_MAX_PIXELS, CLI_MAX_BAD, CLI_REJECTS, CLI_LOG, CLI_PRESET, CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-landmark", "-m MODEL [OPTION]... [FACES | VIEWS]...",
                                           "find landmarks on faces", options};

static struct {
    struct lafs_backend backend;
    struct lafs_model model;
    struct lafs_embedder embedder;
    uint8_t *crops;       /* (batch * LAFS_MAX_VIEWS, 112, 112, 3) */
    float *landmarks;     /* (batch * LAFS_MAX_VIEWS, R, 2) */
    struct lafs_view *view; /* (batch, LAFS_MAX_VIEWS) */
    int *views;           /* (batch): -1 for a record without views */
    uint8_t *plain;       /* (batch): 1 for a record without views */
    char digest[65];
} s;

/* Copies the clean crops of a record's views behind `at`; returns how many. */
static int64_t take_views(struct filter_item *it, struct lafs_view *view, int views, int64_t at)
{
    for (int v = 0; v < views; v++) {
        if (!view[v].clean || view[v].plan.out_size != FACE_SIDE) {
            it->status = lafs_fail(&it->err, LAFS_BAD_RECORD,
                                   "view %d has no clean crop of 112 pixels (lafs-augment --render makes them)", v);
            return 0;
        }
        memcpy(s.crops + (at + v) * FACE_BYTES, view[v].clean, FACE_BYTES);
    }
    return views;
}

static void put_landmarks(struct filter_item *it, struct lafs_view *view, int views, int64_t at)
{
    int64_t r = s.model.config.vit.patches;
    const float *lm = s.landmarks + at * r * 2;
    if (views < 0) {
        const int64_t shape[2] = {r, 2};
        lafs_sample_set_f32(&it->in, "landmarks", shape, 2, lm);
        return;
    }
    for (int v = 0; v < views; v++) {
        view[v].landmarks = lm + v * r * 2;
        view[v].R = r;
        if (!o.keep) view[v].clean = NULL;
    }
    lafs_views_set(&it->in, view, views);
}

static lafs_status find(void *arg, struct filter_item *items, int n)
{
    (void)arg;
    int64_t count = 0;
    for (int i = 0; i < n; i++) {
        lafs_status st = lafs_views_get(&items[i].in, s.view + (size_t)i * LAFS_MAX_VIEWS, LAFS_MAX_VIEWS, &s.views[i],
                                        &items[i].err);
        s.plain[i] = st == LAFS_END;
        if (st == LAFS_END) s.views[i] = -1;
        else if (st != LAFS_OK) items[i].status = st;
    }
    /* The crops of faces first, without gaps; then the views of records that have some. */
    faces_decode(items, n, s.plain, s.crops);
    for (int i = 0; i < n; i++)
        if (s.plain[i] && items[i].status == LAFS_OK)
            memmove(s.crops + count++ * FACE_BYTES, s.crops + (int64_t)i * FACE_BYTES, FACE_BYTES);
    for (int i = 0; i < n; i++)
        if (s.views[i] >= 0 && items[i].status == LAFS_OK)
            count += take_views(&items[i], s.view + (size_t)i * LAFS_MAX_VIEWS, s.views[i], count);
    if (lafs_landmarks(&s.embedder, count, s.crops, s.landmarks, &items[0].err) != LAFS_OK)
        return lafs_err_prefix(&items[0].err, "'%s'", o.model);
    count = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++) {
            if (items[i].status != LAFS_OK || (s.views[i] >= 0) != pass) continue;
            put_landmarks(&items[i], s.view + (size_t)i * LAFS_MAX_VIEWS, s.views[i], count);
            count += pass ? s.views[i] : 1;
        }
    return LAFS_OK;
}

static lafs_status header(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err)
{
    (void)arg;
    (void)out;
    return lafs_model_check_pixels(&s.model, &in->pixels, err);
}

static lafs_status open_model(struct lafs_err *err)
{
    const char *why = NULL;
    size_t n = (size_t)o.batch * LAFS_MAX_VIEWS;
    LAFS_TRY(lafs_backend_open(&s.backend, cli.device, cli_pool(), &why, err));
    if (why) cli_warn("device %s", why);
    LAFS_TRY(load_model(&s.model, &s.backend, o.model, 1, s.digest, err));
    if (lafs_embedder_open(&s.embedder, &s.model, &s.backend, 32, LAFS_FOR_LANDMARKS, err) != LAFS_OK)
        return lafs_err_prefix(err, "'%s'", o.model);
    LAFS_TRY(lafs_alloc(&s.crops, n, FACE_BYTES, err));
    LAFS_TRY(lafs_alloc(&s.landmarks, n * 2 * (size_t)s.model.config.vit.patches, sizeof *s.landmarks, err));
    LAFS_TRY(lafs_alloc(&s.view, n, sizeof *s.view, err));
    LAFS_TRY(lafs_alloc(&s.plain, (size_t)o.batch, 1, err));
    return lafs_alloc(&s.views, (size_t)o.batch, sizeof *s.views, err);
}

int main(int argc, char **argv)
{
    int n, status;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    if (!o.model) cli_misuse("whose landmarks? give -m MODEL");
    if (open_model(&err) != LAFS_OK) status = cli_fail(&err);
    else {
        static const char *const digest_names[] = {"model"};
        const char *digest = s.digest;
        const struct filter f = {.program = &program, .what = "faces", .batch = (int)o.batch, .all = find,
                                 .header = header};
        status = filter_run(&f, (const char *const *)args, n, digest_names, &digest, 1);
    }
    lafs_embedder_close(&s.embedder);
    lafs_free(s.crops);
    lafs_free(s.landmarks);
    lafs_free(s.view);
    lafs_free(s.views);
    lafs_free(s.plain);
    if (s.backend.ops) lafs_model_release(&s.model, &s.backend);
    lafs_backend_close(&s.backend);
    return cli_finish(status);
}
