/* lafs-convert: model files from and to other formats, and their names and metadata. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/modelin.h"
#include "cmd/showvalue.h"
#include "model/onnxexport.h"

static struct {
    int list, mirror;
    struct model_pick pick;
    const char *normalise;
    int64_t opset;
    struct cli_list select, drop, rename, set, unset;
} o = {.opset = -1};

static const struct cli_option table[] = {
    {"output", 'o', CLI_STRING, &cli.out, "FILE", "write the model to FILE, a .safetensors, .pth or .onnx"},
    {"list", 0, CLI_FLAG, &o.list, NULL, "print metadata and tensors of the files instead"},
    {"select", 0, CLI_LIST, &o.select, "PREFIX", "take only tensors whose name begins with PREFIX"},
    {"drop", 0, CLI_LIST, &o.drop, "PREFIX", "leave out tensors whose name begins with PREFIX"},
    {"rename", 0, CLI_LIST, &o.rename, "OLD=NEW", "begin names with NEW that begin with OLD"},
    {"set", 0, CLI_LIST, &o.set, "KEY=VALUE", "set the metadata entry KEY"},
    {"unset", 0, CLI_LIST, &o.unset, "KEY", "remove the metadata entry KEY"},
    {"network", 0, CLI_CHOICE, &o.pick.network, "student|teacher|all",
     "of a checkpoint with several: which is taken", 0, 0, "the teacher, or what there is"},
    {"keep-heads", 0, CLI_FLAG, &o.pick.keep_heads, NULL, "of a checkpoint: take classifiers and heads too"},
    {"normalise", 0, CLI_CHOICE, &o.normalise, "inside|outside",
     "into .onnx: who turns bytes into x/127.5 - 1, the graph or its caller", 0, 0, "outside"},
    {"mirror", 0, CLI_FLAG, &o.mirror, NULL, "into .onnx: the graph adds the embedding of the mirror image"},
    {"opset", 0, CLI_INT, &o.opset, "N", "into .onnx: version of the operators", LAFS_ONNX_OPSET_MIN,
     LAFS_ONNX_OPSET_MAX, "17"},
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-convert", "[OPTION]... -o OUT MODEL | --list MODEL...",
                                           "convert, rename, describe and list model files", table};

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
    m->names = m->count;
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
        int i = 0;
        while (i < m->metas && strcmp(m->meta[i].key, o.unset.v[k])) i++;
        if (i == m->metas) cli_warn("'%s' has no metadata entry '%s'", m->path, o.unset.v[k]);
        else model_drop_meta(m, i);
    }
    for (int k = 0; k < o.set.n; k++) {
        char *key = (char *)o.set.v[k]; /* an argument: cut in two */
        char *equals = strchr(key, '=');
        *equals = 0;
        LAFS_TRY(model_set(m, key, equals + 1, err));
    }
    return LAFS_OK;
}

/* -- writing -- */

static int ends(const char *path, const char *suffix)
{
    const char *dot = strrchr(path, '.');
    return dot && !strcmp(dot, suffix);
}

static int is_pth(const char *path) { return ends(path, ".pth") || ends(path, ".pt"); }

/* What a graph says of itself beyond what the model does. */
static lafs_status describe_graph(struct model *m, const struct lafs_model *net, const struct lafs_st *st,
                                  const struct lafs_onnx_export *e, struct lafs_err *err)
{
    char output[160];
    snprintf(output, sizeof output, "(batch, %d) float32%s, not normalised: compare by cosine", net->config.vit.dim,
             e->mirror ? ", embedding of the image plus that of its mirror image" : "");
    LAFS_TRY(model_describe(m, st, err));
    LAFS_TRY(model_set(m, "pixels.channels", "rgb", err));
    LAFS_TRY(model_set(m, "pixels.range", e->normalise ? "0 to 255" : "x/127.5 - 1", err));
    LAFS_TRY(model_set(m, "input",
                       e->normalise ? "(batch, 3, 112, 112) float32, planes red, green, blue, 0 to 255"
                                    : "(batch, 3, 112, 112) float32, planes red, green, blue, (x - 127.5) / 127.5",
                       err));
    LAFS_TRY(model_set(m, "alignment",
                       "least-squares similarity of left eye, right eye, nose, left and right mouth corner to "
                       "(38.2946, 51.6963) (73.5318, 51.5014) (56.0252, 71.7366) (41.5493, 92.3655) (70.7299, 92.2041)",
                       err));
    return model_set(m, "output", output, err);
}

static lafs_status write_graph(struct model *m, const struct lafs_backend *b, const struct lafs_st *st,
                               struct lafs_err *err)
{
    struct lafs_model net;
    struct lafs_buf out;
    char by[64];
    const struct lafs_onnx_export e = {.opset = o.opset < 0 ? LAFS_ONNX_OPSET_MAX : (int)o.opset,
                                       .normalise = o.normalise && !strcmp(o.normalise, "inside"),
                                       .mirror = o.mirror,
                                       .producer = by};
    snprintf(by, sizeof by, "lafs-convert %s", lafs_version);
    LAFS_TRY(lafs_model_take(&net, b, st, m->path, err));
    lafs_buf_init(&out);
    lafs_status rc = describe_graph(m, &net, st, &e, err);
    if (rc == LAFS_OK) {
        rc = lafs_model_to_onnx(&net, b, &e, m->meta, m->metas, &out, err);
        if (rc == LAFS_USAGE) lafs_err_prefix(err, "'%s'", m->path);
    }
    if (rc == LAFS_OK) rc = lafs_atomic_put(cli.out, out.data, out.size, err);
    lafs_buf_release(&out);
    lafs_model_release(&net, b);
    return rc;
}

