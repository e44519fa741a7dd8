/* Statistics of the drawn plans against spec "Stage 2" and "Augmentation, exactly". Tolerances are 4.5 standard
 * deviations of the estimate, seeds are fixed: a failure is a defect, not chance. */
#include "tests/test.h"

#include "base/rng.h"
#include "image/viewplan.h"

enum { N = 20000, SIDE = 112 };

/* Of n draws with probability p, k came true. */
#define CHECK_SHARE(k, n, p)                                                                              \
    do {                                                                                                  \
        double n_ = (n), got_ = (k) / n_;                                                                 \
        if (!(fabs(got_ - (p)) <= 4.5 * sqrt((p) * (1 - (p)) / n_))) FAIL_("%s: %g, not %g", #k, got_, (double)(p)); \
    } while (0)
/* Of n uniform values on [lo, hi): mean, variance and extremes. */
struct spread {
    double n, sum, sq, lo, hi;
};
static void see(struct spread *s, double v)
{
    if (s->n == 0) s->lo = s->hi = v;
    s->n++, s->sum += v, s->sq += v * v;
    s->lo = fmin(s->lo, v), s->hi = fmax(s->hi, v);
}
static void check_uniform(const char *what, const struct spread *s, double lo, double hi)
{
    double w = hi - lo, mean = s->sum / s->n, var = s->sq / s->n - mean * mean;
    if (!(s->n > 500)) FAIL_("%s: only %g draws", what, s->n);
    if (!(s->lo >= lo - 1e-6 && s->hi <= hi + 1e-6)) FAIL_("%s: %g..%g outside %g..%g", what, s->lo, s->hi, lo, hi);
    if (!(s->lo < lo + 12 * w / s->n && s->hi > hi - 12 * w / s->n))
        FAIL_("%s: %g..%g does not reach %g..%g", what, s->lo, s->hi, lo, hi);
    if (!(fabs(mean - (lo + hi) / 2) < 4.5 * w / sqrt(12 * s->n))) FAIL_("%s: mean %g", what, mean);
    if (!(fabs(var / (w * w / 12) - 1) < 4.5 * sqrt(0.8 / s->n))) FAIL_("%s: variance %g", what, var);
}

static const struct lafs_view_op *find(const struct lafs_viewplan *p, int kind)
{
    for (int i = 0; i < p->ops; i++)
        if (p->op[i].kind == kind) return &p->op[i];
    return NULL;
}

static const char *key_of(int i)
{
    static char key[32];
    snprintf(key, sizeof key, "person/%d", i);
    return key;
}

struct tally {
    double n, flip, jitter, gray, blur, solar;
    double order[24];
    struct spread bright, contrast, satur, hue, sigma, area, ratio;
};

static int order_number(const struct lafs_viewplan *p)
{
    int at = 0, seen[4] = {0}, pos[4] = {0};
    for (int i = 0; i < p->ops; i++)
        if (p->op[i].kind >= LAFS_OP_BRIGHTNESS && p->op[i].kind <= LAFS_OP_HUE) {
            int k = p->op[i].kind - LAFS_OP_BRIGHTNESS;
            seen[k]++, pos[at++ & 3] = k;
        }
    if (at != 4 || seen[0] != 1 || seen[1] != 1 || seen[2] != 1 || seen[3] != 1) return -1;
    int number = 0;
    for (int i = 0; i < 4; i++) {
        int less = 0;
        for (int j = i + 1; j < 4; j++) less += pos[j] < pos[i];
        number = number * (4 - i) + less;
    }
    return number;
}

static void count_view(struct tally *t, const struct lafs_viewplan *p)
{
    struct lafs_err err = {0};
    const struct lafs_view_op *o;
    if (lafs_viewplan_check(p, SIDE, SIDE, &err) != LAFS_OK) FAIL_("%s", err.msg);
    t->n++;
    CHECK_INT(p->op[0].kind, LAFS_OP_CROP_BICUBIC);
    see(&t->area, (double)p->op[0].a[2] * p->op[0].a[3] / (SIDE * SIDE));
    see(&t->ratio, log(p->op[0].a[3] / p->op[0].a[2]));
    t->flip += p->op[1].kind == LAFS_OP_FLIP;
    CHECK_INT(p->clean_ops, p->ops > 1 && p->op[1].kind == LAFS_OP_FLIP ? 2 : 1);
    if ((o = find(p, LAFS_OP_BRIGHTNESS))) {
        see(&t->bright, o->a[0]);
        see(&t->contrast, find(p, LAFS_OP_CONTRAST)->a[0]);
        see(&t->satur, find(p, LAFS_OP_SATURATION)->a[0]);
        see(&t->hue, find(p, LAFS_OP_HUE)->a[0]);
        t->jitter++;
        int k = order_number(p);
        if (k < 0) FAIL_("jitter is not four different operations");
        else t->order[k]++;
    }
    t->gray += find(p, LAFS_OP_GRAY) != NULL;
    if ((o = find(p, LAFS_OP_BLUR))) t->blur++, see(&t->sigma, o->a[0]);
    t->solar += find(p, LAFS_OP_SOLARIZE) != NULL;
    /* Order: crop, flip, jitter, grey, blur, solarise; each group once. */
    int stage = 0;
    for (int i = 0; i < p->ops; i++) {
        int k = p->op[i].kind;
        int s = k == LAFS_OP_CROP_BICUBIC ? 1
                : k == LAFS_OP_FLIP       ? 2
                : k <= LAFS_OP_HUE        ? 3
                : k == LAFS_OP_GRAY       ? 4
                : k == LAFS_OP_BLUR       ? 5
                                          : 6;
        if (s < stage || (s == stage && s != 3)) FAIL_("operation %d out of order", k);
        stage = s;
    }
}

static void check_tally(const struct tally *t, double blur, double solar)
{
    CHECK_SHARE(t->flip, t->n, 0.5);
    CHECK_SHARE(t->jitter, t->n, 0.8);
    CHECK_SHARE(t->gray, t->n, 0.2);
    CHECK_SHARE(t->blur, t->n, blur);
    CHECK_SHARE(t->solar, t->n, solar);
    for (int i = 0; i < 24; i++) CHECK_SHARE(t->order[i], t->jitter, 1.0 / 24);
    check_uniform("brightness", &t->bright, 0.6, 1.4);
    check_uniform("contrast", &t->contrast, 0.6, 1.4);
    check_uniform("saturation", &t->satur, 0.8, 1.2);
    check_uniform("hue", &t->hue, -0.1, 0.1);
    check_uniform("sigma", &t->sigma, 0.1, 2);
}

static struct lafs_viewplan plans[64];

TEST(lafs_views)
{
    static struct tally first, second, local;
    struct lafs_pretrain_views v;
    lafs_pretrain_views_default(&v, 0);
    CHECK(v.globals == 2 && v.locals == 8 && v.size == 112 && v.local_size == 112);
    for (int i = 0; i < N; i++) {
        lafs_plan_pretrain(&v, SIDE, SIDE, 1, i % 3, key_of(i), plans);
        for (int k = 0; k < 10; k++) {
            CHECK_INT(plans[k].kind, k < 2 ? LAFS_VIEW_GLOBAL : LAFS_VIEW_LOCAL);
            CHECK_INT(plans[k].out_size, 112);
            if (k < 4) count_view(k == 0 ? &first : k == 1 ? &second : &local, &plans[k]);
        }
    }
    check_tally(&first, 1, 0);
    check_tally(&second, 0.1, 0.2);
    check_tally(&local, 0.5, 0);
}

/* The crop's distribution, against a second drawing of the rule itself: rejection changes it near the whole image. */
static void crop_truth(double lo, double hi, struct spread *area, struct spread *ratio, double *full)
{
    struct lafs_rng r;
    lafs_rng_init(&r, 77);
    for (int i = 0; i < 100000; i++) {
        double w = SIDE, h = SIDE;
        int t = 0;
        for (; t < 10; t++) {
            double a = SIDE * SIDE * lafs_rng_uniform(&r, lo, hi),
                   q = exp(lafs_rng_uniform(&r, log(0.75), log(4.0 / 3)));
            w = rint(sqrt(a * q)), h = rint(sqrt(a / q));
            if (w <= SIDE && h <= SIDE) break;
        }
        if (t == 10) w = h = SIDE;
        see(area, w * h / (SIDE * SIDE));
        see(ratio, log(w / h));
        *full += w == SIDE && h == SIDE;
    }
}

TEST(crops)
{
    struct lafs_pretrain_views v;
    for (int dino = 0; dino < 2; dino++) {
        lafs_pretrain_views_default(&v, dino);
        struct spread area[2] = {{0}}, ratio[2] = {{0}}, left = {0}, top = {0};
        double full = 0;
        for (int i = 0; i < N / 2; i++) {
            lafs_plan_pretrain(&v, SIDE, SIDE, 3, 0, key_of(i), plans);
            const float *a = plans[2].op[0].a;
            see(&area[0], (double)a[2] * a[3] / (SIDE * SIDE));
            see(&ratio[0], log(a[3] / a[2]));
            CHECK(a[0] >= 0 && a[1] >= 0 && a[0] + a[2] <= SIDE && a[1] + a[3] <= SIDE);
            if (a[3] < SIDE) see(&left, (a[1] + 0.5) / (SIDE - a[3] + 1));
            if (a[2] < SIDE) see(&top, (a[0] + 0.5) / (SIDE - a[2] + 1));
        }
        crop_truth(dino ? 0.05 : 0.4, dino ? 0.4 : 1, &area[1], &ratio[1], &full);
        for (int k = 0; k < 2; k++) {
            struct spread *s = k ? ratio : area;
            double m0 = s[0].sum / s[0].n, m1 = s[1].sum / s[1].n, v0 = s[0].sq / s[0].n - m0 * m0,
                   v1 = s[1].sq / s[1].n - m1 * m1;
            CHECK_NEAR(m0, m1, 4.5 * sqrt(v1 * (1 / s[0].n + 1 / s[1].n)));
            CHECK_NEAR(v0 / v1, 1, 0.06);
            CHECK_NEAR(s[0].lo, s[1].lo, 0.02);
            CHECK_NEAR(s[0].hi, s[1].hi, 0.02);
        }
        CHECK_NEAR(left.sum / left.n, 0.5, 4.5 * sqrt(1.0 / 12 / left.n));
        CHECK_NEAR(top.sum / top.n, 0.5, 4.5 * sqrt(1.0 / 12 / top.n));
    }
}

TEST(dino_views)
{
    static struct tally local;
    struct lafs_pretrain_views v;
    lafs_pretrain_views_default(&v, 1);
    CHECK_INT(v.local_size, 48);
    for (int i = 0; i < 4000; i++) {
        lafs_plan_pretrain(&v, SIDE, SIDE, 1, 0, key_of(i), plans);
        for (int k = 2; k < 10; k++) {
            CHECK_INT(plans[k].out_size, 48);
            count_view(&local, &plans[k]);
        }
        CHECK_INT(plans[0].out_size, 112);
    }
    check_tally(&local, 0.5, 0);
}

TEST(odd_sources)
{
    static const int side[][2] = {{1, 1}, {2, 3}, {500, 20}, {20, 500}, {1, 65500}, {65500, 65500}, {250, 200}};
    struct lafs_pretrain_views v;
    struct lafs_train_views t;
    struct lafs_err err = {0};
    lafs_train_views_default(&t);
    for (int s = 0; s < 7; s++)
        for (int i = 0; i < 300; i++) {
            lafs_pretrain_views_default(&v, i & 1);
            lafs_plan_pretrain(&v, side[s][0], side[s][1], 5, i, "k", plans);
            for (int k = 0; k < 10; k++)
                if (lafs_viewplan_check(&plans[k], side[s][0], side[s][1], &err) != LAFS_OK)
                    FAIL_("%d x %d: %s", side[s][0], side[s][1], err.msg);
            lafs_plan_train(&t, side[s][0], side[s][1], 5, i, "k", plans);
            if (lafs_viewplan_check(plans, side[s][0], side[s][1], &err) != LAFS_OK)
                FAIL_("%d x %d: %s", side[s][0], side[s][1], err.msg);
        }
}

/* No part of a strip has the area and a permitted ratio: the largest one of such a ratio is taken, from its middle. */
TEST(strips)
{
    struct lafs_pretrain_views v;
    lafs_pretrain_views_default(&v, 0);
    for (int tall = 0; tall < 2; tall++) {
        lafs_plan_pretrain(&v, tall ? 10 : 400, tall ? 400 : 10, 5, 1, "k", plans);
        const float *a = plans[0].op[0].a, want[4] = {0, 193, 10, 13};
        for (int k = 0; k < 4; k++) CHECK_NEAR(a[k], want[tall ? k ^ 1 : k], 0);
    }
}

TEST(streams)
{
    struct lafs_pretrain_views v;
    struct lafs_viewplan a[10], b[10];
    lafs_pretrain_views_default(&v, 0);
    memset(a, 1, sizeof a);
    memset(b, 2, sizeof b);
    lafs_plan_pretrain(&v, SIDE, SIDE, 9, 4, "x/y", a);
    lafs_plan_pretrain(&v, SIDE, SIDE, 9, 4, "x/y", b);
    CHECK(!memcmp(a, b, sizeof a)); /* every byte is defined */
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < i; j++) CHECK(memcmp(&a[i].op, &a[j].op, sizeof a[i].op));
    v.locals = 3; /* a view does not depend on how many there are */
    lafs_plan_pretrain(&v, SIDE, SIDE, 9, 4, "x/y", b);
    CHECK(!memcmp(a, b, 5 * sizeof *a));
    lafs_plan_pretrain(&v, SIDE, SIDE, 8, 4, "x/y", b);
    CHECK(memcmp(a, b, sizeof *a));
    lafs_plan_pretrain(&v, SIDE, SIDE, 9, 5, "x/y", b);
    CHECK(memcmp(a, b, sizeof *a));
    lafs_plan_pretrain(&v, SIDE, SIDE, 9, 4, "x/z", b);
    CHECK(memcmp(a, b, sizeof *a));
}

