/* What the ViT leaves out changes nothing: branches that drop-path drops, and all but CLS in the last block. */
#include "tests/test.h"

#include "base/rng.h"
#include "model/vit.h"

enum { N = 7, DIM = 48, DEPTH = 3, HEADS = 2, WIDE = HEADS * 64, MLP = 80, TOKEN = 192, LONG = 25 };

static struct lafs_backend b;
static struct lafs_err e;
static struct lafs_vit v;
static struct lafs_params ps;
static struct lafs_vit_work w;
static struct lafs_arena arena;
static float *tokens, *emb, *demb, *grad;
static int64_t off[N + 1];
static uint64_t *keys;
static struct lafs_seqs seqs;
static uint64_t salt; /* of the keys */

static void carve(int keep)
{
    tokens = lafs_arena_take(&arena, (size_t)off[N] * TOKEN, sizeof(float));
    emb = lafs_arena_take(&arena, N * DIM, sizeof(float));
    demb = lafs_arena_take(&arena, N * DIM, sizeof(float));
    grad = lafs_arena_take(&arena, (size_t)ps.size, sizeof(float));
    keys = lafs_arena_take(&arena, N, sizeof *keys);
    REQUIRE_OK(lafs_vit_plan(&w, &v, off[N], N, keep, &b, &arena, &e), &e);
}

/* Host pointers: these backends' memory is the host's. */
static void begin(const char *backend, float dropout, float drop_path, int keep)
{
    const struct lafs_vit_config c = {.dim = DIM, .depth = DEPTH, .heads = HEADS, .mlp = MLP, .patches = LONG,
                                      .patch = 8, .dropout = dropout, .drop_path = drop_path};
    struct lafs_rng r;
    for (int i = 0; i < N; i++) off[i + 1] = off[i] + (i % 2 ? 9 : LONG - i);
    seqs = (struct lafs_seqs){N, off, off, LONG};
    REQUIRE_OK(lafs_backend_open(&b, backend, NULL, NULL, &e), &e);
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_vit_declare(&v, &c, &ps, &e), &e);
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&ps, &b, 3, &e), &e);
    carve(keep);
    REQUIRE_OK(lafs_arena_reserve(&arena, &b, &e), &e);
    carve(keep);
    lafs_rng_init(&r, 5);
    for (int64_t i = 0; i < off[N] * TOKEN; i++) tokens[i] = (float)lafs_rng_uniform(&r, -1, 1);
    for (int i = 0; i < N * DIM; i++) demb[i] = (float)lafs_rng_uniform(&r, -1, 1);
    for (int i = 0; i < N; i++) keys[i] = lafs_rng_key(1, LAFS_RNG_TEST, 0, (uint64_t)i, salt);
}
static void end(void)
{
    lafs_vit_work_release(&w);
    lafs_arena_release(&arena, &b);
    lafs_params_release(&ps, &b);
    lafs_backend_close(&b);
}

