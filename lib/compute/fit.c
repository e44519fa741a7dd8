#include "compute/fit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* The numbers that may be offered, ascending, less than what was wanted: divisors of `whole`, or all. */
struct choices {
    int64_t count, first;
    int64_t *divisor; /* (count); NULL: first, first + 1, .. */
};
static int64_t choice(const struct choices *c, int64_t i) { return c->divisor ? c->divisor[i] : c->first + i; }

static lafs_status list_choices(struct choices *c, const struct lafs_fit_work *w, struct lafs_err *err)
{
    *c = (struct choices){w->items > w->least ? w->items - w->least : 0, w->least, NULL};
    if (!w->whole) return LAFS_OK;
    int64_t n = 0;
    for (int64_t i = w->least; i < w->items; i++) n += w->whole % i == 0;
    LAFS_TRY(lafs_alloc(&c->divisor, (size_t)n, sizeof *c->divisor, err));
    c->count = 0;
    for (int64_t i = w->least; i < w->items; i++)
        if (w->whole % i == 0) c->divisor[c->count++] = i;
    return LAFS_OK;
}

/* The most items of the choices that fit: the whole, otherwise by halving. */
static lafs_status most(struct lafs_fit_offer *o, const struct lafs_fit_work *w, const struct choices *c,
                        size_t available, struct lafs_err *err)
{
    int64_t lo = 0, hi = c->count; /* so many first ones are known to fit; the one at hi, and behind, not to */
    size_t need;
    o->items = 0;
    if (w->all && w->items < w->whole) {
        LAFS_TRY(w->need(w->arg, w->whole, o->precision, &need, err));
        if (need <= available) {
            o->items = w->whole;
            o->need = need;
            return LAFS_OK;
        }
    }
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        LAFS_TRY(w->need(w->arg, choice(c, mid), o->precision, &need, err));
        if (need <= available) {
            o->items = choice(c, mid);
            o->need = need;
            lo = mid + 1;
        } else {
            if (mid == 0) o->need = need;
            hi = mid;
        }
    }
    return LAFS_OK;
}

/* In another precision: what was wanted, or what else fits. */
static lafs_status try_other(struct lafs_fit *f, const struct lafs_fit_work *w, const struct choices *c,
                             enum lafs_precision precision, struct lafs_err *err)
{
    struct lafs_fit_offer o = {w->items, 0, precision};
    LAFS_TRY(w->need(w->arg, w->items, precision, &o.need, err));
    if (o.need > f->available) LAFS_TRY(most(&o, w, c, f->available, err));
    if (o.items > f->same.items && o.items > f->other.items) f->other = o;
    return LAFS_OK;
}

lafs_status lafs_fit(struct lafs_fit *f, const struct lafs_fit_work *w, size_t available, struct lafs_err *err)
{
    static const enum lafs_precision all[] = {LAFS_PRECISION_FP32, LAFS_PRECISION_BF16, LAFS_PRECISION_BF16X3};
    struct choices c;
    *f = (struct lafs_fit){.available = available, .same.precision = w->precision};
    LAFS_TRY(w->need(w->arg, w->items, w->precision, &f->need, err));
    f->fits = f->need <= available;
    if (f->fits) return LAFS_OK;
    f->same.need = f->need; /* where there is no smaller choice */
    LAFS_TRY(list_choices(&c, w, err));
    f->least = c.count ? choice(&c, 0) : w->items;
    lafs_status st = most(&f->same, w, &c, available, err);
    for (size_t i = 0; i < sizeof all / sizeof *all && st == LAFS_OK; i++)
        if (all[i] != w->precision) st = try_other(f, w, &c, all[i], err);
    lafs_free(c.divisor);
    return st;
}

static void add(char *text, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *fmt, ...)
{
    const size_t at = strlen(text);
    va_list va;
    va_start(va, fmt);
    vsnprintf(text + at, size - at, fmt, va);
    va_end(va);
}
static double megabytes(size_t bytes) { return (double)bytes / 1e6; }

void lafs_fit_say(const struct lafs_fit *f, const char *option, char *text, size_t size)
{
    const struct lafs_fit_offer *same = &f->same, *other = &f->other;
    *text = '\0';
    add(text, size, "%.1f MB are needed, %.1f MB are free", megabytes(f->need), megabytes(f->available));
    if (f->fits) return;
    if (same->items)
        add(text, size, ": %s %" PRId64 " fits (%.1f MB)", option, same->items, megabytes(same->need));
    else if (same->need < f->need)
        add(text, size, ": not even %s %" PRId64 " fits (%.1f MB)", option, f->least, megabytes(same->need));
    if (other->items)
        add(text, size, "; with --precision %s, %s %" PRId64 " does (%.1f MB)", lafs_precision_name(other->precision),
            option, other->items, megabytes(other->need));
}

lafs_status lafs_rehearsal_open(struct lafs_rehearsal *r, const struct lafs_backend *b, const struct lafs_backend *data,
                                struct lafs_err *err)
{
    *r = (struct lafs_rehearsal){.real = {b, data}, .count = data && data->dev != b->dev ? 2 : 1};
    LAFS_TRY(lafs_backend_plan(&r->plan[0], b, err));
    r->data = &r->plan[r->count - 1];
    lafs_status st = r->count == 2 ? lafs_backend_plan(&r->plan[1], data, err) : LAFS_OK;
    if (st != LAFS_OK) lafs_backend_close(&r->plan[0]);
    return st;
}

lafs_status lafs_rehearsal_close(struct lafs_rehearsal *r, lafs_status st, int reserve, size_t *bytes,
                                 struct lafs_err *err)
{
    int impossible = 0;
    *bytes = 0;
    for (int i = 0; i < r->count; i++) impossible |= r->plan[i].ops->planned(r->plan[i].dev) == SIZE_MAX;
    if (impossible) st = LAFS_OK, reserve = 0;
    for (int i = 0; i < r->count; i++) {
        const struct lafs_backend *plan = &r->plan[i];
        if (!lafs_add_ok(*bytes, plan->ops->planned(plan->dev), bytes)) *bytes = SIZE_MAX;
        if (st == LAFS_OK && reserve) st = plan->ops->reserve(r->real[i]->dev, plan->dev, err);
        lafs_backend_close(&r->plan[i]);
    }
    return st;
}
