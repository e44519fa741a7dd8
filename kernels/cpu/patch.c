/* Cutting patches, as kernels/ref/patch.c says. All samples of a patch share their fractions, so a patch is a blend of
 * two columns, then of two rows, of a (p+1)x(p+1) window: whole rows of 3p values at a time, or, where the token goes
 * down the columns, pixels as four floats, the fourth of which the next pixel sets right. Near the border the window is
 * copied into a zeroed one first. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

enum { MAX_P = 16, WINDOW = (MAX_P + 1) * (MAX_P + 1) * 3 + 1 /* a pixel is read as four floats */, TILE = 8 };

struct job {
    const struct lafs_seqs *s;
    int side, p, transposed;
    const float *images, *landmarks; /* (n,side,side,3), (rows,2) */
    float *tokens;                   /* (rows,p*p*3) */
    const float *dtokens;
    float *dlandmarks, *dimages;     /* or NULL */
};

struct window {
    const float *px; /* (p+1, p+1, 3), rows `stride` floats apart */
    int64_t stride;
    int64_t x, y;    /* its first pixel in the image */
    int whole;       /* 1: lies inside the image, and is not its last corner: there is a float behind it */
    float fx, fy;
};

/* Finds or builds the window of a landmark in buf (WINDOW floats); 0 when no sample can touch the image. */
LAFS_INLINE int find_window(struct window *w, const float *image, int side, int p, const float *lm, float *buf)
{
    float far = (float)side + (float)p;
    if (!(lm[0] > -far && lm[0] < 2 * far && lm[1] > -far && lm[1] < 2 * far)) return 0;
    float x = lm[0] - 0.5f, y = lm[1] - 0.5f, x0 = floorf(x), y0 = floorf(y);
    w->fx = x - x0;
    w->fy = y - y0;
    w->x = (int64_t)x0 - p / 2;
    w->y = (int64_t)y0 - p / 2;
    w->whole = w->x >= 0 && w->y >= 0 && w->x + p < side && w->y + p < side &&
               (w->x + p + 1 < side || w->y + p + 1 < side);
    if (w->whole) {
        w->px = image + (w->y * side + w->x) * 3;
        w->stride = (int64_t)side * 3;
        return 1;
    }
    w->px = buf;
    w->stride = (p + 1) * 3;
    memset(buf, 0, (size_t)((p + 1) * (p + 1) * 3 + 1) * sizeof *buf);
    /* columns left..right-1 are inside */
    int64_t left = w->x < 0 ? -w->x : 0, right = w->x + p < side ? p + 1 : side - w->x;
    for (int64_t b = 0; b <= p; b++)
        if (left < right && w->y + b >= 0 && w->y + b < side)
            memcpy(buf + b * w->stride + 3 * left, image + ((w->y + b) * side + w->x + left) * 3,
                   (size_t)(3 * (right - left)) * sizeof *buf);
    return 1;
}

/* Between rows of a patch (first y) and the token's order (first x): its own inverse. `from` and `to` hold one float
 * more than p*p*3, so that a pixel moves as four floats; a later one sets the fourth right. */
LAFS_INLINE void transpose(const float *from, float *to, int p)
{
    for (int a = 0; a < p; a++)
        for (int b = 0; b < p; b++) memcpy(to + (a * p + b) * 3, from + (b * p + a) * 3, 4 * sizeof *to);
}

LAFS_INLINE void cut_rows(const struct window *w, int p, float *restrict token)
{
    float above[MAX_P * 3];
    float fx = w->fx, fy = w->fy, ex = 1 - fx, ey = 1 - fy;
    for (int k = 0; k < 3 * p; k++) above[k] = ex * w->px[k] + fx * w->px[k + 3];
    for (int b = 0; b < p; b++) {
        const float *restrict px = w->px + (b + 1) * w->stride;
        float *restrict row = token + 3 * p * b;
        for (int k = 0; k < 3 * p; k++) {
            float below = ex * px[k] + fx * px[k + 3];
            row[k] = ey * above[k] + fy * below;
            above[k] = below;
        }
    }
}

typedef float pixel __attribute__((vector_size(16)));
LAFS_INLINE pixel pixel_at(const float *p)
{
    pixel v;
    memcpy(&v, p, sizeof v);
    return v;
}

LAFS_INLINE void cut_columns(const struct window *w, int p, float *restrict token)
{
    const float fx = w->fx, fy = w->fy, ex = 1 - fx, ey = 1 - fy;
    for (int a = 0; a < p; a++) {
        const float *restrict px = w->px + 3 * a;
        pixel above = ex * pixel_at(px) + fx * pixel_at(px + 3);
        for (int b = 0; b < p; b++, token += 3) {
            px += w->stride;
            pixel below = ex * pixel_at(px) + fx * pixel_at(px + 3), v = ey * above + fy * below;
            memcpy(token, &v, a == p - 1 && b == p - 1 ? 3 * sizeof *token : sizeof v);
            above = below;
        }
    }
}

LAFS_INLINE void cut_sequence(const struct job *j, int64_t n, int p)
{
    float buf[WINDOW];
    const float *image = j->images + n * j->side * j->side * 3;
    struct window w;
    for (int64_t r = j->s->off[n]; r < j->s->off[n + 1]; r++) {
        float *token = j->tokens + r * p * p * 3;
        if (!find_window(&w, image, j->side, p, j->landmarks + 2 * r, buf))
            memset(token, 0, (size_t)(p * p * 3) * sizeof *token);
        else if (j->transposed) cut_columns(&w, p, token);
        else cut_rows(&w, p, token);
    }
}

