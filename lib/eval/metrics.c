#include "eval/metrics.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* -- ROC -- */

static int collinear(const struct lafs_roc_point *a, const struct lafs_roc_point *b, int64_t fp, int64_t tp)
{
    return (b->fp - a->fp) * (tp - b->tp) == (b->tp - a->tp) * (fp - b->fp);
}

/* Appends a corner, or moves the last one when it lies on the line through its neighbours. */
static void roc_push(struct lafs_roc *r, double threshold, int64_t fp, int64_t tp)
{
    if (r->n >= 2 && collinear(r->point + r->n - 2, r->point + r->n - 1, fp, tp)) r->n--;
    r->point[r->n++] = (struct lafs_roc_point){threshold, fp, tp};
}

lafs_status lafs_roc_build(struct lafs_roc *r, const struct lafs_scores *s, struct lafs_err *err)
{
    memset(r, 0, sizeof *r);
    r->genuines = s->genuines;
    r->impostors = s->impostors;
    /* Every genuine score makes at most a step up and the run before it: two corners each, or two an impostor. */
    int64_t few = s->genuines < s->impostors ? s->genuines : s->impostors;
    LAFS_TRY(lafs_alloc(&r->point, (size_t)few * 3 + 3, sizeof *r->point, err));
    r->point[r->n++] = (struct lafs_roc_point){INFINITY, 0, 0};
    int64_t g = s->genuines, i = s->impostors;
    while (g > 0 || i > 0) {
        float t = g == 0 || (i > 0 && s->impostor[i - 1] > s->genuine[g - 1]) ? s->impostor[i - 1] : s->genuine[g - 1];
        while (g > 0 && s->genuine[g - 1] == t) g--;
        while (i > 0 && s->impostor[i - 1] == t) i--;
        roc_push(r, t, s->impostors - i, s->genuines - g);
    }
    return LAFS_OK;
}

void lafs_roc_release(struct lafs_roc *r)
{
    lafs_free(r->point);
    memset(r, 0, sizeof *r);
}

double lafs_roc_auc(const struct lafs_roc *r)
{
    double area = 0;
    for (int64_t k = 1; k < r->n; k++) {
        const struct lafs_roc_point *a = r->point + k - 1, *b = r->point + k;
        area += (double)(b->fp - a->fp) * ((double)(a->tp + b->tp) / 2);
    }
    return area / ((double)r->genuines * (double)r->impostors);
}

double lafs_roc_eer(const struct lafs_roc *r, double *threshold)
{
    double far0 = 0, gap0 = 1; /* FNMR - FMR falls from 1 to -1 */
    for (int64_t k = 1; k < r->n; k++) {
        double far = (double)r->point[k].fp / r->impostors, gap = 1 - (double)r->point[k].tp / r->genuines - far;
        if (gap <= 0) {
            double f = gap0 / (gap0 - gap);
            if (threshold) *threshold = r->point[f < 0.5 && k > 1 ? k - 1 : k].threshold;
            return far0 + f * (far - far0);
        }
        far0 = far;
        gap0 = gap;
    }
    return NAN;
}

struct lafs_roc_point lafs_roc_nearest(const struct lafs_roc *r, double far)
{
    struct lafs_roc_point best = r->point[0];
    double nearest = INFINITY;
    for (int64_t k = 0; k < r->n; k++) {
        double away = fabs((double)r->point[k].fp - far * (double)r->impostors); /* in pairs: ties stay ties */
        if (away > nearest) continue;
        nearest = away; /* fp and tp ascend: among equals the later one has the larger rate, then the higher TAR */
        best = r->point[k];
    }
    return best;
}

/* Number of the first element of x (n, ascending) that is >= t. */
static int64_t lower_bound(const float *x, int64_t n, double t)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if ((double)x[mid] < t) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

struct lafs_operating lafs_rates_at(const struct lafs_scores *s, double threshold)
{
    struct lafs_operating o = {threshold, 0, 0};
    o.fmr = (double)(s->impostors - lower_bound(s->impostor, s->impostors, threshold)) / s->impostors;
    o.fnmr = (double)lower_bound(s->genuine, s->genuines, threshold) / s->genuines;
    return o;
}

struct lafs_operating lafs_operate(const struct lafs_scores *s, double fmr)
{
    /* At most `let` impostors may pass: the threshold must be above the next one. */
    int64_t let = (int64_t)floor(fmr * (double)s->impostors * (1 + 1e-12));
    if (let >= s->impostors) {
        float lo = s->impostor[0] < s->genuine[0] ? s->impostor[0] : s->genuine[0];
        return lafs_rates_at(s, lo);
    }
    float wall = s->impostor[s->impostors - 1 - (let < 0 ? 0 : let)];
    int64_t i = lower_bound(s->impostor, s->impostors, nextafter((double)wall, INFINITY));
    int64_t g = lower_bound(s->genuine, s->genuines, nextafter((double)wall, INFINITY));
    double t = INFINITY; /* the lowest score above the wall */
    if (i < s->impostors) t = s->impostor[i];
    if (g < s->genuines && s->genuine[g] < t) t = s->genuine[g];
    return lafs_rates_at(s, t);
}

