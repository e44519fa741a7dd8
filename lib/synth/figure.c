#include "synth/figure.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const float pi = 3.14159265f;

/* -- what all share -- */

static float bell(float s, float t, float cs, float ct, float rs, float rt)
{
    float u = (fabsf(s) - cs) / rs, v = (t - ct) / rt;
    return expf(-0.5f * (u * u + v * v));
}

static void fields_at(float s, float t, float f[FIELDS])
{
    float a = fabsf(s);
    f[F_RUDDY] = 0.9f * bell(s, t, 42, 34, 17, 15) + 0.9f * bell(s, t, 0, 36, 10, 12) +
                 0.5f * bell(s, t, 0, 102, 14, 10) + 0.35f * bell(s, t, 0, -40, 40, 14) +
                 0.5f * bell(s, t, 15, 42, 5, 6);
    f[F_EYE] = bell(s, t, 27, 9, 12, 6) + 0.7f * bell(s, t, 17, 0, 7, 7) + 0.45f * bell(s, t, 32, -9, 15, 5);
    f[F_BROWN] =
        bell(s, t, 0, -50, 60, 18) * 0.4f + bell(s, t, 0, 60, 14, 4) * 0.3f + bell(s, t, 66, -10, 16, 30) * 0.4f;
    static const float line[][2] = {{0, 49},  {14, 50}, {22, 56},  {32, 66},  {50, 68},   {75, 52},
                                    {95, 26}, {108, 8}, {118, -6}, {126, 10}, {132, 130}, {140, 180}};
    float top = CURVE(line, a);
    float below = smoothf(-3, 9, t - top) * (1 - smoothf(118, 136, t)) * (1 - smoothf(118, 128, a));
    f[F_MOUSTACHE] = smoothf(47, 52, t) * (1 - smoothf(64, 69, t)) * (1 - smoothf(22, 31, a + 0.25f * (58 - t)));
    float side = 1 - smoothf(6, 10, fabsf(a - 27) + 0.02f * fabsf(t - 72));
    f[F_GOATEE] = maxf(f[F_MOUSTACHE], maxf(smoothf(80, 85, t) * (1 - smoothf(119, 126, t)) * (1 - smoothf(20, 27, a)),
                                              (side > 0 ? side : 0) * smoothf(58, 64, t) * (1 - smoothf(100, 112, t))));
    f[F_CHIN] = (1 - smoothf(100, 126, a)) * smoothf(98, 108, t) * (1 - smoothf(118, 128, t));
    /* a patch below the lower lip stays thinner */
    float bare = 1 - 0.55f * bell(s, t, 12, 84, 6, 4);
    f[F_BEARD] = maxf(below * bare, f[F_MOUSTACHE]);
}

static lafs_status topology(int cols, int rows, int32_t **tri, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(tri, 6 * (size_t)(cols - 1) * (size_t)(rows - 1), sizeof **tri, err));
    lafs_synth_grid_triangles(cols, rows, *tri);
    return LAFS_OK;
}

/* Glasses: for each eye a ring of RIM outer and RIM inner vertices; then 4 of the bridge, 12 of the temples; then for
 * each lens RIM vertices again and a centre. */
enum { RING = 2 * RIM, BRIDGE_AT = 2 * RING, TEMPLES_AT = BRIDGE_AT + 4, LENS_AT = TEMPLES_AT + 12, LENS = RIM + 1 };
_Static_assert(LENS_AT + 2 * LENS == GLASSES_V, "vertices of glasses");

static lafs_status glasses_topology(struct model *m, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&m->glasses_tri, 3 * (2 * 2 * RIM + 2 + 8 + 2 * RIM), sizeof(int32_t), err));
    int32_t *t = m->glasses_tri;
    int n = 0;
