#include "cmd/showmodel.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/showvalue.h"
#include "eval/plot.h"
#include "format/npy.h"
#include "format/safetensors.h"

#define MAX_CONFIG ((size_t)16 << 20)
#define MAX_LOG ((size_t)4 << 30)
enum { MAX_CURVES = 32, MAX_RUNS = 6, SMOOTH = 50, COLUMNS = 3, PLOT_W = 400, PLOT_H = 270 };

size_t first_bytes(const char *path, void *to, size_t n)
{
    struct stat st;
    FILE *f = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? fopen(path, "rbe") : NULL;
    if (!f) return 0;
    n = fread(to, 1, n, f);
    fclose(f);
    return n;
}

int is_model(const char *path)
{
    unsigned char b[9];
    if (first_bytes(path, b, sizeof b) < sizeof b) return 0;
    return b[3] < 16 && b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] == 0 && b[8] == '{';
}

static int exists(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && n < (int)sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int is_run(const char *path) { return exists(path, "config.json") || exists(path, "log.jsonl"); }

static void put_json(struct lafs_buf *out, const char *s) { lafs_json_put_string(out, s, strlen(s)); }

/* -- models -- */

static void put_shape(struct lafs_buf *out, const struct lafs_st_tensor *t, const char *open, const char *close)
{
    lafs_buf_puts(out, open);
    for (int d = 0; d < t->ndim; d++) lafs_buf_printf(out, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
    lafs_buf_puts(out, close);
}

static void model_as_json(const struct lafs_st *st, struct lafs_buf *out)
{
    lafs_buf_puts(out, "{\"metadata\": {");
    for (int i = 0; i < st->metas; i++) {
        if (i) lafs_buf_puts(out, ", ");
        put_json(out, st->meta[i].key);
        lafs_buf_puts(out, ": ");
        put_json(out, st->meta[i].value);
    }
    lafs_buf_puts(out, "}, \"tensors\": [");
    for (int i = 0; i < st->count; i++) {
        const struct lafs_st_tensor *t = &st->tensor[i];
        lafs_buf_puts(out, i ? ", {\"name\": " : "{\"name\": ");
        put_json(out, t->name);
        lafs_buf_printf(out, ", \"dtype\": \"%s\", \"shape\": ", lafs_dtype_name(t->dtype));
        put_shape(out, t, "[", "]");
        lafs_buf_putc(out, '}');
    }
    lafs_buf_puts(out, "]}\n");
}

static void put_tensor_lines(const struct lafs_st *st, struct lafs_buf *out)
{
    int wide = 10;
    for (int i = 0; i < st->count; i++) {
        int n = (int)strlen(st->tensor[i].name);
        wide = n > wide ? n : wide;
    }
    wide = wide > 60 ? 60 : wide;
    lafs_buf_puts(out, "tensors\n");
    for (int i = 0; i < st->count; i++) {
        const struct lafs_st_tensor *t = &st->tensor[i];
        struct lafs_buf name;
        lafs_buf_init(&name);
        show_text(&name, t->name, strlen(t->name), 200);
        lafs_buf_printf(out, "  %-*s  %-4s ", wide, lafs_buf_str(&name) ? lafs_buf_str(&name) : "",
                        lafs_dtype_name(t->dtype));
        lafs_buf_release(&name);
        put_shape(out, t, "(", ")");
        lafs_buf_printf(out, "  %lld\n", (long long)t->count);
    }
}

/* BatchNorm's running means, variances and counts are no parameters. */
static int is_statistic(const char *name)
{
    const char *last = strrchr(name, '.');
    return last && (!strcmp(last, ".running_mean") || !strcmp(last, ".running_var") ||
                    !strcmp(last, ".num_batches_tracked"));
}

static void put_sizes(const char *path, const struct lafs_st *st, struct lafs_buf *out)
{
    const int checkpoint = lafs_st_find(st, "cursor") != NULL;
    int64_t parameters = 0, statistics = 0, bytes = 0;
    for (int i = 0; i < st->count; i++) {
        *(is_statistic(st->tensor[i].name) ? &statistics : &parameters) += st->tensor[i].count;
        bytes += st->tensor[i].count * (int64_t)lafs_dtype_size(st->tensor[i].dtype);
    }
    if (checkpoint) {
        lafs_buf_printf(out, "%s: a checkpoint of a training run\n%-12s%lld", path, "values",
                        (long long)(parameters + statistics));
    } else {
        lafs_buf_printf(out, "%s: a model file\n%-12s%lld", path, "parameters", (long long)parameters);
        if (statistics) lafs_buf_printf(out, ", and %lld values of statistics,", (long long)statistics);
    }
    lafs_buf_printf(out, " in %d tensors, %.1f MB\n", st->count, (double)bytes / 1e6);
}

static void model_as_text(const char *path, const struct lafs_st *st, struct lafs_buf *out)
{
    put_sizes(path, st, out);
    for (int i = 0; i < st->metas; i++) {
        lafs_buf_puts(out, i ? "            " : "metadata    ");
        show_text(out, st->meta[i].key, strlen(st->meta[i].key), 60);
        lafs_buf_puts(out, ": ");
        show_text(out, st->meta[i].value, strlen(st->meta[i].value), 400);
        lafs_buf_putc(out, '\n');
    }
    put_tensor_lines(st, out);
}

lafs_status model_text(const char *path, int json, struct lafs_buf *out, struct lafs_err *err)
{
    struct lafs_st *st;
    LAFS_TRY(lafs_st_open(&st, path, err));
    if (json) model_as_json(st, out);
    else model_as_text(path, st, out);
    lafs_st_close(st);
    return lafs_buf_check(out, err);
}

/* NumPy's name of a type; "" when it has none. */
static const char *npy_type(enum lafs_dtype t)
{
    switch (t) {
    case LAFS_F32: return "<f4";
    case LAFS_F64: return "<f8";
    case LAFS_F16: return "<f2";
    case LAFS_I64: return "<i8";
    case LAFS_I32: return "<i4";
    case LAFS_I16: return "<i2";
    case LAFS_I8: return "|i1";
    case LAFS_U64: return "<u8";
    case LAFS_U32: return "<u4";
    case LAFS_U16: return "<u2";
    case LAFS_U8: return "|u1";
    case LAFS_BOOL: return "|b1";
    case LAFS_BF16: return "";
    }
    return "";
}

static lafs_status tensor_npy(const struct lafs_st *st, const char *path, const char *name, struct lafs_buf *out,
                              struct lafs_err *err)
{
    const struct lafs_st_tensor *t = lafs_st_find(st, name);
    unsigned char head[LAFS_NPY_HEADER];
    if (!t) return lafs_fail(err, LAFS_FAILED, "'%s' has no tensor '%s'", path, name);
    if (!npy_type(t->dtype)[0])
        return lafs_fail(err, LAFS_FAILED, "'%s': .npy has no type %s", name, lafs_dtype_name(t->dtype));
    LAFS_TRY(lafs_npy_header(head, npy_type(t->dtype), t->shape, t->ndim, err));
    lafs_buf_put(out, head, sizeof head);
    lafs_buf_put(out, t->data, (size_t)t->count * lafs_dtype_size(t->dtype));
    return lafs_buf_check(out, err);
}

lafs_status model_npy(const char *path, const char *tensor, struct lafs_buf *out, struct lafs_err *err)
{
    struct lafs_st *st;
    LAFS_TRY(lafs_st_open(&st, path, err));
    lafs_status status = tensor_npy(st, path, tensor, out, err);
    lafs_st_close(st);
    return status;
}

/* -- runs -- */

static lafs_status read_in(const char *dir, const char *name, size_t max, struct lafs_buf *out, struct lafs_err *err)
{
    struct lafs_buf path;
    lafs_buf_init(&path);
    lafs_buf_printf(&path, "%s/%s", dir, name);
    const char *p = lafs_buf_str(&path);
    lafs_status st = p ? lafs_buf_read_file(out, p, max, err) : lafs_fail(err, LAFS_FAILED, "out of memory");
    lafs_buf_release(&path);
    return st;
}

/* Steps of the checkpoints, ascending; returns how many, at most max (the latest are kept). */
static int checkpoints(const char *dir, long long *step, int max)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;
    if (!d) return 0;
    while ((e = readdir(d))) {
        long long s;
        int end = 0;
        if (sscanf(e->d_name, "checkpoint-%lld.safetensors%n", &s, &end) != 1 || end == 0 || e->d_name[end]) continue;
        int at = n < max ? n++ : 0; /* full: the lowest falls out */
        if (at == 0 && n == max && s < step[0]) continue;
        step[at] = s;
        for (int i = at; i > 0 && step[i] < step[i - 1]; i--) {
            long long t = step[i];
            step[i] = step[i - 1];
            step[i - 1] = t;
        }
        for (int i = at; i + 1 < n && step[i] > step[i + 1]; i++) {
            long long t = step[i];
            step[i] = step[i + 1];
            step[i + 1] = t;
        }
    }
    closedir(d);
    return n;
}

/* The last whole line of a log. */
static const char *last_line(const struct lafs_buf *log, size_t *len)
{
    const char *text = (const char *)log->data;
    size_t end = log->size;
    while (end > 0 && text[end - 1] != '\n') end--; /* a line that is still being written */
    if (end == 0) return NULL;
    size_t from = --end;
    while (from > 0 && text[from - 1] != '\n') from--;
    *len = end - from;
    return text + from;
}

static void put_json_value(struct lafs_buf *out, const struct lafs_json *v)
{
    if (v->type == LAFS_JSON_STRING && !v->str[0]) lafs_buf_putc(out, '-');
    else if (v->type == LAFS_JSON_STRING) show_text(out, v->str, strlen(v->str), 200);
    else if (v->type == LAFS_JSON_NUMBER && v->is_int) lafs_buf_printf(out, "%lld", (long long)v->integer);
    else if (v->type == LAFS_JSON_NUMBER) lafs_buf_printf(out, "%.6g", v->num);
    else if (v->type == LAFS_JSON_BOOL) lafs_buf_puts(out, v->b ? "yes" : "no");
    else lafs_buf_puts(out, v->type == LAFS_JSON_NULL ? "-" : "..");
}

/* Members of an object, one a line, indented; nested objects one level deep. */
static void put_members(struct lafs_buf *out, const struct lafs_json *object, int indent)
{
    for (const struct lafs_json *m = object->child; m; m = m->next) {
        lafs_buf_printf(out, "%*s", indent, "");
        show_text(out, m->key, strlen(m->key), 60);
        if (m->type == LAFS_JSON_OBJECT && indent < 8) {
            lafs_buf_putc(out, '\n');
            put_members(out, m, indent + 2);
            continue;
        }
        for (size_t n = strlen(m->key); n < 20; n++) lafs_buf_putc(out, ' ');
        lafs_buf_putc(out, ' ');
        put_json_value(out, m);
        lafs_buf_putc(out, '\n');
    }
}

struct run_files {
    struct lafs_buf config_text, log;
    struct lafs_json *config, *last;
    long long step[1000];
    int steps;
};

static lafs_status read_run(const char *path, struct run_files *r, struct lafs_err *err)
{
    size_t len;
    if (exists(path, "config.json")) {
        LAFS_TRY(read_in(path, "config.json", MAX_CONFIG, &r->config_text, err));
        if (lafs_json_parse(&r->config, (const char *)r->config_text.data, r->config_text.size, err) != LAFS_OK)
            return lafs_err_prefix(err, "'%s/config.json'", path);
    }
    if (exists(path, "log.jsonl")) {
        LAFS_TRY(read_in(path, "log.jsonl", MAX_LOG, &r->log, err));
        const char *line = last_line(&r->log, &len);
        if (line && lafs_json_parse(&r->last, line, len, err) != LAFS_OK)
            return lafs_err_prefix(err, "'%s/log.jsonl'", path);
    }
    r->steps = checkpoints(path, r->step, 1000);
    return LAFS_OK;
}

static void run_as_text(const char *path, const struct run_files *r, struct lafs_buf *out)
{
    lafs_buf_printf(out, "%s: a training run\n", path);
    if (r->steps) {
        lafs_buf_puts(out, "checkpoints ");
        for (int i = r->steps > 8 ? r->steps - 8 : 0; i < r->steps; i++)
            lafs_buf_printf(out, "%s%lld", i && i > r->steps - 8 ? ", " : "", r->step[i]);
        lafs_buf_puts(out, " (steps)\n");
    }
    lafs_buf_printf(out, "model       %s\n", exists(path, "model.safetensors") ? "model.safetensors" : "none yet");
    if (r->last && r->last->type == LAFS_JSON_OBJECT) {
        lafs_buf_puts(out, "last line of the log\n");
        put_members(out, r->last, 2);
    }
    if (r->config && r->config->type == LAFS_JSON_OBJECT) {
        lafs_buf_puts(out, "configuration\n");
        put_members(out, r->config, 2);
    }
}

static void run_as_json(const char *path, const struct run_files *r, struct lafs_buf *out)
{
    size_t len = 0;
    const char *line = last_line(&r->log, &len);
    lafs_buf_puts(out, "{\"run\": ");
    put_json(out, path);
    lafs_buf_puts(out, ", \"checkpoints\": [");
    for (int i = 0; i < r->steps; i++) lafs_buf_printf(out, "%s%lld", i ? ", " : "", r->step[i]);
    lafs_buf_printf(out, "], \"model\": %s, \"last\": ", exists(path, "model.safetensors") ? "true" : "false");
    if (line) lafs_buf_put(out, line, len); /* it was parsed: it is JSON */
    else lafs_buf_puts(out, "null");
    lafs_buf_puts(out, ", \"config\": ");
    size_t from = out->size;
    if (r->config) lafs_buf_put(out, r->config_text.data, r->config_text.size);
    else lafs_buf_puts(out, "null");
    for (size_t i = from; i < out->size && !out->failed; i++) /* white space between tokens may hold newlines */
        if (out->data[i] == '\n' || out->data[i] == '\r') out->data[i] = ' ';
    lafs_buf_puts(out, "}\n");
}

lafs_status run_text(const char *path, int json, struct lafs_buf *out, struct lafs_err *err)
{
    struct run_files *r;
    LAFS_TRY(lafs_alloc0(&r, 1, sizeof *r, err));
    lafs_status st = read_run(path, r, err);
    if (st == LAFS_OK) {
        if (json) run_as_json(path, r, out);
        else run_as_text(path, r, out);
        st = lafs_buf_check(out, err);
    }
    lafs_json_free(r->config);
    lafs_json_free(r->last);
    lafs_buf_release(&r->config_text);
    lafs_buf_release(&r->log);
    lafs_free(r);
    return st;
}

/* -- curves -- */

struct curve {
    double *x, *y, *smooth; /* (n); owned */
    int64_t n, cap;
};
/* A number of the logs, in each run. */
struct figure {
    char name[64];
    struct curve run[MAX_RUNS];
};
struct curves {
    struct figure f[MAX_CURVES];
    int count, runs;
    int run;     /* the one that is being read */
    double step; /* of the line being read */
    int64_t lines;
};

static lafs_status add_point(struct curves *all, const char *name, double y, struct lafs_err *err)
{
    struct figure *f = NULL;
    for (int i = 0; i < all->count && !f; i++)
        if (!strcmp(all->f[i].name, name)) f = &all->f[i];
    if (!f) {
        if (all->count == MAX_CURVES || strlen(name) >= sizeof f->name) return LAFS_OK;
        f = &all->f[all->count++];
        snprintf(f->name, sizeof f->name, "%s", name);
    }
    struct curve *c = &f->run[all->run];
    if (c->n == c->cap) {
        int64_t cap = c->cap ? c->cap * 2 : 256;
        LAFS_TRY(lafs_resize(&c->x, (size_t)c->n, (size_t)cap, sizeof *c->x, err));
        LAFS_TRY(lafs_resize(&c->y, (size_t)c->n, (size_t)cap, sizeof *c->y, err));
        c->cap = cap;
    }
    c->x[c->n] = all->step;
    c->y[c->n++] = y;
    return LAFS_OK;
}

/* What only counts up is no curve. */
static int is_axis(const char *key)
{
    static const char *const axis[] = {"step", "epoch", "images", "seconds"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(key, axis[i])) return 1;
    return 0;
}

static lafs_status read_line(struct curves *all, const char *line, size_t len, struct lafs_err *err)
{
    struct lafs_json *j;
    LAFS_TRY(lafs_json_parse(&j, line, len, err));
    const struct lafs_json *step = j->type == LAFS_JSON_OBJECT ? lafs_json_get(j, "step") : NULL;
    all->step = step && step->type == LAFS_JSON_NUMBER ? step->num : (double)all->lines;
    lafs_status st = LAFS_OK;
    for (const struct lafs_json *m = j->type == LAFS_JSON_OBJECT ? j->child : NULL; m && st == LAFS_OK; m = m->next)
        if (m->type == LAFS_JSON_NUMBER && !is_axis(m->key)) st = add_point(all, m->key, m->num, err);
    lafs_json_free(j);
    return st;
}

/* The log of run number all->run. */
static lafs_status read_curves(struct curves *all, const struct lafs_buf *log, const char *path, struct lafs_err *err)
{
    const char *p = (const char *)log->data, *end = p + log->size;
    int found = 0;
    all->lines = 0;
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol) break; /* still being written */
        all->lines++;
        if (eol > p && read_line(all, p, (size_t)(eol - p), err) != LAFS_OK)
            return lafs_err_prefix(err, "'%s' line %lld", path, (long long)all->lines);
        p = eol + 1;
    }
    for (int i = 0; i < all->count; i++) found |= all->f[i].run[all->run].n > 0;
    return found ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "'%s' holds no numbers yet", path);
}

