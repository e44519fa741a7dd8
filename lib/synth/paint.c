#include "synth/fast.h"
#include "synth/paint.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

int lafs_synth_canvas_unit(int w)
{
    int unit = 1;
    while (unit < CANVAS_UNIT && unit * 150 < w) unit *= 2;
    return unit;
}

lafs_status lafs_synth_canvas_init(struct canvas *c, int w, int h, struct lafs_err *err)
{
    *c = (struct canvas){.w = w, .h = h};
    size_t n = (size_t)w * (size_t)h, unit = (size_t)lafs_synth_canvas_unit(w);
    for (int i = 0; i < 3; i++) LAFS_TRY(lafs_alloc(&c->px[i], n, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&c->small, 3 * ((size_t)w / unit + 2), ((size_t)h / unit + 2) * sizeof(float), err));
    size_t held = (size_t)w * 80; /* rows that the lens needs: camera.c */
    return lafs_alloc(&c->scratch, n > held ? n : held, sizeof *c->scratch, err);
}

void lafs_synth_canvas_release(struct canvas *c)
{
    for (int i = 0; i < 3; i++) lafs_free(c->px[i]);
    lafs_free(c->small);
    lafs_free(c->scratch);
    *c = (struct canvas){0};
}

/* Attributes of the triangle seen at a pixel. */
static inline void interpolate(const struct mesh *m, int tri, uint32_t weights, float out[ATTRS])
{
    const int32_t *t = m->tri + 3 * (size_t)tri;
    const float *a = m->attr[t[0]].v, *b = m->attr[t[1]].v, *c = m->attr[t[2]].v;
    float b1, b2;
    raster_weights(weights, &b1, &b2);
    float b0 = 1 - b1 - b2;
    for (int i = 0; i < ATTRS; i += 4)
        *(vec4 *)(out + i) = b0 * *(const vec4 *)(a + i) + b1 * *(const vec4 *)(b + i) + b2 * *(const vec4 *)(c + i);
}
_Static_assert(ATTRS % 4 == 0, "attributes go in fours");

static inline float step_at(float x, float w) { return clampf(0.5f + x / (2 * w), 0, 1); }

/* Cloth, and the skin that a collar leaves free. s: mm to image right on the chest, t: mm below the chin. */
static inline void cloth_colour(const struct skin *k, const float a[ATTRS], float out[3])
{
    const struct pose *p = k->p;
    const struct noise *n = &k->m->noise;
    float s = a[A_S], t = a[A_T], x = fabsf(s), soft = 0.6f + k->f->pixel;
    const float *rgb = p->cloth_rgb;
    float weave = 1 + 0.04f * noise_near(n->fine, s, t), skin = 0, line = 1;
    if (p->stripes > 0) {
        float at = (p->cloth & 1 ? s : t) * 0.07f + 64, wave = fabsf(2 * (at - (float)(int)at) - 1); /* 0..1 and back */
        weave *= 1 - p->stripes * step_at(wave - 0.5f, 0.15f);
    }
    float front = clampf(a[A_EXTRA], 0, 1);
    switch (p->cloth) {
    case CLOTH_TSHIRT: skin = 1 - step_at(t - 158 - 8 * clampf(1 - x / 60, 0, 1), soft); break;
    case CLOTH_HIGH: skin = 1 - step_at(t - 137, soft); break;
    case CLOTH_VNECK: skin = 1 - step_at(t - 152 - maxf(0, 62 - 1.5f * x) * front, soft); break;
    case CLOTH_SHIRT:
        skin = 1 - step_at(t - 143 - maxf(0, 22 - 1.1f * x) * front, soft);
        line = 1 - 0.35f * clampf(1 - fabsf(x - 0.35f * (t - 150) - 8) / (1 + soft), 0, 1) * (t < 190 ? 1 : 0);
        rgb = p->shirt_rgb;
        break;
    default: { /* suit: shirt and tie in the opening */
        skin = 1 - step_at(t - 139 - maxf(0, 9 - 0.7f * x) * front, soft);
        float open = maxf(0, (300 - t) * 0.34f), in = step_at(open - x, soft) * front;
        if (in > 0.5f) rgb = x < 8 + 0.06f * (t - 150) && t > 150 ? p->tie_rgb : p->shirt_rgb;
        else if (t < 158) rgb = p->shirt_rgb;
        float lapel = fabsf(x - open - 26 * smoothf(150, 210, t));
        line = 1 - 0.4f * clampf(1 - lapel / (1 + soft), 0, 1) - 0.4f * clampf(1 - fabsf(x - open) / (1 + soft), 0, 1);
        if (rgb == p->shirt_rgb) weave = 1;
    }
    }
    for (int i = 0; i < 3; i++)
        out[i] = lerpf(rgb[i] * weave * line, p->id.albedo[i] * 0.95f, skin) * a[A_RED + i] + a[A_GLOSS] * 0.01f;
}

