/* Drawing of view plans: spec "Stage 2" and "Augmentation, exactly". The order of draws is part of every result: a
 * change here changes what a seed means. */
#include "image/viewplan.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void add(struct lafs_viewplan *p, int kind, double a0, double a1, double a2, double a3)
{
    p->op[p->ops++] = (struct lafs_view_op){kind, {(float)a0, (float)a1, (float)a2, (float)a3}};
}

static int chance(struct lafs_rng *r, double p) { return lafs_rng_double(r) < p; }

static double log_uniform(struct lafs_rng *r, double lo, double hi)
{
    return exp(lafs_rng_uniform(r, log(lo), log(hi)));
}

/* a: top, left, height, width. Ten tries; then, as torchvision does, the largest centred part of a permitted ratio: of
 * a square image the whole. */
static void resized_crop(struct lafs_rng *r, int w, int h, const float scale[2], double a[4])
{
    const double lo = 3.0 / 4, hi = 4.0 / 3;
    for (int i = 0; i < 10; i++) {
        double area = (double)w * h * lafs_rng_uniform(r, scale[0], scale[1]), ratio = log_uniform(r, lo, hi);
        double cw = rint(sqrt(area * ratio)), ch = rint(sqrt(area / ratio));
        if (cw < 1 || ch < 1 || cw > w || ch > h) continue;
        a[0] = (double)lafs_rng_below(r, (uint64_t)(h - (int)ch) + 1);
        a[1] = (double)lafs_rng_below(r, (uint64_t)(w - (int)cw) + 1);
        a[2] = ch;
        a[3] = cw;
        return;
    }
    double cw = w, ch = h;
    if (cw / ch < lo) ch = fmin(rint(cw / lo), h);
    else if (cw / ch > hi) cw = fmin(rint(ch * hi), w);
    a[0] = floor((h - ch) / 2);
    a[1] = floor((w - cw) / 2);
    a[2] = ch;
    a[3] = cw;
}

/* Brightness, contrast, saturation by v[0..2], hue by v[3], in random order. */
static void jitter(struct lafs_rng *r, struct lafs_viewplan *p, const double v[4])
{
    static const int kind[4] = {LAFS_OP_BRIGHTNESS, LAFS_OP_CONTRAST, LAFS_OP_SATURATION, LAFS_OP_HUE};
    int order[4] = {0, 1, 2, 3};
    double factor[4];
    for (int i = 3; i > 0; i--) {
        int k = (int)lafs_rng_below(r, (uint64_t)i + 1), t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    for (int i = 0; i < 4; i++)
        factor[i] = i < 3 ? lafs_rng_uniform(r, 1 - v[i], 1 + v[i]) : lafs_rng_uniform(r, -v[3], v[3]);
    for (int i = 0; i < 4; i++) add(p, kind[order[i]], factor[order[i]], 0, 0, 0);
}

/* -- pretraining -- */

void lafs_pretrain_views_default(struct lafs_pretrain_views *v, int method_dino)
{
    *v = (struct lafs_pretrain_views){
        .method_dino = method_dino, .globals = 2, .locals = 8, .size = 112, .global_scale = {0.4f, 1},
        .local_size = method_dino ? 48 : 112, .local_scale = {method_dino ? 0.05f : 0.4f, method_dino ? 0.4f : 1}};
}

static void plan_view(const struct lafs_pretrain_views *v, int w, int h, int view, struct lafs_rng *r,
                      struct lafs_viewplan *p)
{
    static const double amount[4] = {0.4, 0.4, 0.2, 0.1};
    int local = view >= v->globals, second = !local && view > 0;
    memset(p, 0, sizeof *p);
    p->kind = local ? LAFS_VIEW_LOCAL : LAFS_VIEW_GLOBAL;
    p->out_size = local ? v->local_size : v->size;
    double a[4];
    resized_crop(r, w, h, local ? v->local_scale : v->global_scale, a);
    add(p, LAFS_OP_CROP_BICUBIC, a[0], a[1], a[2], a[3]);
    if (chance(r, 0.5)) add(p, LAFS_OP_FLIP, 0, 0, 0, 0);
    p->clean_ops = p->ops;
    if (chance(r, 0.8)) jitter(r, p, amount);
    if (chance(r, 0.2)) add(p, LAFS_OP_GRAY, 0, 0, 0, 0);
    if (chance(r, local ? 0.5 : second ? 0.1 : 1.0)) add(p, LAFS_OP_BLUR, lafs_rng_uniform(r, 0.1, 2), 0, 0, 0);
    if (second && chance(r, 0.2)) add(p, LAFS_OP_SOLARIZE, 0, 0, 0, 0);
}

void lafs_plan_pretrain(const struct lafs_pretrain_views *v, int w, int h, uint64_t seed, int64_t epoch,
                        const char *key, struct lafs_viewplan *plan)
{
    uint64_t hash = lafs_fnv1a(key, strlen(key));
    for (int i = 0; i < v->globals + v->locals; i++) {
        struct lafs_rng r;
        lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_VIEW, (uint64_t)epoch, hash, (uint64_t)i));
        plan_view(v, w, h, i, &r, &plan[i]);
    }
}

