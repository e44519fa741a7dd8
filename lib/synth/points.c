#include "synth/points.h"

#include <math.h>
#include <string.h>

#include "image/align.h"
#include "synth/paint.h"

static void project_at(const struct figure *f, const struct model *m, float s, float t, float *out)
{
    float p[3];
    lafs_synth_head_point(&m->head, f->part[PART_HEAD].scr, s, t, p);
    out[0] = p[0];
    out[1] = p[1];
}

/* The line of the jaw: where the face ends in the picture. On a side that is turned away its contour hides the true
 * line, so the point moves inwards along its row of the grid to where the row reaches out furthest. */
static void jaw(const struct figure *f, const struct model *m, float *out)
{
    static const float at[9][2] = {{131, -3},        {130, 18},        {126, 55},        {113, 96},      {97, 114},
                                   {74, HEAD_T_JAW}, {50, HEAD_T_JAW}, {25, HEAD_T_JAW}, {0, HEAD_T_JAW}};
    float chin[2], root[2];
    project_at(f, m, 0, HEAD_T_JAW, chin);
    project_at(f, m, 0, -5, root);
    float ux = chin[0] - root[0], uy = chin[1] - root[1], len = sqrtf(ux * ux + uy * uy) + 1e-6f;
    ux /= len, uy /= len; /* down the face; across it, to image right, is (uy, -ux) */
    for (int i = 0; i < 17; i++) {
        int k = i <= 8 ? i : 16 - i;
        float side = i < 8 ? -1 : 1, s = at[k][0], t = at[k][1], best[2], reach;
        project_at(f, m, side * s, t, best);
        /* outwards: sideways at the ears, down at the chin */
        float turn = (float)k / 8 * 1.5707963f, cs = cosf(turn) * side, sn = sinf(turn);
        float dx = cs * uy + sn * ux, dy = -cs * ux + sn * uy;
        reach = best[0] * dx + best[1] * dy;
        for (float q = s - 2; k < 8 && q > 0.35f * s; q -= 2) {
            float p[2];
            project_at(f, m, side * q, t, p);
            float r = p[0] * dx + p[1] * dy;
            if (r > reach + 0.01f) reach = r, best[0] = p[0], best[1] = p[1];
        }
        out[2 * i] = best[0];
        out[2 * i + 1] = best[1];
    }
}

/* Coordinates on the skin of what skin.c draws. */
static void eye_points(const struct pose *p, int right, float out[6][2])
{
    const struct identity *id = &p->id;
    float side = right ? 1 : -1, open = p->lids[right];
    for (int i = 0; i < 4; i++) { /* inner corner, inner upper, outer upper, outer corner */
        float u = i == 0 ? -0.97f : i == 1 ? -0.36f : i == 2 ? 0.36f : 0.97f;
        float bend = (u - id->eye_peak) / (u > id->eye_peak ? 1 - id->eye_peak : 1 + id->eye_peak),
              arc = maxf(0, 1 - bend * bend);
        float low = id->eye_low * (1 - u * u) + 0.6f * (u < 0 ? -u : 0);
        float up = -id->eye_up * powf(arc, 0.85f) * open * (1 + 0.12f * (1 - arc)) + (1 - open) * low * 0.95f +
                   0.6f * (u < 0 ? -u : 0);
        out[i][0] = side * (31 + u * id->eye_wide);
        out[i][1] = i == 0 || i == 3 ? 0.5f * (up + low) : up;
    }
    for (int i = 4; i < 6; i++) { /* outer lower, inner lower */
        float u = i == 4 ? 0.36f : -0.36f;
        out[i][0] = side * (31 + u * id->eye_wide);
        out[i][1] = id->eye_low * (1 - u * u) + 0.6f * (u < 0 ? -u : 0);
    }
}

