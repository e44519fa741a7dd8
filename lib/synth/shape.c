#include "synth/shape.h"

#include <math.h>
#include <stddef.h>

#include "synth/head.h"
#include "synth/synth.h"

enum kind {
    END,
    PAIR,   /* a bump on both sides; dx points outwards */
    MID,    /* a bump on the midline; dx spreads it: proportional to s */
    ONE,    /* a bump on one side only, dx to image right */
    GROW    /* a pair, each stretched about its centre by dx and dy at one radius */
};
struct bump {
    enum kind kind;
    float s, t, rs, rt; /* centre, radii: one standard deviation of the Gaussian */
    float dx, dy, dz;
};

static void add_bump(const struct bump *b, float s, float t, float d[3])
{
    float side = s < 0 ? -1 : 1, a = b->kind == PAIR || b->kind == GROW ? fabsf(s) : s;
    float u = (a - b->s) / b->rs, v = (t - b->t) / b->rt, q = u * u + v * v;
    if (q > 20) return;
    float g = expf(-0.5f * q);
    if (b->kind == PAIR || b->kind == GROW) {
        /* Continuous across the midline: what moves outwards must stop there. */
        float edge = smoothf(0, 4, a);
        float kx = b->kind == GROW ? u * 1.65f : 1, ky = b->kind == GROW ? v * 1.65f : 1;
        d[0] += side * b->dx * g * edge * kx;
        d[1] += b->dy * g * ky;
        d[2] += b->dz * g;
        return;
    }
    d[0] += b->dx * g * (b->kind == MID ? u * 1.65f : 1);
    d[1] += b->dy * g;
    d[2] += b->dz * g;
}

static void add_bumps(const struct bump *b, float s, float t, float d[3])
{
    for (; b->kind != END; b++) add_bump(b, s, t, d);
}

static const struct bump mean_bumps[] = {
    {MID, 0, -16, 13, 8, 0, 0, 1.5f},        /* glabella */
    {PAIR, 30, -19, 17, 6, 0, 0, 3.2f},      /* ridge of the brow */
    {PAIR, 62, -26, 14, 16, -1.5f, 0, -1.5f},/* temple */
    {PAIR, 26, -50, 20, 16, 0, 0, 1.2f},     /* frontal eminence */
    {PAIR, 29, 1, 15, 11, 0, 0, -6.5f},      /* eye socket */
    {PAIR, 31, 0.5f, 9.5f, 7.5f, 0, 0, 5.6f},/* eyeball under the lids */
    {PAIR, 14.5f, 1, 4.5f, 6, 0, 0, -2.6f},  /* inner corner */
    {PAIR, 30, 14, 13, 5, 0, 0, -0.8f},      /* below the lower lid */
    {PAIR, 50, 22, 16, 14, 1.5f, 0, 3.2f},   /* cheekbone */
    {PAIR, 33, 28, 12, 11, 0, 0, 2.6f},      /* front of the cheek */
    {PAIR, 58, 62, 18, 18, 0.4f, 0, 0.4f},   /* below the cheekbone */
    {PAIR, 108, 30, 26, 14, 2.2f, 0, 0},     /* zygomatic arch */
    {MID, 0, 64, 21, 17, 0, 0, 4.0f},        /* muzzle */
    {PAIR, 24, 51, 5, 9, 0, 0, -0.5f},      /* nasolabial furrow */
    {MID, 0, 56, 2.6f, 5.5f, 0, 0, -1.3f},   /* philtrum */
    {PAIR, 5, 57, 2, 5.5f, 0, 0, 0.5f},      /* and its ridges */
    {MID, 0, 65.3f, 11, 3.0f, 0, 0, 2.6f},   /* upper lip */
    {PAIR, 13, 66, 8, 2.8f, 0, 0, 1.3f},
    {MID, 0, 70, 13, 1.7f, 0, 0, -2.4f},     /* line of the mouth */
    {PAIR, 19, 70, 6, 1.7f, 0, 0, -2.0f},
    {MID, 0, 75.3f, 10, 3.4f, 0, 0, 3.4f},   /* lower lip */
    {PAIR, 12, 74.6f, 8, 3.0f, 0, 0, 1.6f},
    {PAIR, 28, 70.5f, 3.6f, 3.6f, 0, 0, -1.8f}, /* corners of the mouth */
    {MID, 0, 84, 15, 4.2f, 0, 0, -3.0f},     /* furrow above the chin */
    {MID, 0, 100, 13, 9, 0, 0, 4.2f},        /* chin */
    {PAIR, 32, 92, 12, 14, 0, 0, -1.2f},
    {PAIR, 13.2f, 37.8f, 3.9f, 4.0f, 1.0f, 0, 6.8f}, /* wings of the nose */
    {PAIR, 18.6f, 38, 2.2f, 5, 0, 0, -1.6f}, /* furrow behind them */
    {PAIR, 6.3f, 42.6f, 2.6f, 1.6f, 0, -1.4f, -4.2f}, /* nostrils */
    {END}};