#define TRI(a, b, c) (t[3 * n] = (int32_t)(a), t[3 * n + 1] = (int32_t)(b), t[3 * n + 2] = (int32_t)(c), n++)
    for (int e = 0; e < 2; e++)
        for (int k = 0; k < RIM; k++) {
            int a = e * RING + k, b = e * RING + (k + 1) % RIM;
            TRI(a, b, a + RIM);
            TRI(b, b + RIM, a + RIM);
        }
    TRI(BRIDGE_AT, BRIDGE_AT + 1, BRIDGE_AT + 2);
    TRI(BRIDGE_AT + 1, BRIDGE_AT + 3, BRIDGE_AT + 2);
    for (int e = 0; e < 2; e++)
        for (int k = 0; k < 2; k++) {
            int a = TEMPLES_AT + 6 * e + 2 * k;
            TRI(a, a + 1, a + 2);
            TRI(a + 1, a + 3, a + 2);
        }
    m->lens_from = n;
    for (int e = 0; e < 2; e++)
        for (int k = 0; k < RIM; k++) {
            int a = LENS_AT + e * LENS;
            TRI(a + k, a + (k + 1) % RIM, a + RIM);
        }
#undef TRI
    m->glasses_tris = n;
    return LAFS_OK;
}

lafs_status lafs_synth_model_init(struct model *m, struct lafs_err *err)
{
    *m = (struct model){0};
    LAFS_TRY(lafs_synth_head_init(&m->head, err));
    LAFS_TRY(lafs_synth_noise_init(&m->noise, err));
    LAFS_TRY(lafs_alloc(&m->field, FIELDS * (size_t)HEAD_V, sizeof(float), err));
    for (int i = 0; i < HEAD_ROWS; i++)
        for (int j = 0; j < HEAD_COLS; j++) {
            float f[FIELDS];
            fields_at(m->head.s[j], m->head.t[i], f);
            for (size_t k = 0; k < FIELDS; k++) m->field[k * HEAD_V + (size_t)(i * HEAD_COLS + j)] = f[k];
        }
    LAFS_TRY(topology(EAR_COLS, EAR_ROWS, &m->ear_tri, err));
    LAFS_TRY(topology(TORSO_COLS, TORSO_ROWS, &m->torso_tri, err));
    LAFS_TRY(topology(BRIM_COLS, BRIM_ROWS, &m->brim_tri, err));
    return glasses_topology(m, err);
}

void lafs_synth_model_release(struct model *m)
{
    lafs_synth_head_release(&m->head);
    lafs_synth_noise_release(&m->noise);
    lafs_free(m->field);
    lafs_free(m->ear_tri);
    lafs_free(m->torso_tri);
    lafs_free(m->brim_tri);
    lafs_free(m->glasses_tri);
    *m = (struct model){0};
}

/* -- one figure -- */

lafs_status lafs_synth_figure_init(struct figure *f, const struct model *m, struct lafs_err *err)
{
    *f = (struct figure){.cached = -2};
    const struct {
        int v, tris, front;
        const int32_t *tri;
    } kind[PARTS] = {
        [PART_HEAD] = {HEAD_V, HEAD_TRIS, -1, m->head.tri},
        [PART_EAR_LEFT] = {EAR_COLS * EAR_ROWS, 2 * (EAR_COLS - 1) * (EAR_ROWS - 1), 0, m->ear_tri},
        [PART_EAR_RIGHT] = {EAR_COLS * EAR_ROWS, 2 * (EAR_COLS - 1) * (EAR_ROWS - 1), 0, m->ear_tri},
        [PART_TORSO] = {TORSO_COLS * TORSO_ROWS, 2 * (TORSO_COLS - 1) * (TORSO_ROWS - 1), -1, m->torso_tri},
        [PART_HAIR] = {HEAD_V, HEAD_TRIS, -1, m->head.tri},
        [PART_HAT] = {HEAD_V, HEAD_TRIS, -1, m->head.tri},
        [PART_BRIM] = {BRIM_COLS * BRIM_ROWS, 2 * (BRIM_COLS - 1) * (BRIM_ROWS - 1), 0, m->brim_tri},
        [PART_GLASSES] = {GLASSES_V, m->glasses_tris, 0, m->glasses_tri},
    };
    for (int k = 0; k < PARTS; k++) {
        struct mesh *p = &f->part[k];
        p->v = kind[k].v, p->tris = kind[k].tris, p->front = kind[k].front, p->tri = kind[k].tri;
        LAFS_TRY(lafs_alloc(&p->pos, 3 * (size_t)p->v, sizeof(float), err));
        LAFS_TRY(lafs_alloc(&p->normal, 3 * (size_t)p->v, sizeof(float), err));
        LAFS_TRY(lafs_alloc(&p->scr, 3 * (size_t)p->v, sizeof(float), err));
        LAFS_TRY(lafs_alloc0(&p->attr, (size_t)p->v, sizeof *p->attr, err));
        if (k == PART_HEAD || k == PART_HAIR || k == PART_HAT) LAFS_TRY(lafs_alloc(&p->skip, (size_t)p->v, 1, err));
    }
    LAFS_TRY(lafs_alloc(&f->local, 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&f->base, 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&f->light, 6 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&f->shadow, SHADOW_N * SHADOW_N, sizeof(float), err));
    return LAFS_OK;
}

