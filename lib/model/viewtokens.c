#include "model/viewtokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

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

lafs_status lafs_view_points(const struct lafs_point_rule *r, int kind, int64_t epoch, const char *key, int view,
                             const float *landmarks, float *points, int32_t *index, struct lafs_err *err)
{
    int n = kind == LAFS_VIEW_LOCAL ? r->subset : 0;
    float *noise;
    int32_t *pick;
    LAFS_TRY(lafs_alloc0(&noise, (size_t)r->landmarks * 2, sizeof *noise, err));
    lafs_status st = lafs_alloc(&pick, (size_t)n, sizeof *pick, err);
    if (st != LAFS_OK) {
        lafs_free(noise);
        return st;
    }
    lafs_plan_landmarks(r->landmarks, r->sigma, n, r->seed, epoch, key, view, noise, pick);
    if (n && r->ordered) qsort(pick, (size_t)n, sizeof *pick, ascending);
    int count = n ? n : r->landmarks;
    for (int i = 0; i < count; i++) {
        int k = n ? pick[i] : i;
        points[2 * i] = landmarks[2 * k] + noise[2 * k];
        points[2 * i + 1] = landmarks[2 * k + 1] + noise[2 * k + 1];
        if (index) index[i] = k;
    }
    lafs_free(noise);
    lafs_free(pick);
    return LAFS_OK;
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