void lafs_synth_shape_features(float s, float t, float d[3])
{
    static const float height[][2] = {{-14, 0}, {-6, 1.2f}, {2, 5.0f}, {11, 10.5f}, {20, 16.5f}, {28, 21.5f}, {33, 24},
                                      {36.2f, 23.7f}, {38.8f, 20.8f}, {41.5f, 15}, {44.2f, 8}, {47, 3}, {53, 0}};
    static const float width[][2] = {{-12, 11},  {0, 7.4f},  {10, 7.2f}, {20, 8.0f}, {30, 9.4f},
                                     {36, 9.8f}, {42, 8.5f}, {46, 6.5f}, {52, 7}};
    d[0] = d[1] = d[2] = 0;
    if (t > -16 && t < 56 && fabsf(s) < 45) {
        float h = CURVE(height, t + 0.02f * minf(s * s, 180) * smoothf(26, 38, t)), w = CURVE(width, t),
              q = s / w; /* wings end above the tip */
        float ridge = expf(-0.5f * q * q * (1 + 0.25f * q * q)), flank = expf(-0.5f * s * s / (15.0f * 15));
        float low = smoothf(0, 12, t) * (1 - smoothf(34, 44, t));
        d[2] += h * ((1 - 0.22f * low) * ridge + 0.22f * low * flank);
        /* the tip hangs a little over the columella */
        d[1] += 1.4f * ridge * expf(-0.5f * (t - 39) * (t - 39) / 9);
    }
    add_bumps(mean_bumps, s, t, d);
}

/* Directions of identity. Whole-head ones come first and are linear in the position. */
enum { WIDTH, LOWER, DEPTH, CROWN, NECK, SKEW, WHOLE };