static void mouth_points(const struct identity *id, float (*st)[2])
{
    float w = id->lip_wide;
    const float upper[5] = {-0.58f, -0.23f, 0, 0.23f, 0.58f};
    st[0][0] = -w, st[0][1] = 70;
    st[6][0] = w, st[6][1] = 70;
    for (int i = 0; i < 5; i++) {
        st[1 + i][0] = upper[i] * w, st[1 + i][1] = lafs_synth_lip_edge(id, upper[i] * w, 0);
        st[7 + i][0] = -upper[i] * w, st[7 + i][1] = lafs_synth_lip_edge(id, upper[i] * w, 1);
    }
    st[12][0] = -0.92f * w, st[12][1] = 70;
    st[16][0] = 0.92f * w, st[16][1] = 70;
    for (int i = 0; i < 3; i++) {
        st[13 + i][0] = ((float)i - 1) * 0.28f * w, st[13 + i][1] = 69.8f;
        st[17 + i][0] = (1 - (float)i) * 0.28f * w, st[17 + i][1] = 70.2f;
    }
}

static void face_box(const struct figure *f, const struct model *m, const float *p68, float box[4])
{
    float lo[2] = {1e9f, 1e9f}, hi[2] = {-1e9f, -1e9f};
    const struct mesh *h = &f->part[PART_HEAD];
    for (int i = 0; i < HEAD_ROWS; i++) {
        float t = m->head.t[i];
        if (t < -58 || t > HEAD_T_JAW) continue; /* from below the hairline to the jaw */
        for (int j = 0; j < HEAD_COLS; j++) {
            if (fabsf(m->head.s[j]) > 108) continue;
            size_t k = (size_t)(i * HEAD_COLS + j);
            if (h->normal[2 * (size_t)HEAD_V + k] < -0.05f) continue;
            for (size_t c = 0; c < 2; c++) {
                float v = h->scr[c * HEAD_V + k];
                lo[c] = minf(lo[c], v), hi[c] = maxf(hi[c], v);
            }
        }
    }
    for (int i = 17; i < 68; i++)
        for (int c = 0; c < 2; c++) lo[c] = minf(lo[c], p68[2 * i + c]), hi[c] = maxf(hi[c], p68[2 * i + c]);
    box[0] = lo[0], box[1] = lo[1], box[2] = hi[0] - lo[0], box[3] = hi[1] - lo[1];
}

void lafs_synth_points_find(const struct figure *f, const struct model *m, const struct pose *p,
                            struct lafs_synth_face *face)
{
    const struct identity *id = &p->id;
    float *out = face->points68, st[68][2];
    jaw(f, m, out);
    for (int i = 0; i < 5; i++) {
        float u = (float)i / 4, s = lerpf(id->brow_out - 1, id->brow_in + 1, u),
              v = (s - id->brow_in) / (id->brow_out - id->brow_in);
        float half = 0.35f * id->brow_thick * (1.02f - 0.72f * smoothf(0.4f, 1.05f, v)); /* marked on the upper edge */
        st[17 + i][0] = -s, st[26 - i][0] = s;
        st[17 + i][1] = st[26 - i][1] = lafs_synth_brow_middle(id, v) - half;
    }
    static const float nose[9][2] = {{0, -4},     {0, 9},  {0, 21},    {0, 33.5f}, {-12.5f, 43},
                                     {-6.5f, 45}, {0, 46}, {6.5f, 45}, {12.5f, 43}};
    memcpy(st[27], nose, sizeof nose);
    float eye[6][2];
    static const int order[2][6] = {{3, 2, 1, 0, 5, 4}, {0, 1, 2, 3, 4, 5}};
    for (int right = 0; right < 2; right++) {
        eye_points(p, right, eye);
        for (int i = 0; i < 6; i++) memcpy(st[36 + 6 * right + i], eye[order[right][i]], sizeof eye[0]);
    }
    mouth_points(id, st + 48);
    for (int i = 17; i < 68; i++) project_at(f, m, st[i][0], st[i][1], out + 2 * i);
    lafs_points68_to_5(out, face->points);
    face_box(f, m, out, face->box);
    face->person = id->person;
    face->skin = id->skin;
    face->yaw = p->yaw * 57.29578f;
    face->pitch = p->pitch * 57.29578f;
    face->roll = p->roll * 57.29578f;
}
