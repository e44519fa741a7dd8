#include "data/pattern.h"

#include <string.h>

#include "base/mem.h"

int lafs_pattern_is(const char *out)
{
    size_t len = out ? strlen(out) : 0;
    return len > 4 && strcmp(out + len - 4, ".tar") == 0;
}

const char *lafs_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

lafs_status lafs_pattern_init(struct lafs_pattern *p, const char *out, struct lafs_err *err)
{
    const char *percent = strchr(lafs_base_name(out), '%'), *end = out + strlen(out) - 4, *at = percent;
    size_t stem = (size_t)(end - out);
    if (percent) {
        p->digits = 1;
        at++;
        if (*at == '0') at++;
        if (*at >= '1' && *at <= '9') p->digits = *at++ - '0';
        if (*at != 'd' || strchr(at, '%'))
            return lafs_fail(err, LAFS_USAGE, "cannot number shards by '%s': write NAME-%%06d.tar", out);
        stem = (size_t)(percent - out);
        if (stem > 0 && strchr("-_.", out[stem - 1])) stem--;
    }
    if (stem == 0 || out[stem - 1] == '/')
        return lafs_fail(err, LAFS_USAGE, "no name for the index in '%s': write NAME-%%06d.tar", out);
    lafs_buf_put(&p->scratch, out, stem);
    lafs_buf_puts(&p->scratch, ".lafs");
    LAFS_TRY(lafs_buf_check(&p->scratch, err));
    LAFS_TRY(lafs_strdup(&p->index, lafs_buf_str(&p->scratch), err));
    return lafs_strdup(&p->path, out, err);
}

void lafs_pattern_release(struct lafs_pattern *p)
{
    lafs_free(p->path);
    lafs_free(p->index);
    lafs_buf_release(&p->scratch);
    *p = (struct lafs_pattern){.digits = 0};
}

const char *lafs_pattern_path(struct lafs_pattern *p, int64_t i)
{
    const char *percent = strchr(lafs_base_name(p->path), '%');
    lafs_buf_clear(&p->scratch);
    if (!percent) {
        lafs_buf_puts(&p->scratch, p->path);
    } else {
        lafs_buf_put(&p->scratch, p->path, (size_t)(percent - p->path));
        lafs_buf_printf(&p->scratch, "%0*lld", p->digits, (long long)i);
        lafs_buf_puts(&p->scratch, strchr(percent, 'd') + 1);
    }
    return lafs_buf_str(&p->scratch);
}

int64_t lafs_pattern_number(struct lafs_pattern *p, const char *name)
{
    const char *base = lafs_base_name(p->path), *percent = strchr(base, '%');
    size_t len = percent ? (size_t)(percent - base) : 0;
    int64_t n = 0;
    if (!percent) return strcmp(base, name) ? -1 : 0;
    if (strncmp(name, base, len)) return -1;
    for (const char *at = name + len; *at >= '0' && *at <= '9' && n < INT32_MAX; at++) n = n * 10 + (*at - '0');
    const char *path = lafs_pattern_path(p, n);
    return path && strcmp(lafs_base_name(path), name) == 0 ? n : -1;
}
