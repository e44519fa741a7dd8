#include "eval/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Colours that colour-blind people can tell apart (Okabe and Ito's set). */
static const char *const palette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};
enum { COLOURS = 7, MAX_TICKS = 64 };

/* Where a plot lies in the picture. */
struct frame {
    double x, y, w, h; /* the area inside the axes, pixels */
    struct lafs_axis ax, ay;
};

/* v with at most `digits` decimals, without trailing zeros; no locale. */
static void put_fixed(struct lafs_buf *b, double v, int digits)
{
    double scale = pow(10, digits);
    double r = floor(fabs(v) * scale + 0.5);
    if (!(r < 1e15)) {
        lafs_buf_puts(b, "0");
        return;
    }
    long long n = (long long)r, s = (long long)scale, frac = n % s;
    if (v < 0 && n > 0) lafs_buf_putc(b, '-');
    lafs_buf_printf(b, "%lld", n / s);
    if (frac == 0) return;
    lafs_buf_putc(b, '.');
    for (; frac > 0; frac %= s) {
        s /= 10;
        lafs_buf_printf(b, "%lld", frac / s);
    }
}

static void put_text(struct lafs_buf *b, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '<') lafs_buf_puts(b, "&lt;");
        else if (c == '>') lafs_buf_puts(b, "&gt;");
        else if (c == '&') lafs_buf_puts(b, "&amp;");
        else if (c == '"') lafs_buf_puts(b, "&quot;");
        else if (c < 0x20 || c == 0x7f) lafs_buf_putc(b, '?');
        else lafs_buf_putc(b, c);
    }
}

/* Attribute name="v". */
static void put_attr(struct lafs_buf *b, const char *name, double v)
{
    lafs_buf_printf(b, " %s=\"", name);
    put_fixed(b, v, 2);
    lafs_buf_putc(b, '"');
}

static void put_line(struct lafs_buf *b, double x1, double y1, double x2, double y2, const char *style)
{
    lafs_buf_puts(b, "<line");
    put_attr(b, "x1", x1);
    put_attr(b, "y1", y1);
    put_attr(b, "x2", x2);
    put_attr(b, "y2", y2);
    lafs_buf_printf(b, " %s/>\n", style);
}

static void open_text(struct lafs_buf *b, double x, double y, const char *more)
{
    lafs_buf_puts(b, "<text");
    put_attr(b, "x", x);
    put_attr(b, "y", y);
    lafs_buf_printf(b, "%s>", more);
}

/* -- axes -- */

static int usable(const struct lafs_axis *a, double v) { return isfinite(v) && (!a->log || v > 0); }

/* Fills lo and hi from the data where they are not given. */
static void fit_axis(struct lafs_axis *a, const struct lafs_plot *p, int y)
{
    if (a->lo < a->hi) return;
    double lo = INFINITY, hi = -INFINITY;
    for (int s = 0; s < p->count; s++)
        for (int64_t i = 0; i < p->series[s].n; i++) {
            double v = y ? p->series[s].y[i] : p->series[s].x[i];
            if (!usable(a, v)) continue;
            lo = v < lo ? v : lo;
            hi = v > hi ? v : hi;
        }
    if (!(lo <= hi)) lo = a->log ? 0.1 : 0, hi = 1;
    if (a->log) {
        a->lo = pow(10, floor(log10(lo) + 1e-9));
        a->hi = pow(10, ceil(log10(hi) - 1e-9));
        if (a->lo >= a->hi) a->hi = a->lo * 10;
        return;
    }
    double pad = y ? (hi - lo) * 0.05 : 0;
    if (hi - lo <= 1e-12 * fmax(fabs(lo), fabs(hi))) pad = lo == 0 ? 1 : fabs(lo) * 0.1;
    a->lo = lo >= 0 && lo - pad < 0 ? 0 : lo - pad;
    a->hi = hi + pad;
}

static double place(const struct lafs_axis *a, double v)
{
    double f = a->log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    return f < -10 ? -10 : f > 11 ? 11 : f; /* lines may leave the frame, but not run to the moon */
}

static double px(const struct frame *f, double v) { return f->x + place(&f->ax, v) * f->w; }
static double py(const struct frame *f, double v) { return f->y + (1 - place(&f->ay, v)) * f->h; }

/* Step of 1, 2 or 5 times a power of ten that cuts span into at most `most` pieces. */
static double nice_step(double span, int most)
{
    double raw = span / most, unit = pow(10, floor(log10(raw)));
    return raw <= unit * 1.0000001   ? unit
           : raw <= 2.0000001 * unit ? 2 * unit
           : raw <= 5.0000001 * unit ? 5 * unit
                                     : 10 * unit;
}