static inline void hair_colour(const struct skin *k, const float a[ATTRS], float out[3], float *alpha)
{
    const struct pose *p = k->p;
    const struct noise *n = &k->m->noise;
    float s = a[A_S], t = a[A_T], curl = p->id.curl;
    /* strands run down the sides, and on top away from the parting */
    float along = t, across = s * 1.5f + 0.35f * p->part * (t + 60) * (t < -40 ? 1 : 0.3f);
    float wound = clampf(curl * 1.4f - 0.2f, 0, 1), strand = 0, lock = 0, wind = 0;
    if (wound < 1) {
        strand = noise_across(n->strand, across + p->hair_u, along * 0.5f + p->hair_v);
        lock = noise_across(n->soft, across * 0.35f + p->hair_v, along * 0.10f + p->hair_u);
    }
    if (wound > 0) wind = 0.75f * noise_at(n->curls, s * 1.5f + p->hair_u, t * 1.5f + p->hair_v);
    float tex = lerpf(0.75f * strand + 0.5f * lock, wind, wound) * (0.4f + 0.6f * k->stub),
          edge = p->style == HAIR_BUZZ ? 5 : 2.6f;
    *alpha = clampf(0.5f + (a[A_HAIR] + tex * (2.2f + 2 * p->mess)) / (2 * edge), 0, 1);
    if (p->style == HAIR_BUZZ) *alpha *= 0.86f;
    float v = clampf(0.86f + 0.30f * tex, 0.25f, 1.8f),
          shine = a[A_GLOSS] * (0.035f + 0.03f * (1 - curl)) * clampf(0.7f + 0.6f * strand, 0, 2);
    float dense = p->style == HAIR_AFRO ? 0.75f : 1;
    for (int i = 0; i < 3; i++)
        out[i] = (k->hair_rgb[i] * v * dense + 0.002f) * a[A_RED + i] +
                 shine * (0.35f * k->gloss_rgb[i] + 0.9f * p->id.hair[i]);
}

static inline void blend(struct canvas *cv, size_t at, const float c[3], float alpha)
{
    for (int i = 0; i < 3; i++) cv->px[i][at] += (c[i] - cv->px[i][at]) * alpha;
}

FAST static void paint_body(struct canvas *cv, const struct raster *r, const struct figure *f, const struct skin *k,
                       const int base[PARTS + 1])
{
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++) {
            size_t at = (size_t)y * (size_t)r->w + (size_t)x;
            size_t from = (size_t)y * (size_t)r->stride + (size_t)x;
            int id = r->id[from];
            if (id < 0) continue;
            int part = PART_HEAD;
            while (id >= base[part + 1]) part++;
            float a[ATTRS], c[3];
            interpolate(&f->part[part], id - base[part], r->weight[from], a);
            if (part == PART_HEAD) {
                lafs_synth_skin_colour(k, a, c);
            } else if (part == PART_TORSO) {
                cloth_colour(k, a, c);
            } else {
                for (int i = 0; i < 3; i++)
                    c[i] = k->p->id.albedo[i] * a[A_RED + i] * (i == 0 ? 1.02f : 0.86f + 0.06f * k->p->id.tone) +
                           a[A_GLOSS] * 0.03f;
            }
            for (int i = 0; i < 3; i++) cv->px[i][at] = c[i];
        }
}