void lafs_synth_figure_release(struct figure *f)
{
    for (int k = 0; k < PARTS; k++) {
        lafs_free(f->part[k].pos);
        lafs_free(f->part[k].normal);
        lafs_free(f->part[k].scr);
        lafs_free(f->part[k].attr);
        lafs_free(f->part[k].skip);
    }
    lafs_free(f->local);
    lafs_free(f->base);
    lafs_free(f->light);
    lafs_free(f->shadow);
    *f = (struct figure){0};
}

static void rotate(const float m[9], int n, const float *in, float *out)
{
    const float *x = in, *y = in + n, *z = in + 2 * (size_t)n;
    for (int c = 0; c < 3; c++) {
        float a = m[3 * c], b = m[3 * c + 1], d = m[3 * c + 2], *o = out + (size_t)c * (size_t)n;
        for (int i = 0; i < n; i++) o[i] = a * x[i] + b * y[i] + d * z[i];
    }
}

static void project(const struct figure *f, const struct pose *p, struct mesh *m)
{
    size_t n = (size_t)m->v;
    for (size_t i = 0; i < n; i++) {
        float q = p->distance / (p->distance - m->pos[2 * n + i]);
        m->scr[i] = f->anchor[0] + p->scale * m->pos[i] * q;
        m->scr[n + i] = f->anchor[1] + p->scale * m->pos[n + i] * q;
        m->scr[2 * n + i] = q;
    }
}

static void build_head(struct figure *f, const struct model *m, const struct pose *p)
{
    const struct head *h = &m->head;
    if (p->id.person < 0 || f->cached != p->id.person) {
        lafs_synth_head_pose(h, p->id.shape, NULL, f->base);
        f->cached = p->id.person < 0 ? -2 : p->id.person;
    }
    memcpy(f->local, f->base, 3 * HEAD_V * sizeof(float));
    for (int k = 0; k < h->shapes; k++)
        if (p->shape[k] != p->id.shape[k])
            lafs_synth_head_add(f->local, h->shape + (size_t)k * 3 * HEAD_V, p->shape[k] - p->id.shape[k]);
    for (int k = 0; k < EXPR_COUNT; k++)
        if (p->expr[k] != 0) lafs_synth_head_add(f->local, h->expr + (size_t)k * 3 * HEAD_V, p->expr[k]);
    struct mesh *head = &f->part[PART_HEAD];
    rotate(p->rot, HEAD_V, f->local, head->pos);
    lafs_synth_grid_normals(head->pos, HEAD_COLS, HEAD_ROWS, 1, head->normal);
    int upper = 0;
    while (h->t[upper] < 69.75f) upper++;
    for (int j = 0; j < HEAD_COLS; j++) {
        float d = 0;
        for (int c = 0; c < 3; c++) {
            const float *q = f->local + (size_t)c * HEAD_V + (size_t)(upper * HEAD_COLS + j);
            d += (q[HEAD_COLS] - q[0]) * (q[HEAD_COLS] - q[0]);
        }
        f->gap[j] = sqrtf(d);
    }
    f->has[PART_HEAD] = 1;
}

