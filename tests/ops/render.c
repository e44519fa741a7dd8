/* Rendering of views: the CPU backend gives the reference's bits, whatever the plan, the source's size and the threads.
 */
#include "tests/ops/levels.h"
#include "tests/ops/ops.h"

enum { GUARDED = 64, CASES = 200 };

static struct lafs_rng rng;
static int below(int n) { return (int)lafs_rng_below(&rng, (uint64_t)n); }
static double uniform(double lo, double hi) { return lafs_rng_uniform(&rng, lo, hi); }

/* Smooth, noisy, flat or two-coloured, of exact size, so that a sanitizer sees every byte too far. */
static uint8_t *random_source(int w, int h)
{
    uint8_t *p = malloc((size_t)w * (size_t)h * 3);
    int kind = below(5), flat = below(256), range = 1 + below(256);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                int v = flat;
                if (kind == 0) v = below(range);
                if (kind == 1) v = (int)(127 + 120 * sin(0.07 * x * (c + 1)) * cos(0.05 * y + c)) + below(9) - 4;
                if (kind == 2) v = (x / 7 + y / 5) % 2 ? 255 : c * 40;
                if (kind == 3) v = flat / 2 + below(6);
                p[((size_t)y * (size_t)w + (size_t)x) * 3 + (size_t)c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    return p;
}

static struct lafs_view_op random_op(int kind, int w, int h)
{
    struct lafs_view_op o = {kind, {0}};
    switch (kind) {
    case LAFS_OP_CROP_BICUBIC:
    case LAFS_OP_CROP_BILINEAR:
    case LAFS_OP_ERASE:
        o.a[2] = (float)(1 + below(h)), o.a[3] = (float)(1 + below(w));
        o.a[0] = (float)below(h - (int)o.a[2] + 1), o.a[1] = (float)below(w - (int)o.a[3] + 1);
        break;
    case LAFS_OP_HUE: o.a[0] = (float)uniform(-0.5, 0.5); break;
    case LAFS_OP_BLUR: o.a[0] = (float)(below(4) ? uniform(0, 2.2) : uniform(0, 32)); break;
    case LAFS_OP_ROTATE: o.a[0] = (float)uniform(-360, 360); break;
    case LAFS_OP_SHEAR_X:
    case LAFS_OP_SHEAR_Y: o.a[0] = (float)uniform(-1, 1); break;
    case LAFS_OP_TRANSLATE_X:
    case LAFS_OP_TRANSLATE_Y: o.a[0] = (float)(below(3) ? uniform(-60, 60) : below(60) - 30); break;
    case LAFS_OP_POSTERIZE: o.a[0] = (float)below(9); break;
    default: o.a[0] = (float)(below(6) ? uniform(0, 2.5) : below(3) - 1);
    }
    if (kind >= LAFS_OP_ROTATE && kind <= LAFS_OP_TRANSLATE_Y) o.a[1] = (float)below(2);
    return o;
}

/* Any chain of operations whose result is square. */
static void random_plan(struct lafs_viewplan *p, int w, int h)
{
    const int width = w, height = h;
    memset(p, 0, sizeof *p);
    p->out_size = below(3) == 0 ? 112 : w == h && below(3) == 0 ? w : 1 + below(130);
    int crop = w != h || below(3), at = below(3) ? 0 : below(3), n = at + crop + below(6);
    if (!crop) p->out_size = w;
    for (int i = 0; i < n; i++) {
        int first_crop = crop && i == at, kind;
        do kind = first_crop ? 1 + below(2) : crop && i > at && below(9) == 0 ? 1 : 3 + below(LAFS_OP_ERASE - 2);
        while (kind == LAFS_OP_BLUR && (int64_t)w * h > 40000 && below(4));
        p->op[p->ops++] = random_op(kind, w, h);
        if (kind <= LAFS_OP_CROP_BILINEAR) w = h = p->out_size;
    }
    int least = crop && (width != p->out_size || height != p->out_size) ? at + 1 : 0;
    p->clean_ops = least + below(p->ops - least + 1);
}

struct out {
    uint8_t *mem;
    size_t size;
};
static struct out new_out(int side)
{
    struct out o = {.size = (size_t)side * (size_t)side * 3};
    o.mem = malloc(o.size + 2 * GUARDED);
    memset(o.mem, 0xA5, o.size + 2 * GUARDED);
    return o;
}
static int guard_whole(const struct out *o)
{
    for (int i = 0; i < GUARDED; i++)
        if (o->mem[i] != 0xA5 || o->mem[GUARDED + o->size + (size_t)i] != 0xA5) return 0;
    return 1;
}

enum { BATCH = 12 };
static struct lafs_viewplan plan[BATCH];
static const uint8_t *source[BATCH];
static int width[BATCH], height[BATCH];

/* One batch on one backend; results into clean[], augmented[]. */
static void render(const struct lafs_backend *b, struct out *clean, struct out *augmented, int n)
{
    uint8_t *c[BATCH], *a[BATCH];
    for (int i = 0; i < n; i++) {
        clean[i] = new_out(plan[i].out_size);
        augmented[i] = new_out(plan[i].out_size);
        c[i] = clean[i].mem + GUARDED;
        a[i] = augmented[i].mem + GUARDED;
    }
    b->ops->render(b->dev, n, plan, source, width, height, c, a);
}

static void describe(const struct lafs_viewplan *p, int w, int h)
{
    fprintf(stderr, "  source %d x %d, result %d, clean after %d:", w, h, p->out_size, p->clean_ops);
    for (int i = 0; i < p->ops; i++)
        fprintf(stderr, " %d(%g %g %g %g)", p->op[i].kind, p->op[i].a[0], p->op[i].a[1], p->op[i].a[2], p->op[i].a[3]);
    fputc('\n', stderr);
}

static void compare(const char *what, struct out *got, const struct out *want, int n)
{
    for (int i = 0; i < n; i++) {
        size_t differ = 0, worst = 0;
        for (size_t k = 0; k < want[i].size; k++) {
            size_t d = (size_t)abs(got[i].mem[GUARDED + k] - want[i].mem[GUARDED + k]);
            differ += d > 0;
            worst = d > worst ? d : worst;
        }
        if (differ) FAIL_("%s: %zu of %zu values differ, by up to %zu", what, differ, want[i].size, worst);
        if (!guard_whole(&got[i])) FAIL_("%s: written outside", what);
        if (differ || !guard_whole(&got[i])) describe(&plan[i], width[i], height[i]);
        free(got[i].mem);
    }
}

/* level: the most that is used of the processor; opening a backend asks the environment for it. */
static void random_batches(int cases, int largest, int level)
{
    struct ops_set o;
    ops_open(&o);
    lafs_isa_limit(level);
    for (int t = 0; t < cases; t++) {
        int n = 1 + below(BATCH), sources = 0;
        uint8_t *made[BATCH], *kept[BATCH];
        for (int i = 0; i < n; i++) {
            if (i == 0 || below(2)) {
                int small = below(4) == 0;
                width[i] = 1 + below(small ? 12 : largest);
                height[i] = below(2) ? width[i] : 1 + below(small ? 12 : largest);
                made[sources] = random_source(width[i], height[i]);
                kept[sources] = malloc((size_t)width[i] * (size_t)height[i] * 3);
                memcpy(kept[sources], made[sources], (size_t)width[i] * (size_t)height[i] * 3);
                source[i] = made[sources++];
            } else {
                source[i] = source[i - 1], width[i] = width[i - 1], height[i] = height[i - 1];
            }
            random_plan(&plan[i], width[i], height[i]);
        }
        struct out want[2][BATCH], got[2][BATCH];
        render(&o.ref, want[0], want[1], n);
        render(&o.cpu, got[0], got[1], n);
        compare("clean", got[0], want[0], n);
        compare("augmented", got[1], want[1], n);
        render(&o.cpu3, got[0], got[1], n);
        compare("clean on 3 threads", got[0], want[0], n);
        compare("augmented on 3 threads", got[1], want[1], n);
        for (int i = 0, k = 0; i < n; i++) {
            if (i == 0 || source[i] != source[i - 1]) {
                CHECK(!memcmp(kept[k], made[k], (size_t)width[i] * (size_t)height[i] * 3));
                k++;
            }
            free(want[0][i].mem);
            free(want[1][i].mem);
        }
        for (int i = 0; i < sources; i++) free(made[i]), free(kept[i]);
    }
    lafs_isa_limit(LAFS_ISA_AMX);
    ops_close(&o);
}

TEST(random_plans)
{
    lafs_rng_init(&rng, lafs_rng_key(1, LAFS_RNG_TEST, 1, 0, 0));
    random_batches(CASES, 130, LAFS_ISA_AMX);
}

TEST(random_plans_without_vector_extensions)
{
    lafs_rng_init(&rng, lafs_rng_key(1, LAFS_RNG_TEST, 3, 0, 0));
    random_batches(CASES / 4, 130, LAFS_ISA_PLAIN);
}

TEST(large_sources)
{
    lafs_rng_init(&rng, lafs_rng_key(1, LAFS_RNG_TEST, 2, 0, 0));
    random_batches(12, 700, LAFS_ISA_AMX);
}

TEST(drawn_plans)
{
    /* What the programs really draw, whole images at a time. */
    struct ops_set o;
    struct lafs_pretrain_views v;
    struct lafs_train_views tv;
    ops_open(&o);
    lafs_rng_init(&rng, 3);
    lafs_train_views_default(&tv);
    for (int t = 0; t < 24; t++) {
        uint8_t *px = random_source(112, 112);
        char key[16];
        snprintf(key, sizeof key, "k%d", t);
        lafs_pretrain_views_default(&v, t & 1);
        lafs_plan_pretrain(&v, 112, 112, 5, t, key, plan);
        lafs_plan_train(&tv, 112, 112, 5, t, key, &plan[10]);
        for (int i = 0; i < 11; i++) source[i] = px, width[i] = height[i] = 112;
        struct out want[2][BATCH], got[2][BATCH];
        render(&o.ref, want[0], want[1], 11);
        render(&o.cpu3, got[0], got[1], 11);
        compare("clean", got[0], want[0], 11);
        compare("augmented", got[1], want[1], 11);
        for (int i = 0; i < 11; i++) free(want[0][i].mem), free(want[1][i].mem);
        free(px);
    }
    ops_close(&o);
}

/* Hue is written differently in the two backends: every colour, at several shifts. */
TEST(hue_of_every_colour)
{
    enum { SIDE = 256, PLANES = 256 };
    struct ops_set o;
    ops_open(&o);
    uint8_t *px = malloc(SIDE * SIDE * 3), *a = malloc(SIDE * SIDE * 3), *b = malloc(SIDE * SIDE * 3);
    const uint8_t *src = px;
    int side = SIDE;
    size_t differ = 0;
    struct lafs_viewplan p = {.out_size = SIDE, .ops = 1, .clean_ops = 1, .op = {{LAFS_OP_HUE, {0}}}};
    for (int z = 0; z < PLANES; z += 3) { /* 0, 3 .. 255 */
        for (int i = 0; i < SIDE * SIDE; i++)
            px[3 * i] = (uint8_t)(i & 255), px[3 * i + 1] = (uint8_t)(i >> 8), px[3 * i + 2] = (uint8_t)z;
        p.op[0].a[0] = (float)(z % 5 == 0 ? 0 : (z * 37 % 256 - 128) / 256.0);
        o.ref.ops->render(o.ref.dev, 1, &p, &src, &side, &side, NULL, &a);
        lafs_isa_limit(z % 4 ? LAFS_ISA_AMX : LAFS_ISA_PLAIN);
        o.cpu.ops->render(o.cpu.dev, 1, &p, &src, &side, &side, NULL, &b);
        differ += memcmp(a, b, SIDE * SIDE * 3) != 0;
    }
    level_free();
    CHECK_INT(differ, 0);
    free(px);
    free(a);
    free(b);
    ops_close(&o);
}

/* Blends in whole numbers: factors that are exact in them, factors with which the reference's floats round a sum up to
 * a whole number, some far from 1, and those next to the limits of the former. */
TEST(blends_by_difficult_factors)
{
    enum { SIDE = 256 };
    static const float factor[] = {0.518918872f, 0.548837245f, 0.620967686f, 0.726851821f, 0.802469134f, 0.835294187f,
                                   0.946808457f, 1.14728677f,  0.5f,         0.50000006f,  0.6f,         0.75f,
                                   0.9f,         0.99999994f,  1,            1.00000012f,  1.1f,         1.25f,
                                   1.49999988f,  1.5f,         1.7f,         0,            2,            10};
    struct ops_set o;
    ops_open(&o);
    uint8_t *px = malloc(SIDE * SIDE * 3), *a = malloc(SIDE * SIDE * 3), *b = malloc(SIDE * SIDE * 3);
    const uint8_t *src = px;
    int side = SIDE;
    for (size_t k = 0; k < 3 * sizeof factor / sizeof *factor; k++)
        for (int z = 0; z < 3; z++) {
            for (int i = 0; i < SIDE * SIDE; i++) {
                const int x = i & 255, y = i >> 8;
                px[3 * i] = (uint8_t)x, px[3 * i + 1] = (uint8_t)y;
                px[3 * i + 2] = (uint8_t)(z == 0 ? 7 * x + 13 * y : z);
            }
            struct lafs_viewplan p = {.out_size = SIDE, .ops = 1, .clean_ops = 1};
            p.op[0] = (struct lafs_view_op){LAFS_OP_BRIGHTNESS + (int)(k % 3), {factor[k / 3]}};
            o.ref.ops->render(o.ref.dev, 1, &p, &src, &side, &side, NULL, &a);
            o.cpu.ops->render(o.cpu.dev, 1, &p, &src, &side, &side, NULL, &b);
            if (memcmp(a, b, SIDE * SIDE * 3)) FAIL_("operation %d by %.9g", p.op[0].kind, p.op[0].a[0]);
        }
    free(px);
    free(a);
    free(b);
    ops_close(&o);
}

TEST(only_what_is_asked)
{
    struct ops_set o;
    ops_open(&o);
    lafs_rng_init(&rng, 4);
    uint8_t *px = random_source(112, 112);
    const struct lafs_backend *b[2] = {&o.ref, &o.cpu};
    struct lafs_pretrain_views v;
    lafs_pretrain_views_default(&v, 0);
    lafs_plan_pretrain(&v, 112, 112, 5, 1, "k", plan);
    for (int i = 0; i < 10; i++) source[i] = px, width[i] = height[i] = 112;
    for (int k = 0; k < 2; k++) {
        struct out both[2][BATCH], one[2][BATCH];
        uint8_t *list[2][BATCH];
        render(b[k], both[0], both[1], 10);
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < 10; i++) {
                one[side][i] = new_out(112);
                list[side][i] = i % 3 == side ? NULL : one[side][i].mem + GUARDED;
            }
        b[k]->ops->render(b[k]->dev, 10, plan, source, width, height, list[0], NULL);
        b[k]->ops->render(b[k]->dev, 10, plan, source, width, height, NULL, list[1]);
        b[k]->ops->render(b[k]->dev, 0, plan, source, width, height, NULL, NULL);
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < 10; i++) {
                if (list[side][i]) CHECK(!memcmp(one[side][i].mem, both[side][i].mem, one[side][i].size + 2 * GUARDED));
                else CHECK(one[side][i].mem[GUARDED] == 0xA5);
                free(one[side][i].mem);
                free(both[side][i].mem);
            }
    }
    free(px);
    ops_close(&o);
}