FAST static void paint_hair(struct canvas *cv, const struct raster *r, const struct figure *f, const struct skin *k,
                       const int base[PARTS + 1])
{
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++) {
            size_t at = (size_t)y * (size_t)r->w + (size_t)x;
            size_t from = (size_t)y * (size_t)r->stride + (size_t)x;
            int id = r->id[from];
            if (id < 0) continue;
            int part = PART_HAIR, inner = id >= base[PARTS]; /* the inside of what hangs behind */
            if (inner) id -= base[PARTS] - base[PART_HAIR];
            while (id >= base[part + 1]) part++;
            float a[ATTRS], c[3], alpha = 1;
            interpolate(&f->part[part], id - base[part], r->weight[from], a);
            if (part == PART_HAIR) {
                hair_colour(k, a, c, &alpha);
                for (int i = 0; inner && i < 3; i++) c[i] *= 0.3f;
            } else { /* hat */
                float weave = 1 + 0.05f * noise_at(k->m->noise.fine, a[A_S] * 0.9f, a[A_T] * 0.9f);
                if (k->p->hat == HAT_BEANIE) weave *= 1 - 0.22f * k->stub * (0.5f + 0.5f * sinf(a[A_S] * 1.3f));
                for (int i = 0; i < 3; i++) c[i] = k->p->hat_rgb[i] * weave * a[A_RED + i];
                alpha = clampf(0.5f + a[A_HAIR] / 2, 0, 1);
            }
            blend(cv, at, c, alpha);
        }
}

static void paint_glasses(struct canvas *cv, const struct raster *r, const struct figure *f, const struct skin *k,
                          int lens_from)
{
    const struct pose *p = k->p;
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++) {
            size_t at = (size_t)y * (size_t)r->w + (size_t)x;
            size_t from = (size_t)y * (size_t)r->stride + (size_t)x;
            int id = r->id[from];
            if (id < 0) continue;
            float a[ATTRS], c[3];
            interpolate(&f->part[PART_GLASSES], id, r->weight[from], a);
            if (id < lens_from) {
                for (int i = 0; i < 3; i++) c[i] = p->id.frame[i] * a[A_RED + i] + 0.12f * a[A_GLOSS] * k->gloss_rgb[i];
                blend(cv, at, c, clampf(p->id.frame_thick / k->f->pixel, 0.35f, 1));
            } else {
                float sheen =
                    p->glint *
                    clampf(noise_at(k->m->noise.soft, a[A_S] * 0.09f + p->hair_u, a[A_T] * 0.16f) - 0.2f, 0, 1);
                for (int i = 0; i < 3; i++) c[i] = 0.03f + 0.04f * k->l->sky[i];
                blend(cv, at, c, p->tint);
                for (int i = 0; i < 3; i++) c[i] = k->l->sky[i] * 0.7f + 0.2f;
                blend(cv, at, c, sheen * 0.6f);
            }
        }
}

void lafs_synth_figure_paint(struct canvas *c, struct raster *r, const struct model *m, const struct figure *f,
                  const struct pose *p, const struct lighting *l)
{
    struct skin k;
    lafs_synth_skin_begin(&k, m, f, p, l);
    int base[PARTS + 1] = {0};
    for (int i = 0; i < PARTS; i++) base[i + 1] = base[i] + f->part[i].tris;
    lafs_synth_raster_clear(r);
    for (int i = PART_HEAD; i <= PART_TORSO; i++)
        if (f->has[i])
            lafs_synth_raster_draw(r, f->part[i].scr, f->part[i].v, f->part[i].tri, f->part[i].tris, base[i],
                                   f->part[i].front, f->part[i].skip);
    paint_body(c, r, f, &k, base);
    if (f->has[PART_HAIR] || f->has[PART_HAT]) {
        lafs_synth_raster_forget(r);
        for (int i = PART_HAIR; i <= PART_BRIM; i++)
            if (f->has[i])
                lafs_synth_raster_draw(r, f->part[i].scr, f->part[i].v, f->part[i].tri, f->part[i].tris, base[i],
                                       f->part[i].front, f->part[i].skip);
        if (f->loose) {
            const struct mesh *h = &f->part[PART_HAIR];
            lafs_synth_raster_draw(r, h->scr, h->v, h->tri, h->tris, base[PARTS], -h->front, h->skip);
        }
        paint_hair(c, r, f, &k, base);
    }
    if (f->has[PART_GLASSES]) {
        const struct mesh *g = &f->part[PART_GLASSES];
        lafs_synth_raster_forget(r);
        lafs_synth_raster_draw(r, g->scr, g->v, g->tri, g->tris, 0, 0, NULL);
        paint_glasses(c, r, f, &k, m->lens_from);
    }
}