/* Everything computed for all rows, and dropped afterwards: to (N, DIM). */
static void whole_forward(float *to)
{
    static float x[(LONG + 1) * N * DIM], y[(LONG + 1) * N * DIM], qkv[(LONG + 1) * N * 3 * WIDE],
        att[(LONG + 1) * N * WIDE], hid[(LONG + 1) * N * MLP], branch[(LONG + 1) * N * DIM], cls[N * DIM];
    const struct lafs_ops *op = b.ops;
    const float *p = ps.value;
    int64_t rows_off[N + 1], one[N + 1];
    for (int i = 0; i <= N; i++) rows_off[i] = off[i] + i, one[i] = i;
    struct lafs_seqs rows = {N, rows_off, rows_off, LONG + 1}, heads = {N, one, one, 1};
    struct lafs_drop drop = {v.config.dropout, 0, keys}, path = {v.config.drop_path, 0, keys};
    op->linear(b.dev, b.precision, &seqs, TOKEN, DIM, tokens, p + v.embed_w, p + v.embed_b, LAFS_ACT_NONE,
               NULL, NULL, branch);
    op->assemble(b.dev, &rows, DIM, branch, p + v.cls, p + v.pos, &drop, x);
    for (uint32_t l = 0; l < DEPTH; l++) {
        const struct lafs_vit_block *k = &v.block[l];
        op->add_norm(b.dev, &rows, DIM, x, NULL, NULL, NULL, NULL, NULL, p + k->norm1_g, p + k->norm1_b, NULL, y, NULL,
                     NULL);
        op->linear(b.dev, b.precision, &rows, DIM, 3 * WIDE, y, p + k->qkv_w, NULL, LAFS_ACT_NONE, NULL, NULL, qkv);
        op->attention(b.dev, b.precision, &rows, &rows, HEADS, 1 / sqrtf(DIM), qkv, 3 * WIDE, qkv + WIDE,
                      3 * WIDE, att, NULL);
        op->linear(b.dev, b.precision, &rows, WIDE, DIM, att, p + k->out_w, p + k->out_b, LAFS_ACT_NONE,
                   NULL, NULL, branch);
        drop.site = path.site = 4 * l + 1;
        op->add_norm(b.dev, &rows, DIM, x, NULL, branch, &drop, &path, NULL, p + k->norm2_g, p + k->norm2_b, x, y, NULL,
                     NULL);
        drop.site = 4 * l + 2;
        op->linear(b.dev, b.precision, &rows, DIM, MLP, y, p + k->fc1_w, p + k->fc1_b, LAFS_ACT_GELU, &drop, NULL, hid);
        op->linear(b.dev, b.precision, &rows, MLP, DIM, hid, p + k->fc2_w, p + k->fc2_b, LAFS_ACT_NONE,
                   NULL, NULL, branch);
        drop.site = path.site = 4 * l + 3;
        op->add_norm(b.dev, &rows, DIM, x, NULL, branch, &drop, &path, NULL, NULL, NULL, x, NULL, NULL, NULL);
    }
    op->rows_gather(b.dev, N, DIM, rows_off, x, cls);
    op->add_norm(b.dev, &heads, DIM, cls, NULL, NULL, NULL, NULL, NULL, p + v.head_g, p + v.head_b, NULL, to, NULL,
                 NULL);
}

TEST(forward_to_the_bit)
{
    for (int i = 0; i < 6; i++) {
        float want[N * DIM];
        begin("cpu", i < 4 ? 0.1f : 0, i % 3 == 0 ? 0 : i % 3 == 1 ? 0.3f : 0.95f, i % 2);
        lafs_vit_forward(&w, &b, ps.value, &seqs, tokens, keys, i % 2 ? keys : NULL, emb);
        whole_forward(want);
        CHECK(!memcmp(emb, want, sizeof want));
        end();
    }
}

static double loss(const float *value)
{
    double sum = 0;
    lafs_vit_forward(&w, &b, value, &seqs, tokens, keys, NULL, emb);
    for (int i = 0; i < N * DIM; i++) sum += (double)emb[i] * demb[i];
    return sum;
}

/* Keys with which every branch keeps some sequences and drops others. */
static void draw_salt(float drop_path)
{
    int mixed = 0;
    for (salt = 0; !mixed && salt < 1000; salt++) {
        mixed = 1;
        for (uint32_t site = 1; site < 4 * DEPTH; site += 2) { /* those of branches: forward_to_the_bit has them */
            int dropped = 0;
            for (int i = 0; i < N; i++)
                dropped += lafs_path_dropped(drop_path, site, lafs_rng_key(1, LAFS_RNG_TEST, 0, (uint64_t)i, salt));
            mixed &= dropped > 0 && dropped < N;
        }
    }
    salt--;
    REQUIRE(mixed);
}