TEST(impossible_plans_are_refused)
{
    struct ops_set o;
    ops_open(&o);
    lafs_rng_init(&rng, 5);
    uint8_t *px = random_source(40, 30);
    const uint8_t *src[2] = {px, px};
    int w[2] = {40, 40}, h[2] = {30, 30};
    struct lafs_viewplan p[2] = {
        {.out_size = 20, .ops = 1, .clean_ops = 1, .op = {{LAFS_OP_CROP_BICUBIC, {0, 0, 31, 20}}}},
        {.out_size = 20, .ops = 1, .clean_ops = 1, .op = {{LAFS_OP_CROP_BICUBIC, {0, 0, 30, 20}}}}};
    struct lafs_backend *b[2] = {&o.ref, &o.cpu};
    for (int k = 0; k < 2; k++) {
        struct lafs_err err = {0};
        struct out out[2] = {new_out(20), new_out(20)};
        uint8_t *list[2] = {out[0].mem + GUARDED, out[1].mem + GUARDED};
        b[k]->ops->render(b[k]->dev, 2, p, src, w, h, NULL, list);
        CHECK_INT(b[k]->ops->sync(b[k]->dev, &err), LAFS_BAD_RECORD);
        for (size_t i = 0; i < out[0].size; i++) CHECK(out[0].mem[GUARDED + i] == 0xA5); /* the other one is rendered */
        int changed = 0;
        for (size_t i = 0; i < out[1].size; i++) changed |= out[1].mem[GUARDED + i] != 0xA5;
        CHECK(changed);
        free(out[0].mem);
        free(out[1].mem);
        lafs_backend_close(b[k]);
        CHECK_INT(lafs_backend_open(b[k], k ? "cpu" : "ref", NULL, NULL, &err), LAFS_OK);
    }
    free(px);
    ops_close(&o);
}

TEST_MAIN(random_plans, random_plans_without_vector_extensions, large_sources, drawn_plans, hue_of_every_colour,
          blends_by_difficult_factors, only_what_is_asked, impossible_plans_are_refused)