/* Mean over a window of n/SMOOTH points around each, shorter at the ends. */
static lafs_status smooth(struct curve *c, struct lafs_err *err)
{
    int64_t half = c->n / SMOOTH / 2;
    double *sum, *count; /* (n+1) of the first i values */
    if (half < 1) return LAFS_OK;
    LAFS_TRY(lafs_alloc(&c->smooth, (size_t)c->n, sizeof *c->smooth, err));
    LAFS_TRY(lafs_alloc(&sum, (size_t)(c->n + 1) * 2, sizeof *sum, err));
    count = sum + c->n + 1;
    sum[0] = count[0] = 0;
    for (int64_t i = 0; i < c->n; i++) {
        int ok = isfinite(c->y[i]);
        sum[i + 1] = sum[i] + (ok ? c->y[i] : 0);
        count[i + 1] = count[i] + ok;
    }
    for (int64_t i = 0; i < c->n; i++) {
        int64_t w = half < i ? half : i;
        w = w < c->n - 1 - i ? w : c->n - 1 - i;
        double n = count[i + w + 1] - count[i - w];
        c->smooth[i] = n > 0 ? (sum[i + w + 1] - sum[i - w]) / n : NAN;
    }
    lafs_free(sum);
    return LAFS_OK;
}

/* The series of one figure: a run's points, and over them their running mean. More than one run: a colour and a line
 * of the legend each, and dashes where another run may lie beneath. Returns their number. */
