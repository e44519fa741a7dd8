/* lafs-embed: faces to embeddings. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/faces.h"
#include "cmd/loadmodel.h"
#include "compute/fit.h"
#include "data/face.h"
#include "model/baseline.h"
#include "model/embed.h"

static struct {
    const char *model, *baseline, *precision, *amplitude;
    int64_t batch;
    int keep;
} o = {.batch = 16, .precision = "fp32"};

static const struct cli_option options[] = {
    {"model", 'm', CLI_STRING, &o.model, "MODEL", "the recogniser", 0, 0, NULL},
    {"baseline", 0, CLI_CHOICE, &o.baseline, "pixel|lbp",
     "a classical embedding instead of a model's: pixels, or local binary patterns", 0, 0, NULL},
    {"batch", 0, CLI_INT, &o.batch, "N", "faces computed at once; results do not depend on it", 1, 4096, "16", 1},
    {"precision", 0, CLI_CHOICE, &o.precision, "fp32|bf16|bf16x3",
     "of the ViT's products; the landmark CNN is always fp32", 0, 0, "fp32"},
    {"amplitude", 0, CLI_CHOICE, &o.amplitude, "full|half",
     "pixels are x/127.5 - 1, or x/255 - 0.5, as the authors' evaluation has it", 0, 0, "full"},
    {"keep", 0, CLI_FLAG, &o.keep, NULL, "keep the pictures in the records", 0, 0, NULL},
    CLI_OUT, CLI_SHARDS, CLI_JOBS, CLI_DEVICE,
    CLI_TAKE, CLI_MAX_PIXELS, CLI_MAX_BAD, CLI_REJECTS, CLI_LOG, CLI_PRESET, CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-embed", "-m MODEL [OPTION]... [FACES]...", "faces to embeddings",
                                           options};

static struct {
    struct lafs_backend backend;
    struct lafs_model model;
    struct lafs_embedder embedder;
    uint8_t *crops, *packed; /* (batch, 112, 112, 3) */
    float *emb;              /* (batch, D) */
    int64_t room;            /* faces that memory was planned for */
    enum lafs_baseline baseline;
    char digest[65];
} s;

/* The record as it leaves: pictures are no longer needed. */
static void finish(struct filter_item *it, const float *emb, int64_t dim)
{
    lafs_sample_set_f32(&it->in, "embedding", &dim, 1, emb);
    if (o.keep) return;
    lafs_face_del(&it->in);
}

static lafs_status need(void *arg, int64_t batch, enum lafs_precision precision, size_t *bytes, struct lafs_err *err)
{
    struct lafs_backend b = s.backend;
    (void)arg;
    b.precision = precision;
    return lafs_embedder_need(&s.model, &b, (int)batch, LAFS_FOR_EMBEDDING, 0, bytes, err);
}

/* A device that makes plans is asked whether so many faces at once fit, before they are computed; what ops take for
 * themselves is taken. */
static lafs_status take_memory(int64_t batch, struct lafs_err *err)
{
    const struct lafs_backend *b = &s.backend;
    const struct lafs_fit_work w = {need, NULL, batch, 1, 0, 0, b->precision};
    struct lafs_fit f;
    size_t available, all;
    char text[256];
    LAFS_TRY(b->ops->memory(b->dev, &available, &all, err));
    LAFS_TRY(lafs_fit(&f, &w, available, err));
    if (f.fits) return lafs_embedder_need(&s.model, b, (int)batch, LAFS_FOR_EMBEDDING, 1, &f.need, err);
    lafs_fit_say(&f, "--batch", text, sizeof text);
    return lafs_fail(err, LAFS_FAILED, "%" PRId64 " faces at once do not fit into the memory of %s: %s", batch,
                     b->ops->describe(b->dev), text);
}

/* For the first faces, then for the whole batch: no less than the embedder makes (model/embed.h). */
static lafs_status make_room(int64_t n, struct lafs_err *err)
{
    const int64_t want = s.room ? o.batch : n;
    if (!s.backend.ops->plan || n <= s.room) return LAFS_OK;
    if (s.room) lafs_embedder_forget(&s.embedder);
    s.room = want;
    return take_memory(want, err);
}

