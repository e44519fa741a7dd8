/* lafs-convert: model files from other formats, and their names and metadata. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/cli.h"
#include "format/onnx.h"
#include "format/safetensors.h"
#include "model/detector.h"

#define MAX_MODEL ((size_t)1 << 38)

static struct {
    int list;
    struct cli_list select, drop, rename, set, unset;
} o;

static const struct cli_option table[] = {
    {"output", 'o', CLI_STRING, &cli.out, "FILE", "write the model to FILE, a .safetensors"},
    {"list", 0, CLI_FLAG, &o.list, NULL, "print metadata and tensors of the files instead"},
    {"select", 0, CLI_LIST, &o.select, "PREFIX", "take only tensors whose name begins with PREFIX"},
    {"drop", 0, CLI_LIST, &o.drop, "PREFIX", "leave out tensors whose name begins with PREFIX"},
    {"rename", 0, CLI_LIST, &o.rename, "OLD=NEW", "begin names with NEW that begin with OLD"},
    {"set", 0, CLI_LIST, &o.set, "KEY=VALUE", "set the metadata entry KEY"},
    {"unset", 0, CLI_LIST, &o.unset, "KEY", "remove the metadata entry KEY"},
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-convert", "[OPTION]... -o OUT.safetensors MODEL | --list MODEL...",
                                           "convert, rename, describe and list model files", table};

/* A model in memory, whatever file it came from. */
struct model {
    const char *path;
    const char *format;
    struct lafs_buf bytes;
    char sha256[65];
    struct lafs_st *st;
    struct lafs_onnx *onnx;
    struct lafs_detector_tensors detector;
    struct lafs_st_tensor *tensor; /* (count) */
    int count;
    struct lafs_st_meta *meta;     /* (metas); keys and values live elsewhere */
    int metas;
    char **name;                   /* (count) new names, or NULL where the old one stays; owned */
};

static void release(struct model *m)
{
    for (int i = 0; m->name && i < m->count; i++) lafs_free(m->name[i]);
    lafs_free(m->name);
    lafs_free(m->tensor);
    lafs_free(m->meta);
    lafs_st_close(m->st);
    lafs_onnx_close(m->onnx);
    lafs_buf_release(&m->bytes);
}

static lafs_status set_meta(struct model *m, const char *key, const char *value, struct lafs_err *err)
{
    for (int i = 0; i < m->metas; i++)
        if (!strcmp(m->meta[i].key, key)) {
            m->meta[i].value = value;
            return LAFS_OK;
        }
    LAFS_TRY(lafs_resize(&m->meta, (size_t)m->metas, (size_t)m->metas + 1, sizeof *m->meta, err));
    m->meta[m->metas++] = (struct lafs_st_meta){key, value};
    return LAFS_OK;
}

/* -- reading -- */

static lafs_status from_safetensors(struct model *m, struct lafs_err *err)
{
    m->format = "safetensors";
    LAFS_TRY(lafs_st_parse(&m->st, m->bytes.data, m->bytes.size, err));
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->st->count, sizeof *m->tensor, err));
    m->count = m->st->count;
    if (m->count) memcpy(m->tensor, m->st->tensor, (size_t)m->count * sizeof *m->tensor);
    for (int i = 0; i < m->st->metas; i++) LAFS_TRY(set_meta(m, m->st->meta[i].key, m->st->meta[i].value, err));
    return LAFS_OK;
}

/* What we know about the published detector, by the digest of its file. */
static lafs_status describe_detector(struct model *m, struct lafs_err *err)
{
    static const char *const published[] = {"81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
                                            "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"};
    LAFS_TRY(set_meta(m, "architecture", LAFS_DETECTOR_ARCHITECTURE, err));
    LAFS_TRY(set_meta(m, "input", "bgr, 0 to 255, width and height multiples of 32", err));
    LAFS_TRY(set_meta(m, "intended_use",
                      "find faces and five points of each in photos; says nothing about who they are", err));
    for (int i = 0; i < 2; i++)
        if (!strcmp(m->sha256, published[i])) {
            LAFS_TRY(set_meta(m, "licence", "Apache-2.0", err));
            return set_meta(
                m, "provenance",
                "YuNet-n as published by Shiqi Yu and others (libfacedetection.train), trained on WIDER FACE", err);
        }
    LAFS_TRY(set_meta(m, "licence", "unknown", err));
    return set_meta(m, "provenance", "unknown", err);
}