LAFS_INLINE void cut_tile(const struct job *j, int64_t tile)
{
    for (int64_t n = tile * TILE; n < j->s->n && n < (tile + 1) * TILE; n++) {
        if (j->p == 8) cut_sequence(j, n, 8); /* a known p unrolls */
        else cut_sequence(j, n, j->p);
    }
}

/* The window's gradient into the image: each sample's gradient spreads over four pixels with the forward weights. */
LAFS_INLINE void spread(const struct window *w, int p, int side, const float *g, float *dimage)
{
    float win[WINDOW];
    float fx = w->fx, fy = w->fy;
    memset(win, 0, (size_t)((p + 1) * (p + 1) * 3) * sizeof *win);
    for (int b = 0; b < p; b++) {
        float *top = win + b * (p + 1) * 3, *low = top + (p + 1) * 3;
        const float *row = g + b * p * 3;
        for (int k = 0; k < 3 * p; k++) top[k] += (1 - fy) * (1 - fx) * row[k];
        for (int k = 0; k < 3 * p; k++) top[k + 3] += (1 - fy) * fx * row[k];
        for (int k = 0; k < 3 * p; k++) low[k] += fy * (1 - fx) * row[k];
        for (int k = 0; k < 3 * p; k++) low[k + 3] += fy * fx * row[k];
    }
    for (int64_t b = 0; b <= p; b++)
        for (int64_t a = 0; a <= p; a++) {
            int64_t x = w->x + a, y = w->y + b;
            if (x < 0 || x >= side || y < 0 || y >= side) continue;
            for (int ch = 0; ch < 3; ch++) dimage[(y * side + x) * 3 + ch] += win[(b * (p + 1) + a) * 3 + ch];
        }
}

/* Gradient by the landmark: sums of g times the slope by x and by y, over the rows first, then along a row. */
LAFS_INLINE void slope(const struct window *w, int p, const float *g, float *dlandmark)
{
    float gx[MAX_P * 3] = {0}, gy[MAX_P * 3] = {0};
    float fx = w->fx, fy = w->fy, ex = 1 - fx, ey = 1 - fy;
    for (int b = 0; b < p; b++) {
        const float *top = w->px + b * w->stride, *low = top + w->stride, *row = g + b * p * 3;
        for (int k = 0; k < 3 * p; k++) {
            gx[k] += row[k] * (ey * (top[k + 3] - top[k]) + fy * (low[k + 3] - low[k]));
            gy[k] += row[k] * (ex * (low[k] - top[k]) + fx * (low[k + 3] - top[k + 3]));
        }
    }
    float sx = 0, sy = 0;
    for (int k = 0; k < 3 * p; k++) {
        sx += gx[k];
        sy += gy[k];
    }
    dlandmark[0] = sx;
    dlandmark[1] = sy;
}

LAFS_INLINE void bwd_sequence(const struct job *j, int64_t n, int p)
{
    float buf[WINDOW], g[MAX_P * MAX_P * 3 + 1], token[MAX_P * MAX_P * 3 + 1];
    int64_t area = (int64_t)j->side * j->side * 3;
    struct window w;
    if (j->dimages) memset(j->dimages + n * area, 0, (size_t)area * sizeof *j->dimages);
    for (int64_t r = j->s->off[n]; r < j->s->off[n + 1]; r++) {
        int inside = find_window(&w, j->images + n * area, j->side, p, j->landmarks + 2 * r, buf);
        if (j->dlandmarks && !inside) j->dlandmarks[2 * r] = j->dlandmarks[2 * r + 1] = 0;
        if (!inside) continue;
        memcpy(token, j->dtokens + r * p * p * 3, (size_t)(p * p * 3) * sizeof *token);
        token[p * p * 3] = 0;
        if (j->transposed) transpose(token, g, p);
        if (j->dlandmarks) slope(&w, p, j->transposed ? g : token, j->dlandmarks + 2 * r);
        if (j->dimages) spread(&w, p, j->side, j->transposed ? g : token, j->dimages + n * area);
    }
}

LAFS_INLINE void bwd_tile(const struct job *j, int64_t n)
{
    if (j->p == 8) bwd_sequence(j, n, 8);
    else bwd_sequence(j, n, j->p);
}

LAFS_ISA_TILES(cut, struct job, cut_tile(j, tile))
LAFS_ISA_TILES(bwd, struct job, bwd_tile(j, tile))

void lafs_cpu_patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                        const float *images, const float *landmarks, float *tokens)
{
    struct job j = {.s = s, .side = side, .p = p, .transposed = transposed, .images = images, .landmarks = landmarks,
                    .tokens = tokens};
    if (p > MAX_P) lafs_ref_patch_cut(d, s, side, p, transposed, images, landmarks, tokens);
    else lafs_pool_for(d->pool, (s->n + TILE - 1) / TILE, lafs_isa_cut(), &j);
}

void lafs_cpu_patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                            const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                            float *dimages)
{
    struct job j = {.s = s, .side = side, .p = p, .transposed = transposed, .images = images, .landmarks = landmarks,
                    .dtokens = dtokens, .dlandmarks = dlandmarks, .dimages = dimages};
    if (p > MAX_P)
        lafs_ref_patch_cut_bwd(d, s, side, p, transposed, images, landmarks, dtokens, dlandmarks, dimages);
    else lafs_pool_for(d->pool, s->n, lafs_isa_bwd(), &j);
}
