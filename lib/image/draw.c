#include "image/draw.h"

#include <math.h>
#include <string.h>


/* 5x7 letters from ' ' to '~': seven rows, bit 4 is the left column. */
static const uint8_t font[95][7] = {
    { 0,  0,  0,  0,  0,  0,  0}, { 4,  4,  4,  4,  4,  0,  4}, /*  ! */
    {10, 10,  0,  0,  0,  0,  0}, {10, 31, 10, 10, 10, 31, 10}, /* "# */
    { 4, 15, 20, 14,  5, 30,  4}, {25, 25,  2,  4,  8, 19, 19}, /* $% */
    {12, 18, 20,  8, 21, 18, 13}, { 4,  4,  0,  0,  0,  0,  0}, /* &' */
    { 2,  4,  8,  8,  8,  4,  2}, { 8,  4,  2,  2,  2,  4,  8}, /* () */
    { 0, 21, 14, 31, 14, 21,  0}, { 0,  4,  4, 31,  4,  4,  0}, /* *+ */
    { 0,  0,  0,  0,  4,  4,  8}, { 0,  0,  0, 14,  0,  0,  0}, /* ,- */
    { 0,  0,  0,  0,  0, 12, 12}, { 1,  1,  2,  4,  8, 16, 16}, /* ./ */
    {14, 17, 19, 21, 25, 17, 14}, { 4, 12,  4,  4,  4,  4, 14}, /* 01 */
    {14, 17,  1,  6,  8, 16, 31}, {14, 17,  1,  6,  1, 17, 14}, /* 23 */
    { 2,  6, 10, 18, 31,  2,  2}, {31, 16, 30,  1,  1, 17, 14}, /* 45 */
    {14, 16, 16, 30, 17, 17, 14}, {31,  1,  2,  2,  4,  4,  4}, /* 67 */
    {14, 17, 17, 14, 17, 17, 14}, {14, 17, 17, 15,  1,  1, 14}, /* 89 */
    { 0, 12, 12,  0, 12, 12,  0}, { 0, 12, 12,  0, 12, 12,  8}, /* :; */
    { 2,  4,  8, 16,  8,  4,  2}, { 0,  0, 31,  0, 31,  0,  0}, /* <= */
    { 8,  4,  2,  1,  2,  4,  8}, {14, 17,  1,  6,  4,  0,  4}, /* >? */
    {14, 17, 23, 21, 23, 16, 14}, {14, 17, 17, 31, 17, 17, 17}, /* @A */
    {30, 17, 17, 30, 17, 17, 30}, {14, 17, 16, 16, 16, 17, 14}, /* BC */
    {30, 17, 17, 17, 17, 17, 30}, {31, 16, 16, 30, 16, 16, 31}, /* DE */
    {31, 16, 16, 30, 16, 16, 16}, {14, 17, 16, 23, 17, 17, 14}, /* FG */
    {17, 17, 17, 31, 17, 17, 17}, {14,  4,  4,  4,  4,  4, 14}, /* HI */
    { 7,  2,  2,  2,  2, 18, 12}, {17, 18, 20, 24, 20, 18, 17}, /* JK */
    {16, 16, 16, 16, 16, 16, 31}, {17, 27, 21, 21, 17, 17, 17}, /* LM */
    {17, 25, 25, 21, 19, 19, 17}, {14, 17, 17, 17, 17, 17, 14}, /* NO */
    {30, 17, 17, 30, 16, 16, 16}, {14, 17, 17, 17, 21, 18, 13}, /* PQ */
    {30, 17, 17, 30, 20, 18, 17}, {15, 16, 16, 14,  1,  1, 30}, /* RS */
    {31,  4,  4,  4,  4,  4,  4}, {17, 17, 17, 17, 17, 17, 14}, /* TU */
    {17, 17, 17, 17, 10, 10,  4}, {17, 17, 17, 21, 21, 27, 17}, /* VW */
    {17, 17, 10,  4, 10, 17, 17}, {17, 17, 10,  4,  4,  4,  4}, /* XY */
    {31,  1,  2,  4,  8, 16, 31}, {14,  8,  8,  8,  8,  8, 14}, /* Z[ */
    {16, 16,  8,  4,  2,  1,  1}, {14,  2,  2,  2,  2,  2, 14}, /* \] */
    { 4, 10, 17,  0,  0,  0,  0}, { 0,  0,  0,  0,  0,  0, 31}, /* ^_ */
    { 8,  4,  0,  0,  0,  0,  0}, { 0,  0, 14,  1, 15, 17, 15}, /* `a */
    {16, 16, 30, 17, 17, 17, 30}, { 0,  0, 14, 16, 16, 16, 14}, /* bc */
    { 1,  1, 15, 17, 17, 17, 15}, { 0,  0, 14, 17, 31, 16, 14}, /* de */
    { 6,  8, 30,  8,  8,  8,  8}, { 0,  0, 15, 17, 15,  1, 14}, /* fg */
    {16, 16, 30, 17, 17, 17, 17}, { 4,  0, 12,  4,  4,  4, 14}, /* hi */
    { 2,  0,  6,  2,  2, 18, 12}, {16, 16, 18, 20, 24, 20, 18}, /* jk */
    {12,  4,  4,  4,  4,  4, 14}, { 0,  0, 26, 21, 21, 21, 21}, /* lm */
    { 0,  0, 30, 17, 17, 17, 17}, { 0,  0, 14, 17, 17, 17, 14}, /* no */
    { 0,  0, 30, 17, 30, 16, 16}, { 0,  0, 15, 17, 15,  1,  1}, /* pq */
    { 0,  0, 22, 24, 16, 16, 16}, { 0,  0, 15, 16, 14,  1, 30}, /* rs */
    { 8,  8, 30,  8,  8,  8,  6}, { 0,  0, 17, 17, 17, 17, 15}, /* tu */
    { 0,  0, 17, 17, 10, 10,  4}, { 0,  0, 21, 21, 21, 21, 10}, /* vw */
    { 0,  0, 17, 10,  4, 10, 17}, { 0,  0, 17, 17, 15,  1, 14}, /* xy */
    { 0,  0, 31,  2,  4,  8, 31}, { 3,  4,  4,  8,  4,  4,  3}, /* z{ */
    { 4,  4,  4,  4,  4,  4,  4}, {24,  4,  4,  2,  4,  4, 24}, /* |} */
    { 0,  0,  8, 21,  2,  0,  0}, /* ~ */
};