static int series_of(const struct figure *f, const struct curves *all, const char *const *path, struct lafs_series *s)
{
    int n = 0;
    for (int r = 0; r < all->runs; r++) {
        const struct curve *c = &f->run[r];
        if (!c->n) continue;
        const char *label = all->runs > 1 ? path[r] : NULL;
        s[n] = (struct lafs_series){.label = label, .x = c->x, .y = c->y, .n = c->n, .dashed = r > 0, .colour = r + 1,
                                    .dots = c->n == 1};
        if (c->smooth) {
            s[n + 1] = s[n];
            s[n + 1].y = c->smooth;
            s[n].faint = 1;
            s[n].dashed = 0;
            s[n++].label = NULL;
        }
        n++;
    }
    return n;
}

static lafs_status draw_curves(struct curves *all, const char *const *path, struct lafs_buf *out, struct lafs_err *err)
{
    struct lafs_plot plot[MAX_CURVES];
    struct lafs_series series[MAX_CURVES][2 * MAX_RUNS];
    for (int i = 0; i < all->count; i++) {
        struct figure *f = &all->f[i];
        for (int r = 0; r < all->runs; r++) LAFS_TRY(smooth(&f->run[r], err));
        plot[i] = (struct lafs_plot){f->name, {"step"}, {NULL}, series[i], series_of(f, all, path, series[i])};
    }
    int columns = all->count < COLUMNS ? all->count : COLUMNS, rows = (all->count + columns - 1) / columns;
    return lafs_plot_grid_svg(out, plot, all->count, columns, columns * PLOT_W, rows * PLOT_H, err);
}