static lafs_status embed(void *arg, struct filter_item *items, int n)
{
    (void)arg;
    int64_t dim = s.model.config.vit.dim, good = 0;
    faces_decode(items, n, NULL, s.crops);
    for (int i = 0; i < n; i++)
        if (items[i].status == LAFS_OK) memcpy(s.packed + good++ * FACE_BYTES, s.crops + i * FACE_BYTES, FACE_BYTES);
    LAFS_TRY(make_room(n, &items[0].err)); /* not for the good ones only: the next batch may have more of them */
    if (lafs_embed(&s.embedder, good, s.packed, s.emb, &items[0].err) != LAFS_OK)
        return lafs_err_prefix(&items[0].err, "'%s'", o.model);
    good = 0;
    for (int i = 0; i < n; i++)
        if (items[i].status == LAFS_OK) finish(&items[i], s.emb + good++ * dim, dim);
    return LAFS_OK;
}

static lafs_status embed_classically(void *arg, struct filter_item *it, int worker)
{
    (void)arg;
    (void)worker;
    struct lafs_image im = {0};
    float *emb = NULL;
    lafs_status st = lafs_face_image(&it->in, cli.max_pixels, &im, &it->err);
    int64_t dim = st == LAFS_OK ? lafs_baseline_dim(s.baseline, im.w) : 0;
    if (st == LAFS_OK && !dim)
        st = lafs_fail(&it->err, LAFS_BAD_RECORD, "the picture is %d pixels wide, not 16 to 1024", im.w);
    if (st == LAFS_OK) st = lafs_alloc(&emb, (size_t)dim, sizeof *emb, &it->err);
    if (st == LAFS_OK) st = lafs_baseline_embed(s.baseline, &im, im.w, emb, &it->err);
    if (st == LAFS_OK) finish(it, emb, dim);
    lafs_free(emb);
    lafs_image_release(&im);
    return st;
}

static lafs_status header(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err)
{
    (void)arg;
    (void)out;
    if (o.model) return lafs_model_check_pixels(&s.model, &in->pixels, err);
    if (!strcmp(in->pixels.aligner, "none"))
        cli_warn("these are photos, not aligned faces: a baseline compares them whole (lafs-detect makes faces)");
    return LAFS_OK;
}

static lafs_status open_model(struct lafs_err *err)
{
    const char *why = NULL;
    LAFS_TRY(lafs_backend_open(&s.backend, cli.device, cli_pool(), &why, err));
    lafs_precision_by_name(o.precision, &s.backend.precision);
    if (why) cli_warn("device %s", why);
    LAFS_TRY(load_model(&s.model, &s.backend, o.model, 0, s.digest, err));
    if (lafs_embedder_open(&s.embedder, &s.model, &s.backend, (int)o.batch, LAFS_FOR_EMBEDDING, err) != LAFS_OK)
        return lafs_err_prefix(err, "'%s'", o.model);
    if (o.amplitude && !strcmp(o.amplitude, "half")) s.embedder.amplitude = 0.5f;
    LAFS_TRY(lafs_alloc(&s.crops, (size_t)o.batch, FACE_BYTES, err));
    LAFS_TRY(lafs_alloc(&s.packed, (size_t)o.batch, FACE_BYTES, err));
    return lafs_alloc(&s.emb, (size_t)o.batch * (size_t)s.model.config.vit.dim, sizeof *s.emb, err);
}

int main(int argc, char **argv)
{
    int n, status;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    if (!o.model == !o.baseline) cli_misuse("give a model with -m, or --baseline");
    if (o.baseline && o.amplitude) cli_misuse("--amplitude needs a model: baselines do not depend on it");
    if (o.baseline) lafs_baseline_by_name(o.baseline, &s.baseline);
    if (o.model && open_model(&err) != LAFS_OK) status = cli_fail(&err);
    else {
        static const char *const digest_names[] = {"model"};
        const char *digest = s.digest;
        const struct filter f = {.program = &program, .what = "faces", .header = header,
                                 .batch = o.model ? (int)o.batch : 0,
                                 .each = o.model ? NULL : embed_classically, .all = o.model ? embed : NULL};
        status = filter_run(&f, (const char *const *)args, n, digest_names, &digest, o.model ? 1 : 0);
    }
    lafs_embedder_close(&s.embedder);
    lafs_free(s.crops);
    lafs_free(s.packed);
    lafs_free(s.emb);
    if (o.model && s.backend.ops) lafs_model_release(&s.model, &s.backend);
    lafs_backend_close(&s.backend);
    return cli_finish(status);
}
