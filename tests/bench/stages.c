/* Speed of whole stages, with the bars that were set for them: recognition, steps of training. bench.h says how; no test.
 * Work is counted as the method states it (targets: 26.5 GFLOP an image's forward pass at size b), so that what a stage
 * saves shows as a larger share of the peak. DEVICE=cuda: the same on a GPU, with the paper's batches. */
#include <stdarg.h>

#include "base/rng.h"
#include "model/part_fvit.h"
#include "tests/bench/bench.h"
#include "train/finetune.h"
#include "train/pretrain.h"

enum { CROP = 112 * 112 * 3, R = 196, LOCAL = 36, WIDTH = 192, MOST = 256 /* images of a step */ };

static struct lafs_backend be;

static void check(lafs_status st, const struct lafs_err *err)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "%s\n", err->msg);
    exit(1);
}

static float *device_floats(int64_t n)
{
    struct lafs_err err = {0};
    struct lafs_rng r;
    float *host = malloc((size_t)n * sizeof *host);
    void *p = NULL;
    check(host ? be.ops->alloc(be.dev, &p, (size_t)n * sizeof(float), &err) : LAFS_FAILED, &err);
    lafs_rng_init(&r, 3);
    for (int64_t i = 0; i < n; i++) host[i] = (float)lafs_rng_u32(&r) * 0x1p-31f - 1;
    be.ops->upload(be.dev, p, host, (size_t)n * sizeof(float));
    free(host);
    return p;
}

/* Multiply-adds of a ViT's forward pass over `tokens` patches and CLS. */
static double vit_macs(const struct lafs_vit_config *c, double tokens)
{
    double n = tokens + 1, wide = 64.0 * c->heads;
    double block = n * c->dim * (4 * wide + 2.0 * c->mlp) + 2 * n * n * wide;
    return tokens * WIDTH * c->dim + c->depth * block;
}

static void row(const struct bench_row *r, const char *peer, ...)
{
    char line[256];
    va_list args;
    struct bench_row with = *r;
    va_start(args, peer);
    vsnprintf(line, sizeof line, peer, args);
    va_end(args);
    with.peer = line;
    bench_row(&with);
}

/* -- recognition: landmarks, patches, ViT -- */

static struct {
    struct lafs_model m;
    struct lafs_model_work w;
    struct lafs_arena a;
    float *images, *emb;
    int64_t n;
} rec;

static void recognise(void)
{
    struct lafs_err err = {0};
    lafs_model_forward(&rec.w, &be, rec.m.params.value, NULL, rec.n, rec.images, NULL, NULL, rec.emb);
    check(be.ops->sync(be.dev, &err), &err);
}

static void recogniser_row(const char *name, const char *size, int64_t n, double bar, double bar_bf16, double bar_gpu)
{
    struct lafs_err err = {0};
    struct lafs_model_config c;
    if (!bench_wants(name)) return;
    memset(&rec, 0, sizeof rec);
    rec.n = n;
    check(lafs_model_config_named(&c, size, &err), &err);
    check(lafs_model_init(&rec.m, &c, &err), &err);
    check(lafs_params_place(&rec.m.params, &be, &err), &err);
    check(lafs_params_fill(&rec.m.params, &be, 1, &err), &err);
    for (int pass = 0; pass < 2; pass++) {
        rec.emb = lafs_arena_take(&rec.a, (size_t)(n * c.vit.dim), sizeof(float));
        check(lafs_model_plan(&rec.w, &rec.m, n, LAFS_MODEL_INFER, &be, &rec.a, &err), &err);
        if (!pass) check(lafs_arena_reserve(&rec.a, &be, &err), &err);
    }
    rec.images = device_floats(n * CROP);
    check(lafs_model_fold(&rec.w, &be, rec.m.params.value, &err), &err);
    double macs = vit_macs(&c.vit, R) + 56.6e6;
    row(&(struct bench_row){.name = name, .unit = "image", .units = (double)n, .flops = 2 * macs * (double)n, .bar = bar,
                            .bar_bf16 = bar_bf16, .bar_gpu = bar_gpu, .run = recognise}, "recogniser %s %d", size, (int)n);
    lafs_model_work_release(&rec.w);
    lafs_arena_release(&rec.a, &be);
    lafs_model_release(&rec.m, &be);
    be.ops->free(be.dev, rec.images);
}

/* -- a step of LAFS, from ready tokens -- */

static struct {
    struct lafs_pretrain *t;
    float *tokens;
    uint64_t hash[MOST];
    int64_t n;
} pre;

static lafs_status same_tokens(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    (void)arg, (void)i, (void)err;
    *batch = (struct lafs_feed_batch){pre.tokens, pre.hash, pre.n};
    return LAFS_OK;
}

static void pretrain(void)
{
    struct lafs_err err = {0};
    struct lafs_pretrain_report r;
    check(lafs_pretrain_learn(pre.t, same_tokens, NULL, &r, &err), &err);
}