/* Ticks of an axis; minor ones (log) have labels only where the span is short. */
static int ticks(const struct lafs_axis *a, int most, double v[MAX_TICKS], int minor[MAX_TICKS])
{
    int n = 0;
    if (!a->log) {
        double step = nice_step(a->hi - a->lo, most);
        for (double k = ceil(a->lo / step - 1e-9); k * step <= a->hi + step * 1e-9 && n < MAX_TICKS; k++) {
            v[n] = k * step;
            minor[n++] = 0;
        }
        return n;
    }
    double decades = log10(a->hi / a->lo);
    int every = (int)ceil(decades / most);
    for (int e = (int)floor(log10(a->lo) + 1e-9); n < MAX_TICKS && pow(10, e) <= a->hi * (1 + 1e-9); e++)
        for (int m = 1; m < (decades <= 4 ? 10 : 2) && n < MAX_TICKS; m++) {
            double t = m * pow(10, e);
            if (t < a->lo * (1 - 1e-9) || t > a->hi * (1 + 1e-9)) continue;
            v[n] = t;
            minor[n++] = m > 1 || (every > 1 && e % every != 0);
        }
    return n;
}

static void put_tick_label(struct lafs_buf *b, const struct lafs_axis *a, double v)
{
    double size = fabs(a->hi) > fabs(a->lo) ? fabs(a->hi) : fabs(a->lo);
    if (a->log) {
        int e = (int)floor(log10(v) + 0.5);
        if (e >= -1 && e <= 1) put_fixed(b, v, 1);
        else
            lafs_buf_printf(b, "10<tspan dy=\"-4\" font-size=\"8\">%s%d</tspan>", e < 0 ? "\xe2\x88\x92" : "",
                            e < 0 ? -e : e);
    } else if (a->percent) {
        put_fixed(b, v * 100, 2);
        lafs_buf_puts(b, " %");
    } else if (v != 0 && (size >= 1e6 || size < 1e-3)) {
        int e = (int)floor(log10(size) + 1e-9);
        put_fixed(b, v / pow(10, e), 2);
        lafs_buf_printf(b, "e%d", e);
    } else put_fixed(b, v, 6);
}

static void put_axes(struct lafs_buf *b, const struct frame *f)
{
    double v[MAX_TICKS];
    int minor[MAX_TICKS];
    const char *grid = "stroke=\"#e4e4e4\"", *faint = "stroke=\"#f2f2f2\"";
    int n = ticks(&f->ax, (int)(f->w / 62) + 1, v, minor);
    for (int i = 0; i < n; i++) {
        double x = px(f, v[i]);
        put_line(b, x, f->y, x, f->y + f->h, minor[i] ? faint : grid);
        if (minor[i]) continue;
        open_text(b, x, f->y + f->h + 16, " text-anchor=\"middle\"");
        put_tick_label(b, &f->ax, v[i]);
        lafs_buf_puts(b, "</text>\n");
    }
    n = ticks(&f->ay, (int)(f->h / 42) + 1, v, minor);
    for (int i = 0; i < n; i++) {
        double y = py(f, v[i]);
        put_line(b, f->x, y, f->x + f->w, y, minor[i] ? faint : grid);
        if (minor[i]) continue;
        open_text(b, f->x - 6, y + 4, " text-anchor=\"end\"");
        put_tick_label(b, &f->ay, v[i]);
        lafs_buf_puts(b, "</text>\n");
    }
    lafs_buf_puts(b, "<rect fill=\"none\" stroke=\"#555555\"");
    put_attr(b, "x", f->x);
    put_attr(b, "y", f->y);
    put_attr(b, "width", f->w);
    put_attr(b, "height", f->h);
    lafs_buf_puts(b, "/>\n");
}

static void put_labels(struct lafs_buf *b, const struct frame *f, const struct lafs_plot *p)
{
    if (p->title) {
        open_text(b, f->x + f->w / 2, f->y - 10, " text-anchor=\"middle\" font-size=\"14\" font-weight=\"bold\"");
        put_text(b, p->title);
        lafs_buf_puts(b, "</text>\n");
    }
    if (f->ax.label) {
        open_text(b, f->x + f->w / 2, f->y + f->h + 36, " text-anchor=\"middle\"");
        put_text(b, f->ax.label);
        lafs_buf_puts(b, "</text>\n");
    }
    if (f->ay.label) {
        double x = f->x - 48, y = f->y + f->h / 2;
        lafs_buf_puts(b, "<text text-anchor=\"middle\" transform=\"translate(");
        put_fixed(b, x, 2);
        lafs_buf_putc(b, ' ');
        put_fixed(b, y, 2);
        lafs_buf_puts(b, ") rotate(-90)\">");
        put_text(b, f->ay.label);
        lafs_buf_puts(b, "</text>\n");
    }
}