TEST(known_plan)
{
    /* What seed 1 means must never change: see also tests/cli/lafs-augment. */
    struct lafs_pretrain_views v;
    lafs_pretrain_views_default(&v, 0);
    lafs_plan_pretrain(&v, SIDE, SIDE, 1, 0, "ann/ann_0001", plans);
    uint64_t h = 0;
    for (int k = 0; k < 10; k++)
        for (int i = 0; i < plans[k].ops; i++) {
            h = h * 31 + (uint64_t)plans[k].op[i].kind;
            if (plans[k].op[i].kind == LAFS_OP_CROP_BICUBIC)
                for (int j = 0; j < 4; j++) h = h * 31 + (uint64_t)plans[k].op[i].a[j];
        }
    if (h != 0x1fc857a575039135u) FAIL_("0x%llx", (unsigned long long)h);
}

/* -- fine-tuning -- */

TEST(train_views)
{
    struct lafs_train_views t;
    lafs_train_views_default(&t);
    double flip = 0, erased = 0, ra[32] = {0}, ra_n = 0, cubic = 0, geo = 0;
    struct spread hue = {0}, area = {0}, earea = {0}, eratio = {0}, bright = {0}, rot = {0}, ratio = {0};
    for (int i = 0; i < 2 * N; i++) {
        struct lafs_viewplan p;
        struct lafs_err err = {0};
        lafs_plan_train(&t, SIDE, SIDE, 2, 1, key_of(i), &p);
        if (lafs_viewplan_check(&p, SIDE, SIDE, &err) != LAFS_OK) FAIL_("%s", err.msg);
        CHECK_INT(p.kind, LAFS_VIEW_TRAIN);
        CHECK_INT(p.clean_ops, p.ops);
        int at = 0, used = 0;
        if (p.op[0].kind == LAFS_OP_FLIP) flip++, at = 1;
        for (; p.op[at].kind != LAFS_OP_CROP_BILINEAR && at < p.ops; at++, used++) {
            int k = p.op[at].kind;
            ra[k]++, ra_n++;
            if (k >= LAFS_OP_ROTATE && k <= LAFS_OP_TRANSLATE_Y) geo++, cubic += p.op[at].a[1];
            if (k == LAFS_OP_ROTATE) see(&rot, p.op[at].a[0]);
        }
        CHECK(used <= 2);
        const float *a = p.op[at].a;
        see(&area, (double)a[2] * a[3] / (SIDE * SIDE));
        see(&ratio, a[3] / a[2]);
        struct lafs_viewplan tail = p;
        memmove(tail.op, p.op + at, (size_t)(p.ops - at) * sizeof *p.op);
        tail.ops = p.ops - at;
        CHECK(order_number(&tail) >= 0);
        see(&bright, find(&tail, LAFS_OP_BRIGHTNESS)->a[0]);
        see(&hue, find(&tail, LAFS_OP_HUE)->a[0]);
        const struct lafs_view_op *e = find(&tail, LAFS_OP_ERASE);
        if (e) {
            erased++;
            CHECK(e == &tail.op[tail.ops - 1]);
            see(&earea, (double)e->a[2] * e->a[3] / (SIDE * SIDE));
            see(&eratio, log(e->a[2] / e->a[3]));
        }
    }
    double n = 2 * N;
    CHECK_SHARE(flip, n, 0.5);
    CHECK_SHARE(erased, n, 0.5);
    CHECK_SHARE(ra_n, 2 * n, 0.5);
    CHECK_SHARE(cubic, geo, 0.5);
    static const int kind[13] = {LAFS_OP_ROTATE,      LAFS_OP_SHEAR_X,   LAFS_OP_SHEAR_Y,      LAFS_OP_TRANSLATE_X,
                                 LAFS_OP_TRANSLATE_Y, LAFS_OP_POSTERIZE, LAFS_OP_SATURATION,   LAFS_OP_CONTRAST,
                                 LAFS_OP_BRIGHTNESS,  LAFS_OP_SHARPNESS, LAFS_OP_AUTOCONTRAST, LAFS_OP_EQUALIZE,
                                 LAFS_OP_INVERT};
    for (int i = 0; i < 13; i++) CHECK_SHARE(ra[kind[i]], ra_n, 1.0 / 13);
    check_uniform("brightness", &bright, 0.9, 1.1);
    check_uniform("hue", &hue, -0.1, 0.1);
    CHECK_NEAR(earea.sum / earea.n, 0.06, 0.001); /* sides are whole pixels, so not quite uniform */
    CHECK(earea.lo > 0.0175 && earea.lo < 0.021 && earea.hi < 0.105 && earea.hi > 0.099);
    CHECK_NEAR(eratio.sum / eratio.n, (log(0.3) + log(3.3)) / 2, 0.025);
    CHECK_NEAR(eratio.lo, log(0.3), 0.06);
    CHECK_NEAR(eratio.hi, log(3.3), 0.06);
    CHECK(area.lo > 0.89 && area.hi == 1 && ratio.lo > 0.79 && ratio.hi < 1.26);
    /* Rotation +-3m degrees, m = clip(N(1, 0.5^2), 0, 10): second moment 9 E[m^2], symmetric. */
    double m2 = rot.sq / rot.n / 9;
    CHECK_NEAR(m2, 1.25, 0.08);
    CHECK_NEAR(rot.sum / rot.n, 0, 0.25);
}

