#include "cmd/jsonlog.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"

lafs_status jsonlog_open(struct jsonlog *l, const char *path, int append, struct lafs_err *err)
{
    memset(l, 0, sizeof *l);
    if (!path) return LAFS_OK;
    l->path = path;
    l->f = fopen(path, append ? "ae" : "we");
    return l->f ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
}

void jsonlog_begin(struct jsonlog *l)
{
    if (!l->f) return;
    lafs_buf_clear(&l->line);
    lafs_buf_putc(&l->line, '{');
}

/* Gives 0 when the log is off. */
static int put_key(struct jsonlog *l, const char *key)
{
    if (!l->f) return 0;
    if (l->line.size > 1) lafs_buf_puts(&l->line, ", ");
    lafs_json_put_string(&l->line, key, strlen(key));
    lafs_buf_puts(&l->line, ": ");
    return 1;
}

void jsonlog_str(struct jsonlog *l, const char *key, const char *v)
{
    if (put_key(l, key)) lafs_json_put_string(&l->line, v, strlen(v));
}

void jsonlog_int(struct jsonlog *l, const char *key, int64_t v)
{
    if (put_key(l, key)) lafs_buf_printf(&l->line, "%lld", (long long)v);
}

void jsonlog_double(struct jsonlog *l, const char *key, double v)
{
    if (put_key(l, key)) lafs_json_put_double(&l->line, v);
}

lafs_status jsonlog_end(struct jsonlog *l, struct lafs_err *err)
{
    if (!l->f) return LAFS_OK;
    lafs_buf_puts(&l->line, "}\n");
    LAFS_TRY(lafs_buf_check(&l->line, err));
    if (fwrite(l->line.data, 1, l->line.size, l->f) != l->line.size || fflush(l->f))
        return lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", l->path, lafs_strerror(errno));
    return LAFS_OK;
}

lafs_status jsonlog_close(struct jsonlog *l, struct lafs_err *err)
{
    lafs_buf_release(&l->line);
    if (!l->f) return LAFS_OK;
    FILE *f = l->f;
    l->f = NULL;
    return fclose(f) ? lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", l->path, lafs_strerror(errno)) : LAFS_OK;
}
