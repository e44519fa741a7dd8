/* Model files: lafs-model(5). The half of part_fvit.h that reads and writes them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/part_fvit.h"

#define ARCHITECTURE "part_fvit"
#define PIXELS_RANGE "x/127.5 - 1" /* how bytes become numbers: the one way */

static int starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

int lafs_is_cnn_name(const char *name) { return starts(name, "stn.") || starts(name, "output_layer."); }

/* The name without the wrappers that trainers put in front. */
static const char *bare(const char *name)
{
    static const char *const wrap[] = {"module.", "_orig_mod.", "backbone.", "teacher."};
    for (int i = 0; i < 4; i++)
        if (starts(name, wrap[i])) {
            name += strlen(wrap[i]);
            i = -1;
        }
    return name;
}

static const struct lafs_st_tensor *find_bare(const struct lafs_st *st, const char *name)
{
    for (int i = 0; i < st->count; i++)
        if (!strcmp(bare(st->tensor[i].name), name)) return &st->tensor[i];
    return NULL;
}

/* The same for many names: a file's tensors in the order of their bare names, those of one name in the file's order. */
struct name {
    const char *bare;
    const struct lafs_st_tensor *t;
};
static int by_name(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    int c = strcmp(x->bare, y->bare);
    return c ? c : (x->t > y->t) - (x->t < y->t);
}

static lafs_status sort_names(struct name **out, const struct lafs_st *st, struct lafs_err *err)
{
    struct name *n;
    LAFS_TRY(lafs_alloc(&n, (size_t)st->count, sizeof *n, err));
    for (int i = 0; i < st->count; i++) n[i] = (struct name){bare(st->tensor[i].name), &st->tensor[i]};
    if (st->count) qsort(n, (size_t)st->count, sizeof *n, by_name);
    *out = n;
    return LAFS_OK;
}