static void build_ear(struct figure *f, const struct model *m, const struct pose *p, int right)
{
    static const float radius[EAR_ROWS] = {0.05f, 0.4f, 0.66f, 0.8f, 0.9f, 1, 0.95f};
    static const float height[EAR_ROWS] = {-3, -2.5f, 4.5f, 3, 6.5f, 5.5f, -3};
    struct mesh *e = &f->part[right ? PART_EAR_RIGHT : PART_EAR_LEFT];
    float at[3], side = right ? 1 : -1, local[3 * EAR_COLS * EAR_ROWS];
    lafs_synth_head_point(&m->head, f->local, side * 141, 9, at);
    float flare = p->id.ear_flare, size = p->id.ear_size;
    for (int i = 0; i < EAR_ROWS; i++)
        for (int j = 0; j < EAR_COLS; j++) {
            int k = i * EAR_COLS + j;
            float a = 2 * pi * (float)j / (EAR_COLS - 1), c = cosf(a), s = sinf(a);
            /* an egg: broad above, the lobe narrow; s points up, c back */
            float wide = 16.5f * (1 + 0.22f * s) * (s < -0.3f ? 1 + 0.25f * (s + 0.3f) : 1), r = radius[i];
            float back = c * wide * r, up = (31 * s + (s > 0 ? 0 : 3 * s)) * r, out = height[i];
            if (c < -0.2f && i >= 3) out *= 0.45f; /* in front the rim runs into the cheek */
            back += 11;
            local[k] = at[0] + side * size * (back * sinf(flare) + out * cosf(flare) - 1);
            local[e->v + k] = at[1] + size * (-up + 0.18f * back) - 4;
            local[2 * e->v + k] = at[2] - size * (back * cosf(flare) - out * sinf(flare) * 0.6f) + 4;
        }
    rotate(p->rot, e->v, local, e->pos);
    lafs_synth_grid_normals(e->pos, EAR_COLS, EAR_ROWS, 1, e->normal);
    if (right) return;
    for (int k = 0; k < 3 * e->v; k++) e->normal[k] = -e->normal[k]; /* the mirror image turns the other way round */
}

static void build_torso(struct figure *f, const struct pose *p)
{
    static const float wide[][2] = {{118, 50},  {140, 54},  {152, 68},  {162, 92}, {172, 122},
                                    {186, 158}, {205, 182}, {240, 196}, {400, 205}};
    static const float deep[][2] = {{118, 48}, {140, 52}, {152, 58}, {170, 72}, {190, 88}, {240, 108}, {400, 118}};
    static const float rows[TORSO_ROWS] = {120, 134, 144, 152, 160, 168, 178, 190, 208, 240, 300, 420};
    struct mesh *m = &f->part[PART_TORSO];
    float local[3 * TORSO_COLS * TORSO_ROWS];
    float broad = 1 + 0.06f * p->id.weight + (p->id.male ? 0.06f : -0.07f);
    for (int i = 0; i < TORSO_ROWS; i++)
        for (int j = 0; j < TORSO_COLS; j++) {
            int k = i * TORSO_COLS + j;
            float a = pi * (2 * (float)j / (TORSO_COLS - 1) - 1), n = 2 / 2.5f;
            float s = sinf(a), c = cosf(a), y = rows[i];
            float w = CURVE(wide, y) * (y > 145 ? broad : 1), d = CURVE(deep, y);
            local[k] = w * (s < 0 ? -1.0f : 1.0f) * powf(fabsf(s), n);
            local[m->v + k] = y - 2 - 14 * smoothf(140, 175, y) * c; /* higher behind */
            local[2 * m->v + k] = -34 + d * (c < 0 ? -1.0f : 1.0f) * powf(fabsf(c), n);
            m->attr[k].v[A_S] = local[k];
            m->attr[k].v[A_T] = y;
            m->attr[k].v[A_EXTRA] = smoothf(-0.1f, 0.3f, c); /* front */
        }
    rotate(p->body, m->v, local, m->pos);
    lafs_synth_grid_normals(m->pos, TORSO_COLS, TORSO_ROWS, 1, m->normal);
    f->has[PART_TORSO] = 1;
}