/* -- curves -- */

struct pen {
    struct lafs_buf *b;
    int down;        /* a path is open and has a point */
    double column;   /* the pixel column being gathered; NAN: none */
    double x[4], y[4]; /* of it: first, lowest, highest, last */
};

static void pen_point(struct pen *p, double x, double y)
{
    lafs_buf_putc(p->b, p->down ? 'L' : 'M');
    put_fixed(p->b, x, 1);
    lafs_buf_putc(p->b, ' ');
    put_fixed(p->b, y, 1);
    p->down = 1;
}

static void pen_flush(struct pen *p)
{
    if (isnan(p->column)) return;
    pen_point(p, p->x[0], p->y[0]);
    for (int i = 1; i < 4; i++)
        if (p->x[i] != p->x[i - 1] || p->y[i] != p->y[i - 1]) pen_point(p, p->x[i], p->y[i]);
    p->column = NAN;
}

/* Neighbours in one half-pixel column are drawn as first, lowest, highest, last: a million points make no larger
 * picture than a thousand, and look the same. */
static void pen_to(struct pen *p, double x, double y)
{
    double column = floor(x * 2);
    if (column != p->column) {
        pen_flush(p);
        p->column = column;
        for (int i = 0; i < 4; i++) p->x[i] = x, p->y[i] = y;
        return;
    }
    if (y > p->y[1]) p->x[1] = x, p->y[1] = y;
    if (y < p->y[2]) p->x[2] = x, p->y[2] = y;
    p->x[3] = x, p->y[3] = y;
}

static void put_curve(struct lafs_buf *b, const struct frame *f, const struct lafs_series *s, const char *colour)
{
    struct pen pen = {b, 0, NAN, {0}, {0}};
    lafs_buf_printf(b, "<path fill=\"none\" stroke=\"%s\"%s%s stroke-linejoin=\"round\" d=\"", colour,
                    s->faint ? " stroke-width=\"1\" stroke-opacity=\"0.35\"" : " stroke-width=\"2\"",
                    s->dashed ? " stroke-dasharray=\"5 4\"" : "");
    for (int64_t i = 0; i < s->n; i++) {
        if (!usable(&f->ax, s->x[i]) || !usable(&f->ay, s->y[i])) {
            pen_flush(&pen);
            pen.down = 0;
            continue;
        }
        pen_to(&pen, px(f, s->x[i]), py(f, s->y[i]));
    }
    pen_flush(&pen);
    lafs_buf_puts(b, "\"/>\n");
}

static void put_dots(struct lafs_buf *b, const struct frame *f, const struct lafs_series *s, const char *colour)
{
    for (int64_t i = 0; i < s->n; i++) {
        if (!usable(&f->ax, s->x[i]) || !usable(&f->ay, s->y[i])) continue;
        lafs_buf_puts(b, "<circle r=\"3.5\"");
        put_attr(b, "cx", px(f, s->x[i]));
        put_attr(b, "cy", py(f, s->y[i]));
        lafs_buf_printf(b, " fill=\"%s\" stroke=\"#ffffff\"/>\n", colour);
    }
}

/* The corner of the frame where a box of w x h hides the shortest piece of the curves: 0..3, odd right, from 2 on
 * top. */
static int free_corner(const struct frame *f, const struct lafs_plot *p, double w, double h)
{
    int64_t hits[4] = {0};
    for (int s = 0; s < p->count; s++) {
        const struct lafs_series *c = p->series + s;
        double lx = NAN, ly = NAN;
        for (int64_t i = 0; i < c->n; i += 1 + c->n / 4096) {
            if (!usable(&f->ax, c->x[i]) || !usable(&f->ay, c->y[i])) continue;
            double x = px(f, c->x[i]) - f->x, y = py(f, c->y[i]) - f->y;
            for (int k = 0; k <= 8; k++) { /* points along the way from the last one: long strokes count too */
                double t = isnan(lx) ? 1 : k / 8.0, u = isnan(lx) ? x : lx + t * (x - lx),
                       v = isnan(lx) ? y : ly + t * (y - ly);
                if (u < 0 || v < 0 || u > f->w || v > f->h) continue;
                int left = u < w + 16, right = u > f->w - w - 16, top = v < h + 16, bottom = v > f->h - h - 16;
                hits[0] += left && bottom;
                hits[1] += right && bottom;
                hits[2] += left && top;
                hits[3] += right && top;
            }
            lx = x, ly = y;
        }
    }
    int best = 1;
    for (int k = 0; k < 4; k++)
        if (hits[k] < hits[best]) best = k;
    return best;
}

