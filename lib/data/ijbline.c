#include "data/ijbline.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

enum { MAX_NUMBER = 64 };

/* Of more fields than fit only their number is told. */
static lafs_status split(struct lafs_ijb_line *l, const char *line, size_t len, int want, const char *form,
                         struct lafs_err *err)
{
    const char *p = line, *end = line + len;
    l->fields = 0;
    for (;;) {
        while (p < end && (*p == ' ' || *p == '\t')) p++;
        if (p == end) break;
        const char *from = p;
        while (p < end && *p != ' ' && *p != '\t') p++;
        if (l->fields < LAFS_IJB_MAX_FIELDS) {
            l->field[l->fields] = from;
            l->len[l->fields] = (size_t)(p - from);
        }
        l->fields++;
    }
    if (l->fields != want)
        return lafs_fail(err, LAFS_FAILED, "%d fields, not the %d of '%s'", l->fields, want, form);
    if (memchr(l->field[0], 0, l->len[0])) return lafs_fail(err, LAFS_FAILED, "an image's name with a NUL byte");
    return LAFS_OK;
}

/* The field as a C string. */
static int number_text(const struct lafs_ijb_line *l, int k, char text[MAX_NUMBER])
{
    size_t n = l->len[k];
    if (n >= MAX_NUMBER || memchr(l->field[k], 0, n)) return 0;
    memcpy(text, l->field[k], n);
    text[n] = 0;
    return 1;
}

static int whole(const struct lafs_ijb_line *l, int k, int64_t *v)
{
    char text[MAX_NUMBER];
    return number_text(l, k, text) && lafs_parse_int(text, v);
}

/* For messages. */
static int shown(const struct lafs_ijb_line *l, int k) { return l->len[k] < 100 ? (int)l->len[k] : 100; }

lafs_status lafs_ijb_template_line(struct lafs_ijb_line *l, const char *line, size_t len, int64_t *template_id,
                                   int64_t *media_id, struct lafs_err *err)
{
    LAFS_TRY(split(l, line, len, LAFS_IJB_TEMPLATE_FIELDS, "IMAGE template media", err));
    if (whole(l, 1, template_id) && whole(l, 2, media_id)) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "'%.*s %.*s' are no numbers of template and media", shown(l, 1), l->field[1],
                     shown(l, 2), l->field[2]);
}

lafs_status lafs_ijb_points_line(struct lafs_ijb_line *l, const char *line, size_t len, struct lafs_err *err)
{
    return split(l, line, len, LAFS_IJB_POINTS_FIELDS, "IMAGE x1 y1 .. x5 y5 score", err);
}

lafs_status lafs_ijb_number(const struct lafs_ijb_line *l, int i, double *v, struct lafs_err *err)
{
    char text[MAX_NUMBER];
    if (number_text(l, i + 1, text) && lafs_parse_double(text, v) && fabs(*v) < 1e30) return LAFS_OK;
    return lafs_fail(err, LAFS_BAD_RECORD, "'%.*s' is no number", shown(l, i + 1), l->field[i + 1]);
}
