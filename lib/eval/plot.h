/* Line plots as self-contained SVG: no scripts, no fonts, no links. */
#ifndef LAFS_EVAL_PLOT_H
#define LAFS_EVAL_PLOT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "eval/metrics.h"

struct lafs_series {
    const char *label;      /* legend; NULL: none */
    const double *x, *y;    /* (n) points that are not finite, or not positive on a log axis, break the line */
    int64_t n;
    int dashed, faint, dots; /* dots: points only */
    int colour;             /* 1..7; 0: by position */
};
struct lafs_axis {
    const char *label;
    double lo, hi;          /* lo >= hi: from the data */
    int log, percent;
};
struct lafs_plot {
    const char *title;
    struct lafs_axis x, y;
    const struct lafs_series *series;
    int count;
};
/* Appends one picture of width x height pixels. */
lafs_status lafs_plot_svg(struct lafs_buf *out, const struct lafs_plot *p, int width, int height, struct lafs_err *err);
/* Appends one picture of several plots in rows of `columns`. */
lafs_status lafs_plot_grid_svg(struct lafs_buf *out, const struct lafs_plot *p, int count, int columns, int width,
                               int height, struct lafs_err *err);

/* TAR over FAR (log), and FNMR over FMR (both log), of n curves. */
lafs_status lafs_plot_roc(struct lafs_buf *out, const struct lafs_roc *const *roc, const char *const *label, int n,
                          const char *title, struct lafs_err *err);
lafs_status lafs_plot_det(struct lafs_buf *out, const struct lafs_roc *const *roc, const char *const *label, int n,
                          const char *title, struct lafs_err *err);

#endif