/* ASCII for U+00C0..U+00FF, by two: letters without accents. */
static const char latin1[] = "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYTsaaaaaaaceeeeiiiidnooooo/ouuuuyty";

static void put(struct lafs_image *im, int x, int y, struct lafs_colour c)
{
    if (x < 0 || y < 0 || x >= im->w || y >= im->h) return;
    uint8_t *p = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
    p[0] = c.r;
    p[1] = c.g;
    p[2] = c.b;
}

static void mix(struct lafs_image *im, int x, int y, double a, struct lafs_colour c)
{
    if (x < 0 || y < 0 || x >= im->w || y >= im->h || a <= 0) return;
    uint8_t *p = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3, v[3] = {c.r, c.g, c.b};
    for (int k = 0; k < 3; k++) p[k] = (uint8_t)lround(p[k] + (v[k] - p[k]) * (a < 1 ? a : 1));
}

/* A coordinate that is safe to turn into an int, whatever the record says. */
static int whole(double v) { return isnan(v) ? -100000 : (int)lround(fmin(fmax(v, -100000), 100000)); }

void lafs_draw_fill(struct lafs_image *im, int x, int y, int w, int h, struct lafs_colour c)
{
    int x1 = x + w < im->w ? x + w : im->w, y1 = y + h < im->h ? y + h : im->h;
    for (int v = y > 0 ? y : 0; v < y1; v++)
        for (int u = x > 0 ? x : 0; u < x1; u++) put(im, u, v, c);
}

void lafs_draw_box(struct lafs_image *im, double left, double top, double right, double bottom, int thick,
                   struct lafs_colour c)
{
    int x0 = whole(left), y0 = whole(top), x1 = whole(right) + 1, y1 = whole(bottom) + 1;
    if (x1 <= x0 || y1 <= y0) return;
    lafs_draw_fill(im, x0, y0, x1 - x0, thick, c);
    lafs_draw_fill(im, x0, y1 - thick, x1 - x0, thick, c);
    lafs_draw_fill(im, x0, y0, thick, y1 - y0, c);
    lafs_draw_fill(im, x1 - thick, y0, thick, y1 - y0, c);
}