/* -- one threshold -- */

lafs_status lafs_fit_threshold(const struct lafs_scores *s, double *threshold, double *accuracy, struct lafs_err *err)
{
    /* Missing photos: genuine pairs at -INFINITY, impostor pairs at INFINITY. */
    int64_t g0 = 0, i1 = s->impostors;
    while (g0 < s->genuines && isinf(s->genuine[g0])) g0++;
    while (i1 > 0 && isinf(s->impostor[i1 - 1])) i1--;
    if (g0 == s->genuines || i1 == 0) return lafs_fail(err, LAFS_USAGE, "no pairs to fit a threshold on");
    int64_t g = s->genuines, i = i1, best = i1; /* cutting above all scores gets all impostors right */
    double above = INFINITY, below = NAN;       /* scores next to the best cut; NAN: not seen yet */
    while (g > g0 || i > 0) {
        float t = g == g0 || (i > 0 && s->impostor[i - 1] > s->genuine[g - 1]) ? s->impostor[i - 1] : s->genuine[g - 1];
        if (isnan(below)) below = t;
        while (g > g0 && s->genuine[g - 1] == t) g--;
        while (i > 0 && s->impostor[i - 1] == t) i--;
        if (s->genuines - g + i > best) {
            best = s->genuines - g + i;
            above = t;
            below = NAN;
        }
    }
    if (isinf(above)) *threshold = nextafter(below, INFINITY);
    else *threshold = isnan(below) ? above : (above + below) / 2;
    if (accuracy) *accuracy = (double)best / (double)(s->genuines - g0 + i1);
    return LAFS_OK;
}

/* -- LFW folds -- */

void lafs_folds_contiguous(int32_t *fold, int64_t n, int folds)
{
    int64_t at = 0;
    for (int f = 0; f < folds; f++)
        for (int64_t k = n / folds + (f < n % folds); k > 0; k--) fold[at++] = f;
}

/* Per fold, how many pairs first pass at which grid threshold: same if d < step*i. Slot `grid` holds those that never
 * do. */
struct fold_counts {
    int folds, grid;
    int64_t *same, *diff;   /* (folds, grid + 1), cumulated: accepted at threshold i; owned, one block */
    int64_t *all;           /* (2, grid + 1) sums over folds */
    int64_t *sames, *diffs; /* (folds) */
    int64_t all_same, all_diff;
};

static int grid_slot(float score, double step, int grid)
{
    double d = 2 - 2 * (double)score;
    if (!(d < step * (grid - 1))) return grid;
    int i = d < 0 ? 0 : (int)(d / step);
    while (!(d < step * i)) i++; /* ends at grid - 1 at the latest */
    return i;
}

static lafs_status count_folds(struct fold_counts *c, const float *score, const uint8_t *same, const int32_t *fold,
                               int64_t n, int folds, int grid, struct lafs_err *err)
{
    memset(c, 0, sizeof *c);
    if (folds < 2) return lafs_fail(err, LAFS_USAGE, "at least two folds are needed");
    size_t row = (size_t)grid + 1;
    c->folds = folds;
    c->grid = grid;
    LAFS_TRY(lafs_alloc0(&c->same, ((size_t)folds * 2 + 2) * row + (size_t)folds * 2, sizeof *c->same, err));
    c->diff = c->same + (size_t)folds * row;
    c->all = c->diff + (size_t)folds * row;
    c->sames = c->all + 2 * row;
    c->diffs = c->sames + folds;
    const double step = 4.0 / grid;
    for (int64_t i = 0; i < n; i++) {
        int64_t *to = same[i] ? c->same : c->diff;
        to[(size_t)fold[i] * row + (size_t)grid_slot(score[i], step, grid)]++;
        (same[i] ? c->sames : c->diffs)[fold[i]]++;
    }
    for (int f = 0; f < folds; f++) {
        if (c->sames[f] + c->diffs[f] == 0) {
            lafs_free(c->same);
            return lafs_fail(err, LAFS_USAGE, "fold %d of %d holds no pairs", f + 1, folds);
        }
        c->all_same += c->sames[f];
        c->all_diff += c->diffs[f];
        int64_t *s = c->same + (size_t)f * row, *d = c->diff + (size_t)f * row;
        for (int i = 0; i < grid; i++) {
            if (i > 0) s[i] += s[i - 1], d[i] += d[i - 1];
            c->all[i] += s[i];
            c->all[row + (size_t)i] += d[i];
        }
    }
    return LAFS_OK;
}