TEST(train_streams)
{
    struct lafs_train_views t;
    struct lafs_viewplan a, b;
    lafs_train_views_default(&t);
    memset(&a, 1, sizeof a);
    memset(&b, 2, sizeof b);
    lafs_plan_train(&t, SIDE, SIDE, 9, 4, "x/y", &a);
    lafs_plan_train(&t, SIDE, SIDE, 9, 4, "x/y", &b);
    CHECK(!memcmp(&a, &b, sizeof a)); /* every byte is defined */
    lafs_plan_train(&t, SIDE, SIDE, 8, 4, "x/y", &b);
    CHECK(memcmp(&a, &b, sizeof a));
    lafs_plan_train(&t, SIDE, SIDE, 9, 5, "x/y", &b);
    CHECK(memcmp(&a, &b, sizeof a));
    lafs_plan_train(&t, SIDE, SIDE, 9, 4, "x/z", &b);
    CHECK(memcmp(&a, &b, sizeof a));
}

/* Every parameter of a RandAugment operation as a function of m, over many draws. */
TEST(randaugment_amounts)
{
    static const struct { int kind; double centre, slope;
    } rule[] = {{LAFS_OP_ROTATE, 0, 3},
                {LAFS_OP_SHEAR_X, 0, 0.03},
                {LAFS_OP_SHEAR_Y, 0, 0.03},
                {LAFS_OP_TRANSLATE_X, 0, 0.045 * 112},
                {LAFS_OP_TRANSLATE_Y, 0, 0.045 * 112},
                {LAFS_OP_SATURATION, 1, 0.09},
                {LAFS_OP_CONTRAST, 1, 0.09},
                {LAFS_OP_BRIGHTNESS, 1, 0.09},
                {LAFS_OP_SHARPNESS, 1, 0.09}};
    struct lafs_train_views t;
    lafs_train_views_default(&t);
    t.jitter = t.erase_p = 0;
    t.flip = 0;
    t.crop_scale_min = 1;
    for (int big = 0; big < 2; big++) {
        t.randaugment_m = big ? 2 : 1;
        struct spread m[9] = {{0}};
        double plus[9] = {0}, bits[9] = {0}, posters = 0;
        for (int i = 0; i < 2 * N; i++) {
            struct lafs_viewplan p;
            lafs_plan_train(&t, SIDE, SIDE, 4, 0, key_of(i), &p);
            CHECK(p.ops <= 2);
            for (int k = 0; k < p.ops; k++) {
                if (p.op[k].kind == LAFS_OP_POSTERIZE) posters++, bits[(int)p.op[k].a[0]]++;
                for (int q = 0; q < 9; q++)
                    if (p.op[k].kind == rule[q].kind) {
                        double v = (p.op[k].a[0] - rule[q].centre) / rule[q].slope;
                        see(&m[q], fabs(v));
                        plus[q] += v > 0;
                    }
            }
        }
        for (int q = 0; q < 9; q++) {
            double mean = m[q].sum / m[q].n, var = m[q].sq / m[q].n - mean * mean;
            /* N(1, .25) clipped at 0 has mean 1.0042 and variance 0.2388; N(2, .25): 2.0000, 0.2499 */
            CHECK_NEAR(mean, big ? 2.0 : 1.0042, 0.05);
            CHECK_NEAR(var, big ? 0.25 : 0.239, 0.025);
            CHECK_SHARE(plus[q], m[q].n, big ? 0.5 : 0.4886); /* m = 0 counts as not positive: 2.28 % of the draws */
        }
        /* Bits kept: 4 - floor(0.4 m): 4 for m < 2.5. */
        double four = big ? 0.8413 : 0.99865;
        CHECK_NEAR(bits[4] / posters, four, 0.02);
        CHECK_NEAR((bits[4] + bits[3]) / posters, 1, 0.001);
    }
}

