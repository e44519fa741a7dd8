#include "model/viewtokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SUBSET = 4096 };

int64_t lafs_view_tokens(const struct lafs_point_rule *r, int kind, int size)
{
    if (r->dino) return (int64_t)(size / r->patch) * (size / r->patch);
    return kind == LAFS_VIEW_LOCAL ? r->subset : r->landmarks;
}

static int ascending(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

void lafs_view_points(const struct lafs_point_rule *r, int kind, int64_t epoch, const char *key, int view,
                      const float *landmarks, float *points, int32_t *index)
{
    int32_t own[MAX_SUBSET], *pick = kind != LAFS_VIEW_LOCAL || r->subset < 1 ? NULL : index ? index : own;
    int n = pick ? r->subset : r->landmarks;
    if (pick) lafs_plan_subset(r->landmarks, n, r->seed, epoch, key, view, pick);
    if (pick && r->ordered) qsort(pick, (size_t)n, sizeof *pick, ascending);
    lafs_plan_noise(r->sigma, n, pick, r->seed, epoch, key, view, points);
    for (int i = 0; i < n; i++) {
        int k = pick ? pick[i] : i;
        points[2 * i] = landmarks[2 * k] + points[2 * i];
        points[2 * i + 1] = landmarks[2 * k + 1] + points[2 * i + 1];
        if (index && !pick) index[i] = k;
    }
}

void lafs_grid_landmarks(int R, float *landmarks)
{
    enum { SIDE = 112 };
    int n = (int)lround(sqrt(R));
    float cell = (float)SIDE / (float)n;
    /* A patch of p = SIDE/n pixels at column c begins at pixel p c = value - p/2 - 0.5. */
    for (int k = 0; k < n * n; k++) {
        landmarks[2 * k] = cell * (float)(k % n) + cell / 2 + 0.5f;
        landmarks[2 * k + 1] = cell * (float)(k / n) + cell / 2 + 0.5f;
    }
}