/* -- fine-tuning -- */

void lafs_train_views_default(struct lafs_train_views *v)
{
    *v = (struct lafs_train_views){
        .size = 112, .flip = 1, .randaugment_m = 1, .crop_scale_min = 0.9f, .jitter = 0.1f, .erase_p = 0.5f};
}

/* One operation of `rand-m1-mstd0.5-inc1` on an image of w x h, applied with p 0.5. */
static void randaugment(struct lafs_rng *r, double magnitude, int w, int h, struct lafs_viewplan *p)
{
    static const int kind[13] = {LAFS_OP_ROTATE,      LAFS_OP_SHEAR_X,   LAFS_OP_SHEAR_Y,      LAFS_OP_TRANSLATE_X,
                                 LAFS_OP_TRANSLATE_Y, LAFS_OP_POSTERIZE, LAFS_OP_SATURATION,   LAFS_OP_CONTRAST,
                                 LAFS_OP_BRIGHTNESS,  LAFS_OP_SHARPNESS, LAFS_OP_AUTOCONTRAST, LAFS_OP_EQUALIZE,
                                 LAFS_OP_INVERT};
    int k = kind[lafs_rng_below(r, 13)];
    if (!chance(r, 0.5)) return;
    double m = fmin(fmax(magnitude + 0.5 * lafs_rng_normal(r), 0), 10), sign = chance(r, 0.5) ? -1 : 1;
    int cubic = chance(r, 0.5);
    double a = 0;
    switch (k) {
    case LAFS_OP_ROTATE: a = sign * 3 * m; break;
    case LAFS_OP_SHEAR_X:
    case LAFS_OP_SHEAR_Y: a = sign * 0.03 * m; break;
    case LAFS_OP_TRANSLATE_X: a = sign * 0.045 * m * w; break;
    case LAFS_OP_TRANSLATE_Y: a = sign * 0.045 * m * h; break;
    case LAFS_OP_POSTERIZE: a = 4 - floor(0.4 * m); break;
    case LAFS_OP_SATURATION:
    case LAFS_OP_CONTRAST:
    case LAFS_OP_BRIGHTNESS:
    case LAFS_OP_SHARPNESS: a = 1 + sign * 0.09 * m; break;
    default: break;
    }
    add(p, k, a, k <= LAFS_OP_TRANSLATE_Y && k >= LAFS_OP_ROTATE ? cubic : 0, 0, 0);
}

static void erase(struct lafs_rng *r, int size, struct lafs_viewplan *p)
{
    for (int i = 0; i < 10; i++) {
        double area = (double)size * size * lafs_rng_uniform(r, 0.02, 0.1), ratio = log_uniform(r, 0.3, 3.3);
        double h = rint(sqrt(area * ratio)), w = rint(sqrt(area / ratio));
        if (h < 1 || w < 1 || h >= size || w >= size) continue;
        double top = (double)lafs_rng_below(r, (uint64_t)(size - (int)h) + 1);
        double left = (double)lafs_rng_below(r, (uint64_t)(size - (int)w) + 1);
        add(p, LAFS_OP_ERASE, top, left, h, w);
        return;
    }
}

void lafs_plan_train(const struct lafs_train_views *v, int w, int h, uint64_t seed, int64_t epoch, const char *key,
                     struct lafs_viewplan *plan)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_VIEW, (uint64_t)epoch, lafs_fnv1a(key, strlen(key)), 0));
    memset(plan, 0, sizeof *plan);
    plan->kind = LAFS_VIEW_TRAIN;
    plan->out_size = v->size;
    if (v->flip && chance(&r, 0.5)) add(plan, LAFS_OP_FLIP, 0, 0, 0, 0);
    if (v->randaugment_m >= 0)
        for (int i = 0; i < 2; i++) randaugment(&r, v->randaugment_m, w, h, plan);
    double a[4] = {0, 0, h, w};
    if (v->crop_scale_min < 1) resized_crop(&r, w, h, (float[2]){v->crop_scale_min, 1}, a);
    if (v->crop_scale_min < 1 || w != v->size || h != v->size) add(plan, LAFS_OP_CROP_BILINEAR, a[0], a[1], a[2], a[3]);
    const double hue = v->jitter < 0.5f ? v->jitter : 0.5; /* half way round is all the way */
    if (v->jitter > 0) jitter(&r, plan, (double[4]){v->jitter, v->jitter, v->jitter, hue});
    if (v->erase_p > 0 && chance(&r, v->erase_p)) erase(&r, v->size, plan);
    plan->clean_ops = plan->ops; /* nothing is read off a clean crop here */
}

/* -- landmarks -- */

static struct lafs_rng perturbation(uint64_t seed, int64_t epoch, const char *key, int view)
{
    struct lafs_rng r;
    uint64_t hash = lafs_fnv1a(key, strlen(key));
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_PERTURB, (uint64_t)epoch, hash, (uint64_t)view));
    return r;
}