static void lens_shape(enum glasses_kind kind, float wide, float high, float a, float *x, float *y)
{
    float n = kind == GLASSES_ROUND ? 2 : kind == GLASSES_RECT ? 4.5f : 2.6f;
    float c = cosf(a), s = sinf(a);
    float ry = wide * (kind == GLASSES_ROUND ? 0.9f : high) * (kind == GLASSES_SUN && s > 0 ? 1.05f : 1);
    if (kind == GLASSES_RECT) ry *= 0.85f;
    *x = wide * (c < 0 ? -1.0f : 1.0f) * powf(fabsf(c), 2 / n);
    *y = ry * (s < 0 ? -1.0f : 1.0f) * powf(fabsf(s), 2 / n);
}

static void build_glasses(struct figure *f, const struct model *m, const struct pose *p)
{
    struct mesh *g = &f->part[PART_GLASSES];
    float local[3 * GLASSES_V], *X = local, *Y = local + GLASSES_V, *Z = local + 2 * GLASSES_V;
    float eye[2][3], root[3], ear[2][3];
    lafs_synth_head_point(&m->head, f->local, -31, 0, eye[0]);
    lafs_synth_head_point(&m->head, f->local, 31, 0, eye[1]);
    lafs_synth_head_point(&m->head, f->local, 0, 3, root);
    lafs_synth_head_point(&m->head, f->local, -138, -4, ear[0]);
    lafs_synth_head_point(&m->head, f->local, 138, -4, ear[1]);
    float thick = p->glasses == GLASSES_SUN ? maxf(1.6f, p->id.frame_thick) : p->id.frame_thick,
          wide = p->id.glasses_wide;
    if (p->glasses == GLASSES_HALF) thick *= 0.5f;
    float z0 = maxf(root[2] + 1, maxf(eye[0][2], eye[1][2]) + 9);
    for (int e = 0; e < 2; e++) {
        float side = e ? 1 : -1, cx = side * (wide + 9.0f), cy = 0.5f * (eye[0][1] + eye[1][1]) + 3;
        for (int k = 0; k < RIM; k++) {
            float x, y, a = 2 * pi * (float)k / RIM;
            lens_shape(p->glasses, wide, p->id.glasses_high, a, &x, &y);
            float len = sqrtf(x * x + y * y), grow = (len + thick) / len;
            int o = e * RING + k, i = o + RIM, l = LENS_AT + e * LENS + k;
            X[o] = cx + side * x * grow, Y[o] = cy + y * grow;
            X[i] = X[l] = cx + side * x, Y[i] = Y[l] = cy + y;
        }
        X[LENS_AT + e * LENS + RIM] = cx, Y[LENS_AT + e * LENS + RIM] = cy;
        float bx = side * 9.5f;
        X[BRIDGE_AT + e] = bx, Y[BRIDGE_AT + e] = cy - 6 - thick;
        X[BRIDGE_AT + 2 + e] = bx, Y[BRIDGE_AT + 2 + e] = cy - 4;
        for (int k = 0; k < 3; k++) {
            int a = TEMPLES_AT + 6 * e + 2 * k;
            float out = cx + side * wide;
            X[a] = X[a + 1] = k == 0   ? out
                              : k == 1 ? lerpf(out, ear[e][0] + side * 3, 0.5f) + side * 5
                                       : ear[e][0] + side * 3;
            Y[a] = lerpf(cy - 7, ear[e][1] - 8, (float)k / 2);
            Y[a + 1] = Y[a] + maxf(1.2f, thick * 1.4f);
            Z[a] = Z[a + 1] = lerpf(z0 - 0.0022f * out * out, ear[e][2], (float)k / 2);
        }
    }
    for (int k = 0; k < GLASSES_V; k++)
        if (k < TEMPLES_AT || k >= LENS_AT) Z[k] = z0 - 0.0022f * X[k] * X[k];
    rotate(p->rot, GLASSES_V, local, g->pos);
    for (int k = 0; k < GLASSES_V; k++) /* all face forward; the temples outwards */
        for (int c = 0; c < 3; c++) {
            float out = k >= TEMPLES_AT && k < LENS_AT ? (k < TEMPLES_AT + 6 ? -1.0f : 1.0f) : 0;
            g->normal[c * GLASSES_V + k] = out != 0 ? out * p->rot[3 * c] : p->rot[3 * c + 2];
        }
    for (int k = 0; k < GLASSES_V; k++) g->attr[k].v[A_S] = X[k], g->attr[k].v[A_T] = Y[k];
    f->has[PART_GLASSES] = 1;
}

