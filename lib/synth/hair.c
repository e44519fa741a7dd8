/* Hair and hats: shells over the grid of the head. */
#include <math.h>
#include <string.h>

#include "synth/figure.h"

/* How a style covers the head. */
struct cut {
    float top, side, low;   /* mm of thickness on top, at the sides, hanging below the ears */
    float bottom;           /* y down to which the sides hang; 0: they end at the hairline */
    float open;             /* |s| from which they hang */
    float ragged;           /* mm by which the edge varies */
    float bump;             /* share by which the thickness varies */
};

static struct cut cut_of(const struct pose *p)
{
    static const struct cut cuts[HAIR_STYLES] = {
        [HAIR_BALD] = {3, 3, 0, 0, 0, 2, 0.1f},
        [HAIR_BUZZ] = {1.8f, 1.2f, 0, 0, 0, 1.5f, 0.05f},
        [HAIR_SHORT] = {10, 5, 0, 0, 0, 4, 0.25f},
        [HAIR_SWEPT] = {17, 6.5f, 0, 0, 0, 5, 0.3f},
        [HAIR_MEDIUM] = {15, 13, 8, 56, 104, 6, 0.25f},
        [HAIR_BOB] = {13, 17, 14, 92, 92, 5, 0.15f},
        [HAIR_LONG] = {12, 16, 20, 185, 88, 6, 0.18f},
        [HAIR_TIED] = {6, 5, 0, 0, 0, 2.5f, 0.1f},
        [HAIR_AFRO] = {30, 27, 6, 0, 0, 5, 0.12f},
    };
    struct cut c = cuts[p->style];
    float v =
        p->id.volume * p->hair_length * (1 + 0.5f * p->id.curl * (p->style >= HAIR_MEDIUM && p->style <= HAIR_LONG));
    c.top *= v, c.side *= v, c.low *= v;
    if (c.bottom > 0) c.bottom += 50 * (p->hair_length - 1);
    c.bump *= 0.5f + p->mess;
    return c;
}

/* Where the hair ends, as t, by column. */
static float hairline(const struct pose *p, const struct cut *c, float s)
{
    static const float natural[][2] = {{0, -71},   {25, -70}, {45, -64},  {62, -50}, {76, -40}, {90, -32},
                                       {102, -16}, {113, 4},  {118, 18},  {129, 18}, {134, -8}, {148, -4},
                                       {157, 40},  {170, 90}, {200, 112}, {270, 117}};
    float a = fabsf(s), t = CURVE(natural, a);
    t -= p->id.hairline * (1 - smoothf(60, 100, a));
    float u = (a - 42) / 17;
    t -= p->id.temples * expf(-0.5f * u * u);
    if (p->style == HAIR_BALD) return a < 96 ? -200 : lerpf(-200, t, smoothf(96, 118, a));
    if (p->fringe > 0 && (p->style == HAIR_BOB || p->style == HAIR_LONG || p->style == HAIR_MEDIUM ||
                          p->style == HAIR_SHORT || p->style == HAIR_SWEPT)) {
        float reach = p->style == HAIR_SHORT || p->style == HAIR_SWEPT ? 22 : 42;
        float lean = 1 + 0.35f * p->part * clampf(s / 50, -1, 1);
        t = maxf(t, -71 + reach * p->fringe * lean * (1 - smoothf(45, 80, a)));
    }
    if (c->bottom > 0) t = maxf(t, lerpf(t, 178, smoothf(c->open - 9, c->open + 5, a)));
    return t;
}

static float hat_line(const struct pose *p, float s)
{
    static const float line[][2] = {{0, -50}, {70, -42}, {140, -22}, {200, 18}, {270, 34}};
    return CURVE(line, fabsf(s)) + p->hat_low * (1 - smoothf(80, 160, fabsf(s)));
}

static void build_hat(struct figure *f, const struct model *m, const struct pose *p)
{
    struct mesh *hat = &f->part[PART_HAT];
    const struct mesh *head = &f->part[PART_HEAD];
    const struct head *h = &m->head;
    for (int j = 0; j < HEAD_COLS; j++) {
        float line = hat_line(p, h->s[j]);
        for (int i = 0; i < HEAD_ROWS; i++) {
            int k = i * HEAD_COLS + j;
            float d = line - h->t[i];
            float thick = d > -12 ? 8 + (p->hat == HAT_BEANIE ? 5 * smoothf(30, 70, d) : 6 * smoothf(10, 40, d)) : 0;
            if (p->hat == HAT_CAP) thick += 6 * smoothf(-90, -55, h->t[i]) * (1 - smoothf(40, 90, fabsf(h->s[j])));
            hat->skip[k] = d < -9;
            if (d > 12) head->skip[k] = 1;
            hat->attr[k].v[A_S] = h->s[j];
            hat->attr[k].v[A_T] = h->t[i];
            hat->attr[k].v[A_HAIR] = d + 5;
            for (int c = 0; c < 3; c++)
                hat->pos[c * HEAD_V + k] = head->pos[c * HEAD_V + k] + head->normal[c * HEAD_V + k] * thick;
        }
    }
    lafs_synth_grid_normals(hat->pos, HEAD_COLS, HEAD_ROWS, 1, hat->normal);
    f->has[PART_HAT] = 1;
    if (p->hat == HAT_BEANIE) return;
    struct mesh *b = &f->part[PART_BRIM];
    float reach = p->hat == HAT_CAP ? 58 : 42, half = p->hat == HAT_CAP ? 92 : HEAD_S_MAX;
    for (int j = 0; j < BRIM_COLS; j++) {
        float u = 2 * (float)j / (BRIM_COLS - 1) - 1, s = half * u, at[3];
        lafs_synth_head_point(h, f->local, s, minf(hat_line(p, s), 20), at);
        float len = hypotf(at[0], at[2]) + 1e-3f,
              out = p->hat == HAT_CAP ? reach * sqrtf(maxf(0.02f, 1 - u * u)) : reach;
        float dir[2] = {at[0] / len, at[2] / len};
        if (p->hat == HAT_CAP) dir[0] *= 0.35f, dir[1] = 1;
        for (int i = 0; i < BRIM_ROWS; i++) {
            float w = 6 + (out - 6) * (float)i / (BRIM_ROWS - 1);
            float q[3] = {at[0] + dir[0] * w, at[1] + 0.16f * w, at[2] + dir[1] * w};
            int k = i * BRIM_COLS + j;
            for (int c = 0; c < 3; c++)
                b->pos[c * b->v + k] = p->rot[3 * c] * q[0] + p->rot[3 * c + 1] * q[1] + p->rot[3 * c + 2] * q[2];
            b->attr[k].v[A_S] = s;
            b->attr[k].v[A_T] = -60 + w;
            b->attr[k].v[A_HAIR] = 20;
        }
    }
    lafs_synth_grid_normals(b->pos, BRIM_COLS, BRIM_ROWS, 0, b->normal);
    for (int k = 0; k < 3 * b->v; k++) b->normal[k] = -b->normal[k];
    f->has[PART_BRIM] = 1;
}