static lafs_status to_onnx(struct model *m, struct lafs_err *err)
{
    struct lafs_backend b;
    struct lafs_st *st;
    LAFS_TRY(model_put_origin(m, err));
    LAFS_TRY(lafs_st_wrap(&st, m->tensor, m->count, m->meta, m->metas, err));
    lafs_status rc = lafs_backend_open(&b, "cpu", NULL, NULL, err);
    if (rc == LAFS_OK) {
        rc = write_graph(m, &b, st, err);
        lafs_backend_close(&b);
    }
    lafs_st_close(st);
    return rc;
}

static lafs_status convert(struct model *m, struct lafs_err *err)
{
    int had = m->count;
    choose(m);
    if (had && !m->count) return lafs_fail(err, LAFS_FAILED, "'%s': none of its %d tensors is left", m->path, had);
    LAFS_TRY(rename_all(m, err));
    LAFS_TRY(edit_meta(m, err));
    if (ends(cli.out, ".onnx")) LAFS_TRY(to_onnx(m, err));
    else if (is_pth(cli.out)) LAFS_TRY(lafs_pth_write(cli.out, m->tensor, m->count, m->meta, m->metas, err));
    else LAFS_TRY(lafs_st_write(cli.out, m->tensor, m->count, m->meta, m->metas, err));
    cli_note("'%s': %d of %d tensors, %d metadata entries", cli.out, m->count, had, m->metas);
    return LAFS_OK;
}

/* -- listing -- */

/* Names come from strangers: nothing of them may steer a terminal. */
static void put_name(struct lafs_buf *b, const char *s) { show_text(b, s, strlen(s), SIZE_MAX); }

static lafs_status list(const struct model *m, struct lafs_err *err)
{
    struct lafs_buf b;
    int64_t values = 0;
    lafs_buf_init(&b);
    lafs_buf_puts(&b, "# file: ");
    put_name(&b, m->path);
    lafs_buf_printf(&b, "\n# format: %s\n# sha256: %s\n", m->format, m->sha256);
    for (int i = 0; i < m->metas; i++) {
        lafs_buf_puts(&b, "# ");
        put_name(&b, m->meta[i].key);
        lafs_buf_puts(&b, ": ");
        put_name(&b, m->meta[i].value);
        lafs_buf_putc(&b, '\n');
    }
    for (int i = 0; i < m->count; i++) {
        const struct lafs_st_tensor *t = &m->tensor[i];
        put_name(&b, t->name);
        lafs_buf_printf(&b, "\t%s\t", lafs_dtype_name(t->dtype));
        for (int k = 0; k < t->ndim; k++) lafs_buf_printf(&b, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        lafs_buf_putc(&b, '\n');
        values += t->count;
    }
    if (m->onnx) lafs_buf_printf(&b, "# nodes: %d\n", m->onnx->nodes);
    lafs_buf_printf(&b, "# tensors: %d\n# values: %lld\n", m->count, (long long)values);
    lafs_status rc = lafs_buf_check(&b, err);
    if (rc == LAFS_OK) fwrite(b.data, 1, b.size, stdout);
    lafs_buf_release(&b);
    return rc;
}

static void check_usage(char **args, int n)
{
    for (int i = 0; i < o.rename.n; i++)
        if (!strchr(o.rename.v[i], '=')) cli_misuse("--rename takes OLD=NEW, not '%s'", o.rename.v[i]);
    for (int i = 0; i < o.set.n; i++)
        if (!strchr(o.set.v[i], '=') || o.set.v[i][0] == '=') cli_misuse("--set takes KEY=VALUE, not '%s'", o.set.v[i]);
    if (n == 0) cli_misuse("no model given");
    if (o.list && (cli.out || o.rename.n || o.set.n || o.unset.n))
        cli_misuse("--list writes no model: it goes with --select and --drop only");
    if (!o.list && n > 1)
        cli_misuse("one model at a time, %d are given%s", n, cli.out ? "" : " (-o FILE is what is written)");
    if (!o.list && !cli.out) cli_misuse("no output given: use -o OUT.safetensors, or --list to look into a model");
    if (!o.list && !ends(cli.out, ".safetensors") && !ends(cli.out, ".onnx") && !is_pth(cli.out))
        cli_misuse("'%s' does not end in .safetensors, .pth or .onnx, which are what is written", cli.out);
    if (!o.list && cli_one_file(args[0], cli.out))
        cli_misuse("the input '%s' would be replaced by the output '%s'", args[0], cli.out);
    if (o.list && (o.pick.network || o.pick.keep_heads)) cli_misuse("--list shows all networks and heads as they are");
    if ((o.normalise || o.mirror || o.opset >= 0) && (o.list || !ends(cli.out, ".onnx")))
        cli_misuse("--normalise, --mirror and --opset are for writing .onnx");
}

int main(int argc, char **argv)
{
    int n, status = EXIT_DONE;
    char **args = cli_parse(&program, argc, argv, &n);
    check_usage(args, n);
    for (int i = 0; i < n; i++) {
        struct model m;
        struct lafs_err err = {0};
        lafs_status rc = model_read(&m, args[i], o.list, &o.pick, &err);
        if (rc == LAFS_OK && o.list) {
            choose(&m);
            rc = list(&m, &err);
        } else if (rc == LAFS_OK) {
            rc = convert(&m, &err);
        }
        if (rc != LAFS_OK) status = cli_fail(&err);
        model_release(&m);
    }
    return cli_finish(status);
}