/* The first of `count` that has the name, or NULL. */
static const struct name *find_sorted(const struct name *n, int count, const char *bare)
{
    int lo = 0, hi = count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (strcmp(n[mid].bare, bare) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo < count && !strcmp(n[lo].bare, bare) ? &n[lo] : NULL;
}

static int is_counter(const struct lafs_param *p) { return p->ndim == 0; }

/* -- reading parameters -- */

static lafs_status upload_converted(const struct lafs_backend *b, const struct lafs_st_tensor *t, float *to,
                                    struct lafs_err *err)
{
    float *host;
    LAFS_TRY(lafs_alloc(&host, (size_t)t->count, sizeof *host, err));
    lafs_st_to_f32(t, host);
    b->ops->upload(b->dev, to, host, (size_t)t->count * sizeof *host);
    lafs_status s = b->ops->sync(b->dev, err); /* before host goes */
    lafs_free(host);
    return s;
}

/* name, count: the file's, sorted. What is float32 is uploaded from the file itself, which must stay until a sync. */
static lafs_status read_param(const struct lafs_param *p, const struct lafs_backend *b, const struct name *name,
                              int count, float *to, struct lafs_err *err)
{
    const struct name *n = find_sorted(name, count, p->name);
    if (n && n + 1 < name + count && !strcmp(n[1].bare, p->name))
        return lafs_fail(err, LAFS_FAILED, "tensor '%s' is there twice: as '%s' and as '%s'", p->name, n->t->name,
                         n[1].t->name);
    if (!n && is_counter(p)) { /* files of others may lack it: it changes no result */
        b->ops->zero(b->dev, to, sizeof *to);
        return LAFS_OK;
    }
    if (!n) return lafs_fail(err, LAFS_FAILED, "tensor '%s' is missing", p->name);
    LAFS_TRY(lafs_st_check_shape(n->t, p->shape, p->ndim, err));
    LAFS_TRY(lafs_st_check_finite(n->t, err));
    if (n->t->dtype != LAFS_F32) return upload_converted(b, n->t, to, err);
    b->ops->upload(b->dev, to, n->t->data, (size_t)p->size * sizeof *to);
    return LAFS_OK;
}

lafs_status lafs_params_read(const struct lafs_params *ps, const struct lafs_backend *b, const struct lafs_st *st,
                             const char *path, int (*want)(const char *name), float *value, struct lafs_err *err)
{
    struct name *name;
    LAFS_TRY(sort_names(&name, st, err));
    lafs_status s = LAFS_OK;
    for (int i = 0; i < ps->count && s == LAFS_OK; i++) {
        const struct lafs_param *p = &ps->p[i];
        if (!want || want(p->name)) s = read_param(p, b, name, st->count, value + p->off, err);
    }
    lafs_free(name);
    if (s != LAFS_OK) return lafs_err_prefix(err, "'%s'", path);
    return b->ops->sync(b->dev, err);
}

static int is_vit_name(const char *name)
{
    return starts(name, "pos_embedding") || starts(name, "cls_token") || starts(name, "patch_to_embedding.") ||
           starts(name, "transformer.") || starts(name, "mlp_head.");
}

static int is_model_name(const char *name) { return is_vit_name(name) || lafs_is_cnn_name(name); }

/* Files of others say nothing; ours do. */
static lafs_status check_architecture(const struct lafs_st *st, struct lafs_err *err)
{
    const char *is = lafs_st_meta(st, "architecture");
    if (is && strcmp(is, ARCHITECTURE))
        return lafs_fail(err, LAFS_FAILED, "the model is a '%s', not a recogniser ('%s')", is, ARCHITECTURE);
    return LAFS_OK;
}

/* A grid patch is walked row by row, one at a landmark column by column: turns the weights of the patch embedding,
 * which came from a model of the other kind, so that the same patch gives the same token. */
static lafs_status turn_patches(const struct lafs_model *m, const struct lafs_backend *b, float *value,
                                struct lafs_err *err)
{
    const struct lafs_param *w = lafs_params_find(&m->params, "patch_to_embedding.weight"); /* (dim, p*p*3) */
    int side = m->config.vit.patch;
    float *host;
    LAFS_TRY(lafs_alloc(&host, (size_t)w->size, sizeof *host, err));
    b->ops->download(b->dev, host, value + w->off, (size_t)w->size * sizeof *host);
    lafs_status s = b->ops->sync(b->dev, err);
    for (float *row = host; s == LAFS_OK && row < host + w->size; row += w->shape[1])
        for (int i = 0; i < side; i++)
            for (int j = 0; j < i; j++)
                for (int c = 0; c < 3; c++) {
                    float *x = row + (i * side + j) * 3 + c, *y = row + (j * side + i) * 3 + c, t = *x;
                    *x = *y;
                    *y = t;
                }
    if (s == LAFS_OK) {
        b->ops->upload(b->dev, value + w->off, host, (size_t)w->size * sizeof *host);
        s = b->ops->sync(b->dev, err);
    }
    lafs_free(host);
    return s;
}

/* -- configuration of a file -- */

static lafs_status shape_of(const struct lafs_st *st, const char *name, int ndim, const int64_t **shape,
                            struct lafs_err *err)
{
    const struct lafs_st_tensor *t = find_bare(st, name);
    if (!t) return lafs_fail(err, LAFS_FAILED, "tensor '%s' is missing", name);
    if (t->ndim != ndim)
        return lafs_fail(err, LAFS_FAILED, "tensor '%s' has %d dimensions, not %d", name, t->ndim, ndim);
    *shape = t->shape;
    return LAFS_OK;
}

static lafs_status vit_config(const struct lafs_st *st, struct lafs_vit_config *c, struct lafs_err *err)
{
    const int64_t *pos, *embed, *qkv, *fc1;
    char name[LAFS_MAX_TENSOR_NAME];
    LAFS_TRY(shape_of(st, "pos_embedding", 3, &pos, err));
    LAFS_TRY(shape_of(st, "patch_to_embedding.weight", 2, &embed, err));
    LAFS_TRY(shape_of(st, "transformer.layers.0.0.fn.fn.to_qkv.weight", 2, &qkv, err));
    LAFS_TRY(shape_of(st, "transformer.layers.0.1.fn.fn.net.0.weight", 2, &fc1, err));
    if (pos[1] > 4097 || pos[2] > LAFS_VIT_MAX_DIM || embed[1] > 3 * 32 * 32 || qkv[0] > 3 * 64 * 64 || fc1[0] > 65536)
        return lafs_fail(err, LAFS_FAILED, "its shapes are those of no ViT that is known here");
    c->patches = (int)pos[1] - 1;
    c->dim = (int)pos[2];
    c->patch = (int)lround(sqrt((double)embed[1] / 3));
    c->heads = (int)(qkv[0] / (3 * LAFS_HEAD_WIDTH));
    c->mlp = (int)fc1[0];
    for (c->depth = 0; c->depth < LAFS_VIT_MAX_DEPTH; c->depth++) {
        snprintf(name, sizeof name, "transformer.layers.%d.0.fn.norm.weight", c->depth);
        if (!find_bare(st, name)) break;
    }
    return lafs_vit_config_check(c, err);
}

/* A number of the metadata in lo..hi into *v, which stays where there is none. */
static lafs_status number(const struct lafs_st *st, const char *key, double lo, double hi, double *v,
                          struct lafs_err *err)
{
    const char *s = lafs_st_meta(st, key);
    char *end;
    if (!s) return LAFS_OK;
    double d = strtod(s, &end);
    if (*end || end == s || !(d >= lo && d <= hi))
        return lafs_fail(err, LAFS_FAILED, "its metadata says %s = '%s': not a number from %g to %g", key, s, lo, hi);
    *v = d;
    return LAFS_OK;
}

static void text(const struct lafs_st *st, const char *key, char *out, size_t size)
{
    const char *v = lafs_st_meta(st, key);
    if (v) snprintf(out, size, "%s", v);
}

/* Which of two words the metadata has: 0 (also when it has none) or 1 into *v. */
static lafs_status word(const struct lafs_st *st, const char *key, const char *zero, const char *one, int *v,
                        struct lafs_err *err)
{
    const char *s = lafs_st_meta(st, key);
    *v = s && !strcmp(s, one);
    if (s && !*v && strcmp(s, zero))
        return lafs_fail(err, LAFS_FAILED, "its metadata says %s = '%s': neither %s nor %s", key, s, zero, one);
    return LAFS_OK;
}

/* Where the metadata says something else than the shapes. */
static lafs_status contradiction(const struct lafs_st *st, const struct lafs_vit_config *c, struct lafs_err *err)
{
    const struct {
        const char *key;
        int is;
    } t[] = {{"dim", c->dim}, {"depth", c->depth}, {"heads", c->heads},
             {"mlp", c->mlp}, {"patches", c->patches}, {"patch", c->patch}};
    for (int i = 0; i < 6; i++) {
        double says = t[i].is;
        LAFS_TRY(number(st, t[i].key, 0, 1e9, &says, err));
        if (says != t[i].is)
            return lafs_fail(err, LAFS_FAILED, "its metadata says %s = %g, its tensors %d", t[i].key, says, t[i].is);
    }
    const char *size = lafs_st_meta(st, "size"), *is = lafs_vit_size_name(c);
    if (size && strcmp(size, is))
        return lafs_fail(err, LAFS_FAILED, "its metadata says size = %s, its tensors %s", size, is);
    return LAFS_OK;
}

/* What shapes do not tell. */
static lafs_status config_of_metadata(const struct lafs_st *st, struct lafs_model_config *c, struct lafs_err *err)
{
    int grid, head;
    double dropout = c->vit.dropout, drop_path = c->vit.drop_path, size = c->pixels.size;
    LAFS_TRY(word(st, "tokens", "landmark", "grid", &grid, err));
    LAFS_TRY(word(st, "attention_scale", "dim", "head", &head, err));
    LAFS_TRY(number(st, "dropout", 0, 0.99, &dropout, err));
    LAFS_TRY(number(st, "drop_path", 0, 0.99, &drop_path, err));
    LAFS_TRY(number(st, "pixels.size", LAFS_CNN_SIDE, LAFS_CNN_SIDE, &size, err));
    if (grid && c->parts & LAFS_PART_CNN)
        return lafs_fail(err, LAFS_FAILED, "its metadata says tokens = grid, but it has a landmark CNN");
    c->tokens = grid ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK;
    c->vit.scale = head ? LAFS_SCALE_HEAD : LAFS_SCALE_DIM;
    c->vit.dropout = (float)dropout;
    c->vit.drop_path = (float)drop_path;
    c->pixels.size = (int)size;
    const char *range = lafs_st_meta(st, "pixels.range");
    if (range && strcmp(range, PIXELS_RANGE))
        return lafs_fail(err, LAFS_FAILED, "its metadata says pixels.range = '%.60s': only " PIXELS_RANGE " is known",
                         range);
    text(st, "pixels.aligner", c->pixels.aligner, sizeof c->pixels.aligner);
    text(st, "pixels.channels", c->pixels.channels, sizeof c->pixels.channels);
    return LAFS_OK;
}

static lafs_status is_checkpoint(struct lafs_err *err)
{
    return lafs_fail(err, LAFS_FAILED, "it is a checkpoint; at the end of a run its model is in model.safetensors");
}

static lafs_status config_of(const struct lafs_st *st, struct lafs_model_config *c, struct lafs_err *err)
{
    if (lafs_st_find(st, "cursor")) return is_checkpoint(err);
    LAFS_TRY(check_architecture(st, err));
    LAFS_TRY(lafs_model_config_named(c, "b", err));
    int cnn = find_bare(st, "stn.features.0.0.weight") != NULL, vit = find_bare(st, "pos_embedding") != NULL;
    c->parts = (cnn ? LAFS_PART_CNN : 0) | (vit ? LAFS_PART_VIT : 0);
    if (!c->parts) return lafs_fail(err, LAFS_FAILED, "it holds neither a ViT nor a landmark CNN");
    if (vit) LAFS_TRY(vit_config(st, &c->vit, err));
    if (vit) LAFS_TRY(contradiction(st, &c->vit, err));
    if (cnn) {
        const int64_t *out;
        LAFS_TRY(shape_of(st, "output_layer.1.weight", 2, &out, err));
        if (out[0] < 2 || out[0] > 2 * 4096 || out[0] % 2)
            return lafs_fail(err, LAFS_FAILED, "its landmark CNN has %" PRId64 " coordinates", out[0]);
        if (vit && out[0] != 2 * (int64_t)c->vit.patches)
            return lafs_fail(err, LAFS_FAILED, "its landmark CNN has %" PRId64 " landmarks, its ViT %d patches",
                             out[0] / 2, c->vit.patches);
        c->vit.patches = (int)(out[0] / 2);
    }
    return config_of_metadata(st, c, err);
}

/* What a file may hold beside the parameters: the teacher's twin and the centre of the authors' checkpoints, heads. */
static int is_beside(const char *name, int teacher)
{
    return (teacher && (starts(name, "student.") || starts(name, "dino_loss."))) || starts(name, "loss.") ||
           starts(name, "head.");
}

static lafs_status refuse_unknown(const struct lafs_st *st, const struct lafs_params *ps, int parts,
                                  struct lafs_err *err)
{
    int teacher = 0;
    for (int i = 0; i < st->count; i++) teacher |= starts(st->tensor[i].name, "teacher.");
    for (int i = 0; i < st->count; i++) {
        const char *name = bare(st->tensor[i].name);
        if (lafs_params_find(ps, name) || is_beside(name, teacher)) continue;
        if (!(parts & LAFS_PART_VIT) && is_vit_name(name)) continue;
        return lafs_fail(err, LAFS_FAILED, "tensor '%s' is not known", st->tensor[i].name);
    }
    return LAFS_OK;
}

static lafs_status keep_meta(struct lafs_model *m, const struct lafs_st *st, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(&m->meta, (size_t)st->metas, sizeof *m->meta, err));
    for (int i = 0; i < st->metas; i++) {
        char *k, *v;
        LAFS_TRY(lafs_strdup(&k, st->meta[i].key, err));
        m->meta[i].key = k;
        m->metas = i + 1;
        LAFS_TRY(lafs_strdup(&v, st->meta[i].value, err));
        m->meta[i].value = v;
    }
    return LAFS_OK;
}

