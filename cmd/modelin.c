#include "cmd/modelin.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/cli.h"

#define MAX_MODEL ((size_t)1 << 38)

void model_release(struct model *m)
{
    while (m->metas) model_drop_meta(m, m->metas - 1);
    for (int i = 0; i < m->names; i++) lafs_free(m->name[i]);
    lafs_free(m->name);
    lafs_free(m->meta);
    lafs_free(m->tensor);
    lafs_st_close(m->st);
    lafs_onnx_close(m->onnx);
    lafs_pth_close(m->pth);
    lafs_buf_release(&m->bytes);
}

const char *model_meta(const struct model *m, const char *key)
{
    return lafs_st_meta_of(m->meta, m->metas, key);
}

void model_drop_meta(struct model *m, int i)
{
    lafs_free((char *)m->meta[i].key);
    lafs_free((char *)m->meta[i].value);
    memmove(&m->meta[i], &m->meta[i + 1], (size_t)(m->metas - i - 1) * sizeof *m->meta);
    m->metas--;
}

lafs_status model_set(struct model *m, const char *key, const char *value, struct lafs_err *err)
{
    char *k = NULL, *v;
    LAFS_TRY(lafs_strdup(&v, value, err));
    for (int i = 0; i < m->metas; i++)
        if (!strcmp(m->meta[i].key, key)) {
            lafs_free((char *)m->meta[i].value);
            m->meta[i].value = v;
            return LAFS_OK;
        }
    lafs_status rc = lafs_strdup(&k, key, err);
    if (rc == LAFS_OK) rc = lafs_resize(&m->meta, (size_t)m->metas, (size_t)m->metas + 1, sizeof *m->meta, err);
    if (rc == LAFS_OK) m->meta[m->metas++] = (struct lafs_st_meta){k, v};
    else {
        lafs_free(k);
        lafs_free(v);
    }
    return rc;
}

static lafs_status set_absent(void *arg, const char *key, const char *value, struct lafs_err *err)
{
    return model_meta(arg, key) ? LAFS_OK : model_set(arg, key, value, err);
}

lafs_status model_describe(struct model *m, const struct lafs_st *st, struct lafs_err *err)
{
    return lafs_model_describe(st, set_absent, m, err);
}

static lafs_status from_safetensors(struct model *m, struct lafs_err *err)
{
    m->format = "safetensors";
    LAFS_TRY(lafs_st_parse(&m->st, m->bytes.data, m->bytes.size, err));
    if (m->st->metas > LAFS_PTH_MAX_METAS) /* entry by entry, each looked for among those before it */
        return lafs_fail(err, LAFS_FAILED, "more than %d entries of metadata", LAFS_PTH_MAX_METAS);
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->st->count, sizeof *m->tensor, err));
    m->count = m->st->count;
    if (m->count) memcpy(m->tensor, m->st->tensor, (size_t)m->count * sizeof *m->tensor);
    for (int i = 0; i < m->st->metas; i++) LAFS_TRY(model_set(m, m->st->meta[i].key, m->st->meta[i].value, err));
    return LAFS_OK;
}

/* What we know about the published detector, by the digest of its file. */
static lafs_status describe_detector(struct model *m, struct lafs_err *err)
{
    static const char *const published[] = {"81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
                                            "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"};
    LAFS_TRY(model_set(m, "architecture", LAFS_DETECTOR_ARCHITECTURE, err));
    LAFS_TRY(model_set(m, "input", "bgr, 0 to 255, width and height multiples of 32", err));
    LAFS_TRY(model_set(m, "intended_use",
                      "find faces and five points of each in photos; says nothing about who they are", err));
    for (int i = 0; i < 2; i++)
        if (!strcmp(m->sha256, published[i])) {
            LAFS_TRY(model_set(m, "licence", "Apache-2.0", err));
            return model_set(
                m, "provenance",
                "YuNet-n as published by Shiqi Yu and others (libfacedetection.train), trained on WIDER FACE", err);
        }
    LAFS_TRY(model_set(m, "licence", "unknown", err));
    return model_set(m, "provenance", "unknown", err);
}

static int is_real(enum lafs_dtype t) { return t == LAFS_F32 || t == LAFS_F64 || t == LAFS_F16 || t == LAFS_BF16; }