static lafs_status from_onnx(struct model *m, struct lafs_err *err)
{
    struct lafs_err other;
    m->format = "onnx";
    LAFS_TRY(lafs_onnx_parse(&m->onnx, m->bytes.data, m->bytes.size, err));
    if (lafs_detector_from_onnx(m->onnx, &m->detector, &other) == LAFS_OK) {
        m->count = 2 * LAFS_DETECTOR_CONVS;
        LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->count, sizeof *m->tensor, err));
        memcpy(m->tensor, m->detector.t, sizeof m->detector.t);
        return describe_detector(m, err);
    }
    /* Some other network: its float initializers as they are called. */
    cli_note("'%s': %s", m->path, other.msg);
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->onnx->tensors, sizeof *m->tensor, err));
    for (int i = 0; i < m->onnx->tensors; i++) {
        const struct lafs_onnx_tensor *from = &m->onnx->tensor[i];
        if (!from->data) continue;
        struct lafs_st_tensor *t = &m->tensor[m->count++];
        *t = (struct lafs_st_tensor){.name = from->name, .dtype = LAFS_F32, .ndim = from->ndim, .count = from->count,
                                     .data = from->data};
        memcpy(t->shape, from->shape, sizeof from->shape);
    }
    return LAFS_OK;
}

static lafs_status read_model(struct model *m, const char *path, struct lafs_err *err)
{
    *m = (struct model){.path = path};
    LAFS_TRY(lafs_buf_read_file(&m->bytes, strcmp(path, "-") ? path : "/dev/stdin", MAX_MODEL, err));
    const unsigned char *p = m->bytes.data;
    size_t n = m->bytes.size;
    struct lafs_sha256 sha;
    lafs_sha256_init(&sha);
    lafs_sha256_add(&sha, p, n);
    lafs_sha256_hex(&sha, m->sha256);
    lafs_status rc;
    if (n == 0) rc = lafs_fail(err, LAFS_FAILED, "is empty");
    else if (n > 4 && !memcmp(p, "PK\3\4", 4))
        rc = lafs_fail(err, LAFS_FAILED, "is a zip archive (a PyTorch checkpoint?): not supported yet");
    else if (n > 8 && p[8] == '{') rc = from_safetensors(m, err);
    else rc = from_onnx(m, err);
    if (rc != LAFS_OK && err->msg[0] != '\'') lafs_err_prefix(err, "'%s'", path);
    if (rc == LAFS_OK && m->onnx) {
        static char by[64];
        snprintf(by, sizeof by, "lafs-convert %s", lafs_version);
        LAFS_TRY(set_meta(m, "source_format", "onnx", err));
        LAFS_TRY(set_meta(m, "source_sha256", m->sha256, err));
        LAFS_TRY(set_meta(m, "converted_by", by, err));
    }
    return rc;
}

/* -- changing -- */

static int begins(const struct cli_list *prefixes, const char *name)
{
    for (int i = 0; i < prefixes->n; i++)
        if (!strncmp(name, prefixes->v[i], strlen(prefixes->v[i]))) return 1;
    return 0;
}

static void choose(struct model *m)
{
    int n = 0;
    for (int i = 0; i < m->count; i++) {
        const char *name = m->tensor[i].name;
        if ((o.select.n == 0 || begins(&o.select, name)) && !begins(&o.drop, name)) m->tensor[n++] = m->tensor[i];
    }
    m->count = n;
}

/* The first --rename whose OLD fits is taken. */
static lafs_status rename_all(struct model *m, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(&m->name, (size_t)m->count, sizeof *m->name, err));
    for (int i = 0; i < m->count; i++)
        for (int k = 0; k < o.rename.n; k++) {
            const char *equals = strchr(o.rename.v[k], '='), *name = m->tensor[i].name;
            size_t old = (size_t)(equals - o.rename.v[k]), fresh = strlen(equals + 1), rest;
            if (strncmp(name, o.rename.v[k], old)) continue;
            rest = strlen(name + old);
            LAFS_TRY(lafs_alloc(&m->name[i], fresh + rest + 1, 1, err));
            memcpy(m->name[i], equals + 1, fresh);
            memcpy(m->name[i] + fresh, name + old, rest + 1);
            m->tensor[i].name = m->name[i];
            break;
        }
    return LAFS_OK;
}