/* Code points of UTF-8 text. */
static size_t letters(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void put_legend(struct lafs_buf *b, const struct frame *f, const struct lafs_plot *p)
{
    int rows = 0;
    size_t longest = 0;
    for (int s = 0; s < p->count; s++) {
        if (!p->series[s].label) continue;
        rows++;
        size_t n = letters(p->series[s].label);
        longest = n > longest ? n : longest;
    }
    if (rows == 0) return;
    double w = 40 + 7.2 * (double)longest, h = 18 * rows + 8; /* of letters as wide as DejaVu Sans has them */
    int corner = free_corner(f, p, w, h);
    double x = corner & 1 ? f->x + f->w - w - 8 : f->x + 8, y = corner & 2 ? f->y + 8 : f->y + f->h - h - 8;
    lafs_buf_puts(b, "<rect fill=\"#ffffff\" fill-opacity=\"0.85\" stroke=\"#cccccc\"");
    put_attr(b, "x", x);
    put_attr(b, "y", y);
    put_attr(b, "width", w);
    put_attr(b, "height", h);
    lafs_buf_puts(b, "/>\n");
    double at = y + 4;
    for (int s = 0; s < p->count; s++) {
        const struct lafs_series *c = p->series + s;
        if (!c->label) continue;
        const char *colour = palette[c->colour ? (c->colour - 1) % COLOURS : s % COLOURS];
        if (c->dots) {
            lafs_buf_puts(b, "<circle r=\"3.5\"");
            put_attr(b, "cx", x + 18);
            put_attr(b, "cy", at + 9);
            lafs_buf_printf(b, " fill=\"%s\"/>\n", colour);
        } else {
            lafs_buf_printf(b, "<line stroke=\"%s\"%s%s", colour,
                            c->faint ? " stroke-width=\"1\" stroke-opacity=\"0.35\"" : " stroke-width=\"2\"",
                            c->dashed ? " stroke-dasharray=\"5 4\"" : "");
            put_attr(b, "x1", x + 7);
            put_attr(b, "x2", x + 29);
            put_attr(b, "y1", at + 9);
            put_attr(b, "y2", at + 9);
            lafs_buf_puts(b, "/>\n");
        }
        open_text(b, x + 35, at + 13, "");
        put_text(b, c->label);
        lafs_buf_puts(b, "</text>\n");
        at += 18;
    }
}

static void put_plot(struct lafs_buf *b, const struct lafs_plot *p, double x, double y, double w, double h, int number)
{
    struct frame f = {x + 64, y + (p->title ? 34 : 14), w - 64 - 24, 0, p->x, p->y};
    f.h = y + h - f.y - (p->x.label ? 46 : 26);
    fit_axis(&f.ax, p, 0);
    fit_axis(&f.ay, p, 1);
    put_axes(b, &f);
    put_labels(b, &f, p);
    lafs_buf_printf(b, "<clipPath id=\"c%d\"><rect", number);
    put_attr(b, "x", f.x);
    put_attr(b, "y", f.y - 1);
    put_attr(b, "width", f.w);
    put_attr(b, "height", f.h + 2);
    lafs_buf_printf(b, "/></clipPath>\n<g clip-path=\"url(#c%d)\">\n", number);
    for (int s = 0; s < p->count; s++) {
        const struct lafs_series *c = p->series + s;
        const char *colour = palette[c->colour ? (c->colour - 1) % COLOURS : s % COLOURS];
        if (c->dots) put_dots(b, &f, c, colour);
        else put_curve(b, &f, c, colour);
    }
    lafs_buf_puts(b, "</g>\n");
    put_legend(b, &f, p);
}

lafs_status lafs_plot_grid_svg(struct lafs_buf *out, const struct lafs_plot *p, int count, int columns, int width,
                               int height, struct lafs_err *err)
{
    int rows = (count + columns - 1) / columns;
    lafs_buf_printf(out,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                    "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n"
                    "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
                    width, height, width, height, width, height);
    for (int i = 0; i < count; i++)
        put_plot(out, p + i, (double)(i % columns) * width / columns, (double)(i / columns) * height / rows,
                 (double)width / columns, (double)height / rows, i);
    lafs_buf_puts(out, "</svg>\n");
    return lafs_buf_check(out, err);
}

lafs_status lafs_plot_svg(struct lafs_buf *out, const struct lafs_plot *p, int width, int height, struct lafs_err *err)
{
    return lafs_plot_grid_svg(out, p, 1, 1, width, height, err);
}

/* -- ROC and DET -- */

enum { MAX_CURVES = 32 };

/* Rates of a ROC as doubles; zero rates are moved to `floor`, the left (or lower) edge of a log axis. */
static lafs_status rates(const struct lafs_roc *r, int det, double floor_x, double floor_y, double **x, double **y,
                         struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(x, (size_t)r->n * 2, sizeof **x, err));
    *y = *x + r->n;
    for (int64_t i = 0; i < r->n; i++) {
        double far = (double)r->point[i].fp / (double)r->impostors, tar = (double)r->point[i].tp / (double)r->genuines;
        (*x)[i] = far > floor_x ? far : floor_x;
        (*y)[i] = !det ? tar : 1 - tar > floor_y ? 1 - tar : floor_y;
    }
    return LAFS_OK;
}

