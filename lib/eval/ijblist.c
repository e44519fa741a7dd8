#include "eval/ijblist.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mark.h"
#include "base/mem.h"

enum { MAX_COLUMNS = 64 };
#define MAX_FILE ((size_t)1 << 30)

struct row {
    int64_t template_id, subject_id, line;
};

struct csv {
    const char *p, *end, *what;
    int64_t line;
    const char *field[MAX_COLUMNS];
    size_t len[MAX_COLUMNS];
    int fields;
};

static lafs_status bad(const struct csv *c, struct lafs_err *err, const char *why)
{
    return lafs_fail(err, LAFS_FAILED, "'%s' line %lld: %s", c->what, (long long)c->line, why);
}

/* A field of a line that ends at stop: as it is, or in quotes, which may hold commas. Moves p behind it. */
static lafs_status one_field(struct csv *c, const char **p, const char *stop, struct lafs_err *err)
{
    const char *from = *p, *to;
    if (c->fields == MAX_COLUMNS) return bad(c, err, "more than 64 columns");
    if (from < stop && *from == '"') {
        from++;
        to = memchr(from, '"', (size_t)(stop - from));
        if (!to) return bad(c, err, "a quote is not closed");
        *p = to + 1;
        if (*p < stop && **p != ',') return bad(c, err, "text behind a closing quote");
    } else {
        to = from < stop ? memchr(from, ',', (size_t)(stop - from)) : NULL;
        if (!to) to = stop;
        *p = to;
    }
    while (from < to && (*from == ' ' || *from == '\t')) from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
    c->field[c->fields] = from;
    c->len[c->fields++] = (size_t)(to - from);
    return LAFS_OK;
}

/* The fields of the next line that is not empty; LAFS_END behind the last. */
static lafs_status next_line(struct csv *c, struct lafs_err *err)
{
    while (c->p < c->end) {
        const char *eol = memchr(c->p, '\n', (size_t)(c->end - c->p)), *stop = eol ? eol : c->end, *p = c->p;
        c->p = eol ? eol + 1 : c->end;
        c->line++;
        if (stop > p && stop[-1] == '\r') stop--;
        if (p == stop) continue;
        c->fields = 0;
        for (;; p++) { /* over the comma */
            LAFS_TRY(one_field(c, &p, stop, err));
            if (p == stop) return LAFS_OK;
        }
    }
    return LAFS_END;
}

static int column(const struct csv *c, const char *name)
{
    size_t n = strlen(name);
    for (int k = 0; k < c->fields; k++)
        if (c->len[k] == n && !memcmp(c->field[k], name, n)) return k;
    return -1;
}

/* A number of at most 18 digits. */
static int to_id(const struct csv *c, int k, int64_t *v)
{
    int64_t x = 0;
    if (k >= c->fields || c->len[k] < 1 || c->len[k] > 18) return 0;
    for (size_t i = 0; i < c->len[k]; i++) {
        char d = c->field[k][i];
        if (d < '0' || d > '9') return 0;
        x = x * 10 + (d - '0');
    }
    *v = x;
    return 1;
}

static int by_template(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->template_id != y->template_id) return x->template_id < y->template_id ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static lafs_status read_rows(struct csv *c, struct row **rows, int64_t *n, struct lafs_err *err)
{
    int64_t most = 1;
    for (const char *p = c->p; p < c->end; p++) most += *p == '\n';
    LAFS_TRY(lafs_alloc(rows, (size_t)most, sizeof **rows, err));
    lafs_status st = next_line(c, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_FAILED, "'%s' is empty", c->what);
    if (st != LAFS_OK) return st;
    const int t = column(c, "TEMPLATE_ID"), s = column(c, "SUBJECT_ID");
    if (t < 0 || s < 0) return bad(c, err, "expected names of columns, TEMPLATE_ID and SUBJECT_ID among them");
    while ((st = next_line(c, err)) == LAFS_OK) {
        struct row *r = *rows + *n;
        if (!to_id(c, t, &r->template_id) || !to_id(c, s, &r->subject_id))
            return bad(c, err, "TEMPLATE_ID or SUBJECT_ID is no number");
        r->line = c->line;
        ++*n;
    }
    if (st != LAFS_END) return st;
    return *n ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "'%s' lists no templates", c->what);
}

static lafs_status take_rows(struct lafs_ijb_list *l, struct row *rows, int64_t n, const char *what,
                             struct lafs_err *err)
{
    qsort(rows, (size_t)n, sizeof *rows, by_template);
    LAFS_TRY(lafs_alloc(&l->template_id, (size_t)n, sizeof *l->template_id, err));
    LAFS_TRY(lafs_alloc(&l->subject_id, (size_t)n, sizeof *l->subject_id, err));
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && rows[i].template_id == rows[i - 1].template_id) {
            if (rows[i].subject_id == rows[i - 1].subject_id) continue;
            return lafs_fail(err, LAFS_FAILED, "'%s' lines %lld and %lld: template %lld is of two subjects", what,
                             (long long)rows[i - 1].line, (long long)rows[i].line, (long long)rows[i].template_id);
        }
        l->template_id[l->count] = rows[i].template_id;
        l->subject_id[l->count++] = rows[i].subject_id;
    }
    return LAFS_OK;
}

lafs_status lafs_ijb_list_parse(struct lafs_ijb_list *list, const char *text, size_t size, const char *what,
                                struct lafs_err *err)
{
    struct csv c = {.p = text, .end = text + size, .what = what};
    struct row *rows = NULL;
    int64_t n = 0;
    memset(list, 0, sizeof *list);
    c.p += lafs_mark(text, size);
    lafs_status st = read_rows(&c, &rows, &n, err);
    if (st == LAFS_OK) st = take_rows(list, rows, n, what, err);
    lafs_free(rows);
    if (st != LAFS_OK) lafs_ijb_list_release(list);
    return st;
}

lafs_status lafs_ijb_list_read(struct lafs_ijb_list *list, const char *path, struct lafs_err *err)
{
    struct lafs_buf b;
    memset(list, 0, sizeof *list);
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, MAX_FILE, err);
    if (st == LAFS_OK) st = lafs_ijb_list_parse(list, (const char *)b.data, b.size, path, err);
    lafs_buf_release(&b);
    return st;
}

void lafs_ijb_list_release(struct lafs_ijb_list *list)
{
    lafs_free(list->template_id);
    lafs_free(list->subject_id);
    memset(list, 0, sizeof *list);
}
