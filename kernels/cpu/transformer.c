#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

/* -- assemble -- */

struct assemble {
    const struct lafs_seqs *s;
    int64_t width;
    const float *proj, *cls, *pos, *dx; /* (rows-n,width) (width) (max_len,width) (rows,width) */
    const struct lafs_drop *drop;
    float *x, *dproj, *dcls, *dpos;
    int64_t per_tile;
};

LAFS_INLINE void assemble_tile(const struct assemble *j, int64_t tile)
{
    int64_t from = tile * j->per_tile, to = lafs_min64(from + j->per_tile, lafs_seqs_rows(j->s)), w = j->width;
    int64_t i = lafs_seq_of(j->s, from);
    for (int64_t r = from; r < to; r++) {
        while (r >= j->s->off[i + 1]) i++;
        int64_t t = r - j->s->off[i];
        /* Sequence i has one row less in proj than in x, as had the i sequences before it. */
        const float *token = t == 0 ? j->cls : j->proj + (r - i - 1) * w, *pos = j->pos + t * w;
        float *x = j->x + r * w;
        LAFS_EACH
        for (int64_t c = 0; c < w; c++) x[c] = token[c] + pos[c];
        lafs_vec_drop(j->drop, i, t * w, w, x, x);
    }
}
LAFS_ISA_TILES(assemble, struct assemble, assemble_tile(j, tile))

static int64_t rows_per_tile(int64_t width)
{
    int64_t n = 16384 / (width > 0 ? width : 1);
    return n < 1 ? 1 : n;
}

void lafs_cpu_assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj,
                       const float *cls, const float *pos, const struct lafs_drop *drop, float *x)
{
    struct assemble j = {.s = s, .width = width, .proj = proj, .cls = cls, .pos = pos, .drop = drop, .x = x};
    j.per_tile = rows_per_tile(width);
    lafs_pool_for(d->pool, (lafs_seqs_rows(s) + j.per_tile - 1) / j.per_tile, lafs_isa_assemble(), &j);
}

/* Tile t: row t of every sequence that has one. The sums over sequences are made in blocks of 256, in their order. */
LAFS_INLINE void assemble_bwd_tile(const struct assemble *j, int64_t t, float *room)
{
    enum { BLOCK = 256 };
    int64_t w = j->width;
    float *sum = room, *part = room + w, *g = room + 2 * w; /* (w) each */
    memset(sum, 0, (size_t)w * sizeof *sum);
    for (int64_t first = 0; first < j->s->n; first += BLOCK) {
        memset(part, 0, (size_t)w * sizeof *part);
        for (int64_t i = first; i < lafs_min64(first + BLOCK, j->s->n); i++) {
            int64_t r = j->s->off[i] + t;
            if (r >= j->s->off[i + 1]) continue;
            float *to = t == 0 ? g : j->dproj + (r - i - 1) * w;
            lafs_vec_drop(j->drop, i, t * w, w, j->dx + r * w, to);
            LAFS_EACH
            for (int64_t c = 0; c < w; c++) part[c] += to[c];
        }
        LAFS_EACH
        for (int64_t c = 0; c < w; c++) sum[c] += part[c];
    }
    LAFS_EACH
    for (int64_t c = 0; c < w; c++) j->dpos[t * w + c] += sum[c];
    LAFS_EACH
    for (int64_t c = 0; t == 0 && c < w; c++) j->dcls[c] += sum[c];
}

struct assemble_bwd {
    struct assemble a;
    struct lafs_dev *d;
};
LAFS_ISA_TILES(assemble_bwd, struct assemble_bwd, assemble_bwd_tile(&j->a, tile, lafs_cpu_scratch(j->d, worker)))

void lafs_cpu_assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                           const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos)
{
    struct assemble_bwd j = {
        {.s = s, .width = width, .dx = dx, .drop = drop, .dproj = dproj, .dcls = dcls, .dpos = dpos}, d};
    if (lafs_cpu_reserve(d, (size_t)(3 * width) * sizeof(float)))
        lafs_pool_for(d->pool, s->max_len, lafs_isa_assemble_bwd(), &j);
}

/* -- residual and LayerNorm -- */