/* The gradient of each tensor along a direction, against differences; then of all of them on the CPU backend. */
static void check_gradient(float drop_path)
{
    const float step = 2e-3f;
    draw_salt(drop_path);
    begin("ref", 0.1f, drop_path, 1);
    loss(ps.value);
    lafs_vit_backward(&w, &b, ps.value, demb, grad, NULL);
    double all = 0;
    for (int64_t i = 0; i < ps.size; i++) all += (double)grad[i] * grad[i];
    for (int t = 0; t < ps.count; t++) {
        const struct lafs_param *q = &ps.p[t];
        struct lafs_rng r;
        double slope = 0, f[2], length = 0;
        static float kept[3 * WIDE * DIM + MLP * DIM + TOKEN * DIM + (LONG + 1) * DIM], dir[sizeof kept / sizeof *kept];
        REQUIRE((size_t)q->size <= sizeof kept / sizeof *kept);
        memcpy(kept, ps.value + q->off, (size_t)q->size * sizeof *kept);
        lafs_rng_init(&r, (uint64_t)t);
        for (int64_t i = 0; i < q->size; i++) {
            dir[i] = lafs_rng_uniform(&r, -1, 1) < 0 ? -1 : 1;
            slope += dir[i] * (double)grad[q->off + i];
            length += pow((double)grad[q->off + i], 2);
        }
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < q->size; i++) ps.value[q->off + i] = kept[i] + (s ? -step : step) * dir[i];
            f[s] = loss(ps.value);
        }
        memcpy(ps.value + q->off, kept, (size_t)q->size * sizeof *kept);
        CHECK(length > 0);
        CHECK_NEAR(slope, (f[0] - f[1]) / (2 * (double)step), 5e-3 * sqrt(length) + 1e-3);
    }
    static float want[1 << 18];
    REQUIRE((size_t)ps.size <= sizeof want / sizeof *want);
    memcpy(want, grad, (size_t)ps.size * sizeof *want);
    end();
    begin("cpu", 0.1f, drop_path, 1);
    loss(ps.value);
    lafs_vit_backward(&w, &b, ps.value, demb, grad, NULL);
    double off_by = 0;
    for (int64_t i = 0; i < ps.size; i++) off_by += pow((double)grad[i] - want[i], 2);
    CHECK(sqrt(off_by / all) < 2e-6);
    end();
}

/* On a backend that records, nothing is packed where that costs little: the same bits, gradients but for the order of
 * sums; what drop-path drops is a matter of keys in device memory alone. */
static struct lafs_ops recording_ops;
static int record(struct lafs_dev *d)
{
    (void)d;
    return 0;
}
static void whole(const char *backend, float drop_path)
{
    static float want[N * DIM], slope[1 << 18];
    draw_salt(drop_path);
    begin(backend, 0.1f, drop_path, 1);
    loss(ps.value);
    lafs_vit_backward(&w, &b, ps.value, demb, grad, NULL);
    CHECK(!lafs_vit_alike(&w, &b) && !w.whole);
    memcpy(want, emb, sizeof want);
    memcpy(slope, grad, (size_t)ps.size * sizeof *slope);
    recording_ops = *b.ops;
    recording_ops.record = record;
    b.ops = &recording_ops;
    memset(grad, 0, (size_t)ps.size * sizeof *grad);
    CHECK(lafs_vit_alike(&w, &b));
    static const uint64_t other[N]; /* on the host: not looked at */
    lafs_vit_forward(&w, &b, ps.value, &seqs, tokens, keys, other, emb);
    lafs_vit_backward(&w, &b, ps.value, demb, grad, NULL);
    CHECK(w.whole);
    CHECK(!memcmp(emb, want, sizeof want));
    double off_by = 0, all = 0;
    for (int64_t i = 0; i < ps.size; i++) off_by += pow((double)grad[i] - slope[i], 2), all += pow(slope[i], 2);
    CHECK(sqrt(off_by / all) < 1e-6);
    const struct lafs_vit_work big = {.vit = &v, .max_tokens = 1 << 24};
    CHECK(!lafs_vit_alike(&big, &b));
    end();
}
TEST(nothing_packed)
{
    whole("ref", 0.3f);
    whole("cpu", 0.3f);
    whole("cpu", 0.7f);
}

TEST(backward) { check_gradient(0.3f); }
TEST(backward_of_little) { check_gradient(0.7f); }

TEST(work)
{
    struct lafs_vit_config c;
    REQUIRE_OK(lafs_vit_config_named(&c, "b", &e), &e);
    /* targets: 26.47 GF with all rows of the last block; an image of ten views, and the head's 12 rows, 308 and 277. */
    double eval = lafs_vit_flop(&c, 196, 0), local = lafs_vit_flop(&c, 36, 0), head = (3 * 10 + 2) * 0.064e9;
    double cnn = 10 * 0.113e9;
    CHECK_NEAR((2 * 4 * eval + 8 * 3 * local + head + cnn) / 1e9, 308, 2);
    eval = lafs_vit_flop(&c, 196, 1), local = lafs_vit_flop(&c, 36, 1);
    CHECK_NEAR((2 * 4 * eval + 8 * 3 * local + head + cnn) / 1e9, 277, 2);
}

TEST_MAIN(work, forward_to_the_bit, nothing_packed, backward, backward_of_little)