struct direction {
    float male, age, weight;
    struct bump b[5];
};
static const struct direction directions[] = {
    [WIDTH] = {0.4f, 0, 0.35f, {{END}}},
    [LOWER] = {0.45f, 0.05f, 0, {{END}}},
    [DEPTH] = {0.3f, 0, 0, {{END}}},
    [CROWN] = {0.1f, 0, 0, {{END}}},
    [NECK] = {1.3f, 0, 0.6f, {{END}}},
    [SKEW] = {0, 0, 0, {{END}}},
    {1.3f, 0.1f, 0.25f, {{PAIR, 98, 108, 24, 22, 4.2f, 0, 0}}},  /* width of the jaw */
    {0.5f, 0, 0.2f, {{PAIR, 26, 111, 15, 10, 3.2f, 0, 0.6f}}},   /* squareness of the chin */
    {0.6f, 0.1f, 0, {{MID, 0, 110, 42, 20, 0, 4.2f, 0}}},        /* length of the chin */
    {0.4f, 0, 0, {{MID, 0, 102, 26, 14, 0, 0, 3.6f}}},           /* its prominence */
    {0.1f, 0, 0, {{PAIR, 104, 24, 30, 20, 3.2f, 0, 0}}},         /* width of the cheekbones */
    {-0.3f, -0.25f, 0, {{PAIR, 46, 24, 13, 11, 0.6f, 0, 2.5f}}}, /* their prominence */
    {0,
     -0.1f,
     1.1f,
     {{PAIR, 66, 66, 24, 26, 3.4f, 0, 2.4f}, {PAIR, 80, 112, 30, 16, 1.6f, 1.5f, 1}}}, /* fullness of the cheeks */
    {-0.6f, 0, 0, {{MID, 0, -55, 45, 22, 0, 0, 3.6f}}},                                /* steepness of the forehead */
    {0, 0, 0, {{PAIR, 58, -45, 22, 26, 2.6f, 0, 0}}},                                  /* width of the forehead */
    {1.4f, 0.1f, 0, {{PAIR, 24, -17, 19, 7, 0, 0, 2.0f}, {MID, 0, -15, 12, 8, 0, 0, 1.4f}}}, /* ridge of the brow */
    {0.1f, 0, 0, {{PAIR, 31, 0, 15, 16, 1.9f, 0, 0}}},                                       /* distance of the eyes */
    {0.5f, 0.15f, -0.2f, {{PAIR, 30, 0, 14, 10, 0, 0, -2.2f}}},                              /* their depth */
    {0.1f, 0, 0, {{PAIR, 30, -4, 24, 16, 0, 1.7f, 0}}}, /* their height in the face */
    {-0.2f, -0.15f, 0, {{PAIR, 44, -1, 9, 9, 0, -1.7f, 0}, {PAIR, 18, 1, 7, 8, 0, 0.7f, 0}}}, /* their slant */
    {-0.5f, -0.15f, 0, {{GROW, 31, 0, 14, 9, 1.5f, 1.0f, 0}}},                                /* their size */
    {0.4f, 0.25f, 0, {{MID, 0, 45, 16, 15, 0, 2.9f, 0}}},                                     /* length of the nose */
    {0.5f, 0.1f, 0, {{MID, 0, 35, 9, 9.5f, 0, 0, 2.8f}}},                                     /* its tip's prominence */
    {0.3f, 0, 0, {{MID, 0, 10, 8, 13, 0, 0, 2.4f}}},                                          /* height of its bridge */
    {0.3f, 0.1f, 0.1f, {{MID, 0, 18, 9, 17, 1.7f, 0, 0}}},                                    /* width of its bridge */
    {0.6f, 0.15f, 0.2f, {{PAIR, 14, 40, 7.5f, 8, 2.3f, 0, -0.4f}}},                           /* width of its wings */
    {0.4f, 0.2f, 0.1f, {{PAIR, 7, 36.5f, 5, 6, 1.3f, 0, 1.0f}}},                              /* roundness of its tip */
    {-0.4f, -0.2f, 0, {{MID, 0, 37.5f, 9, 7, 0, -2.4f, 0}}},                                  /* its tip turned up */
    {0.4f, 0.1f, 0, {{MID, 0, 17, 6, 6.5f, 0, 0, 1.7f}}},                                     /* hump */
    {-0.4f, 0, 0, {{MID, 0, -4, 9, 7.5f, 0, 0, 2.0f}}},              /* root of the nose filled */
    {0, 0, 0, {{PAIR, 13, 41, 5.5f, 5.5f, 0, -1.5f, 0}}},            /* wings drawn up */
    {0.3f, 0.1f, 0, {{PAIR, 24, 70, 10, 9, 2.8f, 0, -0.6f}}},        /* width of the mouth */
    {0.3f, 0.2f, 0, {{MID, 0, 72, 34, 12, 0, 2.5f, 0}}},             /* its height in the face */
    {-0.3f, -0.3f, 0, {{MID, 0, 64, 18, 4, 0, -1.4f, 1.1f}}},        /* upper lip */
    {-0.2f, -0.25f, 0, {{MID, 0, 77, 17, 4.5f, 0, 1.5f, 1.3f}}},     /* lower lip */
    {0, 0, 0, {{MID, 0, 68, 26, 18, 0, 0, 2.8f}}},                   /* muzzle */
    {0, 0, 0, {{MID, 0, 88, 26, 13, 0, 0, -2.4f}}},                  /* receding lower jaw */
    {0.1f, 0.2f, -0.4f, {{PAIR, 64, -28, 16, 18, -2.0f, 0, -1.2f}}}, /* hollow temples */
    {0.2f, 0.3f, -0.9f, {{PAIR, 56, 60, 15, 15, -1.0f, 0, -2.5f}}},  /* hollow cheeks */
    {0.1f,
     0.6f,
     0.1f,
     {{PAIR, 23, 53, 4.5f, 11, 0, 0, -1.1f}, {PAIR, 31, 50, 6, 11, 0.5f, 0, 1.0f}}}, /* nasolabial fold */
    {0.1f,
     0.7f,
     0,
     {{PAIR, 31, 14, 11, 4, 0, 0, 1.2f}, {PAIR, 31, 20, 13, 3.5f, 0, 0, -0.7f}}}, /* bags under the eyes */
    {0.6f, 0.3f, 0, {{PAIR, 28, -20, 24, 8, 0, 1.9f, 0}}},                        /* low brows */
    {0.2f, -0.1f, 0, {{PAIR, 98, 110, 20, 16, 0, 4.0f, 0}}},                      /* angle of the jaw lower */
    {0.4f, 0, 0, {{MID, 0, 104, 2.6f, 5, 0, 0, -1.2f}}},                          /* cleft in the chin */
    {0.1f, 0.5f, 0, {{PAIR, 42, -8, 9, 6, 0, 1.5f, 1.3f}}},                       /* hooded eyes */
    {-0.1f, -0.35f, 0, {{PAIR, 25, 70, 7, 6, 0, -1.3f, 0}}},                      /* corners of the mouth up */
    {0, -0.1f, 0, {{MID, 0, 56, 3, 7, 0, 0, -0.8f}}},                             /* depth of the philtrum */
    {0.1f, 0.3f, 1.2f, {{MID, 0, 123, 60, 9, 0, 3.5f, 3}}},                       /* double chin */
    {0, 0.2f, -0.3f, {{PAIR, 30, 21, 13, 8, 0, 0, -1.5f}}},                       /* flat below the eyes */
    {0, 0.5f, 0.4f, {{PAIR, 44, 100, 14, 10, 0.8f, 2.2f, 0.8f}}},                 /* jowls */
    {0, 0, 0, {{ONE, 31, 0, 16, 13, 0, 1.1f, 0}}},                                /* one eye lower */
    {0, 0, 0, {{MID, 0, 34, 9, 14, 0, 0, 0}, {ONE, 0, 34, 9, 14, 1.2f, 0, 0}}},   /* nose bent */
    {0, 0, 0, {{ONE, 24, 70, 10, 9, 0, 0.9f, 0}}},                                /* one corner of the mouth lower */
    {0, 0, 0, {{ONE, 60, 60, 24, 30, 1.4f, 0, 1.0f}}},                            /* one cheek fuller */
};
enum { DIRECTIONS = sizeof directions / sizeof *directions };
_Static_assert((int)DIRECTIONS <= (int)LAFS_SYNTH_SHAPES, "directions");