struct add_norm {
    struct lafs_dev *d;
    const struct lafs_seqs *s;
    int64_t width, per_tile;
    const float *x, *branch;             /* (rows,width), (rows of from,width) */
    const struct lafs_some *from, *to;
    const struct lafs_drop *drop, *path;
    const float *g, *b;                  /* (width) */
    float *x_out, *y;                    /* (rows,width), (rows of to,width) */
    float *mean, *rstd;                  /* (rows of to) or NULL */
    /* backward */
    const float *dy, *saved, *saved_mean, *saved_rstd; /* saved: x_out */
    float *dx, *dbranch;                 /* (rows,width), (rows of from,width) */
    float *part;                         /* (tiles, 2, width): this tile's sums for dg and db */
};

/* Where a tile stands: sequence i, the factor of its branch, and by how much rows of `from` and `to` are numbered
 * higher than rows of s; NOWHERE: they do not hold this sequence. */
static const int64_t NOWHERE = INT64_MIN;
struct place {
    int64_t i, from, to;
    float keep;
};

static int64_t shift_of(const struct lafs_seqs *s, const struct lafs_some *some, int64_t i)
{
    if (!some) return 0;
    int64_t lo = 0, hi = some->s.n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (some->of[mid] < i) lo = mid + 1;
        else hi = mid;
    }
    return lo < some->s.n && some->of[lo] == i ? some->s.off[lo] - s->off[i] : NOWHERE;
}

static struct place place_of(const struct add_norm *j, int64_t i)
{
    return (struct place){i, shift_of(j->s, j->from, i), shift_of(j->s, j->to, i), lafs_path_factor(j->path, i)};
}

/* Row r of y = LN(v) g + b: mean, then the variance about it, each in one order of 16 lanes. */
LAFS_INLINE void norm_row(const struct add_norm *j, int64_t r, const float *v)
{
    int64_t w = j->width;
    float mean = lafs_vec_sum(w, v) / (float)w, sum = lafs_vec_spread(w, v, mean);
    float rstd = 1 / sqrtf(sum / (float)w + 1e-5f);
    float *y = j->y + r * w;
    LAFS_EACH
    for (int64_t i = 0; i < w; i++) y[i] = (v[i] - mean) * rstd * j->g[i] + j->b[i];
    if (j->mean) j->mean[r] = mean;
    if (j->rstd) j->rstd[r] = rstd;
}

/* out = v + path(drop(row r of the branch)) */
LAFS_INLINE void add_row(const struct add_norm *j, const struct place *at, int64_t r, const float *v, float *out,
                         float *room)
{
    int64_t w = j->width;
    if (at->from == NOWHERE) {
        if (out != v) memcpy(out, v, (size_t)w * sizeof *out);
        return;
    }
    const float *branch = j->branch + (r + at->from) * w;
    float keep = at->keep;
    if (j->drop) {
        lafs_vec_drop(j->drop, at->i, (r - j->s->off[at->i]) * w, w, branch, room);
        branch = room;
    }
    LAFS_EACH
    for (int64_t c = 0; c < w; c++) out[c] = v[c] + branch[c] * keep;
}

LAFS_INLINE void add_norm_tile(const struct add_norm *j, int64_t tile, float *room)
{
    int64_t from = tile * j->per_tile, to = lafs_min64(from + j->per_tile, lafs_seqs_rows(j->s)), w = j->width;
    struct place at = place_of(j, lafs_seq_of(j->s, from));
    for (int64_t r = from; r < to; r++) {
        while (r >= j->s->off[at.i + 1]) at = place_of(j, at.i + 1);
        const float *v = j->x + r * w;
        if (j->branch) {
            float *out = j->x_out + r * w;
            add_row(j, &at, r, v, out, room);
            v = out;
        }
        if (j->g && at.to != NOWHERE) norm_row(j, r + at.to, v);
    }
}
LAFS_ISA_TILES(add_norm, struct add_norm, add_norm_tile(j, tile, lafs_cpu_scratch(j->d, worker)))

/* No dropout: NULL, so that rows are not copied. */
static const struct lafs_drop *active(const struct lafs_drop *drop) { return drop && drop->p > 0 ? drop : NULL; }

void lafs_cpu_add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                       const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                       const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                       float *x_out, float *y, float *mean, float *rstd)
{
    struct add_norm j = {.d = d, .s = s, .width = width, .per_tile = rows_per_tile(width), .x = x, .from = from,
                         .branch = branch, .drop = active(drop), .path = path, .to = to, .g = g, .b = b,
                         .x_out = x_out, .y = y, .mean = mean, .rstd = rstd};
    if (!lafs_cpu_reserve(d, (size_t)width * sizeof(float))) return;
    lafs_pool_for(d->pool, (lafs_seqs_rows(s) + j.per_tile - 1) / j.per_tile, lafs_isa_add_norm(), &j);
}