TEST(train_parts_can_be_off)
{
    struct lafs_train_views t = {
        .size = 112, .flip = 0, .randaugment_m = -1, .crop_scale_min = 1, .jitter = 0, .erase_p = 0};
    struct lafs_viewplan p;
    for (int i = 0; i < 50; i++) {
        lafs_plan_train(&t, 112, 112, 1, i, "a", &p);
        CHECK_INT(p.ops, 0);
        lafs_plan_train(&t, 224, 224, 1, i, "a", &p);
        CHECK(p.ops == 1 && p.op[0].kind == LAFS_OP_CROP_BILINEAR && p.op[0].a[2] == 224);
    }
}

TEST(all_that_can_be_asked_for_can_be_done)
{
    struct lafs_train_views t = {
        .size = 112, .flip = 1, .randaugment_m = 10, .crop_scale_min = 0.01f, .jitter = 1, .erase_p = 1};
    struct lafs_viewplan p;
    struct lafs_err err = {0};
    double most = 0;
    for (int i = 0; i < 500; i++) {
        lafs_plan_train(&t, 112, 112, 1, i, "a", &p);
        if (lafs_viewplan_check(&p, 112, 112, &err) != LAFS_OK) FAIL_("%s", err.msg);
        for (int k = 0; k < p.ops; k++)
            if (p.op[k].kind == LAFS_OP_HUE) most = fmax(most, fabsf(p.op[k].a[0]));
    }
    CHECK(most > 0.45 && most <= 0.5);
}