static void mean_std(const double *x, int n, double *mean, double *std)
{
    double m = 0, v = 0;
    for (int i = 0; i < n; i++) m += x[i];
    m /= n;
    for (int i = 0; i < n; i++) v += (x[i] - m) * (x[i] - m);
    *mean = m;
    *std = sqrt(v / n);
}

static double ratio(int64_t a, int64_t b) { return b > 0 ? (double)a / (double)b : 0; }

lafs_status lafs_kfold_accuracy(const float *score, const uint8_t *same, const int32_t *fold, int64_t n, int folds,
                                struct lafs_kfold *out, double *fold_accuracy, double *fold_threshold, double *tpr,
                                double *fpr, struct lafs_err *err)
{
    struct fold_counts c;
    double *acc = NULL;
    LAFS_TRY(count_folds(&c, score, same, fold, n, folds, LAFS_GRID, err));
    lafs_status st = lafs_alloc(&acc, (size_t)folds, sizeof *acc, err);
    if (st != LAFS_OK) goto done;
    const size_t row = LAFS_GRID + 1;
    if (tpr) memset(tpr, 0, LAFS_GRID * sizeof *tpr);
    if (fpr) memset(fpr, 0, LAFS_GRID * sizeof *fpr);
    double chosen = 0;
    for (int f = 0; f < folds; f++) {
        const int64_t *s = c.same + (size_t)f * row, *d = c.diff + (size_t)f * row;
        int64_t best = -1;
        int at = 0;
        for (int i = 0; i < LAFS_GRID; i++) { /* right decisions on the other folds, less a constant */
            int64_t right = c.all[i] - s[i] - (c.all[row + (size_t)i] - d[i]) + c.all_diff;
            if (right > best) best = right, at = i;
            if (tpr) tpr[i] += ratio(s[i], c.sames[f]) / folds;
            if (fpr) fpr[i] += ratio(d[i], c.diffs[f]) / folds;
        }
        acc[f] = ratio(s[at] + c.diffs[f] - d[at], c.sames[f] + c.diffs[f]);
        double t = at * (4.0 / LAFS_GRID);
        chosen += (1 - t / 2) / folds;
        if (fold_accuracy) fold_accuracy[f] = acc[f];
        if (fold_threshold) fold_threshold[f] = t;
    }
    mean_std(acc, folds, &out->accuracy, &out->std);
    out->threshold = chosen;
done:
    lafs_free(acc);
    lafs_free(c.same);
    return st;
}

/* Acceptance rates of fold f at squared distance t. */
static void rates_below(const float *score, const uint8_t *same, const int32_t *fold, int64_t n, const double *t,
                        const struct fold_counts *c, double *val, double *far)
{
    for (int f = 0; f < c->folds; f++) val[f] = far[f] = 0;
    for (int64_t i = 0; i < n; i++)
        if (2 - 2 * (double)score[i] < t[fold[i]]) (same[i] ? val : far)[fold[i]]++;
    for (int f = 0; f < c->folds; f++) {
        val[f] = c->sames[f] ? val[f] / (double)c->sames[f] : 0;
        far[f] = c->diffs[f] ? far[f] / (double)c->diffs[f] : 0;
    }
}

lafs_status lafs_val_at_far(const float *score, const uint8_t *same, const int32_t *fold, int64_t n, int folds,
                            double far, struct lafs_val *out, struct lafs_err *err)
{
    struct fold_counts c;
    double *t = NULL;
    LAFS_TRY(count_folds(&c, score, same, fold, n, folds, LAFS_VAL_GRID, err));
    lafs_status st = lafs_alloc0(&t, (size_t)folds * 3, sizeof *t, err);
    if (st != LAFS_OK) goto done;
    const size_t row = LAFS_VAL_GRID + 1;
    const double step = 4.0 / LAFS_VAL_GRID;
    for (int f = 0; f < folds; f++) {
        const int64_t *d = c.diff + (size_t)f * row;
        int64_t others = c.all_diff - c.diffs[f];
        int last = -1;
        double at = 0, top = 0;
        for (int i = 0; i < LAFS_VAL_GRID; i++) {
            double rate = ratio(c.all[row + (size_t)i] - d[i], others);
            if (rate <= far) last = i, at = rate;
            top = rate; /* rates ascend */
        }
        if (top < far || last < 0) continue; /* never reached: threshold 0 */
        t[f] = last * step;
        if (last + 1 < LAFS_VAL_GRID) {
            double next = ratio(c.all[row + (size_t)last + 1] - d[last + 1], others);
            t[f] += (far - at) / (next - at) * step;
        }
    }
    double *val = t + folds, *got = val + folds, unused;
    rates_below(score, same, fold, n, t, &c, val, got);
    mean_std(val, folds, &out->val, &out->std);
    mean_std(got, folds, &out->far, &unused);
done:
    lafs_free(t);
    lafs_free(c.same);
    return st;
}