static double decade_below(int64_t n) { return pow(10, floor(-log10((double)(n > 1 ? n : 2)) + 1e-9)); }

static lafs_status plot_rates(struct lafs_buf *out, const struct lafs_roc *const *roc, const char *const *label, int n,
                              const char *title, int det, struct lafs_err *err)
{
    struct lafs_series s[MAX_CURVES + 1] = {{0}};
    double *x[MAX_CURVES] = {NULL}, *y, lo_x = 0.1, lo_y = 0.1, high = 1;
    if (n < 1 || n > MAX_CURVES) return lafs_fail(err, LAFS_USAGE, "%d curves in one plot", n);
    for (int i = 0; i < n; i++) {
        lo_x = fmin(lo_x, decade_below(roc[i]->impostors));
        lo_y = fmin(lo_y, decade_below(roc[i]->genuines));
    }
    lafs_status st = LAFS_OK;
    for (int i = 0; i < n && st == LAFS_OK; i++) {
        st = rates(roc[i], det, lo_x, lo_y, x + i, &y, err);
        if (st != LAFS_OK) break;
        s[i] = (struct lafs_series){.label = label[i], .x = x[i], .y = y, .n = roc[i]->n};
        for (int64_t k = 0; k < roc[i]->n; k++) /* the lowest TAR in the picture: right of the left edge */
            if (x[i][k] > lo_x) {
                high = fmin(high, y[k]);
                break;
            }
    }
    double chance_x[128], chance_y[128]; /* dense near both ends of the log axes */
    for (int k = 0; k < 64; k++) {
        chance_x[k] = lo_x * pow(0.5 / lo_x, k / 63.0);
        chance_x[127 - k] = 1 - lo_y * pow(0.5 / lo_y, k / 63.0);
    }
    for (int k = 0; k < 128; k++) chance_y[k] = det ? 1 - chance_x[k] : chance_x[k];
    s[n] = (struct lafs_series){
        .label = "chance", .x = chance_x, .y = chance_y, .n = 128, .dashed = 1, .colour = 7, .faint = 1};
    double low = high >= 0.99 ? 0.99 : high >= 0.9 ? 0.9 : high >= 0.5 ? 0.5 : 0;
    struct lafs_plot p = {
        title, {"false accept rate (FAR)", lo_x, 1, 1, 0}, {"true accept rate (TAR)", low, 1, 0, 1}, s, n + 1};
    if (det) {
        p.x.label = "false match rate (FMR)";
        p.y = (struct lafs_axis){"false non-match rate (FNMR)", lo_y, 1, 1, 0};
    }
    if (st == LAFS_OK) st = lafs_plot_svg(out, &p, 640, 480, err);
    for (int i = 0; i < n; i++) lafs_free(x[i]);
    return st;
}

lafs_status lafs_plot_roc(struct lafs_buf *out, const struct lafs_roc *const *roc, const char *const *label, int n,
                          const char *title, struct lafs_err *err)
{
    return plot_rates(out, roc, label, n, title, 0, err);
}

lafs_status lafs_plot_det(struct lafs_buf *out, const struct lafs_roc *const *roc, const char *const *label, int n,
                          const char *title, struct lafs_err *err)
{
    return plot_rates(out, roc, label, n, title, 1, err);
}