/* Hair that hangs leaves the skin: from the ears down it follows a curtain, an upright oval about the head. The point
 * of the shell at column s and row t goes there by weight. */
static void hang(const struct pose *p, const struct cut *c, float s, float t, float weight,
                 float pos[3])
{
    float a = fabsf(s), phi = 0.92f + (a - c->open) / (HEAD_S_MAX - c->open) * (3.14159265f - 0.92f),
          down = clampf((t - 20) / 160, 0, 1);
    /* It leaves the cheek gradually. */
    float out = 4 + (c->side - 4 + c->low * down * down) * smoothf(c->open - 6, c->open + 46, a);
    float q[3] = {(s < 0 ? -1.0f : 1.0f) * (72 + out) * sinf(phi), 20 + (c->bottom - 20) * down,
                  -22 + (78 + out) * cosf(phi)};
    for (int e = 0; e < 3; e++) {
        float world = p->rot[3 * e] * q[0] + p->rot[3 * e + 1] * q[1] + p->rot[3 * e + 2] * q[2];
        pos[e] = lerpf(pos[e], world, weight);
    }
}

void lafs_synth_hair_build(struct figure *f, const struct model *m, const struct pose *p)
{
    struct mesh *hair = &f->part[PART_HAIR];
    const struct mesh *head = &f->part[PART_HEAD];
    const struct head *h = &m->head;
    if (p->hat != HAT_NONE) build_hat(f, m, p);
    if (p->style == HAIR_BALD && p->id.thin > 0.9f) return;
    struct cut c = cut_of(p);
    float cell = 0.07f + 0.25f * p->id.curl;
    for (int j = 0; j < HEAD_COLS; j++) {
        float s = h->s[j], a = fabsf(s), line = hairline(p, &c, s), hat = p->hat != HAT_NONE ? hat_line(p, s) : -300;
        float loose = c.bottom > 0 ? smoothf(c.open - 14, c.open + 4, a) : 0;
        float lean = 1 + 0.3f * p->part * clampf(s / 60, -1, 1);
        for (int i = 0; i < HEAD_ROWS; i++) {
            int k = i * HEAD_COLS + j;
            float t = h->t[i], d = line - t;
            if (p->hat != HAT_NONE) d = minf(d, t - hat + 9);
            hair->skip[k] = d < -6;
            if (d > 16 && p->style != HAIR_BUZZ && (loose == 0 || t < -30)) head->skip[k] = 1;
            float thick = 0, free = 1;
            if (d > -6) {
                float top = 1 - smoothf(-88, -28, t);
                thick = lerpf(c.side, c.top * lean, top);
                float rise = smoothf(-4, p->style == HAIR_AFRO ? 22 : 14, d);
                thick *=
                    rise * (1 + c.bump * noise_at(m->noise.soft, s * cell + p->hair_u, t * cell * 0.6f + p->hair_v));
                /* what will hang starts from close to the temple */
                if (loose > 0) thick *= lerpf(1, smoothf(c.open - 16, c.open + 40, a), smoothf(-75, -35, t));
                if (p->hat != HAT_NONE) thick = minf(thick, 6);
                free = (0.45f + 0.55f * smoothf(0, 30, d)) * (0.55f + 0.45f * m->head.ao[k]);
            }
            float *v = hair->attr[k].v;
            v[A_S] = s;
            v[A_T] = t;
            v[A_HAIR] = d;
            v[A_EXTRA] = free;
            float at[3];
            for (int e = 0; e < 3; e++)
                at[e] = head->pos[e * HEAD_V + k] + head->normal[e * HEAD_V + k] * maxf(thick, 0);
            if (loose > 0 && t > -20) hang(p, &c, s, t, loose * smoothf(-20, 35, t), at);
            for (int e = 0; e < 3; e++) hair->pos[e * HEAD_V + k] = at[e];
        }
    }
    lafs_synth_grid_normals(hair->pos, HEAD_COLS, HEAD_ROWS, 1, hair->normal);
    f->has[PART_HAIR] = 1;
    f->loose = c.bottom > 0;
}