/* Beard and scalp: density of hair growing on the skin. */
static void grow_beard(struct figure *f, const struct model *m, const struct pose *p)
{
    static const int field[BEARD_STYLES] = {F_BEARD, F_BEARD, F_MOUSTACHE, F_GOATEE, F_BEARD, F_CHIN};
    struct attr *a = f->part[PART_HEAD].attr;
    const float *all = m->field + F_BEARD * (size_t)HEAD_V, *own = m->field + (size_t)field[p->beard] * HEAD_V;
    float shadow = p->id.beard_growth * 0.30f * p->stubble, full = 0;
    if (p->beard == BEARD_STUBBLE) shadow = 0.15f + 0.3f * p->id.beard_growth;
    else if (p->beard != BEARD_NONE) full = 0.75f + 0.35f * p->id.beard_growth;
    for (int k = 0; k < HEAD_V; k++) a[k].v[A_HAIR] = maxf(shadow * all[k], full * own[k]);
}

static void light_head(struct figure *f, const struct model *m, const struct pose *p, const struct lighting *l)
{
    static const float skin_wrap[3] = {0.30f, 0.14f, 0.08f};
    struct mesh *head = &f->part[PART_HEAD];
    float *rgb = f->light, *gloss = f->light + 3 * HEAD_V, *key = f->light + 4 * HEAD_V;
    lafs_synth_shadow_read(f, l, HEAD_V, head->pos, head->normal, key);
    lafs_synth_light_vertices(l, HEAD_V, head->normal, m->head.ao, key, skin_wrap, rgb, gloss);
    const float *ruddy = m->field, *eye = m->field + F_EYE * (size_t)HEAD_V,
                *brown = m->field + F_BROWN * (size_t)HEAD_V;
    float red = 0.22f * p->id.ruddy * p->flush * (1 - 0.5f * p->id.tone), dark = 0.34f * p->id.eye_dark,
          tan = 0.14f * p->id.blotch;
    for (int i = 0; i < HEAD_ROWS; i++)
        for (int j = 0; j < HEAD_COLS; j++) {
            int k = i * HEAD_COLS + j;
            float *v = head->attr[k].v, r = red * ruddy[k], d = 1 - dark * eye[k] - tan * brown[k];
            v[A_S] = m->head.s[j];
            v[A_T] = m->head.t[i];
            v[A_RED] = rgb[k] * (1 + 0.15f * r) * d * (1 + 0.08f * dark * eye[k]);
            v[A_GREEN] = rgb[HEAD_V + k] * (1 - r) * d;
            v[A_BLUE] = rgb[2 * HEAD_V + k] * (1 - 0.8f * r) * d;
            v[A_GLOSS] = gloss[k];
        }
    grow_beard(f, m, p);
}

static void light_part(struct figure *f, enum part which, const struct lighting *l, const float *ao,
                       const float wrap[3])
{
    struct mesh *m = &f->part[which];
    size_t n = (size_t)m->v;
    float *rgb = f->light, *gloss = f->light + 3 * n, *key = f->light + 4 * n;
    lafs_synth_shadow_read(f, l, m->v, m->pos, m->normal, key);
    lafs_synth_light_vertices(l, m->v, m->normal, ao, key, wrap, rgb, gloss);
    for (size_t k = 0; k < n; k++) {
        for (size_t c = 0; c < 3; c++) m->attr[k].v[A_RED + c] = rgb[c * n + k];
        m->attr[k].v[A_GLOSS] = gloss[k];
    }
}

