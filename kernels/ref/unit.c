/* Units of a network in training, as compute/backend.h spells them out, from the ops that they consist of. */
#include <string.h>

#include "kernels/ref/act.h"
#include "kernels/ref/ref.h"

/* What is given to the act of element i of m, in column k. */
static double given(const struct lafs_bn_map *m, int64_t i, int64_t k)
{
    return ((double)m->conv[i] - m->mean[k]) * m->rstd[k] * m->gamma[k] + m->beta[k];
}

void lafs_ref_unit_out(struct lafs_dev *d, int64_t rows, int64_t c, const struct lafs_bn_map *x, const float *add,
                       float *y)
{
    (void)d;
    for (int64_t i = 0; i < rows * c; i++) {
        float v = lafs_act_value(x->act, (float)given(x, i, i % c));
        y[i] = add ? v + add[i] : v;
    }
}

/* slopes (2,c) of a map whose gradient is dm */
static void slopes_of(int64_t rows, int64_t c, const struct lafs_bn_map *m, const float *dm, float *slopes)
{
    for (int64_t k = 0; k < c; k++) {
        double sum = 0, along = 0;
        for (int64_t i = k; i < rows * c; i += c) {
            double dz = (double)dm[i] * lafs_act_slope(m->act, (float)given(m, i, k));
            sum += dz;
            along += dz * ((double)m->conv[i] - m->mean[k]);
        }
        slopes[k] = (float)sum;
        slopes[c + k] = (float)along;
    }
}

/* Room for a map of either end; x: what u->x stands for, in the first of them unless it is stored. NULL: no memory. */
static float *maps(struct lafs_dev *d, const struct lafs_bn_unit *u, int64_t rows_in, int64_t rows_out, const float **x)
{
    float *room;
    struct lafs_err err = {0};
    if (lafs_alloc(&room, (size_t)(rows_in * u->g.c + rows_out * u->g.out), sizeof *room, &err) != LAFS_OK) {
        lafs_host_failed(d, &err);
        return NULL;
    }
    if (u->x.mean) lafs_ref_unit_out(d, rows_in, u->g.c, &u->x, NULL, room);
    *x = u->x.mean ? room : u->x.conv;
    return room;
}

static int64_t rows_in_of(const struct lafs_conv *g) { return g->n * g->h * g->w; }
static int64_t rows_out_of(const struct lafs_conv *g)
{
    return g->n * lafs_conv_side(g->h, g->k, g->stride) * lafs_conv_side(g->w, g->k, g->stride);
}

void lafs_ref_unit(struct lafs_dev *d, const struct lafs_bn_unit *u, float momentum, float *run_mean, float *run_var)
{
    int64_t rows_in = rows_in_of(&u->g), rows = rows_out_of(&u->g);
    const float *x;
    float *room = maps(d, u, rows_in, rows, &x);
    if (!room) return;
    (u->depthwise ? lafs_ref_depthwise : lafs_ref_conv)(d, &u->g, x, u->w, NULL, LAFS_ACT_NONE, u->y.conv);
    lafs_ref_batchnorm(d, rows, u->g.out, u->train, momentum, u->y.conv, u->y.gamma, u->y.beta, run_mean, run_var,
                       LAFS_ACT_NONE, room + rows_in * u->g.c, u->y.mean, u->y.rstd);
    lafs_free(room);
}

void lafs_ref_unit_bwd(struct lafs_dev *d, const struct lafs_bn_unit *u, const float *dy, const float *of_y,
                       const float *add, float *dx, float *of_x, float *dw, float *dgamma, float *dbeta)
{
    int64_t rows_in = rows_in_of(&u->g), rows = rows_out_of(&u->g);
    const float *x;
    float *room = maps(d, u, rows_in, rows, &x), *dconv = room + rows_in * u->g.c;
    if (!room) return;
    (void)of_y; /* summed anew */
    lafs_ref_batchnorm_bwd(d, rows, u->g.out, u->train, u->y.conv, u->y.gamma, u->y.beta, u->y.mean, u->y.rstd,
                           u->y.act, dy, dconv, dgamma, dbeta);
    (u->depthwise ? lafs_ref_depthwise_bwd_w : lafs_ref_conv_bwd_w)(d, &u->g, x, dconv, dw);
    (u->depthwise ? lafs_ref_depthwise_bwd_x : lafs_ref_conv_bwd_x)(d, &u->g, dconv, u->w, dx);
    if (add) lafs_ref_axpy(d, rows_in * u->g.c, 1, add, dx);
    if (u->x.mean && of_x) slopes_of(rows_in, u->g.c, &u->x, dx, of_x);
    lafs_free(room);
}