/* part: LAFS_PART_CNN: that alone, where it is there; 0: all that is there. */
static lafs_status load(struct lafs_model *m, const struct lafs_backend *b, const struct lafs_st *st, const char *path,
                        int part, struct lafs_err *err)
{
    struct lafs_model_config c;
    lafs_status s = config_of(st, &c, err);
    if (s == LAFS_OK && c.parts & part) c.parts = part;
    if (s == LAFS_OK) s = lafs_model_init(m, &c, err);
    if (s == LAFS_OK) s = refuse_unknown(st, &m->params, c.parts, err);
    if (s != LAFS_OK) {
        lafs_err_prefix(err, "'%s'", path);
        return LAFS_FAILED;
    }
    LAFS_TRY(lafs_params_place(&m->params, b, err));
    LAFS_TRY(keep_meta(m, st, err));
    return lafs_params_read(&m->params, b, st, path, NULL, m->params.value, err);
}

static lafs_status take(struct lafs_model *m, const struct lafs_backend *b, const struct lafs_st *st, const char *path,
                        int part, struct lafs_err *err)
{
    memset(m, 0, sizeof *m);
    lafs_status s = load(m, b, st, path, part, err);
    if (s != LAFS_OK) lafs_model_release(m, b);
    return s;
}

lafs_status lafs_model_take(struct lafs_model *m, const struct lafs_backend *b, const struct lafs_st *st,
                            const char *path, struct lafs_err *err)
{
    return take(m, b, st, path, 0, err);
}