/* -- landmarks -- */

TEST(landmarks)
{
    enum { R = 196, S = 36, T = 600 };
    static float noise[2 * R];
    static double hits[R];
    int32_t index[S];
    double n = 0, sum = 0, sq = 0, quad = 0, repeats = 0;
    for (int t = 0; t < T; t++) {
        lafs_plan_noise(5, R, NULL, 1, 0, key_of(t), t % 10, noise);
        lafs_plan_subset(R, S, 1, 0, key_of(t), t % 10, index);
        for (int i = 0; i < 2 * R; i++) n++, sum += noise[i], sq += noise[i] * noise[i], quad += pow(noise[i], 4);
        int seen[R] = {0};
        for (int i = 0; i < S; i++) {
            CHECK(index[i] >= 0 && index[i] < R);
            hits[index[i]]++;
            repeats += seen[index[i]]++ > 0;
        }
    }
    CHECK_NEAR(sum / n, 0, 4.5 * 5 / sqrt(n));
    CHECK_NEAR(sq / n, 25, 4.5 * 25 * sqrt(2 / n));
    CHECK_NEAR(quad / n / (sq / n) / (sq / n), 3, 0.05);
    for (int i = 0; i < R; i++) CHECK_SHARE(hits[i], (double)T * S, 1.0 / R);
    CHECK_NEAR(repeats / T, S - R * (1 - pow(1 - 1.0 / R, S)), 0.35); /* with replacement */
    float other[2 * R], same[2 * R];
    lafs_plan_noise(5, R, NULL, 1, 0, "k", 0, other);
    lafs_plan_noise(5, R, NULL, 1, 0, "k", 0, same);
    CHECK(!memcmp(other, same, sizeof same));
    lafs_plan_noise(5, R, NULL, 1, 0, "k", 1, same);
    CHECK(memcmp(other, same, sizeof same));
    /* One stream: the noise of all, then the subset; parts of it are what they are in the whole. */
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_PERTURB, 0, lafs_fnv1a("k", 1), 0));
    for (int i = 0; i < 2 * R; i++) CHECK(other[i] == (float)(5 * lafs_rng_normal(&r)));
    lafs_plan_subset(R, S, 1, 0, "k", 0, index);
    for (int i = 0; i < S; i++) CHECK_INT(index[i], (int)lafs_rng_below(&r, R));
    lafs_plan_noise(5, S, index, 1, 0, "k", 0, same);
    for (int i = 0; i < S; i++) CHECK(!memcmp(same + 2 * i, other + 2 * index[i], 2 * sizeof *same));
}