int lafs_synth_shape_count(void) { return DIRECTIONS; }

void lafs_synth_shape_bias(int m, float *male, float *age, float *weight)
{
    *male = directions[m].male;
    *age = directions[m].age;
    *weight = directions[m].weight;
}

void lafs_synth_shape_direction(int m, float s, float t, const float p[3], float d[3])
{
    d[0] = d[1] = d[2] = 0;
    if (m >= WHOLE) {
        add_bumps(directions[m].b, s, t, d);
        return;
    }
    float above = 1 - smoothf(118, 150, t);
    switch (m) {
    case WIDTH: d[0] = 0.045f * p[0] * above; break;
    case LOWER: d[1] = 0.042f * maxf(p[1], 0) * above; break;
    case DEPTH: d[2] = 0.035f * p[2]; break;
    case CROWN: d[1] = 0.05f * minf(p[1] + 25, 0); break;
    case NECK: d[0] = 0.07f * p[0] * (1 - above), d[2] = 0.05f * p[2] * (1 - above); break;
    case SKEW: d[0] = 1.4f * smoothf(20, 115, t) * above; break;
    }
}

static const struct bump expressions[EXPR_COUNT][8] = {
    [EXPR_SMILE] = {{PAIR, 26, 70.5f, 11, 10, 6.0f, -5.5f, -4.5f},
                    {PAIR, 40, 36, 13, 12, 1.2f, -2.6f, 3.2f},
                    {MID, 0, 66, 16, 6, 0, -0.8f, -2.0f},
                    {MID, 0, 76, 16, 6, 0, -0.6f, -1.2f},
                    {PAIR, 25, 53, 4, 9, 0.6f, 0, -1.4f},
                    {PAIR, 16, 41, 6, 6, 1.2f, -0.8f, 0},
                    {PAIR, 31, 11, 13, 5, 0, -1.2f, 0.8f}},
    [EXPR_PUCKER] = {{PAIR, 24, 70, 10, 9, -7, 0, 2}, {MID, 0, 70, 16, 10, 0, 0, 5.5f}},
    [EXPR_FROWN] = {{PAIR, 11, -18, 8, 8, -2.4f, 3.6f, 1.0f}, {PAIR, 30, -19, 14, 8, -0.8f, 2.4f, 0.3f}},
    [EXPR_RAISE] = {{PAIR, 26, -20, 22, 9, 0, -5.5f, 0}, {MID, 0, -30, 40, 14, 0, -2.5f, 0}},
    [EXPR_DOWN] = {{PAIR, 26, 70.5f, 9, 8, 0.5f, 4.5f, -0.5f}, {MID, 0, 84, 14, 6, 0, -1, 1.2f}},
    [EXPR_SMIRK] = {{ONE, 26, 70.5f, 11, 10, 4.5f, -4.5f, -3},
                    {ONE, 40, 38, 13, 12, 0.8f, -2, 2.2f},
                    {ONE, -22, 70, 9, 9, 1.5f, 0.5f, 0}},
    [EXPR_SNEER] = {{PAIR, 10, 60, 9, 7, 0, -3, 0.6f},
                    {PAIR, 14, 40, 6, 6, 1.4f, -1.8f, 0},
                    {PAIR, 20, 30, 9, 9, 0, -1.2f, 1}},
    [EXPR_PUFF] = {{PAIR, 58, 64, 20, 18, 4, 0, 4}},
    [EXPR_PRESS] = {{MID, 0, 65, 20, 3.2f, 0, 1.8f, -1.8f}, {MID, 0, 76, 19, 3.6f, 0, -2.0f, -1.8f}},
};

/* The jaw turns about the ears: what lies below the line of the mouth goes down and back. */
static void open_jaw(float s, float t, float d[3])
{
    float a = fabsf(s);
    float split = t >= 70.1f ? 1 : 0, soft = smoothf(52, 92, t);
    float w = lerpf(split, soft, smoothf(17, 29, a));
    w *= 1 - smoothf(50, 128, a);
    w *= 1 - 0.75f * smoothf(122, 150, t);
    if (t > 150) w *= 1 - smoothf(150, 165, t);
    d[1] += 21 * w;
    d[2] -= 9 * w;
    struct bump narrow = {PAIR, 26, 70, 9, 9, -2.5f, 0, 0}, lift = {MID, 0, 65, 15, 6, 0, -1.2f, 0};
    add_bump(&narrow, s, t, d);
    if (t < 70) add_bump(&lift, s, t, d);
}

void lafs_synth_shape_expression(int m, float s, float t, float d[3])
{
    d[0] = d[1] = d[2] = 0;
    if (m == EXPR_OPEN) open_jaw(s, t, d);
    else add_bumps(expressions[m], s, t, d);
}