void lafs_draw_dot(struct lafs_image *im, double x, double y, double radius, struct lafs_colour c)
{
    int cx = whole(x), cy = whole(y), r = (int)ceil(radius) + 1;
    for (int v = cy - r; v <= cy + r; v++)
        for (int u = cx - r; u <= cx + r; u++) mix(im, u, v, radius + 0.5 - hypot(u - x, v - y), c);
}

/* The next letter of a text as ASCII; 0 at its end. */
static int next_letter(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    if (*p == 0) return 0;
    int n = 1, code = *p;
    if (code >= 0x80) {
        n = code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : code >= 0xc0 ? 2 : 1;
        code = n == 2 ? (code & 0x1f) << 6 | (p[1] & 0x3f) : '?';
        for (int k = 1; k < n; k++)
            if ((p[k] & 0xc0) != 0x80) n = 1, code = '?'; /* not UTF-8 */
    }
    *s += n;
    if (code >= 0xc0 && code <= 0xff) return latin1[code - 0xc0];
    return code >= ' ' && code <= '~' ? code : '?';
}

void lafs_draw_text(struct lafs_image *im, int x, int y, int width, const char *utf8, struct lafs_colour c)
{
    int code;
    for (int at = 0; at + LAFS_FONT_W - 1 <= width && (code = next_letter(&utf8)); at += LAFS_FONT_W)
        for (int v = 0; v < 7; v++)
            for (int u = 0; u < 5; u++)
                if (font[code - ' '][v] >> (4 - u) & 1) put(im, x + at + u, y + v, c);
}

void lafs_draw_image(struct lafs_image *im, int x, int y, const struct lafs_image *src)
{
    int x0 = x < 0 ? -x : 0, x1 = src->w < im->w - x ? src->w : im->w - x;
    for (int v = 0; v < src->h && x1 > x0; v++) {
        if (y + v < 0 || y + v >= im->h) continue;
        memcpy(im->px + ((size_t)(y + v) * (size_t)im->w + (size_t)(x + x0)) * 3,
               src->px + ((size_t)v * (size_t)src->w + (size_t)x0) * 3, (size_t)(x1 - x0) * 3);
    }
}

/* A line of n samples, `step` bytes apart, scaled to m: triangle filter, wider when reducing, renormalised at the
 * ends. */
static void scale_line(const uint8_t *in, int n, size_t step, uint8_t *out, int m, size_t out_step)
{
    double ratio = (double)n / m, reach = ratio > 1 ? ratio : 1;
    for (int i = 0; i < m; i++) {
        double centre = (i + 0.5) * ratio - 0.5, sum = 0, v[3] = {0};
        int lo = (int)ceil(centre - reach), hi = (int)floor(centre + reach);
        for (int k = lo < 0 ? 0 : lo; k <= hi && k < n; k++) {
            double w = 1 - fabs(k - centre) / reach;
            if (w <= 0) continue;
            sum += w;
            for (int c = 0; c < 3; c++) v[c] += w * in[(size_t)k * step + (size_t)c];
        }
        for (int c = 0; c < 3; c++) out[(size_t)i * out_step + (size_t)c] = (uint8_t)(v[c] / sum + 0.5);
    }
}

lafs_status lafs_image_scale(const struct lafs_image *in, int w, int h, struct lafs_image *out, struct lafs_err *err)
{
    struct lafs_image mid = {0};
    lafs_status st = lafs_image_new(&mid, w, in->h, err);
    if (st == LAFS_OK) st = lafs_image_new(out, w, h, err);
    if (st == LAFS_OK) {
        size_t row = (size_t)w * 3;
        for (int y = 0; y < in->h; y++)
            scale_line(in->px + (size_t)y * (size_t)in->w * 3, in->w, 3, mid.px + (size_t)y * row, w, 3);
        for (int x = 0; x < w; x++) scale_line(mid.px + (size_t)x * 3, in->h, row, out->px + (size_t)x * 3, h, row);
    }
    lafs_image_release(&mid);
    return st;
}