static void pretrain_row(const char *name, const char *size, int64_t n, int64_t k, double bar, double bar_bf16,
                         double bar_gpu)
{
    struct lafs_err err = {0};
    struct lafs_pretrain_config c;
    if (!bench_wants(name)) return;
    check(lafs_pretrain_config_default(&c, size, 0, &err), &err);
    c.head.out = (int)k;
    c.images = c.batch = c.micro = pre.n = n;
    c.epochs = 1000;
    c.freeze_last = 0;
    c.warmup_epochs = 10;
    for (int i = 0; i < n; i++) pre.hash[i] = (uint64_t)i;
    pre.tokens = device_floats(n * (2 * R + 8 * LOCAL) * WIDTH);
    check(lafs_pretrain_open(&pre.t, &c, &be, NULL, &err), &err);
    double global = vit_macs(&c.model.vit, R), local = vit_macs(&c.model.vit, LOCAL), d = c.model.vit.dim;
    double head = d * 2048 + 2048.0 * 2048 + 2048 * 256 + 256.0 * (double)k;
    double macs = 3 * (2 * global + 8 * local + 10 * head) + 2 * (global + head);
    row(&(struct bench_row){.name = name, .unit = "image", .units = (double)n, .flops = 2 * macs * (double)n, .bar = bar,
                            .bar_bf16 = bar_bf16, .bar_gpu = bar_gpu, .cores = 2, .run = pretrain}, "lafs %s %d %d", size, (int)n, (int)k);
    lafs_pretrain_close(pre.t);
    be.ops->free(be.dev, pre.tokens);
}

/* -- a step of fine-tuning, from ready images -- */

static struct {
    struct lafs_finetune *t;
    float *images;
    struct lafs_target target[MOST];
    uint64_t hash[MOST];
    int64_t n;
} fine;

static lafs_status same_images(void *arg, int64_t i, struct lafs_finetune_batch *batch, struct lafs_err *err)
{
    (void)arg, (void)i, (void)err;
    *batch = (struct lafs_finetune_batch){fine.images, fine.target, fine.hash, fine.n};
    return LAFS_OK;
}

static void finetune(void)
{
    struct lafs_err err = {0};
    struct lafs_finetune_report r;
    check(lafs_finetune_learn(fine.t, same_images, NULL, &r, &err), &err);
}

static void finetune_row(const char *name, const char *size, int64_t n, int64_t classes, double bar_gpu)
{
    struct lafs_err err = {0};
    struct lafs_finetune_config c;
    if (!bench_wants(name)) return;
    check(lafs_finetune_config_default(&c, size, 3, &err), &err);
    c.images = c.batch = c.micro = fine.n = n;
    c.classes = classes;
    c.epochs = 1000;
    c.lr = 1e-4;
    for (int i = 0; i < n; i++) fine.target[i] = (struct lafs_target){i * 7 % classes, 0, 1}, fine.hash[i] = (uint64_t)i;
    fine.images = device_floats(n * CROP);
    check(lafs_finetune_open(&fine.t, &c, &be, bench.pool, NULL, NULL, &err), &err);
    double macs = 3 * (vit_macs(&c.model.vit, R) + 56.6e6 + (double)c.model.vit.dim * (double)classes);
    row(&(struct bench_row){.name = name, .unit = "image", .units = (double)n, .flops = 2 * macs * (double)n,
                            .bar_gpu = bar_gpu, .run = finetune}, "finetune %s %d %d", size, (int)n, (int)classes);
    lafs_finetune_close(fine.t);
    be.ops->free(be.dev, fine.images);
}

/* With the batches that the paper trains with. A face that is embedded takes two passes. */
static void gpu_rows(void)
{
    recogniser_row("recogniser b, 256 images", "b", 256, 0, 0, 1.0 / 20);
    pretrain_row("LAFS step b, 164 images", "b", 164, 100000, 0, 0, 1.0 / 1.6);
    finetune_row("fine-tuning step b, 200", "b", 200, 205990, 1.0 / 6.5);
}
static void cpu_rows(void)
{
    recogniser_row("recogniser xs", "xs", 32, 0, 0, 0);
    recogniser_row("recogniser b", "b", 8, 175, 23, 0);
    pretrain_row("LAFS step xs, K 4096", "xs", 32, 4096, 0, 0, 0);
    /* The bar is for batches of 32 or more, whose activations few machines hold: here 4 pay for all of AdamW and EMA. */
    pretrain_row("LAFS step b, 4 images", "b", 4, 100000, 1100, 130, 0);
    finetune_row("fine-tuning step xs", "xs", 32, 1000, 0);
    finetune_row("fine-tuning step b", "b", 4, 20000, 0);
}

int main(void)
{
    struct lafs_pool *pool = bench_begin("stages");
    bench_open(&be, pool);
    if (bench.gpu) gpu_rows();
    else cpu_rows();
    return bench_end();
}