static lafs_status edit_meta(struct model *m, struct lafs_err *err)
{
    for (int k = 0; k < o.unset.n; k++) {
        int n = 0;
        for (int i = 0; i < m->metas; i++)
            if (strcmp(m->meta[i].key, o.unset.v[k])) m->meta[n++] = m->meta[i];
        if (n == m->metas) cli_warn("'%s' has no metadata entry '%s'", m->path, o.unset.v[k]);
        m->metas = n;
    }
    for (int k = 0; k < o.set.n; k++) {
        char *key = (char *)o.set.v[k]; /* an argument: the entry points to it */
        char *equals = strchr(key, '=');
        *equals = 0;
        LAFS_TRY(set_meta(m, key, equals + 1, err));
    }
    return LAFS_OK;
}

static lafs_status convert(struct model *m, struct lafs_err *err)
{
    int had = m->count;
    choose(m);
    if (had && !m->count) return lafs_fail(err, LAFS_FAILED, "'%s': none of its %d tensors is left", m->path, had);
    LAFS_TRY(rename_all(m, err));
    LAFS_TRY(edit_meta(m, err));
    LAFS_TRY(lafs_st_write(cli.out, m->tensor, m->count, m->meta, m->metas, err));
    cli_note("'%s': %d of %d tensors, %d metadata entries", cli.out, m->count, had, m->metas);
    return LAFS_OK;
}

/* -- listing -- */

/* Names come from strangers: nothing of them may steer a terminal. */
static void put_text(struct lafs_buf *b, const char *s)
{
    for (; *s; s++) lafs_buf_putc(b, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void list(const struct model *m)
{
    struct lafs_buf b;
    int64_t values = 0;
    lafs_buf_init(&b);
    lafs_buf_puts(&b, "# file: ");
    put_text(&b, m->path);
    lafs_buf_printf(&b, "\n# format: %s\n# sha256: %s\n", m->format, m->sha256);
    for (int i = 0; i < m->metas; i++) {
        if (m->onnx && strcmp(m->meta[i].key, "architecture")) continue; /* what a conversion would put in */
        lafs_buf_puts(&b, "# ");
        put_text(&b, m->meta[i].key);
        lafs_buf_puts(&b, ": ");
        put_text(&b, m->meta[i].value);
        lafs_buf_putc(&b, '\n');
    }
    for (int i = 0; i < m->count; i++) {
        const struct lafs_st_tensor *t = &m->tensor[i];
        put_text(&b, t->name);
        lafs_buf_printf(&b, "\t%s\t", lafs_dtype_name(t->dtype));
        for (int k = 0; k < t->ndim; k++) lafs_buf_printf(&b, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        lafs_buf_putc(&b, '\n');
        values += t->count;
    }
    lafs_buf_printf(&b, "# tensors: %d\n# values: %lld\n", m->count, (long long)values);
    if (b.failed) cli_error("out of memory");
    else fwrite(b.data, 1, b.size, stdout);
    lafs_buf_release(&b);
}

static void check_usage(int n)
{
    for (int i = 0; i < o.rename.n; i++)
        if (!strchr(o.rename.v[i], '=')) cli_misuse("--rename takes OLD=NEW, not '%s'", o.rename.v[i]);
    for (int i = 0; i < o.set.n; i++)
        if (!strchr(o.set.v[i], '=') || o.set.v[i][0] == '=') cli_misuse("--set takes KEY=VALUE, not '%s'", o.set.v[i]);
    if (n == 0) cli_misuse("no model given");
    if (o.list && (cli.out || o.rename.n || o.set.n || o.unset.n))
        cli_misuse("--list writes no model: it goes with --select and --drop only");
    if (!o.list && n > 1) cli_misuse("one model at a time, %d are given", n);
    if (!o.list && !cli.out) cli_misuse("no output given: use -o OUT.safetensors, or --list to look into a model");
    const char *dot = cli.out ? strrchr(cli.out, '.') : NULL;
    if (!o.list && (!dot || strcmp(dot, ".safetensors")))
        cli_misuse("'%s' does not end in .safetensors, which is what is written", cli.out);
}

int main(int argc, char **argv)
{
    int n, status = EXIT_DONE;
    char **args = cli_parse(&program, argc, argv, &n);
    check_usage(n);
    for (int i = 0; i < n; i++) {
        struct model m;
        struct lafs_err err = {0};
        lafs_status rc = read_model(&m, args[i], &err);
        if (rc == LAFS_OK && o.list) {
            choose(&m);
            list(&m);
        } else if (rc == LAFS_OK) {
            rc = convert(&m, &err);
        }
        if (rc != LAFS_OK) status = cli_fail(&err);
        release(&m);
    }
    return cli_finish(status);
}