static lafs_status load_file(struct lafs_model *m, const struct lafs_backend *b, const char *path, int part,
                             struct lafs_err *err)
{
    struct lafs_st *st;
    memset(m, 0, sizeof *m);
    LAFS_TRY(lafs_st_open(&st, path, err));
    lafs_status s = take(m, b, st, path, part, err);
    lafs_st_close(st);
    return s;
}

lafs_status lafs_model_load(struct lafs_model *m, const struct lafs_backend *b, const char *path, struct lafs_err *err)
{
    return load_file(m, b, path, 0, err);
}

lafs_status lafs_model_load_cnn(struct lafs_model *m, const struct lafs_backend *b, const char *path,
                                struct lafs_err *err)
{
    return load_file(m, b, path, LAFS_PART_CNN, err);
}

/* -- parts of a file -- */

/* Parts of a model are taken into one of the same shape: the options that differ are named, since shapes of tensors
 * would let some of the file's blocks be left out, and tell nobody which option to give. */
static lafs_status same_vit(const struct lafs_st *st, const struct lafs_vit_config *own, struct lafs_err *err)
{
    struct lafs_vit_config c = *own;
    int head = own->scale == LAFS_SCALE_HEAD;
    char has[160] = "", wants[160] = "";
    if (!find_bare(st, "pos_embedding"))
        return lafs_st_find(st, "cursor") ? is_checkpoint(err) : lafs_fail(err, LAFS_FAILED, "it holds no ViT");
    LAFS_TRY(vit_config(st, &c, err));
    if (lafs_st_meta(st, "attention_scale")) LAFS_TRY(word(st, "attention_scale", "dim", "head", &head, err));
    const struct {
        const char *option;
        int has, wants;
    } t[] = {{"dim", c.dim, own->dim}, {"depth", c.depth, own->depth},       {"heads", c.heads, own->heads},
             {"mlp", c.mlp, own->mlp}, {"patches", c.patches, own->patches}, {"patch", c.patch, own->patch}};
    for (int i = 0; i < 6; i++) {
        const size_t h = strlen(has), w = strlen(wants);
        if (t[i].has == t[i].wants) continue;
        snprintf(has + h, sizeof has - h, " --%s %d", t[i].option, t[i].has);
        snprintf(wants + w, sizeof wants - w, " --%s %d", t[i].option, t[i].wants);
    }
    if (*has) return lafs_fail(err, LAFS_FAILED, "its ViT has%s, not%s", has, wants);
    if (head != (own->scale == LAFS_SCALE_HEAD))
        return lafs_fail(err, LAFS_FAILED, "its ViT has --scale %s, not %s", head ? "head" : "dim",
                         head ? "dim" : "head");
    return LAFS_OK;
}

