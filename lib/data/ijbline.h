/* The lines of IJB's two lists of images, as they are published: fields with blanks or tabs between them. Messages say
 * what is wrong with the line; the caller says where it stands. */
#ifndef LAFS_DATA_IJBLINE_H
#define LAFS_DATA_IJBLINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { LAFS_IJB_TEMPLATE_FIELDS = 3, LAFS_IJB_POINTS_FIELDS = 12, LAFS_IJB_MAX_FIELDS = LAFS_IJB_POINTS_FIELDS };
struct lafs_ijb_line {
    int fields;
    const char *field[LAFS_IJB_MAX_FIELDS]; /* inside the line, not ended by NUL; 0 is the image */
    size_t len[LAFS_IJB_MAX_FIELDS];
};
/* `IMAGE template media`. LAFS_FAILED: that it is not. */
lafs_status lafs_ijb_template_line(struct lafs_ijb_line *l, const char *line, size_t len, int64_t *template_id,
                                   int64_t *media_id, struct lafs_err *err);
/* `IMAGE x1 y1 .. x5 y5 score`, split only. LAFS_FAILED: another number of fields. */
lafs_status lafs_ijb_points_line(struct lafs_ijb_line *l, const char *line, size_t len, struct lafs_err *err);
/* Of such a line: number i of the 11. LAFS_BAD_RECORD: no finite number, or one of 1e30 and more. */
lafs_status lafs_ijb_number(const struct lafs_ijb_line *l, int i, double *v, struct lafs_err *err);
enum { LAFS_IJB_SCORE = 10 };

#endif