static lafs_status read_log(struct curves *all, const char *path, struct lafs_err *err)
{
    struct lafs_buf log;
    struct stat s;
    lafs_buf_init(&log);
    lafs_status st = stat(path, &s) == 0 && S_ISDIR(s.st_mode) ? read_in(path, "log.jsonl", MAX_LOG, &log, err)
                                                               : lafs_buf_read_file(&log, path, MAX_LOG, err);
    if (st == LAFS_OK) st = read_curves(all, &log, path, err);
    lafs_buf_release(&log);
    return st;
}

lafs_status run_curves(const char *const *path, int n, struct lafs_buf *out, struct lafs_err *err)
{
    struct curves *all;
    if (n < 1 || n > MAX_RUNS) return lafs_fail(err, LAFS_USAGE, "--curves draws 1 to %d runs", MAX_RUNS);
    LAFS_TRY(lafs_alloc0(&all, 1, sizeof *all, err));
    lafs_status st = LAFS_OK;
    for (all->runs = n; all->run < n && st == LAFS_OK; all->run++) st = read_log(all, path[all->run], err);
    if (st == LAFS_OK) st = draw_curves(all, path, out, err);
    for (int i = 0; i < all->count; i++)
        for (int r = 0; r < MAX_RUNS; r++) {
            lafs_free(all->f[i].run[r].x);
            lafs_free(all->f[i].run[r].y);
            lafs_free(all->f[i].run[r].smooth);
        }
    lafs_free(all);
    return st;
}