void lafs_plan_subset(int R, int subset, uint64_t seed, int64_t epoch, const char *key, int view, int32_t *index)
{
    struct lafs_rng r = perturbation(seed, epoch, key, view);
    lafs_rng_seek(&r, 2 * (uint64_t)R); /* behind two normals a landmark */
    for (int i = 0; i < subset; i++) index[i] = (int32_t)lafs_rng_below(&r, (uint64_t)R);
}

void lafs_plan_noise(float sigma, int n, const int32_t *index, uint64_t seed, int64_t epoch, const char *key, int view,
                     float *noise)
{
    struct lafs_rng r = perturbation(seed, epoch, key, view);
    for (int i = 0; i < n; i++) {
        if (index) lafs_rng_seek(&r, 2 * (uint64_t)index[i]);
        noise[2 * i] = (float)(sigma * lafs_rng_normal(&r));
        noise[2 * i + 1] = (float)(sigma * lafs_rng_normal(&r));
    }
}

/* -- checking -- */

static int whole(float v, double lo, double hi) { return v >= lo && v <= hi && v == rintf(v); }

/* A box top, left, height, width inside w x h (0: not known). */
static int box_fits(const float a[4], int w, int h)
{
    if (!whole(a[0], 0, 65500) || !whole(a[1], 0, 65500) || !whole(a[2], 1, 65500) || !whole(a[3], 1, 65500)) return 0;
    return (w == 0 || (double)a[1] + a[3] <= w) && (h == 0 || (double)a[0] + a[2] <= h);
}

static int op_fits(const struct lafs_view_op *op, int w, int h)
{
    double v = op->a[0];
    switch (op->kind) {
    case LAFS_OP_CROP_BICUBIC:
    case LAFS_OP_CROP_BILINEAR:
    case LAFS_OP_ERASE: return box_fits(op->a, w, h);
    case LAFS_OP_FLIP:
    case LAFS_OP_GRAY:
    case LAFS_OP_SOLARIZE:
    case LAFS_OP_AUTOCONTRAST:
    case LAFS_OP_EQUALIZE:
    case LAFS_OP_INVERT: return 1;
    case LAFS_OP_BRIGHTNESS:
    case LAFS_OP_CONTRAST:
    case LAFS_OP_SATURATION:
    case LAFS_OP_SHARPNESS: return v >= -100 && v <= 100;
    case LAFS_OP_HUE: return v >= -0.5 && v <= 0.5;
    case LAFS_OP_BLUR: return v >= 0 && v <= 32;
    case LAFS_OP_ROTATE: return v >= -360 && v <= 360 && whole(op->a[1], 0, 1);
    case LAFS_OP_SHEAR_X:
    case LAFS_OP_SHEAR_Y: return v >= -10 && v <= 10 && whole(op->a[1], 0, 1);
    case LAFS_OP_TRANSLATE_X:
    case LAFS_OP_TRANSLATE_Y: return v >= -65500 && v <= 65500 && whole(op->a[1], 0, 1);
    case LAFS_OP_POSTERIZE: return whole(op->a[0], 0, 8);
    default: return 0;
    }
}

lafs_status lafs_viewplan_check(const struct lafs_viewplan *p, int w, int h, struct lafs_err *err)
{
    if (p->kind < LAFS_VIEW_GLOBAL || p->kind > LAFS_VIEW_TRAIN)
        return lafs_fail(err, LAFS_BAD_RECORD, "a view of unknown kind %d", p->kind);
    if (p->out_size < 1 || p->out_size > LAFS_VIEW_MAX_SIZE)
        return lafs_fail(err, LAFS_BAD_RECORD, "a view of %d pixels", p->out_size);
    if (p->ops < 0 || p->ops > LAFS_VIEW_MAX_OPS || p->clean_ops < 0 || p->clean_ops > p->ops)
        return lafs_fail(err, LAFS_BAD_RECORD, "a view with %d operations, %d of them clean", p->ops, p->clean_ops);
    if (w < 0 || h < 0 || (w == 0) != (h == 0))
        return lafs_fail(err, LAFS_BAD_RECORD, "a view of a source of %d x %d", w, h);
    for (int i = 0;; i++) {
        if ((i == p->clean_ops || i == p->ops) && w != 0 && (w != p->out_size || h != p->out_size))
            return lafs_fail(err, LAFS_BAD_RECORD, "a view of %d pixels whose operations give %d x %d", p->out_size, w,
                             h);
        if (i == p->ops) return LAFS_OK;
        const struct lafs_view_op *op = &p->op[i];
        if (!op_fits(op, w, h))
            return lafs_fail(err, LAFS_BAD_RECORD, "a view's operation %d (kind %d) has impossible parameters", i + 1,
                             op->kind);
        if (op->kind == LAFS_OP_CROP_BICUBIC || op->kind == LAFS_OP_CROP_BILINEAR) w = h = p->out_size;
    }
}