static void light_rest(struct figure *f, const struct lighting *l)
{
    static const float soft[3] = {0.35f, 0.2f, 0.15f}, hard[3] = {0.05f, 0.05f, 0.05f},
                       hairy[3] = {0.35f, 0.35f, 0.35f};
    static const float ear_ao[EAR_ROWS] = {0.3f, 0.38f, 0.8f, 0.55f, 0.85f, 0.9f, 0.5f};
    float ao[HEAD_V];
    for (int k = 0; k < EAR_COLS * EAR_ROWS; k++) ao[k] = ear_ao[k / EAR_COLS];
    for (int e = PART_EAR_LEFT; e <= PART_EAR_RIGHT; e++)
        if (f->has[e]) light_part(f, (enum part)e, l, ao, soft);
    struct mesh *t = &f->part[PART_TORSO];
    for (int k = 0; k < t->v; k++) { /* the head keeps the sky from neck and shoulders */
        float under = smoothf(118, 190, t->attr[k].v[A_T]);
        ao[k] = 0.3f + 0.7f * under;
    }
    light_part(f, PART_TORSO, l, ao, hard);
    for (int k = 0; k < HEAD_V; k++) ao[k] = 1;
    for (int e = PART_HAT; e <= PART_GLASSES; e++)
        if (f->has[e]) light_part(f, (enum part)e, l, ao, hard);
    if (f->has[PART_HAIR]) {
        struct mesh *h = &f->part[PART_HAIR];
        for (int k = 0; k < HEAD_V; k++) ao[k] = h->attr[k].v[A_EXTRA];
        light_part(f, PART_HAIR, l, ao, hairy);
    }
}

void lafs_synth_figure_build(struct figure *f, const struct model *m, const struct pose *p, const struct lighting *l)
{
    memset(f->has, 0, sizeof f->has);
    f->loose = 0;
    build_head(f, m, p);
    float at[3] = {0, 0, 88}, eye[3];
    for (int c = 0; c < 3; c++) eye[c] = p->rot[3 * c] * at[0] + p->rot[3 * c + 1] * at[1] + p->rot[3 * c + 2] * at[2];
    float q = p->distance / (p->distance - eye[2]);
    f->anchor[0] = p->cx - p->scale * eye[0] * q;
    f->anchor[1] = p->cy - p->scale * eye[1] * q;
    f->pixel = 1 / (p->scale * q);
    build_torso(f, p);
    memset(f->part[PART_HEAD].skip, 0, HEAD_V); /* hair and hats hide what lies below */
    f->has[PART_EAR_LEFT] = p->yaw > -0.6f;
    f->has[PART_EAR_RIGHT] = p->yaw < 0.6f;
    if (f->has[PART_EAR_LEFT]) build_ear(f, m, p, 0);
    if (f->has[PART_EAR_RIGHT]) build_ear(f, m, p, 1);
    if (p->glasses != GLASSES_NONE) build_glasses(f, m, p);
    lafs_synth_hair_build(f, m, p);
    if (f->loose) f->has[PART_EAR_LEFT] = f->has[PART_EAR_RIGHT] = 0; /* hair hangs over them */
    lafs_synth_shadow_begin(f, l);
    lafs_synth_shadow_cast(f, f->part[f->has[PART_HAIR] ? PART_HAIR : PART_HEAD].pos, HEAD_COLS, HEAD_ROWS, 2, -1);
    if (f->has[PART_HAT]) lafs_synth_shadow_cast(f, f->part[PART_HAT].pos, HEAD_COLS, HEAD_ROWS, 2, -1);
    if (f->has[PART_BRIM]) lafs_synth_shadow_cast(f, f->part[PART_BRIM].pos, BRIM_COLS, BRIM_ROWS, 1, 0);
    light_head(f, m, p, l);
    light_rest(f, l);
    for (int k = 0; k < PARTS; k++)
        if (f->has[k]) project(f, p, &f->part[k]);
}