/* Some other network than the detector: its initializers as they are called. */
static lafs_status take_initializers(struct model *m, int looking, struct lafs_err *err)
{
    int left = 0;
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->onnx->tensors, sizeof *m->tensor, err));
    for (int i = 0; i < m->onnx->tensors; i++) {
        const struct lafs_onnx_tensor *from = &m->onnx->tensor[i];
        enum lafs_dtype type = LAFS_F32;
        const char *is = lafs_onnx_type_name(from->type);
        while (lafs_dtype_size(type) && strcmp(lafs_dtype_name(type), is)) type++;
        left += is_real(type) && !from->data;
        if (!lafs_dtype_size(type) || (!looking && !from->data)) continue;
        struct lafs_st_tensor *t = &m->tensor[m->count++];
        *t = (struct lafs_st_tensor){.name = from->name, .dtype = type, .ndim = from->ndim, .count = from->count,
                                     .data = from->data};
        memcpy(t->shape, from->shape, sizeof from->shape);
    }
    if (looking) return LAFS_OK;
    if (!m->count) return lafs_fail(err, LAFS_FAILED, "a graph without weights of type F32, which are what is taken");
    if (left) cli_warn("'%s': tensors of F16, BF16 and F64 are left out: %d", m->path, left);
    return LAFS_OK;
}

static lafs_status from_onnx(struct model *m, int looking, struct lafs_err *err)
{
    struct lafs_err other;
    m->format = "onnx";
    LAFS_TRY(lafs_onnx_parse(&m->onnx, m->bytes.data, m->bytes.size, err));
    for (int i = 0; i < m->onnx->metas; i++)
        LAFS_TRY(model_set(m, m->onnx->meta[i].key, m->onnx->meta[i].value, err));
    if (lafs_detector_from_onnx(m->onnx, &m->detector, &other) != LAFS_OK) {
        if (!looking) cli_note("'%s': %s", m->path, other.msg);
        if (!looking && model_meta(m, "architecture") && !strcmp(model_meta(m, "architecture"), "part_fvit"))
            cli_warn("'%s' is a graph that lafs-convert wrote: its weights are folded, and make no model of it again",
                     m->path);
        return take_initializers(m, looking, err);
    }
    m->count = 2 * LAFS_DETECTOR_CONVS;
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->count, sizeof *m->tensor, err));
    memcpy(m->tensor, m->detector.t, sizeof m->detector.t);
    return looking ? model_set(m, "architecture", LAFS_DETECTOR_ARCHITECTURE, err) : describe_detector(m, err);
}

/* -- checkpoints -- */

static int starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

static int any(const struct model *m, const char *prefix)
{
    for (int i = 0; i < m->count; i++)
        if (starts(m->tensor[i].name, prefix)) return 1;
    return 0;
}

/* The prefix of what is taken: of a network's dictionary, of a state dictionary among other things, or "". */
static lafs_status pick_prefix(const struct model *m, const struct model_pick *pick, const char **prefix,
                               struct lafs_err *err)
{
    static const char *const known[] = {"teacher.", "student.", "state_dict.", "model."};
    *prefix = "";
    for (int i = 0; i < 4; i++) {
        int named = pick->network && starts(known[i], pick->network);
        if (pick->network ? !named : !any(m, known[i])) continue;
        if (!any(m, known[i])) return lafs_fail(err, LAFS_FAILED, "has no %s", pick->network);
        *prefix = known[i];
        return LAFS_OK;
    }
    return LAFS_OK;
}

static const char *unwrapped(const char *name)
{
    static const char *const wrap[] = {"module.", "_orig_mod.", "backbone."};
    for (int i = 0; i < 3; i++)
        if (starts(name, wrap[i])) {
            name += strlen(wrap[i]);
            i = -1;
        }
    return name;
}

static int is_head(const char *name) { return starts(name, "head.") || starts(name, "loss."); }

/* Marks the tensors that are taken, under the names that they get. */
static lafs_status pick_tensors(struct model *m, const struct model_pick *pick, unsigned char *want,
                                struct lafs_err *err)
{
    const char *prefix;
    int taken = 0, heads = 0;
    LAFS_TRY(pick_prefix(m, pick, &prefix, err));
    for (int i = 0; i < m->count; i++) {
        struct lafs_st_tensor *t = &m->tensor[i];
        if (!starts(t->name, prefix)) continue;
        t->name = unwrapped(t->name + strlen(prefix));
        want[i] = pick->keep_heads || !is_head(t->name);
        taken += want[i];
        heads += !want[i];
    }
    cli_note("'%s': %d of %d tensors, those of '%s'; %d of heads and classifiers left out", m->path, taken, m->count,
             prefix, heads);
    if (!taken && heads)
        return lafs_fail(err, LAFS_FAILED, "holds heads and classifiers only (%d tensors): --keep-heads takes them",
                         heads);
    return taken ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "holds no tensors");
}

static void keep_wanted(struct model *m, const unsigned char *want)
{
    int n = 0;
    for (int i = 0; i < m->count; i++)
        if (want[i]) m->tensor[n++] = m->tensor[i];
    m->count = n;
}