static lafs_status same_cnn(const struct lafs_st *st, const struct lafs_vit_config *own, struct lafs_err *err)
{
    const int64_t *out;
    if (!find_bare(st, "stn.features.0.0.weight"))
        return lafs_fail(err, LAFS_FAILED,
                         "it holds no landmark CNN (--landmarks gives one, --tokens grid needs none)");
    LAFS_TRY(shape_of(st, "output_layer.1.weight", 2, &out, err));
    if (out[0] == 2 * (int64_t)own->patches) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "its landmark CNN has %" PRId64 " landmarks, --patches is %d", out[0] / 2,
                     own->patches);
}

lafs_status lafs_model_load_parts(const struct lafs_model *m, const struct lafs_backend *b, const char *path, int parts,
                                  float *value, struct lafs_err *err)
{
    struct lafs_st *st;
    LAFS_TRY(lafs_st_open(&st, path, err));
    lafs_status s = check_architecture(st, err);
    int (*want)(const char *) = parts == (LAFS_PART_VIT | LAFS_PART_CNN) ? is_model_name
                                : parts == LAFS_PART_CNN                 ? lafs_is_cnn_name
                                                                         : is_vit_name;
    if (s == LAFS_OK && parts & LAFS_PART_VIT) s = same_vit(st, &m->config.vit, err);
    if (s == LAFS_OK && parts & LAFS_PART_CNN) s = same_cnn(st, &m->config.vit, err);
    if (s != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    else s = lafs_params_read(&m->params, b, st, path, want, value, err);
    const char *tokens = lafs_st_meta(st, "tokens");
    if (s == LAFS_OK && parts & LAFS_PART_VIT && tokens &&
        !strcmp(tokens, "grid") != (m->config.tokens == LAFS_TOKENS_GRID))
        s = turn_patches(m, b, value, err);
    lafs_st_close(st);
    return s;
}

/* -- writing -- */

enum { OWN_METAS = 16, VALUE = 64 };

struct metas {
    struct lafs_st_meta *m;
    char value[OWN_METAS][VALUE];
    int n;
};

static void put(struct metas *t, const char *key, const char *value)
{
    t->m[t->n++] = (struct lafs_st_meta){key, value};
}

static void put_number(struct metas *t, const char *key, double v)
{
    snprintf(t->value[t->n], VALUE, "%.9g", v);
    put(t, key, t->value[t->n]);
}

/* What the file says of itself; m has room for OWN_METAS + 4 + metas. */
static void describe(struct metas *t, const struct lafs_model_config *c, const struct lafs_st_meta *meta, int metas)
{
    put(t, "architecture", ARCHITECTURE);
    put(t, "tokens", c->tokens == LAFS_TOKENS_GRID ? "grid" : "landmark");
    if (c->parts & LAFS_PART_VIT && strcmp(lafs_vit_size_name(&c->vit), "custom"))
        put(t, "size", lafs_vit_size_name(&c->vit));
    put_number(t, "dim", c->vit.dim);
    put_number(t, "depth", c->vit.depth);
    put_number(t, "heads", c->vit.heads);
    put_number(t, "mlp", c->vit.mlp);
    put_number(t, "patches", c->vit.patches);
    put_number(t, "patch", c->vit.patch);
    put_number(t, "dropout", c->vit.dropout);
    put_number(t, "drop_path", c->vit.drop_path);
    put(t, "attention_scale", c->vit.scale == LAFS_SCALE_HEAD ? "head" : "dim");
    put_number(t, "pixels.size", c->pixels.size);
    put(t, "pixels.aligner", c->pixels.aligner);
    put(t, "pixels.channels", c->pixels.channels);
    put(t, "pixels.range", PIXELS_RANGE);
    for (int i = 0; i < metas; i++) t->m[t->n++] = meta[i];
    if (!lafs_st_meta_of(meta, metas, "licence"))
        put(t, "licence", "that of the photos it was trained on, and of the models it was begun with");
    if (!lafs_st_meta_of(meta, metas, "intended_use"))
        put(t, "intended_use", "comparing aligned photos of faces, after measuring its errors on the people concerned; "
                               "a similarity is not a probability");
}

lafs_status lafs_model_describe(const struct lafs_st *st,
                                lafs_status (*say)(void *arg, const char *key, const char *value,
                                                   struct lafs_err *err),
                                void *arg, struct lafs_err *err)
{
    struct lafs_model_config c;
    struct metas *t;
    if (config_of(st, &c, err) != LAFS_OK) return LAFS_USAGE;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    lafs_status s = lafs_alloc0(&t->m, (size_t)(OWN_METAS + 4 + st->metas), sizeof *t->m, err);
    if (s == LAFS_OK) describe(t, &c, st->meta, st->metas);
    for (int i = 0; i < t->n && s == LAFS_OK; i++) s = say(arg, t->m[i].key, t->m[i].value, err);
    lafs_free(t->m);
    lafs_free(t);
    return s;
}

/* Host copies of all tensors; counters as I64 scalars. */
static lafs_status collect(const struct lafs_params *ps, const struct lafs_backend *b, const float *value,
                           struct lafs_st_tensor *t, struct lafs_err *err)
{
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        float *host;
        LAFS_TRY(lafs_alloc(&host, (size_t)p->size, is_counter(p) ? sizeof(int64_t) : sizeof *host, err));
        t[i] = (struct lafs_st_tensor){.name = p->name, .dtype = is_counter(p) ? LAFS_I64 : LAFS_F32, .ndim = p->ndim,
                                       .count = p->size, .data = host};
        for (int k = 0; k < p->ndim; k++) t[i].shape[k] = p->shape[k];
        b->ops->download(b->dev, host, value + p->off, (size_t)p->size * sizeof *host);
        if (is_counter(p)) {
            int64_t n = (int64_t)host[0];
            memcpy(host, &n, sizeof n);
        }
    }
    return b->ops->sync(b->dev, err);
}

lafs_status lafs_model_save(const struct lafs_model *m, const struct lafs_backend *b, const float *value,
                            const char *path, const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    const struct lafs_params *ps = &m->params;
    struct metas *t = NULL;
    struct lafs_st_tensor *tensor;
    LAFS_TRY(lafs_alloc0(&tensor, (size_t)ps->count, sizeof *tensor, err));
    lafs_status s = lafs_alloc0(&t, 1, sizeof *t, err);
    if (s == LAFS_OK) s = lafs_alloc0(&t->m, (size_t)(OWN_METAS + 4 + metas), sizeof *t->m, err);
    if (s == LAFS_OK) s = collect(ps, b, value, tensor, err);
    if (s == LAFS_OK) {
        describe(t, &m->config, meta, metas);
        s = lafs_st_write(path, tensor, ps->count, t->m, t->n, err);
    }
    for (int i = 0; i < ps->count; i++) lafs_free((void *)tensor[i].data);
    lafs_free(tensor);
    if (t) lafs_free(t->m);
    lafs_free(t);
    return s;
}