/* With h = (x - mean) rstd, y = g h + b and u = dy g:  dx += rstd (u - mean(u) - h mean(u h)). Row r, row yr of dy.
 * room: (2, width). */
LAFS_INLINE void norm_row_bwd(const struct add_norm *j, int64_t r, int64_t yr, float *room, float *part_g,
                              float *part_b)
{
    int64_t w = j->width;
    const float *dy = j->dy + yr * w, *x = j->saved + r * w;
    float mean = j->saved_mean[yr], rstd = j->saved_rstd[yr], *h = room, *u = room + w, *dx = j->dx + r * w;
    LAFS_EACH
    for (int64_t c = 0; c < w; c++) {
        h[c] = (x[c] - mean) * rstd;
        u[c] = dy[c] * j->g[c];
        part_g[c] += dy[c] * h[c];
        part_b[c] += dy[c];
    }
    float mu = lafs_vec_sum(w, u) / (float)w, muh = lafs_vec_dot(w, u, h) / (float)w;
    LAFS_EACH
    for (int64_t c = 0; c < w; c++) dx[c] += rstd * (u[c] - mu - h[c] * muh);
}

LAFS_INLINE void add_norm_bwd_tile(const struct add_norm *j, int64_t tile, float *room)
{
    int64_t from = tile * j->per_tile, to = lafs_min64(from + j->per_tile, lafs_seqs_rows(j->s)), w = j->width;
    struct place at = place_of(j, lafs_seq_of(j->s, from));
    float *part = j->part + tile * 2 * w;
    if (j->dy) memset(part, 0, (size_t)(2 * w) * sizeof *part);
    for (int64_t r = from; r < to; r++) {
        while (r >= j->s->off[at.i + 1]) at = place_of(j, at.i + 1);
        if (j->dy && at.to != NOWHERE) norm_row_bwd(j, r, r + at.to, room, part, part + w);
        if (!j->dbranch || at.from == NOWHERE) continue;
        float *out = j->dbranch + (r + at.from) * w, keep = at.keep;
        const float *dx = j->dx + r * w;
        LAFS_EACH
        for (int64_t c = 0; c < w; c++) out[c] = dx[c] * keep;
        lafs_vec_drop(j->drop, at.i, (r - j->s->off[at.i]) * w, w, out, out);
    }
}
LAFS_ISA_TILES(add_norm_bwd, struct add_norm, add_norm_bwd_tile(j, tile, lafs_cpu_scratch(j->d, worker)))

struct parts {
    int64_t tiles, width;
    const float *part; /* (tiles, 2, width) */
    float *dg, *db;
};

/* Adds the tiles' sums in their order. A tile here is 256 columns. */
LAFS_INLINE void parts_tile(const struct parts *j, int64_t tile)
{
    enum { COLS = 256 };
    int64_t from = tile * COLS, n = lafs_min64(COLS, j->width - from);
    for (int which = 0; which < 2; which++) {
        double sum[COLS] = {0};
        float *to = which ? j->db : j->dg;
        if (!to) continue;
        for (int64_t t = 0; t < j->tiles; t++)
            LAFS_EACH
            for (int64_t c = 0; c < n; c++) sum[c] += j->part[(2 * t + which) * j->width + from + c];
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) to[from + c] += (float)sum[c];
    }
}
LAFS_ISA_TILES(parts, struct parts, parts_tile(j, tile))

void lafs_cpu_add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                           const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                           const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                           float *dx, float *dbranch, float *dg, float *db)
{
    struct add_norm j = {.d = d, .s = s, .width = width, .per_tile = 64, .to = to, .dy = dy, .saved = x_out,
                         .saved_mean = mean, .saved_rstd = rstd, .g = g, .from = from, .drop = active(drop),
                         .path = path, .dx = dx, .dbranch = dbranch};
    int64_t tiles = (lafs_seqs_rows(s) + j.per_tile - 1) / j.per_tile;
    if (dy) j.part = lafs_cpu_shared(d, (size_t)(tiles * 2 * width) * sizeof *j.part);
    if ((dy && !j.part) || !lafs_cpu_reserve(d, (size_t)(2 * width) * sizeof(float))) return;
    lafs_pool_for(d->pool, tiles, lafs_isa_add_norm_bwd(), &j);
    struct parts p = {tiles, width, j.part, dg, db};
    if (dy && (dg || db)) lafs_pool_for(d->pool, (width + 255) / 256, lafs_isa_parts(), &p);
}