/* Metadata for tensors that came without any. */
static lafs_status describe_pth(struct model *m, struct lafs_err *err)
{
    struct lafs_st *st;
    if (m->pth->ours && model_meta(m, "architecture")) return LAFS_OK;
    LAFS_TRY(lafs_st_wrap(&st, m->tensor, m->count, m->meta, m->metas, err));
    lafs_status rc = LAFS_OK;
    if (!model_meta(m, "licence")) rc = model_set(m, "licence", "unknown", err);
    if (rc == LAFS_OK && !model_meta(m, "provenance")) rc = model_set(m, "provenance", "unknown", err);
    if (rc == LAFS_OK) rc = model_describe(m, st, err);
    lafs_st_close(st);
    if (rc != LAFS_USAGE) return rc;
    cli_note("'%s': %s", m->path, err->msg); /* some other network */
    return LAFS_OK;
}

static lafs_status take_pth(struct model *m, const struct model_pick *pick, unsigned char *want, struct lafs_err *err)
{
    if (pick->network && !strcmp(pick->network, "all")) memset(want, 1, (size_t)m->count);
    else LAFS_TRY(pick_tensors(m, pick, want, err));
    LAFS_TRY(lafs_pth_load(m->pth, want, err));
    for (int i = 0; i < m->count; i++) m->tensor[i].data = m->pth->tensor[i].data;
    keep_wanted(m, want);
    return describe_pth(m, err);
}

static lafs_status from_pth(struct model *m, int looking, const struct model_pick *pick, struct lafs_err *err)
{
    unsigned char *want;
    m->format = "pth";
    LAFS_TRY(lafs_pth_parse(&m->pth, m->bytes.data, m->bytes.size, err));
    for (int i = 0; i < m->pth->metas; i++)
        LAFS_TRY(model_set(m, m->pth->meta[i].key, m->pth->meta[i].value, err));
    if (m->pth->metas_left)
        cli_warn("'%s': %d numbers and texts of it are left out: more than %d are not taken", m->path,
                 m->pth->metas_left, LAFS_PTH_MAX_METAS);
    m->count = m->pth->count;
    LAFS_TRY(lafs_alloc(&m->tensor, (size_t)m->count, sizeof *m->tensor, err));
    if (m->count) memcpy(m->tensor, m->pth->tensor, (size_t)m->count * sizeof *m->tensor);
    if (looking) return LAFS_OK;
    LAFS_TRY(lafs_alloc0(&want, (size_t)m->count, 1, err));
    lafs_status rc = take_pth(m, pick, want, err);
    lafs_free(want);
    return rc;
}

static lafs_status from_bytes(struct model *m, int looking, const struct model_pick *pick, struct lafs_err *err)
{
    const unsigned char *p = m->bytes.data;
    size_t n = m->bytes.size;
    if (n == 0) return lafs_fail(err, LAFS_FAILED, "is empty");
    if (lafs_pth_begins(p, n)) return from_pth(m, looking, pick, err);
    if (pick->network || pick->keep_heads)
        return lafs_fail(err, LAFS_USAGE,
                         "--network and --keep-heads are for PyTorch's checkpoints, which this is not");
    if (n > 8 && p[8] == '{') return from_safetensors(m, err);
    lafs_status rc = from_onnx(m, looking, err);
    if (rc != LAFS_FAILED || lafs_onnx_begins(p, n)) return rc;
    return lafs_fail(err, LAFS_FAILED, "neither a safetensors file, a checkpoint of PyTorch nor an ONNX graph");
}

lafs_status model_put_origin(struct model *m, struct lafs_err *err)
{
    char by[64];
    snprintf(by, sizeof by, "lafs-convert %s", lafs_version);
    LAFS_TRY(model_set(m, "source_format", m->format, err));
    LAFS_TRY(model_set(m, "source_sha256", m->sha256, err));
    return model_set(m, "converted_by", by, err);
}

lafs_status model_read(struct model *m, const char *path, int looking, const struct model_pick *pick,
                       struct lafs_err *err)
{
    *m = (struct model){.path = path};
    LAFS_TRY(lafs_buf_read_file(&m->bytes, strcmp(path, "-") ? path : "/dev/stdin", MAX_MODEL, err));
    struct lafs_sha256 sha;
    lafs_sha256_init(&sha);
    lafs_sha256_add(&sha, m->bytes.data, m->bytes.size);
    lafs_sha256_hex(&sha, m->sha256);
    lafs_status rc = from_bytes(m, looking, pick, err);
    if (rc != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    if (rc == LAFS_OK && !looking && !m->st) rc = model_put_origin(m, err);
    return rc;
}