/* -- checking -- */

TEST(check_refuses)
{
    struct lafs_viewplan good = {.kind = LAFS_VIEW_GLOBAL, .out_size = 112, .clean_ops = 1, .ops = 2,
                                 .op = {{LAFS_OP_CROP_BICUBIC, {5, 9, 97, 88}}, {LAFS_OP_BLUR, {1.3f}}}}, p;
    struct lafs_err err = {0};
    CHECK_INT(lafs_viewplan_check(&good, 112, 112, &err), LAFS_OK);
    CHECK_INT(lafs_viewplan_check(&good, 0, 0, &err), LAFS_OK);
    CHECK_INT(lafs_viewplan_check(&good, 96, 112, &err), LAFS_BAD_RECORD);
    CHECK_INT(lafs_viewplan_check(&good, 112, 101, &err), LAFS_BAD_RECORD);
#define BAD(change)                                                                                                    \
    do {                                                                                                               \
        p = good;                                                                                                      \
        change;                                                                                                        \
        CHECK_INT(lafs_viewplan_check(&p, 112, 112, &err), LAFS_BAD_RECORD);                                           \
    } while (0)
    BAD(p.kind = 3);
    BAD(p.kind = -1);
    BAD(p.out_size = 0);
    BAD(p.out_size = LAFS_VIEW_MAX_SIZE + 1);
    BAD(p.ops = LAFS_VIEW_MAX_OPS + 1);
    BAD(p.ops = -1);
    BAD(p.clean_ops = 3);
    BAD(p.out_size = 48; p.clean_ops = 0);
    BAD(p.op[0].kind = 0);
    BAD(p.op[0].kind = 99);
    BAD(p.op[0].a[0] = -1);
    BAD(p.op[0].a[0] = 0.5f);
    BAD(p.op[0].a[2] = 0);
    BAD(p.op[0].a[3] = NAN);
    BAD(p.op[1].a[0] = NAN);
    BAD(p.op[1].a[0] = -0.1f);
    BAD(p.op[1].a[0] = 1e30f);
    BAD(p.op[1] = ((struct lafs_view_op){LAFS_OP_HUE, {0.6f}}));
    BAD(p.op[1] = ((struct lafs_view_op){LAFS_OP_POSTERIZE, {9}}));
    BAD(p.op[1] = ((struct lafs_view_op){LAFS_OP_ROTATE, {1, 2}}));
    BAD(p.op[1] = ((struct lafs_view_op){LAFS_OP_ERASE, {100, 100, 13, 5}}));
    BAD(p.op[1] = ((struct lafs_view_op){LAFS_OP_BRIGHTNESS, {INFINITY}}));
}

TEST_MAIN(lafs_views, crops, dino_views, odd_sources, strips, streams, known_plan, train_views, train_streams,
          randaugment_amounts, train_parts_can_be_off, all_that_can_be_asked_for_can_be_done, landmarks, check_refuses)
