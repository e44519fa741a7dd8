/* Any bytes as the field `views`: what is read can be written and read again, and its plans can be carried out. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "data/views.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lafs_backend backend;

/* On a source of 24 x 17 pixels, those plans that fit it and are quick. */
static void render(const struct lafs_viewplan *plan)
{
    enum { W = 24, H = 17 };
    static uint8_t px[W * H * 3], out[64 * 64 * 3];
    const uint8_t *source = px;
    uint8_t *to = out;
    int w = W, h = H;
    struct lafs_err err;
    if (plan->out_size > 64 || lafs_viewplan_check(plan, w, h, &err) != LAFS_OK) return;
    for (int i = 0; i < W * H * 3; i++) px[i] = (uint8_t)(i * 29);
    backend.ops->render(backend.dev, 1, plan, &source, &w, &h, &to, &to);
    if (backend.ops->sync(backend.dev, &err) != LAFS_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lafs_view v[LAFS_MAX_VIEWS], again[LAFS_MAX_VIEWS];
    struct lafs_err err;
    struct lafs_sample s;
    int n, m;
    if (!backend.ops && lafs_backend_open(&backend, "cpu", NULL, NULL, &err) != LAFS_OK) abort();
    lafs_sample_init(&s);
    lafs_sample_set_raw(&s, "views", data, size);
    lafs_status st = lafs_views_get(&s, v, LAFS_MAX_VIEWS, &n, &err);
    if (st == LAFS_OK) {
        struct lafs_sample t;
        lafs_sample_init(&t);
        lafs_views_set(&t, v, n);
        if (lafs_sample_check(&t, &err) != LAFS_OK || lafs_views_get(&t, again, LAFS_MAX_VIEWS, &m, &err) != LAFS_OK ||
            m != n)
            abort();
        for (int i = 0; i < n; i++) {
            if (memcmp(&v[i].plan, &again[i].plan, sizeof v[i].plan) || v[i].n != again[i].n || v[i].R != again[i].R)
                abort();
            render(&v[i].plan);
        }
        lafs_sample_release(&t);
    } else if (st != LAFS_BAD_RECORD && st != LAFS_END) {
        abort();
    }
    lafs_sample_release(&s);
    return 0;
}
